//! The segments of a JPEG in their order: what it states, with a walk over every scan.

use flawd_core::image::Size;

use super::frame::{Component, Frame};
use super::huffman::Huffman;
use super::scan::{self, Part, Scan};
use super::{JpegError, standard};
use crate::limit::TooLittle;

/// What is known of a JPEG that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// The offset after its end marker; what follows is not part of the picture.
    pub(super) end: usize,
    /// True if it has no Huffman tables, and so uses the standard ones.
    pub(super) needs_tables: bool,
}

/// Most scans of a progressive picture: 10 are usual, and a hostile file makes each of them cost
/// time. This is the decoder's own limit.
const MOST_SCANS: usize = 100;

/// Walks over everything from the first byte to the end marker.
///
/// # Errors
/// What is missing, damaged or not supported; or the error of `admit` about the size, before
/// anything that depends on it is allocated or read.
pub(super) fn check<E: From<JpegError>>(
    bytes: &[u8],
    slack: usize,
    admit: impl FnOnce(Size) -> Result<(), E>,
) -> Result<Checked, E> {
    let mut admit = Some(admit);
    let mut reader = Reader::new(bytes)?;
    loop {
        match reader.step(slack)? {
            Step::Segment => {}
            Step::Frame(size) => {
                if let Some(admit) = admit.take() {
                    admit(size)?;
                }
                reader.frame.iter_mut().for_each(Frame::allocate);
            }
            Step::End(checked) => return Ok(checked),
        }
    }
}

enum Step {
    Segment,
    Frame(Size),
    End(Checked),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    first: [Option<Huffman>; 4],
    further: [Option<Huffman>; 4],
    has_tables: bool,
    restart: usize,
    frame: Option<Frame>,
    scans: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, JpegError> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return Err(JpegError::Header("it does not begin like a JPEG"));
        }
        Ok(Self {
            bytes,
            at: 2,
            first: [const { None }; 4],
            further: [const { None }; 4],
            has_tables: false,
            restart: 0,
            frame: None,
            scans: 0,
        })
    }

    /// Reads one segment, and the scan after it if it begins one.
    fn step(&mut self, slack: usize) -> Result<Step, JpegError> {
        let marker = self.marker()?;
        match marker {
            // Without content; a restart marker after the last unit is superfluous.
            0x01 | 0xd0..=0xd7 => {}
            0xd9 => return self.end(),
            0xc0..=0xc2 => return self.frame(marker == 0xc2),
            0xc3 | 0xc7 | 0xcb | 0xcf => {
                return Err(JpegError::Unsupported("a lossless JPEG"));
            }
            0xc5 | 0xc6 => return Err(JpegError::Unsupported("a hierarchical JPEG")),
            0xc9..=0xce => return Err(JpegError::Unsupported("a JPEG with arithmetic coding")),
            0xc4 => self.tables()?,
            0xdd => {
                let segment = self.segment()?;
                let interval = segment.first_chunk().ok_or(SHORT)?;
                self.restart = u16::from_be_bytes(*interval).into();
            }
            0xda => self.scan(slack)?,
            0xd8 => return Err(JpegError::Header("a second picture begins inside it")),
            _ => {
                self.segment()?;
            }
        }
        Ok(Step::Segment)
    }

    /// Reads the next marker.
    fn marker(&mut self) -> Result<u8, JpegError> {
        let rest = &self.bytes[self.at..];
        let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
        match (fill, rest.get(fill)) {
            (_, None) => Err(JpegError::NoEnd),
            (0, _) | (_, Some(0)) => Err(JpegError::Header(
                "a segment does not begin where it should",
            )),
            (_, Some(&marker)) => {
                self.at += fill + 1;
                Ok(marker)
            }
        }
    }

    /// Reads the content of a segment.
    fn segment(&mut self) -> Result<&'a [u8], JpegError> {
        let rest = &self.bytes[self.at..];
        let length = rest.first_chunk().ok_or(JpegError::NoEnd)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let content = rest.get(..length).ok_or(JpegError::NoEnd)?;
        self.at += length;
        content.get(2..).ok_or(SHORT)
    }

    fn tables(&mut self) -> Result<(), JpegError> {
        let segment = self.segment()?;
        self.has_tables = true;
        standard::for_each_table(segment, |is_first, slot, counts, symbols| {
            let table = Huffman::new(*counts, symbols)?;
            let tables = if is_first {
                &mut self.first
            } else {
                &mut self.further
            };
            tables[slot] = Some(table);
            Ok(())
        })
    }

    fn frame(&mut self, is_progressive: bool) -> Result<Step, JpegError> {
        let segment = self.segment()?;
        if self.frame.is_some() {
            return Err(JpegError::Header("it has two frames"));
        }
        let &[precision, h1, h2, w1, w2, count, ref rest @ ..] = segment else {
            return Err(SHORT);
        };
        let height = usize::from(u16::from_be_bytes([h1, h2]));
        let width = usize::from(u16::from_be_bytes([w1, w2]));
        match (precision, height, width) {
            (8, 1.., 1..) => {}
            (8, 0, _) => {
                return Err(JpegError::Unsupported(
                    "a JPEG whose height follows the picture",
                ));
            }
            (8, _, 0) => return Err(JpegError::Header("its width is 0")),
            _ => {
                return Err(JpegError::Unsupported(
                    "a JPEG with other than 8 bits a channel",
                ));
            }
        }
        if rest.len() != usize::from(count) * 3 || !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::Header("its number of colours is wrong"));
        }
        let size = Size::new(height, width);
        let components = rest.chunks_exact(3).map(|part| {
            let sampling = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            Component::new(part[0], sampling)
        });
        self.frame = Some(Frame::new(size, is_progressive, components.collect())?);
        // At least two bits per block, or half a bit if a progressive scan covers many at once.
        let most = self.bytes.len().saturating_mul(512).saturating_add(1 << 16);
        if size.area() > most {
            return Err(TooLittle {
                size,
                bytes: self.bytes.len(),
            }
            .into());
        }
        Ok(Step::Frame(size))
    }

    fn scan(&mut self, slack: usize) -> Result<(), JpegError> {
        let segment = self.segment()?;
        let frame = self
            .frame
            .as_mut()
            .ok_or(JpegError::Header("a scan comes before its frame"))?;
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(JpegError::Header("it has more than 100 scans"));
        }
        if self.scans == 1 && !self.has_tables {
            standard::for_each_table(
                &standard::SEGMENT[4..],
                |is_first, slot, counts, symbols| {
                    let tables = if is_first {
                        &mut self.first
                    } else {
                        &mut self.further
                    };
                    tables[slot] = Some(Huffman::new(*counts, symbols)?);
                    Ok(())
                },
            )?;
        }
        let (&count, rest) = segment.split_first().ok_or(SHORT)?;
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != count * 2 + 3 {
            return Err(JpegError::Header("a scan's number of colours is wrong"));
        }
        let (selectors, spectral) = rest.split_at(count * 2);
        let mut parts = Vec::with_capacity(count);
        for selector in selectors.chunks_exact(2) {
            let (id, tables) = (selector[0], selector[1]);
            let component = frame
                .components
                .iter()
                .position(|component| component.id == id);
            let component = component
                .filter(|&index| parts.iter().all(|part: &Part| part.component != index))
                .ok_or(JpegError::Header(
                    "a scan is about a colour that is not there",
                ))?;
            let slot = |slot: u8| usize::from(slot & 3);
            parts.push(Part {
                component,
                first: self.first[slot(tables >> 4)].as_ref(),
                further: self.further[slot(tables)].as_ref(),
            });
        }
        let told: Vec<usize> = parts.iter().map(|part| part.component).collect();
        let kind = frame.kind_of(&told, [spectral[0], spectral[1], spectral[2]])?;
        let scan = Scan {
            parts,
            kind,
            restart: self.restart,
        };
        self.at = scan::walk(self.bytes, self.at, frame, &scan, slack)?;
        Ok(())
    }

    fn end(&self) -> Result<Step, JpegError> {
        let frame = self
            .frame
            .as_ref()
            .ok_or(JpegError::Header("it has no picture"))?;
        if frame
            .components
            .iter()
            .any(|component| component.told[0].is_none())
        {
            return Err(JpegError::EndsEarly { percent: 0 });
        }
        Ok(Step::End(Checked {
            end: self.at,
            needs_tables: !self.has_tables,
        }))
    }
}

const SHORT: JpegError = JpegError::Header("a segment is too short");
