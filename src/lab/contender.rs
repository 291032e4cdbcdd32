//! Methods that are fitted on good images and then score images: variants of the flow, and
//! baselines.

use flawd_core::flow::SCALES;
use flawd_core::interrupted::Interrupted;
use flawd_train::baseline::{BaselineError, gaussian, neighbour, padim};
use flawd_train::features::FeatureSet;
use flawd_train::settings::FlowSettings;
use flawd_train::trainer::{EpochError, StepReport, TrainingSettings};
use flawd_train::variant::{Variant, VariantScores};
use flawd_train::view::{FeatureForm, FeatureView};

/// A way to score images, with everything that its scores depend on apart from the images.
#[derive(Clone, Debug, PartialEq)]
pub enum Contender {
    /// A flow that is trained.
    Flow(Variant),
    /// The distance from a Gaussian, on one vector per image.
    Gaussian(FeatureView),
    /// The distance to the nearest training image.
    Neighbour,
    /// A Gaussian per position, with the seed that draws its channels.
    Padim(u64),
}

/// Why a contender has no scores.
#[derive(Debug, thiserror::Error)]
pub enum ContenderError {
    /// A flow cannot be trained.
    #[error(transparent)]
    Training(#[from] EpochError),
    /// A baseline cannot be fitted.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
}

/// The result of a contender.
#[derive(Clone, Debug)]
pub struct Scored {
    /// One per test image, in the order of the set.
    pub scores: Vec<f64>,
    /// Number of trained parameters, if any.
    pub parameters: Option<usize>,
    /// Mean loss of the last epoch, if any.
    pub final_loss: Option<f64>,
}

impl Contender {
    /// Fits on `train` and scores `test`, both with all scales unchanged; `observe` is called for
    /// every training step and may stop the training.
    ///
    /// # Errors
    /// If it cannot be fitted, or was stopped.
    pub fn scores(
        &self,
        train: &FeatureSet,
        test: &FeatureSet,
        observe: &mut dyn FnMut(StepReport) -> Result<(), Interrupted>,
    ) -> Result<Scored, ContenderError> {
        let seen = |view: &FeatureView| (train.seen_as(view.clone()), test.seen_as(view.clone()));
        let scores = match self {
            Self::Flow(variant) => {
                let VariantScores {
                    scores,
                    parameters,
                    final_loss,
                } = variant.scores(train, test, observe)?;
                return Ok(Scored {
                    scores,
                    parameters: Some(parameters),
                    final_loss: Some(final_loss),
                });
            }
            Self::Gaussian(view) => {
                let (train, test) = seen(view);
                gaussian::scores(&train, &test)?
            }
            Self::Neighbour => {
                let (train, test) = seen(&all(FeatureForm::Means));
                neighbour::scores(&train, &test)?
            }
            Self::Padim(seed) => {
                let (train, test) = seen(&all(FeatureForm::Concatenated));
                padim::scores(&train, &test, *seed)?
            }
        };
        Ok(Scored {
            scores,
            parameters: None,
            final_loss: None,
        })
    }

    /// Returns the seed, if anything is drawn.
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Flow(variant) => Some(variant.flow.training.seed),
            Self::Padim(seed) => Some(*seed),
            Self::Gaussian(_) | Self::Neighbour => None,
        }
    }

    /// Returns the same with another seed, or unchanged if nothing is drawn.
    pub fn with_seed(mut self, seed: u64) -> Self {
        match &mut self {
            Self::Flow(variant) => variant.flow.training.seed = seed,
            Self::Padim(own) => *own = seed,
            Self::Gaussian(_) | Self::Neighbour => {}
        }
        self
    }
}

/// Returns all scales in the given form.
pub(crate) fn all(form: FeatureForm) -> FeatureView {
    FeatureView {
        scales: 0..SCALES,
        form,
    }
}

/// A method from the literature that a bundle can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Gaussian anomaly detection (Rippel et al., 2020).
    Gaussian,
    /// The nearest training image.
    Knn,
    /// PaDiM (Defard et al., 2020).
    Padim,
    /// The head of DifferNet (Rudolph et al., 2021).
    Differnet,
}

/// Coupling blocks of DifferNet's head, as published.
const DIFFERNET_BLOCKS: usize = 8;

/// Hidden width of its subnets; the published head has three layers of 2048.
const DIFFERNET_HIDDEN: usize = 256;

/// A pass over pooled features takes about a second.
const DIFFERNET_EPOCHS: usize = 60;

/// Pictures of a step.
const DIFFERNET_BATCH: usize = 16;

impl Method {
    /// Returns its name, as used in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Knn => "knn",
            Self::Padim => "padim",
            Self::Differnet => "differnet",
        }
    }

    /// Returns what it does, in one line.
    pub fn how(self) -> &'static str {
        match self {
            Self::Gaussian => {
                "Mahalanobis distance of the spatial means of all scales, Ledoit-Wolf covariance"
            }
            Self::Knn => "distance to the nearest training image, standardised spatial means",
            Self::Padim => "a Gaussian a place on 100 channels of all scales, map maximum",
            Self::Differnet => "a fully connected flow of 8 blocks on the spatial means",
        }
    }

    /// Returns the method, ready to be fitted.
    pub fn contender(self, seed: u64) -> Contender {
        match self {
            Self::Gaussian => Contender::Gaussian(all(FeatureForm::Means)),
            Self::Knn => Contender::Neighbour,
            Self::Padim => Contender::Padim(seed),
            Self::Differnet => Contender::Flow(differnet(seed)),
        }
    }
}

/// DifferNet's head (Rudolph, Wandt and Rosenhahn, "Same Same But DifferNet", WACV 2021): a flow
/// on the spatial means of three scales, fully connected because its maps are 1x1.
///
/// Differences from the paper: subnets have one hidden layer instead of three, with a gain that
/// starts at 0; means are standardised; the optimiser is that of the preset `edge`, with
/// larger batches and no noise; and images are neither trained nor scored under several rotations.
fn differnet(seed: u64) -> Variant {
    let edge = FlowSettings::edge(seed);
    Variant {
        view: all(FeatureForm::Means),
        cross_scale: true,
        flow: FlowSettings {
            hidden: DIFFERNET_HIDDEN,
            kernels: vec![1; DIFFERNET_BLOCKS],
            training: TrainingSettings {
                batch: DIFFERNET_BATCH,
                feature_noise: 0.0,
                ..edge.training.with_epochs(DIFFERNET_EPOCHS)
            },
            ..edge
        },
    }
}
