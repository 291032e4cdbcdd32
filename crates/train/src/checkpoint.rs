//! The state of a training run on disk, so that an interrupted run resumes where it was.
//!
//! A checkpoint belongs to one run: it holds the fingerprint of what the run depends on, and a run
//! with another fingerprint refuses it instead of continuing with the wrong numbers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use flawd_files::WholeFile;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};

use crate::adam::Adam;
use crate::epoch::EpochReport;

/// The state from which a training run resumes.
pub struct Checkpoint {
    /// The flow's parameters.
    pub parameters: Vec<f32>,
    /// The optimiser's state.
    pub adam: Adam,
    /// The report of each finished epoch.
    pub epochs: Vec<EpochReport>,
}

/// The same state by reference, to be written: at full size the vectors take gigabytes.
#[derive(Clone, Copy)]
pub struct CheckpointView<'a> {
    /// Everything that the run's numbers depend on, in a form that differs when they do.
    pub fingerprint: &'a str,
    /// The flow's parameters.
    pub parameters: &'a [f32],
    /// The optimiser's state.
    pub adam: &'a Adam,
    /// The report of each finished epoch.
    pub epochs: &'a [EpochReport],
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system's error.
    #[error("cannot {action} the checkpoint {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is not a whole checkpoint.
    #[error("the checkpoint {path} is damaged ({reason}); delete it to start again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file belongs to a run with other settings or other images.
    #[error(
        "the checkpoint {path} belongs to another run (settings or images differ); \
         delete it to start again"
    )]
    OtherRun {
        /// The file.
        path: PathBuf,
    },
}

const PARAMETERS: &str = "parameters";
const MEAN: &str = "adam.mean";
const SQUARE: &str = "adam.square";
const FINGERPRINT: &str = "fingerprint";
const STEPS: &str = "steps";
const EPOCHS: &str = "epochs";

impl CheckpointView<'_> {
    /// Writes the checkpoint to `path`, replacing an older one only once the new one is safe on
    /// disk.
    ///
    /// # Errors
    /// If the file cannot be written; the older one is then still there.
    pub fn save(self, path: &Path) -> Result<(), CheckpointError> {
        let epochs = serde_json::to_string(self.epochs).expect("reports are plain numbers");
        let metadata = HashMap::from([
            (FINGERPRINT.to_owned(), self.fingerprint.to_owned()),
            (STEPS.to_owned(), self.adam.steps.to_string()),
            (EPOCHS.to_owned(), epochs),
        ]);
        let tensors = [
            (PARAMETERS, Vector::new(self.parameters)),
            (MEAN, Vector::new(&self.adam.mean)),
            (SQUARE, Vector::new(&self.adam.square)),
        ];
        let write = || {
            let file = WholeFile::create(path)?;
            match safetensors::serialize_to_file(tensors, Some(metadata), file.draft()) {
                Err(SafeTensorError::IoError(error)) => return Err(error),
                written => written.expect("three vectors under distinct names"),
            }
            file.finish()
        };
        write().map_err(|source| CheckpointError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }
}

impl Checkpoint {
    /// Reads the checkpoint at `path`, if there is one, for the run with this fingerprint.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or belongs to another run.
    pub fn load(path: &Path, fingerprint: &str) -> Result<Option<Self>, CheckpointError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(CheckpointError::Io {
                    action: "read",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let (checkpoint, found) =
            Self::parse(&bytes).map_err(|reason| CheckpointError::Damaged {
                path: path.to_owned(),
                reason,
            })?;
        if found != fingerprint {
            return Err(CheckpointError::OtherRun {
                path: path.to_owned(),
            });
        }
        Ok(Some(checkpoint))
    }

    /// Reads a checkpoint and its fingerprint, or says what is wrong with the bytes.
    fn parse(bytes: &[u8]) -> Result<(Self, String), String> {
        let text = |error: SafeTensorError| error.to_string();
        let file = SafeTensors::deserialize(bytes).map_err(text)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(text)?;
        let metadata = metadata.metadata().as_ref().ok_or("it has no metadata")?;
        let entry = |key: &str| metadata.get(key).ok_or(format!("it lacks {key}"));
        let vector = |name: &str| vector(&file.tensor(name).map_err(text)?);
        let parameters = vector(PARAMETERS)?;
        let adam = Adam {
            steps: entry(STEPS)?
                .parse()
                .map_err(|_| "its step count is not a number")?,
            mean: vector(MEAN)?,
            square: vector(SQUARE)?,
        };
        if [adam.mean.len(), adam.square.len()] != [parameters.len(); 2] {
            return Err("its vectors differ in length".into());
        }
        let epochs = serde_json::from_str(entry(EPOCHS)?).map_err(|error| error.to_string())?;
        let checkpoint = Self {
            parameters,
            adam,
            epochs,
        };
        Ok((checkpoint, entry(FINGERPRINT)?.clone()))
    }
}

fn vector(view: &TensorView) -> Result<Vec<f32>, String> {
    if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
        return Err("it holds something else than vectors of float32".into());
    }
    Ok(view
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect())
}

/// A vector in the form that the file format expects.
struct Vector<'a> {
    bytes: &'a [u8],
    shape: [usize; 1],
}

impl<'a> Vector<'a> {
    fn new(values: &'a [f32]) -> Self {
        const {
            assert!(
                cfg!(target_endian = "little"),
                "the file format is little-endian"
            )
        };
        Self {
            bytes: bytemuck::cast_slice(values),
            shape: [values.len()],
        }
    }
}

impl View for Vector<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adam() -> Adam {
        Adam {
            steps: 7,
            mean: vec![0.1, 0.2, 0.3],
            square: vec![1.0, 2.0, 3.0],
        }
    }

    const PARAMETERS: [f32; 3] = [1.5, -2.0, f32::MIN_POSITIVE];
    const EPOCHS: [EpochReport; 1] = [EpochReport {
        epoch: 1,
        loss: 0.25,
        held_out_loss: Some(0.5),
        learning_rate: 1e-3,
        seconds: 2.0,
    }];

    fn save(path: &Path) {
        let checkpoint = CheckpointView {
            fingerprint: "run 1",
            parameters: &PARAMETERS,
            adam: &adam(),
            epochs: &EPOCHS,
        };
        checkpoint.save(path).expect("written");
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.checkpoint");
        assert!(
            Checkpoint::load(&path, "run 1")
                .expect("a missing file is not an error")
                .is_none()
        );
        save(&path);
        let read = Checkpoint::load(&path, "run 1")
            .expect("whole")
            .expect("there");
        assert_eq!(read.parameters, PARAMETERS);
        assert_eq!(read.adam.steps, adam().steps);
        assert_eq!(read.adam.mean, adam().mean);
        assert_eq!(read.adam.square, adam().square);
        assert_eq!(read.epochs, EPOCHS);
    }

    #[test]
    fn a_checkpoint_of_another_run_or_a_truncated_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.checkpoint");
        save(&path);
        let other = Checkpoint::load(&path, "run 2").err().expect("refused");
        assert!(matches!(other, CheckpointError::OtherRun { .. }));
        let bytes = fs::read(&path).expect("there");
        for len in [0, 5, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..len]).expect("written");
            let damaged = Checkpoint::load(&path, "run 1").err().expect("refused");
            assert!(matches!(damaged, CheckpointError::Damaged { .. }));
        }
    }
}
