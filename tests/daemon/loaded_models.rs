//! The models of a daemon, with real bundles and real sessions: what is shared, what is kept across
//! a reload, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flawd::bundle::scorer::ScorerError;
use flawd::bundle::{Bundle, BundleError, GoldenInput, Thresholds};
use flawd::line::config::{Document, ValidConfig};
use flawd::line::models::{BundleRefusal, LoadStep, LoadedModels, ModelsError};
use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_onnx::{ModelError, Runtime};
use flawd_testing::files::copy_folder;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::bundle;

/// A place for bundles, and the configuration of cameras that use them.
struct Plant {
    folder: TempDir,
}

impl Plant {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// A copy of the tests' bundle under this name.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        copy_folder(bundle::path(), &copy);
        copy
    }

    /// A configuration with a camera for each bundle; the first is `a`, the second `b`, …
    fn config(&self, bundles: &[&Path], extra: &str) -> ValidConfig {
        let mut text = format!(
            "[station]\nname = \"fleet\"\nstate = \"state\"\n[inference]\nbundle = \"{}\"\n",
            bundle::path().display()
        );
        for (name, bundle) in ('a'..).zip(bundles) {
            text += &format!(
                "[camera.{name}]\nbundle = \"{}\"\n[camera.{name}.synthetic]\n",
                bundle.display()
            );
        }
        let document = Document::new(self.folder.path().join("flawd.toml"), text + extra);
        ValidConfig::parse(&document, &BTreeMap::new()).unwrap()
    }

    fn load(&self, bundles: &[&Path], extra: &str) -> Result<LoadedModels, ModelsError> {
        LoadedModels::load(&self.config(bundles, extra), &runtime(), &mut |_| ())
    }
}

fn runtime() -> Runtime {
    Runtime::load(None).unwrap()
}

/// Gives a bundle other calibration scores, and its golden inputs scores that differ from the
/// true ones by this factor.
fn recalibrate(folder: &Path, calibration: Calibration, factor: f32) {
    let mut bundle = Bundle::open(folder).unwrap();
    let golden: Vec<_> = bundle
        .manifest()
        .golden
        .iter()
        .map(|golden| GoldenInput {
            image: bundle.golden_image(golden).unwrap(),
            score: golden.score * factor,
            is_part: golden.is_part(),
        })
        .collect();
    let thresholds = Thresholds {
        calibration,
        pixel: bundle.manifest().pixel.clone().unwrap(),
        quality: bundle.manifest().quality.clone().unwrap(),
        selection: bundle.manifest().selection.clone(),
    };
    bundle
        .recalibrate(thresholds, &golden, None, Timestamp::UNIX_EPOCH)
        .unwrap();
}

fn change_manifest(folder: &Path, from: &str, to: &str) {
    let path = folder.join("bundle.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is not in the manifest");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// What is wrong with which bundle, of which camera.
fn refusal(refused: Result<LoadedModels, ModelsError>) -> (PathBuf, String, BundleRefusal) {
    match refused {
        Err(ModelsError::Refused {
            bundle,
            used_by,
            source,
        }) => (bundle, used_by, *source),
        other => panic!("a bundle is to be refused: {other:?}"),
    }
}

#[test]
fn cameras_with_the_same_bundle_share_one_model_however_they_name_it() {
    let plant = Plant::new();
    let link = plant.folder.path().join("link");
    std::os::unix::fs::symlink(bundle::path(), &link).unwrap();
    let copy = plant.copy("copy");
    let models = plant.load(&[bundle::path(), &link, &copy], "").unwrap();
    let [a, b, c] = &*models.model_sets() else {
        panic!("there are three cameras");
    };
    assert!(Arc::ptr_eq(&a.standard, &b.standard));
    assert!(Arc::ptr_eq(&a.standard, &c.standard));
}

#[test]
fn bundles_with_the_same_model_share_its_session_and_keep_their_thresholds() {
    let plant = Plant::new();
    let copy = plant.copy("strict");
    let scores = Bundle::open(&copy).unwrap().calibration().scores().to_vec();
    recalibrate(&copy, Calibration::from_scores(scores, 0.5).unwrap(), 1.0);
    let models = plant.load(&[bundle::path(), &copy], "").unwrap();
    let [a, b] = &*models.model_sets() else {
        panic!("there are two cameras");
    };
    assert!(a.standard.shares_session_with(&b.standard));
    let threshold = |model: &Path| Bundle::open(model).unwrap().calibration().threshold();
    assert_eq!(
        a.standard.judge.calibration.threshold(),
        threshold(bundle::path())
    );
    assert_eq!(b.standard.judge.calibration.threshold(), threshold(&copy));
    assert!(threshold(&copy) < threshold(bundle::path()));
}

#[test]
fn a_recipe_picks_its_bundle_and_a_shadow_has_a_session_of_its_own() {
    let plant = Plant::new();
    let other = bundle::other();
    let extra = format!(
        "[camera.a.recipe.M8]\nbundle = \"{}\"\n[camera.c]\nbundle = \"{}\"\nshadow = \"{}\"\n\
         [camera.c.synthetic]\n",
        other.display(),
        bundle::path().display(),
        other.display()
    );
    let models = plant.load(&[bundle::path()], &extra).unwrap();
    let sets = models.model_sets().to_vec();
    let digest = |model: &flawd::line::pipeline::part::model::LoadedModel| model.judge.model.digest;
    let expected = |path: &Path| Bundle::open(path).unwrap().manifest().model.digest;
    assert_eq!(
        digest(sets[0].select(None).unwrap()),
        expected(bundle::path())
    );
    let m8 = sets[0].select(Some("M8")).unwrap();
    assert_eq!(digest(m8), expected(other));
    assert!(sets[0].select(Some("M9")).is_none());

    let shadows = models.shadows().to_vec();
    assert!(shadows[0].is_none());
    let shadow = shadows[1].as_ref().unwrap();
    assert_eq!(digest(shadow), expected(other));
    assert!(!shadow.shares_session_with(m8));
}

#[test]
fn a_reload_keeps_what_has_not_changed_and_proves_what_has() {
    let plant = Plant::new();
    let [still, exchanged] = [plant.copy("still"), plant.copy("exchanged")];
    let config = plant.config(&[&still, &exchanged], "");
    let models = LoadedModels::load(&config, &runtime(), &mut |_| ()).unwrap();
    fs::remove_dir_all(&exchanged).unwrap();
    copy_folder(bundle::other(), &exchanged);

    let mut steps = Vec::new();
    let next = models.reload(&config, &runtime(), &mut |step| {
        steps.push(match step {
            LoadStep::Loading(place) => ("loading", place.to_owned()),
            LoadStep::BuildingEngine(place) => ("building", place.to_owned()),
            LoadStep::EngineBuilt(place, _) => ("built", place.to_owned()),
            LoadStep::Ready(place) => ("ready", place.to_owned()),
            LoadStep::Kept(place) => ("kept", place.to_owned()),
        });
    });
    let expected = [
        ("loading", still.clone()),
        ("kept", still),
        ("loading", exchanged.clone()),
        ("ready", exchanged),
    ];
    assert_eq!(steps, expected);
    let old = models.model_sets().to_vec();
    let new = next.unwrap().model_sets().to_vec();
    assert!(Arc::ptr_eq(&old[0].standard, &new[0].standard));
    assert!(!new[1].standard.shares_session_with(&old[1].standard));
    assert_ne!(
        new[1].standard.judge.model.digest,
        old[1].standard.judge.model.digest
    );
}

#[test]
fn other_settings_of_the_session_load_the_model_again() {
    let plant = Plant::new();
    let models = plant.load(&[bundle::path()], "").unwrap();
    let mut config = plant.config(&[bundle::path()], "");
    config.inference.session.intra_threads = 1;
    let next = models.reload(&config, &runtime(), &mut |_| ()).unwrap();
    let old = models.model_sets().to_vec();
    let new = next.model_sets().to_vec();
    assert!(!new[0].standard.shares_session_with(&old[0].standard));
}

/// Each way in which a bundle can be wrong, as it is found beside the live one.
#[test]
fn a_bundle_that_is_not_fit_is_refused_by_its_name_and_the_old_one_goes_on() {
    let plant = Plant::new();
    let copy = plant.copy("bundle");
    let config = plant.config(&[bundle::path(), &copy], "");
    let models = LoadedModels::load(&config, &runtime(), &mut |_| ()).unwrap();
    let before = models.self_test();
    let digest = Bundle::open(&copy).unwrap().manifest().model.digest;
    let golden = Bundle::open(&copy).unwrap().manifest().golden[0].clone();
    let cut_short = |copy: &Path| {
        let model = copy.join("model.onnx");
        let bytes = fs::read(&model).unwrap();
        fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    };

    type Case<'a> = (&'a str, &'a dyn Fn(&Path), fn(&BundleRefusal) -> bool);
    let cases: [Case<'_>; 6] = [
        ("a model that is cut short", &cut_short, |refusal| {
            matches!(refusal, BundleRefusal::Bundle(BundleError::WrongDigest { path, .. })
                if path.ends_with("model.onnx"))
        }),
        (
            "a wrong digest in the manifest",
            &|copy| change_manifest(copy, &digest.hex(), &"0".repeat(64)),
            |refusal| {
                matches!(
                    refusal,
                    BundleRefusal::Bundle(BundleError::WrongDigest { .. })
                )
            },
        ),
        (
            "a damaged model with the right digest",
            &|copy| {
                cut_short(copy);
                let actual = flawd::files::digest::sha256_file(&copy.join("model.onnx")).unwrap();
                change_manifest(copy, &digest.hex(), &actual.hex());
            },
            |refusal| {
                matches!(
                    refusal,
                    BundleRefusal::Model(ScorerError::Model(ModelError::Damaged { .. }))
                )
            },
        ),
        (
            "a golden score that is not reproduced",
            &|copy| {
                let edited = format!("score = {}", golden.score * 1.5);
                change_manifest(copy, &format!("score = {}", golden.score), &edited);
            },
            |refusal| {
                matches!(
                    refusal,
                    BundleRefusal::Model(ScorerError::NotReproduced { .. })
                )
            },
        ),
        (
            "a verdict that flips within tolerance",
            &|copy| {
                let between = vec![golden.score * 1.0025; 9];
                let calibration = Calibration::from_scores(between, 0.1).unwrap();
                recalibrate(copy, calibration, 1.005);
            },
            |refusal| {
                matches!(
                    refusal,
                    BundleRefusal::Model(ScorerError::VerdictFlipped { .. })
                )
            },
        ),
        (
            "no bundle",
            &|copy| fs::remove_file(copy.join("bundle.toml")).unwrap(),
            |refusal| {
                matches!(
                    refusal,
                    BundleRefusal::Bundle(BundleError::NotABundle { .. })
                )
            },
        ),
    ];
    for (what, damage, is_expected) in cases {
        fs::remove_dir_all(&copy).unwrap();
        copy_folder(bundle::path(), &copy);
        damage(&copy);
        let (named, used_by, refusal) = refusal(models.reload(&config, &runtime(), &mut |_| ()));
        assert!(is_expected(&refusal), "{what}: {refusal:?}");
        assert_eq!((named, &*used_by), (copy.clone(), "camera.b"), "{what}");
    }
    assert_eq!(models.self_test(), before, "the old fleet is as it was");
}

#[test]
fn a_provider_that_cannot_be_had_refuses_the_bundle_and_is_named() {
    let plant = Plant::new();
    let mut config = plant.config(&[bundle::path()], "");
    config.inference.session.providers = vec!["tensorrt".parse().unwrap()];
    config.inference.engines = Some(plant.folder.path().join("engines"));
    let (_, _, refusal) = refusal(LoadedModels::load(&config, &runtime(), &mut |_| ()));
    let BundleRefusal::Model(ScorerError::Model(ModelError::Provider { provider, .. })) = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(provider, "tensorrt");
}

#[test]
fn the_self_test_scores_every_model_once_through_its_live_session() {
    let plant = Plant::new();
    let copy = plant.copy("copy");
    let extra = format!(
        "[camera.a.recipe.M8]\nbundle = \"{}\"\n",
        bundle::other().display()
    );
    let models = plant.load(&[&copy, &copy], &extra).unwrap();
    // What was loaded is tested, whatever lies in its place by now.
    fs::remove_dir_all(&copy).unwrap();
    let report = models.self_test();
    assert!(report.passed, "{report:?}");
    let users: Vec<_> = report
        .models
        .iter()
        .map(|model| &model.used_by[..])
        .collect();
    assert_eq!(
        users,
        [
            &["a".to_owned(), "b".to_owned()][..],
            &["a.recipe.M8".to_owned()]
        ]
    );
    for model in &report.models {
        assert_eq!(model.golden.len(), 4);
        for golden in &model.golden {
            let difference = (golden.score.unwrap() - golden.expected).abs();
            assert!(difference <= golden.tolerance, "{golden:?}");
        }
    }
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(
        serde_json::from_str::<flawd::line::models::SelfTestReport>(&json).unwrap(),
        report
    );
}

#[test]
fn another_threshold_needs_no_loading_and_holds_for_the_camera_that_it_was_asked_for() {
    let plant = Plant::new();
    let config = plant.config(&[bundle::path(), bundle::path()], "");
    let models = LoadedModels::load(&config, &runtime(), &mut |_| ()).unwrap();
    let bundles = Bundle::open(bundle::path()).unwrap().calibration().clone();
    let expected = Calibration::from_scores(bundles.scores().to_vec(), 0.5).unwrap();

    let old = models.model_sets().to_vec();
    let one = models
        .recalibrated(Some("b"), 0.5)
        .unwrap()
        .model_sets()
        .to_vec();
    assert!(Arc::ptr_eq(&old[0].standard, &one[0].standard));
    assert_eq!(one[1].standard.judge.calibration, expected);
    assert!(one[1].standard.shares_session_with(&old[1].standard));

    let all = models.recalibrated(None, 0.5).unwrap();
    let sets = all.model_sets().to_vec();
    assert!(Arc::ptr_eq(&sets[0].standard, &sets[1].standard));
    assert_eq!(sets[0].standard.judge.calibration, expected);
    assert_eq!(all.self_test().models[0].threshold, expected.threshold());

    // The bundle's own threshold comes back with the next reload.
    let reloaded = all.reload(&config, &runtime(), &mut |_| ()).unwrap();
    assert!(Arc::ptr_eq(
        &reloaded.model_sets().to_vec()[0].standard,
        &old[0].standard
    ));
}

#[test]
fn a_threshold_that_cannot_be_promised_and_a_camera_that_is_not_there_are_refused() {
    let plant = Plant::new();
    let models = plant.load(&[bundle::path()], "").unwrap();
    let too_low = models.recalibrated(None, 1e-6).unwrap_err();
    let ModelsError::Threshold { source, .. } = &too_low else {
        panic!("{too_low:?}");
    };
    assert!(
        matches!(source, CalibrationError::TooFewScores { .. }),
        "{source}"
    );
    let unknown = models.recalibrated(Some("z"), 0.5).unwrap_err().to_string();
    assert_eq!(unknown, "there is no camera `z`; there are a");
}

#[test]
fn a_threshold_that_was_set_between_two_devices_scores_fails_no_self_test() {
    let plant = Plant::new();
    let copy = plant.copy("copy");
    let golden = Bundle::open(&copy).unwrap().manifest().golden[0].clone();
    // Ten scores just above the golden one, ten far above all.
    let far = golden.score + 10.0;
    let scores = [[golden.score * 1.0025; 10], [far; 10]].concat();
    let calibration = Calibration::from_scores(scores, 0.1).unwrap();
    recalibrate(&copy, calibration, 1.005);
    let models = plant.load(&[&copy], "").unwrap();
    assert!(models.self_test().passed);
    let report = models.recalibrated(None, 0.6).unwrap().self_test();
    let threshold = report.models[0].threshold;
    let mut golden = report.models[0].golden.iter();
    let is_between = golden.any(|it| (it.score.unwrap() > threshold) != (it.expected > threshold));
    assert!(is_between, "{report:?}");
    assert!(report.passed, "{report:?}");
}
