//! Which part of the flow does what: variants of it, trained on the same features and scored on
//! the same images.
//!
//! ```text
//! train/good ─► features (cached) ─► each variant, each seed ─► scores of test ─► one table
//! ```
//!
//! The scores are those of the trainer's own forward pass: an ablation ships nothing, sets no
//! threshold, and so trains on all good images. Whatever is finished is kept, so that an ablation
//! that was interrupted goes on with the next variant.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flawd_onnx::{Runtime, SessionOptions};
use flawd_train::features::{CachedFeatureError, FeatureSet};
use flawd_train::trainer::{EpochError, StepReport};
use flawd_train::variant::Variant;

use super::comparison::{Contender, ContenderError};
use super::dataset::{self, DatasetError, GOOD, LeftOut, Sample, TestSet};
use super::evaluation::metrics::ImageMetrics;
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
    /// The folder of the good parts in `train` and `test` of it; [`GOOD`] if this is `None`.
    pub good: Option<String>,
    /// Where the features come from; what is finished is kept in `ablations` of its cache.
    pub features: FeaturePlan,
    /// The flow that is varied, and how it is trained; its seed is replaced.
    pub base: Variant,
    /// Each variant is trained once with each; not empty.
    pub seeds: Vec<u64>,
    /// What is varied, in the order of the table.
    pub groups: Vec<Group>,
    /// Train again what is kept.
    pub fresh: bool,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum AblationError {
    /// The images cannot be listed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Which depth they have is not known, or another one was stated.
    #[error(transparent)]
    Depth(SetError),
    /// The features cannot be had.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// Cached features cannot be read.
    #[error(transparent)]
    Cache(#[from] CachedFeatureError),
    /// What is finished cannot be kept or read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// There is nothing to tell apart.
    #[error(
        "an ablation takes good test images and such with a defect; {} has one kind only",
        folder.display()
    )]
    OneKind {
        /// The folder.
        folder: PathBuf,
    },
    /// A variant has no scores; those before it are kept.
    #[error("no scores from {variant}")]
    Variant {
        /// Group and name.
        variant: String,
        /// Why.
        source: ContenderError,
    },
    /// The caller asked to stop; the same command goes on with the next variant.
    #[error("interrupted; run the same command again to go on, without --fresh")]
    Interrupted,
}

/// What an ablation reports as it goes.
pub enum AblationStep<'a> {
    /// The images are listed; this is there as well, and is not used.
    LeftOut(&'a [LeftOut]),
    /// So many training images were looked at for their depth.
    Depths {
        /// Images that are done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// Images of more than 8 bits are read by this depth.
    Depth(&'a depth::Found),
    /// Features are extracted.
    Features(ExtractionStep<'a>),
    /// A variant trains.
    Trains {
        /// Which one.
        at: At<'a>,
        /// Its epochs.
        epochs: usize,
        /// How far it is.
        step: StepReport,
    },
    /// A variant is done.
    Finished {
        /// Which one.
        at: At<'a>,
        /// What it gave.
        run: &'a SavedRun,
        /// Whether it had been finished by an earlier ablation.
        was_kept: bool,
    },
}

/// Which run of an ablation.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// From 1.
    pub number: usize,
    /// Runs in all.
    pub of: usize,
    /// Group and name of the variant.
    pub variant: &'a str,
    /// The seed, where something is drawn.
    pub seed: Option<u64>,
}

/// Hears of progress, and may stop the ablation.
pub type AblationObserver<'a> = dyn FnMut(AblationStep<'_>) -> ControlFlow<()> + 'a;

/// Trains and scores all variants that are not kept yet.
///
/// # Errors
/// [`AblationError`]; what was finished is kept in the plan's cache.
pub fn ablate(
    plan: &AblationPlan,
    runtime: &Runtime,
    options: &SessionOptions,
    observe: &mut AblationObserver,
) -> Result<Ablation, AblationError> {
    let TestSet { samples, left_out } = TestSet::open(&plan.data, plan.good.as_deref())?;
    check_kinds(&samples, &plan.data)?;
    let good = plan.good.as_deref().unwrap_or(GOOD);
    let training = dataset::train_good(&plan.data, good)?;
    let left_out = [training.left_out, left_out].concat();
    if observe(AblationStep::LeftOut(&left_out)).is_break() {
        return Err(AblationError::Interrupted);
    }
    let paths = training.paths.iter().map(PathBuf::as_path);
    let found = depth::of_set(paths, plan.features.depth, &mut |done, total| {
        observe(AblationStep::Depths { done, total })
    })
    .map_err(|error| match error {
        SetError::Interrupted => AblationError::Interrupted,
        error => AblationError::Depth(error),
    })?;
    if observe(AblationStep::Depth(&found)).is_break() {
        return Err(AblationError::Interrupted);
    }
    let source = FeatureSource::open(&plan.features)?.reading(found.depth);
    let mut extract = |paths: Vec<PathBuf>, repeated: Repeated| {
        let mut tell = |step: ExtractionStep| observe(AblationStep::Features(step));
        source.extract(paths, repeated, runtime, options, &mut tell)
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

/// The kind of each image that has features.
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
    /// Of the test images.
    kinds: Vec<String>,
    kept: KeptRuns,
}

impl Bench<'_> {
    /// Every contender with every seed that makes a difference, each once. The seeds are the outer
    /// loop, so that an ablation that is stopped early has seen every variant.
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
            let control = observe(finished);
            runs.push((contender, run));
            if control.is_break() && number + 1 < of {
                return Err(AblationError::Interrupted);
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
            ContenderError::Training(EpochError::Interrupted { .. }) => AblationError::Interrupted,
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

/// What every contender gave, in the order in which they ran.
type Finished = Vec<(Contender, SavedRun)>;
