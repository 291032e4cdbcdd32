//! The source `synthetic`: a simulated line of parts, some with defects, and a camera that can
//! fail.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use flawd_core::image::Size;

use super::{CameraLost, Source};
use crate::line::pipeline::part::frame::Frame;
use crate::line::pipeline::part::moment::Moment;
use crate::synthetic::fault::{Faults, Outage};
use crate::synthetic::{SyntheticError, SyntheticLine, SyntheticOptions};

/// Parts in the order of the line; the same seed produces the same parts.
#[derive(Debug)]
pub struct SyntheticSource {
    line: SyntheticLine,
    /// How many parts; endless for `None`.
    parts: Option<u64>,
    /// The part that comes next.
    next: u64,
    /// Outages are removed as they occur.
    faults: Faults,
    /// When a lost camera will be back.
    lost_until: Option<Instant>,
}

impl SyntheticSource {
    /// Creates a line of `parts` parts, endless for `None`.
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
        Ok(Self {
            line,
            parts,
            next: 0,
            faults: Faults::default(),
            lost_until: None,
        })
    }

    /// Adds these faults to the line's camera. While it is stalled,
    /// [`next_frame`](Source::next_frame) does not return.
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }
}

impl Source for SyntheticSource {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        if self.lost_until.is_some() {
            return Err(CameraLost::LossNotOver);
        }
        let index = self.next;
        if self.parts.is_some_and(|parts| index >= parts) {
            return Ok(None);
        }
        if let Some(outage) = due(&mut self.faults.stall, index) {
            block(outage.lasts);
        }
        if let Some(outage) = due(&mut self.faults.loss, index) {
            self.lost_until = Some(Instant::now() + outage.lasts);
            return Err(CameraLost::LossBegins);
        }
        let captured = Moment::now();
        let image = self.faults.picture(&self.line, index);
        self.next += 1;
        let name = Arc::from(format!("{index:06}"));
        Ok(Some(Frame::new(Some(name), Ok(image), captured)))
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        if self.lost_until.is_some_and(|until| Instant::now() < until) {
            return Err(CameraLost::LossNotOver);
        }
        self.lost_until = None;
        Ok(())
    }
}

/// Removes and returns the outage if its time has come.
fn due(outage: &mut Option<Outage>, index: u64) -> Option<Outage> {
    outage.take_if(|outage| outage.after <= index)
}

/// Hangs as a driver does: nothing wakes it early.
fn block(time: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    let ended = never.recv_timeout(time);
    debug_assert_eq!(ended, Err(RecvTimeoutError::Timeout));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::fault::Spell;

    fn source(faults: Faults) -> SyntheticSource {
        SyntheticSource::new(Size::new(96, 96), 7, 0.5, Some(3))
            .unwrap()
            .with_faults(faults)
    }

    fn part(source: &mut SyntheticSource) -> Option<String> {
        let frame = source.next_frame().unwrap()?;
        frame.part.as_deref().map(str::to_owned)
    }

    #[test]
    fn a_line_of_three_parts_ends_after_three() {
        let mut source = source(Faults::default());
        for index in 0..3 {
            assert_eq!(part(&mut source), Some(format!("{index:06}")));
        }
        assert!(source.next_frame().unwrap().is_none());
    }

    #[test]
    fn a_stalled_camera_gives_nothing_until_the_stall_is_over_and_then_the_next_part() {
        let lasts = Duration::from_millis(60);
        let mut source = source(Faults {
            stall: Some(Outage { after: 1, lasts }),
            ..Faults::default()
        });
        assert_eq!(part(&mut source).as_deref(), Some("000000"));
        let before = Moment::now();
        let frame = source.next_frame().unwrap().unwrap();
        assert_eq!(frame.part.as_deref(), Some("000001"));
        assert!(before.monotonic.elapsed() >= lasts);
        // The picture is taken after the stall; it does not age in it.
        assert!(frame.captured.monotonic >= before.monotonic + lasts);
        assert_eq!(part(&mut source).as_deref(), Some("000002"));
        assert_eq!(part(&mut source), None);
    }

    #[test]
    fn a_lost_camera_cannot_be_opened_until_the_loss_is_over() {
        let lasts = Duration::from_secs(3600);
        let mut source = source(Faults {
            loss: Some(Outage { after: 1, lasts }),
            ..Faults::default()
        });
        assert_eq!(part(&mut source).as_deref(), Some("000000"));
        for _ in 0..3 {
            assert!(source.next_frame().is_err());
            assert!(source.reopen().is_err());
        }
    }

    #[test]
    fn a_lost_camera_can_be_opened_when_the_loss_is_over_and_misses_no_part() {
        let lasts = Duration::from_millis(60);
        let mut source = source(Faults {
            loss: Some(Outage { after: 2, lasts }),
            ..Faults::default()
        });
        assert_eq!(part(&mut source).as_deref(), Some("000000"));
        assert_eq!(part(&mut source).as_deref(), Some("000001"));
        let before = Instant::now();
        assert!(source.next_frame().is_err());
        while source.reopen().is_err() {
            assert!(source.next_frame().is_err());
            block(Duration::from_millis(1));
        }
        assert!(before.elapsed() >= lasts);
        assert_eq!(part(&mut source).as_deref(), Some("000002"));
        assert_eq!(part(&mut source), None);
    }

    #[test]
    fn a_frozen_camera_gives_every_part_its_own_name_and_the_same_picture() {
        let mut source = source(Faults {
            frozen: Some(Spell { after: 1, parts: 9 }),
            ..Faults::default()
        });
        let frames: Vec<_> = std::iter::from_fn(|| source.next_frame().unwrap()).collect();
        let names = frames.iter().map(|frame| frame.part.as_deref().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["000000", "000001", "000002"]);
        let pictures: Vec<_> = frames.into_iter().map(|it| it.image.unwrap()).collect();
        assert!(pictures.iter().all(|picture| *picture == pictures[0]));
    }
}
