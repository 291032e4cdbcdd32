//! Finished runs of an ablation, on disk: one small file per run, named by everything that its
//! numbers depend on.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::files::digest::sha256;
use crate::lab::comparison::Contender;
use crate::lab::evaluation::metrics::ImageMetrics;
use crate::lab::features::FeatureImage;

/// One training of one variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRun {
    /// The seed, if anything is drawn.
    pub seed: Option<u64>,
    /// Number of trained parameters, if any.
    pub parameters: Option<usize>,
    /// Mean loss of the last epoch, if any.
    pub final_loss: Option<f64>,
    /// Wall time of training and scoring.
    pub seconds: f64,
    /// The metrics of its scores.
    #[serde(flatten)]
    pub metrics: ImageMetrics,
}

/// Why a finished run cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file system reported an error.
    #[error("cannot {action} the finished run {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not contain what was written.
    #[error(
        "the finished run {} is damaged; delete it, or start again with --fresh", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        source: serde_json::Error,
    },
}

/// The finished runs on certain images.
pub(crate) struct KeptRuns {
    folder: PathBuf,
    /// Everything about the images that the numbers depend on.
    images: String,
}

impl KeptRuns {
    /// Opens the runs in `ablations` of the cache.
    pub(crate) fn open(
        cache: &Path,
        train: &[FeatureImage],
        test: &[FeatureImage],
    ) -> Result<Self, KeptError> {
        let folder = cache.join("ablations");
        fs::create_dir_all(&folder).map_err(|source| KeptError::Io {
            action: "make a folder for",
            path: folder.clone(),
            source,
        })?;
        let keys = |images: &[FeatureImage]| -> Vec<String> {
            images.iter().map(|image| image.key.clone()).collect()
        };
        // The folder of a test image determines its kind.
        let places: Vec<_> = test.iter().map(|image| image.path.parent()).collect();
        let images = format!("{:?} {:?} {places:?}", keys(train), keys(test));
        Ok(Self {
            folder,
            images: sha256(images.as_bytes()).hex(),
        })
    }

    /// Returns the file for one set of numbers; another version of flawd uses other files.
    fn path(&self, contender: &Contender) -> PathBuf {
        let version = env!("CARGO_PKG_VERSION");
        let inputs = format!("{version} {contender:?} {}", self.images);
        let name = &sha256(inputs.as_bytes()).hex()[..32];
        self.folder.join(format!("{name}.json"))
    }

    /// Returns a contender's earlier result, if any.
    pub(crate) fn find(&self, contender: &Contender) -> Result<Option<SavedRun>, KeptError> {
        let path = self.path(contender);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(KeptError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        let run = serde_json::from_str(&text);
        run.map_err(|source| KeptError::Damaged { path, source })
    }

    /// Keeps a contender's result.
    pub(crate) fn keep(&self, contender: &Contender, run: &SavedRun) -> Result<(), KeptError> {
        let path = self.path(contender);
        let text = serde_json::to_string_pretty(run).expect("numbers and names");
        flawd_files::write(&path, text.as_bytes()).map_err(|source| KeptError::Io {
            action: "write",
            path: path.clone(),
            source,
        })
    }
}
