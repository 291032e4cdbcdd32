//! Real bundles that take seconds to make: a very small flow, trained by the program under test
//! itself. Each is made once and kept until the program or ONNX Runtime changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cache::{Cache, Kept};

/// The name of each bundle.
const NAME: &str = "tiny";

/// The file beside it.
const BACKBONE: &str = "filters.onnx";

/// The arguments with which all of them are trained.
const SETTINGS: &str = "--kernels 3,3 --false-reject-rate 0.1";

/// What trains bundles, and where they are kept.
#[derive(Debug)]
pub struct Bundles {
    program: PathBuf,
    cache: Cache,
}

/// A bundle that is kept; it must not be changed.
#[derive(Debug)]
pub struct Trained {
    folder: PathBuf,
    _kept: Kept,
}

impl Bundles {
    /// Keeps what `program` makes with this library of ONNX Runtime in `folder`.
    ///
    /// # Panics
    /// If one of them cannot be read.
    pub fn new(folder: PathBuf, program: &Path, library: &Path) -> Self {
        Self {
            program: program.to_owned(),
            cache: Cache::new(folder, &[program, library]),
        }
    }

    /// Returns the folder of pictures of this name, which `write` fills if necessary. It must call
    /// nothing that is not part of the program, because the program's digest stands for it.
    ///
    /// # Panics
    /// As [`Cache::folder`] does.
    pub fn pictures(&self, name: &str, settings: &str, write: impl FnOnce(&Path)) -> Kept {
        self.cache.folder(name, &[settings.as_bytes()], write)
    }

    /// Returns the bundle of this name, trained on these pictures with this backbone, and with
    /// `settings` as further arguments of `flawd train`.
    ///
    /// # Panics
    /// If the training fails, or as [`Cache::folder`] does.
    pub fn train(&self, name: &str, pictures: &Kept, backbone: &[u8], settings: &str) -> Trained {
        let all = [NAME, BACKBONE, pictures.contents(), SETTINGS, settings];
        let mut made_of = all.map(str::as_bytes).to_vec();
        made_of.push(backbone);
        let kept = self.cache.folder(name, &made_of, |folder| {
            let features = TempDir::new().unwrap();
            let filters = folder.join(BACKBONE);
            fs::write(&filters, backbone).unwrap();
            let mut command = Command::new(&self.program);
            command.arg("train").arg(pictures.path());
            command.arg("--backbone").arg(&filters);
            command.arg("--out").arg(folder.join(NAME));
            command.arg("--cache").arg(features.path());
            let settings = [SETTINGS, settings].into_iter();
            command.args(settings.flat_map(str::split_whitespace));
            let output = command.output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?}: {complaint}");
        });
        Trained {
            folder: kept.path().join(NAME),
            _kept: kept,
        }
    }
}

impl Trained {
    /// Returns the bundle's folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Returns the file with the backbone that it was trained with.
    pub fn backbone(&self) -> PathBuf {
        self.folder.with_file_name(BACKBONE)
    }
}
