//! The data path, and how its stages are wired.
//!
//! ```text
//! cap-<camera>        pre-<camera>            infer                        publish
//! capture ──slot──► preprocess ──bounded──► infer → decide ──► sink ─────► broker
//!          1 frame              waits        (one thread for    never waits
//!          overflow: configured              all cameras)
//! ```
//!
//! Each stage is a blocking loop on a named thread, and ends when its input has closed: so a
//! shutdown is "capture takes no more", and everything behind it drains in order. Only the client
//! of the broker is asynchronous, and its runtime stays inside [`publish`].
//!
//! What may be lost, and where it is counted: a frame in the slot before preprocessing, when the
//! camera's overflow policy says that the newest wins (`overrun`); a verdict that the broker does
//! not take (`undelivered`). Nothing else.
//!
//! A durable journal of verdicts belongs between decide and publish, as another [`Sink`].

use std::{io, num::NonZeroUsize, time::Duration};

use flawd_core::preprocess::{Geometry, Preprocessor};
use flawd_onnx::Model;

use crate::config::{CameraSettings, Overflow, SourceSettings};

pub mod active;
pub mod capture;
pub mod counters;
pub mod crew;
pub mod decide;
pub mod event;
pub mod frame;
pub mod link;
pub mod pool;
pub mod progress;
pub mod publish;
pub mod shadow;
pub mod shutdown;

mod infer;
mod preprocess;
mod throttle;

use capture::{Capture, Source};
use counters::Counters;
use crew::Crew;
use decide::{CameraRules, Judge};
use event::EventSender;
use frame::Sink;
use infer::Infer;
use pool::Pool;
use preprocess::Preprocess;
use progress::Progress;
use shutdown::Shutdown;
use throttle::Throttle;

/// Tensors of one camera: one in the model, one being filled. A third would only be older.
const TENSORS: usize = 2;

/// Everything that a pipeline is made of, built and not yet running.
pub struct Plan<S> {
    /// In the order of the configuration.
    pub cameras: Vec<Camera>,
    /// What scores the parts.
    pub model: Model,
    /// What makes verdicts of scores.
    pub judge: Judge,
    /// Where the verdicts go.
    pub sink: S,
}

/// A camera that is open and has not begun.
pub struct Camera {
    /// Its name, overflow policy and deadline.
    pub settings: CameraSettings,
    /// Its frames.
    pub source: Box<dyn Source>,
    /// Which part of its picture is inspected.
    pub geometry: Geometry,
    /// Where it counts.
    pub counters: Counters,
}

/// Starts every stage on a thread of `crew`, the last one first; returns whose progress shows
/// health.
///
/// # Errors
/// When the system has no thread to give.
pub fn start<S: Sink + 'static>(
    crew: &mut Crew,
    plan: Plan<S>,
    shutdown: &Shutdown,
    events: &EventSender,
) -> io::Result<Vec<Progress>> {
    let Plan {
        cameras,
        model,
        judge,
        sink,
    } = plan;
    let rules = cameras.iter().map(CameraRules::of).collect();
    let counters = cameras
        .iter()
        .map(|camera| camera.counters.clone())
        .collect();
    let input_size = model.input_size();
    let capacity = NonZeroUsize::new(TENSORS * cameras.len()).unwrap_or(NonZeroUsize::MIN);
    let (prepared_sender, prepared) = link::link(capacity, Overflow::Block);
    let infer = Infer {
        model,
        judge,
        rules,
        counters,
        prepared,
        sink,
        progress: Progress::new("infer"),
        flaws: Throttle::new(Duration::from_secs(60)),
    };
    let mut stages = vec![infer.progress.clone()];
    crew.spawn("infer", move || infer.run())?;
    for (camera, parts) in cameras.into_iter().enumerate() {
        let name = parts.settings.name;
        let (frame_sender, frames) = link::link(NonZeroUsize::MIN, parts.settings.overflow);
        let is_live = matches!(parts.settings.source, SourceSettings::V4l2 { .. });
        let capture = Capture {
            camera,
            name: name.clone(),
            source: parts.source,
            interval: capture::interval(&parts.settings.source),
            frames: frame_sender,
            counters: parts.counters,
            events: events.clone(),
            progress: (!is_live).then(|| Progress::new(format!("cap-{name}"))),
            shutdown: shutdown.clone(),
        };
        let tensor = || vec![0; input_size.area() * 3].into_boxed_slice();
        let preprocess = Preprocess {
            camera,
            preprocessor: Preprocessor::new(input_size, parts.geometry),
            tensors: Pool::new((0..TENSORS).map(|_| tensor()).collect()),
            frames,
            prepared: prepared_sender.clone(),
            progress: Progress::new(format!("pre-{name}")),
        };
        stages.extend(capture.progress.clone());
        stages.push(preprocess.progress.clone());
        crew.spawn(format!("pre-{name}"), move || preprocess.run())?;
        crew.spawn(format!("cap-{name}"), move || capture.run())?;
    }
    Ok(stages)
}

impl CameraRules {
    fn of(camera: &Camera) -> Self {
        Self {
            name: camera.settings.name.clone(),
            deadline: camera.settings.deadline,
        }
    }
}
