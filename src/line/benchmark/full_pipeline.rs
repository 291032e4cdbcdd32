//! The side that is measured: the daemon's own pipeline, with pictures that are released by permits
//! and verdicts that are counted.

use std::fs;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use flawd_core::event::{LatencyMs, Phase};
use flawd_core::image::RgbImage;
use tempfile::TempDir;

use super::{BenchmarkError, Options};
use crate::line::camera::PerCamera;
use crate::line::config::{
    CameraSettings, EvidenceSettings, JournalSettings, MqttSettings, Overflow, TriggerMode,
};
use crate::line::daemon::{self, Daemon, DaemonError};
use crate::line::evidence::EvidenceSink;
use crate::line::monitor::Metrics;
use crate::line::pipeline::admit::inbox::Control;
use crate::line::pipeline::capture::{CameraLost, Source};
use crate::line::pipeline::channels::threads::Threads;
use crate::line::pipeline::event::{self, EventSender};
use crate::line::pipeline::part::frame::{Frame, Inspection, Sink};
use crate::line::pipeline::part::model::ModelSet;
use crate::line::pipeline::part::moment::Moment;
use crate::line::pipeline::publish::{CameraReport, DaemonStatus};
use crate::line::pipeline::{self, DeliveryPlan, Line, OpenCamera, record};

/// The daemon's pipeline, which takes a picture for each permit.
pub(crate) struct FullPipeline {
    /// One sender per camera.
    permits: Vec<mpsc::Sender<()>>,
    seen: mpsc::Receiver<Result<LatencyMs, BenchmarkError>>,
    line: Line,
    threads: Threads,
    /// Where journal and evidence are; deleted with this.
    _folder: Option<TempDir>,
}

impl FullPipeline {
    /// Starts it with as many cameras as wanted, each of them like `camera` but for these pictures,
    /// which it takes over and over.
    pub(crate) fn start(
        daemon: &Daemon,
        mut camera: OpenCamera,
        pictures: Vec<Arc<RgbImage>>,
        models: ModelSet,
        options: Options,
    ) -> Result<Self, BenchmarkError> {
        let (seen_sender, seen) = mpsc::channel();
        camera.settings.overflow = Overflow::Block;
        // What the line would refuse costs the model as much, and the loop beside it refuses
        // nothing.
        camera.settings.quality_gate = false;
        // A late part costs the model nothing, and would not be measured.
        camera.settings.deadline = None;
        camera.settings.trigger.mode = TriggerMode::FreeRun;
        let (permits, cameras) = copies(&camera.settings, &pictures.into(), options.cameras);
        let mut threads = Threads::new();
        // Nothing reacts to the events.
        let (events, _) = event::channel();
        let (recorder, folder) = (options.record || options.publish)
            .then(|| open_outlet(&mut threads, daemon, &cameras, &events, options.publish))
            .transpose()?
            .unzip();
        let sink = LatencyRecorder {
            seen: seen_sender,
            recorder,
        };
        let line = pipeline::start_line(&mut threads, cameras, sink, &events)?;
        for inbox in line.inboxes.iter() {
            inbox.order(Control::Use(models.clone()));
        }
        Ok(Self {
            permits,
            seen,
            line,
            threads,
            _folder: folder,
        })
    }

    /// Returns how long this many frames take, and the latencies of each.
    pub(crate) fn run(&self, frames: usize) -> Result<(Duration, Vec<LatencyMs>), BenchmarkError> {
        let begun = Instant::now();
        for permits in self.permits.iter().cycle().take(frames) {
            permits.send(()).map_err(|_| BenchmarkError::Ended)?;
        }
        let latencies = (self.seen.iter().take(frames)).collect::<Result<Vec<_>, _>>()?;
        if latencies.len() < frames {
            return Err(BenchmarkError::Ended);
        }
        Ok((begun.elapsed(), latencies))
    }

    /// Ends the pipeline and waits for its threads.
    pub(crate) fn stop(self, grace_period: Duration) -> Result<(), BenchmarkError> {
        drop(self.permits);
        self.line.stop();
        self.threads
            .join_until(Instant::now() + grace_period)
            .map_err(|_| BenchmarkError::Ended)
    }
}

/// Returns cameras with these settings and pictures, and what permits each of them a picture.
fn copies(
    settings: &CameraSettings,
    pictures: &Arc<[Arc<RgbImage>]>,
    count: usize,
) -> (Vec<mpsc::Sender<()>>, PerCamera<OpenCamera>) {
    let copy = |number| {
        let mut settings = settings.clone();
        if number > 0 {
            settings.name = format!("{}-{}", settings.name, number + 1);
        }
        let (permits, allowed) = mpsc::channel();
        let source = Round {
            pictures: Arc::clone(pictures),
            // They do not all give the same one at a time.
            next: number,
            allowed,
        };
        (permits, OpenCamera::new(settings, Box::new(source)))
    };
    let (permits, cameras): (_, Vec<_>) = (0..count).map(copy).unzip();
    (permits, cameras.into())
}

/// Opens journal and publisher as in `flawd run`, with the journal in its own folder.
fn open_outlet(
    threads: &mut Threads,
    daemon: &Daemon,
    cameras: &PerCamera<OpenCamera>,
    events: &EventSender,
    publish: bool,
) -> Result<(record::Recorder, TempDir), BenchmarkError> {
    let config = daemon.config();
    fs::create_dir_all(&config.state)?;
    let folder = tempfile::tempdir_in(&config.state)?;
    let journal = Daemon::open_journal(&JournalSettings {
        folder: folder.path().join("journal"),
        ..config.journal.clone()
    })?;
    let report = DaemonStatus {
        phase: Phase::ContinuousExecution,
        not_ready: None,
        clock_synchronised: None,
        cameras: cameras.iter().map(|_| CameraReport::default()).collect(),
    };
    let mqtt = MqttSettings {
        required_at_start: config.mqtt.required_at_start || publish,
        ..config.mqtt.clone()
    };
    let evidence = config.evidence.clone().map(|settings| EvidenceSettings {
        folder: folder.path().join("evidence"),
        ..settings
    });
    let plan = DeliveryPlan {
        mqtt: mqtt.clone(),
        journal,
        evidence: evidence
            .map(EvidenceSink::open)
            .transpose()
            .map_err(DaemonError::from)?,
        report,
        metrics: Metrics::new(cameras.iter().map(|it| it.settings.name.clone())),
    };
    let delivery = pipeline::start_delivery(threads, cameras, plan, events)?;
    if publish {
        daemon::await_broker(&mqtt, &delivery.first_attempt)?;
    }
    Ok((delivery.recorder, folder))
}

/// The same pictures over and over, each released when it is allowed.
struct Round {
    pictures: Arc<[Arc<RgbImage>]>,
    next: usize,
    allowed: mpsc::Receiver<()>,
}

impl Source for Round {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        if self.allowed.recv().is_err() {
            return Ok(None);
        }
        let captured = Moment::now();
        let picture = Arc::clone(&self.pictures[self.next % self.pictures.len()]);
        self.next += 1;
        Ok(Some(Frame::shared(None, Ok(picture), captured)))
    }
}

/// Notes the latencies of every verdict that involved the model, and passes it on if a caller wants
/// it.
#[derive(Clone)]
struct LatencyRecorder {
    seen: mpsc::Sender<Result<LatencyMs, BenchmarkError>>,
    recorder: Option<record::Recorder>,
}

impl Sink for LatencyRecorder {
    fn accept(&mut self, inspection: Inspection) {
        let verdict = &inspection.verdict;
        let seen = match (verdict.score, &verdict.detail) {
            (Some(_), _) => Ok(verdict.latency_ms.clone()),
            (None, Some(why)) => Err(BenchmarkError::NotJudged(why.clone())),
            (None, None) => Err(BenchmarkError::NotJudged(verdict.verdict.to_string())),
        };
        // A measurement that has failed no longer listens.
        self.seen.send(seen).ok();
        if let Some(recorder) = &mut self.recorder {
            recorder.accept(inspection);
        }
    }
}
