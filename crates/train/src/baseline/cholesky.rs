//! The Cholesky factor of a symmetric, positive definite matrix.
//!
//! Matrices here are as wide as a backbone has channels, a thousand or so, and are factored once:
//! these few loops take a fraction of a second, so a linear algebra library would not be worth its
//! weight.

use ndarray::Array2;

/// The lower triangle `L` of `A = L·Lᵀ`.
pub(super) struct Cholesky {
    /// Row by row; what is above the diagonal is not used.
    lower: Vec<f64>,
    size: usize,
}

impl Cholesky {
    /// Factors a matrix, of which the lower triangle is read; `None` if it is not positive
    /// definite.
    pub(super) fn of(matrix: &Array2<f64>) -> Option<Self> {
        let size = matrix.nrows();
        let mut lower: Vec<f64> = matrix.iter().copied().collect();
        for row in 0..size {
            let (above, this) = lower.split_at_mut(row * size);
            for column in 0..row {
                let other = &above[column * size..][..size];
                let rest = this[column] - dot(&this[..column], &other[..column]);
                this[column] = rest / other[column];
            }
            let rest = this[row] - dot(&this[..row], &this[..row]);
            if rest.is_nan() || rest <= 0.0 {
                return None;
            }
            this[row] = rest.sqrt();
        }
        Some(Self { lower, size })
    }

    /// Returns `xᵀ A⁻¹ x`, that is `‖L⁻¹ x‖²`.
    pub(super) fn inverse_form(&self, x: &[f64]) -> f64 {
        let mut solved = x.to_vec();
        for row in 0..self.size {
            let coefficients = &self.lower[row * self.size..][..=row];
            let rest = x[row] - dot(&coefficients[..row], &solved[..row]);
            solved[row] = rest / coefficients[row];
        }
        dot(&solved, &solved)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_inverse_form_is_that_of_the_inverse() {
        let matrix = array![[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]];
        let factor = Cholesky::of(&matrix).expect("positive definite");
        // A·y for y = (1, -2, 3), so that the form is yᵀ A y.
        let y = array![1.0, -2.0, 3.0];
        let x = matrix.dot(&y);
        let expected = y.dot(&x);
        let found = factor.inverse_form(x.as_slice().expect("contiguous"));
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_no_factor() {
        for matrix in [
            array![[1.0, 2.0], [2.0, 1.0]],
            array![[0.0]],
            array![[f64::NAN]],
        ] {
            assert!(Cholesky::of(&matrix).is_none());
        }
    }
}
