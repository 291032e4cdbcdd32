//! Bundles on disk: a model with everything that its scores mean something by.
//!
//! ```text
//! BUNDLE/bundle.toml          the manifest, with the digest of everything below
//! BUNDLE/model.onnx           image in, score and anomaly map out
//! BUNDLE/training-files.txt   digests of the images that trained it, and of their pixels: its scores of
//!                             them calibrate nothing; not in a bundle whose model was imported
//! BUNDLE/golden/*.png         pictures with known scores
//! ```
//! What was opened was verified. What is written appears whole or not at all: a new bundle is put
//! together beside its place and renamed, a changed one gets a new manifest by a rename.
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

use crate::files::atomic;
use crate::files::digest::{sha256, sha256_file};
use crate::pictures::decode::{self, DecodeError};
use seal::Seal;

mod draft;
mod golden;
pub mod scorer;
mod seal;
pub mod stress;
#[cfg(test)]
mod tests;
mod thresholds;

pub use draft::{Draft, DraftRecord};
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
        /// The place.
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
        /// What the system said.
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
    /// A file is not the one that the manifest speaks of.
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
    /// A file was written to or exchanged while it was being loaded.
    #[error(
        "{} was changed while it was loaded, so what was loaded is not known: install bundles as \
         a whole, and load it again",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The list of training images has a line that is none.
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
    /// The place for a new bundle is taken by something else.
    #[error(
        "{} exists and is not a bundle, so it is not overwritten: choose another place, or remove \
         it first",
        path.display()
    )]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// Nothing can be written there.
    #[error("cannot write a bundle to {}", path.display())]
    NotWritable {
        /// The place.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a bundle gets no threshold for another rate.
#[derive(Debug, thiserror::Error)]
pub enum RateError {
    /// Its pictures do not support the rate.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// It cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// A bundle whose files are those that its manifest speaks of.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
    digest: Digest,
    training_files: HashSet<Digest>,
    /// The model's file as it was when its digest was that of the manifest.
    model: Seal,
}

impl Bundle {
    /// True if there is a manifest in `folder`. Nothing of it is looked at.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// Opens the bundle in `folder` and verifies every file of it.
    ///
    /// # Errors
    /// [`BundleError`], which names the file; for a wrong digest both digests.
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

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it states about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest of the manifest's file, and by it of everything that the manifest has a digest
    /// of: two bundles with the same one are the same.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The threshold and what it promises.
    pub fn calibration(&self) -> &Calibration {
        &self.manifest.calibration
    }

    /// The model file.
    pub fn model_path(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// Has the model's file loaded by `load`, such that what was loaded is what the manifest speaks
    /// of, whatever happens to the file meanwhile.
    ///
    /// ONNX Runtime opens files by their names, so the digest of the bytes that it reads cannot be
    /// known. What can be known is that the file was the same and untouched from before its digest
    /// was taken until after it was loaded.
    ///
    /// # Errors
    /// What `load` says; [`BundleError::Changed`] and [`BundleError::WrongDigest`].
    pub fn load_model<T, E: From<BundleError>>(
        &self,
        load: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.model_path();
        let before = Seal::of(&path).map_err(unreadable(&path))?;
        let before = if before == self.model {
            before
        } else {
            // Touched since then, and perhaps no more than that.
            verify_sealed(&path, self.manifest.model.digest)?
        };
        let loaded = load(&path)?;
        if Seal::of(&path).ok() != Some(before) {
            return Err(BundleError::Changed { path }.into());
        }
        Ok(loaded)
    }

    /// True if an image file with this digest, or one whose pixels have it, is known to have trained
    /// the model. What trained an imported model is not known, and of the images of a bundle that was
    /// trained by an earlier version only the files are.
    pub fn was_trained_on(&self, image: Digest) -> bool {
        self.training_files.contains(&image)
    }

    /// Reads a golden picture.
    ///
    /// # Errors
    /// If its file is gone or damaged.
    pub fn golden_image(&self, golden: &GoldenRecord) -> Result<RgbImage, BundleError> {
        let path = self.folder.join(GOLDEN).join(&golden.file);
        Ok(decode::from_bytes(&path, &self.golden_file(golden)?, None)?)
    }

    /// Reads the file of a golden picture.
    ///
    /// # Errors
    /// If it is gone or not the one that the manifest speaks of.
    pub fn golden_file(&self, golden: &GoldenRecord) -> Result<Vec<u8>, BundleError> {
        let path = self.folder.join(GOLDEN).join(&golden.file);
        let bytes = fs::read(&path).map_err(unreadable(&path))?;
        let actual = sha256(&bytes);
        if actual == golden.digest {
            Ok(bytes)
        } else {
            Err(BundleError::WrongDigest {
                path,
                expected: golden.digest,
                actual,
            })
        }
    }

    /// Replaces all thresholds and with them the golden inputs, and states the depth that the images
    /// were read by; counts the version up. At every moment the folder holds a whole bundle, the old
    /// one or the new one.
    ///
    /// # Errors
    /// If something cannot be written; the bundle is then as it was.
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

    /// Replaces the thresholds by those that the same pictures give for another false-reject rate;
    /// counts the version up. Golden inputs that lie on the new threshold are given up where there
    /// are others: a harmless difference between two devices would flip their verdict.
    ///
    /// # Errors
    /// If the pictures are too few for the rate, or the manifest cannot be written; the bundle is
    /// then as it was.
    pub fn change_rate(&mut self, rate: f64, created: Timestamp) -> Result<(), RateError> {
        let old = &self.manifest;
        let calibration = old.calibration.at_rate(rate)?;
        let pixel = old.pixel.as_ref().map(|pixel| pixel.at_rate(rate));
        let mut golden = old.golden.clone();
        golden::leave_the_threshold(&mut golden, |record| record.score, &calibration);
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

    /// Writes down what an evaluation measured; counts the version up.
    ///
    /// # Errors
    /// If it cannot be written; the bundle is then as it was.
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

    /// Puts `manifest` in the place of the old one.
    fn replace_manifest(&mut self, manifest: Manifest) -> Result<(), BundleError> {
        let path = self.folder.join(MANIFEST);
        let failed = not_writable(&self.folder);
        let text = manifest.to_string();
        atomic::write(&path, text.as_bytes()).map_err(failed)?;
        self.digest = sha256(text.as_bytes());
        self.manifest = manifest;
        Ok(())
    }

    /// What an older manifest spoke of is only clutter, so that failing to remove it is not an
    /// error.
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

/// As [`verify`], with what tells later whether the file is still the same.
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

/// What there is in place of a bundle, human-readable.
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
