//! The folder of the installed libraries: each appears whole or not at all, one is selected, and one
//! process at a time changes it.
//!
//! ```text
//! wheel or library ─► hidden folder ─► digest, machine, a first load ─► its place ─► selected
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_files::{DraftFolder, create_folders, remove_abandoned, sync_folder};
use flawd_onnx::RuntimeError;
use serde::{Deserialize, Serialize};

use super::SELECTED;
use super::build::Build;
use super::error::InstallError;
use super::source::{Source, unpack};
use crate::files::digest::sha256_file;

/// What is in the folder of a library, for the next command.
const RECORD: &str = "runtime.toml";

/// Held by the process that changes the folder.
const LOCK: &str = ".lock";

/// A link that is not in its place yet; the lock makes it the only one.
const NEW_LINK: &str = ".flawd-new-selected";

/// The origin of an installed library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The package and its version, or the path of the file.
    pub source: String,
    /// The digest of the wheel, or of the library that was named.
    pub digest: Digest,
    /// Every file with its digest.
    pub files: BTreeMap<String, Digest>,
}

impl Record {
    /// Reads the record in the folder of a library; `None` if there is none that can be read.
    pub fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(RECORD)).ok()?;
        toml::from_str(&text).ok()
    }
}

/// An installed library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The name of its folder.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// Its origin.
    pub record: Record,
    /// Whether it was put there now.
    pub is_new: bool,
}

/// What an installation is at, for the user.
#[derive(Clone, Debug)]
pub enum Step {
    /// Another process is installing, and is waited for.
    Waiting,
    /// pip is run, which may take long.
    Fetching(Box<Build>),
    /// The files are unpacked and checked.
    Unpacking,
}

/// The folder of the installed libraries. It need not exist yet.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Names the folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the name of the selected library, if there is one.
    pub fn selected(&self) -> Option<String> {
        let name = fs::read_link(self.folder.join(SELECTED)).ok()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// Returns the installed libraries, by name.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<Installed>, InstallError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| self.keep(source))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| self.keep(source))?;
            // The link to the selected one is not one more.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(self.read(&entry.file_name().to_string_lossy()));
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Installs a library, unless it is there undamaged, and selects it. `expected` is the stated
    /// digest of a named file, `prove` loads the library in a folder, and `at` is told of the steps.
    ///
    /// # Errors
    /// Any [`InstallError`]; then nothing has changed.
    pub fn install(
        &self,
        source: &Source,
        expected: Option<Digest>,
        prove: impl FnOnce(&Path) -> Result<(), RuntimeError>,
        mut at: impl FnMut(Step),
    ) -> Result<Installed, InstallError> {
        let wanted = Wanted::of(source, expected)?;
        create_folders(&self.folder).map_err(|source| self.keep(source))?;
        let _lock = self.lock(&mut at).map_err(|source| self.keep(source))?;
        remove_abandoned(&self.folder);
        let there = self
            .read(&wanted.name)
            .filter(|there| there.is_whole(&wanted));
        let installed = match there {
            Some(there) => there,
            None => self.put(&wanted, prove, &mut at)?,
        };
        self.select(&installed.name)
            .map_err(|source| self.keep(source))?;
        Ok(installed)
    }

    /// Gets and checks the files in a hidden folder, and renames it.
    fn put(
        &self,
        wanted: &Wanted,
        prove: impl FnOnce(&Path) -> Result<(), RuntimeError>,
        at: &mut impl FnMut(Step),
    ) -> Result<Installed, InstallError> {
        let keep = |source| self.keep(source);
        let draft = DraftFolder::create_in(&self.folder).map_err(keep)?;
        let part = |name: &str| -> Result<PathBuf, InstallError> {
            let part = draft.path().join(name);
            fs::create_dir(&part).map_err(keep)?;
            Ok(part)
        };
        let (download, new) = (part("download")?, part("new")?);
        let file = match &wanted.from {
            From::File(file) => file.clone(),
            From::Index(build) => {
                at(Step::Fetching(Box::new(build.clone())));
                build.wheel.fetch(&download, &by_hand(build))?
            }
        };
        at(Step::Unpacking);
        let names = unpack(&file, &new)?;
        prove(&new).map_err(|source| InstallError::Unusable {
            what: wanted.source.clone(),
            source,
        })?;
        let record = Record {
            source: wanted.source.clone(),
            digest: wanted.digest,
            files: digests(&new, names).map_err(keep)?,
        };
        let text = toml::to_string(&record).expect("it has nothing that TOML lacks");
        flawd_files::write(&new.join(RECORD), text.as_bytes()).map_err(keep)?;
        let folder = self.folder.join(&wanted.name);
        let place = || -> io::Result<()> {
            sync_folder(&new)?;
            if fs::symlink_metadata(&folder).is_ok() {
                // A damaged one, which is removed with the draft.
                fs::rename(&folder, draft.path().join("old"))?;
            }
            fs::rename(&new, &folder)?;
            sync_folder(&self.folder)
        };
        place().map_err(keep)?;
        Ok(Installed {
            name: wanted.name.clone(),
            folder,
            record,
            is_new: true,
        })
    }

    /// Makes the link lead to a library.
    fn select(&self, name: &str) -> io::Result<()> {
        let (new, link) = (self.folder.join(NEW_LINK), self.folder.join(SELECTED));
        if fs::symlink_metadata(&new).is_ok() {
            fs::remove_file(&new)?;
        }
        symlink(name, &new)?;
        fs::rename(&new, &link)?;
        sync_folder(&self.folder)
    }

    /// Returns the library in a folder of this name; `None` if there is none, or its record cannot be
    /// read.
    fn read(&self, name: &str) -> Option<Installed> {
        let folder = self.folder.join(name);
        Some(Installed {
            name: name.to_owned(),
            record: Record::read(&folder)?,
            folder,
            is_new: false,
        })
    }

    fn lock(&self, at: &mut impl FnMut(Step)) -> io::Result<File> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let lock = options.open(self.folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => at(Step::Waiting),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        lock.lock()?;
        Ok(lock)
    }

    fn keep(&self, source: io::Error) -> InstallError {
        InstallError::Keep {
            folder: self.folder.clone(),
            source,
        }
    }
}

impl Installed {
    /// Returns whether it is what is wanted, and every file is as it was written.
    fn is_whole(&self, wanted: &Wanted) -> bool {
        let mut files = self.record.files.iter();
        self.record.digest == wanted.digest
            && files.all(|(name, digest)| {
                sha256_file(&self.folder.join(name)).is_ok_and(|found| found == *digest)
            })
    }
}

/// What is to be installed, known before anything is fetched.
struct Wanted {
    /// The name of its folder.
    name: String,
    /// Its origin, as recorded.
    source: String,
    digest: Digest,
    from: From,
}

/// Where the wheel or library is.
enum From {
    /// Here.
    File(PathBuf),
    /// In the package index.
    Index(Build),
}

impl Wanted {
    fn of(source: &Source, expected: Option<Digest>) -> Result<Self, InstallError> {
        match source {
            Source::Known(kind) => {
                let build = Build::of(*kind).ok_or(InstallError::NoBuild { kind: *kind })?;
                Ok(Self::known(&build, From::Index(build.clone())))
            }
            Source::File(path) => Self::file(path, expected),
        }
    }

    fn known(build: &Build, from: From) -> Self {
        Self {
            name: build.folder_name(),
            source: build.wheel.requirement(),
            digest: build.wheel.digest,
            from,
        }
    }

    fn file(path: &Path, expected: Option<Digest>) -> Result<Self, InstallError> {
        let unreadable = |source| InstallError::Read {
            path: path.to_owned(),
            source,
        };
        let path = path.canonicalize().map_err(unreadable)?;
        let found = sha256_file(&path).map_err(unreadable)?;
        if let Some(build) = Build::all().find(|build| build.wheel.digest == found)
            && expected.is_none_or(|expected| expected == found)
        {
            return Ok(Self::known(&build, From::File(path)));
        }
        let named = path.file_name().unwrap_or_default();
        let published = Build::all().find(|build| named == build.wheel.file);
        let expected = expected.or(published.map(|build| build.wheel.digest));
        match expected {
            Some(expected) if expected != found => Err(InstallError::Digest {
                path,
                expected,
                found,
            }),
            _ => Ok(Self {
                name: format!("file-{}", &found.hex()[..12]),
                source: path.display().to_string(),
                digest: found,
                from: From::File(path),
            }),
        }
    }
}

/// Returns each file's digest. Of files that are alike, all but one become links to it: a wheel cannot
/// hold links, so the libraries of OpenVINO are in it under three names.
fn digests(folder: &Path, names: Vec<String>) -> io::Result<BTreeMap<String, Digest>> {
    let mut first: BTreeMap<Digest, String> = BTreeMap::new();
    let mut digests = BTreeMap::new();
    for name in names {
        let path = folder.join(&name);
        let digest = sha256_file(&path)?;
        if let Some(same) = first.get(&digest) {
            let link = folder.join(NEW_LINK);
            // A file system without links keeps the copies.
            if fs::hard_link(folder.join(same), &link).is_ok() {
                fs::rename(&link, &path)?;
            }
        } else {
            first.insert(digest, name.clone());
        }
        digests.insert(name, digest);
    }
    Ok(digests)
}

/// Says how to get a build to a machine that cannot fetch it.
fn by_hand(build: &Build) -> String {
    format!(
        "Where pip and network are at hand, run `{}`, copy {} to this machine, and run `flawd runtime \
         install` with its path",
        build.wheel.command(),
        build.wheel.file
    )
}
