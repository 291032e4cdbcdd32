//! Rates at a threshold, with intervals.

/// How often something happened, in how many cases; at least one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: usize,
    of: usize,
}

impl Rate {
    /// Makes the rate of `count` in `of` cases; `None` if there is no case.
    ///
    /// # Panics
    /// If `count` is more than `of`.
    pub fn new(count: usize, of: usize) -> Option<Self> {
        assert!(count <= of, "{count} of {of} cases");
        (of > 0).then_some(Self { count, of })
    }

    /// Returns the share of good images above the threshold: the false-reject rate.
    pub fn false_rejects(good: &[f32], threshold: f32) -> Option<Self> {
        let rejected = good.iter().filter(|&&score| score > threshold).count();
        Self::new(rejected, good.len())
    }

    /// Returns the share of defect images that are not above the threshold: the escape rate.
    pub fn escapes(defect: &[f32], threshold: f32) -> Option<Self> {
        let escaped = defect.iter().filter(|&&score| score <= threshold).count();
        Self::new(escaped, defect.len())
    }

    /// Returns how often it happened.
    pub fn count(self) -> usize {
        self.count
    }

    /// Returns the number of cases.
    pub fn of(self) -> usize {
        self.of
    }

    /// Returns the share, 0 to 1.
    pub fn value(self) -> f64 {
        self.count as f64 / self.of as f64
    }

    /// Returns Wilson's score interval for the underlying probability, at 95 %.
    pub fn interval(self) -> [f64; 2] {
        const Z: f64 = 1.959_963_984_540_054;
        let (p, n) = (self.value(), self.of as f64);
        let scale = 1.0 / (1.0 + Z * Z / n);
        let centre = scale * (p + Z * Z / (2.0 * n));
        let half = scale * Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        // At the ends the formula is 0 and 1 except for rounding.
        let low = if self.count == 0 { 0.0 } else { centre - half };
        let high = if self.count == self.of {
            1.0
        } else {
            centre + half
        };
        [low, high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() < 1e-12
    }

    #[test]
    fn a_score_at_the_threshold_is_good() {
        let threshold = 2.0;
        let false_rejects = Rate::false_rejects(&[1.0, 2.0, 3.0], threshold).expect("three");
        assert_eq!((false_rejects.count(), false_rejects.of()), (1, 3));
        let escapes = Rate::escapes(&[2.0, 2.5], threshold).expect("two");
        assert_eq!((escapes.count(), escapes.of()), (1, 2));
        assert_eq!(Rate::escapes(&[], threshold), None);
    }

    /// Wilson (1927), computed in double precision in Python.
    #[test]
    fn intervals_are_wilsons() {
        let cases = [
            (0, 10, [0.0, 0.277_532_799_862_889_2]),
            (3, 10, [0.107_791_267_406_300_99, 0.603_221_852_538_854_6]),
            (10, 10, [0.722_467_200_137_110_7, 1.0]),
            (1, 96, [0.001_841_170_216_816_252, 0.056_666_176_227_156_25]),
        ];
        for (count, of, [low, high]) in cases {
            let interval = Rate::new(count, of).expect("there are cases").interval();
            assert!(
                close(interval[0], low) && close(interval[1], high),
                "{interval:?}"
            );
        }
    }
}
