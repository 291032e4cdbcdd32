//! `flawd model import`: published checkpoints to models and bundles.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd::files::digest::sha256_file;
use flawd::pictures::decode::decode_file;
use flawd_core::anomaly::{MapKind, ScoreKind};
use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::manifest::Implementation;
use flawd_core::normalisation::Normalisation;
use flawd_core::permutation::PermutationKind;
use flawd_core::preprocess::{Geometry, Preprocessor};
use flawd_onnx::builder::{Dimension, ElementType, GraphBuilder, Window};
use flawd_onnx::{Backbone, FeatureExtractor, FeatureSpec, Model, Runtime, SessionOptions};
use flawd_train::network::Flow;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, data, flawd};

/// Channels of the flows in the fixtures of published implementations.
const CHANNELS: usize = 16;

const SIZE: Size = Size {
    height: 64,
    width: 64,
};

fn published(name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(name).join("weights.safetensors")
}

/// A checkpoint that PyTorch wrote, from beside the repository; `None`, with a message, if it is
/// missing.
fn lightning() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/fixtures/anomalib-checkpoint/model.ckpt");
    if path.exists() {
        Some(path)
    } else {
        println!("absent: the fixture anomalib-checkpoint is not beside the repository");
        None
    }
}

/// A network of one convolution, 16 channels at stride 8.
fn backbone_bytes(channels: usize) -> Vec<u8> {
    let mut builder = GraphBuilder::new("one convolution", 17);
    let shape = [Dimension::from("n"), 3.into(), "h".into(), "w".into()];
    let image = builder.input("image", ElementType::Float32, &shape);
    let weights: Vec<f32> = (0..channels * 27).map(|n| (n as f32).sin() / 4.0).collect();
    let weights = builder.floats("weight", &[channels, 3, 3, 3], &weights);
    let map = builder.convolution("features", &image, &weights, None, Window::same(3, 8));
    let shape = [
        Dimension::from("n"),
        channels.into(),
        "h/8".into(),
        "w/8".into(),
    ];
    builder.output(&map, ElementType::Float32, &shape);
    for (key, value) in Normalisation::IMAGENET.to_properties() {
        builder.metadata(key, &value);
    }
    builder.encode().expect("a small file")
}

/// A folder with that network, and room for what is made.
struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let backbone = folder.path().join("backbone.onnx");
        fs::write(backbone, backbone_bytes(CHANNELS)).expect("writable");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports `checkpoint` with these flags; `{}` stands for the folder.
    fn import(&self, checkpoint: &Path, flags: &str) -> Finished {
        let mut arguments = Vec::from(arguments!["model", "import", checkpoint]);
        let folder = self.folder.path().to_string_lossy();
        let flags = flags.replace("{}", &folder);
        arguments.extend(flags.split_whitespace().map(OsString::from));
        flawd(arguments)
    }
}

/// What the trainer's own flow gives for an image, with the parameters of a checkpoint.
fn score_of_the_trainer(checkpoint: &Path, image: &Path, backbone: &Path) -> f64 {
    let published = flawd_import::Checkpoint::read(checkpoint, None).expect("it is one");
    let mut flow = Flow::new(published.flow, 0).expect("a flow");
    flow.parameters = published.parameters;
    let backbone = Backbone::open(backbone).expect("it is one");
    let features = FeatureSpec {
        size: SIZE,
        outputs: vec!["features".to_owned()],
        normalisation: Normalisation::IMAGENET,
        light: None,
    };
    let graph = flawd_onnx::feature_graph(&backbone, &features).expect("a graph");
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let extractor = FeatureExtractor::load(runtime.with(&SessionOptions::default()), &graph);
    let maps = extractor
        .and_then(|mut extractor| extractor.run(&tensor(image)))
        .expect("features");
    let batch = maps.map(|map| {
        let (channels, height, width) = map.dim();
        let one = map.into_shape_with_order((channels, 1, height, width));
        one.expect("as many elements")
    });
    flow.forward(batch.into()).0.scores(ScoreKind::Mean)[0]
}

/// An image as the model sees it.
fn tensor(image: &Path) -> Vec<u8> {
    let image = decode_file(image, None).expect("it decodes");
    let mut preprocessor = Preprocessor::new(SIZE, Geometry::default());
    let mut tensor = vec![0; preprocessor.tensor_len()];
    preprocessor.run(&image, &mut tensor).expect("it fits");
    tensor
}

#[test]
fn the_model_of_either_publication_scores_as_the_trainer_does() {
    let workshop = Workshop::new();
    let image = data().join("test/good/000.png");
    for name in ["parity-original", "parity-anomalib"] {
        let flags = "--out {}/model.onnx --backbone {}/backbone.onnx --size 64x64";
        let finished = workshop.import(&published(name), flags).succeeded();
        assert!(finished.stdout.contains("no bundle"), "{}", finished.stdout);
        let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
        let path = workshop.path("model.onnx");
        let model = Model::load(runtime.with(&SessionOptions::default()), &path);
        let mut model = model.expect("it is one");
        let expected =
            score_of_the_trainer(&published(name), &image, &workshop.path("backbone.onnx"));
        let found = f64::from(model.run(&tensor(&image)).expect("a prediction").score);
        assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
    }
}

#[test]
fn with_good_images_a_checkpoint_becomes_a_bundle_that_says_what_is_unknown() {
    let workshop = Workshop::new();
    let checkpoint = published("parity-original");
    let good = data().join("train/good");
    let flags = format!(
        "--out {{}}/flange --calibrate {} --false-reject-rate 0.05 --backbone {{}}/backbone.onnx \
         --size 64x64",
        good.display()
    );
    let finished = workshop.import(&checkpoint, &flags).succeeded();
    assert!(
        finished.stdout.contains("flawd cannot know"),
        "{}",
        finished.stdout
    );

    let bundle = Bundle::open(&workshop.path("flange")).expect("every digest fits");
    let manifest = bundle.manifest();
    assert!(manifest.training.is_none());
    let import = manifest.import.as_ref().expect("it was imported");
    assert_eq!(import.implementation, Implementation::CsFlow);
    assert_eq!(import.file, "weights.safetensors");
    assert_eq!(
        import.digest,
        sha256_file(&checkpoint).expect("it is there")
    );
    assert_eq!(manifest.name, "flange");
    assert_eq!(manifest.backbone.file, "backbone.onnx");
    assert_eq!(
        (manifest.model.input, manifest.model.map),
        (SIZE, MapKind::Finest)
    );
    let n = bundle.calibration().n();
    assert_eq!((n, bundle.calibration().alpha()), (50, 0.05));

    let verified = flawd(arguments!["model", "verify", bundle.folder()]).succeeded();
    assert!(
        verified.stdout.ends_with("ok on cpu\n"),
        "{}",
        verified.stdout
    );
    let inspected = flawd(arguments!["model", "inspect", bundle.folder()]).succeeded();
    for part in [
        "imported",
        "weights.safetensors of cs-flow",
        "training unknown",
    ] {
        assert!(inspected.stdout.contains(part), "{}", inspected.stdout);
    }
    // It is a bundle like others, except for what is unknown about it.
    let test = data().join("test/good");
    flawd(arguments![
        "calibrate",
        bundle.folder(),
        &test,
        "--false-reject-rate",
        "0.1"
    ])
    .succeeded()
    .said(&["was imported", "only if they did not train it"]);
    let defect = data().join("test/stain/000.png");
    flawd(arguments!["predict", bundle.folder(), &defect]).succeeded();
}

#[test]
fn a_checkpoint_of_lightning_brings_its_own_extractor() {
    let Some(checkpoint) = lightning() else {
        return;
    };
    let workshop = Workshop::new();
    let flags = format!(
        "--out {{}}/flange --calibrate {} --false-reject-rate 0.1",
        data().join("test/good").display()
    );
    let finished = workshop.import(&checkpoint, &flags).succeeded();
    let finished = finished.said(&["only good images set one"]);
    let bundle = Bundle::open(&workshop.path("flange")).expect("every digest fits");
    let manifest = bundle.manifest();
    let expected = FlowSpec {
        channels: 40,
        hidden: 8,
        kernels: vec![3, 3, 3, 5],
        clamp: 3.0,
        permutation: PermutationKind::NumpyPcg64,
        scales: 3,
        cross_scale: true,
    };
    assert_eq!(manifest.flow, expected);
    assert_eq!(manifest.model.input, Size::new(256, 256));
    assert_eq!(manifest.model.map, MapKind::Product);
    assert_eq!(manifest.backbone.file, "model.ckpt");
    assert_eq!(manifest.backbone.normalisation, Normalisation::IMAGENET);
    let values = &manifest
        .import
        .as_ref()
        .expect("it was imported")
        .post_processor;
    let threshold = values["post_processor._image_threshold"];
    let line = format!("not used   post_processor._image_threshold = {threshold}");
    assert!(finished.stdout.contains(&line), "{}", finished.stdout);
    assert_ne!(f64::from(bundle.calibration().threshold()), threshold);
    flawd(arguments!["model", "verify", bundle.folder()]).succeeded();

    // Behind another network its flow means nothing.
    let flags = "--out {}/model.onnx --backbone {}/backbone.onnx";
    let second = workshop.import(&checkpoint, flags);
    second.failed(78, &["model.ckpt", "leave --backbone"]);
    assert!(!workshop.path("model.onnx").exists());
}

#[test]
fn what_is_missing_or_does_not_fit_is_said_and_nothing_is_written() {
    let workshop = Workshop::new();
    let checkpoint = published("parity-original");
    let refused = |flags: &str, code: i32, said: &[&str]| {
        workshop.import(&checkpoint, flags).failed(code, said);
        assert!(!workshop.path("model.onnx").exists() && !workshop.path("flange").exists());
    };
    let with = |flags: &str| format!("--out {{}}/model.onnx --backbone {{}}/backbone.onnx {flags}");
    refused(
        "--out {}/model.onnx",
        78,
        &["holds the flow alone", "--backbone FILE.onnx"],
    );
    refused(&with("--size 60x60"), 78, &["60x60", "multiples of 32"]);
    refused(&with("--feature nothing"), 78, &["no output `nothing`"]);
    fs::write(workshop.path("other.onnx"), backbone_bytes(12)).expect("writable");
    refused(
        "--out {}/model.onnx --backbone {}/other.onnx --size 64x64",
        78,
        &["takes 16 channels", "gives 12"],
    );
    refused(
        "--out {}/flange --backbone {}/backbone.onnx",
        64,
        &["--calibrate DIR", "FILE.onnx"],
    );
    let few = format!(
        "--out {{}}/flange --backbone {{}}/backbone.onnx --size 64x64 --false-reject-rate 0.01 \
         --calibrate {}",
        data().join("test/good").display()
    );
    refused(&few, 1, &["12 calibration images", "at least 99"]);

    let whole = fs::read(&checkpoint).expect("it is there");
    let cut = workshop.path("cut.safetensors");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("writable");
    let finished = workshop.import(&cut, &with("--size 64x64"));
    finished.failed(78, &["cut.safetensors", "cut short"]);
    let nowhere = workshop.import(Path::new("nowhere.ckpt"), &with(""));
    nowhere.failed(78, &["cannot read nowhere.ckpt"]);
    fs::create_dir(workshop.path("folder.onnx")).expect("writable");
    let flags = "--out {}/folder.onnx --backbone {}/backbone.onnx --size 64x64";
    let taken = workshop.import(&checkpoint, flags);
    taken.failed(1, &["cannot write", "folder.onnx"]);
}
