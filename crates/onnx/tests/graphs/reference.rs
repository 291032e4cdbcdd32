//! The model's formulas as plain loops in `f64`: slow, obvious, and independent of the exporter.

use flawd_core::flow::{ConvLayout, FlowSpec, SubnetLayout};
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_onnx::Normalisation;
use ndarray::{Array3, Axis, concatenate, s};

pub(crate) type Maps = [Array3<f64>; 3];

/// `(b / 255 - mean) / std` of RGB bytes, as `[3, H, W]`, then every row and column, every second
/// and every fourth.
pub(crate) fn pyramid(
    bytes: &[u8],
    [height, width]: [usize; 2],
    normalisation: &Normalisation,
    source_channel: [usize; 3],
) -> Maps {
    let full = Array3::from_shape_fn((3, height, width), |(c, row, column)| {
        let byte = bytes[(row * width + column) * 3 + source_channel[c]];
        (f64::from(byte) / 255.0 - f64::from(normalisation.mean[c]))
            / f64::from(normalisation.std[c])
    });
    let half = full.slice(s![.., ..;2, ..;2]).to_owned();
    let quarter = full.slice(s![.., ..;4, ..;4]).to_owned();
    [full, half, quarter]
}

/// Zero-padded convolution, `weight` `[output, input, kernel, kernel]`.
pub(crate) fn convolution(
    x: &Array3<f64>,
    weight: &[f32],
    bias: &[f32],
    kernel: usize,
    stride: usize,
) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let padding = (kernel / 2) as isize;
    let at = |c: usize, row: isize, column: isize| {
        let inside = (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
        if inside {
            x[[c, row as usize, column as usize]]
        } else {
            0.0
        }
    };
    let size = |side: usize| (side + 2 * (kernel / 2) - kernel) / stride + 1;
    Array3::from_shape_fn(
        (bias.len(), size(height), size(width)),
        |(o, row, column)| {
            let mut sum = f64::from(bias[o]);
            for c in 0..channels {
                for i in 0..kernel {
                    for j in 0..kernel {
                        let weight = weight[((o * channels + c) * kernel + i) * kernel + j];
                        let row = (row * stride + i) as isize - padding;
                        let column = (column * stride + j) as isize - padding;
                        sum += f64::from(weight) * at(c, row, column);
                    }
                }
            }
            sum
        },
    )
}

/// Twice the size, bilinear, pixel centres at half positions.
pub(crate) fn upsample_twice(x: &Array3<f64>) -> Array3<f64> {
    let (_, height, width) = x.dim();
    upsample(x, [2 * height, 2 * width])
}

/// Another, larger size, in the same way.
fn upsample(x: &Array3<f64>, [rows, columns]: [usize; 2]) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let taps = |o: usize, side: usize, of: usize| {
        let place = ((o as f64 + 0.5) * side as f64 / of as f64 - 0.5).max(0.0);
        let low = place.floor() as usize;
        (low, (low + 1).min(side - 1), place - low as f64)
    };
    Array3::from_shape_fn((channels, rows, columns), |(c, row, column)| {
        let (top, bottom, down) = taps(row, height, rows);
        let (left, right, along) = taps(column, width, columns);
        let mix = |row: usize| x[[c, row, left]] * (1.0 - along) + x[[c, row, right]] * along;
        mix(top) * (1.0 - down) + mix(bottom) * down
    })
}

/// Means of squares of `size` by `size` cells.
pub(crate) fn average_pool(x: &Array3<f64>, size: usize) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    Array3::from_shape_fn(
        (channels, height / size, width / size),
        |(c, row, column)| {
            let rows = row * size..(row + 1) * size;
            let columns = column * size..(column + 1) * size;
            x.slice(s![c, rows, columns]).mean().expect("not empty")
        },
    )
}

pub(crate) fn transformed(transform: &FeatureTransform, features: &Maps) -> Maps {
    std::array::from_fn(|scale| {
        let x = &features[scale];
        match &transform.scales[scale] {
            ChannelTransform::Identity => x.clone(),
            ChannelTransform::Affine { mean, scale } => {
                Array3::from_shape_fn(x.dim(), |(c, row, column)| {
                    (x[[c, row, column]] - f64::from(mean[c])) * f64::from(scale[c])
                })
            }
        }
    })
}

/// The latents of the flow.
pub(crate) fn latents(spec: &FlowSpec, parameters: &[f32], features: &Maps) -> Maps {
    let half = spec.channels / 2;
    let mut maps = features.clone();
    for (block, permutations) in spec.layout().blocks.iter().zip(spec.permutations()) {
        let permuted: Maps =
            std::array::from_fn(|scale| maps[scale].select(Axis(0), &permutations[scale]));
        let part = |from: usize, to: usize| -> Maps {
            permuted
                .each_ref()
                .map(|map| map.slice(s![from..to, .., ..]).to_owned())
        };
        let (x1, x2) = (part(0, half), part(half, spec.channels));
        let moved = |x: &Maps, moves: &Maps| -> Maps {
            std::array::from_fn(|scale| {
                Array3::from_shape_fn(x[scale].dim(), |(c, row, column)| {
                    let t = c + x[scale].dim().0;
                    let s = moves[scale][[c, row, column]];
                    let clamp = f64::from(spec.clamp);
                    let log_scale = if clamp > 0.0 {
                        clamp * 0.636 * (s / clamp).atan()
                    } else {
                        s
                    };
                    log_scale.exp() * x[scale][[c, row, column]] + moves[scale][[t, row, column]]
                })
            })
        };
        let y1 = moved(&x1, &subnet(&block.s2, parameters, &x2));
        let y2 = moved(&x2, &subnet(&block.s1, parameters, &y1));
        maps = std::array::from_fn(|scale| {
            let joined = concatenate(Axis(0), &[y1[scale].view(), y2[scale].view()]);
            joined.expect("same size").mapv(|y| y.clamp(-1e6, 1e6))
        });
    }
    maps
}

fn subnet(layout: &SubnetLayout, parameters: &[f32], x: &Maps) -> Maps {
    let apply = |layout: &ConvLayout, x: &Array3<f64>, stride: usize| {
        let (weight, bias) = (
            &parameters[layout.weight.clone()],
            &parameters[layout.bias.clone()],
        );
        convolution(x, weight, bias, layout.kernel, stride)
    };
    let leaky = |y: f64| if y > 0.0 { y } else { 0.1 * y };
    let [y0, y1, y2]: Maps =
        std::array::from_fn(|scale| apply(&layout.conv_0[scale], &x[scale], 1).mapv(leaky));
    let sums = [
        apply(&layout.conv_1[0], &y0, 1) + apply(&layout.up[0], &upsample_twice(&y1), 1),
        apply(&layout.conv_1[1], &y1, 1)
            + apply(&layout.down[0], &y0, 2)
            + apply(&layout.up[1], &upsample_twice(&y2), 1),
        apply(&layout.conv_1[2], &y2, 1) + apply(&layout.down[1], &y1, 2),
    ];
    let gamma = &parameters[layout.gamma.clone()];
    std::array::from_fn(|scale| &sums[scale] * f64::from(gamma[scale]))
}

/// Half the mean square over all latents.
pub(crate) fn score(latents: &Maps) -> f64 {
    let all = || latents.iter().flatten();
    all().map(|z| z * z / 2.0).sum::<f64>() / all().count() as f64
}

/// The mean square over the channels of the finest scale, row by row.
pub(crate) fn anomaly_map(latents: &Maps) -> Vec<f64> {
    latents[0]
        .mapv(|z| z * z)
        .mean_axis(Axis(0))
        .expect("channels")
        .into_iter()
        .collect()
}

/// The geometric mean over the scales of the mean square over their channels, each brought to the
/// size of the image before, row by row.
pub(crate) fn product_map(latents: &Maps, size: [usize; 2]) -> Vec<f64> {
    let full = latents.each_ref().map(|z| {
        let energy = z.mapv(|z| z * z).mean_axis(Axis(0)).expect("channels");
        upsample(&energy.insert_axis(Axis(0)), size)
    });
    let [fine, middle, coarse] = full;
    (fine * middle * coarse)
        .mapv(f64::cbrt)
        .into_iter()
        .collect()
}
