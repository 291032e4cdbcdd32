//! Cross-calibration: every image is scored by a flow that was not trained on it.
//!
//! ```text
//! images ─► K folds ─► each in turn held out ─► flow of the others ─► model.onnx ─► scores of the fold
//! ```
//! The flows of the folds are made and scored like the one that ships, each with its own seed, and
//! then discarded. They take as many steps, which are more epochs of fewer images, because how high
//! a flow scores unknown images depends on the number of its training steps. On 60 magnetic tiles,
//! with equal epochs instead of equal steps, 25 % of the good parts were rejected where 5 % were
//! expected. The result of a finished fold is kept in the cache until the bundle is written, so
//! that an interrupted run does not train it again.

use std::path::{Path, PathBuf};
use std::{fs, io};

use flawd_core::digest::Digest;
use flawd_train::trainer::TrainingSettings;
use serde::{Deserialize, Serialize};

use super::images::fold;
use super::session::Session;
use super::trained::Trained;
use super::{TrainingError, TrainingObserver, TrainingProgress};
use crate::bundle::GoodImage;
use crate::files::digest::sha256;
use crate::lab::calibration::HeldOut;
use crate::lab::features::FeatureImage;

/// The results of the flows of all folds.
pub(crate) struct OutOfFold {
    /// Each image once, scored by a flow that was not trained on it.
    pub(crate) scored: HeldOut,
    /// Largest relative difference between a score of an exported model and the trainer's.
    pub(crate) difference: f64,
    files: Vec<FoldFiles>,
}

/// Trains and scores what an interrupted run has not kept.
///
/// # Errors
/// [`TrainingError`]; what was trained and scored so far is kept.
pub(crate) fn out_of_fold(
    session: &Session,
    images: &[FeatureImage],
    folds: usize,
    observe: &mut TrainingObserver,
) -> Result<OutOfFold, TrainingError> {
    let mut found = OutOfFold {
        scored: HeldOut::default(),
        difference: 0.0,
        files: Vec::with_capacity(folds),
    };
    for number in 0..folds {
        let begun = TrainingProgress::Fold {
            number: number + 1,
            of: folds,
        };
        observe(begun)?;
        let (training, held_out) = fold(images, number, folds);
        let fold = Fold::new(session, number, &training, &held_out)?;
        let kept = match fold.kept()? {
            Some(kept) => {
                observe(TrainingProgress::FoldKept)?;
                kept
            }
            None => fold.score(observe)?,
        };
        let both = held_out.iter().zip(&kept.images);
        let scored =
            both.filter_map(|(image, kept)| Some((image.path.clone(), kept.good.clone()?)));
        found.scored.extend(HeldOut::new(scored));
        found.difference = found.difference.max(kept.difference);
        found.files.push(fold.files);
    }
    let images = images.len();
    observe(TrainingProgress::OutOfFold { images })?;
    Ok(found)
}

/// Returns the fingerprints of the runs of all folds.
///
/// # Errors
/// As for the flow that ships.
pub(crate) fn fingerprints(
    session: &Session,
    images: &[FeatureImage],
    folds: usize,
) -> Result<Vec<String>, TrainingError> {
    let run = |number| {
        let (training, _) = fold(images, number, folds);
        session.fingerprint(&training, &settings(session, number, images.len()))
    };
    (0..folds).map(run).collect()
}

/// Returns the settings for the flow of a fold: its own seed, and as many steps as the flow that
/// ships takes.
fn settings(session: &Session, number: usize, images: usize) -> TrainingSettings {
    let mut settings = session.plan.flow.training.clone();
    settings.seed = settings.seed.wrapping_add(number as u64 + 1);
    settings.least_steps = steps(&settings, images);
    settings
}

impl OutOfFold {
    /// Removes what was kept, and what a run that was interrupted between two steps left beside it.
    pub(crate) fn forget(&self) -> Result<(), TrainingError> {
        self.files.iter().try_for_each(FoldFiles::remove)
    }
}

/// Where the files of a fold are kept.
struct FoldFiles {
    /// Its scores, once it is finished.
    scores: PathBuf,
    /// The model while it is scored.
    model: PathBuf,
    /// The state of the training.
    checkpoint: PathBuf,
}

impl FoldFiles {
    fn remove(&self) -> Result<(), TrainingError> {
        for file in [&self.scores, &self.model, &self.checkpoint] {
            match fs::remove_file(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(failed("remove", file))?,
            }
        }
        Ok(())
    }
}

/// One fold: its images, and those of the others.
struct Fold<'a> {
    session: &'a Session<'a>,
    settings: TrainingSettings,
    training: &'a [FeatureImage],
    held_out: &'a [FeatureImage],
    files: FoldFiles,
}

/// The scores of a fold, as stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFold {
    difference: f64,
    images: Vec<KeptImage>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptImage {
    digest: Digest,
    /// `None` if its file changed or disappeared before it was scored.
    good: Option<GoodImage>,
}

impl<'a> Fold<'a> {
    fn new(
        session: &'a Session,
        number: usize,
        training: &'a [FeatureImage],
        held_out: &'a [FeatureImage],
    ) -> Result<Self, TrainingError> {
        let settings = settings(session, number, training.len() + held_out.len());
        let run = session.fingerprint(training, &settings)?;
        // Everything that the scores depend on: the flow, the images, and how the file is read.
        let keys: Vec<&str> = held_out.iter().map(|image| image.key.as_str()).collect();
        let (score, map) = (session.plan.flow.score, session.plan.map);
        let inputs = format!("{run} {score} {map} {keys:?}");
        let name = &sha256(inputs.as_bytes()).hex()[..16];
        let runs = session.runs();
        Ok(Self {
            session,
            settings,
            training,
            held_out,
            files: FoldFiles {
                scores: runs.join(format!("{name}.scores.toml")),
                model: runs.join(format!("{name}.onnx")),
                checkpoint: session.checkpoint(&run),
            },
        })
    }

    /// Returns what an interrupted run has kept of this fold.
    fn kept(&self) -> Result<Option<KeptFold>, TrainingError> {
        if self.session.plan.fresh {
            return Ok(None);
        }
        let path = &self.files.scores;
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(failed("read", path))?,
        };
        let damaged = |reason: String| TrainingError::DamagedFold {
            path: path.clone(),
            reason,
        };
        let kept: KeptFold = toml::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let expected = self.held_out.iter().map(|image| image.digest);
        if kept.images.iter().map(|image| image.digest).eq(expected) {
            Ok(Some(kept))
        } else {
            Err(damaged("it has other images".to_owned()))
        }
    }

    /// Trains the flow of the other folds, and scores this one with it.
    fn score(&self, observe: &mut TrainingObserver) -> Result<KeptFold, TrainingError> {
        let Self {
            session, held_out, ..
        } = self;
        let trained = Trained::train(session, self.training, &self.settings, held_out, observe)?;
        let model = &self.files.model;
        fs::write(model, trained.export(session)?).map_err(failed("write", model))?;
        let examined = trained.examine(session, model, held_out, observe)?;
        let mut scored = examined.good.iter().peekable();
        let image = |image: &FeatureImage| KeptImage {
            digest: image.digest,
            good: scored
                .next_if(|(next, _)| next.path == image.path)
                .map(|(_, good)| good.worst.clone()),
        };
        let kept = KeptFold {
            difference: examined.difference,
            images: held_out.iter().map(image).collect(),
        };
        self.keep(&kept)?;
        for file in [model, &trained.checkpoint] {
            fs::remove_file(file).map_err(failed("remove", file))?;
        }
        Ok(kept)
    }

    /// Writes the scores so that they appear whole or not at all.
    fn keep(&self, kept: &KeptFold) -> Result<(), TrainingError> {
        let text = toml::to_string(kept).expect("plain numbers");
        let path = &self.files.scores;
        flawd_files::write(path, text.as_bytes()).map_err(failed("write", path))
    }
}

/// Returns the steps of a run over this number of images. The flow of a fold takes as many as the
/// one that ships, or up to an epoch more.
fn steps(settings: &TrainingSettings, images: usize) -> usize {
    settings.epochs_over(images) * settings.steps_an_epoch(images)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrainingError {
    move |source| TrainingError::Fold {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use flawd_train::adam::AdamSettings;
    use flawd_train::trainer::Schedule;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_flow_of_a_fold_takes_as_many_steps_as_the_one_that_ships(
            epochs in 1_usize..300,
            least_steps in 0_usize..2000,
            batch in 1_usize..40,
            all in 2_usize..200,
            share in 0.0_f64..1.0,
        ) {
            let mut settings = TrainingSettings {
                epochs,
                least_steps,
                batch,
                seed: 1,
                adam: AdamSettings::default(),
                schedule: Schedule::Cosine,
                feature_noise: 0.0,
            };
            let training = 1 + (share * (all - 1) as f64) as usize;
            let shipped = steps(&settings, all);
            prop_assert!(shipped >= least_steps.max(epochs * all.div_ceil(batch)));
            settings.least_steps = shipped;
            let taken = steps(&settings, training);
            prop_assert!((shipped..shipped + training.div_ceil(batch)).contains(&taken));
        }
    }
}
