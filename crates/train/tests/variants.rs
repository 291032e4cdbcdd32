//! Variants of the flow: other numbers of scales, and scales without links.

use flawd_core::flow::FlowSpec;
use flawd_core::permutation::PermutationKind;
use flawd_train::maps::{Maps, Scales};
use flawd_train::network::Flow;

const CHANNELS: usize = 6;
const SAMPLES: usize = 2;

fn spec(scales: usize, cross_scale: bool) -> FlowSpec {
    FlowSpec {
        channels: CHANNELS,
        hidden: 5,
        kernels: vec![3, 1, 3],
        clamp: 3.0,
        // All scales of a block have the same permutation.
        permutation: PermutationKind::NumpyPcg64,
        scales,
        cross_scale,
    }
}

const VARIANTS: [(usize, bool); 6] = [
    (3, true),
    (3, false),
    (2, true),
    (2, false),
    (1, true),
    (1, false),
];

/// A flow whose gains are not 0, so that everything in it matters.
fn flow(spec: FlowSpec) -> Flow {
    let mut flow = Flow::new(spec, 3).expect("a valid shape");
    for block in flow.layout().clone().blocks {
        for subnet in [block.s1, block.s2] {
            flow.parameters[subnet.gamma].fill(0.6);
        }
    }
    flow
}

fn input(scales: usize) -> Scales<Maps> {
    let map = |scale: usize| {
        let size = 4 >> scale;
        let mut n = 10.0 * scale as f32;
        Maps::from_shape_simple_fn((CHANNELS, SAMPLES, size, size), || {
            n += 0.7;
            2.0 * n.sin()
        })
    };
    (0..scales).map(map).collect()
}

fn mean_loss(flow: &Flow, input: &Scales<Maps>) -> f64 {
    let losses = flow.forward(input.clone()).0.losses();
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn the_gradient_of_every_variant_is_the_derivative_of_its_loss() {
    for (scales, cross_scale) in VARIANTS {
        let mut flow = flow(spec(scales, cross_scale));
        let input = input(scales);
        let (latents, trace) = flow.forward(input.clone());
        let mut gradient = vec![0.0; flow.parameters.len()];
        let (by_latents, by_log_det) = latents.loss_gradient();
        flow.backward(trace, by_latents, by_log_det, &mut gradient);

        let direction: Vec<f32> = (0..gradient.len())
            .map(|n| (n as f32 * 1.7).sin())
            .collect();
        let slope: f64 = (gradient.iter().zip(&direction))
            .map(|(&g, &d)| f64::from(g) * f64::from(d))
            .sum();
        let start = flow.parameters.clone();
        // Larger, and the loss is not straight; smaller, and it is all rounding.
        let step = 3e-4;
        let mut loss_at = |step: f32| {
            let values = start.iter().zip(&direction);
            flow.parameters = values.map(|(start, d)| start + step * d).collect();
            mean_loss(&flow, &input)
        };
        let measured = (loss_at(step) - loss_at(-step)) / (2.0 * f64::from(step));
        assert!(
            ((measured - slope) / slope).abs() < 0.02,
            "{scales} scales, linked {cross_scale}: measured {measured}, predicted {slope}"
        );
    }
}

#[test]
fn the_inverse_of_every_variant_gives_its_input_back() {
    for (scales, cross_scale) in VARIANTS {
        let flow = flow(spec(scales, cross_scale));
        let input = input(scales);
        let back = flow.inverse(flow.forward(input.clone()).0.maps);
        assert_eq!(back.len(), scales);
        for (back, input) in back.iter().zip(&input) {
            let largest = (back - input).fold(0.0_f32, |largest, d| largest.max(d.abs()));
            assert!(
                largest < 1e-4,
                "{scales} scales, linked {cross_scale}: {largest}"
            );
        }
    }
}

#[test]
fn a_flow_without_links_is_one_flow_per_scale() {
    let whole = flow(spec(3, false));
    let input = input(3);
    let (latents, _) = whole.forward(input.clone());
    let mut log_det = [0.0; SAMPLES];
    for (scale, input) in input.into_iter().enumerate() {
        let mut single = flow(spec(1, true));
        let layouts = whole.layout().blocks.iter().zip(&single.layout().blocks);
        let mut copies = Vec::new();
        for (from, to) in layouts {
            for (from, to) in [(&from.s1, &to.s1), (&from.s2, &to.s2)] {
                for (from, to) in [
                    (&from.conv_0[scale], &to.conv_0[0]),
                    (&from.conv_1[scale], &to.conv_1[0]),
                ] {
                    copies.push((from.weight.start..from.bias.end, to.weight.start));
                }
            }
        }
        for (from, to) in copies {
            let values = &whole.parameters[from];
            single.parameters[to..][..values.len()].copy_from_slice(values);
        }
        let (alone, _) = single.forward(vec![input]);
        assert_eq!(alone.maps[0], latents.maps[scale]);
        for (sum, own) in log_det.iter_mut().zip(&alone.log_det) {
            *sum += own;
        }
    }
    for (sum, whole) in log_det.iter().zip(&latents.log_det) {
        assert!((sum - whole).abs() < 1e-9, "{sum} {whole}");
    }
}
