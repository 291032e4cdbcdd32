//! Feature maps as the trainer holds them: `[channels, samples, height, width]`.
//!
//! Channels come first and the samples of a batch second, so that a half of the channels is a
//! contiguous view, a permutation moves whole rows, and a convolution over the batch is one
//! matrix product.

use ndarray::{Array4, ArrayView4, ArrayViewMut4, Axis};

/// One scale's maps for a batch, `[channels, samples, height, width]`, in standard layout.
pub type Maps = Array4<f32>;

/// One value per scale of the flow, finest first.
pub type Scales<T> = Vec<T>;

/// Returns the result of `of` for each of `scales` scales.
pub(crate) fn each_scale<T>(scales: usize, of: impl FnMut(usize) -> T) -> Scales<T> {
    (0..scales).map(of).collect()
}

/// Returns the values of a view that is known to be contiguous.
pub(crate) fn flat<'a>(maps: &'a ArrayView4<'_, f32>) -> &'a [f32] {
    maps.as_slice()
        .expect("maps and their channel ranges are contiguous")
}

/// Returns the values of a mutable view that is known to be contiguous.
pub(crate) fn flat_mut<'a>(maps: &'a mut ArrayViewMut4<'_, f32>) -> &'a mut [f32] {
    maps.as_slice_mut()
        .expect("maps and their channel ranges are contiguous")
}

/// Returns the first `channels` channels of `maps` and the rest.
pub(crate) fn split(maps: &Maps, channels: usize) -> (ArrayView4<'_, f32>, ArrayView4<'_, f32>) {
    maps.view().split_at(Axis(0), channels)
}

/// Gathers channels: output channel `c` is input channel `order[c]`.
pub(crate) fn permute(maps: &Maps, order: &[usize]) -> Maps {
    maps.select(Axis(0), order)
}

/// Undoes [`permute`]; also the adjoint of it.
pub(crate) fn unpermute(maps: &Maps, order: &[usize]) -> Maps {
    let mut original = Maps::zeros(maps.raw_dim());
    for (channel, &source) in order.iter().enumerate() {
        original
            .index_axis_mut(Axis(0), source)
            .assign(&maps.index_axis(Axis(0), channel));
    }
    original
}
