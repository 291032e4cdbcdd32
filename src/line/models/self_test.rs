//! Scores the golden inputs again, through the sessions that are judging parts: decoded,
//! preprocessed and scored between two parts.

use std::path::Path;
use std::sync::Arc;

use flawd_core::event::ModelData;
use flawd_core::manifest::GoldenRecord;
use flawd_core::preprocess::Preprocessor;
use serde::{Deserialize, Serialize};

use super::{CameraModels, LoadedModels, ModelInUse};
use crate::bundle::scorer::{ScorerError, check_golden};
use crate::line::pipeline::part::model::LoadedModel;
use crate::messages::with_causes;
use crate::pictures::decode;

/// A golden input and its file's content.
pub(crate) type Golden = (GoldenRecord, Vec<u8>);

/// The current scores of the golden inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTestReport {
    /// True if every model passed.
    pub passed: bool,
    /// Each model once, in the order in which the cameras name them.
    pub models: Vec<ModelReport>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The model.
    pub model: ModelData,
    /// Where it is used: `<camera>`, `<camera>.recipe.<recipe>`, `<camera>.shadow`.
    pub used_by: Vec<String>,
    /// The score above which a part is a defect, as currently set.
    pub threshold: f32,
    /// True if every golden input passed.
    pub passed: bool,
    /// Its golden inputs.
    pub golden: Vec<GoldenReport>,
}

/// One golden input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenReport {
    /// Name of its file in the bundle.
    pub file: String,
    /// The score where the bundle was made.
    pub expected: f32,
    /// Largest allowed difference.
    pub tolerance: f32,
    /// The current score; absent if the model returned none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// What is wrong, human-readable; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl LoadedModels {
    /// Scores the golden inputs of every model through the session that judges parts. A part that
    /// arrives meanwhile waits for at most one golden input, so this should run on a separate
    /// thread.
    pub fn self_test(&self) -> SelfTestReport {
        let mut tested: Vec<(&ModelInUse, Vec<String>)> = Vec::new();
        for (used_by, member) in self.cameras.iter().flat_map(CameraModels::named) {
            let same = |(other, _): &&mut (&ModelInUse, Vec<String>)| {
                Arc::ptr_eq(&other.active, &member.active)
            };
            match tested.iter_mut().find(same) {
                Some((_, names)) => names.push(used_by),
                None => tested.push((member, vec![used_by])),
            }
        }
        let models: Vec<_> = tested
            .into_iter()
            .map(|(member, used_by)| member.self_test(used_by))
            .collect();
        SelfTestReport {
            passed: models.iter().all(|model| model.passed),
            models,
        }
    }
}

impl CameraModels {
    /// Returns the models, with where they are used.
    fn named(&self) -> impl Iterator<Item = (String, &ModelInUse)> {
        let camera = &self.name;
        let recipes = self.recipes.iter();
        std::iter::once((camera.clone(), &self.standard))
            .chain(recipes.map(move |(name, member)| (format!("{camera}.recipe.{name}"), member)))
            .chain(
                self.shadow
                    .iter()
                    .map(move |member| (format!("{camera}.shadow"), member)),
            )
    }
}

impl ModelInUse {
    fn self_test(&self, used_by: Vec<String>) -> ModelReport {
        let golden: Vec<_> = self
            .loaded
            .golden
            .iter()
            .map(|golden| self.test(golden))
            .collect();
        ModelReport {
            model: self.active.judge.model.clone(),
            used_by,
            threshold: self.active.judge.calibration.threshold(),
            passed: golden.iter().all(|golden| golden.problem.is_none()),
            golden,
        }
    }

    fn test(&self, (golden, file): &Golden) -> GoldenReport {
        let score = score(&self.active, golden, file);
        // The bundle's own threshold, from which its golden scores keep their distance. One set by
        // command may coincide with a score, where the last bit would flip its verdict.
        let calibration = &self.loaded.active.judge.calibration;
        let problem = match &score {
            Ok(score) => check_golden(golden, *score, calibration).err(),
            Err(_) => None,
        };
        GoldenReport {
            file: golden.file.clone(),
            expected: golden.score,
            tolerance: golden.tolerance,
            problem: problem
                .as_ref()
                .or(score.as_ref().err())
                .map(|e| with_causes(e)),
            score: score.ok(),
        }
    }
}

/// Proves that a model computes here what its bundle was calibrated with.
///
/// # Errors
/// For the first golden input whose score is not reproduced or whose verdict flips.
pub(crate) fn prove(active: &LoadedModel, golden: &[Golden]) -> Result<(), ScorerError> {
    golden.iter().try_for_each(|(golden, file)| {
        let score = score(active, golden, file)?;
        check_golden(golden, score, &active.judge.calibration)
    })
}

/// Takes a picture all the way from its file to its score.
fn score(active: &LoadedModel, golden: &GoldenRecord, file: &[u8]) -> Result<f32, ScorerError> {
    let image = decode::from_bytes(Path::new(&golden.file), file, None)?;
    let mut preprocessor = Preprocessor::new(active.input_size(), active.geometry);
    let mut tensor = vec![0; preprocessor.tensor_len()];
    preprocessor.run(&image, &mut tensor)?;
    Ok(active.run(&tensor)?.score)
}
