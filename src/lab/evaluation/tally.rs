//! Scores and pixels of an evaluation, by kind, and the metrics of each kind against all good images.

use std::collections::BTreeMap;

use flawd_core::calibration::Calibration;
use flawd_core::evaluation::{PixelCounts, PixelTruth, Ranking, Rate};
use flawd_onnx::Prediction;

use super::{Counts, Metrics};
use crate::lab::dataset::Sample;

/// Scores and pixels, by kind.
#[derive(Default)]
pub(crate) struct Tally {
    good: TallyGroup,
    defects: BTreeMap<String, TallyGroup>,
}

#[derive(Default)]
struct TallyGroup {
    scores: Vec<f32>,
    pixels: PixelCounts,
}

impl Tally {
    pub(crate) fn add(
        &mut self,
        sample: &Sample,
        prediction: &Prediction,
        truth: Option<&PixelTruth>,
    ) {
        let group = if sample.is_defect() {
            self.defects.entry(sample.kind.clone()).or_default()
        } else {
            &mut self.good
        };
        group.scores.push(prediction.score);
        if let Some(truth) = truth {
            let map = prediction.anomaly_map.upsample(truth.size());
            group.pixels.add(map.values(), truth);
        }
    }

    /// Returns the scores of the good images.
    pub(crate) fn good_scores(&self) -> &[f32] {
        &self.good.scores
    }

    /// Returns the metrics over all defects, and for each kind separately.
    pub(crate) fn metrics(self, calibration: &Calibration) -> (Metrics, BTreeMap<String, Metrics>) {
        let Self { good, defects } = self;
        let mut all = TallyGroup::default();
        for group in defects.values() {
            all.scores.extend(&group.scores);
            all.pixels.merge(&group.pixels);
        }
        let against_good = |defect: TallyGroup| Metrics::new(&good, defect, calibration);
        let overall = against_good(all);
        let by_kind = defects
            .into_iter()
            .map(|(kind, group)| (kind, against_good(group)));
        (overall, by_kind.collect())
    }
}

impl Metrics {
    fn new(good: &TallyGroup, mut defect: TallyGroup, calibration: &Calibration) -> Self {
        let threshold = calibration.threshold();
        let ranking = Ranking::new(&good.scores, &defect.scores);
        let false_rejects = Rate::false_rejects(&good.scores, threshold);
        let escapes = Rate::escapes(&defect.scores, threshold);
        let f1_max = ranking.as_ref().map(Ranking::f1_max);
        defect.pixels.merge(&good.pixels);
        let overlap = defect.pixels.overlap();
        Self {
            image_auroc: ranking.as_ref().map(Ranking::auroc),
            image_ap: ranking.as_ref().map(Ranking::average_precision),
            f1_max: f1_max.map(|best| best.f1),
            f1_max_threshold: f1_max.map(|best| best.threshold),
            false_reject_rate: false_rejects.map(Rate::value),
            false_reject_rate_interval: false_rejects.map(Rate::interval),
            escape_rate: escapes.map(Rate::value),
            escape_rate_interval: escapes.map(Rate::interval),
            pixel_auroc: defect.pixels.ranking().as_ref().map(Ranking::auroc),
            aupro: overlap.map(|overlap| overlap.aupro),
            aupro_error: overlap.map(|overlap| overlap.error),
            counts: Counts {
                good: good.scores.len(),
                false_rejects: false_rejects.map_or(0, Rate::count),
                defect: defect.scores.len(),
                escapes: escapes.map_or(0, Rate::count),
            },
        }
    }
}
