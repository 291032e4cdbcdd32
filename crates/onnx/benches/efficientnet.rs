//! The published model, EfficientNet-B5 under a CS-Flow, at full size with random weights: built
//! here, and exported by PyTorch from the same numbers, both run by the same ONNX Runtime.
//!
//! `cargo bench -p flawd-onnx --bench efficientnet -- SIZE HIDDEN` takes images of SIZE pixels and
//! HIDDEN hidden channels; the defaults are 256 and 1024. PyTorch and torchvision are looked for in
//! `$PYTHON`, or `python3`; without them only our own time is printed. The two run in turns on one
//! thread, and the best run of each counts: only the ratio is meaningful, the seconds are not.
//!
//! The files are left in `target/tmp/efficientnet`: the weights serve `flawd backbone build` too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use flawd_core::anomaly::Readout;
use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::permutation::PermutationKind;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_onnx::efficientnet::{
    EfficientNet, GraphOptions, Naming, Padding, StateDict, Variant, output_name,
};
use flawd_onnx::{
    Backbone, FeatureSpec, Model, Normalisation, Runtime, SessionOptions, model_graph,
};
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, TensorView};

const STAGE: usize = 6;
const ROUNDS: usize = 5;
const RUNS: usize = 3;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|x| x.parse().ok()).collect();
    let (side, hidden) = match numbers[..] {
        [] => (256, 1024),
        [side, hidden] => (side, hidden),
        _ => panic!("give SIZE and HIDDEN, or neither"),
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("efficientnet");
    fs::create_dir_all(&folder).expect("a folder");

    let ours = folder.join("model.onnx");
    let bytes = write_model(&folder, &ours, side, hidden);
    println!(
        "{side}x{side}, hidden {hidden}: {:.0} MB",
        bytes as f64 / 1e6
    );
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let options = SessionOptions {
        intra_threads: 1,
        ..SessionOptions::default()
    };
    let load = |path: &Path| Model::load(runtime.with(&options), path).expect("a model");
    let image: Vec<u8> = Random(9)
        .many(side * side * 3)
        .map(|x| (127.5 + 127.0 * x) as u8)
        .collect();

    let mut model = load(&ours);
    let score = model.run(&image).expect("a prediction").score;
    let mut rivals: Vec<(&str, Model)> = Vec::new();
    for (name, exporter) in [
        ("PyTorch, TorchScript exporter", "script"),
        ("PyTorch, dynamo exporter", "dynamo"),
    ] {
        let path = folder.join(format!("{exporter}.onnx"));
        if !export(&folder, exporter, side, hidden, &path) {
            continue;
        }
        let mut rival = load(&path);
        let theirs = rival.run(&image).expect("a prediction").score;
        println!("  score    {score}, {theirs} by {name}");
        assert!(
            (theirs / score - 1.0).abs() < 1e-3,
            "the same numbers give the same score"
        );
        rivals.push((name, rival));
    }
    let mut best = vec![f64::INFINITY; 1 + rivals.len()];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(run(&mut model, &image));
        for ((_, rival), best) in rivals.iter_mut().zip(&mut best[1..]) {
            *best = best.min(run(rival, &image));
        }
    }
    println!("  flawd    {:.3} CPU-s a run", best[0]);
    for ((name, _), seconds) in rivals.iter().zip(&best[1..]) {
        println!(
            "  {name} {seconds:.3} CPU-s a run, ratio {:.2}",
            best[0] / seconds
        );
    }
    if rivals.is_empty() {
        println!(
            "  PyTorch  not here: set PYTHON to an interpreter that has torch and torchvision"
        );
    }
}

/// Writes the weights, and the model made of them; returns its size.
fn write_model(folder: &Path, path: &Path, side: usize, hidden: usize) -> usize {
    let weights = random_weights();
    write_tensors(&folder.join("efficientnet-b5.safetensors"), &weights);
    let network = EfficientNet::new(weights, Some(Variant::B5)).expect("an EfficientNet");
    let padding = Padding::Symmetric;
    let graph = network.graph(&GraphOptions {
        padding,
        epsilon: network.epsilon(padding),
        stages: vec![STAGE],
        normalisation: Normalisation::IMAGENET,
        filters: false,
    });
    let backbone = Backbone::from_bytes(Path::new("b5.onnx"), &graph.expect("a graph"));
    let flow = FlowSpec {
        channels: network.architecture().channels(STAGE),
        hidden,
        kernels: vec![3, 3, 3, 5],
        clamp: 3.0,
        permutation: PermutationKind::NumpyLegacy,
        scales: 3,
        cross_scale: true,
    };
    let parameters = random_flow(&flow, &folder.join("flow.safetensors"));
    let spec = FeatureSpec {
        size: Size::new(side, side),
        outputs: vec![output_name(STAGE)],
        normalisation: Normalisation::IMAGENET,
        light: None,
    };
    let transform = FeatureTransform {
        scales: vec![ChannelTransform::Identity; 3],
    };
    let model = model_graph(
        &backbone.expect("a backbone"),
        &spec,
        &transform,
        &flow,
        &parameters,
        Readout::default(),
        &BTreeMap::new(),
    );
    let model = model.expect("a model");
    fs::write(path, &model).expect("it can be written");
    model.len()
}

/// Numbers that look random and are the same everywhere, in `-1.0..1.0`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32) / (1 << 23) as f32 - 1.0
    }

    fn many(&mut self, count: usize) -> impl Iterator<Item = f32> {
        (0..count).map(|_| self.next())
    }
}

/// Weights of B5 with which neither features nor gradients run away: a variance of 3 / inputs
/// compensates for what swish removes, and batch norm changes little.
fn random_weights() -> StateDict {
    let mut random = Random(1);
    let architecture = Variant::B5.architecture();
    let tensors = Naming::Torchvision.tensors(&architecture);
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let elements: usize = shape.iter().product();
        let (middle, width) = match &shape[..] {
            [output, ..] if shape.len() == 4 => {
                (0.0, 3.0 / (elements as f32 / *output as f32).sqrt())
            }
            _ if name.ends_with(".running_var") => (1.0, 0.2),
            // The gain of a batch norm; no other weight has one axis.
            _ if name.ends_with(".weight") => (0.7, 0.2),
            _ => (0.0, 0.1),
        };
        let numbers = random.many(elements).map(|x| middle + width * x).collect();
        (
            name,
            ArrayD::from_shape_vec(shape, numbers).expect("as many as the shape says"),
        )
    };
    tensors.into_iter().map(tensor).collect()
}

/// Parameters of a flow, also written to a file by PyTorch's usual names for them.
fn random_flow(spec: &FlowSpec, path: &Path) -> Vec<f32> {
    let mut random = Random(2);
    let layout = spec.layout();
    let mut parameters = vec![0.0; layout.len];
    let mut named = StateDict::new();
    for (number, block) in layout.blocks.iter().enumerate() {
        for (subnet_name, subnet) in [("s1", &block.s1), ("s2", &block.s2)] {
            let name = format!("blocks.{number}.{subnet_name}");
            let mut fill = |part: String,
                            range: std::ops::Range<usize>,
                            shape: Vec<usize>,
                            middle: f32,
                            width: f32| {
                let place = &mut parameters[range];
                place.fill_with(|| middle + width * random.next());
                let tensor = ArrayD::from_shape_vec(shape, place.to_vec());
                named.insert(
                    format!("{name}.{part}"),
                    tensor.expect("as many as the shape says"),
                );
            };
            fill("gamma".to_owned(), subnet.gamma.clone(), vec![3], 0.3, 0.1);
            for (part, layer) in subnet.convolutions() {
                let kernel = layer.kernel;
                let width = 1.0 / ((layer.input * kernel * kernel) as f32).sqrt();
                let shape = vec![layer.output, layer.input, kernel, kernel];
                fill(
                    format!("{part}.weight"),
                    layer.weight.clone(),
                    shape,
                    0.0,
                    width,
                );
                fill(
                    format!("{part}.bias"),
                    layer.bias.clone(),
                    vec![layer.output],
                    0.0,
                    width,
                );
            }
        }
    }
    for (number, scales) in spec.permutations().iter().enumerate() {
        for (scale, permutation) in scales.iter().enumerate() {
            let numbers = permutation.iter().map(|&channel| channel as f32).collect();
            let tensor = ArrayD::from_shape_vec(vec![permutation.len()], numbers);
            named.insert(
                format!("permutation.{number}.{scale}"),
                tensor.expect("one axis"),
            );
        }
    }
    write_tensors(path, &named);
    parameters
}

fn write_tensors(path: &Path, tensors: &StateDict) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, tensor)| (name, tensor.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, bytes)| {
        let shape = tensors[*name].shape().to_vec();
        (
            name,
            TensorView::new(Dtype::F32, shape, bytes).expect("as long as the shape says"),
        )
    });
    safetensors::serialize_to_file(views, None, path).expect("it can be written");
}

/// Has PyTorch export the same model; returns `false` if PyTorch is missing.
fn export(folder: &Path, exporter: &str, side: usize, hidden: usize, path: &Path) -> bool {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/efficientnet.py");
    let numbers = [side, hidden].map(|number| number.to_string());
    let done = Command::new(python)
        .arg(script)
        .args([folder, Path::new(exporter)])
        .args(numbers)
        .arg(path)
        .status();
    done.is_ok_and(|status| status.success())
}

/// The best of some runs, in seconds of the processor.
fn run(model: &mut Model, image: &[u8]) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = processor_seconds();
        model.run(image).expect("a prediction");
        best = best.min(processor_seconds() - start);
    }
    best
}

/// Processor time of this thread in seconds, from `/proc/thread-self/schedstat`, which counts
/// nanoseconds; a session of one thread runs on the thread that calls it.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has /proc");
    let nanoseconds = stat.split_whitespace().next().expect("three numbers");
    nanoseconds.parse::<f64>().expect("a number") / 1e9
}
