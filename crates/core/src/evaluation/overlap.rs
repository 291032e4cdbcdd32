//! AUPRO: how much of each region of a defect is above a threshold, at the price of how many good
//! pixels, over all thresholds.
//!
//! Bergmann, Batzner, Fauser, Sattlegger and Steger, "The MVTec Anomaly Detection Dataset", IJCV
//! 2021, section 5; computed as in the evaluation that MVTec publishes with its data sets: each
//! region counts the same however large it is, regions are 8-connected, the curve begins at 0 and
//! is straight between the values that occur, and the area is taken up to a false-positive rate
//! of 30 % and divided by it.

/// Share of the good pixels up to which the area is taken.
pub const OVERLAP_LIMIT: f64 = 0.3;

/// The area under the per-region overlap curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// The area up to [`OVERLAP_LIMIT`], divided by that limit: 0 to 1.
    pub aupro: f64,
    /// `aupro` is off by this at most, because values that are nearly equal were counted as
    /// equal; usually by far less.
    pub error: f64,
    /// Number of regions.
    pub regions: usize,
}

/// What is added when the threshold falls below the next value.
pub(super) struct Step {
    /// Good pixels with it.
    pub(super) good: u64,
    /// Defect pixels with it, each as its share of its region.
    pub(super) overlap: f64,
}

impl Overlap {
    /// Computes it from steps in descending order of their values; `None` without a region or a
    /// good pixel.
    pub(super) fn from_steps(steps: &[Step], regions: usize) -> Option<Self> {
        let good: u64 = steps.iter().map(|step| step.good).sum();
        if good == 0 || regions == 0 {
            return None;
        }
        let (mut x, mut y) = (0.0, 0.0);
        let (mut area, mut error) = (0.0, 0.0);
        for step in steps {
            let across = step.good as f64 / good as f64;
            let up = step.overlap / regions as f64;
            let inside = across.min(OVERLAP_LIMIT - x);
            if inside > 0.0 {
                let part = inside / across;
                area += inside * (y + up * part / 2.0);
                // Within the step the curve may have been anywhere between its corners.
                error += inside * up * (1.0 - part / 2.0);
            }
            x += across;
            y += up;
        }
        Some(Self {
            aupro: area / OVERLAP_LIMIT,
            error: error / OVERLAP_LIMIT,
            regions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(steps: &[(u64, f64)], regions: usize) -> Overlap {
        let steps: Vec<Step> = steps
            .iter()
            .map(|&(good, overlap)| Step { good, overlap })
            .collect();
        Overlap::from_steps(&steps, regions).expect("regions and good pixels")
    }

    #[test]
    fn regions_above_every_good_pixel_give_1_and_below_every_one_0() {
        assert_eq!(overlap(&[(0, 2.0), (10, 0.0)], 2).aupro, 1.0);
        assert_eq!(overlap(&[(10, 0.0), (0, 2.0)], 2).aupro, 0.0);
    }

    /// A map that knows nothing: the diagonal, whose area up to 30 % is half of that.
    #[test]
    fn one_value_for_all_pixels_gives_the_diagonal() {
        let overlap = overlap(&[(10, 1.0)], 1);
        assert!((overlap.aupro - 0.15).abs() < 1e-12);
        // The curve may have been anywhere between nothing and everything.
        assert!((overlap.error - 0.85).abs() < 1e-12);
    }

    /// One region in four pixels, of which three are above all good ones and one below: 3/4 up to
    /// any false-positive rate below 1.
    #[test]
    fn what_is_found_counts_by_its_share_of_the_region() {
        let aupro = overlap(&[(0, 0.75), (7, 0.0), (0, 0.25)], 1).aupro;
        assert!((aupro - 0.75).abs() < 1e-12);
    }
}
