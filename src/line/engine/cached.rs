//! The engines in a folder, and which of them are no longer useful.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{BUILDING, EngineKey, EngineRecord, Engines};

/// A folder with an engine, or with the remains of a build.
#[derive(Clone, Debug)]
pub struct KeptEngine {
    /// Its path.
    pub folder: PathBuf,
    /// What it was built for; `None` if the build did not finish.
    pub key: Option<EngineKey>,
    /// Bytes that its files take.
    pub bytes: u64,
}

impl Engines {
    /// Lists every engine and every unfinished build in the folder, ordered by name. Anything that
    /// is not a flawd engine, and builds in progress, are left out.
    ///
    /// # Errors
    /// If the folder exists and cannot be listed.
    pub fn list(&self) -> io::Result<Vec<KeptEngine>> {
        list(&self.folder)
    }

    /// Returns why an engine is no longer useful; `None` if it may be. An engine of another model
    /// counts as useful unless `wanted` has every useful key.
    pub fn why_stale(
        &self,
        kept: &KeptEngine,
        wanted: &[EngineKey],
        others_are_stale: bool,
    ) -> Option<String> {
        let Some(key) = &kept.key else {
            return Some("its build did not end".to_owned());
        };
        if wanted.contains(key) {
            return None;
        }
        if let Some(same_model) = wanted.iter().find(|wanted| wanted.model() == key.model()) {
            return Some(key.differences(same_model).join(", "));
        }
        let here = key.on(&self.machine);
        if *key != here {
            return Some(key.differences(&here).join(", "));
        }
        others_are_stale.then(|| "no bundle of the configuration has this model".to_owned())
    }
}

impl KeptEngine {
    /// Removes it.
    ///
    /// # Errors
    /// If the system refuses to delete it.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)
    }
}

pub(crate) fn list(folder: &Path) -> io::Result<Vec<KeptEngine>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if is_engine_name(&name) || is_abandoned_build(&folder, &name) {
            kept.push(KeptEngine {
                key: EngineRecord::read(&folder).map(|record| record.key),
                bytes: size(&folder),
                folder,
            });
        }
    }
    kept.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(kept)
}

/// Returns whether this is a name as made by [`EngineKey::folder_name`].
fn is_engine_name(name: &str) -> bool {
    let is_digest = |part: &str| part.len() == 16 && part.chars().all(|c| c.is_ascii_hexdigit());
    name.split_once('-')
        .is_some_and(|(model, rest)| is_digest(model) && is_digest(rest))
}

/// Lists the build folders whose process has ended.
pub(crate) fn abandoned(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let kept = list(folder)?.into_iter().map(|kept| kept.folder);
    let is_build = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(BUILDING)
    };
    Ok(kept.filter(is_build).collect())
}

/// Returns whether this is a build folder whose process has ended: a live one would hold the lock.
/// The process ID proves nothing, as another process may have the same, and in a container always
/// has.
fn is_abandoned_build(folder: &Path, name: &str) -> bool {
    name.starts_with(BUILDING) && File::open(folder).is_ok_and(|folder| folder.try_lock().is_ok())
}

/// Returns the total size; files whose size cannot be read count as 0.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|data| data.len())
        .sum()
}
