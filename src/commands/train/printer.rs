//! What `flawd train` shows of its progress.

use std::time::{Duration, Instant};

use flawd_core::calibration::shown;
use flawd_train::trainer::{EpochReport, StepReport};

use crate::commands::progress::ProgressLine;
use crate::lab::training::{GaveWay, TrainingProgress};

/// Shows progress: on a terminal a changing line, and everywhere one line per epoch.
pub(crate) struct Printer {
    line: ProgressLine,
    /// The fold of a cross-calibration that the lines are about.
    fold: String,
    epoch_start: Instant,
}

impl Printer {
    pub(crate) fn new() -> Self {
        Self {
            line: ProgressLine::new(),
            fold: String::new(),
            epoch_start: Instant::now(),
        }
    }

    /// Prints a permanent line, with the fold that it is about.
    fn print(&mut self, text: &str) {
        self.line.line(&format!("{}{text}", self.fold));
    }

    pub(crate) fn show(&mut self, progress: &TrainingProgress) {
        match progress {
            TrainingProgress::LeftOut(left_out) => self.line.left_out(left_out),
            TrainingProgress::Depths { done, total } => self.line.checked("depth", *done, *total),
            TrainingProgress::Depth(found) => self.line.depth(found),
            TrainingProgress::Varied(step) => self.line.extraction(step),
            TrainingProgress::Lights { done, total } => self.line.checked("light", *done, *total),
            TrainingProgress::Light(light) => self.print(&format!(
                "light: every picture is brought to a level of {:.1}, by a factor of {} at most",
                light.reference, light.limit
            )),
            TrainingProgress::Features(step) => self.line.extraction(step),
            TrainingProgress::GaveWay(gave_way) => self.print(&supported_rate(gave_way)),
            TrainingProgress::Fold { number, of } => self.fold = format!("fold {number}/{of}  "),
            TrainingProgress::FoldKept => {
                self.print("its scores are there from an interrupted run")
            }
            TrainingProgress::OutOfFold { images } => {
                self.fold.clear();
                self.print(&format!(
                    "{images} images are scored, each by a flow that was not trained on it; now \
                     the flow of all"
                ));
            }
            TrainingProgress::Split {
                training,
                held_out,
                parameters,
            } => self.print(&split(*training, *held_out, *parameters)),
            TrainingProgress::Resumed(epochs) => self.print(&format!(
                "going on after {epochs} epochs of an interrupted run"
            )),
            TrainingProgress::Step(step) => self.step(step),
            TrainingProgress::Epoch { report, of, left } => self.epoch(report, *of, *left),
            TrainingProgress::Scored { done, total } => {
                let text = format!("{}scored {done}/{total}", self.fold);
                self.line.update(&text);
            }
            TrainingProgress::Skipped(image) => self.line.skipped(&image.path, &image.reason),
            TrainingProgress::Exported { difference } => self.print(&format!(
                "exported; its scores differ from the trainer's by {difference:.1e} at most"
            )),
            TrainingProgress::Calibrated(calibration) => {
                self.print(&format!("calibrated on {} images", calibration.n()));
            }
            TrainingProgress::Damaged { done, total } => {
                self.line
                    .update(&format!("scored with made-up defects {done}/{total}"));
            }
        }
    }

    fn step(&mut self, step: &StepReport) {
        let rate = step.step as f64 / self.epoch_start.elapsed().as_secs_f64();
        self.line.update(&format!(
            "{}epoch {}  step {}/{}  loss {:.4}  {rate:.2} steps/s",
            self.fold, step.epoch, step.step, step.steps, step.loss
        ));
    }

    /// Prints a finished epoch of `of`. The next one begins now.
    fn epoch(&mut self, report: &EpochReport, of: usize, left: Duration) {
        let held_out = match report.held_out_loss {
            None => String::new(),
            Some(loss) => format!("  held out {loss:.4}"),
        };
        self.print(&format!(
            "epoch {}/{of}  loss {:.4}{held_out}  rate {:.1e}  {:.0} s, {} left",
            report.epoch,
            report.loss,
            report.learning_rate,
            report.seconds,
            minutes(left)
        ));
        self.epoch_start = Instant::now();
    }
}

/// Says which rate the images support, because the planned one takes more of them.
fn supported_rate(gave_way: &GaveWay) -> String {
    format!(
        "note: {} images calibrate, which supports a false-reject rate of {} at best; {}",
        gave_way.calibrating,
        shown(gave_way.rate),
        gave_way.takes
    )
}

fn split(training: usize, held_out: usize, parameters: usize) -> String {
    let calibrate = match held_out {
        0 => String::new(),
        held_out => format!(", {held_out} calibrate"),
    };
    format!("{training} images train {parameters} parameters{calibrate}")
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
