//! Two-dimensional convolution with zero padding of half the kernel, and its exact gradients.
//!
//! The input is unfolded into a matrix `[input · kernel², positions]`, so that each convolution
//! and each of its two gradients is one matrix product. A batch is unfolded a few samples at a
//! time, which bounds the memory at any size of image and model.

mod chunks;

use std::cell::RefCell;

use flawd_core::flow::ConvLayout;
use ndarray::{ArrayView4, ArrayViewMut4};
use rayon::prelude::*;

use crate::maps::{Maps, flat, flat_mut};
use crate::matrix::{Matrix, Write, multiply};
use chunks::Chunks;

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

#[cfg(test)]
mod tests;
