//! What is kept and what is rebuilt. TensorRT is not needed for that: anything that writes a file
//! into the given folder counts as having built an engine.

use std::cell::Cell;

use super::*;

const MODEL: &str = "model.onnx";

struct Bench {
    folder: TempDir,
    builds: Cell<u32>,
    told: Cell<u32>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            builds: Cell::new(0),
            told: Cell::new(0),
        }
    }

    /// Returns the engines of this machine, with another driver.
    fn engines(&self, driver: &str) -> Engines {
        let machine = Machine {
            tensorrt: TensorRtHost {
                onnxruntime: "1.32.0".to_owned(),
                tensorrt: "10.3.0".to_owned(),
                driver: driver.to_owned(),
                gpu: "NVIDIA L4".to_owned(),
            },
            openvino: OpenVinoHost {
                onnxruntime: "1.24.1".to_owned(),
                openvino: "2025.4.1".to_owned(),
                processor: "Intel(R) Xeon(R) Processor".to_owned(),
            },
        };
        Engines::new(self.folder.path().join("engines"), machine)
    }

    /// Loads the engine of a model; if there is none, a build writes one with this content.
    fn load(&self, engines: &Engines, model: u8, built: &[u8]) -> Result<Vec<u8>, EngineOpenError> {
        let open = |folder: &Path| {
            let engine = folder.join("graph_fp16_sm89.engine");
            if !engine.exists() {
                self.builds.set(self.builds.get() + 1);
                fs::write(&engine, built).unwrap();
                fs::write(folder.join("cache_sm89.timing"), "measured").unwrap();
            }
            Ok(fs::read(engine).unwrap())
        };
        let mut building = || self.told.set(self.told.get() + 1);
        engines.load(&key(engines, model), Path::new(MODEL), &mut building, open)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("engines")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn key(engines: &Engines, model: u8) -> EngineKey {
    let options = SessionOptions {
        providers: vec!["tensorrt".parse().unwrap()],
        ..SessionOptions::default()
    };
    let key = engines.key(Digest::new([model; 32]), &options);
    key.expect("TensorRT keeps engines")
}

#[test]
fn an_engine_is_built_once_and_then_loaded() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    assert!(!engines.is_built(&key(&engines, 1)));
    assert_eq!(bench.load(&engines, 1, b"plan").unwrap(), b"plan");
    assert!(engines.is_built(&key(&engines, 1)));
    assert_eq!(bench.load(&engines, 1, b"other").unwrap(), b"plan");
    assert_eq!((bench.builds.get(), bench.told.get()), (1, 1));
    assert_eq!(bench.names(), [key(&engines, 1).folder_name()]);
}

#[test]
fn every_build_has_a_digest_of_its_own() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    assert_eq!(engines.digest(&key(&engines, 1)), None);
    bench.load(&engines, 1, b"plan").unwrap();
    let first = engines.digest(&key(&engines, 1)).unwrap();
    bench.load(&engines, 1, b"plan").unwrap();
    assert_eq!(engines.digest(&key(&engines, 1)), Some(first));
    fs::remove_dir_all(engines.place(&key(&engines, 1))).unwrap();
    bench.load(&engines, 1, b"another plan").unwrap();
    assert_ne!(engines.digest(&key(&engines, 1)), Some(first));
}

#[test]
fn after_an_update_of_the_driver_the_engine_is_built_again() {
    let bench = Bench::new();
    bench.load(&bench.engines("540"), 1, b"old").unwrap();
    let updated = bench.engines("550");
    assert!(!updated.is_built(&key(&updated, 1)));
    assert_eq!(bench.load(&updated, 1, b"new").unwrap(), b"new");
    assert_eq!(bench.names().len(), 2);
}

#[test]
fn a_damaged_engine_is_built_again_and_replaces_the_old_one() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    bench.load(&engines, 1, b"plan").unwrap();
    let place = engines.place(&key(&engines, 1));
    fs::write(place.join("graph_fp16_sm89.engine"), b"plam").unwrap();
    assert_eq!(bench.load(&engines, 1, b"plan").unwrap(), b"plan");
    assert_eq!(bench.builds.get(), 2);
    assert_eq!(bench.load(&engines, 1, b"plan").unwrap(), b"plan");
    assert_eq!(bench.builds.get(), 2);
}

#[test]
fn an_engine_that_cannot_be_loaded_is_built_again() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    bench.load(&engines, 1, b"plan").unwrap();
    let place = engines.place(&key(&engines, 1));
    let mut asked = Vec::new();
    let open = |folder: &Path| {
        asked.push(folder.to_owned());
        if folder == place {
            return Err(wrong());
        }
        fs::write(folder.join("a.engine"), "new").unwrap();
        Ok(())
    };
    engines
        .load(&key(&engines, 1), Path::new(MODEL), &mut || (), open)
        .unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!(fs::read(place.join("a.engine")).unwrap(), b"new");
}

#[test]
fn a_build_that_fails_leaves_nothing_behind() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    let open = |folder: &Path| -> Result<(), EngineOpenError> {
        fs::write(folder.join("half.engine"), "half").unwrap();
        Err(wrong())
    };
    let failed = engines.load(&key(&engines, 1), Path::new(MODEL), &mut || (), open);
    assert!(
        matches!(failed, Err(EngineOpenError::Scorer(_))),
        "{failed:?}"
    );
    assert!(bench.names().is_empty());
}

#[test]
fn a_session_without_an_engine_is_refused() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    let open = |folder: &Path| {
        fs::write(folder.join("cache_sm89.timing"), "measured").unwrap();
        Ok(())
    };
    let refused = engines.load(&key(&engines, 1), Path::new(MODEL), &mut || (), open);
    let EngineOpenError::Engine(error) = refused.unwrap_err() else {
        panic!("the engine is what is missing");
    };
    assert!(error.to_string().contains(MODEL), "{error}");
    assert!(bench.names().is_empty());
}

#[test]
fn timings_of_another_model_on_the_same_machine_speed_up_a_build() {
    let bench = Bench::new();
    let engines = bench.engines("540");
    bench.load(&engines, 1, b"one").unwrap();
    for (machine, expected) in [(engines, true), (bench.engines("550"), false)] {
        let open = |folder: &Path| {
            fs::write(folder.join("a.engine"), "two").unwrap();
            Ok(folder.join("cache_sm89.timing").exists())
        };
        let has_timings = machine.load(&key(&machine, 2), Path::new(MODEL), &mut || (), open);
        assert_eq!(has_timings.unwrap(), expected);
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    fs::write(bench.folder.path().join("engines"), "a file").unwrap();
    let error = bench.load(&bench.engines("540"), 1, b"plan").unwrap_err();
    assert!(
        error.to_string().contains("inference.tensorrt.cache"),
        "{error}"
    );
}

#[test]
fn what_is_stale_is_listed_with_the_reason_and_nothing_else_is() {
    let bench = Bench::new();
    let old = bench.engines("540");
    let engines = bench.engines("550");
    for (machine, model) in [(&old, 1), (&engines, 1), (&engines, 2), (&old, 3)] {
        bench.load(machine, model, b"plan").unwrap();
    }
    // Its number is that of a live process that is not building.
    let own = std::process::id();
    let abandoned = engines.folder().join(format!(".building-{own}-gone"));
    let in_progress = engines.folder().join(format!(".building-{own}-x"));
    let foreign = engines.folder().join("not-ours");
    for folder in [&abandoned, &in_progress, &foreign] {
        fs::create_dir(folder).unwrap();
    }
    let building = fs::File::open(&in_progress).unwrap();
    building.try_lock().unwrap();

    let stale = |others_are_stale| -> Vec<_> {
        let wanted = [key(&engines, 1)];
        let kept = engines.list().unwrap();
        let stale = kept.iter().filter_map(|kept| {
            let reason = engines.why_stale(kept, &wanted, others_are_stale)?;
            Some((kept.folder.clone(), reason))
        });
        stale.collect()
    };
    let driver = "driver is 540 there and 550 here";
    let expected = [
        (abandoned.clone(), "its build did not end".to_owned()),
        (old.place(&key(&old, 1)), driver.to_owned()),
        (old.place(&key(&old, 3)), driver.to_owned()),
    ];
    assert_eq!(stale(false), expected);
    let unnamed = engines.place(&key(&engines, 2));
    assert!(stale(true).iter().any(|(folder, _)| *folder == unnamed));

    for kept in engines.list().unwrap() {
        if stale(false)
            .iter()
            .any(|(folder, _)| *folder == kept.folder)
        {
            kept.remove().unwrap();
        }
    }
    assert!(stale(false).is_empty());
    assert!(in_progress.exists() && foreign.exists() && unnamed.exists());

    // The remains of a build are removed by the next one.
    fs::create_dir(&abandoned).unwrap();
    bench.load(&engines, 9, b"plan").unwrap();
    assert!(!abandoned.exists() && in_progress.exists());
}

fn wrong() -> EngineOpenError {
    EngineOpenError::Scorer(ScorerError::Model(flawd_onnx::ModelError::NotFinite(
        f32::NAN,
    )))
}
