//! Folders of images: which files there are, and what their place says about them.
//!
//! ```text
//! DIR/train/good/*            good parts for training       (MVTec AD layout)
//! DIR/test/good/*             good parts for evaluation
//! DIR/test/<defect>/*         parts with that kind of defect
//! DIR/ground_truth/<defect>/<stem>_mask.png    where the defect is, above 127
//! ```
//! Files are listed by name, not opened. What does not have an image's extension is passed over.

use std::io;
use std::path::{Path, PathBuf};

use crate::decode::{EXTENSIONS, is_image};

/// The folder name that means "without a defect".
pub const GOOD: &str = "good";

/// Why a folder gives no images.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It cannot be listed.
    #[error("cannot list the folder {}", path.display())]
    Unlistable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No file in it is an image.
    #[error(
        "there are no images in {}: files that end in {} are looked for{}",
        path.display(),
        EXTENSIONS.join(", "),
        other_place(*has_folders)
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// True if there are folders in it, which may be where the images are.
        has_folders: bool,
    },
    /// Not the layout of MVTec AD.
    #[error(
        "{} has no folder `test` with images in sub-folders: an evaluation wants good parts in \
         test/good and each kind of defect in a folder test/<defect>",
        path.display()
    )]
    NoTest {
        /// The folder.
        path: PathBuf,
    },
}

fn other_place(has_folders: bool) -> &'static str {
    if has_folders {
        ", and sub-folders are not searched; name the one that holds them"
    } else {
        ""
    }
}

/// The images directly in `folder`, by name.
///
/// # Errors
/// If it cannot be listed or there are none.
pub fn images_in(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let entries = entries(folder)?;
    let has_folders = entries.iter().any(|path| path.is_dir());
    let images: Vec<PathBuf> = entries.into_iter().filter(|path| is_image(path)).collect();
    if images.is_empty() {
        return Err(DatasetError::NoImages {
            path: folder.to_owned(),
            has_folders,
        });
    }
    Ok(images)
}

/// The good images of a training folder: those of `train/good` below it where that is there,
/// else those directly in it.
///
/// # Errors
/// If the folder cannot be listed or has no images.
pub fn training_images(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let good = folder.join("train").join(GOOD);
    images_in(if good.is_dir() { &good } else { folder })
}

/// The labelled images of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSet {
    /// By kind, [`GOOD`] first, then by name; within a kind by file name.
    pub samples: Vec<Sample>,
}

/// One labelled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Name of the folder it lies in: [`GOOD`], or the kind of defect.
    pub kind: String,
    /// The file that shows where the defect is, where there is one.
    pub mask: Option<PathBuf>,
}

impl Sample {
    /// True if the part has a defect.
    pub fn is_defect(&self) -> bool {
        self.kind != GOOD
    }
}

impl TestSet {
    /// True if `folder` has a folder `test`. Nothing of it is looked at.
    pub fn is_at(folder: &Path) -> bool {
        folder.join("test").is_dir()
    }

    /// Lists `folder/test` and the masks beside it.
    ///
    /// # Errors
    /// If the layout is another one, a folder cannot be listed, or there are no images.
    pub fn open(folder: &Path) -> Result<Self, DatasetError> {
        let no_test = || DatasetError::NoTest {
            path: folder.to_owned(),
        };
        if !Self::is_at(folder) {
            return Err(no_test());
        }
        let mut kinds: Vec<PathBuf> = entries(&folder.join("test"))?;
        kinds.retain(|path| path.is_dir());
        kinds.sort_by_key(|path| !path.ends_with(GOOD));
        let mut samples = Vec::new();
        for kind in kinds {
            let name = kind
                .file_name()
                .expect("a listed folder has a name")
                .to_string_lossy()
                .into_owned();
            let images = entries(&kind)?.into_iter().filter(|path| is_image(path));
            samples.extend(images.map(|path| Sample {
                mask: mask_of(folder, &name, &path),
                path,
                kind: name.clone(),
            }));
        }
        if samples.is_empty() {
            return Err(no_test());
        }
        Ok(Self { samples })
    }
}

fn mask_of(folder: &Path, kind: &str, image: &Path) -> Option<PathBuf> {
    let stem = image.file_stem()?.to_string_lossy();
    let masks = folder.join("ground_truth").join(kind);
    let mask = masks.join(format!("{stem}_mask.png"));
    mask.is_file().then_some(mask)
}

/// What is in a folder, by name; hidden files are passed over.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = folder.read_dir()?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = list().map_err(|source| DatasetError::Unlistable {
        path: folder.to_owned(),
        source,
    })?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default();
        !name.to_string_lossy().starts_with('.')
    });
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn folder_with(files: &[&str]) -> TempDir {
        let folder = TempDir::new().expect("a temporary folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
            fs::write(path, b"").expect("it can be written");
        }
        folder
    }

    fn names(folder: &TempDir, paths: &[PathBuf]) -> Vec<String> {
        let relative = paths
            .iter()
            .map(|path| path.strip_prefix(folder.path()).expect("it lies inside"));
        relative.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn images_are_listed_by_name_and_nothing_else_is() {
        let folder = folder_with(&["b.png", "a.JPG", "notes.txt", ".hidden.png", "c/d.png"]);
        let images = images_in(folder.path()).expect("there are images");
        assert_eq!(names(&folder, &images), ["a.JPG", "b.png"]);
    }

    #[test]
    fn a_folder_without_images_says_what_is_looked_for_and_where() {
        let empty = folder_with(&["notes.txt"]);
        let error = images_in(empty.path()).expect_err("no images").to_string();
        assert!(
            error.contains("jpg") && !error.contains("sub-folders"),
            "{error}"
        );
        let deeper = folder_with(&["good/a.png"]);
        let error = images_in(deeper.path())
            .expect_err("no images here")
            .to_string();
        assert!(error.contains("sub-folders"), "{error}");
        assert!(matches!(
            images_in(&deeper.path().join("bad")),
            Err(DatasetError::Unlistable { .. })
        ));
    }

    #[test]
    fn training_images_are_those_of_train_good_where_that_is_there() {
        let mvtec = folder_with(&["train/good/a.png", "x.png"]);
        let images = training_images(mvtec.path()).expect("there are images");
        assert_eq!(names(&mvtec, &images), ["train/good/a.png"]);
        let plain = folder_with(&["x.png"]);
        let images = training_images(plain.path()).expect("there are images");
        assert_eq!(names(&plain, &images), ["x.png"]);
    }

    #[test]
    fn a_test_set_has_kinds_and_masks_and_starts_with_the_good_ones() {
        let folder = folder_with(&[
            "test/crack/1.jpg",
            "test/crack/2.jpg",
            "test/good/1.jpg",
            "test/readme.txt",
            "ground_truth/crack/1_mask.png",
        ]);
        let samples = TestSet::open(folder.path())
            .expect("the layout is right")
            .samples;
        let seen: Vec<_> = samples
            .iter()
            .map(|sample| {
                (
                    sample.kind.as_str(),
                    sample.is_defect(),
                    sample.mask.is_some(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("good", false, false),
                ("crack", true, true),
                ("crack", true, false)
            ]
        );
    }

    #[test]
    fn another_layout_is_refused_with_the_one_that_is_wanted() {
        for files in [&["good/a.png"][..], &["test/a.png"], &["test/good/a.txt"]] {
            let folder = folder_with(files);
            let error = TestSet::open(folder.path()).expect_err("another layout");
            assert!(error.to_string().contains("test/good"), "{error}");
        }
    }
}
