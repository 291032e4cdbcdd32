//! Contents of an image folder that are not used.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Entries;
use crate::files::path_text::{self, by_ending};
use crate::pictures::decode::is_image;

/// Files in one place that are not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The folder.
    #[serde(serialize_with = "path_text::serialize")]
    pub path: PathBuf,
    /// How many of its files.
    pub files: usize,
    /// Which ones, and why.
    pub reason: String,
}

impl LeftOut {
    /// Returns files without an image extension, and pipes and devices of any name; `None` if there
    /// are none.
    pub(crate) fn no_images(folder: &Path, files: &[PathBuf]) -> Option<Self> {
        Self::some(folder, files.len(), || {
            let (special, files): (Vec<_>, Vec<_>) =
                files.iter().cloned().partition(|path| is_image(path));
            let mut reasons = Vec::new();
            if !files.is_empty() {
                reasons.push(format!("no images by their names: {}", by_ending(&files)));
            }
            if let Some(first) = special.first() {
                let first = first.file_name().unwrap_or_default();
                let first = first.to_string_lossy();
                reasons.push(format!(
                    "pipes or devices that are called like images: {}, {first} among them",
                    special.len()
                ));
            }
            reasons.join("; ")
        })
    }

    /// Returns images in a folder that is not searched.
    pub(crate) fn folder(folder: &Path, images: usize) -> Self {
        Self {
            path: folder.to_owned(),
            files: images,
            reason: "images in a folder that is not searched".to_owned(),
        }
    }

    /// Returns images beside folders if only the folders count.
    pub(crate) fn loose(folder: &Path, images: usize) -> Option<Self> {
        Self::some(folder, images, || {
            "images that lie in no folder of a kind".to_owned()
        })
    }

    /// Returns masks beside pictures, where masks are not wanted.
    pub(crate) fn masks_beside(folder: &Path, masks: usize) -> Option<Self> {
        Self::some(folder, masks, || {
            "masks of the images beside them".to_owned()
        })
    }

    /// Returns masks that belong to no picture.
    pub(crate) fn masks_of_nothing(folder: &Path, masks: &[&Path]) -> Option<Self> {
        Self::some(folder, masks.len(), || {
            let first = masks[0].file_name().unwrap_or_default();
            format!(
                "masks of no image that is known, {} among them: a mask lies in \
                 ground_truth/<defect> and is called like its image, 000.png or 000_mask.png, or \
                 lies there in a folder of that name",
                first.to_string_lossy()
            )
        })
    }

    fn some(folder: &Path, files: usize, reason: impl FnOnce() -> String) -> Option<Self> {
        (files > 0).then(|| Self {
            path: folder.to_owned(),
            files,
            reason: reason(),
        })
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            files,
            reason,
        } = self;
        let noun = if *files == 1 { "file" } else { "files" };
        write!(f, "{files} {noun} of {} not used: {reason}", path.display())
    }
}

/// How deep sub-folders are searched to say what is in them: a folder of categories has its images
/// three levels down, as `bottle/train/good`.
const DEPTH: usize = 3;

/// Returns folders with the number of images in and below them, without those that have no images
/// or cannot be listed.
pub(crate) fn folders_with_images(folders: &[PathBuf]) -> Vec<(PathBuf, usize)> {
    let counted = folders
        .iter()
        .map(|folder| (folder.clone(), images_below(folder, DEPTH)));
    counted.filter(|(_, images)| *images > 0).collect()
}

fn images_below(folder: &Path, depth: usize) -> usize {
    let Ok(entries) = Entries::of(folder) else {
        return 0;
    };
    let mut images = entries.images.len();
    // A link may lead back up.
    for folder in entries.folders.iter().filter(|folder| !folder.is_symlink()) {
        if depth > 1 {
            images += images_below(folder, depth - 1);
        }
    }
    images
}

/// Formats for example `good (50 images), bad (3 images)`.
pub(crate) fn list_of(folders: &[(PathBuf, usize)]) -> String {
    let folders: Vec<String> = folders
        .iter()
        .map(|(path, images)| {
            let name = path.file_name().unwrap_or_default();
            format!("{} ({images} images)", name.to_string_lossy())
        })
        .collect();
    folders.join(", ")
}
