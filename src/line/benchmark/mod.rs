//! Measures how fast this build is on this machine: per-stage latency, and the whole pipeline
//! compared with a bare loop over the same model.
//!
//! What is measured is the daemon's own pipeline. Its pictures are decoded beforehand, and its
//! verdicts are only counted (and published, if requested), so the comparison shows what stages,
//! links and bookkeeping cost on top of the model. Both sides take turns in short rounds, because a
//! machine's speed drifts; the ratio is the median of the rounds' ratios.
//!
//! There are two sessions over one model file: one in the pipeline's thread, one in the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use flawd_core::depth::Depth;
use flawd_core::event::{LatencyMs, ModelData};
use flawd_core::image::RgbImage;
use flawd_core::percentiles::Percentiles;
use flawd_core::preprocess::{PreprocessError, Preprocessor};
use flawd_onnx::{Model, ModelError};
use serde::Serialize;

use super::camera::CameraIndex;
use super::daemon::{Daemon, DaemonError};
use super::pipeline::OpenCamera;
use super::pipeline::part::model::LoadedModel;

mod full_pipeline;

use full_pipeline::FullPipeline;

/// The camera whose pictures and model are used; all of the measured pipeline are copies of it.
const MEASURED: CameraIndex = CameraIndex(0);

/// Number of different pictures that are cycled through.
const PICTURES: usize = 16;

/// Frames before the first round, so that caches and allocators settle.
const WARM_UP: usize = 8;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Total frames through the pipeline, at least 1.
    pub frames: usize,
    /// Rounds that they are divided into, at least 1.
    pub rounds: usize,
    /// Cameras that the frames come from in turn, at least 1.
    pub cameras: usize,
    /// Whether verdicts are written to a journal and pictures are kept, as `flawd run` does; both
    /// in a separate folder that is deleted after the measurement.
    pub record: bool,
    /// Whether verdicts are also sent to the configured broker, which requires a journal.
    pub publish: bool,
}

/// The results of a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Frames through the pipeline, without the warm-up.
    pub frames: usize,
    /// The rounds they were divided into.
    pub rounds: usize,
    /// The cameras that they came from.
    pub cameras: usize,
    /// Frames per second through the pipeline: median of the rounds.
    pub pipeline_fps: f64,
    /// Frames per second through the bare loop: median of the rounds.
    pub session_fps: f64,
    /// Pipeline to bare loop: median of the rounds' ratios.
    pub ratio: f64,
    /// In milliseconds, for a pipeline that is kept full.
    pub latency_ms: Latencies,
    /// Memory of the whole process.
    pub resident_kib: Resident,
    /// The model and what it runs on.
    pub model: ModelData,
    /// Size of the pictures, as delivered by the camera.
    pub picture: String,
    /// Cores of the machine.
    pub cores: usize,
}

/// Latency of each step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// From taking a picture until it is available.
    pub capture: Percentiles,
    /// Waiting in links.
    pub queue: Percentiles,
    /// Resizing.
    pub preprocess: Percentiles,
    /// The model.
    pub infer: Percentiles,
    /// From taking a picture to its verdict.
    pub total: Percentiles,
}

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resident {
    /// After the warm-up.
    pub start: u64,
    /// After half of the rounds.
    pub middle: u64,
    /// After the last round.
    pub end: u64,
    /// The highest since the process started.
    pub peak: u64,
}

/// An error that prevents a measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The daemon's parts.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The camera delivered no picture.
    #[error("camera `{0}` gave no picture that can be used")]
    NoPictures(String),
    /// A picture that the model cannot take.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The bare loop.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A thread, or the process's own record.
    #[error("the system refuses a thread or its record of this process")]
    System(#[from] io::Error),
    /// A part without a score: the model did not run, so there is nothing to compare.
    #[error("a picture was not judged, so nothing is measured: {0}")]
    NotJudged(String),
    /// The pipeline ended before the measurement was complete.
    #[error("the pipeline ended before the last frame")]
    Ended,
}

/// Measures with the daemon's bundle and the pictures of its first camera.
///
/// # Errors
/// [`BenchmarkError`].
pub fn run(daemon: &Daemon, options: Options) -> Result<Measurement, BenchmarkError> {
    let bare = daemon.load_bare_model()?;
    let models = daemon.load_models()?.model_sets()[MEASURED].clone();
    let model = Arc::clone(&models.standard);
    let mut camera = daemon.open_camera(MEASURED)?;
    let pictures = take_pictures(&mut camera, model.depth)?;
    let picture = pictures[0].size().to_string();
    let mut session = BareLoop {
        model: bare,
        tensors: prepare(&pictures, &camera, &model)?,
    };
    let pipeline = FullPipeline::start(daemon, camera, pictures, models, options)?;
    let rounds = Rounds::measure(&mut session, &pipeline, options)?;
    pipeline.stop(daemon.config().grace_period)?;
    let rates = || rounds.rates.iter();
    Ok(Measurement {
        frames: options.frames,
        rounds: rounds.rates.len(),
        cameras: options.cameras,
        pipeline_fps: median(rates().map(|(pipeline, _)| *pipeline)),
        session_fps: median(rates().map(|(_, session)| *session)),
        ratio: median(rates().map(|(pipeline, session)| pipeline / session)),
        latency_ms: Latencies::of(&rounds.latencies),
        resident_kib: rounds.resident,
        model: model.judge.model.clone(),
        picture,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// A model that does nothing but run.
struct BareLoop {
    model: Model,
    tensors: Vec<Vec<u8>>,
}

impl BareLoop {
    /// Returns how long this many frames take.
    fn run(&mut self, frames: usize) -> Result<Duration, BenchmarkError> {
        let begun = Instant::now();
        for tensor in self.tensors.iter().cycle().take(frames) {
            self.model.run(tensor)?;
        }
        Ok(begun.elapsed())
    }
}

/// The results of all rounds.
struct Rounds {
    /// Of every frame.
    latencies: Vec<LatencyMs>,
    /// Of each round, frames per second: through the pipeline, and through the bare loop.
    rates: Vec<(f64, f64)>,
    resident: Resident,
}

impl Rounds {
    fn measure(
        session: &mut BareLoop,
        pipeline: &FullPipeline,
        Options {
            frames,
            rounds,
            cameras,
            ..
        }: Options,
    ) -> Result<Self, BenchmarkError> {
        session.run(WARM_UP)?;
        pipeline.run(WARM_UP.max(cameras))?;
        let start = resident()?.0;
        let mut middle = start;
        let mut all = Vec::with_capacity(frames);
        let mut rates = Vec::with_capacity(rounds);
        for (round, share) in shares(frames, rounds).enumerate() {
            // Each side goes first in every other round.
            let session_first = round % 2 == 1;
            let early = session_first.then(|| session.run(share)).transpose()?;
            let (through_pipeline, latencies) = pipeline.run(share)?;
            let through_session = match early {
                Some(time) => time,
                None => session.run(share)?,
            };
            all.extend(latencies);
            let rate = |time: Duration| share as f64 / time.as_secs_f64();
            rates.push((rate(through_pipeline), rate(through_session)));
            if round + 1 == rounds.div_ceil(2) {
                middle = resident()?.0;
            }
        }
        let (end, peak) = resident()?;
        Ok(Self {
            latencies: all,
            rates,
            resident: Resident {
                start,
                middle,
                end,
                peak,
            },
        })
    }
}

/// Takes the first pictures that the camera delivers.
fn take_pictures(
    camera: &mut OpenCamera,
    depth: Option<Depth>,
) -> Result<Vec<Arc<RgbImage>>, BenchmarkError> {
    let source = &mut camera.source;
    let frames = std::iter::from_fn(|| source.next_frame().ok().flatten());
    let pictures: Vec<_> = frames
        .take(PICTURES)
        .filter_map(|frame| frame.image.ok()?.at(depth).ok())
        .collect();
    if pictures.is_empty() {
        return Err(BenchmarkError::NoPictures(camera.settings.name.clone()));
    }
    Ok(pictures)
}

/// Prepares the model's inputs for the bare loop.
fn prepare(
    pictures: &[Arc<RgbImage>],
    camera: &OpenCamera,
    model: &LoadedModel,
) -> Result<Vec<Vec<u8>>, PreprocessError> {
    let geometry = camera.settings.geometry.unwrap_or(model.geometry);
    let mut preprocessor = Preprocessor::new(model.input_size(), geometry);
    let prepare = |picture: &Arc<RgbImage>| {
        let mut tensor = vec![0; preprocessor.tensor_len()];
        preprocessor.run(picture, &mut tensor)?;
        Ok(tensor)
    };
    pictures.iter().map(prepare).collect()
}

/// Splits `frames` into at most `rounds` parts of nearly the same size, none of them empty.
fn shares(frames: usize, rounds: usize) -> impl Iterator<Item = usize> {
    let until = move |round: usize| frames * round / rounds;
    (0..rounds)
        .map(move |round| until(round + 1) - until(round))
        .filter(|share| *share > 0)
}

impl Latencies {
    fn of(all: &[LatencyMs]) -> Self {
        let percentiles = |step: fn(&LatencyMs) -> Option<f64>| {
            Percentiles::of(all.iter().filter_map(step).collect())
        };
        Self {
            capture: percentiles(|latency| latency.capture),
            queue: percentiles(|latency| latency.queue),
            preprocess: percentiles(|latency| latency.preprocess),
            infer: percentiles(|latency| latency.infer),
            total: percentiles(|latency| Some(latency.total)),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Percentiles::of(values.collect()).p50
}

/// Returns the resident memory of this process in KiB: current and peak.
fn resident() -> io::Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("/proc/self/status has no {name}")))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_share_all_frames() {
        for (frames, rounds) in [(10, 3), (2, 5), (1, 1), (10_000, 7)] {
            assert_eq!(shares(frames, rounds).sum::<usize>(), frames);
        }
    }

    #[test]
    fn the_process_knows_its_own_memory() {
        let (now, peak) = resident().unwrap();
        assert!(now > 0 && peak >= now);
    }
}
