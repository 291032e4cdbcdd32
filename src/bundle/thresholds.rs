//! Everything that a bundle derives from the good pictures of its calibration: the threshold of the
//! score, that of the anomaly map, the limits for usable pictures, and what pictures are like.
//!
//! All of it comes from the same pictures, so it is made, stored and replaced together.

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::condition::{Condition, UsualPictures};
use flawd_core::manifest::{QualityRecord, SelectionRecord};
use flawd_core::quality::{Measured, QualityLimits};
use flawd_core::regions::PixelCalibration;
use serde::{Deserialize, Serialize};

use super::scorer::ScoredImage;

/// What a calibration needs to know about a good picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoodImage {
    /// Its score.
    pub score: f32,
    /// The highest value of its anomaly map.
    pub map_max: f32,
    /// Its brightness, its sharpness and its condition.
    pub measured: Measured,
}

impl From<ScoredImage> for GoodImage {
    fn from(examined: ScoredImage) -> Self {
        Self {
            score: examined.prediction.score,
            map_max: examined.prediction.anomaly_map.max(),
            measured: examined.measured,
        }
    }
}

/// The results of a calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// For the score, which determines the verdict.
    pub calibration: Calibration,
    /// For the anomaly map, which determines regions.
    pub pixel: PixelCalibration,
    /// For the picture, which determines whether it can be judged.
    pub quality: QualityRecord,
    /// Manual decisions about the pictures.
    pub selection: SelectionRecord,
}

impl Thresholds {
    /// Combines the threshold that `calibrate` computes from the scores with the matching others: a
    /// good part shows a region as rarely as it is rejected.
    ///
    /// # Errors
    /// Those of `calibrate`, or if a value of an anomaly map is not finite.
    pub fn from_good(
        good: &[GoodImage],
        calibrate: impl FnOnce(Vec<f32>) -> Result<Calibration, CalibrationError>,
    ) -> Result<Self, CalibrationError> {
        let calibration = calibrate(good.iter().map(|image| image.score).collect())?;
        let maxima = good.iter().map(|image| image.map_max).collect();
        let measured: Vec<Measured> = good.iter().map(|image| image.measured.clone()).collect();
        let limits = QualityLimits::from_good(&measured);
        let conditions: Option<Vec<&Condition>> =
            measured.iter().map(|it| it.condition.as_ref()).collect();
        let pixel = PixelCalibration::from_maxima(maxima, calibration.alpha())?;
        Ok(Self {
            pixel: pixel.with_method(calibration.method())?,
            selection: SelectionRecord::default(),
            quality: QualityRecord {
                n: measured.len(),
                limits: limits.expect("no calibration is made of no pictures"),
                pictures: conditions.and_then(|conditions| UsualPictures::from_good(&conditions)),
            },
            calibration,
        })
    }

    /// Covers these pictures too: those of the calibration as one change would make them. The line
    /// neither refuses them nor calls them news.
    pub fn cover(&mut self, changed: &[Measured]) {
        if let Some(limits) = QualityLimits::from_good(changed) {
            self.quality.limits = self.quality.limits.or(limits);
        }
        let conditions: Option<Vec<&Condition>> =
            changed.iter().map(|it| it.condition.as_ref()).collect();
        if let (Some(pictures), Some(conditions)) = (&mut self.quality.pictures, conditions) {
            pictures.cover(&conditions);
        }
    }
}
