//! Texts that no broker, resolver or file system accepts, passwords, and variables that are not
//! ours.

use super::*;
use crate::messages::with_causes;

#[test]
fn a_text_that_never_connects_is_refused_at_its_key() {
    let long = "a".repeat(70_000);
    let long_client = format!("client_id = \"{long}\"");
    let long_name = format!("username = \"{long}\"");
    let long_host = format!("host = \"{long}\"");
    let cases = [
        ("host = \"\"", "mqtt.host: is empty"),
        (
            "host = \"mqtt://broker\"",
            "mqtt.host: `mqtt://broker` is a URL",
        ),
        (
            "host = \"broker:1883\"",
            "host = \"broker\" and port = 1883",
        ),
        (
            "host = \"bro\\u0000ker\"",
            "mqtt.host: holds a space or a control",
        ),
        (&long_host, "mqtt.host: has 70000 bytes"),
        ("port = 0", "mqtt.port: 0 is not a port"),
        ("client_id = \"\"", "mqtt.client_id: is empty"),
        (
            "client_id = \" line\"",
            "mqtt.client_id: begins or ends with a space",
        ),
        (
            "client_id = \"a\\nb\"",
            "mqtt.client_id: holds a control character",
        ),
        (&long_client, "mqtt.client_id: has more than 65,535 bytes"),
        ("username = \"\"", "mqtt.username: is empty"),
        (
            "username = \"a\\u0000\"",
            "mqtt.username: holds a control character",
        ),
        (&long_name, "mqtt.username: has more than 65,535 bytes"),
        ("root = \"\"", "mqtt.root: `` must consist of"),
        ("root = \"a/#\"", "mqtt.root: `#` must consist of"),
        ("root = \"a//b\"", "mqtt.root: `` must consist of"),
        (
            "username = \"u\"\npassword_file = \"\"",
            "mqtt.password_file: is empty",
        ),
        (
            "username = \"u\"\npassword_credential = \"../shadow\"",
            "is not a credential's name",
        ),
        ("[mqtt.tls]\nca = \"\"", "mqtt.tls.ca: is empty"),
        ("[evidence]\nfolder = \"\"", "evidence.folder: is empty"),
        (
            "[evidence]\nfolder = \"a\\u0000\"",
            "evidence.folder: holds a NUL",
        ),
        (
            "[camera.top.recipe.\"\"]\nbundle = \"b\"",
            "recipe.: is empty",
        ),
        (
            "[camera.top.recipe.a]\nbundle = \"\"",
            "recipe.a.bundle: is empty",
        ),
    ];
    for (lines, said) in cases {
        let problem = refused(&format!("{MINIMAL}[mqtt]\n{lines}\n"));
        assert!(problem.contains(said), "{lines:.40}: {problem:.200}");
    }
    let name = "a".repeat(129);
    for text in [
        MINIMAL.replace("press-3", &name),
        MINIMAL.replace("camera.top", &format!("camera.{name}")),
        format!("{MINIMAL}[mqtt]\nroot = \"{}a\"\n", "a/".repeat(32)),
        MINIMAL.replace("path = \"parts\"", "path = \"\""),
        MINIMAL.replace("bundle = \"bundle\"", "bundle = \"\""),
    ] {
        refused(&text);
    }
}

/// Returns the login of a station whose password file holds these bytes.
fn login(bytes: &[u8]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, bytes).unwrap();
    let lines = format!(
        "[mqtt]\nusername = \"line\"\npassword_file = \"{}\"\n",
        file.display()
    );
    let config = parse_with(&format!("{MINIMAL}{lines}"), &[]);
    let config = config.map_err(|error| with_causes(&error))?;
    Ok(password(&config))
}

#[test]
fn a_password_is_what_was_meant_whatever_wrote_its_file() {
    for bytes in [
        &b"hunter2"[..],
        b"hunter2\n",
        b"hunter2\r\n",
        b"hunter2\r",
        b"\xef\xbb\xbfhunter2\r\nsecond",
    ] {
        assert_eq!(login(bytes).unwrap(), "hunter2", "{bytes:?}");
    }
    assert_eq!(login(b" hunter 2 \n").unwrap(), " hunter 2 ");
}

#[test]
fn a_password_file_that_holds_none_is_named_with_its_key_and_not_shown() {
    for (bytes, said) in [
        (&b""[..], "is empty"),
        (b"\nhunter2\n", "is empty"),
        (b"\xef\xbb\xbf\nhunter2", "is empty"),
        (b"hunt\0er2", "holds a control character"),
        (b"\xff\xfeh\0u\0n\0t\0e\0r\0\x32\0", "it is UTF-16"),
        (b"h\xfcnter2", "it is not UTF-8"),
    ] {
        let problem = login(bytes).unwrap_err();
        assert!(problem.contains(said), "{problem}");
        assert!(problem.contains(":12: mqtt.password_file: "), "{problem}");
        assert!(!problem.contains("nter2"), "{problem}");
    }
}

#[test]
fn a_password_file_that_is_not_there_is_called_one() {
    let lines = "[mqtt]\nusername = \"line\"\npassword_file = \"gone\"\n";
    let error = parse_with(&format!("{MINIMAL}{lines}"), &[]).unwrap_err();
    let problem = with_causes(&error);
    let expected = "/etc/flawd/flawd.toml:12: mqtt.password_file: cannot read /etc/flawd/gone: No \
                    such file";
    assert!(problem.starts_with(expected), "{problem}");
}

#[test]
fn a_byte_order_mark_in_front_of_the_configuration_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flawd.toml");
    fs::write(&file, format!("\u{feff}{MINIMAL}")).unwrap();
    let variables = BTreeMap::from([("HOME".to_owned(), "/home/ann".to_owned())]);
    let document = Document::read(&file).unwrap();
    ValidConfig::parse(&document, &variables).unwrap();
}

fn with_variable(text: &str, name: &str) -> Result<ValidConfig, String> {
    parse_with(text, &[(name, "1884")]).map_err(|error| error.to_string())
}

#[test]
fn a_variable_that_was_meant_for_us_and_is_none_is_named_with_the_right_one() {
    for (name, said) in [
        ("FLAWD_MQTT_PORT", "did you mean FLAWD__MQTT__PORT?"),
        ("FLAWD_MQTT__PORT", "did you mean FLAWD__MQTT__PORT?"),
        ("FLAWD_LOGS", "did you mean FLAWD_LOG?"),
        ("FLAWD_ONNX_RUNTIME", "did you mean FLAWD_ONNXRUNTIME?"),
        ("FLAWD__", "FLAWD__: "),
        ("FLAWD__PORT", "unknown key `port`"),
        ("FLAWD__MQTT_PORT", "unknown key `mqtt_port`"),
    ] {
        let problem = with_variable(MINIMAL, name).unwrap_err();
        assert!(problem.contains(said), "{name}: {problem}");
        assert!(!problem.contains("1884"), "{name}: {problem}");
    }
    // Another program's.
    assert!(with_variable(MINIMAL, "FLAWD_IMAGE_TAG").is_ok());
    assert!(with_variable(MINIMAL, "FLAWDY_MQTT_PORT").is_ok());
}

#[test]
fn the_variables_of_a_service_in_kubernetes_are_none_of_ours() {
    let service = [
        ("FLAWD_MQTT_SERVICE_HOST", "10.0.0.7"),
        ("FLAWD_MQTT_SERVICE_PORT", "1883"),
        ("FLAWD_MQTT_PORT", "tcp://10.0.0.7:1883"),
        ("FLAWD_MQTT_PORT_1883_TCP_ADDR", "10.0.0.7"),
    ];
    let config = parse_with(MINIMAL, &service).unwrap();
    assert_eq!(config.mqtt.port, 1883);
}

#[test]
fn no_variable_makes_a_second_camera_or_recipe_by_its_case() {
    let text = MINIMAL.replace("camera.top", "camera.Top");
    let variable = "FLAWD__CAMERA__TOP__FOLDER__PATH";
    let problem = with_variable(&text, variable).unwrap_err();
    assert!(problem.contains("second camera beside `Top`"), "{problem}");
    let text = format!("{MINIMAL}[camera.top.recipe.M8]\nbundle = \"b\"\n");
    let variable = "FLAWD__CAMERA__TOP__RECIPE__M8__BUNDLE";
    let problem = with_variable(&text, variable).unwrap_err();
    assert!(problem.contains("second recipe beside `M8`"), "{problem}");
    let variables = [("FLAWD__MQTT__PORT", "1"), ("FLAWD__mqtt__port", "2")];
    let problem = parse_with(MINIMAL, &variables).unwrap_err().to_string();
    assert!(problem.contains("says the same key"), "{problem}");
}
