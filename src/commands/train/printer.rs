//! What `flawd train` shows of its progress.

use std::time::{Duration, Instant};

use crate::commands::progress::ProgressLine;
use crate::training::Progress;

/// Shows progress: on a terminal a line that changes, and everywhere a line an epoch.
pub(super) struct Printer {
    line: ProgressLine,
    epoch_start: Instant,
}

impl Printer {
    pub(super) fn new() -> Self {
        Self {
            line: ProgressLine::new(),
            epoch_start: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Features(step) => self.line.extraction(step),
            Progress::Split {
                training,
                held_out,
                parameters,
            } => self.line.line(&format!(
                "{training} images train {parameters} parameters, {held_out} calibrate"
            )),
            Progress::Resumed(epochs) => {
                self.line.line(&format!(
                    "going on after {epochs} epochs of an interrupted run"
                ));
            }
            Progress::Step(step) => {
                let rate = step.step as f64 / self.epoch_start.elapsed().as_secs_f64();
                self.line.update(&format!(
                    "epoch {}  step {}/{}  loss {:.4}  {rate:.2} steps/s",
                    step.epoch, step.step, step.steps, step.loss
                ));
            }
            Progress::Epoch { report, of, left } => {
                self.line.line(&format!(
                    "epoch {}/{of}  loss {:.4}  rate {:.1e}  {:.0} s, {} left",
                    report.epoch,
                    report.loss,
                    report.learning_rate,
                    report.seconds,
                    minutes(*left)
                ));
                self.epoch_start = Instant::now();
            }
            Progress::Exported { difference } => self.line.line(&format!(
                "exported; its scores differ from the trainer's by {difference:.1e} at most"
            )),
            Progress::Calibrated(calibration) => {
                self.line
                    .line(&format!("calibrated on {} images", calibration.n()));
            }
        }
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
