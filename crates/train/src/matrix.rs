//! Matrix products: the only file that names the matrix kernel.

/// A read-only matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Creates a matrix of `rows` × `columns` values, each row contiguous and `row_stride` after
    /// the one before.
    ///
    /// # Panics
    /// If the last value lies outside the slice.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let matrix = Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        };
        assert!(
            last_offset(rows, columns, row_stride) < values.len(),
            "matrix outside its slice"
        );
        matrix
    }

    /// Returns the same values, with rows and columns swapped.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What a product does with the values that are already in its destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Replaces them.
    Overwrite,
    /// Adds to them.
    Add,
}

/// Computes `destination (+)= left · right`; the destination has contiguous rows, `row_stride`
/// apart.
///
/// The sum of each value runs in one fixed order, so a product does not depend on the number of
/// threads.
///
/// # Panics
/// If the shapes do not fit or the destination is too short.
pub(crate) fn multiply(
    write: Write,
    destination: &mut [f32],
    row_stride: usize,
    left: Matrix,
    right: Matrix,
) {
    let (rows, inner, columns) = (left.rows, left.columns, right.columns);
    assert_eq!(inner, right.rows, "inner sizes differ");
    assert!(
        last_offset(rows, columns, row_stride) < destination.len(),
        "destination too short"
    );
    assert!(columns <= row_stride, "destination rows overlap");
    let strides = [row_stride, left.row_stride, left.column_stride]
        .map(|stride| isize::try_from(stride).expect("a stride fits in isize"));
    let [row_stride, left_row, left_column] = strides;
    // SAFETY: `Matrix::new` and the assertions above keep every index inside its slice, the
    // destination is borrowed mutably and so overlaps neither operand, and its rows do not
    // overlap each other.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            destination.as_mut_ptr(),
            1,
            row_stride,
            write == Write::Add,
            left.values.as_ptr(),
            left_column,
            left_row,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

/// Returns the offset of the last value; a matrix without values is refused by its caller's shape.
fn last_offset(rows: usize, columns: usize, row_stride: usize) -> usize {
    assert!(rows > 0 && columns > 0, "an empty matrix");
    (rows - 1) * row_stride + columns - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_with_a_transposed_operand_equals_the_definition() {
        let left: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let right: Vec<f32> = (0..12).map(|v| (v as f32 * 0.5).sin()).collect();
        let mut result = vec![1.0; 8];
        multiply(
            Write::Add,
            &mut result,
            4,
            Matrix::new(&left, 2, 3, 3),
            Matrix::new(&right, 4, 3, 3).transposed(),
        );
        for row in 0..2 {
            for column in 0..4 {
                let expected: f32 = (0..3)
                    .map(|k| left[row * 3 + k] * right[column * 3 + k])
                    .sum::<f32>()
                    + 1.0;
                assert!((result[row * 4 + column] - expected).abs() < 1e-5);
            }
        }
    }
}
