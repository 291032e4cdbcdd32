//! What each part of the flow does: variants of it, trained on the same features and scored on the
//! same images.
//!
//! ```text
//! train/good ─► features (cached) ─► each variant, each seed ─► scores of test ─► one table
//! ```
//!
//! The scores are those of the trainer's own forward pass: an ablation ships nothing and sets no
//! threshold, so it trains on all good images. Finished work is kept, so that an interrupted
//! ablation resumes with the next variant.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flawd_core::interrupted::Interrupted;
use flawd_onnx::Execution;
use flawd_train::features::{CachedFeatureError, FeatureSet};
use flawd_train::trainer::{EpochError, StepReport};
use flawd_train::variant::Variant;

use super::comparison::{Contender, ContenderError};
use super::dataset::{self, DatasetError, GOOD, LeftOut, Sample, TestSet};
use super::evaluation::metrics::ImageMetrics;
use super::features::light;
use super::features::{
    ExtractionStep, FeatureImage, FeaturePlan, FeatureSource, FeaturesError, Repeated,
};
use crate::pictures::depth::{self, SetError};

mod group;
mod report;
mod saved;

pub use group::Group;
pub use report::{Ablation, AblationRow, GroupReport, Summary};
pub use saved::SavedRun;

use group::Entry;
use saved::{KeptError, KeptRuns};

/// Everything that an ablation depends on.
#[derive(Clone, Debug)]
pub struct AblationPlan {
    /// A folder in the MVTec AD layout.
    pub data: PathBuf,
    /// The folder of good parts in its `train` and `test`; [`GOOD`] if `None`.
    pub good: Option<String>,
    /// Where the features come from; finished runs are kept in `ablations` of its cache.
    pub features: FeaturePlan,
    /// The flow to vary, and how it is trained; its seed is replaced.
    pub base: Variant,
    /// Each variant is trained once per seed; not empty.
    pub seeds: Vec<u64>,
    /// What to vary, in the order of the table.
    pub groups: Vec<Group>,
    /// Train again what has been kept.
    pub fresh: bool,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum AblationError {
    /// The images cannot be listed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Their depth is unknown, or contradicts the stated one.
    #[error(transparent)]
    Depth(SetError),
    /// The features are unavailable.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// Cached features cannot be read.
    #[error(transparent)]
    Cache(#[from] CachedFeatureError),
    /// A finished run cannot be kept or read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// There is only one kind of test image.
    #[error(
        "an ablation takes good test images and such with a defect; {} has one kind only",
        folder.display()
    )]
    OneKind {
        /// The folder.
        folder: PathBuf,
    },
    /// A variant has no scores; earlier ones are kept.
    #[error("no scores from {variant}")]
    Variant {
        /// Group and name.
        variant: String,
        /// The reason.
        source: ContenderError,
    },
    /// The caller asked to stop; the same command resumes with the next variant.
    #[error("interrupted; run the same command again to go on, without --fresh")]
    Interrupted,
}

impl From<Interrupted> for AblationError {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}

/// Progress reports of an ablation.
pub enum AblationStep<'a> {
    /// The images are listed; these other files exist as well, and are not used.
    LeftOut(&'a [LeftOut]),
    /// The number of training images checked for their depth.
    Depths {
        /// Images done so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
    /// Images of more than 8 bits are read at this depth.
    Depth(&'a depth::Found),
    /// The number of training images checked for their light.
    Lights {
        /// Images done so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
    /// Features are being extracted.
    Features(ExtractionStep<'a>),
    /// A variant is being trained.
    Trains {
        /// The run.
        at: At<'a>,
        /// Its number of epochs.
        epochs: usize,
        /// Its progress.
        step: StepReport,
    },
    /// A variant is finished.
    Finished {
        /// The run.
        at: At<'a>,
        /// Its result.
        run: &'a SavedRun,
        /// Whether an earlier ablation had finished it.
        was_kept: bool,
    },
}

/// One run of an ablation.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Counted from 1.
    pub number: usize,
    /// Total number of runs.
    pub of: usize,
    /// Group and name of the variant.
    pub variant: &'a str,
    /// The seed, if anything is drawn.
    pub seed: Option<u64>,
}

/// Receives progress reports, and may stop the ablation.
pub type AblationObserver<'a> = dyn FnMut(AblationStep<'_>) -> Result<(), Interrupted> + 'a;

/// Trains and scores all variants that have not been kept yet.
///
/// # Errors
/// [`AblationError`]; finished runs are kept in the plan's cache.
pub fn ablate(
    plan: &AblationPlan,
    execution: Execution,
    observe: &mut AblationObserver,
) -> Result<Ablation, AblationError> {
    let TestSet { samples, left_out } = TestSet::open(&plan.data, plan.good.as_deref())?;
    check_kinds(&samples, &plan.data)?;
    let good = plan.good.as_deref().unwrap_or(GOOD);
    let training = dataset::train_good(&plan.data, good)?;
    let left_out = [training.left_out, left_out].concat();
    observe(AblationStep::LeftOut(&left_out))?;
    let paths = training.paths.iter().map(PathBuf::as_path);
    let found = depth::of_set(paths, plan.features.depth, &mut |done, total| {
        observe(AblationStep::Depths { done, total })
    })
    .map_err(|error| match error {
        SetError::Interrupted(interrupted) => interrupted.into(),
        error => AblationError::Depth(error),
    })?;
    observe(AblationStep::Depth(&found))?;
    let light = {
        let mut looked = |done, total| observe(AblationStep::Lights { done, total });
        let step = training.paths.len().div_ceil(light::SAMPLE).max(1);
        let sample: Vec<PathBuf> = training.paths.iter().step_by(step).cloned().collect();
        light::of_training(&plan.features, &sample, found.depth, &mut looked)?
    };
    let source = FeatureSource::open(&plan.features)?.reading(found.depth);
    let source = source.lit(light)?;
    let mut extract = |paths: Vec<PathBuf>, repeated: Repeated| {
        let mut tell = |step: ExtractionStep| observe(AblationStep::Features(step));
        source.extract(paths, repeated, execution, &mut tell)
    };
    let train = extract(training.paths, Repeated::LeaveOut)?;
    let paths = samples.iter().map(|sample| sample.path.clone()).collect();
    let test = extract(paths, Repeated::Keep)?;

    let bench = Bench {
        plan,
        train: source.set(&train)?,
        test: source.set(&test)?,
        kinds: kinds(&samples, &test),
        kept: KeptRuns::open(&plan.features.cache, &train, &test)?,
    };
    let groups: Vec<(Group, Vec<Entry>)> = plan
        .groups
        .iter()
        .map(|&group| (group, group.entries(&plan.base)))
        .collect();
    let finished = bench.run(&groups, observe)?;
    let groups = report::groups(plan, &groups, &finished);
    Ok(Ablation {
        backbone: source.backbone_digest,
        outputs: source.spec.outputs,
        size: source.spec.size,
        training_images: train.len(),
        test_images: test.len(),
        settings: plan.base.flow.training.clone(),
        groups,
    })
}

fn check_kinds(samples: &[Sample], folder: &Path) -> Result<(), AblationError> {
    let defects = samples.iter().filter(|sample| sample.is_defect()).count();
    if defects == 0 || defects == samples.len() {
        return Err(AblationError::OneKind {
            folder: folder.to_owned(),
        });
    }
    Ok(())
}

/// Returns the kind of each image that has features.
fn kinds(samples: &[Sample], images: &[FeatureImage]) -> Vec<String> {
    let of_path: HashMap<&Path, &str> = samples
        .iter()
        .map(|sample| (sample.path.as_path(), sample.kind.as_str()))
        .collect();
    let kind = |image: &FeatureImage| of_path[image.path.as_path()].to_owned();
    images.iter().map(kind).collect()
}

/// What every variant is trained and measured on.
struct Bench<'a> {
    plan: &'a AblationPlan,
    train: FeatureSet,
    test: FeatureSet,
    /// The kinds of the test images.
    kinds: Vec<String>,
    kept: KeptRuns,
}

impl Bench<'_> {
    /// Runs every contender with every seed that makes a difference, each once. The seeds are the
    /// outer loop, so that an ablation that is stopped early has tried every variant.
    fn run(
        &self,
        groups: &[(Group, Vec<Entry>)],
        observe: &mut AblationObserver,
    ) -> Result<Finished, AblationError> {
        let mut todo: Vec<(String, Contender)> = Vec::new();
        for place in 0..self.plan.seeds.len() {
            for (group, entries) in groups {
                for entry in entries {
                    let mut contenders = entry.contenders(&self.plan.seeds);
                    if place >= contenders.len() {
                        continue;
                    }
                    let contender = contenders.swap_remove(place);
                    if !todo.iter().any(|(_, earlier)| *earlier == contender) {
                        todo.push((format!("{}: {}", group.name(), entry.name), contender));
                    }
                }
            }
        }
        let mut runs = Vec::with_capacity(todo.len());
        let of = todo.len();
        for (number, (variant, contender)) in todo.into_iter().enumerate() {
            let at = At {
                number: number + 1,
                of,
                variant: &variant,
                seed: contender.seed(),
            };
            let kept = if self.plan.fresh {
                None
            } else {
                self.kept.find(&contender)?
            };
            let was_kept = kept.is_some();
            let run = match kept {
                Some(run) => run,
                None => {
                    let run = self.score(&contender, at, observe)?;
                    self.kept.keep(&contender, &run)?;
                    run
                }
            };
            let finished = AblationStep::Finished {
                at,
                run: &run,
                was_kept,
            };
            let observed = observe(finished);
            runs.push((contender, run));
            if number + 1 < of {
                observed?;
            }
        }
        Ok(runs)
    }

    fn score(
        &self,
        contender: &Contender,
        at: At,
        observe: &mut AblationObserver,
    ) -> Result<SavedRun, AblationError> {
        let start = Instant::now();
        let epochs = match contender {
            Contender::Flow(variant) => variant.flow.training.epochs_over(self.train.len()),
            _ => 0,
        };
        let mut tell = |step| observe(AblationStep::Trains { at, epochs, step });
        let scored = contender.scores(&self.train, &self.test, &mut tell);
        let scored = scored.map_err(|source| match source {
            ContenderError::Training(EpochError::Interrupted(interrupted)) => interrupted.into(),
            source => AblationError::Variant {
                variant: at.variant.to_owned(),
                source,
            },
        })?;
        let images = self.kinds.iter().map(String::as_str);
        let scores = scored.scores.iter().map(|&score| score as f32);
        let metrics = ImageMetrics::new(images.zip(scores)).ok_or(AblationError::OneKind {
            folder: self.plan.data.clone(),
        })?;
        Ok(SavedRun {
            seed: at.seed,
            parameters: scored.parameters,
            final_loss: scored.final_loss,
            seconds: start.elapsed().as_secs_f64(),
            metrics,
        })
    }
}

/// The result of every contender, in the order in which they ran.
type Finished = Vec<(Contender, SavedRun)>;
