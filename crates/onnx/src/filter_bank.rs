//! The default backbone: a fixed bank of filters, written as an ONNX file from formulas.
//!
//! flawd generates it, so that a machine without a downloaded network still has features that see
//! edges, texture and colour. It is a two-layer scattering transform (Bruna and Mallat, "Invariant
//! Scattering Convolution Networks", PAMI 2013) on a binomial pyramid (Burt and Adelson, "The
//! Laplacian Pyramid as a Compact Image Code", 1983), with a logarithm after each layer (Andén and
//! Mallat, "Deep Scattering Spectrum", 2014):
//!
//! ```text
//! RGB ─ opponent colours ─┬─ luminance ─ pyramid, 4 levels of half the size each
//!                         │     level j:       U1 = ln(ε1² + |level ⋆ ψθ|²)     4 orientations
//!                         │     each k > j:    U2 = ln(ε2² + |U1 at k ⋆ ψθ'|²)  4 × 4 orientations
//!                         │                    mean and maximum of a cell          → features
//!                         └─ 3 colours:        mean of a cell, ln of its variance  → features
//! ```
//! `ψθ` is a complex Gabor wavelet and `|·|` its modulus, so a response depends only on the
//! texture, not on where it lies in the cell. The logarithm turns the exposure of a picture, which
//! multiplies all contrasts, into an offset, which the second layer does not see at all. The
//! maximum keeps small details: a crack that crosses a corner of a cell hardly changes its mean.
//! The benefit of each is in `models/README.md`.
//!
//! All of it is `Conv`, `Mul`, `Add`, `Sub`, `Relu`, `Log`, `AveragePool`, `MaxPool`, `Slice` and
//! `Concat`. Nothing is learned: it lacks what a trained network knows about objects.

use std::f64::consts::PI;

use flawd_core::normalisation::Normalisation;

use crate::builder::{Dimension, ElementType, GraphBuilder, Value, Window};

/// Name of the file, for a bundle or an error that has to name one.
pub const FILE_NAME: &str = "filter-bank.onnx";

/// The output that the flow takes by default: the coarser one, with a quarter of the cells.
pub const DEFAULT_OUTPUT: &str = "features_s32";

/// Channels of every output: means, then maxima, each of the first and the second order; the
/// colours are among the means.
pub const CHANNELS: usize = MEANS + MAXIMA;

/// Levels of the pyramid; each has half the height and width of the one before.
const LEVELS: usize = 4;

/// Orientations of the wavelets, spread evenly over half a turn.
const ORIENTATIONS: usize = 4;

/// Second-order paths: from each level to each coarser one.
const PATHS: usize = LEVELS * (LEVELS - 1) / 2;

/// Opponent colours, luminance being one.
const COLOURS: usize = 3;

const MEANS: usize = LEVELS * ORIENTATIONS + PATHS * ORIENTATIONS * ORIENTATIONS + 2 * COLOURS;

const MAXIMA: usize = LEVELS * ORIENTATIONS + PATHS * ORIENTATIONS * ORIENTATIONS;

/// Pixels per cell of the finer output.
const STRIDE: usize = 16;

/// Levels, from the finest, at which a wavelet is taken at every other pixel. Its modulus varies as
/// slowly as its envelope does, and a quarter of the pixels take a quarter of the time.
const SPARSE: usize = 2;

/// Side of a wavelet in pixels, its angular frequency in radians per pixel, and the deviation of
/// its envelope: an octave's band around a period of four pixels.
const KERNEL: usize = 7;
const FREQUENCY: f64 = PI / 2.0;
const DEVIATION: f64 = 1.7;

/// The moduli below which a response counts as none, of the first order (about one and a half grey
/// levels of 255) and of the second. A half or a quarter of either changes nothing on real images;
/// three times the first and fifteen times the second do.
const FLOORS: [f32; 2] = [0.02, 0.1];

const OPSET: i64 = 17;

/// What the filters expect of their pixels: -1 to 1.
pub(crate) const NORMALISATION: Normalisation = Normalisation::INCEPTION;

/// Returns the model file: input `image` `[n, 3, h, w]` RGB in -1 to 1, outputs `features_s16`
/// `[n, 230, h/16, w/16]` and `features_s32`, which pools the same once more. Height and width are
/// multiples of 32. The metadata says how to normalise.
pub fn filter_bank() -> Vec<u8> {
    let mut graph = GraphBuilder::new("flawd filter bank", OPSET);
    let shape = [Dimension::from("n"), 3.into(), "h".into(), "w".into()];
    let image = graph.input("image", ElementType::Float32, &shape);
    add_filter_bank(&mut graph, &image, ["features_s16", DEFAULT_OUTPUT]);
    for (key, value) in NORMALISATION.to_properties() {
        graph.metadata(key, &value);
    }
    graph.encode().expect("a few filters are far below 2 GiB")
}

/// Adds the filters of `image`, normalised as [`NORMALISATION`] says, and makes them outputs of the
/// graph: those of the finer and those of the coarser grid, under these names.
pub(crate) fn add_filter_bank(graph: &mut GraphBuilder, image: &Value, names: [&str; 2]) {
    let colours = opponent_colours(graph, image);
    let mut pyramid = Map {
        value: graph.slice("luminance", &colours, 1, 0, 1),
        channels: 1,
        level: 0,
    };
    let mut cells = Cells::default();
    for fine in 0..LEVELS {
        let name = format!("level{fine}");
        if fine > 0 {
            pyramid = smooth(graph, &format!("{name}.pyramid"), &pyramid, fine);
        }
        let first = response(graph, &name, &pyramid, FLOORS[0]);
        cells.add(graph, &name, &first);
        let mut coarser = first;
        for coarse in fine + 1..LEVELS {
            let name = format!("level{fine}.{coarse}");
            coarser = smooth(graph, &format!("{name}.smooth"), &coarser, coarse);
            let second = response(graph, &name, &coarser, FLOORS[1]);
            cells.add(graph, &name, &second);
        }
    }
    cells.means.extend(local_statistics(graph, &colours));

    let means = graph.concat("means", &cells.means, 1);
    let maxima = graph.concat("maxima", &cells.maxima, 1);
    let coarse_means = graph.average_pool("means.coarse", &means, 2);
    let coarse_maxima = graph.max_pool("maxima.coarse", &maxima, 2);
    let fine = graph.concat(names[0], &[means, maxima], 1);
    let coarse = graph.concat(names[1], &[coarse_means, coarse_maxima], 1);
    for (value, [height, width]) in [(&fine, ["h/16", "w/16"]), (&coarse, ["h/32", "w/32"])] {
        let shape = [
            Dimension::from("n"),
            CHANNELS.into(),
            height.into(),
            width.into(),
        ];
        graph.output(value, ElementType::Float32, &shape);
    }
}

/// The features of each cell of the finer output.
#[derive(Default)]
struct Cells {
    means: Vec<Value>,
    maxima: Vec<Value>,
}

impl Cells {
    /// Pools a response.
    fn add(&mut self, graph: &mut GraphBuilder, name: &str, response: &Map) {
        let size = STRIDE >> response.level;
        let value = &response.value;
        self.means
            .push(graph.average_pool(&format!("{name}.mean"), value, size));
        self.maxima
            .push(graph.max_pool(&format!("{name}.max"), value, size));
    }
}

/// Maps on the grid of a level of the pyramid.
struct Map {
    value: Value,
    channels: usize,
    /// 0 is that of the picture's pixels; each further one has half the height and width.
    level: usize,
}

/// Adds luminance, red against green and yellow against blue, each with weights of length 1 (van de
/// Sande, Gevers, Snoek, "Evaluating Color Descriptors", PAMI 2010).
fn opponent_colours(graph: &mut GraphBuilder, image: &Value) -> Value {
    let (third, half, sixth) = (
        3f32.sqrt().recip(),
        2f32.sqrt().recip(),
        6f32.sqrt().recip(),
    );
    let weights = [
        [third, third, third],
        [half, -half, 0.0],
        [sixth, sixth, -2.0 * sixth],
    ];
    let weights = graph.floats(
        "colours.weight",
        &[COLOURS, 3, 1, 1],
        weights.as_flattened(),
    );
    graph.convolution("colours", image, &weights, None, Window::same(1, 1))
}

/// Returns the logarithmic wavelet response of every channel, `channels * ORIENTATIONS` maps:
/// `ln(floor² + |x ⋆ ψθ|²)`, on a grid half as fine if there are pixels enough ([`SPARSE`]).
fn response(graph: &mut GraphBuilder, name: &str, x: &Map, floor: f32) -> Map {
    let channels = x.channels;
    let stride = if x.level < SPARSE { 2 } else { 1 };
    let mut square = |part: &str, phase: f64| {
        let wavelets: Vec<f32> = (0..ORIENTATIONS)
            .flat_map(|index| wavelet(orientation(index), phase))
            .collect();
        let shape = [channels * ORIENTATIONS, 1, KERNEL, KERNEL];
        let weights = graph.floats(
            &format!("{name}.{part}.weight"),
            &shape,
            &wavelets.repeat(channels),
        );
        let window = Window {
            groups: channels,
            ..Window::same(KERNEL, stride)
        };
        let name = format!("{name}.{part}");
        let response = graph.convolution(&name, &x.value, &weights, None, window);
        graph.multiply(&format!("{name}.square"), &response, &response)
    };
    let (even, odd) = (square("even", 0.0), square("odd", PI / 2.0));
    let energy = graph.add(&format!("{name}.energy"), &even, &odd);
    Map {
        value: logarithm(graph, name, &energy, floor),
        channels: channels * ORIENTATIONS,
        level: x.level + stride - 1,
    }
}

/// Adds `ln(floor² + energy)`.
fn logarithm(graph: &mut GraphBuilder, name: &str, energy: &Value, floor: f32) -> Value {
    let floor = graph.floats(&format!("{name}.floor"), &[], &[floor * floor]);
    let raised = graph.add(&format!("{name}.raised"), energy, &floor);
    graph.log(name, &raised)
}

/// Returns maps on the grid of `level`, their own or the next coarser one, after [`binomial`].
fn smooth(graph: &mut GraphBuilder, name: &str, map: &Map, level: usize) -> Map {
    let stride = 1 << (level - map.level);
    Map {
        value: binomial(graph, name, &map.value, map.channels, stride),
        channels: map.channels,
        level,
    }
}

/// Adds the binomial filter 1 4 6 4 1 in both directions, at every `stride`-th pixel.
fn binomial(
    graph: &mut GraphBuilder,
    name: &str,
    x: &Value,
    channels: usize,
    stride: usize,
) -> Value {
    let row = [1.0, 4.0, 6.0, 4.0, 1.0].map(|weight: f32| weight / 16.0);
    let square: Vec<f32> = row.iter().flat_map(|a| row.map(|b| a * b)).collect();
    let weights = graph.floats(
        &format!("{name}.weight"),
        &[channels, 1, 5, 5],
        &square.repeat(channels),
    );
    let window = Window {
        groups: channels,
        ..Window::same(5, stride)
    };
    graph.convolution(name, x, &weights, None, window)
}

/// Adds mean and logarithmic variance of each colour over a cell, at half resolution against noise.
fn local_statistics(graph: &mut GraphBuilder, colours: &Value) -> [Value; 2] {
    let cell = STRIDE / 2;
    let colours = binomial(graph, "colours.half", colours, COLOURS, 2);
    let mean = graph.average_pool("colours.mean", &colours, cell);
    let square = graph.multiply("colours.square", &colours, &colours);
    let mean_of_square = graph.average_pool("colours.square.mean", &square, cell);
    let square_of_mean = graph.multiply("colours.mean.square", &mean, &mean);
    let variance = graph.subtract("colours.variance", &mean_of_square, &square_of_mean);
    // Rounding may leave a tiny negative number.
    let variance = graph.relu("colours.variance.positive", &variance);
    [
        mean,
        logarithm(graph, "colours.variance.log", &variance, FLOORS[0]),
    ]
}

fn orientation(index: usize) -> f64 {
    PI * index as f64 / ORIENTATIONS as f64
}

/// Returns one part of a Gabor wavelet, row by row, the waves running at `angle` from the x axis:
/// even with phase 0 and odd with a quarter turn. It is blind to a constant image and has unit
/// length.
fn wavelet(angle: f64, phase: f64) -> Vec<f32> {
    let (sine, cosine) = angle.sin_cos();
    let radius = (KERNEL / 2) as f64;
    let points = || {
        (0..KERNEL * KERNEL).map(move |place| {
            let (x, y) = (
                (place % KERNEL) as f64 - radius,
                (place / KERNEL) as f64 - radius,
            );
            let envelope = (-(x * x + y * y) / (2.0 * DEVIATION * DEVIATION)).exp();
            (envelope, FREQUENCY * (x * cosine + y * sine) - phase)
        })
    };
    let waves = || points().map(|(envelope, turn)| envelope * turn.cos());
    let offset = waves().sum::<f64>() / points().map(|(envelope, _)| envelope).sum::<f64>();
    let balanced: Vec<f64> = points()
        .zip(waves())
        .map(|((envelope, _), wave)| wave - offset * envelope)
        .collect();
    let length = balanced
        .iter()
        .map(|weight| weight * weight)
        .sum::<f64>()
        .sqrt();
    balanced
        .iter()
        .map(|weight| (weight / length) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wavelets_are_blind_to_a_constant_and_have_unit_length() {
        for index in 0..ORIENTATIONS {
            for phase in [0.0, PI / 2.0] {
                let wavelet = wavelet(orientation(index), phase);
                let (sum, energy) = wavelet
                    .iter()
                    .fold((0.0, 0.0), |(sum, energy), &w| (sum + w, energy + w * w));
                assert!(sum.abs() < 1e-6, "{index} {phase}: {sum}");
                assert!((energy - 1.0).abs() < 1e-5, "{index} {phase}: {energy}");
            }
        }
    }

    #[test]
    fn the_file_is_the_same_every_time_and_small() {
        let bytes = filter_bank();
        assert_eq!(bytes, filter_bank());
        assert!(bytes.len() < 100_000, "{}", bytes.len());
    }
}
