//! Bundles on disk, opened only if every digest is right: a model with everything that gives its
//! scores a meaning.
//!
//! ```text
//! BUNDLE/bundle.toml          the manifest, with the digest of everything below
//! BUNDLE/model.onnx           image in, score and anomaly map out
//! BUNDLE/training-files.txt   digests of the images that trained it, and of their pixels: its scores of
//!                             them calibrate nothing; not in a bundle whose model was imported
//! BUNDLE/golden/*.png         pictures with known scores, and one that is not a part
//! ```
//! An open bundle has been verified. Writing is all or nothing: a new bundle is assembled beside
//! its place and renamed, a changed one gets a new manifest by a rename.
//!
//! Nothing here knows how a model was trained, or which camera it judges for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::depth::Depth;
use flawd_core::digest::Digest;
use flawd_core::image::RgbImage;
use flawd_core::manifest::{GoldenRecord, Manifest, ManifestError, MetricsRecord, ModelRecord};
use jiff::Timestamp;

use crate::files::digest::{sha256, sha256_file};
use crate::pictures::decode::{self, DecodeError};
use seal::Seal;

mod draft;
mod foreign;
mod golden;
pub mod scorer;
mod seal;
pub mod stress;
#[cfg(test)]
mod tests;
mod thresholds;

pub use draft::{Draft, DraftRecord};
pub use foreign::foreign_input;
pub use golden::{GoldenInput, choose_golden};
pub use thresholds::{GoodImage, Thresholds};

const MANIFEST: &str = "bundle.toml";
const MODEL: &str = "model.onnx";
const TRAINING_FILES: &str = "training-files.txt";
const GOLDEN: &str = "golden";

/// Why a bundle cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is nothing, or something else.
    #[error(
        "{} is not a bundle: {}; `flawd train` and `flawd model import` make bundles", path.display(),
        what_is_at(path)
    )]
    NotABundle {
        /// The location.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error(
        "cannot read {}, which belongs to the bundle; install it again as a whole, or let this user \
         read it", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The manifest cannot be understood.
    #[error("{} cannot be used", path.display())]
    Manifest {
        /// The manifest's file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// A file is not the one that the manifest refers to.
    #[error(
        "{} is damaged or belongs to another bundle: the manifest says {expected}, the file is \
         {actual}; install the bundle again",
        path.display()
    )]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// The digest in the manifest.
        expected: Digest,
        /// The digest of the file.
        actual: Digest,
    },
    /// A file was modified or replaced while it was being loaded.
    #[error(
        "{} was changed while it was loaded, so what was loaded is not known: install bundles as \
         a whole, and load it again",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The list of training images has an invalid line.
    #[error("{} line {line}: a digest and a file name are expected", path.display())]
    BadTrainingList {
        /// The list's file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A golden input cannot be decoded.
    #[error(transparent)]
    Golden(#[from] DecodeError),
    /// A golden input cannot be encoded.
    #[error("cannot encode a golden input")]
    Encode(#[from] image::ImageError),
    /// The location for a new bundle is taken by something else.
    #[error(
        "{} exists and is not a bundle, so it is not overwritten: choose another place, or remove \
         it first",
        path.display()
    )]
    Taken {
        /// The location.
        path: PathBuf,
    },
    /// The location is not writable.
    #[error("cannot write a bundle to {}", path.display())]
    NotWritable {
        /// The location.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Why a bundle cannot be given the threshold for another rate.
#[derive(Debug, thiserror::Error)]
pub enum RateError {
    /// Its pictures do not support the rate.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// It cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// A bundle whose files are those that its manifest refers to.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
    digest: Digest,
    training_files: HashSet<Digest>,
    /// The state of the model file when its digest was that of the manifest.
    model: Seal,
}

impl Bundle {
    /// Returns `true` if there is a manifest in `folder`, without reading it.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// Opens the bundle in `folder` and verifies all its files.
    ///
    /// # Errors
    /// [`BundleError`], which names the file and, for a wrong digest, both digests.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        if !Self::is_at(folder) {
            return Err(BundleError::NotABundle {
                path: folder.to_owned(),
            });
        }
        let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
        let digest = sha256(text.as_bytes());
        let manifest: Manifest = text
            .parse()
            .map_err(|source| BundleError::Manifest { path, source })?;
        let model = verify_sealed(&folder.join(MODEL), manifest.model.digest)?;
        for golden in &manifest.golden {
            verify(&folder.join(GOLDEN).join(&golden.file), golden.digest)?;
        }
        let training_files = match &manifest.training {
            Some(training) => {
                let path = folder.join(TRAINING_FILES);
                verify(&path, training.data)?;
                read_training_files(&path)?
            }
            None => HashSet::new(),
        };
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            digest,
            training_files,
            model,
        })
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the digest of the manifest's file, which covers everything that the manifest has a
    /// digest of: two bundles with the same digest are the same.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the threshold and what it promises.
    pub fn calibration(&self) -> &Calibration {
        &self.manifest.calibration
    }

    /// Returns whether one of its golden inputs is not a part, so that every device has to prove that
    /// it calls such a thing `ng`.
    pub fn has_foreign_input(&self) -> bool {
        !self.manifest.golden.iter().all(GoldenRecord::is_part)
    }

    /// Returns the path of the model file.
    pub fn model_path(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// Calls `load` on the model file, and makes sure that what was loaded is what the manifest
    /// refers to, whatever happens to the file meanwhile.
    ///
    /// ONNX Runtime opens files by name, so the digest of the bytes that it reads is unknown. What
    /// can be checked is that the file was the same and unmodified from before its digest was
    /// computed until after it was loaded.
    ///
    /// # Errors
    /// Those of `load`; [`BundleError::Changed`] and [`BundleError::WrongDigest`].
    pub fn load_model<T, E: From<BundleError>>(
        &self,
        load: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.model_path();
        let before = Seal::of(&path).map_err(unreadable(&path))?;
        let before = if before == self.model {
            before
        } else {
            // Its timestamps have changed since then, perhaps nothing else.
            verify_sealed(&path, self.manifest.model.digest)?
        };
        let loaded = load(&path)?;
        if Seal::of(&path).ok() != Some(before) {
            return Err(BundleError::Changed { path }.into());
        }
        Ok(loaded)
    }

    /// Returns `true` if an image file with this digest, or one whose pixels have it, is known to
    /// have trained the model. The training images of an imported model are unknown, and for a
    /// bundle from an earlier version only their files are known.
    pub fn was_trained_on(&self, image: Digest) -> bool {
        self.training_files.contains(&image)
    }

    /// Reads the list of the images that trained the model; `None` if they are unknown.
    ///
    /// # Errors
    /// If it is missing or not the one that the manifest refers to.
    pub(crate) fn training_list(&self) -> Result<Option<Vec<u8>>, BundleError> {
        let Some(training) = &self.manifest.training else {
            return Ok(None);
        };
        Self::verified(self.folder.join(TRAINING_FILES), training.data).map(Some)
    }

    /// Reads a golden picture.
    ///
    /// # Errors
    /// If its file is missing or damaged.
    pub fn golden_image(&self, golden: &GoldenRecord) -> Result<RgbImage, BundleError> {
        let path = self.folder.join(GOLDEN).join(&golden.file);
        Ok(decode::from_bytes(&path, &self.golden_file(golden)?, None)?)
    }

    /// Reads the file of a golden picture.
    ///
    /// # Errors
    /// If it is missing or not the one that the manifest refers to.
    pub fn golden_file(&self, golden: &GoldenRecord) -> Result<Vec<u8>, BundleError> {
        Self::verified(self.folder.join(GOLDEN).join(&golden.file), golden.digest)
    }

    /// Reads a file whose digest is known.
    fn verified(path: PathBuf, expected: Digest) -> Result<Vec<u8>, BundleError> {
        let bytes = fs::read(&path).map_err(unreadable(&path))?;
        let actual = sha256(&bytes);
        match actual == expected {
            true => Ok(bytes),
            false => Err(BundleError::WrongDigest {
                path,
                expected,
                actual,
            }),
        }
    }

    /// Replaces all thresholds and the golden inputs, records the depth at which the images were
    /// read, and increments the version. At every moment the folder holds a whole bundle, the old
    /// one or the new one.
    ///
    /// # Errors
    /// If something cannot be written; the bundle is then unchanged.
    pub fn recalibrate(
        &mut self,
        thresholds: Thresholds,
        golden: &[GoldenInput],
        depth: Option<Depth>,
        created: Timestamp,
    ) -> Result<(), BundleError> {
        let golden = golden::write(&self.folder.join(GOLDEN), golden)?;
        self.replace_manifest(Manifest {
            version: self.manifest.version.recalibrated(),
            created,
            calibration: thresholds.calibration,
            pixel: Some(thresholds.pixel),
            selection: thresholds.selection,
            quality: Some(thresholds.quality),
            model: ModelRecord {
                depth,
                ..self.manifest.model.clone()
            },
            metrics: None,
            golden,
            ..self.manifest.clone()
        })?;
        self.remove_unused_golden();
        Ok(())
    }

    /// Replaces the thresholds by those that the same pictures yield for another false-reject rate,
    /// and increments the version. Golden inputs that equal the new threshold within tolerance are
    /// removed if there are others: a harmless difference between two devices would flip their
    /// verdict. One that is not a part is removed if it is no longer far above the threshold.
    ///
    /// # Errors
    /// If the pictures are too few for the rate, or the manifest cannot be written; the bundle is
    /// then unchanged.
    pub fn change_rate(&mut self, rate: f64, created: Timestamp) -> Result<(), RateError> {
        let old = &self.manifest;
        let calibration = old.calibration.at_rate(rate)?;
        let pixel = old.pixel.as_ref().map(|pixel| pixel.at_rate(rate));
        let golden = old.golden.iter().cloned();
        let (mut golden, mut foreign): (Vec<_>, Vec<_>) = golden.partition(GoldenRecord::is_part);
        golden::leave_the_threshold(&mut golden, |record| record.score, &calibration);
        foreign.retain(|record| foreign::is_far(record.score, &calibration));
        golden.extend(foreign);
        self.replace_manifest(Manifest {
            version: old.version.recalibrated(),
            created,
            calibration,
            pixel: pixel.transpose()?,
            metrics: None,
            golden,
            ..old.clone()
        })?;
        self.remove_unused_golden();
        Ok(())
    }

    /// Records the results of an evaluation, and increments the version.
    ///
    /// # Errors
    /// If it cannot be written; the bundle is then unchanged.
    pub fn record_metrics(
        &mut self,
        metrics: MetricsRecord,
        created: Timestamp,
    ) -> Result<(), BundleError> {
        self.replace_manifest(Manifest {
            version: self.manifest.version.redescribed(),
            created,
            metrics: Some(metrics),
            ..self.manifest.clone()
        })
    }

    /// Replaces the old manifest by `manifest`.
    fn replace_manifest(&mut self, manifest: Manifest) -> Result<(), BundleError> {
        let path = self.folder.join(MANIFEST);
        let failed = not_writable(&self.folder);
        let text = manifest.to_string();
        flawd_files::remove_abandoned(&self.folder);
        flawd_files::write(&path, text.as_bytes()).map_err(failed)?;
        self.digest = sha256(text.as_bytes());
        self.manifest = manifest;
        Ok(())
    }

    /// Files of an older manifest are only clutter, so failing to remove them is not an error.
    fn remove_unused_golden(&self) {
        let used: HashSet<&str> = self
            .manifest
            .golden
            .iter()
            .map(|golden| golden.file.as_str())
            .collect();
        let entries = fs::read_dir(self.folder.join(GOLDEN)).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !used.contains(name.to_string_lossy().as_ref()) {
                fs::remove_file(entry.path()).ok();
            }
        }
    }
}

fn read_training_files(path: &Path) -> Result<HashSet<Digest>, BundleError> {
    let text = fs::read_to_string(path).map_err(unreadable(path))?;
    let digest = |(index, line): (usize, &str)| {
        let (digest, _name) = line.split_once(' ').unwrap_or((line, ""));
        digest.parse().map_err(|_| BundleError::BadTrainingList {
            path: path.to_owned(),
            line: index + 1,
        })
    };
    text.lines().enumerate().map(digest).collect()
}

/// Like [`verify`], and returns a seal that shows later whether the file is still the same.
fn verify_sealed(path: &Path, expected: Digest) -> Result<Seal, BundleError> {
    let seal = Seal::of(path).map_err(unreadable(path))?;
    verify(path, expected)?;
    Ok(seal)
}

fn verify(path: &Path, expected: Digest) -> Result<(), BundleError> {
    let actual = sha256_file(path).map_err(unreadable(path))?;
    if actual == expected {
        Ok(())
    } else {
        Err(BundleError::WrongDigest {
            path: path.to_owned(),
            expected,
            actual,
        })
    }
}

/// Describes what exists in place of a bundle, human-readable.
fn what_is_at(path: &Path) -> String {
    let around = path.parent().filter(|folder| Bundle::is_at(folder));
    match (fs::metadata(path), around) {
        (Err(error), _) => format!("there is nothing to be found ({error})"),
        (Ok(found), Some(folder)) if found.is_file() => {
            format!("it is a file of the bundle {}, name that", folder.display())
        }
        (Ok(found), _) if !found.is_dir() => {
            format!("it is a file, and a bundle is a folder with {MANIFEST} in it")
        }
        _ => format!("it has no file {MANIFEST}"),
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> BundleError {
    move |source| BundleError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn not_writable(path: &Path) -> impl Fn(io::Error) -> BundleError {
    move |source| BundleError::NotWritable {
        path: path.to_owned(),
        source,
    }
}
