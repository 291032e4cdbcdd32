//! The flow against the two published implementations: latents and log-determinants after every
//! block, score, loss and gradients, at a tiny size with random weights.
//!
//! `tests/data/parity-*` at the root of the repository holds their weights under their own names,
//! inputs, and outputs (float64 at the end of the flow).

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::anomaly::ScoreKind;
use flawd_core::flow::{CouplingLayout, FlowSpec, SubnetLayout};
use flawd_core::permutation::PermutationKind;
use flawd_train::maps::{Maps, Scales};
use flawd_train::network::Flow;
use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};

/// The tensors of a file, in double precision whatever they were stored in.
struct Tensors(BTreeMap<String, ArrayD<f64>>);

impl Tensors {
    fn read(fixture: &str, file: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
        let bytes = std::fs::read(root.join(fixture).join(file)).expect("the fixture is there");
        let tensors = SafeTensors::deserialize(&bytes).expect("the fixture is whole");
        let read = |view: safetensors::tensor::TensorView| {
            let values: Vec<f64> = match view.dtype() {
                Dtype::F32 => (view.data().as_chunks().0.iter())
                    .map(|&bytes| f64::from(f32::from_le_bytes(bytes)))
                    .collect(),
                Dtype::F64 => view
                    .data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&bytes| f64::from_le_bytes(bytes))
                    .collect(),
                Dtype::I64 => (view.data().as_chunks().0.iter())
                    .map(|&bytes| i64::from_le_bytes(bytes) as f64)
                    .collect(),
                other => panic!("{other:?} in a fixture"),
            };
            ArrayD::from_shape_vec(IxDyn(view.shape()), values).expect("shape fits")
        };
        Self(
            tensors
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, read(view)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &ArrayD<f64> {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// `[samples, channels, height, width]` in the file to the trainer's order.
    fn maps(&self, name: &str) -> Maps {
        let array = self.get(name).clone().permuted_axes(IxDyn(&[1, 0, 2, 3]));
        array
            .mapv(|value| value as f32)
            .as_standard_layout()
            .into_owned()
            .into_dimensionality()
            .expect("four dimensions")
    }

    fn scales(&self, name: impl Fn(usize) -> String) -> Scales<Maps> {
        (0..3).map(|scale| self.maps(&name(scale))).collect()
    }
}

/// How one published implementation names things.
struct Publication {
    fixture: &'static str,
    permutation: PermutationKind,
    subnet: fn(block: usize, subnet: &str) -> String,
}

const ORIGINAL: Publication = Publication {
    fixture: "parity-original",
    permutation: PermutationKind::NumpyLegacy,
    subnet: |block, subnet| format!("module_list.{}.{subnet}", 4 + 2 * block),
};

const ANOMALIB: Publication = Publication {
    fixture: "parity-anomalib",
    permutation: PermutationKind::NumpyPcg64,
    subnet: |block, subnet| {
        let number = subnet.trim_start_matches('s');
        format!(
            "graph.module_list.{}.cross_convolution{number}",
            1 + 2 * block
        )
    },
};

fn subnets(block: &CouplingLayout) -> [(&'static str, &SubnetLayout); 2] {
    [("s1", &block.s1), ("s2", &block.s2)]
}

/// Walks the parameters in the order of the layout with their names below a subnet.
fn each_tensor(subnet: &SubnetLayout, mut visit: impl FnMut(String, std::ops::Range<usize>)) {
    for scale in 0..3 {
        let start = subnet.gamma.start + scale;
        visit(format!("gamma{scale}"), start..start + 1);
    }
    for (name, conv) in subnet.convolutions() {
        visit(format!("{name}.weight"), conv.weight.clone());
        visit(format!("{name}.bias"), conv.bias.clone());
    }
}

fn load(publication: &Publication) -> (Flow, Tensors) {
    let spec = FlowSpec {
        channels: 16,
        hidden: 8,
        kernels: vec![3, 3, 3, 5],
        clamp: 3.0,
        permutation: publication.permutation,
        scales: 3,
        cross_scale: true,
    };
    let weights = Tensors::read(publication.fixture, "weights.safetensors");
    let mut flow = Flow::new(spec, 0).expect("a valid shape");
    let layout = flow.layout().clone();
    let mut loaded = 0;
    for (number, block) in layout.blocks.iter().enumerate() {
        for (name, subnet) in subnets(block) {
            each_tensor(subnet, |tensor, range| {
                let name = format!("{}.{tensor}", (publication.subnet)(number, name));
                for (slot, value) in flow.parameters[range].iter_mut().zip(weights.get(&name)) {
                    *slot = *value as f32;
                    loaded += 1;
                }
            });
        }
    }
    assert_eq!(loaded, layout.len, "every parameter comes from the fixture");
    (flow, Tensors::read(publication.fixture, "io.safetensors"))
}

/// `‖a - b‖ / ‖b‖`.
fn relative_error(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    let mut b = b.into_iter();
    for a in a {
        let b = b.next().expect("as many values");
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    assert!(b.next().is_none(), "as many values");
    (difference / norm).sqrt()
}

fn wide(values: &Maps) -> impl Iterator<Item = f64> + '_ {
    values.iter().map(|&value| f64::from(value))
}

fn forward_agrees(publication: &Publication) {
    let (flow, io) = load(publication);
    let input = io.scales(|scale| format!("x{scale}"));
    let blocks = flow.forward_by_block(input.clone());
    for (block, latents) in blocks.iter().enumerate() {
        for scale in 0..3 {
            let expected = io.maps(&format!("block{block}.z{scale}"));
            let error = relative_error(wide(&latents.maps[scale]), wide(&expected));
            assert!(error < 1e-4, "block {block}, scale {scale}: {error:e}");
        }
    }
    let (latents, _) = flow.forward(input);
    for scale in 0..3 {
        let expected = io.maps(&format!("z{scale}_f64"));
        let error = relative_error(wide(&latents.maps[scale]), wide(&expected));
        assert!(error < 1e-4, "latents of scale {scale}: {error:e}");
    }
    let expected = io.get("jac_per_sample_f64").iter().copied();
    let error = relative_error(latents.log_det.iter().copied(), expected);
    assert!(error < 1e-4, "log-determinant: {error:e}");
    let error = relative_error(
        latents.scores(ScoreKind::Mean),
        io.get("score").iter().copied(),
    );
    assert!(error < 1e-4, "score: {error:e}");
}

#[test]
fn forward_agrees_with_the_original() {
    forward_agrees(&ORIGINAL);
}

#[test]
fn forward_agrees_with_anomalib() {
    forward_agrees(&ANOMALIB);
}

#[test]
fn log_determinants_after_every_block_agree_with_the_original() {
    let (flow, io) = load(&ORIGINAL);
    let mut so_far = [0.0; 2];
    let blocks = flow.forward_by_block(io.scales(|scale| format!("x{scale}")));
    for (block, latents) in blocks.iter().enumerate() {
        for scale in 0..3 {
            let added = io.get(&format!("block{block}.jac{scale}"));
            so_far
                .iter_mut()
                .zip(added)
                .for_each(|(sum, added)| *sum += added);
        }
        let error = relative_error(latents.log_det.iter().copied(), so_far);
        assert!(error < 1e-4, "block {block}: {error:e}");
    }
}

#[test]
fn loss_and_gradients_agree_with_the_original() {
    let (flow, io) = load(&ORIGINAL);
    let (latents, trace) = flow.forward(io.scales(|scale| format!("x{scale}")));
    let losses = latents.losses();
    let loss = losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(relative_error([loss], io.get("loss").iter().copied()) < 1e-4);

    let mut gradient = vec![0.0; flow.parameters.len()];
    let (by_latents, by_log_det) = latents.loss_gradient();
    flow.backward(trace, by_latents, by_log_det, &mut gradient);
    for (number, block) in flow.layout().blocks.iter().enumerate() {
        for (name, subnet) in subnets(block) {
            each_tensor(subnet, |tensor, range| {
                if tensor.ends_with("weight") {
                    return; // The fixture holds the gradients by biases and gains.
                }
                let name = format!("grad.blocks.{number}.{name}.{tensor}");
                let computed = gradient[range].iter().map(|&value| f64::from(value));
                let error = relative_error(computed, io.get(&name).iter().copied());
                assert!(error < 1e-3, "{name}: {error:e}");
            });
        }
    }
}

/// The gradient by everything, weights included: it predicts how the loss changes along a random
/// direction.
#[test]
fn the_gradient_is_the_derivative_of_the_loss() {
    let (mut flow, io) = load(&ORIGINAL);
    let input = io.scales(|scale| format!("x{scale}"));
    let (latents, trace) = flow.forward(input.clone());
    let mut gradient = vec![0.0; flow.parameters.len()];
    let (by_latents, by_log_det) = latents.loss_gradient();
    flow.backward(trace, by_latents, by_log_det, &mut gradient);

    let direction: Vec<f32> = (0..gradient.len())
        .map(|n| (n as f32 * 1.7).sin())
        .collect();
    let slope: f64 = gradient
        .iter()
        .zip(&direction)
        .map(|(&g, &d)| f64::from(g) * f64::from(d))
        .sum();
    let start = flow.parameters.clone();
    let mut loss_at = |step: f32| {
        for ((slot, start), direction) in flow.parameters.iter_mut().zip(&start).zip(&direction) {
            *slot = start + step * direction;
        }
        let losses = flow.forward(input.clone()).0.losses();
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    let step = 1e-4;
    let measured = (loss_at(step) - loss_at(-step)) / (2.0 * f64::from(step));
    assert!(
        ((measured - slope) / slope).abs() < 5e-3,
        "measured {measured}, predicted {slope}"
    );
}

#[test]
fn the_inverse_of_the_forward_pass_is_the_input() {
    for publication in [&ORIGINAL, &ANOMALIB] {
        let (flow, io) = load(publication);
        let input = io.scales(|scale| format!("x{scale}"));
        let (latents, _) = flow.forward(input.clone());
        let back = flow.inverse(latents.maps);
        for scale in 0..3 {
            assert!(relative_error(wide(&back[scale]), wide(&input[scale])) < 1e-5);
        }
    }
}

#[test]
fn a_new_flow_only_permutes() {
    let (_, io) = load(&ORIGINAL);
    let input = io.scales(|scale| format!("x{scale}"));
    let flow = Flow::new(load(&ORIGINAL).0.spec().clone(), 7).expect("a valid shape");
    let (latents, _) = flow.forward(input.clone());
    assert!(latents.log_det.iter().all(|&det| det == 0.0));
    for (latents, input) in latents.maps.iter().zip(&input) {
        let sorted = |maps: &Maps| {
            let mut values: Vec<f32> = maps.iter().copied().collect();
            values.sort_by(f32::total_cmp);
            values
        };
        assert_eq!(sorted(latents), sorted(input));
    }
}
