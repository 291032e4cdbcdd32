//! Bundles on disk. None of these tests runs a model, so `model.onnx` may be any bytes.

use std::collections::BTreeMap;

use flawd_core::anomaly::{MapKind, ScoreKind};
use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::manifest::{
    BackboneRecord, BundleVersion, FORMAT, Implementation, ImportRecord, ModelRecord,
    SelectionRecord, TrainingRecord,
};
use flawd_core::normalisation::Normalisation;
use flawd_core::permutation::PermutationKind;
use flawd_core::preprocess::Geometry;
use flawd_core::quality::Measured;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::files::digest::sha256;

fn picture(grey: u8) -> RgbImage {
    RgbImage::new(Size::new(2, 3), vec![grey; 18]).expect("the pixels fit")
}

fn golden(scores: &[f32]) -> Vec<GoldenInput> {
    let input = |&score: &f32| GoldenInput {
        image: picture((score * 100.0) as u8),
        score,
        is_part: true,
    };
    scores.iter().map(input).collect()
}

fn calibration(highest: f32) -> Calibration {
    Calibration::from_scores(vec![0.25, 0.5, highest], 0.25).expect("three are enough")
}

fn describe(record: DraftRecord) -> Manifest {
    Manifest {
        format: FORMAT,
        name: "flange".to_owned(),
        version: BundleVersion::FIRST,
        created: Timestamp::UNIX_EPOCH,
        model: ModelRecord {
            digest: record.model,
            input: Size::new(128, 128),
            geometry: Geometry::default(),
            depth: None,
            light: None,
            score: ScoreKind::default(),
            map: MapKind::default(),
        },
        backbone: BackboneRecord {
            file: "backbone.onnx".to_owned(),
            digest: sha256(b"backbone"),
            outputs: vec!["features".to_owned()],
            normalisation: Normalisation::IMAGENET,
        },
        flow: FlowSpec {
            channels: 4,
            hidden: 4,
            kernels: vec![3],
            clamp: 3.0,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        },
        training: record.training_files.map(|data| TrainingRecord {
            images: 1,
            data,
            transform: "identity".to_owned(),
            seed: 1,
            epochs: 1,
            final_loss: 0.5,
            losses: Vec::new(),
            held_out_losses: Vec::new(),
            settings: toml::Table::new(),
        }),
        import: None,
        conversion: None,
        calibration: calibration(1.0),
        pixel: None,
        selection: SelectionRecord::default(),
        quality: None,
        metrics: None,
        golden: record.golden,
    }
}

fn write(target: &Path, model: &[u8]) -> Result<Bundle, BundleError> {
    let mut draft = Draft::begin(target)?;
    draft.write_model(model)?;
    draft.write_training_files([(sha256(b"a picture"), "a picture.png")])?;
    draft.finish(&golden(&[0.25, 0.5]), describe)
}

fn place() -> (TempDir, PathBuf) {
    let parent = TempDir::new().expect("a temporary folder");
    let target = parent.path().join("bundle");
    (parent, target)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it can be listed");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_opens_again() {
    let (_parent, target) = place();
    let written = write(&target, b"model").expect("it can be written");
    let opened = Bundle::open(&target).expect("it opens");
    assert_eq!(opened.manifest(), written.manifest());
    assert_eq!(
        fs::read(opened.model_path()).expect("it is there"),
        b"model"
    );
    assert!(opened.was_trained_on(sha256(b"a picture")));
    assert!(!opened.was_trained_on(sha256(b"another")));
    let image = opened
        .golden_image(&opened.manifest().golden[1])
        .expect("it decodes");
    assert_eq!(image, picture(50));
}

/// The digest was taken when the bundle was opened; ONNX Runtime opens the file again.
#[test]
fn a_model_that_changes_before_or_while_it_is_loaded_is_refused() {
    let (_parent, target) = place();
    let bundle = write(&target, b"model").expect("it can be written");
    let path = bundle.model_path();
    let load = |meanwhile: &dyn Fn()| {
        bundle.load_model(|path| {
            let loaded = fs::read(path).expect("it is there");
            meanwhile();
            Ok::<_, BundleError>(loaded)
        })
    };
    assert_eq!(load(&|| {}).expect("it is as it was"), b"model");
    let replace = |content: &[u8]| {
        let draft = target.join("draft");
        fs::write(&draft, content).expect("it can be written");
        fs::rename(&draft, &path).expect("it can be renamed");
    };
    let meanwhile = load(&|| replace(b"other"));
    assert!(matches!(meanwhile, Err(BundleError::Changed { path: named }) if named == path));
    let before = load(&|| {});
    assert!(matches!(before, Err(BundleError::WrongDigest { path: named, .. }) if named == path));
    // The same bytes in another file are accepted.
    replace(b"model");
    assert_eq!(load(&|| {}).expect("it is the same again"), b"model");
    let written = load(&|| fs::write(&path, b"model").expect("it can be written"));
    assert!(matches!(written, Err(BundleError::Changed { .. })));
}

#[test]
fn an_imported_bundle_has_no_list_of_what_trained_it() {
    let (_parent, target) = place();
    let mut draft = Draft::begin(&target).expect("nothing is there");
    draft.write_model(b"model").expect("it can be written");
    let import = ImportRecord {
        file: "model.ckpt".to_owned(),
        digest: sha256(b"checkpoint"),
        implementation: Implementation::CsFlow,
        post_processor: BTreeMap::new(),
    };
    let bundle = draft.finish(&golden(&[0.25, 0.5]), |record| Manifest {
        import: Some(import),
        ..describe(record)
    });
    let bundle = bundle.expect("it can be written");
    assert!(bundle.manifest().training.is_none());
    assert!(!bundle.was_trained_on(sha256(b"a picture")));
    let files = ["bundle.toml", "golden", "model.onnx"];
    assert_eq!(names_in(&target), files);
}

#[test]
fn a_changed_file_is_refused_with_its_name_and_both_digests() {
    let (_parent, target) = place();
    let bundle = write(&target, b"model").expect("it can be written");
    let golden = format!("{GOLDEN}/{}", bundle.manifest().golden[0].file);
    for file in [MODEL, TRAINING_FILES, &golden] {
        let path = target.join(file);
        let whole = fs::read(&path).expect("it is there");
        for damaged in [&b"other"[..], &whole[..whole.len() - 1]] {
            fs::write(&path, damaged).expect("it can be written");
            let error = Bundle::open(&target).expect_err("damaged").to_string();
            for part in [
                file,
                &sha256(&whole).to_string(),
                &sha256(damaged).to_string(),
            ] {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        }
        fs::remove_file(&path).expect("it can be removed");
        assert!(matches!(
            Bundle::open(&target),
            Err(BundleError::Unreadable { path: named, .. }) if named == path
        ));
        fs::write(&path, whole).expect("it can be written");
    }
    assert!(Bundle::open(&target).is_ok());
}

#[test]
fn a_folder_without_a_manifest_is_no_bundle() {
    let (parent, target) = place();
    for path in [parent.path(), &target] {
        assert!(matches!(
            Bundle::open(path),
            Err(BundleError::NotABundle { .. })
        ));
    }
}

#[test]
fn a_new_bundle_replaces_the_old_one_and_leaves_nothing_beside_it() {
    let (parent, target) = place();
    write(&target, b"old").expect("it can be written");
    fs::write(target.join("note.txt"), b"of the old one").expect("it can be written");
    write(&target, b"new").expect("it can be written");
    assert_eq!(fs::read(target.join(MODEL)).expect("it is there"), b"new");
    assert_eq!(names_in(parent.path()), ["bundle"]);
    assert_eq!(names_in(&target), [MANIFEST, GOLDEN, MODEL, TRAINING_FILES]);
}

#[test]
fn an_unfinished_draft_leaves_no_trace() {
    let (parent, target) = place();
    let mut draft = Draft::begin(&target).expect("it can be begun");
    draft.write_model(b"model").expect("it can be written");
    drop(draft);
    assert_eq!(names_in(parent.path()), [""; 0]);
}

#[test]
fn what_is_no_bundle_is_not_overwritten() {
    let (parent, target) = place();
    fs::create_dir(&target).expect("it can be made");
    assert!(Draft::begin(&target).is_ok(), "an empty folder is free");
    fs::write(target.join("photo.jpg"), b"dear").expect("it can be written");
    let file = target.join("photo.jpg");
    for taken in [&target, &file] {
        assert!(matches!(
            Draft::begin(taken),
            Err(BundleError::Taken { .. })
        ));
    }
    let below_a_file = file.join("bundle");
    let error = Draft::begin(&below_a_file).expect_err("a file is not a folder");
    assert!(matches!(error, BundleError::NotWritable { .. }), "{error}");
    assert_eq!(names_in(parent.path()), ["bundle"]);
}

#[test]
fn recalibration_replaces_threshold_and_golden_inputs_and_nothing_else() {
    let (_parent, target) = place();
    let mut bundle = write(&target, b"model").expect("it can be written");
    let before = bundle.manifest().clone();
    let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1);
    let good = [0.9, 0.3, 0.5].map(|score| GoodImage {
        score,
        map_max: 10.0 * score,
        measured: Measured {
            brightness: 100.0 * f64::from(score),
            sharpness: 8.0,
            condition: None,
        },
    });
    let calibrate = |scores| Calibration::from_scores(scores, 0.25);
    let thresholds = Thresholds::from_good(&good, calibrate).expect("three are enough");
    bundle
        .recalibrate(thresholds.clone(), &golden(&[0.75]), None, now)
        .expect("it can be written");
    let opened = Bundle::open(&target).expect("it opens");
    let after = opened.manifest();
    assert_eq!(after, bundle.manifest());
    assert_eq!(after.version.to_string(), "1.1.0");
    assert_eq!(after.calibration, thresholds.calibration);
    assert_eq!(after.calibration.threshold(), 0.9);
    assert_eq!(after.pixel, Some(thresholds.pixel));
    let pixel = after.pixel.as_ref().expect("it was written");
    assert_eq!(
        (pixel.threshold(), pixel.alpha(), pixel.n()),
        (9.0, 0.25, 3)
    );
    let quality = after.quality.as_ref().expect("it was written");
    assert_eq!((quality.n, quality.limits.sharpness_min), (3, 2.0));
    assert_eq!(after.quality, Some(thresholds.quality));
    assert_eq!(
        names_in(&target.join(GOLDEN)),
        [after.golden[0].file.as_str()]
    );
    assert_eq!(
        Manifest {
            version: before.version,
            created: before.created,
            calibration: before.calibration.clone(),
            pixel: None,
            quality: None,
            golden: before.golden.clone(),
            ..after.clone()
        },
        before
    );
    assert_eq!(names_in(&target), [MANIFEST, GOLDEN, MODEL, TRAINING_FILES]);
}

/// A golden input that is not a part.
fn foreign(score: f32) -> GoldenInput {
    GoldenInput {
        image: picture(255),
        score,
        is_part: false,
    }
}

#[test]
fn of_a_golden_input_that_is_not_a_part_only_the_verdict_has_to_be_reproduced() {
    let (_parent, target) = place();
    let mut draft = Draft::begin(&target).expect("nothing is there");
    draft.write_model(b"model").expect("it can be written");
    draft
        .write_training_files([(sha256(b"a picture"), "a picture.png")])
        .expect("it can be written");
    let inputs = [golden(&[0.25]), vec![foreign(800.0)]].concat();
    draft.finish(&inputs, describe).expect("it can be written");
    let bundle = Bundle::open(&target).expect("it opens");
    assert!(bundle.has_foreign_input());
    let [part, other] = &bundle.manifest().golden[..] else {
        panic!("two were written");
    };
    let check = |score: f32| scorer::check_golden(other, score, bundle.calibration());
    for score in [1.1, 400.0, 800.0, 31_250.0] {
        assert!(check(score).is_ok(), "{score} is ng");
    }
    let flipped = check(0.9);
    assert!(matches!(
        flipped,
        Err(scorer::ScorerError::VerdictFlipped { .. })
    ));
    for score in [f32::NAN, f32::INFINITY] {
        let lost = check(score);
        assert!(matches!(
            lost,
            Err(scorer::ScorerError::NotReproduced { .. })
        ));
    }
    assert!(scorer::check_golden(part, 0.3, bundle.calibration()).is_err());
}

#[test]
fn another_rate_keeps_what_is_not_a_part_if_it_stays_far_above_the_threshold() {
    for (score, is_kept) in [(2.1, true), (1.9, false)] {
        let (_parent, target) = place();
        let mut bundle = write(&target, b"model").expect("it can be written");
        let good = [0.25, 0.5, 1.0].map(|score| GoodImage {
            score,
            map_max: 1.0,
            measured: Measured {
                brightness: 100.0,
                sharpness: 8.0,
                condition: None,
            },
        });
        let calibrate = |scores| Calibration::from_scores(scores, 0.5);
        let thresholds = Thresholds::from_good(&good, calibrate).expect("three are enough");
        assert_eq!(thresholds.calibration.threshold(), 0.5);
        let inputs = [golden(&[0.25]), vec![foreign(score)]].concat();
        let now = Timestamp::UNIX_EPOCH;
        let recalibrated = bundle.recalibrate(thresholds, &inputs, None, now);
        recalibrated.expect("it can be written");
        bundle.change_rate(0.25, now).expect("three are enough");
        assert_eq!(bundle.calibration().threshold(), 1.0);
        let opened = Bundle::open(&target).expect("it opens");
        assert_eq!(opened.has_foreign_input(), is_kept);
        assert_eq!(opened.manifest().golden[0].score, 0.25);
    }
}

#[test]
fn golden_inputs_are_the_lowest_the_median_and_the_highest_off_the_threshold() {
    let scores = [0.3, 0.9, 0.1, 0.5, 0.7];
    let calibration = Calibration::from_scores(scores.to_vec(), 0.2).expect("five are enough");
    assert_eq!(calibration.threshold(), 0.9);
    let chosen = choose_golden(&scores, &calibration);
    assert_eq!(chosen, [2, 3, 4], "0.9 is the threshold itself");
    let alone = Calibration::from_scores(vec![1.0; 3], 0.25).expect("three are enough");
    assert_eq!(choose_golden(&[1.0; 3], &alone), [0, 1, 2]);
}

proptest! {
    #[test]
    fn golden_inputs_are_one_to_three_different_ones(
        scores in prop::collection::vec(0.1_f32..2.0, 1..20),
    ) {
        let calibration = Calibration::from_scores(scores.clone(), 0.5).expect("one is enough");
        let chosen = choose_golden(&scores, &calibration);
        let different: HashSet<_> = chosen.iter().collect();
        prop_assert!((1..=3).contains(&chosen.len()) && different.len() == chosen.len());
    }
}
