//! The source `synthetic`: a made-up line of parts, some with defects.

use std::sync::Arc;

use flawd_core::image::Size;

use super::{CameraLost, Source};
use crate::{
    pipeline::frame::{Frame, Moment},
    synthetic::{SyntheticError, SyntheticLine, SyntheticOptions},
};

/// Parts in the order of the line; the same seed gives the same parts.
#[derive(Debug)]
pub struct SyntheticSource {
    line: SyntheticLine,
    left: Option<u64>,
}

impl SyntheticSource {
    /// A line of `parts` parts, endless for `None`.
    ///
    /// # Errors
    /// [`SyntheticError`] for a size or share that the line cannot draw.
    pub fn new(
        size: Size,
        seed: u64,
        defect_rate: f64,
        parts: Option<u64>,
    ) -> Result<Self, SyntheticError> {
        let line = SyntheticLine::new(SyntheticOptions {
            size,
            seed,
            defect_rate,
        })?;
        Ok(Self { line, left: parts })
    }
}

impl Source for SyntheticSource {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        match &mut self.left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None => {}
        }
        let captured = Moment::now();
        let part = self.line.next_part();
        let name = Arc::from(format!("{:06}", part.index));
        Ok(Some(Frame::new(Some(name), Ok(part.image), captured)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_three_parts_ends_after_three() {
        let mut source = SyntheticSource::new(Size::new(96, 96), 7, 0.5, Some(3)).unwrap();
        for index in 0..3 {
            let frame = source.next_frame().unwrap().unwrap();
            assert_eq!(frame.part.as_deref(), Some(format!("{index:06}").as_str()));
        }
        assert!(source.next_frame().unwrap().is_none());
    }
}
