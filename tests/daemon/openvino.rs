//! The daemon on OpenVINO, compared with the daemon on the processor's own provider. `cargo xtask
//! openvino BUNDLE DIR` runs the same on a trained bundle and real pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flawd_testing::broker::Broker;
use serde_json::Value;

use crate::bundle;
use crate::line::Controller;
use crate::station::{Station, errors};

/// What the command names.
const BUNDLE: &str = "FLAWD_TEST_BUNDLE";
const PICTURES: &str = "FLAWD_TEST_PICTURES";

/// The most that a score may differ, relative to the processor's.
const NEAR: f64 = 1e-4;

/// The folder with ONNX Runtime's build with OpenVINO; `None`, said, if it is not there.
fn runtime() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".runtime/openvino");
    if !folder.exists() {
        println!("absent: ONNX Runtime with OpenVINO, which `cargo xtask test` fetches on x86-64");
        return None;
    }
    Some(folder)
}

/// A bundle, and the pictures that it judges.
struct Line<'a> {
    bundle: &'a Path,
    pictures: &'a Path,
}

/// Score and verdict of every part.
type Judged = BTreeMap<String, (f64, String)>;

impl Line<'_> {
    /// A station that judges every picture once, as fast as it can; `inference` is the end of its
    /// section.
    fn station(&self, broker: &Broker, inference: &str) -> Station {
        let station = Station::new(&format!(
            "[station]\nname = \"replay\"\n[evidence]\nenabled = false\n[camera.top.folder]\npath = \
             \"parts\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n\
             [inference]\nbundle = \"{}\"\n{inference}",
            broker.port,
            self.bundle.display()
        ));
        std::os::unix::fs::symlink(self.pictures, station.folder().join("parts")).unwrap();
        station
    }

    fn on_openvino(&self, broker: &Broker, runtime: &Path, settings: &str) -> Station {
        let inference = format!(
            "providers = [\"openvino\"]\nonnxruntime = \"{}\"\n[inference.openvino]\n\
             cache = \"engines\"\n{settings}",
            runtime.display()
        );
        self.station(broker, &inference)
    }
}

/// Runs a station to its end; returns what it judged, and what it said.
fn judged(broker: &Broker, station: &Station) -> (Judged, String) {
    let controller = Controller::connect(broker.port);
    let mut daemon = station.run();
    let mut judged = Judged::new();
    // The broker still has the status of the run before.
    controller.next("online", |it| {
        it.kind() == "status" && it.payload == "online"
    });
    let is_stopped = |payload: &Value| payload == "stopped";
    loop {
        let message = controller.next("a verdict, or the end", |it| {
            it.kind() == "verdict" || (it.kind() == "status" && is_stopped(&it.payload))
        });
        if is_stopped(&message.payload) {
            break;
        }
        let payload = &message.payload;
        let part = payload["part_id"].as_str().unwrap().to_owned();
        let score = payload["score"].as_f64().unwrap_or(f64::NAN);
        let verdict = payload["verdict"].as_str().unwrap().to_owned();
        judged.insert(part, (score, verdict));
    }
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    (judged, daemon.seen())
}

/// The largest difference between scores; every verdict has to be the same.
#[track_caller]
fn compare(found: &Judged, expected: &Judged) -> f64 {
    assert!(!expected.is_empty());
    let parts = |judged: &Judged| judged.keys().cloned().collect::<Vec<_>>();
    assert_eq!(parts(found), parts(expected));
    let mut largest = 0.0_f64;
    for (part, (score, verdict)) in expected {
        let (other, found) = &found[part];
        assert_eq!(found, verdict, "{part}: {other}, {score}");
        largest = largest.max((other - score).abs() / score.abs());
    }
    largest
}

/// Verdicts are the processor's; at the second start flawd takes the kept engine as it is. Returns the
/// processor's.
fn judges_as_the_processor(line: &Line, runtime: &Path) -> Judged {
    let broker = Broker::start();
    let (expected, _) = judged(&broker, &line.station(&broker, ""));
    let station = line.on_openvino(&broker, runtime, "");
    let (first, said) = judged(&broker, &station);
    assert!(said.contains("Engine built"), "{said}");
    let largest = compare(&first, &expected);
    assert!(largest < NEAR, "{largest}");
    let (second, said) = judged(&broker, &station);
    assert!(!said.contains("Engine built"), "{said}");
    assert_eq!(second, first);
    let rejected = expected.values().filter(|(_, it)| it == "ng").count();
    println!(
        "openvino: {} pictures, {rejected} ng, no other verdict; scores differ by {largest:.1e} at \
         most; the second start took the kept engine",
        expected.len()
    );
    expected
}

/// What OpenVINO does not have is refused by its name, before anything is judged.
fn refuses_what_is_not_there(line: &Line, runtime: &Path) {
    let broker = Broker::start();
    for (settings, said) in [
        ("device = \"XPU\"", &["openvino.device", "`XPU`"][..]),
        ("precision = \"int8\"", &["openvino.precision", "`int8`"]),
        ("device = \"NPU\"", &["`openvino` cannot be used", "NPU"]),
        ("fp16 = true", &["fp16"]),
    ] {
        let station = line.on_openvino(&broker, runtime, settings);
        let output = station.output("run");
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(78), "{settings}: {errors}");
        for part in said {
            assert!(errors.contains(part), "`{part}` is not in:\n{errors}");
        }
    }
}

#[test]
fn the_daemon_judges_on_openvino_as_on_the_processor_and_keeps_its_engine() {
    let Some(runtime) = runtime() else { return };
    let pictures = bundle::images().join("test");
    let line = Line {
        bundle: bundle::path(),
        pictures: &pictures,
    };
    let judged = judges_as_the_processor(&line, &runtime);
    assert!(judged.values().any(|(_, verdict)| verdict == "ng"));
}

#[test]
fn what_openvino_does_not_have_ends_the_daemon_with_78_and_its_name() {
    let Some(runtime) = runtime() else { return };
    let pictures = bundle::images().join("test");
    let line = Line {
        bundle: bundle::path(),
        pictures: &pictures,
    };
    refuses_what_is_not_there(&line, &runtime);
}

/// OpenVINO again, as a provider in a library of its own.
#[test]
fn a_provider_in_a_library_of_its_own_judges_alike_or_is_refused_by_its_name() {
    let Some(runtime) = runtime() else { return };
    let pictures = bundle::images().join("test");
    let line = Line {
        bundle: bundle::path(),
        pictures: &pictures,
    };
    let broker = Broker::start();
    let on_plugin = |library: &str, settings: &str| {
        let inference = format!(
            "providers = [\"plugin\"]\nonnxruntime = \"{0}\"\n[inference.plugin]\n\
             library = \"{0}/{library}\"\n{settings}",
            runtime.display()
        );
        line.station(&broker, &inference)
    };
    let library = "libonnxruntime_providers_openvino.so";
    let openvino = "provider = \"OpenVINOExecutionProvider\"\n";
    let (expected, _) = judged(&broker, &line.station(&broker, ""));
    let options = "[inference.plugin.options]\nload_config = \
                   '{\"CPU\":{\"INFERENCE_PRECISION_HINT\":\"f32\"}}'\n";
    let station = on_plugin(library, &format!("{openvino}device = \"CPU\"\n{options}"));
    let (found, _) = judged(&broker, &station);
    let largest = compare(&found, &expected);
    assert!(largest < NEAR, "{largest}");

    for (library, settings, said) in [
        (
            library,
            "provider = \"Other\"\n".to_owned(),
            &["Other on CPU.0", "OpenVINOExecutionProvider on CPU"][..],
        ),
        (
            library,
            format!("{openvino}device = \"GPU.7\"\n"),
            &["OpenVINOExecutionProvider on GPU.7"],
        ),
        (
            library,
            format!("{openvino}device = \"XPU\"\n"),
            &["inference.plugin.device", "`XPU`"],
        ),
        (
            library,
            format!("{openvino}[inference.plugin.options]\nno_such = \"1\"\n"),
            &["no_such"],
        ),
        (library, String::new(), &["inference.plugin.provider"]),
        (
            "none.so",
            openvino.to_owned(),
            &["none.so cannot be loaded"],
        ),
        (
            "libonnxruntime_providers_shared.so",
            openvino.to_owned(),
            &["shared.so cannot be loaded"],
        ),
    ] {
        let output = on_plugin(library, &settings).output("run");
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(78), "{settings}: {errors}");
        for part in said {
            assert!(errors.contains(part), "`{part}` is not in:\n{errors}");
        }
    }
}

#[test]
#[ignore = "run by cargo xtask openvino"]
fn a_trained_bundle_is_judged_on_openvino_as_on_the_processor() {
    let named = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.unwrap_or_else(|| panic!("{name} is not set: cargo xtask openvino BUNDLE DIR sets it"))
    };
    let (bundle, pictures) = (named(BUNDLE), named(PICTURES));
    let runtime = runtime().expect("cargo xtask openvino installs it");
    let line = Line {
        bundle: &bundle,
        pictures: &pictures,
    };
    let expected = judges_as_the_processor(&line, &runtime);
    refuses_what_is_not_there(&line, &runtime);
    for precision in ["bf16", "f16"] {
        let broker = Broker::start();
        let settings = format!("precision = \"{precision}\"\n");
        let station = line.on_openvino(&broker, &runtime, &settings);
        let mut engine = crate::station::flawd();
        engine
            .args(["model", "engine", "-c"])
            .arg(station.configuration());
        let output = engine.output().unwrap();
        let errors = errors(&output);
        match output.status.code() {
            // The golden test has found a score or a verdict that is another one.
            Some(78) => {
                assert!(errors.contains("the golden input"), "{errors}");
                println!("openvino {precision}: refused, {}", errors.trim());
            }
            code => {
                assert_eq!(code, Some(0), "{errors}");
                let (found, _) = judged(&broker, &station);
                let flipped = expected.iter().filter(|(part, (_, verdict))| {
                    found.get(*part).is_none_or(|(_, found)| found != verdict)
                });
                println!(
                    "openvino {precision}: accepted by the golden test; {} of {} verdicts differ",
                    flipped.count(),
                    expected.len()
                );
            }
        }
    }
}
