//! Engines, which TensorRT or OpenVINO makes of a model: built once per model and machine, kept, and
//! never loaded for another.
//!
//! ```text
//! CACHE/<model>-<the rest of the key>/engine.toml   its key, and the files' digests
//!                                    /*.engine      what TensorRT built
//!                                    /*.timing      its measurements
//!                                    /*.blob        what OpenVINO compiled
//! ```
//! A build may take minutes and be interrupted at any time, so an engine is built in a hidden folder
//! and appears by one rename, complete or not at all. Another driver, library, GPU or setting gives
//! another key and thus another folder: after an update the engine is rebuilt instead of being
//! loaded wrongly.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_onnx::{Execution, SessionOptions};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tracing::{info, warn};

use crate::bundle::Bundle;
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::files::digest::sha256_file;

mod cached;
mod key;
mod machine;
#[cfg(test)]
mod tests;

pub use cached::KeptEngine;
pub use key::{EngineKey, OpenVinoKey, TensorRtKey};
pub use machine::{Machine, OpenVinoHost, TensorRtHost, UNKNOWN};

/// The file that marks a folder as an engine.
const RECORD: &str = "engine.toml";

/// Prefix of the name of a folder in which a process builds, and which it has locked.
const BUILDING: &str = ".building-";

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The folder of all engines cannot be used.
    #[error(
        "cannot keep engines in {}: name another folder in inference.tensorrt.cache or \
         inference.openvino.cache",
        path.display()
    )]
    NotKept {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The session was created without an engine.
    #[error(
        "{provider} built no engine of {}: it takes no part of this model, so the other providers \
         alone would run it; leave it out of the providers",
        model.display()
    )]
    NothingBuilt {
        /// TensorRT or OpenVINO.
        provider: &'static str,
        /// The model's file.
        model: PathBuf,
    },
}

/// Why a bundle's model is not ready to score.
#[derive(Debug, thiserror::Error)]
pub enum EngineOpenError {
    /// The model.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// Its engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The folder of all engines, on this machine.
#[derive(Clone, Debug)]
pub struct Engines {
    folder: PathBuf,
    machine: Machine,
}

/// A folder in which an engine is built. The lock is released with the process, however it ends.
#[derive(Debug)]
struct Draft {
    folder: TempDir,
    _lock: File,
}

/// The content of `engine.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineRecord {
    key: EngineKey,
    /// Digests by file name.
    files: BTreeMap<String, Digest>,
}

/// Loads a bundle's model with the listed providers, and with an engine from `engines` if one of them
/// keeps engines; `building` is called before an engine is built, which may take minutes.
///
/// # Errors
/// [`EngineOpenError`] for the model or its engine.
pub fn open_scorer(
    bundle: &Bundle,
    execution: Execution,
    engines: Option<&Engines>,
    building: &mut dyn FnMut(),
) -> Result<Scorer, EngineOpenError> {
    let model = bundle.manifest().model.digest;
    let key = engines.and_then(|engines| engines.key(model, execution.options));
    let (Some(engines), Some(key)) = (engines, key) else {
        return Ok(Scorer::open(bundle, execution)?);
    };
    engines.load(&key, &bundle.model_path(), building, |folder| {
        let options = with_engine_folder(execution.options, folder);
        Ok(Scorer::open(bundle, execution.with(&options))?)
    })
}

/// Returns the digest of the record of the engine that [`open_scorer`] loads for a bundle, which
/// has the digests of its files; `None` if no engine is in use.
pub fn digest(
    bundle: &Bundle,
    options: &SessionOptions,
    engines: Option<&Engines>,
) -> Option<Digest> {
    let engines = engines?;
    let key = engines.key(bundle.manifest().model.digest, options)?;
    engines.digest(&key)
}

fn with_engine_folder(options: &SessionOptions, folder: &Path) -> SessionOptions {
    let providers = options.providers.iter().cloned();
    SessionOptions {
        providers: providers
            .map(|provider| provider.with_engine_folder(folder))
            .collect(),
        ..options.clone()
    }
}

impl Engines {
    /// Creates the store of the engines in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>, machine: Machine) -> Self {
        Self {
            folder: folder.into(),
            machine,
        }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the machine that they are built for.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Returns the key of a model's engine; `None` if no listed provider keeps engines.
    pub fn key(&self, model: Digest, options: &SessionOptions) -> Option<EngineKey> {
        EngineKey::new(model, options, &self.machine)
    }

    /// Returns whether the engine is there, so that loading the model takes seconds instead of
    /// minutes.
    #[cfg(test)]
    fn is_built(&self, key: &EngineKey) -> bool {
        EngineRecord::read(&self.place(key)).is_some_and(|record| record.key == *key)
    }

    /// Returns the digest of the record of a kept engine; `None` if it is not there.
    fn digest(&self, key: &EngineKey) -> Option<Digest> {
        sha256_file(&self.place(key).join(RECORD)).ok()
    }

    fn place(&self, key: &EngineKey) -> PathBuf {
        self.folder.join(key.folder_name())
    }

    /// Opens a session with `open`, which receives the folder for engines: one with the engine of
    /// this key if it was kept and is intact, otherwise an empty one that is kept afterwards.
    ///
    /// # Errors
    /// The error of `open`, or [`EngineError`].
    fn load<T>(
        &self,
        key: &EngineKey,
        model: &Path,
        building: &mut dyn FnMut(),
        mut open: impl FnMut(&Path) -> Result<T, EngineOpenError>,
    ) -> Result<T, EngineOpenError> {
        let place = self.place(key);
        if let Some(record) = EngineRecord::read(&place).filter(|record| record.key == *key) {
            match record.damaged_file(&place) {
                None => match open(&place) {
                    Ok(session) => return Ok(session),
                    // Something that is not part of the key has changed.
                    Err(error) => warn!(
                        engine = %place.display(),
                        error = crate::messages::with_causes(&error),
                        "Building the engine again, because the kept one cannot be loaded"
                    ),
                },
                Some(file) => warn!(
                    engine = %place.display(),
                    file,
                    "Building the engine again, because the kept one is damaged"
                ),
            }
        }
        building();
        let draft = self.draft()?;
        self.copy_timings(key, draft.folder.path());
        let session = open(draft.folder.path())?;
        self.keep(key, model, draft)?;
        Ok(session)
    }

    /// Creates a folder to build in, and removes those of interrupted builds.
    fn draft(&self) -> Result<Draft, EngineError> {
        let make = || {
            fs::create_dir_all(&self.folder)?;
            for abandoned in cached::abandoned(&self.folder)? {
                // It only takes up space.
                fs::remove_dir_all(abandoned).ok();
            }
            let folder = tempfile::Builder::new()
                .prefix(&format!("{BUILDING}{}-", std::process::id()))
                // Like every other folder, so that the service can use what was built by hand.
                .permissions(Permissions::from_mode(0o755))
                .tempdir_in(&self.folder)?;
            let lock = File::open(folder.path())?;
            lock.try_lock()?;
            Ok(Draft {
                folder,
                _lock: lock,
            })
        };
        make().map_err(self.not_kept())
    }

    /// Copies TensorRT's measurements for another model on this machine, which make a build faster.
    /// Failing to is not an error.
    fn copy_timings(&self, key: &EngineKey, draft: &Path) {
        let kept = cached::list(&self.folder).unwrap_or_default();
        let EngineKey::TensorRt(key) = key else {
            return;
        };
        let same_machine = kept.iter().filter(|kept| match &kept.key {
            Some(EngineKey::TensorRt(kept)) => {
                (&kept.machine, kept.device) == (&key.machine, key.device)
            }
            _ => false,
        });
        for kept in same_machine {
            let Some(record) = EngineRecord::read(&kept.folder) else {
                continue;
            };
            let timings = record.files.keys().filter(|file| file.ends_with(".timing"));
            for file in timings {
                if record.is_whole(&kept.folder, file) {
                    fs::copy(kept.folder.join(file), draft.join(file)).ok();
                }
            }
        }
    }

    /// Writes the record of a finished build and moves it to its final place.
    fn keep(&self, key: &EngineKey, model: &Path, draft: Draft) -> Result<(), EngineError> {
        let describe = || -> io::Result<BTreeMap<String, Digest>> {
            let mut files = BTreeMap::new();
            for entry in fs::read_dir(draft.folder.path())? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // OpenVINO's may be read by their owner only: the service is to use what was built
                // by hand.
                fs::set_permissions(&path, Permissions::from_mode(0o644))?;
                File::open(&path)?.sync_all()?;
                files.insert(name.into_owned(), sha256_file(&path)?);
            }
            Ok(files)
        };
        let files = describe().map_err(self.not_kept())?;
        if !files.keys().any(|file| file.ends_with(key.extension())) {
            return Err(EngineError::NothingBuilt {
                provider: key.provider(),
                model: model.to_owned(),
            });
        }
        let record = EngineRecord {
            key: key.clone(),
            files,
        };
        let place = self.place(key);
        let publish = || -> io::Result<()> {
            let text = toml::to_string(&record).map_err(io::Error::other)?;
            let path = draft.folder.path().join(RECORD);
            fs::write(&path, text)?;
            File::open(&path)?.sync_all()?;
            match fs::remove_dir_all(&place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
            fs::rename(draft.folder.path(), &place)?;
            File::open(&self.folder)?.sync_all()
        };
        publish().map_err(self.not_kept())?;
        info!(engine = %place.display(), "Engine built");
        let unknown = key.unknown();
        if !unknown.is_empty() {
            warn!(
                unknown = unknown.join(", "),
                "The engine's key is incomplete; build it again by hand after an update of these"
            );
        }
        // Its folder has moved; there is nothing left to remove.
        let _moved = draft.folder.keep();
        Ok(())
    }

    fn not_kept(&self) -> impl Fn(io::Error) -> EngineError {
        |source| EngineError::NotKept {
            path: self.folder.clone(),
            source,
        }
    }
}

impl EngineRecord {
    /// Reads the record in a folder; `None` if there is no engine.
    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(RECORD)).ok()?;
        toml::from_str(&text).ok()
    }

    /// Returns the first file that has changed.
    fn damaged_file(&self, folder: &Path) -> Option<&str> {
        let mut files = self.files.keys();
        files
            .find(|file| !self.is_whole(folder, file))
            .map(String::as_str)
    }

    fn is_whole(&self, folder: &Path, file: &str) -> bool {
        let digest = sha256_file(&folder.join(file)).ok();
        digest.is_some() && digest.as_ref() == self.files.get(file)
    }
}
