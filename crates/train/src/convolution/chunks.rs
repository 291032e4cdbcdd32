//! The unfolding of a batch, a few samples at a time, and its adjoint.

use rayon::prelude::*;

use super::Convolution;
use crate::matrix::Matrix;

/// Values in one unfolded chunk, 8 MiB: larger chunks were no faster at any size measured.
const CHUNK_VALUES: usize = 2 << 20;

/// A run of samples that are unfolded together.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    pub(crate) first: usize,
    pub(crate) samples: usize,
}

/// The geometry of one convolution over a batch, cut into chunks of samples.
pub(crate) struct Chunks {
    kernel: usize,
    stride: usize,
    channels: usize,
    samples: usize,
    input: (usize, usize),
    output: (usize, usize),
}

impl Chunks {
    pub(crate) fn new(
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
    pub(crate) fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    fn input_plane(&self) -> usize {
        self.input.0 * self.input.1
    }

    pub(crate) fn output_plane(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// Returns the number of values of one output channel over the whole batch.
    pub(crate) fn output_row(&self) -> usize {
        self.samples * self.output_plane()
    }

    fn samples_per_chunk(&self) -> usize {
        (CHUNK_VALUES / (self.taps() * self.output_plane())).clamp(1, self.samples)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Chunk> {
        let step = self.samples_per_chunk();
        let samples = self.samples;
        (0..samples).step_by(step).map(move |first| Chunk {
            first,
            samples: step.min(samples - first),
        })
    }

    /// Returns the number of values of the largest unfolded chunk.
    pub(crate) fn unfolded_len(&self) -> usize {
        self.taps() * self.samples_per_chunk() * self.output_plane()
    }

    /// Returns, for the taps of one channel, the offset of the input position from the output
    /// position.
    fn offsets(&self) -> impl Iterator<Item = (isize, isize)> + use<> {
        let (kernel, pad) = (self.kernel as isize, (self.kernel / 2) as isize);
        (0..kernel).flat_map(move |y| (0..kernel).map(move |x| (y - pad, x - pad)))
    }

    /// Writes the unfolded chunk `[taps, samples · positions]` into `buffer`.
    pub(crate) fn unfold<'b>(
        &self,
        input: &[f32],
        chunk: Chunk,
        buffer: &'b mut [f32],
    ) -> Matrix<'b> {
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
    pub(crate) fn fold(&self, unfolded: &mut [f32], chunk: Chunk, input_gradient: &mut [f32]) {
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
