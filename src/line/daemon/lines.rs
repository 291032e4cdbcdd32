//! The GPIO lines of a daemon: opened before anything is judged, so that a line that is missing or
//! taken ends the start, and outputs are inactive from then on.

use std::time::Duration;

use super::DaemonError;
use super::heartbeat::BeatingLine;
use crate::line::camera::{CameraIndex, PerCamera, numbered};
use crate::line::config::ValidConfig;
use crate::line::gpio::{self, InputLine, LineError, Opener, OutputLine};
use crate::line::monitor::{Health, Metrics};
use crate::line::pipeline::OpenCamera;
use crate::line::pipeline::channels::shutdown::Shutdown;
use crate::line::pipeline::channels::threads::Threads;
use crate::line::pipeline::edges::EdgeTriggers;
use crate::line::pipeline::event::EventSender;
use crate::line::pipeline::reject::RejectLine;

/// The lines, open.
pub(crate) struct Lines {
    /// The outputs that remove parts.
    pub(crate) rejects: PerCamera<Option<RejectLine>>,
    inputs: Vec<OpenInput>,
    heartbeat: Option<HeartbeatLine>,
}

struct HeartbeatLine {
    line: Box<dyn OutputLine>,
    open: Opener<dyn OutputLine>,
    interval: Duration,
}

struct OpenInput {
    camera: CameraIndex,
    line: Box<dyn InputLine>,
    open: Opener<dyn InputLine>,
}

/// Opens a line, and returns what opens it again.
fn open<L: ?Sized>(
    mut open: impl FnMut() -> Result<Box<L>, LineError> + Send + 'static,
    what: String,
) -> Result<(Box<L>, Opener<L>), DaemonError> {
    match open() {
        Ok(line) => Ok((line, Box::new(open))),
        Err(source) => Err(DaemonError::Gpio { what, source }),
    }
}

impl Lines {
    /// Opens every line of the configuration.
    ///
    /// # Errors
    /// [`DaemonError::Gpio`] for the first that cannot be used.
    pub(crate) fn open(config: &ValidConfig) -> Result<Self, DaemonError> {
        let mut rejects = Vec::new();
        let mut inputs = Vec::new();
        for (index, camera) in numbered(&config.cameras) {
            let name = &camera.name;
            let reject = camera.reject.clone().map(|reject| {
                let output = reject.output;
                let what = format!("the reject output of camera `{name}`");
                let (line, open) = open(move || gpio::open_output(&output), what)?;
                Ok::<_, DaemonError>(RejectLine { line, open })
            });
            rejects.push(reject.transpose()?);
            if let Some(input) = camera.trigger.input.clone() {
                let what = format!("the trigger input of camera `{name}`");
                let (line, open) = open(move || gpio::open_input(&input), what)?;
                inputs.push(OpenInput {
                    camera: index,
                    line,
                    open,
                });
            }
        }
        let heartbeat = config.heartbeat.clone().map(|heartbeat| {
            let output = heartbeat.output;
            let what = "the heartbeat".to_owned();
            let (line, open) = open(move || gpio::open_output(&output), what)?;
            Ok::<_, DaemonError>(HeartbeatLine {
                line,
                open,
                interval: heartbeat.interval,
            })
        });
        Ok(Self {
            rejects: rejects.into(),
            inputs,
            heartbeat: heartbeat.transpose()?,
        })
    }

    /// Takes what makes triggers for these cameras.
    pub(crate) fn edges(
        &mut self,
        cameras: &PerCamera<OpenCamera>,
        metrics: &Metrics,
        events: &EventSender,
        shutdown: &Shutdown,
    ) -> Vec<EdgeTriggers> {
        let inputs = std::mem::take(&mut self.inputs).into_iter();
        let triggers = inputs.map(|input| {
            let camera = &cameras[input.camera];
            EdgeTriggers {
                index: input.camera,
                camera: camera.settings.name.clone(),
                line: input.line,
                open: input.open,
                max_age: camera.settings.trigger.max_age,
                inbox: camera.inbox.clone(),
                counters: camera.counters.clone(),
                metrics: metrics.clone(),
                events: events.clone(),
                shutdown: shutdown.clone(),
            }
        });
        triggers.collect()
    }

    /// Starts the heartbeat, if there is one.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(crate) fn beat(
        &mut self,
        threads: &mut Threads,
        health: &Health,
        shutdown: &Shutdown,
    ) -> Result<(), DaemonError> {
        if let Some(it) = self.heartbeat.take() {
            let heartbeat = BeatingLine {
                line: it.line,
                open: it.open,
                interval: it.interval,
                health: health.clone(),
                shutdown: shutdown.clone(),
            };
            threads.spawn("heartbeat", move || heartbeat.run())?;
        }
        Ok(())
    }
}
