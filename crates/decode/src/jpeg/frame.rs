//! The picture of a JPEG: its colours, their blocks, and what the scans have given of each
//! coefficient.

use flawd_core::image::Size;

use super::JpegError;

/// The picture that the scans describe.
pub(super) struct Frame {
    is_progressive: bool,
    pub(super) components: Vec<Component>,
    /// Units across and down, if a scan has several components.
    pub(super) units: (usize, usize),
}

/// One colour.
pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks of a unit, across and down.
    pub(super) sampling: (usize, usize),
    /// Blocks across and down, if a scan has only this component.
    pub(super) blocks: (usize, usize),
    /// Blocks across, including those that only fill up the last unit.
    stride: usize,
    /// Progressive: for each block, which coefficients are not zero.
    known: Vec<u64>,
    /// Lowest bit given of each coefficient; `None`: nothing yet.
    pub(super) told: [Option<u8>; 64],
}

impl Component {
    /// Creates a component from its identifier and the blocks of a unit, across and down.
    pub(super) fn new(id: u8, sampling: (usize, usize)) -> Self {
        Self {
            id,
            sampling,
            blocks: (0, 0),
            stride: 0,
            known: Vec::new(),
            told: [None; 64],
        }
    }

    /// Returns which coefficients of a block are known not to be zero.
    pub(super) fn known(&mut self, row: usize, column: usize) -> &mut u64 {
        &mut self.known[row * self.stride + column]
    }
}

/// What a scan has of each block.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Sequential,
    FirstDc,
    RefinedDc,
    /// Coefficients from one place to another, both included.
    FirstAc(u32, u32),
    RefinedAc(u32, u32),
}

impl Frame {
    pub(super) fn new(
        size: Size,
        is_progressive: bool,
        mut components: Vec<Component>,
    ) -> Result<Self, JpegError> {
        let samplings = || components.iter().map(|component| component.sampling);
        if samplings().any(|(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v)) {
            return Err(JpegError::Header("a colour's sampling is wrong"));
        }
        // With others the decoder panics, or gives wrong pixels.
        let (h, v) = components[0].sampling;
        let is_usual = |(across, down)| h % across == 0 && v % down == 0;
        if matches!((h, v), (3, _) | (_, 3)) || !samplings().all(is_usual) {
            return Err(JpegError::Unsupported(
                "a JPEG with an unusual sampling of its colours",
            ));
        }
        let most_across = samplings().map(|(h, _)| h).max().unwrap_or(1);
        let most_down = samplings().map(|(_, v)| v).max().unwrap_or(1);
        let units = (
            size.width.div_ceil(8 * most_across),
            size.height.div_ceil(8 * most_down),
        );
        for component in &mut components {
            let (h, v) = component.sampling;
            component.blocks = (
                (size.width * h).div_ceil(most_across).div_ceil(8),
                (size.height * v).div_ceil(most_down).div_ceil(8),
            );
            component.stride = units.0 * h;
        }
        Ok(Self {
            is_progressive,
            components,
            units,
        })
    }

    /// Allocates the state of each block, once the size is known to be admitted.
    pub(super) fn allocate(&mut self) {
        if !self.is_progressive {
            return;
        }
        let (_, down) = self.units;
        for component in &mut self.components {
            component.known = vec![0; component.stride * down * component.sampling.1];
        }
    }

    /// Returns what a scan of these components gives, after checking that it is due for each
    /// coefficient.
    ///
    /// # Errors
    /// If it comes out of order, or the decoder does not read it correctly.
    pub(super) fn kind_of(
        &mut self,
        parts: &[usize],
        [from, to, bits]: [u8; 3],
    ) -> Result<Kind, JpegError> {
        let (before, lowest) = (bits >> 4, bits & 15);
        if !self.is_progressive {
            if parts.len() < self.components.len() {
                // The decoder gives wrong pixels.
                return Err(JpegError::Unsupported(
                    "a sequential JPEG with its colours one after the other",
                ));
            }
            for &part in parts {
                let told = &mut self.components[part].told[0];
                if told.replace(0).is_some() {
                    return Err(OUT_OF_ORDER);
                }
            }
            return Ok(Kind::Sequential);
        }
        let is_dc = from == 0;
        if to > 63 || from > to || (is_dc && to > 0) || (!is_dc && parts.len() > 1) || lowest > 13 {
            return Err(JpegError::Header("a scan's range is wrong"));
        }
        for &part in parts {
            let component = &mut self.components[part];
            if !is_dc && component.told[0].is_none() {
                return Err(OUT_OF_ORDER);
            }
            for told in &mut component.told[usize::from(from)..=usize::from(to)] {
                let follows = match *told {
                    None => before == 0,
                    Some(bit) => before == bit && bit == lowest + 1,
                };
                if !follows {
                    return Err(OUT_OF_ORDER);
                }
                *told = Some(lowest);
            }
        }
        Ok(match (is_dc, before) {
            (true, 0) => Kind::FirstDc,
            (true, _) => Kind::RefinedDc,
            (false, 0) => Kind::FirstAc(from.into(), to.into()),
            (false, _) => Kind::RefinedAc(from.into(), to.into()),
        })
    }
}

const OUT_OF_ORDER: JpegError = JpegError::ScanOrder;
