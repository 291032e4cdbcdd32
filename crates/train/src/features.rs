//! Features on disk: one file per image, so that training reads only the batch it needs and a
//! second run does not extract them again.
//!
//! A file is named by a key that the caller derives from everything the features depend on; what is
//! in the cache is therefore never stale. Files appear whole or not at all, so that an interrupted
//! run leaves no partial file under a valid name, and two runs may fill one cache.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flawd_core::flow::SCALES;
use ndarray::{Array3, Axis};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use serde::Deserialize;

use crate::maps::{Maps, Scales};
use crate::view::FeatureView;

/// Feature maps of one image, `[channels, height, width]` per scale.
pub type ImageFeatures = [Array3<f32>; SCALES];

/// Why features could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum CachedFeatureError {
    /// The file system's error.
    #[error("feature cache: cannot {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A cached file is not what was written.
    #[error("feature cache: {path} is damaged; delete it and run again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        #[source]
        source: SafeTensorError,
    },
    /// Images whose features differ in shape cannot share a batch.
    #[error(
        "feature cache: the maps in {path} differ in shape from the first image's; \
         delete it and run again"
    )]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to train on.
    #[error("there are no images to train on")]
    Empty,
}

/// A folder of cached features.
#[derive(Clone, Debug)]
pub struct FeatureCache {
    folder: PathBuf,
}

impl FeatureCache {
    /// Opens `folder`, creating it if it is missing, and removes what a killed process did not
    /// finish there.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open(folder: &Path) -> Result<Self, CachedFeatureError> {
        flawd_files::remove_abandoned(folder);
        fs::create_dir_all(folder).map_err(|source| CachedFeatureError::Io {
            action: "create",
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key).with_extension("safetensors")
    }

    /// Returns the note that features are stored with under `key`; `None` if there are none, or
    /// without a note, as earlier versions stored them. Counts as a use of the file, and updates
    /// its modification time.
    pub fn note(&self, key: &str) -> Option<String> {
        let file = File::open(self.path(key)).ok()?;
        let note = read_note(&file)?;
        // So that the least recently used ones can be cleared. A read-only cache stays as it is.
        file.set_modified(SystemTime::now()).ok();
        Some(note)
    }

    /// Stores an image's features under `key`, with the caller's note.
    ///
    /// # Errors
    /// If the file cannot be written; nothing is left under `key` then.
    pub fn store(
        &self,
        key: &str,
        note: &str,
        features: &ImageFeatures,
    ) -> Result<(), CachedFeatureError> {
        let path = self.path(key);
        let tensors = features
            .iter()
            .enumerate()
            .map(|(scale, maps)| (name(scale), Stored(maps)));
        let metadata = HashMap::from([(NOTE.to_owned(), note.to_owned())]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|source| {
            CachedFeatureError::Damaged {
                path: path.clone(),
                source,
            }
        })?;
        flawd_files::write(&path, &bytes).map_err(|source| CachedFeatureError::Io {
            action: "write",
            path: path.clone(),
            source,
        })
    }
}

/// The property of a file that holds the caller's note.
const NOTE: &str = "note";

/// Reads only the note, not the features: the header of the format is JSON after its length.
fn read_note(mut file: &File) -> Option<String> {
    /// Three tensors and a note take a few hundred bytes.
    const LONGEST: u64 = 1 << 16;
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: HashMap<String, String>,
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let mut header: Header = serde_json::from_slice(&header).ok()?;
    header.metadata.remove(NOTE)
}

/// Returns the name of a scale's tensor in a file.
fn name(scale: usize) -> String {
    format!("scale{scale}")
}

/// An array in the form that the file format expects.
struct Stored<'a>(&'a Array3<f32>);

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    fn data_len(&self) -> usize {
        self.0.len() * size_of::<f32>()
    }
}

/// The cached features of a set of images, in a fixed order.
pub struct FeatureSet {
    cache: FeatureCache,
    keys: Vec<String>,
    /// The shapes of all scales, as they are stored.
    stored: [[usize; 3]; SCALES],
    view: FeatureView,
}

impl FeatureSet {
    /// Creates the set of the features stored under `keys`, all scales as they are.
    ///
    /// # Errors
    /// If there are no keys or the first file cannot be read.
    pub fn new(cache: FeatureCache, keys: Vec<String>) -> Result<Self, CachedFeatureError> {
        let first = cache.path(keys.first().ok_or(CachedFeatureError::Empty)?);
        let stored = with_tensors(&first, shapes)?;
        Ok(Self {
            cache,
            keys,
            stored,
            view: FeatureView::ALL,
        })
    }

    /// Returns the same images with another view.
    pub fn seen_as(&self, view: FeatureView) -> Self {
        Self {
            cache: self.cache.clone(),
            keys: self.keys.clone(),
            stored: self.stored,
            view,
        }
    }

    /// Returns the number of images; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty set cannot be made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// `[channels, height, width]` per scale.
    pub fn shapes(&self) -> Scales<[usize; 3]> {
        self.view.shapes(&self.stored[self.view.scales.clone()])
    }

    /// Returns the features of all images, `size` at a time.
    ///
    /// # Panics
    /// If `size` is 0.
    pub fn batches(
        &self,
        size: usize,
    ) -> impl Iterator<Item = Result<Scales<Maps>, CachedFeatureError>> + '_ {
        let starts = (0..self.len()).step_by(size);
        starts.map(move |start| {
            let samples: Vec<usize> = (start..self.len().min(start + size)).collect();
            self.load(&samples)
        })
    }

    /// Reads the features of some images, in the requested order.
    ///
    /// # Errors
    /// If a file is missing, damaged, or of another shape than the first.
    ///
    /// # Panics
    /// If an index is [`Self::len`] or more.
    pub fn load(&self, samples: &[usize]) -> Result<Scales<Maps>, CachedFeatureError> {
        let scales = self.view.scales.clone();
        let zeros = |&[channels, height, width]: &[usize; 3]| {
            Maps::zeros((channels, samples.len(), height, width))
        };
        let mut batch: Scales<Maps> = self.stored[scales.clone()].iter().map(zeros).collect();
        for (position, &sample) in samples.iter().enumerate() {
            let path = self.cache.path(&self.keys[sample]);
            with_tensors(&path, |views| {
                if shapes(views) != self.stored {
                    return Err(CachedFeatureError::Shape { path: path.clone() });
                }
                for (maps, view) in batch.iter_mut().zip(&views[scales.clone()]) {
                    let mut slot = maps.index_axis_mut(Axis(1), position);
                    let values = view.data().as_chunks().0;
                    for (value, &bytes) in slot.iter_mut().zip(values) {
                        *value = f32::from_le_bytes(bytes);
                    }
                }
                Ok(())
            })??;
        }
        Ok(self.view.of(batch))
    }
}

fn shapes(views: &[TensorView; SCALES]) -> [[usize; 3]; SCALES] {
    views
        .each_ref()
        .map(|view| [view.shape()[0], view.shape()[1], view.shape()[2]])
}

/// Reads a file and hands its three checked tensors to `task`.
fn with_tensors<R>(
    path: &Path,
    task: impl FnOnce(&[TensorView; SCALES]) -> R,
) -> Result<R, CachedFeatureError> {
    let bytes = fs::read(path).map_err(|source| CachedFeatureError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let damaged = |source| CachedFeatureError::Damaged {
        path: path.to_owned(),
        source,
    };
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let view = |scale: usize| {
        let view = file.tensor(&name(scale))?;
        if view.dtype() != Dtype::F32 || view.shape().len() != 3 {
            return Err(SafeTensorError::TensorInvalidInfo);
        }
        Ok(view)
    };
    const { assert!(SCALES == 3) };
    let views = [view(0), view(1), view(2)];
    let [first, second, third] = views.map(|view| view.map_err(damaged));
    Ok(task(&[first?, second?, third?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::FeatureForm;

    fn features(seed: usize, size: usize) -> ImageFeatures {
        std::array::from_fn(|scale| {
            let size = size >> scale;
            Array3::from_shape_fn((2, size, size), |(c, y, x)| {
                ((seed * 31 + scale * 17 + c * 7 + y * 3 + x) as f32).sin()
            })
        })
    }

    #[test]
    fn what_is_stored_is_read_in_the_order_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FeatureCache::open(&folder.path().join("new")).expect("created");
        for sample in 0..3 {
            cache
                .store(&sample.to_string(), "", &features(sample, 4))
                .expect("stored");
        }
        let keys = (0..3).map(|sample| sample.to_string()).collect();
        let set = FeatureSet::new(cache, keys).expect("readable");
        let batch = set.load(&[2, 0]).expect("readable");
        for (position, sample) in [2, 0].into_iter().enumerate() {
            for (maps, expected) in batch.iter().zip(features(sample, 4)) {
                assert_eq!(maps.index_axis(Axis(1), position), expected);
            }
        }
    }

    #[test]
    fn a_note_is_read_back_and_files_without_one_have_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FeatureCache::open(folder.path()).expect("opened");
        assert_eq!(cache.note("a"), None, "there is no such file");
        cache
            .store("a", "of this picture", &features(0, 4))
            .expect("stored");
        assert_eq!(cache.note("a").as_deref(), Some("of this picture"));
        let earlier = safetensors::serialize([("scale0", Stored(&features(0, 4)[0]))], None);
        fs::write(cache.path("b"), earlier.expect("serialised")).expect("written");
        assert_eq!(cache.note("b"), None);
        fs::write(cache.path("c"), u64::MAX.to_le_bytes()).expect("written");
        assert_eq!(cache.note("c"), None, "no header has that length");
    }

    #[test]
    fn a_set_that_is_seen_otherwise_has_the_scales_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FeatureCache::open(folder.path()).expect("opened");
        cache.store("a", "", &features(0, 4)).expect("stored");
        let all = FeatureSet::new(cache, vec!["a".into()]).expect("readable");
        let some = all.seen_as(FeatureView {
            scales: 1..3,
            form: FeatureForm::Maps,
        });
        assert_eq!(some.shapes(), [[2, 2, 2], [2, 1, 1]]);
        let expected = &all.load(&[0]).expect("readable")[1..];
        assert_eq!(some.load(&[0]).expect("readable"), expected);
    }

    #[test]
    fn a_truncated_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FeatureCache::open(folder.path()).expect("opened");
        cache.store("a", "", &features(0, 4)).expect("stored");
        let path = cache.path("a");
        let bytes = fs::read(&path).expect("there");
        fs::write(&path, &bytes[..bytes.len() - 5]).expect("written");
        let error = FeatureSet::new(cache, vec!["a".into()])
            .err()
            .expect("refused");
        assert!(
            error.to_string().contains("a.safetensors is damaged"),
            "{error}"
        );
    }

    #[test]
    fn an_image_of_another_shape_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FeatureCache::open(folder.path()).expect("opened");
        cache.store("a", "", &features(0, 4)).expect("stored");
        cache.store("b", "", &features(0, 8)).expect("stored");
        let set = FeatureSet::new(cache, vec!["a".into(), "b".into()]).expect("opened");
        let error = set.load(&[0, 1]).expect_err("refused");
        assert!(
            matches!(&error, CachedFeatureError::Shape { path } if path.ends_with("b.safetensors"))
        );
    }
}
