//! Doubling the size of maps by bilinear interpolation, and the adjoint of it.
//!
//! Half-pixel centres, borders repeated (`align_corners = false`): an output between the input
//! positions `i` and `i + 1` is 3/4 of the nearer and 1/4 of the farther one.

use ndarray::ArrayView4;
use rayon::prelude::*;

use crate::maps::{Maps, flat};

const NEAR: f32 = 0.75;
const FAR: f32 = 0.25;

/// Maps `[c, n, h, w]` to `[c, n, 2h, 2w]`.
pub(crate) fn upsample(input: ArrayView4<f32>) -> Maps {
    let (channels, samples, height, width) = input.dim();
    let mut output = Maps::zeros((channels, samples, 2 * height, 2 * width));
    let planes = output.as_slice_mut().expect("new maps are contiguous");
    planes
        .par_chunks_mut(4 * height * width)
        .zip(flat(&input).par_chunks(height * width))
        .for_each_init(
            || vec![0.0; width],
            |line, (output, input)| {
                for (y, row) in output.chunks_mut(2 * width).enumerate() {
                    let (near, far) = neighbours(y, height);
                    let near = &input[near * width..][..width];
                    let far = &input[far * width..][..width];
                    for ((value, near), far) in line.iter_mut().zip(near).zip(far) {
                        *value = NEAR * near + FAR * far;
                    }
                    for (x, value) in row.iter_mut().enumerate() {
                        let (near, far) = neighbours(x, width);
                        *value = NEAR * line[near] + FAR * line[far];
                    }
                }
            },
        );
    output
}

/// Applies the adjoint of [`upsample`]: `[c, n, 2h, 2w]` to `[c, n, h, w]`.
pub(crate) fn upsample_adjoint(output: ArrayView4<f32>) -> Maps {
    let (channels, samples, height, width) = output.dim();
    let (height, width) = (height / 2, width / 2);
    let mut input = Maps::zeros((channels, samples, height, width));
    let planes = input.as_slice_mut().expect("new maps are contiguous");
    planes
        .par_chunks_mut(height * width)
        .zip(flat(&output).par_chunks(4 * height * width))
        .for_each_init(
            || vec![0.0; width],
            |line, (input, output)| {
                for (y, row) in output.chunks(2 * width).enumerate() {
                    line.fill(0.0);
                    for (x, value) in row.iter().enumerate() {
                        let (near, far) = neighbours(x, width);
                        line[near] += NEAR * value;
                        line[far] += FAR * value;
                    }
                    let (near, far) = neighbours(y, height);
                    for (sum, value) in input[near * width..][..width].iter_mut().zip(&*line) {
                        *sum += NEAR * value;
                    }
                    for (sum, value) in input[far * width..][..width].iter_mut().zip(&*line) {
                        *sum += FAR * value;
                    }
                }
            },
        );
    input
}

/// Returns the input positions that output position `index` lies nearest to and second nearest to.
fn neighbours(index: usize, length: usize) -> (usize, usize) {
    let near = index / 2;
    let far = if index.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(length - 1)
    };
    (near, far)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, array};

    use super::*;

    #[test]
    fn a_line_is_interpolated_at_half_pixel_centres() {
        let line = array![[[[0.0, 4.0, 8.0]]]];
        let expected = [0.0, 1.0, 3.0, 5.0, 7.0, 8.0];
        let output = upsample(line.view());
        assert_eq!(
            output.as_slice().expect("contiguous"),
            [expected, expected].concat()
        );
    }

    #[test]
    fn the_adjoint_is_the_transpose() {
        let small = Array4::from_shape_fn((2, 3, 3, 2), |(c, n, y, x)| {
            ((c * 17 + n * 7 + y * 3 + x) as f32).sin()
        });
        let large = Array4::from_shape_fn((2, 3, 6, 4), |(c, n, y, x)| {
            ((c * 5 + n * 11 + y * 2 + x) as f32).cos()
        });
        let forward = (&upsample(small.view()) * &large).sum();
        let backward = (&upsample_adjoint(large.view()) * &small).sum();
        assert!((forward - backward).abs() < 1e-4);
    }
}
