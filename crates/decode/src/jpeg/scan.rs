//! The entropy-coded data of one scan, walked without decoding it: is every block there?
//!
//! A decoder fills in what is missing, and a part that was not photographed gets a verdict. This
//! walk reads the same codes, finds the end of every block, and so knows whether the data ends
//! before the last one, continues after it, or is out of step.

use super::JpegError;
use super::frame::{Component, Frame, Kind};
use super::huffman::{Bits, Huffman, Stop};

/// What a scan states about itself.
pub(super) struct Scan<'a> {
    /// Indices into the frame's components, with their tables for the first and the further
    /// coefficients. A table that this kind of scan does not need may be missing.
    pub(super) parts: Vec<Part<'a>>,
    pub(super) kind: Kind,
    /// MCUs from one restart marker to the next; 0 if there are none.
    pub(super) restart: usize,
}

/// A component in a scan.
pub(super) struct Part<'a> {
    pub(super) component: usize,
    pub(super) first: Option<&'a Huffman>,
    pub(super) further: Option<&'a Huffman>,
}

const NO_TABLE: JpegError = JpegError::Header("a scan names a Huffman table that is not there");

/// Walks over the scan whose data begins at `at`, and returns the offset of the marker after it.
pub(super) fn walk(
    bytes: &[u8],
    at: usize,
    frame: &mut Frame,
    scan: &Scan,
    slack: usize,
) -> Result<usize, JpegError> {
    let layout = Layout::new(frame, scan);
    let mut walker = Walker {
        bits: Bits::new(bytes, at),
        pending_blocks: 0,
    };
    for unit in 0..layout.units {
        if scan.restart > 0 && unit > 0 && unit % scan.restart == 0 {
            let expected = (unit / scan.restart - 1) as u8 & 7;
            walker = walker.restarted(bytes, expected, slack, layout.progress(unit))?;
        }
        walker
            .unit(frame, scan, &layout, unit)
            .map_err(|stop| match stop {
                Walk::Stop(Stop::Ended) => layout.progress(unit).ended(),
                Walk::Stop(Stop::Invalid) => layout.progress(unit).invalid(),
                Walk::NoTable => NO_TABLE,
            })?;
    }
    let (left, marker) = walker.ended(slack, layout.progress(layout.units))?;
    debug_assert!(left <= slack, "checked");
    Ok(marker)
}

/// The number of units in a scan, and their arrangement.
struct Layout {
    /// Whether a unit has blocks of several components, or one block of one.
    is_interleaved: bool,
    across: usize,
    units: usize,
}

impl Layout {
    fn new(frame: &Frame, scan: &Scan) -> Self {
        let (across, down) = match scan.parts.as_slice() {
            [part] => frame.components[part.component].blocks,
            _ => frame.units,
        };
        Self {
            is_interleaved: scan.parts.len() > 1,
            across,
            units: across * down,
        }
    }

    fn progress(&self, done: usize) -> Progress {
        Progress {
            done,
            of: self.units,
        }
    }
}

/// The progress of a walk.
#[derive(Clone, Copy)]
struct Progress {
    done: usize,
    of: usize,
}

impl Progress {
    fn ended(self) -> JpegError {
        JpegError::EndsEarly {
            percent: self.percent(),
        }
    }

    fn invalid(self) -> JpegError {
        JpegError::LostStep {
            percent: self.percent(),
        }
    }

    fn percent(self) -> usize {
        self.done * 100 / self.of.max(1)
    }
}

enum Walk {
    Stop(Stop),
    NoTable,
}

impl From<Stop> for Walk {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

struct Walker<'a> {
    bits: Bits<'a>,
    /// Blocks that a progressive scan has declared to have no new coefficient.
    pending_blocks: u32,
}

impl<'a> Walker<'a> {
    /// Walks every block of one unit.
    #[inline]
    fn unit(
        &mut self,
        frame: &mut Frame,
        scan: &Scan,
        layout: &Layout,
        unit: usize,
    ) -> Result<(), Walk> {
        let (row, column) = (unit / layout.across, unit % layout.across);
        for part in &scan.parts {
            let component = &mut frame.components[part.component];
            let (wide, high) = if layout.is_interleaved {
                component.sampling
            } else {
                (1, 1)
            };
            for y in 0..high {
                for x in 0..wide {
                    let place = (row * high + y, column * wide + x);
                    self.block(component, part, scan.kind, place)?;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn block(
        &mut self,
        component: &mut Component,
        part: &Part,
        kind: Kind,
        (row, column): (usize, usize),
    ) -> Result<(), Walk> {
        let first = || part.first.ok_or(Walk::NoTable);
        let further = || part.further.ok_or(Walk::NoTable);
        match kind {
            Kind::Sequential => {
                self.difference(first()?)?;
                self.bits.skip_coefficients(further()?)?;
            }
            Kind::FirstDc => self.difference(first()?)?,
            Kind::RefinedDc => self.bits.skip(1)?,
            Kind::FirstAc(from, to) => {
                let known = component.known(row, column);
                self.first_ac(further()?, known, from, to)?;
            }
            Kind::RefinedAc(from, to) => {
                let known = component.known(row, column);
                self.refined_ac(further()?, known, from, to)?;
            }
        }
        Ok(())
    }

    /// Reads the first coefficient of a block, given as the difference from the one before.
    #[inline]
    fn difference(&mut self, table: &Huffman) -> Result<(), Stop> {
        // A difference in 8-bit pictures takes at most 11 bits.
        match self.bits.symbol(table)? {
            size @ 0..=11 => self.bits.skip(size.into()),
            _ => Err(Stop::Invalid),
        }
    }

    /// Reads coefficients that this scan gives for the first time. `known` has a bit for each one
    /// that is not zero.
    fn first_ac(
        &mut self,
        table: &Huffman,
        known: &mut u64,
        from: u32,
        to: u32,
    ) -> Result<(), Stop> {
        if self.pending_blocks > 0 {
            self.pending_blocks -= 1;
            return Ok(());
        }
        let mut place = from;
        while place <= to {
            let symbol = self.bits.symbol(table)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && run < 15 {
                self.pending_blocks = (1 << run) + self.bits.value(run)? - 1;
                return Ok(());
            }
            place += run;
            if size > 0 {
                if place > to {
                    return Err(Stop::Invalid);
                }
                *known |= 1 << place;
                self.bits.skip(size)?;
            }
            place += 1;
        }
        if place > to + 1 {
            return Err(Stop::Invalid);
        }
        Ok(())
    }

    /// Reads one more bit of the known coefficients, and new ones among those that were zero.
    fn refined_ac(
        &mut self,
        table: &Huffman,
        known: &mut u64,
        from: u32,
        to: u32,
    ) -> Result<(), Stop> {
        let mut place = from;
        while self.pending_blocks == 0 && place <= to {
            let symbol = self.bits.symbol(table)?;
            let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
            match size {
                0 if run < 15 => {
                    self.pending_blocks = (1 << run) + self.bits.value(run)?;
                    break;
                }
                0 => {}
                1 => self.bits.skip(1)?,
                _ => return Err(Stop::Invalid),
            }
            let mut corrections = 0;
            while place <= to {
                if *known >> place & 1 == 1 {
                    corrections += 1;
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                place += 1;
            }
            self.bits.skip(corrections)?;
            if size == 1 {
                if place > to {
                    return Err(Stop::Invalid);
                }
                *known |= 1 << place;
            }
            place += 1;
        }
        if self.pending_blocks > 0 {
            self.pending_blocks -= 1;
            let rest = places(place, to);
            self.bits.skip((*known & rest).count_ones())?;
        }
        Ok(())
    }

    /// Ends after the data up to a marker; returns how many bytes were left, and where it is.
    fn ended(self, slack: usize, progress: Progress) -> Result<(usize, usize), JpegError> {
        if self.pending_blocks > 0 {
            return Err(progress.invalid());
        }
        let (left, marker) = self.bits.end();
        if left > slack {
            return Err(JpegError::LeftOver { bytes: left });
        }
        Ok((left, marker))
    }

    /// Continues after the restart marker that is due.
    fn restarted(
        self,
        bytes: &'a [u8],
        expected: u8,
        slack: usize,
        progress: Progress,
    ) -> Result<Self, JpegError> {
        let (_, marker) = self.ended(slack, progress)?;
        match bytes.get(marker + 1) {
            Some(found @ 0xd0..=0xd7) if found & 7 == expected => Ok(Self {
                bits: Bits::new(bytes, marker + 2),
                pending_blocks: 0,
            }),
            Some(0xd0..=0xd7) => Err(JpegError::RestartOrder {
                percent: progress.percent(),
            }),
            _ => Err(progress.ended()),
        }
    }
}

/// Returns the bits of the places from one to another, both included; zero if they are the wrong
/// way round.
fn places(from: u32, to: u32) -> u64 {
    if from > to {
        return 0;
    }
    (u64::MAX << from) & (u64::MAX >> (63 - to))
}
