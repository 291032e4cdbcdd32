//! The configuration as the operator sees it: what is accepted, and the error if it is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use flawd_onnx::Provider;

use super::*;
use crate::synthetic::fault::{self, Faults};

mod gpio;
mod mistakes;
mod text;
mod variables;

const MINIMAL: &str = r#"
[station]
name = "press-3"

[inference]
bundle = "bundle"

[camera.top.folder]
path = "parts"
"#;

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<ValidConfig, ConfigError> {
    let variables = [("STATE_DIRECTORY", "/var/lib/flawd")]
        .iter()
        .chain(variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    ValidConfig::parse(&Document::new("/etc/flawd/flawd.toml", text), &variables)
}

/// Returns the message for a configuration that must be refused.
fn refused(text: &str) -> String {
    parse_with(text, &[]).unwrap_err().to_string()
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = parse_with(MINIMAL, &[]).unwrap();
    assert_eq!(config.station, "press-3");
    assert_eq!(config.mqtt.root, "flawd/press-3");
    assert_eq!(config.mqtt.client_id, "flawd-press-3");
    assert_eq!(config.mqtt.version, MqttVersion::V5);
    assert_eq!(config.grace_period, Duration::from_secs(10));
    assert_eq!(config.cameras[0].name, "top");
    assert_eq!(config.cameras[0].overflow, Overflow::Block);
}

#[test]
fn relative_paths_start_at_the_files_folder() {
    let config = parse_with(MINIMAL, &[]).unwrap();
    assert_eq!(config.inference.bundle, Path::new("/etc/flawd/bundle"));
    let absolute = MINIMAL.replace("\"bundle\"", "\"/srv/bundle\"");
    let config = parse_with(&absolute, &[]).unwrap();
    assert_eq!(config.inference.bundle, Path::new("/srv/bundle"));
}

#[test]
fn a_shutdown_has_some_time() {
    let problem = parse_with(MINIMAL, &[("FLAWD__STATION__GRACE_PERIOD", "0s")]).unwrap_err();
    let problem = problem.to_string();
    let expected = "station.grace_period: 0s is out of range; it lies between 1s and 8760h";
    assert!(problem.ends_with(expected), "{problem}");
}

#[test]
fn metrics_are_served_only_where_an_address_is_given() {
    assert_eq!(parse_with(MINIMAL, &[]).unwrap().monitor.listen, None);
    let variable = ("FLAWD__MONITOR__LISTEN", "[::1]:0");
    let listen = parse_with(MINIMAL, &[variable]).unwrap().monitor.listen;
    assert!(listen.is_some_and(|address| address.ip().is_loopback()));
    let problem = refused(&format!("{MINIMAL}[monitor]\nlisten = \"9464\"\n"));
    assert_eq!(
        problem,
        "/etc/flawd/flawd.toml:11:10: invalid socket address syntax"
    );
}

#[test]
fn a_password_in_the_file_is_refused_and_not_repeated() {
    let problem = refused(&format!("{MINIMAL}[mqtt]\npassword = \"hunter2\"\n"));
    assert!(problem.contains(":11: mqtt.password"), "{problem}");
    assert!(problem.contains("password_file"), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
}

/// Returns the password that would be sent now.
fn password(config: &ValidConfig) -> String {
    let login = config.mqtt.login.as_ref().unwrap();
    login.password().unwrap().reveal().to_owned()
}

#[test]
fn a_password_comes_from_its_file_or_a_variable_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "hunter2\nsecond line\n").unwrap();
    let text = format!(
        "{MINIMAL}[mqtt]\nusername = \"line\"\npassword_file = \"{}\"\n",
        file.display()
    );
    let config = parse_with(&text, &[]).unwrap();
    assert_eq!(password(&config), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));

    let twice = parse_with(&text, &[("FLAWD__MQTT__PASSWORD", "swordfish")]);
    assert!(twice.unwrap_err().to_string().contains("given twice"));

    let text = format!("{MINIMAL}[mqtt]\nusername = \"line\"\n");
    let config = parse_with(&text, &[("FLAWD__MQTT__PASSWORD", "swordfish")]).unwrap();
    assert_eq!(password(&config), "swordfish");
}

#[test]
fn state_goes_where_the_operator_says_else_where_the_environment_says() {
    let config = parse_with(MINIMAL, &[]).unwrap();
    assert_eq!(config.state, Path::new("/var/lib/flawd"));
    let text = MINIMAL.replace("\"press-3\"", "\"press-3\"\nstate = \"state\"");
    let config = parse_with(&text, &[]).unwrap();
    assert_eq!(config.state, Path::new("/etc/flawd/state"));

    let document = Document::new("/etc/flawd/flawd.toml", MINIMAL);
    let problem = ValidConfig::parse(&document, &BTreeMap::new())
        .unwrap_err()
        .to_string();
    assert!(problem.contains(":2: station.state: "), "{problem}");
    assert!(problem.contains("$STATE_DIRECTORY"), "{problem}");
}

#[test]
fn stores_lie_in_the_state_folder_and_leave_room_for_each_other() {
    let config = parse_with(MINIMAL, &[]).unwrap();
    let mib = 1 << 20;
    let journal = JournalSettings {
        folder: "/var/lib/flawd/journal".into(),
        capacity: 64 * mib,
        durability: Durability::Always,
    };
    let evidence = EvidenceSettings {
        folder: "/var/lib/flawd/evidence".into(),
        max_size: 2048 * mib,
        max_age: Duration::from_hours(30 * 24),
        ok_share: 0.01,
        reserve: (64 + 16) * mib,
    };
    assert_eq!(config.journal, journal);
    assert_eq!(config.evidence, Some(evidence));

    let text = format!(
        "{MINIMAL}[journal]\ncapacity = \"2MiB\"\nsync = \"system\"\n\
         [evidence]\nfolder = \"pictures\"\nmax_age = \"2w 1d\"\nkeep_free = \"1MB\"\n"
    );
    let variables = [("FLAWD__EVIDENCE__MAX_SIZE", "3MiB")];
    let config = parse_with(&text, &variables).unwrap();
    assert_eq!(config.journal.durability, Durability::System);
    let evidence = config.evidence.unwrap();
    assert_eq!(evidence.folder, Path::new("/etc/flawd/pictures"));
    assert_eq!(evidence.max_size, 3 * mib);
    assert_eq!(evidence.max_age, Duration::from_hours(15 * 24));
    assert_eq!(evidence.reserve, 2 * mib + 1_000_000);

    let text = format!("{MINIMAL}[evidence]\nenabled = false\n");
    assert_eq!(parse_with(&text, &[]).unwrap().evidence, None);
}

#[test]
fn faults_of_the_synthetic_line_are_read_with_all_they_need() {
    let line = MINIMAL.replace("[camera.top.folder]\npath = \"parts\"\n", "");
    let faults = |text: &str, variables: &[(&str, &str)]| {
        let text = format!("{line}[camera.top.synthetic.fault]\n{text}\n");
        let config = parse_with(&text, variables)?;
        let SourceSettings::Synthetic { faults, .. } = &config.cameras[0].source else {
            panic!("no synthetic line: {config:?}");
        };
        Ok::<_, ConfigError>(*faults)
    };
    assert_eq!(faults("", &[]).unwrap(), Faults::default());
    let text = "stall = { after = 100, lasts = \"30s\" }\nloss = { after = 200, lasts = \"5s\" }\n\
                dark = { after = 10, parts = 3 }\nfrozen = { after = 20, parts = 4 }\n";
    let outage = |after, seconds| {
        let lasts = Duration::from_secs(seconds);
        Some(fault::Outage { after, lasts })
    };
    let spell = |after, parts| Some(fault::Spell { after, parts });
    let expected = Faults {
        stall: outage(100, 30),
        loss: outage(200, 5),
        dark: spell(10, 3),
        frozen: spell(20, 4),
    };
    assert_eq!(faults(text, &[]).unwrap(), expected);

    let incomplete = "loss = { after = 7 }";
    let problem = faults(incomplete, &[]).unwrap_err().to_string();
    let expected = ":9: camera.top.synthetic.fault.loss.lasts: is missing";
    assert!(problem.ends_with(expected), "{problem}");
    let variable = ("FLAWD__CAMERA__TOP__SYNTHETIC__FAULT__LOSS__LASTS", "2s");
    assert_eq!(faults(incomplete, &[variable]).unwrap().loss, outage(7, 2));
}

#[test]
fn a_camera_of_the_machine_cannot_be_made_to_wait() {
    let text = format!(
        "{MINIMAL}[camera.side]\noverflow = \"block\"\n[camera.side.v4l2]\ndevice = \"/dev/video0\"\n"
    );
    assert!(refused(&text).contains(":11: camera.side.overflow: a camera cannot be made to wait"));
}

#[test]
fn a_camera_and_its_recipes_may_have_bundles_of_their_own() {
    let text = format!(
        "{MINIMAL}[camera.side]\nbundle = \"side\"\n[camera.side.folder]\npath = \"parts\"\n\
         [camera.side.recipe.M8]\nbundle = \"/srv/m8\"\n"
    );
    let text = text.replace("[inference]", "[inference]\nshadow = \"next\"");
    let config = parse_with(&text, &[]).unwrap();
    let [side, top] = &config.cameras[..] else {
        panic!("there are two cameras");
    };
    assert_eq!(top.models.bundle, Path::new("/etc/flawd/bundle"));
    assert_eq!(
        top.models.shadow.as_deref(),
        Some(Path::new("/etc/flawd/next"))
    );
    assert!(top.models.recipes.is_empty());
    assert_eq!(side.models.bundle, Path::new("/etc/flawd/side"));
    assert_eq!(side.models.recipes["M8"], Path::new("/srv/m8"));
    assert_eq!(
        side.models.shadow, None,
        "a shadow is compared with the bundle that it stands beside"
    );
    let own = text.replace("bundle = \"side\"", "bundle = \"side\"\nshadow = \"s\"");
    let config = parse_with(&own, &[]).unwrap();
    assert_eq!(
        config.cameras[0].models.shadow.as_deref(),
        Some(Path::new("/etc/flawd/s"))
    );
}

#[test]
fn a_recipe_without_a_bundle_is_reported_at_its_section() {
    assert_eq!(
        refused(&format!("{MINIMAL}[camera.top.recipe.M8]\n")),
        "/etc/flawd/flawd.toml:10: camera.top.recipe.M8.bundle: is missing"
    );
    assert!(
        refused(&format!(
            "{MINIMAL}[camera.top.recipe.M8]\nbundel = \"b\"\n"
        ))
        .contains(":11:1: unknown key `bundel`")
    );
}

#[test]
fn providers_get_the_settings_of_their_sections() {
    let text = MINIMAL.replace(
        "[camera",
        "providers = [\"tensorrt\", \"cuda\"]\n[inference.tensorrt]\nfp16 = false\n\
         cache = \"engines\"\nmemory_limit_mib = 512\ndevice = 1\n[inference.cuda]\n\
         memory_limit_mib = 2048\n[camera",
    );
    let inference = parse_with(&text, &[]).unwrap().inference;
    assert_eq!(
        inference.engines.as_deref(),
        Some(Path::new("/etc/flawd/engines"))
    );
    let [Provider::TensorRt(tensorrt), Provider::Cuda(cuda)] = &inference.session.providers[..]
    else {
        panic!("{:?}", inference.session);
    };
    assert_eq!((tensorrt.fp16, tensorrt.device), (false, 1));
    assert_eq!(tensorrt.workspace_limit, Some(512 << 20));
    assert_eq!((cuda.memory_limit, cuda.device), (Some(2048 << 20), 0));

    let none = text.replace("memory_limit_mib = 512", "memory_limit_mib = 0");
    assert_eq!(
        refused(&none),
        "/etc/flawd/flawd.toml:12: inference.tensorrt.memory_limit_mib: 0 MiB is not a limit"
    );
}

#[test]
fn openvino_has_settings_and_a_cache_of_its_own() {
    let text = MINIMAL.replace(
        "[camera",
        "providers = [\"openvino\"]\n[inference.openvino]\ndevice = \"GPU.1\"\n\
         precision = \"f16\"\ncache = \"compiled\"\n[camera",
    );
    let inference = parse_with(&text, &[]).unwrap().inference;
    let engines = inference.engines.as_deref();
    assert_eq!(engines, Some(Path::new("/etc/flawd/compiled")));
    let [Provider::OpenVino(openvino)] = &inference.session.providers[..] else {
        panic!("{:?}", inference.session);
    };
    assert_eq!(openvino.device.to_string(), "GPU.1");
    assert_eq!(openvino.precision, flawd_onnx::Precision::F16);
    assert_eq!(
        refused(&text.replace("GPU.1", "HETERO:NPU,CPU")),
        "/etc/flawd/flawd.toml:10: inference.openvino.device: `HETERO:NPU,CPU` is not a device of \
         OpenVINO's: choose CPU, GPU, GPU.1 and so on, or NPU"
    );
}

#[test]
fn the_shipped_file_and_every_example_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let examples: Vec<_> = fs::read_dir(folder.join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(examples.len() >= 3, "{examples:?}");
    let variables = BTreeMap::from([("HOME".to_owned(), "/home/ann".to_owned())]);
    for path in examples.into_iter().chain([folder.join("flawd.toml")]) {
        let document = Document::read(&path).unwrap();
        if let Err(error) = ValidConfig::parse(&document, &variables) {
            panic!("{error}");
        }
    }
}

/// Returns a configuration with every possible section.
fn every_section() -> Config {
    let outage = || {
        Some(Outage {
            after: Some(1),
            lasts: Some(Duration::from_secs(2)),
        })
    };
    let spell = || {
        Some(Spell {
            after: Some(3),
            parts: Some(4),
        })
    };
    let camera = Camera {
        folder: Some(Folder::default()),
        synthetic: Some(Synthetic {
            fault: Fault {
                stall: outage(),
                loss: outage(),
                dark: spell(),
                frozen: spell(),
            },
            ..Synthetic::default()
        }),
        v4l2: Some(V4l2::default()),
        gstreamer: Some(Gstreamer::default()),
        trigger: TriggerConfig {
            input: Some(TriggerInput::default()),
            ..TriggerConfig::default()
        },
        reject: Some(Reject::default()),
        recipe: BTreeMap::from([("name".to_owned(), Recipe::default())]),
        ..Camera::default()
    };
    Config {
        camera: BTreeMap::from([("name".to_owned(), camera)]),
        mqtt: Mqtt {
            tls: Some(Tls::default()),
            ..Mqtt::default()
        },
        monitor: Monitor {
            heartbeat: Some(Heartbeat::default()),
            ..Monitor::default()
        },
        ..Config::default()
    }
}

#[test]
fn a_configuration_that_a_program_wrote_reads_back() {
    for config in [Config::default(), every_section()] {
        let text = toml::to_string(&config).unwrap();
        let document = Document::new("flawd.toml", text);
        let read = Config::parse(&document, &BTreeMap::new()).unwrap();
        assert_eq!(read, config);
    }
}

#[test]
fn every_key_is_documented() {
    let documentation = include_str!("../../../../docs/config.md");
    let config = every_section();
    let tree = serde_json::to_value(&config).unwrap();
    let mut missing = Vec::new();
    for_each_key(&tree, &mut |key| {
        if !documentation.contains(&format!("`{key}`")) {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "not in docs/config.md: {missing:?}");
}

fn for_each_key(tree: &serde_json::Value, visit: &mut impl FnMut(&str)) {
    if let Some(table) = tree.as_object() {
        for (key, value) in table {
            if !value.is_object() {
                visit(key);
            }
            for_each_key(value, visit);
        }
    }
}

/// The blocks of the guide, in sequence, are one file.
#[test]
fn the_configuration_of_the_guide_to_a_first_camera_is_valid() {
    let guide = include_str!("../../../../docs/guide/first-camera.md");
    let blocks = guide.split("```toml\n").skip(1);
    let text: String = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let config = parse_with(&text, &[]).unwrap();
    let camera = &config.cameras[0];
    assert_eq!(camera.deadline, Some(Duration::from_millis(300)));
    assert!(matches!(camera.source, SourceSettings::V4l2 { .. }));
}

/// A station whose camera is a pipeline with these keys.
fn with_pipeline(keys: &str) -> String {
    MINIMAL.replace(
        "[camera.top.folder]\npath = \"parts\"",
        &format!("[camera.top.gstreamer]\n{keys}"),
    )
}

#[test]
fn a_pipeline_comes_from_the_file_another_file_or_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline");
    fs::write(
        &path,
        "rtspsrc location=rtsp://ann:hunter2@cam/\n ! decodebin\n",
    )
    .unwrap();
    let from_file = with_pipeline(&format!("pipeline_file = {path:?}"));
    let variable = (
        "FLAWD__CAMERA__TOP__GSTREAMER__PIPELINE",
        "rtspsrc location=rtsp://ann:hunter2@cam/\n ! decodebin",
    );
    for (text, variables) in [(from_file, vec![]), (with_pipeline(""), vec![variable])] {
        let config = parse_with(&text, &variables).unwrap();
        let SourceSettings::Gstreamer { pipeline, .. } = &config.cameras[0].source else {
            panic!("{:?}", config.cameras[0].source);
        };
        assert_eq!(pipeline.reveal(), variable.1);
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.cameras[0].overflow, Overflow::NewestWins);
    }
    let config = parse_with(&with_pipeline("pipeline = 'videotestsrc'"), &[]).unwrap();
    let expected = SourceSettings::Gstreamer {
        pipeline: PipelineText::new("videotestsrc"),
        reopen_after: Duration::from_secs(10),
    };
    assert_eq!(config.cameras[0].source, expected);
}

#[test]
fn a_pipeline_that_cannot_be_one_is_refused_and_no_password_is_shown() {
    for (keys, said) in [
        ("", "camera.top.gstreamer.pipeline: is missing"),
        ("pipeline = ' '", "is empty"),
        ("pipeline = \"a\\u0000b\"", "NUL"),
        (
            "pipeline = 'a'\npipeline_file = 'b'",
            "has the pipeline twice",
        ),
        (
            "pipeline_file = '/nonexistent/pipeline'",
            "/nonexistent/pipeline",
        ),
        ("pipeline_credential = 'pipeline'", "$CREDENTIALS_DIRECTORY"),
        ("pipeline = 'a'\nreopen_after = '10ms'", "reopen_after"),
        (
            "pipeline = 'rtspsrc location=rtsp://ann:hunter2@cam/'",
            "`pipeline_file`",
        ),
        (
            "pipeline = 'rtspsrc user-pw=hunter2'",
            "`pipeline_credential`",
        ),
    ] {
        let problem = refused(&with_pipeline(keys));
        assert!(problem.contains(said), "{keys}: {problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    let blocking = with_pipeline("pipeline = 'a'").replace(
        "[camera.top.gstreamer]",
        "[camera.top]\noverflow = 'block'\n[camera.top.gstreamer]",
    );
    assert!(refused(&blocking).contains("overflow"));
}
