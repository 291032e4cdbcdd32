//! What is read back, and what is refused.

use std::collections::BTreeMap;

use super::*;
use crate::anomaly::{MapKind, ScoreKind};
use crate::depth::Depth;
use crate::digest::Digest;
use crate::image::Size;
use crate::light::LightNormalisation;
use crate::normalisation::{ChannelOrder, Normalisation};
use crate::permutation::PermutationKind;
use crate::preprocess::{Flip, Geometry, RegionOfInterest, Rotation};
use crate::quality::QualityLimits;

fn manifest() -> Manifest {
    let digest = Digest::new([7; 32]);
    Manifest {
        format: FORMAT,
        name: "flange".to_owned(),
        version: BundleVersion::FIRST,
        created: Timestamp::UNIX_EPOCH,
        model: ModelRecord {
            digest,
            input: Size::new(256, 384),
            geometry: Geometry {
                region: Some(RegionOfInterest {
                    left: 1,
                    top: 2,
                    width: 300,
                    height: 200,
                }),
                rotate: Rotation::Quarter,
                flip: Flip::Horizontal,
            },
            depth: None,
            light: Some(LightNormalisation {
                reference: 131.5,
                limit: 1.25,
            }),
            score: ScoreKind::PowerMean,
            map: MapKind::Product,
        },
        backbone: BackboneRecord {
            file: "backbone.onnx".to_owned(),
            digest,
            outputs: vec!["features".to_owned()],
            normalisation: Normalisation {
                channel_order: ChannelOrder::Bgr,
                ..Normalisation::IMAGENET
            },
        },
        flow: FlowSpec {
            channels: 64,
            hidden: 32,
            kernels: vec![3, 5],
            clamp: 3.0,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        },
        training: Some(TrainingRecord {
            images: 700,
            data: digest,
            transform: "whiten".to_owned(),
            seed: 42,
            epochs: 10,
            final_loss: -0.25,
            losses: Vec::new(),
            held_out_losses: Vec::new(),
            settings: toml::toml! { batch = 16 },
        }),
        import: None,
        conversion: None,
        calibration: Calibration::from_scores(vec![0.1, 0.7, 0.3], 0.25).expect("three"),
        pixel: None,
        selection: SelectionRecord::default(),
        quality: None,
        metrics: None,
        golden: vec![GoldenRecord {
            file: "lowest.png".to_owned(),
            digest,
            score: 0.1,
            tolerance: 0.001,
        }],
    }
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let mut manifest = manifest();
    assert_eq!(
        manifest
            .to_string()
            .parse::<Manifest>()
            .expect("it reads back"),
        manifest
    );
    manifest.model.geometry = Geometry::default();
    let training = manifest.training.as_mut().expect("it is trained");
    training.losses = vec![1.5, 0.1 + 0.2, -0.25];
    training.held_out_losses = vec![0.5, 0.25];
    manifest.pixel = PixelCalibration::from_maxima(vec![2.0, 8.1, 3.0], 0.25).ok();
    manifest.quality = Some(QualityRecord {
        n: 3,
        limits: QualityLimits {
            brightness_min: 40.0,
            brightness_max: 230.5,
            sharpness_min: 12.25,
            noise_max: Some(9.5),
        },
        pictures: None,
    });
    manifest.selection = SelectionRecord {
        excluded: vec!["black.png".to_owned()],
        accepted: vec!["a.png: score 1.5, 2.0 times the next".to_owned()],
    };
    manifest.metrics = Some(MetricsRecord {
        good: 96,
        defect: 198,
        image_auroc: 0.98,
        image_ap: 0.99,
        f1_max: 0.95,
        false_reject_rate: 0.01,
        escape_rate: 0.1,
    });
    assert_eq!(
        manifest
            .to_string()
            .parse::<Manifest>()
            .expect("it reads back"),
        manifest
    );
}

#[test]
fn a_bundle_says_where_its_model_comes_from_in_one_way() {
    let mut imported = manifest();
    imported.training = None;
    imported.import = Some(ImportRecord {
        file: "model.ckpt".to_owned(),
        digest: Digest::new([9; 32]),
        implementation: Implementation::Anomalib,
        post_processor: BTreeMap::from([("post_processor.image_min".to_owned(), 0.25)]),
    });
    let read = |manifest: &Manifest| manifest.to_string().parse::<Manifest>();
    assert_eq!(read(&imported).expect("it reads back"), imported);
    let mut both = imported.clone();
    both.training = manifest().training;
    let mut neither = imported;
    neither.import = None;
    for wrong in [both, neither] {
        let error = read(&wrong).expect_err("must be refused").to_string();
        assert!(error.contains("one of [training] and [import]"), "{error}");
    }
}

#[test]
fn a_bundle_from_before_there_were_kinds_of_maps_has_that_of_the_finest_scale() {
    let mut manifest = manifest();
    let text = manifest.to_string();
    let old = text.replace("map = \"product\"\n", "");
    assert_ne!(old, text);
    manifest.model.map = MapKind::Finest;
    assert_eq!(old.parse::<Manifest>().expect("it reads"), manifest);
    let unknown = text.replace("\"product\"", "\"sum\"");
    let error = unknown.parse::<Manifest>().expect_err("no such map");
    let said = error.to_string();
    assert!(said.contains("sum") && said.contains("product"), "{said}");
}

#[test]
fn the_depth_is_there_where_pictures_had_more_than_8_bits_and_is_one() {
    let mut manifest = manifest();
    assert!(!manifest.to_string().contains("depth"));
    manifest.model.depth = Some(Depth::holding(4095));
    let text = manifest.to_string();
    assert!(text.contains("depth = 12\n"), "{text}");
    assert_eq!(text.parse::<Manifest>().expect("it reads back"), manifest);
    let read = text.replace("depth = 12", "depth = 24").parse::<Manifest>();
    let error = read.expect_err("no such depth").to_string();
    assert!(error.contains("24") && error.contains("8 to 16"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_by_name_and_line() {
    let text = manifest().to_string().replace("seed = 42", "sede = 42");
    let error = text
        .parse::<Manifest>()
        .expect_err("sede is unknown")
        .to_string();
    assert!(error.contains("sede") && error.contains("line"), "{error}");
}

/// The keys that format 1 got later are optional, and are checked if present.
#[test]
fn limits_that_no_picture_can_keep_are_refused() {
    let mut manifest = manifest();
    let text = manifest.to_string();
    assert!(!text.contains("[pixel]") && !text.contains("[quality"));
    assert!(!text.contains("losses") && !text.contains("[selection]"));
    manifest.quality = Some(QualityRecord {
        n: 3,
        limits: QualityLimits {
            brightness_min: 200.0,
            brightness_max: 100.0,
            sharpness_min: 1.0,
            noise_max: None,
        },
        pictures: None,
    });
    let read = manifest.to_string().parse::<Manifest>();
    let error = read.expect_err("darker and brighter at once").to_string();
    assert!(error.contains("[quality.limits]"), "{error}");
}

#[test]
fn losses_that_are_no_numbers_are_refused() {
    let mut manifest = manifest();
    manifest.training.as_mut().expect("it is trained").losses = vec![0.5, f64::NAN];
    let error = manifest.to_string().parse::<Manifest>();
    assert!(
        error
            .expect_err("not a number")
            .to_string()
            .contains("[training]")
    );
}

#[test]
fn a_newer_format_is_refused_whatever_else_it_holds() {
    let error = "format = 2\nflux = 1"
        .parse::<Manifest>()
        .expect_err("too new");
    assert!(matches!(error, ManifestError::Newer { found: 2 }));
    assert!(error.to_string().contains("update flawd"), "{error}");
}

#[test]
fn a_bundle_needs_golden_inputs_in_its_own_folder() {
    let mut none = manifest();
    none.golden.clear();
    assert!(none.to_string().parse::<Manifest>().is_err());
    for file in ["../x.png", "/x.png", "", "..", "a\\b.png"] {
        let mut outside = manifest();
        outside.golden[0].file = file.to_owned();
        let read = outside.to_string().parse::<Manifest>();
        assert!(
            matches!(read, Err(ManifestError::BadGoldenFile(_))),
            "{file}"
        );
    }
}

#[test]
fn impossible_flows_are_refused() {
    let mut even = manifest();
    even.flow.kernels = vec![4];
    assert!(matches!(
        even.to_string().parse::<Manifest>(),
        Err(ManifestError::Flow(FlowSpecError::EvenKernel(4)))
    ));
}

#[test]
fn a_golden_score_is_reproduced_within_its_tolerance() {
    let golden = &manifest().golden[0];
    assert!(golden.is_reproduced_by(0.1005));
    assert!(!golden.is_reproduced_by(0.102));
    assert!(!golden.is_reproduced_by(f32::NAN));
}
