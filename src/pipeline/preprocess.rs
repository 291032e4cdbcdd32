//! The second stage: admits a frame to inspection and makes the model's input of it.
//!
//! Here a frame gets its `seq`. Before, in the slot that capture feeds, it may still be replaced
//! by a newer one; from here on every link waits instead of dropping, so each number ends in
//! exactly one verdict and a subscriber sees no gap.

use std::time::Instant;

use flawd_core::{preprocess::Preprocessor, verdict::Reason};

use super::{
    frame::{Flaw, Frame, Prepared, Tensor, Ticket},
    link::{Receiver, Sender},
    pool::Pool,
    progress::Progress,
};

/// The stage of one camera.
pub(super) struct Preprocess {
    /// The camera's number.
    pub(super) camera: usize,
    pub(super) preprocessor: Preprocessor,
    pub(super) tensors: Pool<Tensor>,
    pub(super) frames: Receiver<Frame>,
    pub(super) prepared: Sender<Prepared>,
    pub(super) progress: Progress,
}

impl Preprocess {
    /// Prepares frames until capture ends or inference is gone.
    pub(super) fn run(mut self) {
        let mut seq = 0;
        while let Some(frame) = self.frames.recv() {
            seq += 1;
            let prepared = self.prepare(seq, frame);
            if self.prepared.send(prepared).is_err() {
                return;
            }
        }
    }

    fn prepare(&mut self, seq: u64, frame: Frame) -> Prepared {
        let tensor = self.tensors.take();
        let working = self.progress.begin();
        let begun = Instant::now();
        let input = frame
            .image
            .and_then(|image| {
                let mut tensor = tensor;
                self.preprocessor
                    .run(&image, &mut tensor)
                    .map_err(|error| error.to_string())?;
                Ok(tensor)
            })
            .map_err(|detail| Flaw {
                reason: Reason::ImageQuality,
                detail,
            });
        drop(working);
        let ticket = Ticket {
            camera: self.camera,
            seq,
            part: frame.part,
            captured: frame.captured,
            at_hand: frame.at_hand,
            begun,
            finished: Instant::now(),
        };
        Prepared { ticket, input }
    }
}
