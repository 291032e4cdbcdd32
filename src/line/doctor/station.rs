//! What the configuration names, and whether it is there: bundles, ONNX Runtime, devices, broker,
//! state folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::machine::permission;
use super::{Finding, PATIENCE, Section, within_patience};
use crate::bundle::Bundle;
use crate::line::config::{
    Config, ConfigError, Document, LineSettings, SourceSettings, ValidConfig,
};
use crate::line::gpio::{self, LineError};
use crate::line::pipeline::capture;
use crate::messages::with_causes;

/// Examines everything that the configuration names.
pub(crate) fn examine(path: &Path) -> Vec<Section> {
    let (valid, configuration) = configuration(path);
    let library = valid
        .as_ref()
        .and_then(|config| config.inference.onnxruntime.clone());
    let mut sections = vec![
        Section {
            name: "configuration",
            findings: configuration,
        },
        Section {
            name: "ONNX Runtime",
            findings: runtime(library.as_deref()),
        },
    ];
    if let Some(config) = valid {
        sections.extend([
            Section {
                name: "bundles",
                findings: bundles(&config),
            },
            Section {
                name: "sources",
                findings: sources(&config),
            },
            Section {
                name: "GPIO",
                findings: lines(&config),
            },
            Section {
                name: "broker",
                findings: broker(&config.mqtt.host, config.mqtt.port),
            },
            Section {
                name: "state",
                findings: state(&config.state),
            },
        ]);
    }
    sections
}

/// Reports whether the file is valid, and its content merged with the environment.
fn configuration(path: &Path) -> (Option<ValidConfig>, Vec<Finding>) {
    let variables: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut findings = vec![Finding::new("file", path.display())];
    let parsed = Document::read(path)
        .and_then(|document| Ok((Config::parse(&document, &variables)?, document)));
    let checked: Result<ValidConfig, ConfigError> = parsed.and_then(|(config, document)| {
        findings.push(effective(&config));
        config.validate(&document, &variables)
    });
    match checked {
        Ok(valid) => {
            findings.insert(1, Finding::new("valid", "yes"));
            (Some(valid), findings)
        }
        Err(error) => {
            findings.insert(1, Finding::broken("valid", with_causes(&error)));
            (None, findings)
        }
    }
}

/// Returns the configuration with every default, as it serialises: secrets mask themselves.
fn effective(config: &Config) -> Finding {
    match toml::to_string(config) {
        Ok(text) => Finding::new("effective", text.trim_end()),
        Err(error) => Finding::broken("effective", error),
    }
}

fn runtime(named: Option<&Path>) -> Vec<Finding> {
    let runtime = match crate::packages::runtime::load(named) {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::broken("library", with_causes(&error))],
    };
    let folder = runtime.library().parent().unwrap_or(Path::new(""));
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut beside: Vec<_> = files
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("libonnxruntime_providers_"))
        .collect();
    beside.sort();
    let beside = if beside.is_empty() {
        "none".to_owned()
    } else {
        beside.join(", ")
    };
    vec![
        Finding::new("library", runtime.library().display()),
        Finding::new("chosen", format!("{}{}", runtime.origin(), source(folder))),
        Finding::new("build", runtime.build_info()),
        Finding::new("providers", runtime.providers().join(", ")),
        Finding::new("provider files", beside),
    ]
}

/// Returns what the library in this folder was installed from, if it was.
fn source(folder: &Path) -> String {
    let record = crate::packages::runtime::Record::read(folder);
    record.map_or_else(String::new, |record| {
        format!("; installed from {}, {}", record.source, record.digest)
    })
}

/// Examines every bundle that the configuration names, each once.
fn bundles(config: &ValidConfig) -> Vec<Finding> {
    let models = config.cameras.iter().map(|camera| &camera.models);
    let folders: BTreeSet<&PathBuf> = models
        .flat_map(|models| {
            let others = models.recipes.values().chain(&models.shadow);
            std::iter::once(&models.bundle).chain(others)
        })
        .collect();
    let mut findings = Vec::new();
    for folder in folders {
        let subject = folder.display().to_string();
        findings.push(match Bundle::open(folder) {
            Ok(bundle) => {
                let manifest = bundle.manifest();
                let text = format!(
                    "\n{} {}, every file verified\nmodel {}\nthreshold {}; {}",
                    manifest.name,
                    manifest.version,
                    manifest.model.digest,
                    manifest.calibration.threshold(),
                    manifest.calibration.promise(),
                );
                Finding::new(subject, text)
            }
            Err(error) => Finding::broken(subject, format!("\n{}", with_causes(&error))),
        });
    }
    findings
}

/// Reports whether the cameras' sources exist. Nothing is opened.
fn sources(config: &ValidConfig) -> Vec<Finding> {
    let look = |camera: &crate::line::config::CameraSettings| {
        let name = camera.name.clone();
        match &camera.source {
            SourceSettings::Folder { path, .. } if path.is_dir() => {
                Finding::new(name, format!("folder {}", path.display()))
            }
            SourceSettings::Folder { path, .. } => {
                Finding::broken(name, format!("there is no folder {}", path.display()))
            }
            SourceSettings::Synthetic { .. } => Finding::new(name, "synthetic"),
            SourceSettings::V4l2 { device, .. } if device.exists() => {
                let target = device.canonicalize().unwrap_or_else(|_| device.clone());
                Finding::new(
                    name,
                    format!("{}; {}", target.display(), permission(device)),
                )
            }
            SourceSettings::V4l2 { device, .. } => {
                Finding::broken(name, format!("there is no {}", device.display()))
            }
            SourceSettings::Gstreamer { pipeline, .. } => match capture::check(&camera.source) {
                Ok(()) => Finding::new(name, format!("every element of {}", pipeline.shown())),
                Err(error) => Finding::broken(name, with_causes(&error)),
            },
        }
    };
    config.cameras.iter().map(look).collect()
}

/// Reports whether the GPIO lines are there and free. None is taken.
fn lines(config: &ValidConfig) -> Vec<Finding> {
    let look = |(subject, line): (String, &LineSettings)| match gpio::examine(line) {
        Ok(text) => Finding::new(subject, text),
        Err(error @ LineError::InUse { .. }) => Finding::new(subject, error),
        Err(error) => Finding::broken(subject, error),
    };
    let findings: Vec<_> = config.lines().into_iter().map(look).collect();
    if findings.is_empty() {
        return vec![Finding::new("lines", "none is configured")];
    }
    findings
}

/// Reports whether the name resolves and the port accepts connections; nothing is sent.
fn broker(host: &str, port: u16) -> Vec<Finding> {
    let address = format!("{host}:{port}");
    let question = (host.to_owned(), port);
    let resolved = within_patience(move || {
        let found = question.to_socket_addrs();
        found.map(Iterator::collect::<Vec<_>>)
    });
    let addresses = match resolved {
        Some(Ok(addresses)) if !addresses.is_empty() => addresses,
        Some(Ok(_)) => return vec![Finding::broken(address, "the name has no address")],
        Some(Err(error)) => return vec![Finding::broken(address, error)],
        None => {
            let text = format!("the name does not resolve within {PATIENCE:?}");
            return vec![Finding::broken(address, text)];
        }
    };
    let mut findings = Vec::new();
    let mut is_reached = false;
    for address in addresses {
        let subject = address.to_string();
        findings.push(match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => {
                is_reached = true;
                Finding::new(subject, "takes connections")
            }
            Err(error) => Finding::new(subject, error),
        });
    }
    let summary = if is_reached {
        Finding::new(address, "reached")
    } else {
        Finding::broken(address, "not reached")
    };
    findings.insert(0, summary);
    findings
}

/// Reports on the folder that survives restarts: its file system, and the free space on it.
fn state(folder: &Path) -> Vec<Finding> {
    let subject = folder.display().to_string();
    // The daemon creates it; until then what counts is where it will be.
    let Some(existing) = folder.ancestors().find(|folder| folder.is_dir()) else {
        return vec![Finding::broken(
            subject,
            "neither it nor a folder above is there",
        )];
    };
    let is_there = if existing == folder {
        "is there".to_owned()
    } else {
        format!("is not there yet; {} is", existing.display())
    };
    let free = match rustix::fs::statvfs(existing) {
        Ok(space) => {
            let mebibytes = |blocks: u64| blocks.saturating_mul(space.f_frsize) >> 20;
            let (free, all) = (mebibytes(space.f_bavail), mebibytes(space.f_blocks));
            format!("{free} MiB of {all} MiB free")
        }
        Err(error) => error.to_string(),
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kind = existing
        .canonicalize()
        .ok()
        .and_then(|path| file_system(&mounts, &path))
        .unwrap_or_else(|| "unknown".to_owned());
    let text = format!("\n{is_there}; {}\n{kind}, {free}", permission(existing));
    vec![Finding::new(subject, text)]
}

/// Returns the type of the file system that `path` is on; `mounts` is in the format of
/// proc_pid_mountinfo(5).
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, behind) = line.split_once(" - ")?;
        let point = PathBuf::from(before.split(' ').nth(4)?.replace("\\040", " "));
        let kind = behind.split(' ').next()?.to_owned();
        path.starts_with(&point)
            .then_some((point.as_os_str().len(), kind))
    };
    // If several are mounted on one point, the last one is seen.
    let (_, kind) = mounts
        .lines()
        .filter_map(mount)
        .max_by_key(|(length, _)| *length)?;
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_innermost_mount() {
        let mounts = "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                      2 1 8:2 / /var/lib rw shared:1 master:2 - xfs /dev/sdb rw\n\
                      3 1 8:3 / /var/lib rw - btrfs /dev/sdc rw\n\
                      4 1 8:4 / /mnt/my\\040disk rw - vfat /dev/sdd rw\n";
        let kind = |path| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/var"), "ext4");
        assert_eq!(kind("/var/lib/flawd"), "btrfs");
        assert_eq!(kind("/var/library"), "ext4");
        assert_eq!(kind("/mnt/my disk/state"), "vfat");
    }

    #[test]
    fn a_broker_that_listens_is_reached_and_one_that_does_not_is_broken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let findings = broker("127.0.0.1", port);
        assert_eq!(findings[0].text, "reached");
        drop(listener);
        let findings = broker("127.0.0.1", port);
        assert!(findings[0].broken, "{findings:?}");
    }

    #[test]
    fn a_state_folder_that_is_not_made_yet_is_judged_by_where_it_will_lie() {
        let folder = tempfile::tempdir().unwrap();
        let findings = state(&folder.path().join("a/b"));
        assert!(!findings[0].broken, "{findings:?}");
        assert!(findings[0].text.contains("not there yet"), "{findings:?}");
        assert!(findings[0].text.contains("MiB free"), "{findings:?}");
    }
}
