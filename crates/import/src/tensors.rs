//! The named tensors of a file: safetensors, or what `torch.save` writes.
//!
//! Shapes are known once the file is open; elements are read on request, so that a checkpoint's
//! optimiser state, which is most of it, is never in memory. Pickled objects are inspected and
//! never executed: `pytorch-reader` rebuilds tensors, dictionaries and lists, takes every other
//! object as opaque, and refuses one that holds tensors.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use pytorch_reader::{PickleError, PytorchError, PytorchReader};
use safetensors::SafeTensors;
use tempfile::NamedTempFile;

use crate::elements::Elements;
use crate::network::own_names;
use crate::{pickle, straight};

/// A file with named tensors.
pub struct TensorFile {
    path: PathBuf,
    tensors: BTreeMap<String, Entry>,
    /// The whole file, if it is a safetensors file.
    bytes: Vec<u8>,
    /// Bytes of the file.
    length: u64,
    /// The copy that is read in place of a file that would be misread.
    copy: Option<NamedTempFile>,
}

/// A tensor that has not been read yet.
struct Entry {
    shape: Vec<usize>,
    /// Its elements, or the name of their type if they are not floating-point numbers.
    elements: Result<Elements, String>,
    place: Place,
}

impl Entry {
    fn byte_len(&self) -> u64 {
        match &self.place {
            Place::Bytes(range) => range.len() as u64,
            Place::Torch(tensor) => tensor.byte_len() as u64,
        }
    }
}

enum Place {
    /// In `bytes`.
    Bytes(Range<usize>),
    /// In a PyTorch file.
    Torch(pytorch_reader::Tensor),
}

/// Why a file or a tensor in it cannot be read. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The system's error.
    #[error("cannot read {}; give a .safetensors, .pth, .pt or .ckpt file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Not a file of a known kind.
    #[error(
        "{} is neither a safetensors file nor one that torch.save wrote: give a .safetensors, \
         .pth, .pt or .ckpt file", path.display()
    )]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// The bytes contradict themselves.
    #[error("{} is cut short or damaged ({reason}): copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Whole as far as is known, but of an unsupported form.
    #[error(
        "{} is not read by flawd ({reason}), though it may well be whole: {WANTED}", path.display()
    )]
    OtherForm {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// Tensors inside an object whose code would have to be run.
    #[error(
        "{} holds tensors in an object of {class}, which cannot be read without running its code: \
         {WANTED}",
        path.display()
    )]
    ForeignClass {
        /// The file.
        path: PathBuf,
        /// The class, as Python names it.
        class: String,
    },
    /// An invalid argument of the model.
    #[error("{} says that the model's {name} is {found}, which makes no sense", path.display())]
    Argument {
        /// The file.
        path: PathBuf,
        /// The argument.
        name: &'static str,
        /// What is stated.
        found: String,
    },
    /// No tensor has this name.
    #[error("{} has no tensor `{name}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A tensor of another element type.
    #[error(
        "the tensor `{name}` of {} has elements of type {found}, and floating-point numbers are \
         needed: save the state dict before it is quantised, or after model.float()",
        path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        found: String,
    },
    /// A number that cannot be used for computing.
    #[error("the tensor `{name}` of {} holds {value}: the model is unusable", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Not a number, or infinite.
        value: f32,
    },
}

/// Which file is needed in place of one that cannot be read.
const WANTED: &str = "of anomalib, give weights/lightning/model.ckpt, not weights/torch/model.pt; \
                      of other code, load it in Python and save the state dict alone, \
                      torch.save(model.state_dict(), NEW_FILE)";

/// How many times its own length a file may yield when all of it is read: several names may refer
/// to one tensor.
const MOST_VIEWS: u64 = 8;

impl TensorFile {
    /// Opens a file; its content decides its kind, not its name.
    ///
    /// # Errors
    /// If it cannot be read, is of another kind, or is damaged.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let unreadable = |source| TensorError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut start = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(9).read_to_end(&mut start).map_err(unreadable)?;
        // The JSON header of a safetensors file begins after eight bytes of its length.
        if start.get(8) == Some(&b'{') {
            Self::from_safetensors(path, fs::read(path).map_err(unreadable)?)
        } else {
            Self::from_torch(path)
        }
    }

    fn from_safetensors(path: &Path, bytes: Vec<u8>) -> Result<Self, TensorError> {
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| TensorError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        // The data begins after the header and the eight bytes of its length.
        let data = header + 8;
        let tensors = metadata.tensors().into_iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let entry = Entry {
                shape: info.shape.clone(),
                elements: Elements::of_safetensors(info.dtype),
                place: Place::Bytes(data + start..data + end),
            };
            (name, entry)
        });
        let tensors = tensors.collect();
        Ok(Self {
            path: path.to_owned(),
            tensors,
            length: bytes.len() as u64,
            bytes,
            copy: None,
        })
    }

    fn from_torch(path: &Path) -> Result<Self, TensorError> {
        let unreadable = |source| TensorError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let copy = straight::copy(path).map_err(unreadable)?;
        let readable = copy.as_ref().map_or(path, |copy| copy.path());
        if let Some(refusal) = pickle::refusal(readable).map_err(unreadable)? {
            return Err(TensorError::OtherForm {
                path: path.to_owned(),
                reason: refusal.to_string(),
            });
        }
        let reader = PytorchReader::new(readable).map_err(|error| explain(path, error))?;
        let length = fs::metadata(path).map_err(unreadable)?;
        let tensors = reader.into_tensors().into_iter().map(|(name, tensor)| {
            let entry = Entry {
                shape: tensor.shape().to_owned(),
                elements: Elements::of_torch(tensor.dtype()),
                place: Place::Torch(tensor),
            };
            (name, entry)
        });
        Ok(Self {
            path: path.to_owned(),
            tensors: tensors.collect(),
            bytes: Vec::new(),
            length: length.len(),
            copy,
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what to read in place of the file: itself, or the copy that is read correctly.
    pub(crate) fn readable(&self) -> &Path {
        let copy = self.copy.as_ref();
        copy.map_or(&self.path, |copy| copy.path())
    }

    /// Returns the names of all tensors, in alphabetical order; those in nested dictionaries with
    /// all their keys, joined by full stops.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns `true` if there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns the shape of a tensor.
    ///
    /// # Errors
    /// If no tensor has this name.
    pub fn shape(&self, name: &str) -> Result<&[usize], TensorError> {
        Ok(&self.entry(name)?.shape)
    }

    /// Returns `true` if a tensor's elements are floating-point numbers; others cannot be read.
    ///
    /// # Errors
    /// If no tensor has this name.
    pub fn is_float(&self, name: &str) -> Result<bool, TensorError> {
        Ok(self.entry(name)?.elements.is_ok())
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// If no tensor has this name, its elements are of another type or not all finite, or the file
    /// is damaged.
    pub fn read(&self, name: &str) -> Result<ArrayD<f32>, TensorError> {
        let tensor = self.read_any(name)?;
        match tensor.iter().find(|value| !value.is_finite()) {
            None => Ok(tensor),
            Some(&value) => Err(TensorError::NotFinite {
                path: self.path.clone(),
                name: name.to_owned(),
                value,
            }),
        }
    }

    /// Reads all tensors of the network in the file, under the names that they have there: for a
    /// checkpoint those of its state dict, without the prefixes of wrappers such as `DataParallel`.
    /// A single integer is a counter that PyTorch keeps beside the weights, and is left out.
    ///
    /// # Errors
    /// As [`TensorFile::read`].
    pub fn read_network(&self) -> Result<BTreeMap<String, ArrayD<f32>>, TensorError> {
        let is_counter = |entry: &Entry| entry.elements.is_err() && entry.shape.is_empty();
        let mut wanted = own_names(self.names());
        wanted.retain(|(name, _)| !is_counter(&self.tensors[*name]));
        let lengths = wanted
            .iter()
            .map(|(name, _)| self.tensors[*name].byte_len());
        self.bound(lengths.fold(0, u64::saturating_add), MOST_VIEWS)?;
        wanted
            .into_iter()
            .map(|(name, own)| Ok((own.to_owned(), self.read(name)?)))
            .collect()
    }

    /// Reads a tensor whose elements may be anything.
    pub(crate) fn read_any(&self, name: &str) -> Result<ArrayD<f32>, TensorError> {
        let entry = self.entry(name)?;
        let elements = entry.elements.as_ref();
        let elements = elements.map_err(|found| TensorError::ElementType {
            path: self.path.clone(),
            name: name.to_owned(),
            found: found.clone(),
        })?;
        let from_file;
        let bytes = match &entry.place {
            Place::Bytes(range) => &self.bytes[range.clone()],
            Place::Torch(tensor) => {
                self.bound(entry.byte_len(), 1)?;
                from_file = tensor.read().map_err(|error| self.damaged(error))?;
                &from_file
            }
        };
        let tensor = ArrayD::from_shape_vec(entry.shape.as_slice(), elements.read(bytes));
        tensor.map_err(|error| TensorError::Damaged {
            path: self.path.clone(),
            reason: format!(
                "the tensor `{name}` has a shape of {:?}: {error}",
                entry.shape
            ),
        })
    }

    /// Refuses to read more than `times` the file's length. A tensor may be a view that repeats one
    /// number over and over, and a small file would then take any amount of memory.
    fn bound(&self, bytes: u64, times: u64) -> Result<(), TensorError> {
        if bytes <= self.length.saturating_mul(times) {
            return Ok(());
        }
        Err(TensorError::Damaged {
            path: self.path.clone(),
            reason: format!("it names {bytes} bytes of numbers and has {}", self.length),
        })
    }

    fn entry(&self, name: &str) -> Result<&Entry, TensorError> {
        self.tensors.get(name).ok_or_else(|| TensorError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
        })
    }

    fn damaged(&self, error: io::Error) -> TensorError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => TensorError::Damaged {
                path,
                reason: error.to_string(),
            },
            _ => TensorError::Unreadable {
                path,
                source: error,
            },
        }
    }
}

/// Explains an error of the PyTorch reader to the user. If an archive has yielded its pickle, the
/// checksum was right: what is wrong with the pickle is then not damage.
pub(crate) fn explain(path: &Path, error: PytorchError) -> TensorError {
    let reason = error.to_string();
    let path = path.to_owned();
    match error {
        PytorchError::Io(source) if source.raw_os_error().is_some() => {
            TensorError::Unreadable { path, source }
        }
        PytorchError::Pickle(PickleError::UnsupportedType(class)) => {
            TensorError::ForeignClass { path, class }
        }
        PytorchError::InvalidFormat(reason)
            if [NO_CHECKPOINT, NO_PICKLE]
                .iter()
                .any(|no| reason.starts_with(no)) =>
        {
            TensorError::UnknownKind { path }
        }
        PytorchError::Pickle(
            PickleError::UnsupportedOpCode(_)
            | PickleError::InvalidProtocol(_)
            | PickleError::NoDataSource,
        ) => TensorError::OtherForm { path, reason },
        PytorchError::Pickle(_) if is_archive(&path) => TensorError::OtherForm { path, reason },
        PytorchError::InvalidFormat(_) | PytorchError::Io(_)
            if OTHER_FORMS.iter().any(|form| reason.contains(form)) =>
        {
            TensorError::OtherForm { path, reason }
        }
        _ => TensorError::Damaged { path, reason },
    }
}

/// Returns `true` if a file begins as an archive does.
fn is_archive(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"PK\x03\x04"
}

/// The reader's message that a file is not from PyTorch.
const NO_CHECKPOINT: &str = "not a PyTorch checkpoint";

/// The same message for an archive.
const NO_PICKLE: &str = "No data.pkl entry";

/// Its messages that a file is whole but unsupported: not a dictionary, another byte order, a
/// pickle beyond its limit.
const OTHER_FORMS: [&str; 3] = ["a dictionary at the root", "Big-endian", "byte limit"];
