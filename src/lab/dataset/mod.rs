//! Folders of images: which files exist, and what their location says about them.
//!
//! ```text
//! DIR/train/good/*            good parts for training       (MVTec AD layout)
//! DIR/test/good/*             good parts for evaluation
//! DIR/test/<defect>/*         parts with that kind of defect
//! DIR/ground_truth/…          where the defects are          (see `masks`)
//! ```
//! Files are listed by name, not opened. Files that are not used are counted and reported
//! ([`LeftOut`]), because a folder that is half ignored would look like a smaller one.

mod good;
mod left_out;
mod masks;
mod test_set;
#[cfg(test)]
mod tests;

pub use good::GOOD;
pub use left_out::LeftOut;
pub use test_set::{Sample, TestSet};

use std::io;
use std::path::{Path, PathBuf};

use crate::files::path_text;
use crate::pictures::decode::EXTENSIONS;
use good::like_good;
use left_out::{folders_with_images, list_of};

/// Why a folder provides no images.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It cannot be listed.
    #[error("cannot list the folder {}", path.display())]
    Unlistable {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No file in it is an image.
    #[error(
        "there are no images in {}: files that end in {} are looked for{found}",
        path.display(),
        EXTENSIONS.join(", ")
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// What is there instead, as a continuation of the sentence.
        found: String,
    },
    /// A folder `train` that does not follow the layout of MVTec AD.
    #[error(
        "good images for training are looked for in {}, which is not there{found}",
        folder.join("train").join(good).display()
    )]
    NoTrainGood {
        /// The folder above `train`.
        folder: PathBuf,
        /// The folder name of good parts.
        good: String,
        /// What is there instead, as a continuation of the sentence.
        found: String,
    },
    /// Not the layout of MVTec AD.
    #[error(
        "{} has no folder `test` with images in sub-folders: an evaluation wants good parts in \
         test/good and each kind of defect in a folder test/<defect>{found}",
        path.display()
    )]
    NoTest {
        /// The folder.
        path: PathBuf,
        /// What is there instead, as a continuation of the sentence.
        found: String,
    },
    /// A folder that is named like good parts, and would count as a kind of defect.
    #[error(
        "{} is called like good parts and would count as a kind of defect: rename it to `{GOOD}`, \
         or name the folder of the good parts with --good NAME",
        path.display()
    )]
    LikeGood {
        /// The folder.
        path: PathBuf,
    },
    /// The folder stated to hold the good parts does not exist.
    #[error("{} is not there, though --good names it; there are {found}", path.display())]
    NoGood {
        /// The folder.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A folder below `test` that is named like a folder of masks.
    #[error(
        "{} is called like a folder of masks and would count as a kind of defect: move it beside \
         `test`, as ground_truth",
        path.display()
    )]
    LikeMasks {
        /// The folder.
        path: PathBuf,
    },
    /// Two folders that could both hold the masks.
    #[error(
        "{} and {} may both hold the masks: take one away, or call the right one ground_truth and \
         the other one something else", first.display(), second.display()
    )]
    TwoGroundTruths {
        /// One of them.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// Two files that could both be the mask of a picture.
    #[error(
        "{} and {} may both be the mask of {}: take one of them away",
        first.display(), second.display(), image.display()
    )]
    TwoMasks {
        /// The picture.
        image: PathBuf,
        /// One of them.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// Two pictures of one name, one of which could be the mask of the other.
    #[error(
        "{} may be the mask of {}, or a separate picture: call it {}_mask if it is the mask, and \
         something else if it is not",
        second.display(), first.display(),
        first.file_stem().unwrap_or_default().to_string_lossy()
    )]
    SameStem {
        /// One of them.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
}

/// The images of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// In the order of their names.
    pub paths: Vec<PathBuf>,
    /// What else is there and is not used.
    pub left_out: Vec<LeftOut>,
}

/// Returns the images directly in `folder`, in the order of their names. A mask beside its picture
/// is not among them.
///
/// # Errors
/// If it cannot be listed or there are none.
pub fn images_in(folder: &Path) -> Result<Images, DatasetError> {
    let mut entries = Entries::of(folder)?;
    let masks = masks::beside(&mut entries.images);
    if entries.images.is_empty() {
        return Err(DatasetError::NoImages {
            path: folder.to_owned(),
            found: found_instead(&entries),
        });
    }
    let mut left_out = entries.left_out(folder);
    left_out.extend(LeftOut::masks_beside(folder, masks.len()));
    Ok(Images {
        paths: entries.images,
        left_out,
    })
}

fn found_instead(entries: &Entries) -> String {
    let folders = folders_with_images(&entries.folders);
    let mut found = String::new();
    if !entries.other.is_empty() {
        found += &format!("; there are {}", path_text::by_ending(&entries.other));
    }
    if !folders.is_empty() {
        let folders = list_of(&folders);
        found += &format!("; sub-folders are not searched, name the right one of {folders}");
    }
    found
}

/// Returns the good images of a training folder: those of `train/good` if there is a folder
/// `train`, else those directly in it.
///
/// # Errors
/// If the folder cannot be listed or has no images, or there is a folder `train` without `good`.
pub fn training_images(folder: &Path) -> Result<Images, DatasetError> {
    if folder.join("train").is_dir() {
        train_good(folder, GOOD)
    } else {
        images_in(folder)
    }
}

/// Returns the images of `train/<good>` below a folder.
///
/// # Errors
/// If that does not exist, cannot be listed, or has no images.
pub fn train_good(folder: &Path, good: &str) -> Result<Images, DatasetError> {
    let train = folder.join("train");
    let wanted = train.join(good);
    if !wanted.is_dir() {
        return Err(DatasetError::NoTrainGood {
            found: found_in_train(folder, &train)?,
            folder: folder.to_owned(),
            good: good.to_owned(),
        });
    }
    let mut images = images_in(&wanted)?;
    let mut in_train = Entries::of(&train)?;
    in_train.folders.retain(|path| *path != wanted);
    images.left_out.extend(in_train.nothing_used(&train));
    // The folders beside `train` belong to other commands.
    let beside = Entries::of(folder)?.images.len();
    images.left_out.extend(LeftOut::loose(folder, beside));
    Ok(images)
}

fn found_in_train(folder: &Path, train: &Path) -> Result<String, DatasetError> {
    if !train.is_dir() {
        return Ok(format!(": {} has no folder `train`", folder.display()));
    }
    let entries = Entries::of(train)?;
    let folders = folders_with_images(&entries.folders);
    let like = entries.folders.iter().find(|path| like_good(path));
    Ok(if let Some(like) = like {
        format!(
            ": if the good ones are those in {0}, rename it, or give {0} itself where only good \
             images are wanted",
            like.display()
        )
    } else if !folders.is_empty() {
        format!("; there are {}", list_of(&folders))
    } else {
        format!(
            "; {} images lie in {}",
            entries.images.len(),
            train.display()
        )
    })
}

/// The contents of a folder, in the order of their names, without hidden files.
struct Entries {
    folders: Vec<PathBuf>,
    /// Files with an image extension. One that cannot be examined is included, so that it is
    /// reported by name when it is opened.
    images: Vec<PathBuf>,
    /// Files without an image extension, and what is neither a file nor a folder.
    other: Vec<PathBuf>,
}

impl Entries {
    fn of(folder: &Path) -> Result<Self, DatasetError> {
        let list = || -> io::Result<Vec<PathBuf>> {
            let entries = folder.read_dir()?;
            entries.map(|entry| Ok(entry?.path())).collect()
        };
        let mut paths = list().map_err(|source| DatasetError::Unlistable {
            path: folder.to_owned(),
            source,
        })?;
        paths.sort();
        let mut entries = Self {
            folders: Vec::new(),
            images: Vec::new(),
            other: Vec::new(),
        };
        for path in paths {
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let kind = path.metadata();
            let is_special = |kind: &std::fs::Metadata| !kind.is_file();
            if path.is_dir() {
                entries.folders.push(path);
            } else if crate::pictures::decode::is_image(&path)
                && !kind.as_ref().is_ok_and(is_special)
            {
                entries.images.push(path);
            } else {
                entries.other.push(path);
            }
        }
        Ok(entries)
    }

    /// Returns what is not used where the images are.
    fn left_out(&self, folder: &Path) -> Vec<LeftOut> {
        let folders = folders_with_images(&self.folders);
        let folders = folders
            .iter()
            .map(|(path, images)| LeftOut::folder(path, *images));
        let files = LeftOut::no_images(folder, &self.other).into_iter();
        files.chain(folders).collect()
    }

    /// Returns what is not used if only sub-folders may be used.
    fn nothing_used(&self, folder: &Path) -> Vec<LeftOut> {
        let mut left_out = self.left_out(folder);
        left_out.extend(LeftOut::loose(folder, self.images.len()));
        left_out
    }
}
