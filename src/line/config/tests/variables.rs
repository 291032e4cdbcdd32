//! What variables may set, and the error for one that sets something else than was meant.

use super::*;

fn refused(text: &str, name: &str, value: &str) -> String {
    parse_with(text, &[(name, value)]).unwrap_err().to_string()
}

#[test]
fn a_word_is_not_taken_for_a_number() {
    for word in ["yes", "on", "True", "no", "OFF", "false"] {
        for name in [
            "FLAWD__MQTT__PORT",
            "FLAWD__INFERENCE__THREADS",
            "FLAWD__CAMERA__TOP__FOLDER__RATE",
            "FLAWD__EVIDENCE__OK_SHARE",
        ] {
            let problem = refused(MINIMAL, name, word);
            let expected = format!("environment variable {name}: is not a number");
            assert_eq!(problem, expected, "{word}");
        }
        let is_on = parse_with(MINIMAL, &[("FLAWD__CAMERA__TOP__FOLDER__REPEAT", word)]);
        assert!(is_on.is_ok(), "{word} is a word for a switch");
    }
}

#[test]
fn a_value_that_is_no_switch_is_repeated_in_no_case() {
    let problem = refused(MINIMAL, "FLAWD__MQTT__REQUIRED_AT_START", "Hunter2");
    assert!(problem.contains("expected a boolean"), "{problem}");
    assert!(!problem.to_lowercase().contains("hunter2"), "{problem}");
}

#[test]
fn a_value_out_of_range_is_reported_where_it_was_set() {
    let text = format!("{MINIMAL}[mqtt]\nhost = \"broker\"\nkeep_alive = \"20s\"\n");
    for (name, value, said) in [
        ("FLAWD__MQTT__HOST", "mqtt://b", "mqtt.host: `mqtt://b` is"),
        ("FLAWD__mqtt__keep_alive", "1s", "mqtt.keep_alive: 1s is"),
        ("FLAWD__MQTT__USERNAME", "", "mqtt.username: is empty"),
        (
            "FLAWD__CAMERA__TOP__FOLDER__RATE",
            "0",
            "camera.top.folder.rate: 0 is",
        ),
        (
            "FLAWD__MQTT__TLS__CA",
            "gone.pem",
            "mqtt.tls.ca: cannot read",
        ),
    ] {
        let error = parse_with(&text, &[(name, value)]).unwrap_err();
        let problem = crate::messages::with_causes(&error);
        let expected = format!("environment variable {name}: {said}");
        assert!(problem.starts_with(&expected), "{problem}");
    }
    // A variable for another key changes nothing about the place.
    let text = text.replace("20s", "1s");
    let problem = refused(&text, "FLAWD__MQTT__HOST", "other");
    assert!(problem.starts_with("/etc/flawd/flawd.toml:12: mqtt.keep_alive"));
}

#[test]
fn a_variable_in_lower_case_is_not_ignored() {
    for name in ["flawd__mqtt__port", "Flawd__MQTT__Port"] {
        assert_eq!(
            refused(MINIMAL, name, "1884"),
            format!(
                "environment variable {name}: is none of flawd's; did you mean FLAWD__MQTT__PORT?"
            )
        );
    }
    assert!(parse_with(MINIMAL, &[("flawd_home", "/srv")]).is_ok());
}

#[test]
fn variables_go_before_the_file_and_reach_every_level() {
    let config = parse_with(
        MINIMAL,
        &[
            ("FLAWD__MQTT__PORT", "1884"),
            ("FLAWD__STATION__GRACE_PERIOD", "3s"),
            ("FLAWD__CAMERA__TOP__FOLDER__RATE", "4"),
            ("FLAWD__CAMERA__TOP__FOLDER__REPEAT", "true"),
            ("FLAWD__INFERENCE__PROVIDERS", "cuda, cpu"),
            ("FLAWD_LOG", "debug"),
            ("FLAWD_ONNXRUNTIME", "/opt/libonnxruntime.so"),
        ],
    )
    .unwrap();
    assert_eq!(config.mqtt.port, 1884);
    assert_eq!(config.grace_period, Duration::from_secs(3));
    let SourceSettings::Folder {
        interval, repeat, ..
    } = config.cameras[0].source
    else {
        panic!("the source is a folder");
    };
    assert_eq!((interval, repeat), (Some(Duration::from_millis(250)), true));
    let names: Vec<_> = config
        .inference
        .session
        .providers
        .iter()
        .map(|p| p.name())
        .collect();
    assert_eq!(names, ["cuda", "cpu"]);
}

#[test]
fn a_mistyped_variable_is_named() {
    let problem = parse_with(
        MINIMAL,
        &[("FLAWD__MQTT__PORT", "1"), ("FLAWD__MQTT__PROT", "2")],
    );
    assert_eq!(
        problem.unwrap_err().to_string(),
        "environment variable FLAWD__MQTT__PROT: unknown key `prot`; did you mean `port`?"
    );
}

#[test]
fn a_value_that_a_variable_cannot_have_is_not_repeated() {
    for name in ["FLAWD__MQTT", "FLAWD__MQTT__PORT", "FLAWD__MQTT__PASWORD"] {
        let problem = parse_with(MINIMAL, &[(name, "hunter2")]).unwrap_err();
        let problem = problem.to_string();
        assert!(problem.contains(name), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}
