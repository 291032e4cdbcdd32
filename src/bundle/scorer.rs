//! Scores pictures with a bundle's model: the only way from pixels to a score.
//!
//! Preprocessing and model are those of the daemon, so a score from here is the score on the line.
//! Nothing is decided here.

use std::fmt;
use std::path::Path;

use flawd_core::calibration::Calibration;
use flawd_core::depth::Depth;
use flawd_core::image::{RgbImage, Size};
use flawd_core::manifest::GoldenRecord;
use flawd_core::preprocess::{Geometry, PreprocessError, Preprocessor};
use flawd_core::quality::{self, Measured};
use flawd_onnx::{Execution, Model, ModelError, Prediction};

use super::{Bundle, BundleError};
use crate::pictures::decode::DecodeError;

/// Why a picture has no score, or a model cannot be used for scoring.
#[derive(Debug, thiserror::Error)]
pub enum ScorerError {
    /// The image file cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The picture cannot be preprocessed.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The bundle's model is not what the manifest refers to.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Model and manifest disagree.
    #[error("the manifest says that the model takes images of {stated}, but it takes {actual}")]
    InputSize {
        /// The size in the manifest.
        stated: Size,
        /// The size of the model's input.
        actual: Size,
    },
    /// A golden input cannot be read.
    #[error("cannot read a golden input")]
    Golden(#[source] BundleError),
    /// The model on this device does not score as it did when it was calibrated.
    #[error(
        "the golden input {file} scores {actual} here and {expected} ± {tolerance} where the \
         bundle was made; this device or provider computes something else, so its verdicts cannot \
         be trusted"
    )]
    NotReproduced {
        /// The golden input's file.
        file: String,
        /// The score here.
        actual: f32,
        /// The golden score.
        expected: f32,
        /// The allowed difference.
        tolerance: f32,
    },
    /// A golden input is within tolerance but on the other side of the threshold.
    #[error(
        "the golden input {file} scores {actual} here and {expected} where the bundle was made, \
         and the threshold {threshold} lies between: calibrate the bundle on this device"
    )]
    VerdictFlipped {
        /// The golden input's file.
        file: String,
        /// The score here.
        actual: f32,
        /// The golden score.
        expected: f32,
        /// The threshold.
        threshold: f32,
    },
}

/// Checks that the score of a golden input is the expected one, with the same verdict.
///
/// # Errors
/// [`ScorerError::NotReproduced`] and [`ScorerError::VerdictFlipped`].
pub fn check_golden(
    golden: &GoldenRecord,
    score: f32,
    calibration: &Calibration,
) -> Result<(), ScorerError> {
    if !golden.is_reproduced_by(score) {
        return Err(ScorerError::NotReproduced {
            file: golden.file.clone(),
            actual: score,
            expected: golden.score,
            tolerance: golden.tolerance,
        });
    }
    if calibration.is_anomalous(score) != calibration.is_anomalous(golden.score) {
        return Err(ScorerError::VerdictFlipped {
            file: golden.file.clone(),
            actual: score,
            expected: golden.score,
            threshold: calibration.threshold(),
        });
    }
    Ok(())
}

/// A loaded model with its preprocessing.
pub struct Scorer {
    preprocessor: Preprocessor,
    depth: Option<Depth>,
    model: Model,
    tensor: Vec<u8>,
}

/// Everything that is measured of a picture.
#[derive(Clone, Debug)]
pub struct ScoredImage {
    /// The model's result.
    pub prediction: Prediction,
    /// How bright and how sharp the model's input is, and the picture's condition.
    pub measured: Measured,
}

/// A golden input and its score here.
#[derive(Clone, Debug)]
pub struct Reproduced {
    /// The expected values.
    pub golden: GoldenRecord,
    /// The score here, within tolerance.
    pub score: f32,
}

impl fmt::Display for Reproduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { golden, score } = self;
        let (file, expected) = (&golden.file, golden.score);
        write!(
            f,
            "{file}: {score} here, {expected} where it was calibrated"
        )
    }
}

impl Scorer {
    /// Loads the model of a bundle.
    ///
    /// # Errors
    /// If the model cannot be loaded, or its input size is not that of the manifest.
    pub fn open(bundle: &Bundle, execution: Execution) -> Result<Self, ScorerError> {
        let stated = &bundle.manifest().model;
        let scorer = bundle.load_model(|path| Self::load(path, stated.geometry, execution))?;
        let scorer = scorer.reading(stated.depth);
        if scorer.model.input_size() != stated.input {
            return Err(ScorerError::InputSize {
                stated: stated.input,
                actual: scorer.model.input_size(),
            });
        }
        Ok(scorer)
    }

    /// Loads a model file that is not in a bundle yet.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn load(
        model: &Path,
        geometry: Geometry,
        execution: Execution,
    ) -> Result<Self, ScorerError> {
        let model = Model::load(execution, model)?;
        let preprocessor = Preprocessor::new(model.input_size(), geometry);
        let tensor = vec![0; preprocessor.tensor_len()];
        Ok(Self {
            preprocessor,
            depth: None,
            model,
            tensor,
        })
    }

    /// Returns this scorer for files of this depth.
    pub fn reading(self, depth: Option<Depth>) -> Self {
        Self { depth, ..self }
    }

    /// Returns the depth of files of more than 8 bits that do not state it.
    pub fn depth(&self) -> Option<Depth> {
        self.depth
    }

    /// Scores a picture of any size.
    ///
    /// # Errors
    /// If the region of interest is not inside the picture, or the model fails.
    pub fn score(&mut self, image: &RgbImage) -> Result<Prediction, ScorerError> {
        self.preprocessor.run(image, &mut self.tensor)?;
        Ok(self.model.run(&self.tensor)?)
    }

    /// Scores a picture and measures its brightness, its sharpness and its condition.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn examine(&mut self, image: &RgbImage) -> Result<ScoredImage, ScorerError> {
        let prediction = self.score(image)?;
        let (geometry, size) = (self.preprocessor.geometry(), self.input_size());
        let measured = quality::measure(image, geometry, &self.tensor, size)?;
        Ok(ScoredImage {
            prediction,
            measured,
        })
    }

    /// Returns the [level](flawd_core::light::level) of the picture that was scored last, before it was
    /// brought to another light.
    pub fn level(&self) -> f32 {
        flawd_core::light::level(&self.tensor, self.input_size())
    }

    /// Scores the golden inputs of `bundle`, to verify that this device computes what the bundle
    /// was calibrated with.
    ///
    /// # Errors
    /// For the first input whose score is not reproduced or whose verdict flips.
    pub fn self_test(&mut self, bundle: &Bundle) -> Result<Vec<Reproduced>, ScorerError> {
        let calibration = bundle.calibration();
        let test = |golden: &GoldenRecord| {
            let score = self.score_golden(bundle, golden)?;
            check_golden(golden, score, calibration)?;
            Ok(Reproduced {
                golden: golden.clone(),
                score,
            })
        };
        bundle.manifest().golden.iter().map(test).collect()
    }

    /// Scores a golden input of `bundle`, from its file.
    ///
    /// # Errors
    /// If it cannot be read, or as [`Self::score`].
    pub fn score_golden(
        &mut self,
        bundle: &Bundle,
        golden: &GoldenRecord,
    ) -> Result<f32, ScorerError> {
        let image = bundle.golden_image(golden).map_err(ScorerError::Golden)?;
        Ok(self.score(&image)?.score)
    }

    /// Returns the model's input size.
    pub fn input_size(&self) -> Size {
        self.model.input_size()
    }

    /// Returns what is cut out of a picture before it is resized.
    pub fn geometry(&self) -> &Geometry {
        self.preprocessor.geometry()
    }

    /// Returns the execution provider that runs the model.
    pub fn provider(&self) -> &str {
        self.model.provider()
    }

    /// Returns the model alone, for a pipeline that preprocesses on another thread.
    pub fn into_model(self) -> Model {
        self.model
    }
}
