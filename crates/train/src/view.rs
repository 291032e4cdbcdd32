//! Which of an image's feature maps are used, and in which form.
//!
//! The shipped flow uses all scales as they are. The other views are for variants of the flow and
//! the baselines, all from the same cached features.

use std::ops::Range;

use flawd_core::flow::SCALES;
use ndarray::{ArrayView3, Axis, concatenate};

use crate::maps::{Maps, Scales};
use crate::upsample::upsample;

/// A view of the features of three scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureView {
    /// The scales used, 0 the finest; not empty, and within the three.
    pub scales: Range<usize>,
    /// The form they are given.
    pub form: FeatureForm,
}

/// The form given to the maps of some scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureForm {
    /// One map per scale, as they are.
    Maps,
    /// One map on the finest grid: coarser maps are doubled bilinearly until they fit, and the
    /// channels of all scales are concatenated.
    Concatenated,
    /// One map of 1x1: the spatial mean of each channel, scale after scale.
    Means,
    /// One map of 1x1: the spatial means followed by the spatial maxima, scale after scale.
    MeansAndMaxima,
}

impl FeatureView {
    /// All scales as they are.
    pub const ALL: Self = Self {
        scales: 0..SCALES,
        form: FeatureForm::Maps,
    };

    /// Returns the view of a batch, one entry per selected scale.
    pub(crate) fn of(&self, maps: Scales<Maps>) -> Scales<Maps> {
        let parts: Vec<Maps> = match self.form {
            FeatureForm::Maps => return maps,
            FeatureForm::Concatenated => (0..)
                .zip(maps)
                .map(|(scale, maps)| (0..scale).fold(maps, |maps, _| upsample(maps.view())))
                .collect(),
            FeatureForm::Means => maps.iter().map(|maps| pooled(maps, mean)).collect(),
            FeatureForm::MeansAndMaxima => maps
                .iter()
                .flat_map(|maps| [pooled(maps, mean), pooled(maps, maximum)])
                .collect(),
        };
        let views: Vec<_> = parts.iter().map(|maps| maps.view()).collect();
        vec![concatenate(Axis(0), &views).expect("all parts have the same grid")]
    }

    /// Returns the shapes `[channels, height, width]` of the view, given those of the selected
    /// scales.
    pub(crate) fn shapes(&self, shapes: &[[usize; 3]]) -> Scales<[usize; 3]> {
        let channels: usize = shapes.iter().map(|[channels, ..]| channels).sum();
        let [_, height, width] = shapes[0];
        match self.form {
            FeatureForm::Maps => shapes.to_vec(),
            FeatureForm::Concatenated => vec![[channels, height, width]],
            FeatureForm::Means => vec![[channels, 1, 1]],
            FeatureForm::MeansAndMaxima => vec![[2 * channels, 1, 1]],
        }
    }
}

/// Returns `[channels, samples, 1, 1]`: one number for each map.
fn pooled(maps: &Maps, number: fn(&[f32]) -> f32) -> Maps {
    let (channels, samples, ..) = maps.dim();
    let plane = |channel: ArrayView3<f32>, sample: usize| {
        let plane = channel.index_axis_move(Axis(0), sample);
        number(plane.as_slice().expect("maps are contiguous"))
    };
    Maps::from_shape_fn((channels, samples, 1, 1), |(channel, sample, ..)| {
        plane(maps.index_axis(Axis(0), channel), sample)
    })
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().copied().map(f64::from).sum();
    (sum / values.len() as f64) as f32
}

fn maximum(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::MIN, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels, two samples; at every scale the values count up.
    fn scales() -> Scales<Maps> {
        let map = |size: usize| {
            let mut next = -1.0;
            Maps::from_shape_simple_fn((2, 2, size, size), || {
                next += 1.0;
                next
            })
        };
        vec![map(4), map(2), map(1)]
    }

    fn of(form: FeatureForm) -> Maps {
        let view = FeatureView { scales: 0..3, form };
        let shapes: Vec<[usize; 3]> = vec![[2, 4, 4], [2, 2, 2], [2, 1, 1]];
        let seen = view.of(scales()).pop().expect("one map");
        let (channels, _, height, width) = seen.dim();
        assert_eq!(view.shapes(&shapes), [[channels, height, width]]);
        seen
    }

    #[test]
    fn concatenated_scales_lie_on_the_finest_grid_behind_each_other() {
        let seen = of(FeatureForm::Concatenated);
        assert_eq!(seen.dim(), (6, 2, 4, 4));
        let [fine, middle, coarse] = &scales()[..] else {
            panic!("three scales")
        };
        assert_eq!(seen.slice(ndarray::s![..2, .., .., ..]), fine);
        assert_eq!(
            seen.slice(ndarray::s![2..4, .., .., ..]),
            upsample(middle.view())
        );
        for sample in 0..2 {
            let map = seen.slice(ndarray::s![5, sample, .., ..]);
            assert!(map.iter().all(|value| *value == coarse[[1, sample, 0, 0]]));
        }
    }

    #[test]
    fn means_and_maxima_are_those_of_each_map() {
        let means = of(FeatureForm::Means);
        assert_eq!(means[[0, 1, 0, 0]], (16..32).sum::<i32>() as f32 / 16.0);
        assert_eq!(means[[3, 0, 0, 0]], (8..12).sum::<i32>() as f32 / 4.0);
        let both = of(FeatureForm::MeansAndMaxima);
        assert_eq!(both[[0, 1, 0, 0]], means[[0, 1, 0, 0]]);
        assert_eq!(both[[2, 1, 0, 0]], 31.0);
        assert_eq!(both[[11, 1, 0, 0]], 3.0);
    }
}
