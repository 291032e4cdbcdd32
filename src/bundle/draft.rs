//! Writes a bundle so that it appears whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_core::manifest::{GoldenRecord, Manifest};
use flawd_files::DraftFolder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::golden::{self, GoldenInput};
use super::{Bundle, BundleError, GOLDEN, MANIFEST, MODEL, TRAINING_FILES, not_writable};
use crate::files::digest::sha256;

/// A bundle under construction, in a folder beside its destination. Dropping it leaves nothing
/// behind.
#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    folder: DraftFolder,
    model: Option<Digest>,
    training_files: Option<Digest>,
}

impl Draft {
    /// Starts a bundle with the destination `target`; creates its parent folders.
    ///
    /// # Errors
    /// If something other than a bundle exists there, or the location is not writable.
    pub fn begin(target: &Path) -> Result<Self, BundleError> {
        if is_taken(target) {
            return Err(BundleError::Taken {
                path: target.to_owned(),
            });
        }
        let failed = not_writable(target);
        let target = std::path::absolute(target).map_err(&failed)?;
        let parent = target.parent().unwrap_or(&target);
        flawd_files::remove_abandoned(parent);
        let folder = DraftFolder::create_in(parent).map_err(&failed)?;
        Ok(Self {
            target,
            folder,
            model: None,
            training_files: None,
        })
    }

    /// Writes the model file and returns its current path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_model(&mut self, model: &[u8]) -> Result<PathBuf, BundleError> {
        self.model = Some(self.write(MODEL, model)?);
        Ok(self.folder.path().join(MODEL))
    }

    /// Writes the list of the images that trained the model: digests of the files and of their
    /// pixels, and human-readable names.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_training_files<'a>(
        &mut self,
        files: impl IntoIterator<Item = (Digest, &'a str)>,
    ) -> Result<(), BundleError> {
        let lines: BTreeMap<Digest, &str> = files.into_iter().collect();
        let list: String = lines
            .iter()
            .map(|(digest, name)| format!("{digest} {}\n", name.replace(char::is_control, "?")))
            .collect();
        self.training_files = Some(self.write(TRAINING_FILES, list.as_bytes())?);
        Ok(())
    }

    /// Copies the list of the images that trained the model of another bundle, if it has one.
    ///
    /// # Errors
    /// If it cannot be read or written, or is not the one that its manifest refers to.
    pub fn copy_training_files(&mut self, of: &Bundle) -> Result<(), BundleError> {
        if let Some(bytes) = of.training_list()? {
            self.training_files = Some(self.write(TRAINING_FILES, &bytes)?);
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<Digest, BundleError> {
        flawd_files::write(&self.folder.path().join(name), bytes)
            .map_err(not_writable(&self.target))?;
        Ok(sha256(bytes))
    }

    /// Writes golden inputs and manifest, and puts the bundle in its place, replacing any earlier
    /// one. `describe` creates the manifest from what the draft knows.
    ///
    /// # Errors
    /// If something cannot be written; whatever was at the target is then unchanged.
    ///
    /// # Panics
    /// If no model was written.
    pub fn finish(
        self,
        golden: &[GoldenInput],
        describe: impl FnOnce(DraftRecord) -> Manifest,
    ) -> Result<Bundle, BundleError> {
        let folder = self.folder.path();
        let manifest = describe(DraftRecord {
            model: self.model.expect("the model is written first"),
            training_files: self.training_files,
            golden: golden::write(&folder.join(GOLDEN), golden)?,
        });
        self.write(MANIFEST, manifest.to_string().as_bytes())?;
        let place = || -> io::Result<()> {
            flawd_files::sync_folder(folder)?;
            replace(&self.target, folder)?;
            flawd_files::sync_parent(&self.target)
        };
        place().map_err(not_writable(&self.target))?;
        Bundle::open(&self.target)
    }
}

/// What a draft contributes to its manifest.
pub struct DraftRecord {
    /// Digest of the model file.
    pub model: Digest,
    /// Digest of the list of training images, if it was written.
    pub training_files: Option<Digest>,
    /// The golden inputs.
    pub golden: Vec<GoldenRecord>,
}

/// Puts the folder `new` in the place of `target`, which is a bundle, an empty folder or nothing.
fn replace(target: &Path, new: &Path) -> io::Result<()> {
    if !target.join(MANIFEST).is_file() {
        return fs::rename(new, target);
    }
    // The old bundle takes the draft's place and is removed with it.
    match renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => replace_in_two_steps(target, new),
        outcome => Ok(outcome?),
    }
}

/// For file systems that cannot exchange two folders, such as NFS: if the power fails between the
/// steps, the old bundle is left in a hidden folder beside its place.
fn replace_in_two_steps(target: &Path, new: &Path) -> io::Result<()> {
    let beside = target.parent().unwrap_or(target);
    let aside = tempfile::Builder::new()
        .prefix(".flawd-old-bundle-")
        .tempdir_in(beside)?;
    let old = aside.path().join("bundle");
    fs::rename(target, &old)?;
    fs::rename(new, target).inspect_err(|_| {
        if fs::rename(&old, target).is_err() {
            // Better a hidden folder left behind than the only bundle lost.
            let _kept = aside.keep();
        }
    })
}

/// Returns `true` if something is at `target` that is neither a bundle nor an empty folder.
fn is_taken(target: &Path) -> bool {
    match fs::read_dir(target) {
        Ok(mut entries) => !target.join(MANIFEST).is_file() && entries.next().is_some(),
        Err(_) => target.exists(),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn both_ways_of_replacing_a_bundle_leave_the_new_one_alone() {
        for replace in [replace, replace_in_two_steps] {
            let parent = TempDir::new().expect("a temporary folder");
            let [old, new] = ["old", "new"].map(|name| parent.path().join(name));
            for folder in [&old, &new] {
                fs::create_dir(folder).expect("it can be made");
                let name = folder
                    .file_name()
                    .expect("it has a name")
                    .as_encoded_bytes();
                fs::write(folder.join(MANIFEST), name).expect("it can be written");
            }
            replace(&old, &new).expect("it can be replaced");
            assert_eq!(fs::read(old.join(MANIFEST)).expect("it is there"), b"new");
            let beside = fs::read_dir(parent.path()).expect("it can be listed");
            let hidden = beside
                .flatten()
                .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
            assert_eq!(hidden.count(), 0);
        }
    }
}
