//! `flawd backbone`: what is written, and the errors for files that are not weights.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flawd_import::TensorFile;
use flawd_onnx::efficientnet::{EfficientNet, GraphOptions, Padding};
use flawd_onnx::{Backbone, Normalisation};
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, data, flawd};

/// Random weights of a small EfficientNet.
fn weights(library: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/onnx/tests/data");
    folder.join(format!("efficientnet-{library}/weights.safetensors"))
}

/// Runs `flawd backbone build`; `more` are flags and values.
fn build(weights: &Path, out: &Path, more: &str) -> Finished {
    let mut all = Vec::from(arguments![
        "backbone",
        "build",
        "--weights",
        weights,
        "--out",
        out
    ]);
    all.extend(more.split_whitespace().map(OsString::from));
    flawd(all)
}

#[test]
fn the_filter_bank_is_written_as_a_backbone() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("filter-bank.onnx");
    let said = flawd(arguments!["backbone", "filter-bank", "--out", &file])
        .succeeded()
        .stdout;
    assert!(said.contains("features_s16"), "{said}");
    let backbone = Backbone::open(&file).expect("it is a backbone");
    assert_eq!(backbone.outputs(), ["features_s16", "features_s32"]);
}

#[test]
fn the_filter_bank_in_models_is_what_the_command_writes() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("filter-bank.onnx");
    flawd(arguments!["backbone", "filter-bank", "--out", &file]).succeeded();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/filter-bank.onnx");
    assert!(
        fs::read(&file).expect("it was written") == fs::read(kept).expect("it is kept"),
        "the formulas have changed: write models/filter-bank.onnx again"
    );
}

/// The same weights, saved of a network in `DataParallel`.
#[test]
fn weights_of_a_wrapped_network_make_the_same_backbone() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let bytes = fs::read(weights("torchvision")).expect("it is there");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).expect("JSON").trim_end();
    let header = header.replace("\"features.", "\"module.features.");
    let header = header.replace("\"classifier.", "\"module.classifier.");
    let wrapped = [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat();
    fs::write(path("wrapped.safetensors"), wrapped).expect("writable");
    let own = weights("torchvision");
    for (weights, out) in [
        (own, "own.onnx"),
        (path("wrapped.safetensors"), "wrapped.onnx"),
    ] {
        build(&weights, &path(out), "--padding torchvision").succeeded();
    }
    let [own, wrapped] = ["own.onnx", "wrapped.onnx"].map(|name| fs::read(path(name)).unwrap());
    assert!(own == wrapped);
}

#[test]
fn a_model_is_trained_on_an_efficientnet_and_scores_images() {
    let folder = TempDir::new().expect("a temporary folder");
    let backbone = folder.path().join("b.onnx");
    let said = build(&weights("torchvision"), &backbone, "--padding torchvision")
        .succeeded()
        .stdout;
    for part in [
        "8; 1x8",
        "names of torchvision",
        "symmetric",
        "0.001",
        "stage6: 40 channels, 32",
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    let bundle = folder.path().join("bundle");
    let mut train = Vec::from(arguments![
        "train",
        data(),
        "--backbone",
        &backbone,
        "--out",
        &bundle,
        "--cache",
        folder.path().join("cache")
    ]);
    let settings = "--size 128x128 --epochs 1 --hidden 4 --kernels 3 --false-reject-rate 0.2";
    train.extend(settings.split_whitespace().map(OsString::from));
    flawd(train).succeeded();
    let image = data().join("test/good/000.png");
    let said = flawd(arguments!["predict", &bundle, &image]).succeeded();
    assert!(said.stdout.contains("000.png"), "{}", said.stdout);
}

#[test]
fn every_flag_is_in_the_file() {
    let folder = TempDir::new().expect("a temporary folder");
    let out = folder.path().join("b.onnx");
    let weights = weights("lukemelas");
    let more = "--padding lukemelas --resolution 456 --stage 5,3 --epsilon 1e-4 --pixels inception";
    let said = build(&weights, &out, more).succeeded().stdout;
    assert!(said.contains("SAME padding for 456 pixels"), "{said}");
    let file = TensorFile::open(&weights).expect("a file of tensors");
    let tensors = file.read_network().expect("they are read");
    let network = EfficientNet::new(tensors, None).expect("an EfficientNet");
    let expected = network.graph(&GraphOptions {
        padding: Padding::Same { resolution: 456 },
        epsilon: 1e-4,
        stages: vec![3, 5],
        normalisation: Normalisation {
            mean: [0.5; 3],
            std: [0.5; 3],
            ..Normalisation::IMAGENET
        },
        filters: false,
    });
    assert!(fs::read(&out).expect("it is written") == expected.expect("a graph"));
}

#[test]
fn what_does_not_fit_is_said_with_the_way_out() {
    let folder = TempDir::new().expect("a temporary folder");
    let out = folder.path().join("b.onnx");
    let torchvision = weights("torchvision");
    let symmetric = "--padding torchvision";
    build(
        &torchvision,
        &out,
        "--padding torchvision --arch efficientnet-b5",
    )
    .failed(
        78,
        &[
            "weights.safetensors",
            "features.0.0.weight",
            "[8, 3, 3, 3]",
            "[48, 3, 3, 3]",
            "--arch",
        ],
    );
    build(
        &torchvision,
        &out,
        "--padding torchvision --arch efficientnet-b9",
    )
    .failed(64, &["efficientnet-b9", "efficientnet-b7"]);
    build(&torchvision, &out, "--padding torchvision --stage 8")
        .failed(64, &["`8` is not a stage", "to 7"]);
    build(&torchvision, &out, "--padding torchvision --resolution 456")
        .failed(64, &["--padding lukemelas"]);
    build(&torchvision, &out, "--padding torchvision --epsilon 0").failed(64, &["epsilon"]);
    build(&weights("lukemelas"), &out, "--padding lukemelas").failed(64, &["--resolution", "3x40"]);
    // A whole file of another kind, half a file, and none.
    let image = data().join("test/good/000.png");
    build(&image, &out, symmetric).failed(78, &["000.png", "neither a safetensors file"]);
    let half = folder.path().join("half.safetensors");
    let whole = fs::read(&torchvision).expect("it is there");
    fs::write(&half, &whole[..whole.len() / 2]).expect("it can be written");
    build(&half, &out, symmetric).failed(78, &["half.safetensors", "cut short"]);
    build(&folder.path().join("none"), &out, symmetric).failed(78, &["cannot read", "none"]);
    assert!(!out.exists(), "nothing was written");
    // Not even root can make a folder there.
    build(&torchvision, Path::new("/proc/none/b.onnx"), symmetric)
        .failed(1, &["cannot write", "none/b.onnx"]);
}
