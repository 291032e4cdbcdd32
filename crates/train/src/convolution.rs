//! Two-dimensional convolution with zero padding of half the kernel, and its exact gradients.
//!
//! The input is unfolded into a matrix `[input · kernel², positions]`, so that each convolution
//! and each of its two gradients is one matrix product. A batch is unfolded a few samples at a
//! time, which bounds the memory at any size of image and model.

use std::cell::RefCell;

use flawd_core::flow::ConvLayout;
use ndarray::{ArrayView4, ArrayViewMut4};
use rayon::prelude::*;

use crate::maps::{Maps, flat, flat_mut};
use crate::matrix::{Matrix, Write, multiply};

/// Values in one unfolded chunk, 8 MiB: larger chunks were no faster at any size measured.
const CHUNK_VALUES: usize = 2 << 20;

/// A convolution with its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    layout: &'a ConvLayout,
    weight: &'a [f32],
    bias: &'a [f32],
    stride: usize,
}

impl<'a> Convolution<'a> {
    /// Returns the convolution at `layout` of a flow's flat `parameters`.
    pub(crate) fn new(layout: &'a ConvLayout, parameters: &'a [f32], stride: usize) -> Self {
        Self {
            layout,
            weight: &parameters[layout.weight.clone()],
            bias: &parameters[layout.bias.clone()],
            stride,
        }
    }

    /// Convolves `input` into new maps.
    pub(crate) fn apply(&self, input: ArrayView4<f32>) -> Maps {
        let (_, samples, height, width) = input.dim();
        let size = |length: usize| length.div_ceil(self.stride);
        let mut output = Maps::zeros((self.layout.output, samples, size(height), size(width)));
        self.add_to(input, output.view_mut());
        output
    }

    /// Adds the convolution of `input` to `output`.
    pub(crate) fn add_to(&self, input: ArrayView4<f32>, mut output: ArrayViewMut4<f32>) {
        let chunks = Chunks::new(self, input.dim(), output.dim());
        let output = flat_mut(&mut output);
        output
            .par_chunks_mut(chunks.output_row())
            .zip(self.bias)
            .for_each(|(row, &bias)| {
                row.iter_mut().for_each(|value| *value += bias);
            });
        let weight = Matrix::new(
            self.weight,
            self.layout.output,
            chunks.taps(),
            chunks.taps(),
        );
        with_scratch(chunks.unfolded_len(), |scratch| {
            for chunk in chunks.iter() {
                let unfolded = chunks.unfold(flat(&input), chunk, scratch);
                let start = chunk.first * chunks.output_plane();
                multiply(
                    Write::Add,
                    &mut output[start..],
                    chunks.output_row(),
                    weight,
                    unfolded,
                );
            }
        });
    }

    /// Given the loss gradient with respect to this convolution's output, adds the gradient with
    /// respect to its parameters to the flat `parameter_gradient`, and that with respect to its
    /// input to `input_gradient`.
    pub(crate) fn backward(
        &self,
        input: ArrayView4<f32>,
        output_gradient: ArrayView4<f32>,
        parameter_gradient: &mut [f32],
        mut input_gradient: Option<ArrayViewMut4<f32>>,
    ) {
        let chunks = Chunks::new(self, input.dim(), output_gradient.dim());
        let output_gradient = flat(&output_gradient);
        let bias_gradient = &mut parameter_gradient[self.layout.bias.clone()];
        add_row_sums(output_gradient, chunks.output_row(), bias_gradient);
        let (outputs, taps) = (self.layout.output, chunks.taps());
        let weight = Matrix::new(self.weight, outputs, taps, taps);
        // Transposed, `[taps, outputs]`: the matrix kernel packs the unfolded matrix up to four
        // times as fast on this side of the product as on the other.
        let mut weight_gradient = vec![0.0; taps * outputs];
        with_scratch(chunks.unfolded_len(), |scratch| {
            for chunk in chunks.iter() {
                let start = chunk.first * chunks.output_plane();
                let columns = chunk.samples * chunks.output_plane();
                let gradient = Matrix::new(
                    &output_gradient[start..],
                    outputs,
                    columns,
                    chunks.output_row(),
                );
                let unfolded = chunks.unfold(flat(&input), chunk, scratch);
                let by_weight = &mut weight_gradient;
                multiply(
                    Write::Add,
                    by_weight,
                    outputs,
                    unfolded,
                    gradient.transposed(),
                );
                if let Some(input_gradient) = &mut input_gradient {
                    let unfolded = &mut scratch[..taps * columns];
                    multiply(
                        Write::Overwrite,
                        unfolded,
                        columns,
                        weight.transposed(),
                        gradient,
                    );
                    chunks.fold(unfolded, chunk, flat_mut(input_gradient));
                }
            }
        });
        let total = &mut parameter_gradient[self.layout.weight.clone()];
        add_transposed(&weight_gradient, outputs, total);
    }
}

/// Adds the sum of each row of `values`, which has `length` of them, to `sums`.
fn add_row_sums(values: &[f32], length: usize, sums: &mut [f32]) {
    values
        .par_chunks(length)
        .zip(sums)
        .for_each(|(row, sum)| *sum += row.iter().map(|&it| f64::from(it)).sum::<f64>() as f32);
}

/// Adds `matrix`, whose rows have `columns` values, transposed to `total`.
fn add_transposed(matrix: &[f32], columns: usize, total: &mut [f32]) {
    let rows = matrix.len() / columns;
    total
        .par_chunks_mut(rows)
        .enumerate()
        .for_each(|(column, total)| {
            for (row, total) in total.iter_mut().enumerate() {
                *total += matrix[row * columns + column];
            }
        });
}

/// Lends `len` values of memory that the calling thread keeps, since a fresh allocation of this
/// size would be returned to the system and cleared again for each convolution. The values are
/// those left by the last use.
fn with_scratch<R>(len: usize, task: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        task(&mut scratch[..len])
    })
}

/// A run of samples that are unfolded together.
#[derive(Clone, Copy)]
struct Chunk {
    first: usize,
    samples: usize,
}

/// The geometry of one convolution over a batch, cut into chunks of samples.
struct Chunks {
    kernel: usize,
    stride: usize,
    channels: usize,
    samples: usize,
    input: (usize, usize),
    output: (usize, usize),
}

impl Chunks {
    fn new(
        convolution: &Convolution,
        input: (usize, usize, usize, usize),
        output: (usize, usize, usize, usize),
    ) -> Self {
        let Convolution { layout, stride, .. } = *convolution;
        assert_eq!(
            (input.0, output.0),
            (layout.input, layout.output),
            "channels differ"
        );
        assert_eq!(input.1, output.1, "samples differ");
        assert_eq!(
            (input.2.div_ceil(stride), input.3.div_ceil(stride)),
            (output.2, output.3),
            "map sizes do not fit the stride"
        );
        Self {
            kernel: layout.kernel,
            stride,
            channels: layout.input,
            samples: input.1,
            input: (input.2, input.3),
            output: (output.2, output.3),
        }
    }

    /// Returns the number of weights that feed one output: rows of the unfolded matrix.
    fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    fn input_plane(&self) -> usize {
        self.input.0 * self.input.1
    }

    fn output_plane(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// Returns the number of values of one output channel over the whole batch.
    fn output_row(&self) -> usize {
        self.samples * self.output_plane()
    }

    fn samples_per_chunk(&self) -> usize {
        (CHUNK_VALUES / (self.taps() * self.output_plane())).clamp(1, self.samples)
    }

    fn iter(&self) -> impl Iterator<Item = Chunk> {
        let step = self.samples_per_chunk();
        let samples = self.samples;
        (0..samples).step_by(step).map(move |first| Chunk {
            first,
            samples: step.min(samples - first),
        })
    }

    /// Returns the number of values of the largest unfolded chunk.
    fn unfolded_len(&self) -> usize {
        self.taps() * self.samples_per_chunk() * self.output_plane()
    }

    /// Returns, for the taps of one channel, the offset of the input position from the output
    /// position.
    fn offsets(&self) -> impl Iterator<Item = (isize, isize)> + use<> {
        let (kernel, pad) = (self.kernel as isize, (self.kernel / 2) as isize);
        (0..kernel).flat_map(move |y| (0..kernel).map(move |x| (y - pad, x - pad)))
    }

    /// Writes the unfolded chunk `[taps, samples · positions]` into `buffer`.
    fn unfold<'b>(&self, input: &[f32], chunk: Chunk, buffer: &'b mut [f32]) -> Matrix<'b> {
        let columns = chunk.samples * self.output_plane();
        let buffer = &mut buffer[..self.taps() * columns];
        let squares = self.kernel * self.kernel;
        buffer
            .par_chunks_mut(squares * columns)
            .enumerate()
            .for_each(|(channel, taps)| {
                let start = (channel * self.samples + chunk.first) * self.input_plane();
                let source = &input[start..start + chunk.samples * self.input_plane()];
                for (row, offset) in taps.chunks_mut(columns).zip(self.offsets()) {
                    if self.stride == 1 {
                        self.shift(source, offset, row);
                    } else {
                        self.each_tap(offset, chunk.samples, |from, to| row[to] = source[from]);
                        self.clear_outside(offset, row);
                    }
                }
            });
        Matrix::new(buffer, self.taps(), columns, columns)
    }

    /// Applies the adjoint of [`Self::unfold`]: adds every tap's value to the position it came
    /// from.
    fn fold(&self, unfolded: &mut [f32], chunk: Chunk, input_gradient: &mut [f32]) {
        let columns = chunk.samples * self.output_plane();
        let squares = self.kernel * self.kernel;
        let rows = input_gradient.par_chunks_mut(self.samples * self.input_plane());
        unfolded
            .par_chunks_mut(squares * columns)
            .zip(rows)
            .for_each(|(taps, row)| {
                let start = chunk.first * self.input_plane();
                let target = &mut row[start..start + chunk.samples * self.input_plane()];
                for (values, offset) in taps.chunks_mut(columns).zip(self.offsets()) {
                    if self.stride == 1 {
                        self.add_shifted(values, offset, target);
                    } else {
                        self.each_tap(offset, chunk.samples, |to, from| target[to] += values[from]);
                    }
                }
            });
    }

    /// Fills a row at stride 1: an unfolded row is the input shifted in memory, with zeros where
    /// the shift crossed a border.
    fn shift(&self, source: &[f32], offset: (isize, isize), row: &mut [f32]) {
        let (from, to, len) = self.overlap(offset, row.len());
        row[to..to + len].copy_from_slice(&source[from..from + len]);
        self.clear_outside(offset, row);
    }

    /// Applies the adjoint of [`Self::shift`], at stride 1.
    fn add_shifted(&self, values: &mut [f32], offset: (isize, isize), target: &mut [f32]) {
        self.clear_outside(offset, values);
        let (from, to, len) = self.overlap(offset, values.len());
        for (sum, value) in target[from..from + len]
            .iter_mut()
            .zip(&values[to..to + len])
        {
            *sum += value;
        }
    }

    /// Returns where a row of `len` values overlaps itself shifted by `offset`: source, target,
    /// length.
    fn overlap(&self, (y, x): (isize, isize), len: usize) -> (usize, usize, usize) {
        let shift = y * self.input.1 as isize + x;
        let distance = shift.unsigned_abs().min(len);
        if shift >= 0 {
            (distance, 0, len - distance)
        } else {
            (0, distance, len - distance)
        }
    }

    /// Calls `visit(input index, output index)` for each place where the tap at `offset` lies in
    /// the input.
    fn each_tap(
        &self,
        offset: (isize, isize),
        samples: usize,
        mut visit: impl FnMut(usize, usize),
    ) {
        let (rows, columns) = (self.inside(offset.0, 0), self.inside(offset.1, 1));
        for sample in 0..samples {
            for y in rows.clone() {
                let from_y = (y * self.stride).wrapping_add_signed(offset.0);
                let from = (sample * self.input.0 + from_y) * self.input.1;
                let to = (sample * self.output.0 + y) * self.output.1;
                for x in columns.clone() {
                    visit(
                        from + (x * self.stride).wrapping_add_signed(offset.1),
                        to + x,
                    );
                }
            }
        }
    }

    /// Zeroes the values of an unfolded row whose tap lies outside the input.
    fn clear_outside(&self, offset: (isize, isize), row: &mut [f32]) {
        let (rows, columns) = (self.inside(offset.0, 0), self.inside(offset.1, 1));
        let width = self.output.1;
        for plane in row.chunks_mut(self.output_plane()) {
            plane[..rows.start * width].fill(0.0);
            plane[rows.end * width..].fill(0.0);
            for x in (0..columns.start).chain(columns.end..width) {
                plane[x..]
                    .iter_mut()
                    .step_by(width)
                    .for_each(|value| *value = 0.0);
            }
        }
    }

    /// Returns the output rows (`axis` 0) or columns (1) whose tap at `offset` lies in the input.
    fn inside(&self, offset: isize, axis: usize) -> std::ops::Range<usize> {
        let (input, output) = match axis {
            0 => (self.input.0, self.output.0),
            _ => (self.input.1, self.output.1),
        };
        let first = offset
            .min(0)
            .unsigned_abs()
            .div_ceil(self.stride)
            .min(output);
        let room = input.saturating_add_signed(-offset);
        first..room.div_ceil(self.stride).clamp(first, output)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    fn wave(shape: (usize, usize, usize, usize), speed: f32) -> Maps {
        let mut n = 0.0;
        Array4::from_shape_simple_fn(shape, || {
            n += 1.0;
            (n * speed).sin()
        })
    }

    fn layout(input: usize, output: usize, kernel: usize) -> (ConvLayout, Vec<f32>) {
        let weights = input * output * kernel * kernel;
        let layout = ConvLayout {
            input,
            output,
            kernel,
            weight: 0..weights,
            bias: weights..weights + output,
        };
        let parameters = (0..weights + output)
            .map(|n| (n as f32 * 0.37).cos())
            .collect();
        (layout, parameters)
    }

    /// The definition of a convolution, one output at a time.
    fn reference(layout: &ConvLayout, parameters: &[f32], input: &Maps, stride: usize) -> Maps {
        let (_, samples, height, width) = input.dim();
        let pad = (layout.kernel / 2) as isize;
        Array4::from_shape_fn(
            (
                layout.output,
                samples,
                height.div_ceil(stride),
                width.div_ceil(stride),
            ),
            |(o, n, y, x)| {
                let mut sum = parameters[layout.bias.start + o];
                for i in 0..layout.input {
                    for ky in 0..layout.kernel {
                        for kx in 0..layout.kernel {
                            let iy = (y * stride + ky) as isize - pad;
                            let ix = (x * stride + kx) as isize - pad;
                            if (0..height as isize).contains(&iy)
                                && (0..width as isize).contains(&ix)
                            {
                                let tap = ((o * layout.input + i) * layout.kernel + ky)
                                    * layout.kernel
                                    + kx;
                                sum += parameters[tap] * input[[i, n, iy as usize, ix as usize]];
                            }
                        }
                    }
                }
                sum
            },
        )
    }

    const CASES: [(usize, usize, usize, usize); 7] = [
        (3, 1, 4, 6),
        (3, 2, 4, 6),
        (5, 1, 3, 3),
        (5, 2, 6, 2),
        (1, 1, 2, 5),
        (5, 1, 1, 2),
        (3, 2, 2, 2),
    ];

    #[test]
    fn the_output_equals_the_definition() {
        for (kernel, stride, height, width) in CASES {
            let (layout, parameters) = layout(3, 4, kernel);
            let input = wave((3, 2, height, width), 0.7);
            let output = Convolution::new(&layout, &parameters, stride).apply(input.view());
            let expected = reference(&layout, &parameters, &input, stride);
            assert!(
                (output - expected).iter().all(|d| d.abs() < 1e-4),
                "{kernel} {stride}"
            );
        }
    }

    /// A convolution is linear in its input and in its parameters, so the gradient of
    /// `sum(output * g)` is exact when it reproduces the function's own values.
    #[test]
    fn the_gradients_are_the_adjoint() {
        for (kernel, stride, height, width) in CASES {
            let (layout, mut parameters) = layout(3, 4, kernel);
            parameters[layout.bias.clone()].fill(0.0);
            let input = wave((3, 2, height, width), 0.7);
            let convolution = Convolution::new(&layout, &parameters, stride);
            let output = convolution.apply(input.view());
            let gradient = wave(output.dim(), 1.3);
            let mut by_parameters = vec![0.0; parameters.len()];
            let mut by_input = Maps::zeros(input.dim());
            convolution.backward(
                input.view(),
                gradient.view(),
                &mut by_parameters,
                Some(by_input.view_mut()),
            );
            let value = (&output * &gradient).sum();
            let through_input = (&input * &by_input).sum();
            let weights = layout.weight.clone();
            let through_weights: f32 = parameters[weights.clone()]
                .iter()
                .zip(&by_parameters[weights])
                .map(|(a, b)| a * b)
                .sum();
            assert!((value - through_input).abs() < 1e-3, "{kernel} {stride}");
            assert!((value - through_weights).abs() < 1e-3, "{kernel} {stride}");
            let bias: f32 = by_parameters[layout.bias.clone()].iter().sum();
            assert!((bias - gradient.sum()).abs() < 1e-3);
        }
    }
}
