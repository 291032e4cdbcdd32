//! Whether the images of a plan support the rate that its threshold should promise, and what to do
//! if they do not. Checked before an hour of training, not after it.

use flawd_core::calibration::{achievable_rate, needed_images, shown};

use super::images::held_out_count;
use super::{HoldOut, TrainingError, TrainingPlan};

/// Usual number of folds.
const FOLDS: usize = 10;

/// The rate of a plan was raised to the lowest that its images support.
#[derive(Clone, Debug, PartialEq)]
pub struct GaveWay {
    /// The requested rate, or the default.
    pub asked: f64,
    /// The lowest that the images support.
    pub rate: f64,
    /// Images that calibrate.
    pub calibrating: usize,
    /// What the lower rate requires, human-readable.
    pub takes: String,
}

/// Returns how many of this number of usable images, at least 2, calibrate.
pub(crate) fn calibrating(plan: &TrainingPlan, images: usize) -> usize {
    match plan.hold_out {
        HoldOut::Share(share) => held_out_count(images, share),
        HoldOut::Folds(_) => images,
    }
}

/// Checks whether a plan's rate can be kept if `calibrating` of `images` calibrate.
///
/// # Errors
/// If it was requested and cannot be kept, or the images do not allow such folds.
pub(crate) fn check(
    plan: &TrainingPlan,
    images: usize,
    calibrating: usize,
) -> Result<Option<GaveWay>, TrainingError> {
    let asked = plan.promise.false_reject_rate;
    let checked = plan.promise.check(calibrating);
    let method = plan.hold_out.method();
    let checked = checked.and_then(|()| method.check(calibrating));
    checked.map_err(|source| match plan.hold_out {
        HoldOut::Share(hold_out) => TrainingError::Calibration {
            source,
            hold_out,
            held_out: calibrating,
            images,
            takes: requirement(plan.hold_out, images, asked),
        },
        HoldOut::Folds(folds) => TrainingError::CrossCalibration {
            source,
            folds,
            images,
        },
    })?;
    let rate = achievable_rate(calibrating);
    Ok((asked < rate).then(|| GaveWay {
        asked,
        rate,
        calibrating,
        takes: requirement(plan.hold_out, images, asked),
    }))
}

/// Returns what a rate requires, given this number of images.
fn requirement(hold_out: HoldOut, images: usize, rate: f64) -> String {
    let needed = needed_images(rate);
    let HoldOut::Share(share) = hold_out else {
        return format!("{} takes {needed} good images", shown(rate));
    };
    let in_all = (needed + 1..)
        .find(|&images| held_out_count(images, share) >= needed)
        .expect("a share of enough images is enough");
    let mut ways = vec![format!("{in_all} good images")];
    // More than half would leave fewer images for training than for calibration.
    if 2 * needed <= images {
        let larger = (100.0 * needed as f64 / images as f64).ceil() / 100.0;
        ways.push(format!("--hold-out {larger}"));
    }
    let cross = format!("--cross-calibrate {FOLDS}, whose promise is an estimate");
    ways.push(if images >= needed {
        cross
    } else {
        format!("{needed} good images and {cross}")
    });
    format!("{} takes {}", shown(rate), ways.join(", or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rate_takes_is_enough() {
        let share = HoldOut::Share(0.2);
        let said = requirement(share, 209, 0.01);
        assert_eq!(
            said,
            "0.01 takes 493 good images, or --hold-out 0.48, or --cross-calibrate 10, whose \
             promise is an estimate"
        );
        assert_eq!(held_out_count(493, 0.2), 99);
        assert!(held_out_count(492, 0.2) < 99);
        assert!(held_out_count(209, 0.48) >= 99);
        assert_eq!(
            requirement(share, 60, 0.01),
            "0.01 takes 493 good images, or 99 good images and --cross-calibrate 10, whose promise \
             is an estimate"
        );
        assert_eq!(
            requirement(HoldOut::Folds(10), 60, 0.01),
            "0.01 takes 99 good images"
        );
    }
}
