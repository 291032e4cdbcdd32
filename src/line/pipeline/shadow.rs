//! The shadow model: scores the parts that were judged, decides nothing, and reports where it would
//! have decided otherwise. So a new model can be observed on the line before it counts.
//!
//! ```text
//! verdict ─► offer ──4 parts──► shadow: preprocess → score → compare ──► disagreement
//!            never waits        (one thread for all cameras)
//! ```
//! It has its own sessions and its own queue, in which the newest part wins: the line never waits
//! for it, and neither does the end. Parts that it had no time for are counted. It contains nothing
//! about journals and topics.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{fmt, io};

use flawd_core::event::{DisagreementData, EvidenceData, Opinion, ShadowState};
use flawd_core::image::RgbImage;
use flawd_core::preprocess::{Geometry, PreprocessError, Preprocessor};
use flawd_core::verdict::Verdict;
use flawd_onnx::ModelError;
use parking_lot::Mutex;
use tracing::warn;

use super::channels::link::{Receiver, Sender, link};
use super::channels::log_limit::Throttle;
use super::channels::threads::Threads;
use super::part::model::LoadedModel;
use super::part::moment::Moment;
use crate::line::camera::{CameraIndex, PerCamera};
use crate::line::config::Overflow;
use crate::messages::with_causes;

/// Maximum parts that may wait. Each holds its picture, and an older one is worth no more than a
/// newer.
const WAITING: NonZeroUsize = NonZeroUsize::new(4).expect("it is not zero");

/// The fixed settings of a camera.
#[derive(Clone, Debug)]
pub struct CameraSetup {
    /// Its name.
    pub name: String,
    /// Region of interest, rotation and flip; `None` for those the shadow's bundle was trained
    /// with.
    pub geometry: Option<Geometry>,
}

/// A part that was judged by the camera's own model, and not by that of a recipe.
#[derive(Clone, Debug)]
pub struct JudgedPart {
    /// The camera.
    pub camera: CameraIndex,
    /// The number of its verdict.
    pub seq: u64,
    /// The line's name for it.
    pub part_id: Option<String>,
    /// When its picture was taken.
    pub captured: Moment,
    /// Its picture.
    pub image: Arc<RgbImage>,
    /// The decision.
    pub live: Opinion,
    /// Where its picture is kept, if it is.
    pub evidence: Option<EvidenceData>,
}

/// A part on which the two models disagree.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The camera.
    pub camera: CameraIndex,
    /// When its picture was taken.
    pub captured: Moment,
    /// Its picture.
    pub image: Arc<RgbImage>,
    /// The verdicts of both; not historical.
    pub data: DisagreementData,
}

/// The handle to the shadow; clones lead to the same one. It ends after the last is dropped and the
/// queue is empty.
#[derive(Clone, Debug)]
pub struct Shadow {
    queue: Sender<ShadowJob>,
    cameras: Arc<Mutex<PerCamera<ShadowedCamera>>>,
    sink: Arc<DisagreementSink>,
}

type Way = Box<dyn FnMut(Disagreement) + Send>;

/// Where disagreements go until the end.
struct DisagreementSink {
    is_closed: AtomicBool,
    /// Held while a disagreement is passed on, which may take time.
    way: Mutex<Option<Way>>,
}

/// The shadow of one camera.
#[derive(Clone, Debug, Default)]
struct ShadowedCamera {
    model: Option<Arc<LoadedModel>>,
    counts: ShadowState,
}

/// A part with the model that is to score it.
#[derive(Debug)]
struct ShadowJob {
    part: JudgedPart,
    model: Arc<LoadedModel>,
}

/// Starts the thread `shadow`, whose end is not waited for: a model may take longer for one part
/// than a shutdown may. `models` has `None` for a camera without a shadow; `disagreement` runs on the
/// thread and may take time.
///
/// # Errors
/// If the system cannot create a thread.
pub fn start(
    cameras: PerCamera<CameraSetup>,
    models: PerCamera<Option<Arc<LoadedModel>>>,
    disagreement: impl FnMut(Disagreement) + Send + 'static,
) -> io::Result<Shadow> {
    let (queue, jobs) = link(WAITING, Overflow::NewestWins);
    let without_models = cameras.iter().map(|_| ShadowedCamera::default()).collect();
    let shadow = Shadow {
        queue,
        cameras: Arc::new(Mutex::new(without_models)),
        sink: Arc::new(DisagreementSink {
            is_closed: AtomicBool::new(false),
            way: Mutex::new(Some(Box::new(disagreement))),
        }),
    };
    shadow.exchange(models);
    let stage = ShadowStage {
        prepared: cameras.iter().map(|_| None).collect(),
        cameras,
        shared: Arc::clone(&shadow.cameras),
        jobs,
        sink: Arc::clone(&shadow.sink),
        failures: Throttle::new(Duration::from_secs(60)),
    };
    Threads::spawn_detached("shadow", move || stage.run())?;
    Ok(shadow)
}

impl Shadow {
    /// Hands a part over if its camera has a shadow and something was decided. Never waits.
    pub fn offer(&self, part: JudgedPart) {
        if !matches!(part.live.verdict, Verdict::Ok | Verdict::Ng) {
            return;
        }
        let Some(model) = self.cameras.lock()[part.camera].model.clone() else {
            return;
        };
        // The thread outlives every handle, so that the queue has a receiver.
        if let Ok(Some(displaced)) = self.queue.send(ShadowJob { part, model }) {
            self.cameras.lock()[displaced.part.camera].counts.skipped += 1;
        }
    }

    /// Sets the models for the parts that are offered from now on.
    pub fn exchange(&self, models: PerCamera<Option<Arc<LoadedModel>>>) {
        for (camera, model) in self.cameras.lock().iter_mut().zip(models) {
            camera.model = model;
        }
    }

    /// Returns the shadow's results for a camera's parts since the daemon started; `None` if it has
    /// no shadow.
    pub fn state(&self, camera: CameraIndex) -> Option<ShadowState> {
        let cameras = self.cameras.lock();
        let camera = &cameras[camera];
        camera.model.as_ref().map(|_| camera.counts)
    }

    /// Discards all results from now on: waiting parts are left out and counted, and the callback
    /// for disagreements is dropped. Never waits.
    pub fn stop(&self) {
        self.sink.is_closed.store(true, Ordering::SeqCst);
        // If it is held, the thread checks the flag next.
        if let Some(mut way) = self.sink.way.try_lock() {
            *way = None;
        }
    }
}

impl DisagreementSink {
    /// Returns whether disagreements are wanted; drops the callback if not.
    fn is_open(&self) -> bool {
        let is_open = !self.is_closed.load(Ordering::SeqCst);
        if !is_open {
            *self.way.lock() = None;
        }
        is_open
    }
}

impl fmt::Debug for DisagreementSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet")
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

/// Why a part has no score.
#[derive(Debug, thiserror::Error)]
enum ShadowError {
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// What is needed to prepare a model's input.
struct ShadowInput {
    model: Weak<LoadedModel>,
    preprocessor: Preprocessor,
    tensor: Vec<u8>,
}

/// The thread.
struct ShadowStage {
    cameras: PerCamera<CameraSetup>,
    prepared: PerCamera<Option<ShadowInput>>,
    shared: Arc<Mutex<PerCamera<ShadowedCamera>>>,
    jobs: Receiver<ShadowJob>,
    sink: Arc<DisagreementSink>,
    failures: Throttle,
}

impl ShadowStage {
    fn run(mut self) {
        while let Some(ShadowJob { part, model }) = self.jobs.recv() {
            if !self.sink.is_open() {
                self.count(part.camera, |counts| counts.skipped += 1);
                continue;
            }
            let score = self.score(part.camera, &part.image, &model);
            match score {
                Ok(score) => {
                    let verdict = Verdict::from_score(score, &model.judge.calibration);
                    if verdict == part.live.verdict {
                        self.count(part.camera, |counts| counts.agreed += 1);
                    } else {
                        self.disagree(part, &model, verdict, score);
                    }
                }
                Err(error) => {
                    self.count(part.camera, |counts| counts.skipped += 1);
                    if let Some(suppressed) = self.failures.permit() {
                        warn!(
                            camera = self.cameras[part.camera].name,
                            seq = part.seq,
                            error = with_causes(&error),
                            suppressed,
                            "The model in the shadow has no score"
                        );
                    }
                }
            }
        }
    }

    fn count(&self, camera: CameraIndex, count: impl FnOnce(&mut ShadowState)) {
        count(&mut self.shared.lock()[camera].counts);
    }

    fn score(
        &mut self,
        camera: CameraIndex,
        image: &RgbImage,
        model: &Arc<LoadedModel>,
    ) -> Result<f32, ShadowError> {
        let same =
            |prepared: &ShadowInput| std::ptr::eq(prepared.model.as_ptr(), Arc::as_ptr(model));
        let prepared = match &mut self.prepared[camera] {
            Some(prepared) if same(prepared) => prepared,
            slot => {
                let geometry = self.cameras[camera].geometry.unwrap_or(model.geometry);
                let preprocessor = Preprocessor::new(model.input_size(), geometry);
                slot.insert(ShadowInput {
                    model: Arc::downgrade(model),
                    tensor: vec![0; preprocessor.tensor_len()],
                    preprocessor,
                })
            }
        };
        prepared.preprocessor.run(image, &mut prepared.tensor)?;
        Ok(model.run(&prepared.tensor)?.score)
    }

    fn disagree(&self, part: JudgedPart, model: &LoadedModel, verdict: Verdict, score: f32) {
        let mut way = self.sink.way.lock();
        let Some(pass_on) = &mut *way else {
            return self.count(part.camera, |counts| counts.skipped += 1);
        };
        self.count(part.camera, |counts| counts.disagreed += 1);
        pass_on(Disagreement {
            camera: part.camera,
            captured: part.captured,
            image: part.image,
            data: DisagreementData {
                camera: self.cameras[part.camera].name.clone(),
                seq: part.seq,
                part_id: part.part_id,
                live: part.live,
                shadow: Opinion {
                    verdict,
                    score,
                    threshold: model.judge.calibration.threshold(),
                    model: model.judge.model.clone(),
                },
                evidence: part.evidence,
                historical: false,
            },
        });
        drop(way);
        // It may have been closed meanwhile.
        self.sink.is_open();
    }
}
