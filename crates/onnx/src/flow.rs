//! The second half of a model graph: features in, score and anomaly map out.
//!
//! The flow is written as the formulas of the paper's code, with four differences that change no
//! number beyond rounding: each block's permutation and its split into halves are one gather per
//! half; the gains `gamma` are multiplied into the weights and biases of the second layer; in wide
//! flows maps are convolved before upsampling and not after (`upsampled.rs`); and the
//! log-determinant, which no score needs, is not computed. A fifth changes no number of a part: all
//! of them are kept within half precision (`range.rs`), where the code has ±1e6.

use flawd_core::anomaly::{MapKind, POWER, Readout, ScoreKind};
use flawd_core::flow::{FlowSpec, SCALES};
use flawd_core::image::Size;
use flawd_core::transform::{ChannelTransform, FeatureTransform};

use crate::anomaly_map::add_geometric_mean;
use crate::builder::{GraphBuilder, Value};
use crate::coupling::Coupling;
use crate::maps::{Maps, each_scale};
use crate::names::{ANOMALY_MAP, SCORE};
use crate::range;

/// Adds the transform between backbone and flow, whose result is within `±STATE`.
pub(crate) fn add_transform(
    builder: &mut GraphBuilder,
    features: Maps,
    transform: &FeatureTransform,
) -> Maps {
    each_scale(|scale| {
        let name = format!("transform.{scale}");
        let x = &features[scale];
        match &transform.scales[scale] {
            ChannelTransform::Identity => builder.clip(&name, x, -range::STATE, range::STATE),
            ChannelTransform::Affine { mean, scale } => {
                let limited = limit(builder, &name, x, mean, scale);
                let shape = [1, scale.len(), 1, 1];
                let mean = builder.floats(&format!("{name}.mean"), &shape, mean);
                let centred = builder.subtract(&format!("{name}.centred"), &limited, &mean);
                let scale = builder.floats(&format!("{name}.scale"), &shape, scale);
                builder.multiply(&name, &centred, &scale)
            }
        }
    })
}

/// Limits every channel to what the transform brings to `±STATE`.
fn limit(builder: &mut GraphBuilder, name: &str, x: &Value, mean: &[f32], scale: &[f32]) -> Value {
    let sides = mean.iter().zip(scale);
    let (low, high): (Vec<f32>, Vec<f32>) = sides
        .map(|(&mean, &scale)| range::of_feature(mean, scale).into())
        .unzip();
    let shape = [1, low.len(), 1, 1];
    let high = builder.floats(&format!("{name}.high"), &shape, &high);
    let low = builder.floats(&format!("{name}.low"), &shape, &low);
    let below = builder.smaller(&format!("{name}.below"), x, &high);
    builder.larger(&format!("{name}.within"), &below, &low)
}

/// Adds the published flow, not a variant of it; returns the latents of each scale.
pub(crate) fn add_flow(
    builder: &mut GraphBuilder,
    features: Maps,
    spec: &FlowSpec,
    parameters: &[f32],
) -> Maps {
    let layout = spec.layout();
    let mut latents = features;
    for (number, (block, permutation)) in layout.blocks.iter().zip(spec.permutations()).enumerate()
    {
        let name = format!("flow.{number}");
        let first = spec.halves()[0];
        let halves = each_scale(|scale| {
            let indices: Vec<i64> = permutation[scale].iter().map(|&c| c as i64).collect();
            let mut half = |part: &str, indices: &[i64]| {
                builder.gather(
                    &format!("{name}.{part}.{scale}"),
                    &latents[scale],
                    indices,
                    1,
                )
            };
            [half("x1", &indices[..first]), half("x2", &indices[first..])]
        });
        latents = Coupling {
            builder,
            name,
            spec,
            parameters,
        }
        .add(block, halves);
    }
    latents
}

/// Adds what is reported about the latents: the score and the anomaly map. `input` is the size of
/// the model's input.
pub(crate) fn add_outputs(
    builder: &mut GraphBuilder,
    latents: &Maps,
    Readout { score, map }: Readout,
    input: Size,
) -> [Value; 2] {
    let energies: Maps = each_scale(|scale| {
        let squares = format!("latent.{scale}.squares");
        let squares = builder.multiply(&squares, &latents[scale], &latents[scale]);
        // The finest scale's mean square may be the anomaly map.
        let name = match (map, scale) {
            (MapKind::Finest, 0) => ANOMALY_MAP.to_owned(),
            _ => format!("latent.{scale}.energy"),
        };
        builder.mean(&name, &squares, &[1], true)
    });
    let score = match score {
        ScoreKind::Mean => mean_over_latents(builder, &energies),
        ScoreKind::PowerMean => power_mean(builder, &energies[0]),
    };
    let map = match map {
        MapKind::Finest => energies[0].clone(),
        MapKind::Product => add_geometric_mean(builder, &energies, input),
    };
    [score, map]
}

/// Adds half the mean square over the latents of all scales together. Each scale has a quarter of
/// the cells of the one before, so the scales' means have the weights 16, 4 and 1.
fn mean_over_latents(builder: &mut GraphBuilder, energies: &Maps) -> Value {
    const CELLS: [f32; SCALES] = [16.0, 4.0, 1.0];
    let all: f32 = CELLS.iter().sum();
    let [fine, middle, coarse] = each_scale(|scale| {
        let name = format!("score.{scale}");
        let mean = builder.mean(&format!("{name}.mean"), &energies[scale], &[1, 2, 3], false);
        builder.scale(&name, &mean, 0.5 * CELLS[scale] / all)
    });
    let finer = builder.add("score.finer", &fine, &middle);
    builder.add(SCORE, &finer, &coarse)
}

/// Adds half the power mean of the cells `[1, 1, h, w]`: `(mean(e^p))^(1/p) / 2`, relative to the
/// largest cell, so that no power overflows in half precision.
fn power_mean(builder: &mut GraphBuilder, cells: &Value) -> Value {
    let largest = builder.maximum("score.largest", cells);
    // Latents that are all zero have no largest cell to divide by.
    let largest = builder.clip(
        "score.largest.clipped",
        &largest,
        range::SMALLEST,
        range::LARGEST,
    );
    let relative = builder.divide("score.relative", cells, &largest);
    let power = (1..POWER).fold(relative.clone(), |power, _| {
        builder.multiply("score.power", &power, &relative)
    });
    let mean = builder.mean("score.power.mean", &power, &[1, 2, 3], false);
    // The largest cell is 1, so the mean is not 0 unless all are.
    let logarithm = builder.log("score.log", &mean);
    let root = builder.scale("score.root.log", &logarithm, 1.0 / POWER as f32);
    let root = builder.exp("score.root", &root);
    let largest = builder.reshape("score.largest.flat", &largest, &[1]);
    let power_mean = builder.multiply("score.power_mean", &root, &largest);
    builder.scale(SCORE, &power_mean, 0.5)
}

#[cfg(test)]
mod tests {
    use flawd_core::permutation::PermutationKind;
    use ort::session::Session;
    use ort::value::Tensor;

    use super::*;
    use crate::builder::ElementType;
    use crate::runtime::Runtime;

    const SIDES: [usize; SCALES] = [4, 2, 1];

    /// One coupling block with 4 channels, hidden width 3 and 3x3 kernels, filled from a counter
    /// with `0.3 sin(0.7 n + 0.3)`; the expected numbers were computed in double precision.
    #[test]
    fn one_block_gives_the_golden_numbers() {
        let spec = FlowSpec {
            channels: 4,
            hidden: 3,
            kernels: vec![3],
            clamp: 3.0,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        };
        let mut counter = 0;
        let mut next = |factor: f64| {
            let number = factor * 0.3 * (0.7 * f64::from(counter) + 0.3).sin();
            counter += 1;
            number as f32
        };
        let layout = spec.layout();
        let mut parameters = vec![0.0; layout.len];
        for subnet in [&layout.blocks[0].s1, &layout.blocks[0].s2] {
            parameters[subnet.gamma.clone()].copy_from_slice(&[0.5, 0.6, 0.7]);
            for (_, layer) in subnet.convolutions() {
                for range in [&layer.weight, &layer.bias] {
                    parameters[range.clone()].fill_with(|| next(1.0));
                }
            }
        }
        let inputs =
            SIDES.map(|side| -> Vec<f32> { (0..4 * side * side).map(|_| next(5.0)).collect() });
        assert!((f64::from(inputs[0][0]) - -1.276_959_75).abs() < 1e-6);

        let mut builder = GraphBuilder::new("golden", 17);
        let features = each_scale(|scale| {
            let shape = [1, 4, SIDES[scale], SIDES[scale]].map(Into::into);
            builder.input(&format!("x{scale}"), ElementType::Float32, &shape)
        });
        let latents = add_flow(&mut builder, features, &spec, &parameters);
        let input = Size::new(SIDES[0], SIDES[0]);
        let outputs = add_outputs(&mut builder, &latents, Readout::default(), input);
        for (value, rank) in latents
            .iter()
            .map(|z| (z, 4))
            .chain([(&outputs[0], 1), (&outputs[1], 4)])
        {
            builder.output(value, ElementType::Float32, &vec!["any".into(); rank]);
        }
        let graph = builder.encode().expect("a small file");

        let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
        // The golden block has no permutation, so each input undoes the one to come.
        let permutation = &spec.permutations()[0];
        let permuted = each_scale(|scale| {
            let cells = SIDES[scale] * SIDES[scale];
            let mut x = vec![0.0; 4 * cells];
            for (to, &from) in permutation[scale].iter().enumerate() {
                x[from * cells..][..cells].copy_from_slice(&inputs[scale][to * cells..][..cells]);
            }
            let side = SIDES[scale];
            Tensor::from_array(([1, 4, side, side], x)).expect("a tensor")
        });
        let mut session = Session::builder(runtime.environment())
            .and_then(|mut builder| builder.commit_from_memory(&graph))
            .expect("a session");
        let found = session.run(ort::inputs![&permuted[0], &permuted[1], &permuted[2]]);
        let found = found.expect("a run");
        let numbers = |output: usize| found[output].try_extract_tensor::<f32>().expect("floats").1;

        let (z0, z1, z2) = (numbers(0), numbers(1), numbers(2));
        let close = |found: &[f32], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (&found, expected) in found.iter().zip(expected) {
                assert!(
                    (f64::from(found) - expected).abs() < 2e-6,
                    "{found} {expected}"
                );
            }
        };
        close(
            &z0[..4],
            &[-1.427_686_5, 0.499_371_63, 3.628_138_2, 2.880_495_8],
        );
        close(&z0[63..], &[-1.426_242]);
        close(&z1[10..11], &[-2.896_854]);
        close(z2, &[-1.976_593_2, -1.451_078, -0.142_641_2, 0.719_497_07]);
        close(numbers(3), &[3.631_662_4]);
        close(&numbers(4)[..1], &[2.827_479_5]);
    }

    /// The score of latents that are `z` on every cell of the finest scale, and 1 elsewhere.
    fn power_mean_of(z: [f32; 16]) -> f32 {
        let readout = Readout {
            score: ScoreKind::PowerMean,
            ..Readout::default()
        };
        let mut builder = GraphBuilder::new("outputs", 17);
        let inputs = each_scale(|scale| {
            let shape = [1, 2, SIDES[scale], SIDES[scale]].map(Into::into);
            builder.input(&format!("z{scale}"), ElementType::Float32, &shape)
        });
        let [score, _] = add_outputs(&mut builder, &inputs, readout, Size::new(4, 4));
        builder.output(&score, ElementType::Float32, &[1.into()]);
        let graph = builder.encode().expect("a small file");
        let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
        let mut session = Session::builder(runtime.environment())
            .and_then(|mut builder| builder.commit_from_memory(&graph))
            .expect("a session");
        let inputs = each_scale(|scale| {
            let shape = [1, 2, SIDES[scale], SIDES[scale]];
            let values = match scale {
                0 => [z, z].concat(),
                _ => vec![1.0; 2 * SIDES[scale] * SIDES[scale]],
            };
            Tensor::from_array((shape, values)).expect("a tensor")
        });
        let [z0, z1, z2] = &inputs;
        let found = session.run(ort::inputs![z0, z1, z2]).expect("a run");
        found[0].try_extract_tensor::<f32>().expect("floats").1[0]
    }

    #[test]
    fn a_power_mean_has_the_units_of_the_mean_and_sees_a_single_cell() {
        for z in [0.0, 1e-3, 1.0, 3.0, 1e6] {
            let expected = f64::from(z).powi(2) / 2.0;
            let found = f64::from(power_mean_of([z; 16]));
            assert!(
                (found - expected).abs() <= 1e-5 * expected.max(1e-30),
                "{found} {expected}"
            );
        }
        // One cell of 16 with z² = 9 beside ones: ((9³ + 15) / 16)^(1/3) / 2.
        let mut one = [1.0; 16];
        one[5] = 3.0;
        let expected = (744.0_f32 / 16.0).cbrt() / 2.0;
        assert!((power_mean_of(one) - expected).abs() < 1e-5);
    }
}
