//! Percentiles of measured durations.

use serde::Serialize;

/// Half of all values, and 99 in 100, are no larger.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Percentiles {
    /// Computes percentiles by nearest rank, so that each is one of the values; 0 for an empty list.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            p50: rank(50),
            p99: rank(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = (1..=200).rev().map(f64::from).collect();
        let expected = Percentiles {
            p50: 100.0,
            p99: 198.0,
        };
        assert_eq!(Percentiles::of(values), expected);
        let alone = Percentiles { p50: 7.0, p99: 7.0 };
        assert_eq!(Percentiles::of(vec![7.0]), alone);
        let none = Percentiles { p50: 0.0, p99: 0.0 };
        assert_eq!(Percentiles::of(Vec::new()), none);
    }
}
