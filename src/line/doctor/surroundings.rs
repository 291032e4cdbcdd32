//! The daemon's surroundings: clock, service manager, variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use jiff::Timestamp;

use super::{Finding, ask};
use crate::line::config::{Config, Document, ENVIRONMENT_PREFIX};
use crate::line::daemon::clock;

/// The properties of the unit that matter in a report.
const UNIT_PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts";

/// Variables that are shown in addition to those of the configuration.
const PLAIN_VARIABLES: [&str; 4] = [
    "FLAWD_LOG",
    "FLAWD_MAX_MEGAPIXELS",
    "FLAWD_ONNXRUNTIME",
    "LD_LIBRARY_PATH",
];

/// Reports the time, and what keeps it.
pub(crate) fn clock() -> Vec<Finding> {
    let synchronised = match clock::synchronised(Path::new("/run")) {
        Some(true) => "yes, says systemd-timesyncd".to_owned(),
        Some(false) => "no, says systemd-timesyncd".to_owned(),
        // It asks the kernel, so it also covers chrony and others.
        None => match ask("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]) {
            Ok(answer) => format!("{answer}, says timedatectl; flawd itself cannot know"),
            Err(problem) => format!("not known ({problem})"),
        },
    };
    vec![
        Finding::new("time", Timestamp::now()),
        Finding::new("synchronised", synchronised),
    ]
}

/// Reports on the service manager and the state of the unit.
pub(crate) fn service() -> Vec<Finding> {
    let is_service = std::env::var_os("NOTIFY_SOCKET").is_some();
    let unit = ask(
        "systemctl",
        &["show", "flawd.service", "-p", UNIT_PROPERTIES],
    );
    let unit = unit.map_or_else(
        |problem| format!("not known ({problem})"),
        |properties| properties.lines().collect::<Vec<_>>().join(" "),
    );
    vec![
        Finding::new(
            "this process",
            if is_service {
                "started by a service manager"
            } else {
                "started by hand"
            },
        ),
        Finding::new("flawd.service", unit),
    ]
}

/// Reports the variables that flawd reads. For those that take precedence over the file, the value
/// of the key that they set is shown, as the configuration itself would show it; so a secret is
/// masked because it is one, and the value of a mistyped name, which may be meant as a secret, is
/// not shown at all.
pub(crate) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<Finding> {
    let prefix = format!("{ENVIRONMENT_PREFIX}__");
    let mut findings: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let value = value.to_string_lossy().into_owned();
            if PLAIN_VARIABLES.contains(&name.as_str()) {
                return Some(Finding::new(name, value));
            }
            let key = name.strip_prefix(&prefix)?.to_lowercase();
            Some(match shown(&name, &key, value) {
                Some(value) => Finding::new(name, value),
                None => {
                    Finding::broken(name, "sets no key, or not to this; its value is not shown")
                }
            })
        })
        .collect();
    findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    if findings.is_empty() {
        findings.push(Finding::new("variables", "none that flawd reads"));
    }
    findings
}

/// Returns what the configuration shows for `key` when this variable alone sets it.
fn shown(name: &str, key: &str, value: String) -> Option<String> {
    let alone = BTreeMap::from([(name.to_owned(), value)]);
    let config = Config::parse(&Document::new("", ""), &alone).ok()?;
    let config = serde_json::to_value(&config).ok()?;
    let value = config.pointer(&format!("/{}", key.replace("__", "/")))?;
    match value {
        serde_json::Value::Object(_) | serde_json::Value::Null => None,
        value => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, value: &str) -> Finding {
        environment([(name.into(), value.into()), ("HOME".into(), "/root".into())])
            .pop()
            .unwrap()
    }

    #[test]
    fn a_variable_is_shown_as_the_key_that_it_sets() {
        assert_eq!(found("FLAWD__MQTT__PORT", "1884").text, "1884");
        let rate = found("FLAWD__CAMERA__TOP__FOLDER__RATE", "4");
        assert_eq!((rate.text.as_str(), rate.broken), ("4.0", false));
        assert_eq!(found("FLAWD_LOG", "debug").text, "debug");
        assert_eq!(found("OTHER", "x").text, "none that flawd reads");
    }

    #[test]
    fn a_secret_is_shown_neither_under_its_name_nor_under_a_mistyped_one() {
        assert_eq!(found("FLAWD__MQTT__PASSWORD", "hunter2").text, "\"***\"");
        for name in [
            "FLAWD__MQTT__PASWORD",
            "FLAWD__MQTT",
            "FLAWD__",
            "FLAWD__MQTT__PORT",
        ] {
            let finding = found(name, "hunter2");
            assert!(finding.broken, "{finding:?}");
            assert!(!finding.text.contains("hunter2"), "{finding:?}");
        }
    }
}
