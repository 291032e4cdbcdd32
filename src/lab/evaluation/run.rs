//! One evaluation: every image scored once, in the order of the folder.

use std::path::Path;

use flawd_core::calibration::Calibration;
use flawd_core::evaluation::{KeptPromise, PixelTruth, expected_false_rejects};
use flawd_core::image::RgbImage;
use flawd_core::manifest::GoldenRecord;
use flawd_core::verdict::Verdict;
use flawd_onnx::Prediction;

use super::file_list::FileList;
use super::tally::Tally;
use super::truth::{SampleError, Unusable, truth_of};
use super::{Evaluation, GoldenRow, ImageRow, MaskUse, PromiseRow, SkippedRow};
use crate::bundle::Bundle;
use crate::bundle::scorer::{Scorer, ScorerError, check_golden};
use crate::lab::dataset::{LeftOut, Sample, TestSet};
use crate::lab::picture::Picture;
use crate::lab::variation::{Change, ChangeList, apply_all};
use crate::messages::with_causes;

/// Progress reports of an evaluation.
pub enum EvaluationStep<'a> {
    /// An image was scored.
    Scored {
        /// The image.
        sample: &'a Sample,
        /// The picture as it was scored: decoded, and changed if that was requested.
        image: &'a RgbImage,
        /// The model's result.
        prediction: &'a Prediction,
        /// Where its defect is, in the inspected part of the picture; `None` if unknown.
        truth: Option<&'a PixelTruth>,
    },
    /// An image or a mask cannot be used.
    Skipped {
        /// The file.
        path: &'a Path,
        /// The reason.
        error: &'a SampleError,
    },
}

/// The random halves on which a promise is measured.
#[derive(Clone, Copy, Debug)]
pub struct Splits {
    /// Number of them, at least 2.
    pub count: usize,
    /// Their random seed.
    pub seed: u64,
}

/// What is measured, and on which pictures.
#[derive(Clone, Debug)]
pub struct EvaluationPlan {
    /// The random halves.
    pub splits: Splits,
    /// How every picture, with its mask, is changed before it is scored, if at all.
    pub under: Option<ChangeList>,
}

/// The false-reject rates whose promise is measured, in addition to the bundle's own.
const PROMISES: [f64; 2] = [0.05, 0.01];

/// Scores the images of `test`, which lies in `folder`, and summarises the results. Unusable files
/// are reported and left out. An error of `observe` ends the evaluation.
///
/// # Errors
/// Those of `observe`.
pub fn evaluate<E>(
    bundle: &Bundle,
    scorer: &mut Scorer,
    folder: &Path,
    test: &TestSet,
    plan: &EvaluationPlan,
    mut observe: impl FnMut(EvaluationStep<'_>) -> Result<(), E>,
) -> Result<Evaluation, E> {
    let mut pass = Pass {
        bundle,
        folder,
        changes: plan
            .under
            .as_ref()
            .map(ChangeList::changes)
            .unwrap_or_default(),
        has_masks: test.samples.iter().any(|sample| !sample.masks.is_empty()),
        tally: Tally::default(),
        files: FileList::default(),
        masks: MaskUse::default(),
        seen_in_training: 0,
        images: Vec::new(),
        skipped: Vec::new(),
    };
    for sample in &test.samples {
        pass.sample(scorer, sample, &mut observe)?;
    }
    Ok(pass.summarise(scorer, test, plan))
}

/// What is known after some of the images.
struct Pass<'a> {
    bundle: &'a Bundle,
    folder: &'a Path,
    /// Applied to every picture.
    changes: Vec<Change>,
    /// Whether any defect of the set has a mask; without one, nothing is known about places.
    has_masks: bool,
    tally: Tally,
    files: FileList,
    masks: MaskUse,
    seen_in_training: usize,
    images: Vec<ImageRow>,
    skipped: Vec<SkippedRow>,
}

impl Pass<'_> {
    /// Scores one image, or reports why it cannot be used.
    fn sample<E>(
        &mut self,
        scorer: &mut Scorer,
        sample: &Sample,
        observe: &mut impl FnMut(EvaluationStep<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (picture, prediction) = match score(scorer, sample, &self.changes) {
            Ok(scored) => scored,
            Err(error) => return self.skip(&sample.path, &error, observe),
        };
        let truth = match truth_of(scorer, sample, picture.image.size(), &self.changes) {
            _ if !self.has_masks => None,
            Ok(truth) => truth,
            Err(Unusable { path, error }) => {
                self.skip(path, &error, observe)?;
                None
            }
        };
        let was_seen = picture.is_any(|digest| self.bundle.was_trained_on(digest));
        self.seen_in_training += usize::from(was_seen);
        self.files.add(picture.file, self.relative(&sample.path));
        for (digest, path) in truth.iter().flat_map(|truth| &truth.files) {
            self.files.add(*digest, self.relative(path));
        }
        let truth = truth.as_ref().map(|truth| &truth.pixels);
        if let Some(truth) = truth.filter(|_| sample.is_defect()) {
            self.masks.add(truth);
        }
        self.tally.add(sample, &prediction, truth);
        let calibration = self.bundle.calibration();
        self.images.push(ImageRow {
            path: self.relative(&sample.path).to_owned(),
            kind: sample.kind.clone(),
            score: prediction.score,
            p_value: calibration.p_value(prediction.score),
            verdict: Verdict::from_score(prediction.score, calibration).as_str(),
        });
        observe(EvaluationStep::Scored {
            sample,
            image: &picture.image,
            prediction: &prediction,
            truth,
        })
    }

    fn skip<E>(
        &mut self,
        path: &Path,
        error: &SampleError,
        observe: &mut impl FnMut(EvaluationStep<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.skipped.push(SkippedRow {
            path: self.relative(path).to_owned(),
            error: with_causes(error),
        });
        observe(EvaluationStep::Skipped { path, error })
    }

    /// Returns a path within the evaluated folder.
    fn relative<'b>(&self, path: &'b Path) -> &'b Path {
        path.strip_prefix(self.folder).unwrap_or(path)
    }

    fn summarise(self, scorer: &mut Scorer, test: &TestSet, plan: &EvaluationPlan) -> Evaluation {
        let manifest = self.bundle.manifest();
        let calibration = self.bundle.calibration();
        let good = self.tally.good_scores().to_vec();
        let calibrated = |score: &&f32| {
            let scores = calibration.scores();
            scores.binary_search_by(|it| it.total_cmp(score)).is_ok()
        };
        let scored_in_calibration = good.iter().filter(calibrated).count();
        let (overall, defect_types) = self.tally.metrics(calibration);
        // The scores of a cross-calibration come from other models: they are not exchangeable with
        // these, and there is no bound to keep.
        let is_bound = calibration.method().promises_a_bound();
        Evaluation {
            bundle: manifest.name.clone(),
            version: manifest.version.to_string(),
            model: manifest.model.digest,
            provider: scorer.provider().to_owned(),
            flawd: env!("CARGO_PKG_VERSION"),
            data: self.folder.to_owned(),
            files: self.files.digest(),
            under: plan.under.clone(),
            overall,
            threshold: calibration.threshold(),
            promised_false_reject_rate: calibration.alpha(),
            asked_false_reject_rate: calibration.asked(),
            expected_false_rejects: (is_bound && !good.is_empty()).then(|| {
                let (n, rejected) = (calibration.n(), calibration.rejected_ranks());
                expected_false_rejects(n, rejected, good.len())
            }),
            kept_promise: match is_bound {
                true => kept_promise(calibration, &good, plan.splits),
                false => Vec::new(),
            },
            calibration_method: calibration.method(),
            masks: self.masks,
            seen_in_training: self.seen_in_training,
            scored_in_calibration,
            golden: golden(self.bundle, scorer),
            defect_types,
            images: self.images,
            skipped: self.skipped,
            left_out: left_out(self.folder, test),
            comparison: None,
        }
    }
}

/// Returns what was not used, within the evaluated folder.
fn left_out(folder: &Path, test: &TestSet) -> Vec<LeftOut> {
    let mut left_out = test.left_out.clone();
    for row in &mut left_out {
        if let Ok(within) = row.path.strip_prefix(folder) {
            row.path = within.to_owned();
        }
    }
    left_out
}

/// Reads, changes and scores a picture. Its digests are of the file and its own pixels.
fn score(
    scorer: &mut Scorer,
    sample: &Sample,
    changes: &[Change],
) -> Result<(Picture, Prediction), SampleError> {
    let mut picture = Picture::read(&sample.path, scorer.depth()).map_err(ScorerError::from)?;
    if !changes.is_empty() {
        // Other noise for each picture, and the same whatever else is in the folder.
        picture.image = apply_all(changes, &picture.image, picture.file.seed());
    }
    let prediction = scorer.score(&picture.image)?;
    Ok((picture, prediction))
}

/// Returns whether calibrations on random halves of all good scores keep their promise.
fn kept_promise(calibration: &Calibration, good: &[f32], splits: Splits) -> Vec<PromiseRow> {
    let pool = [calibration.scores(), good].concat();
    let mut rates = PROMISES.to_vec();
    if !rates.contains(&calibration.alpha()) {
        rates.push(calibration.alpha());
    }
    let row = |promised| {
        let kept = KeptPromise::measure(&pool, promised, splits.count, splits.seed);
        PromiseRow {
            promised,
            too_few: kept.as_ref().err().map(ToString::to_string),
            measured: kept.ok(),
        }
    };
    rates.into_iter().map(row).collect()
}

/// Scores the golden inputs here. One that cannot be scored is not reproduced.
fn golden(bundle: &Bundle, scorer: &mut Scorer) -> Vec<GoldenRow> {
    let calibration = bundle.calibration();
    let row = |golden: &GoldenRecord| {
        let score = scorer.score_golden(bundle, golden).ok();
        GoldenRow {
            file: golden.file.clone(),
            expected: golden.score,
            score,
            reproduced: score.is_some_and(|score| check_golden(golden, score, calibration).is_ok()),
        }
    };
    bundle.manifest().golden.iter().map(row).collect()
}
