//! Which files show where the defects of a picture are.
//!
//! ```text
//! test/crack/000.jpg   ground_truth/crack/000_mask.png     MVTec AD
//!                      ground_truth/crack/000.png          VisA, BTAD
//!                      ground_truth/crack/000/*.png        MVTec LOCO: all of them together
//!                      ground_truth/000_mask.png           where only one picture is called so
//!                      test/crack/000_mask.png             KolektorSDD: beside the picture
//! ```
//! Any file with an image extension is accepted, and any of [`SUFFIXES`] may replace `_mask`. If
//! two files are possible, neither is chosen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::good::plain;
use super::{DatasetError, Entries, LeftOut};
use crate::files::path_text;

/// Names for the folder of all masks, in lower case and letters only.
const GROUND_TRUTH: [&str; 6] = ["groundtruth", "gt", "mask", "masks", "label", "labels"];

/// Those of them that no kind of defect has.
const NO_KIND: [&str; 3] = ["groundtruth", "gt", "masks"];

/// Suffixes of a mask's name after that of its picture, in lower case.
const SUFFIXES: [&str; 5] = ["_mask", "_gt", "_ground_truth", "_label", "_seg"];

/// Returns `true` if a folder below `test` is named like a folder of masks.
pub(crate) fn like_masks(folder: &Path) -> bool {
    NO_KIND.contains(&plain(&name(folder)).as_str())
}

/// Returns a folder's own name.
pub(crate) fn name(folder: &Path) -> String {
    path_text::text(Path::new(folder.file_name().unwrap_or_default())).into_owned()
}

/// Returns a file's name without its extension.
pub(crate) fn stem(path: &Path) -> String {
    let stem = Path::new(path.file_stem().unwrap_or_default());
    path_text::text(stem).into_owned()
}

/// Returns the picture's name contained in that of its mask; `None` if the name is not that of a
/// mask.
fn picture_of(mask: &str) -> Option<&str> {
    SUFFIXES.iter().find_map(|suffix| {
        let at = mask.len().checked_sub(suffix.len()).filter(|&at| at > 0)?;
        let (picture, end) = mask.split_at_checked(at)?;
        end.eq_ignore_ascii_case(suffix).then_some(picture)
    })
}

/// Takes out the masks that lie beside their pictures, each with the name of its picture.
pub(crate) fn beside(images: &mut Vec<PathBuf>) -> Vec<(String, PathBuf)> {
    let stems: HashSet<String> = images.iter().map(|path| stem(path)).collect();
    let mut masks = Vec::new();
    images.retain(|path| {
        let own = stem(path);
        let picture = picture_of(&own).filter(|picture| stems.contains(*picture));
        if let Some(picture) = picture {
            masks.push((picture.to_owned(), path.clone()));
        }
        picture.is_none()
    });
    masks
}

/// The masks of a data set.
#[derive(Default)]
pub(crate) struct Masks {
    /// The folder that contains all of them.
    root: PathBuf,
    /// By the folder name of a kind; the empty name has those directly in the root.
    kinds: BTreeMap<String, Kind>,
}

/// The masks of one folder, by the name of their picture; each mask is one or more files.
#[derive(Default)]
struct Kind {
    by_picture: HashMap<String, Vec<Vec<PathBuf>>>,
    /// Files whose names do not follow any form of mask name.
    other: Vec<PathBuf>,
}

impl Kind {
    fn of(entries: &Entries) -> Result<Self, DatasetError> {
        let mut kind = Self::default();
        for path in &entries.images {
            let own = stem(path);
            let picture = picture_of(&own).unwrap_or(&own).to_owned();
            kind.add(picture, vec![path.clone()]);
        }
        for folder in &entries.folders {
            let masks = Entries::of(folder)?.images;
            if !masks.is_empty() {
                kind.add(name(folder), masks);
            }
        }
        kind.other.clone_from(&entries.other);
        Ok(kind)
    }

    fn add(&mut self, picture: String, files: Vec<PathBuf>) {
        self.by_picture.entry(picture).or_default().push(files);
    }

    /// Takes out the masks of the picture with this name.
    fn take(&mut self, picture: &str) -> Vec<Vec<PathBuf>> {
        let mut taken = self.by_picture.remove(picture).unwrap_or_default();
        // A picture may itself be named like a mask; its mask then has the same name.
        let short = picture_of(picture).and_then(|short| self.by_picture.get_mut(short));
        if let Some(masks) = short {
            taken.extend(masks.extract_if(.., |files| stem(&files[0]) == picture));
        }
        taken
    }
}

impl Masks {
    /// Lists the masks of the data set in `folder`; there may be none.
    pub(crate) fn open(folder: &Path) -> Result<Self, DatasetError> {
        let is_wanted = |path: &PathBuf| GROUND_TRUTH.contains(&plain(&name(path)).as_str());
        let mut roots = Entries::of(folder)?.folders.into_iter().filter(is_wanted);
        let Some(root) = roots.next() else {
            return Ok(Self::default());
        };
        if let Some(second) = roots.next() {
            return Err(DatasetError::TwoGroundTruths {
                first: root,
                second,
            });
        }
        let mut entries = Entries::of(&root)?;
        let mut kinds = BTreeMap::new();
        for folder in std::mem::take(&mut entries.folders) {
            let kind = Kind::of(&Entries::of(&folder)?)?;
            kinds.insert(name(&folder), kind);
        }
        kinds.insert(String::new(), Kind::of(&entries)?);
        Ok(Self { root, kinds })
    }

    /// Takes out what may be the mask of a picture in the folder `kind`; each mask is one or more
    /// files.
    pub(crate) fn take(&mut self, kind: &str, image: &Path) -> Vec<Vec<PathBuf>> {
        let kind = self.kind(kind);
        kind.map_or_else(Vec::new, |kind| kind.take(&stem(image)))
    }

    /// Returns the folder of a kind, by name, ignoring case.
    fn kind(&mut self, name: &str) -> Option<&mut Kind> {
        if self.kinds.contains_key(name) {
            return self.kinds.get_mut(name);
        }
        let mut alike = self.kinds.iter_mut();
        let alike = alike.find(|(other, _)| other.eq_ignore_ascii_case(name));
        alike.map(|(_, kind)| kind)
    }

    /// Like [`Masks::take`], for masks that are not in the folder of a kind.
    pub(crate) fn take_flat(&mut self, image: &Path) -> Vec<Vec<PathBuf>> {
        let flat = self.kinds.get_mut("");
        flat.map_or_else(Vec::new, |flat| flat.take(&stem(image)))
    }

    /// Returns those that were not taken.
    pub(crate) fn left_out(&self) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        for (name, kind) in &self.kinds {
            let folder = if name.is_empty() {
                self.root.clone()
            } else {
                self.root.join(name)
            };
            let mut masks: Vec<&Path> = kind
                .by_picture
                .values()
                .flatten()
                .flatten()
                .map(PathBuf::as_path)
                .collect();
            masks.sort();
            left_out.extend(LeftOut::masks_of_nothing(&folder, &masks));
            left_out.extend(LeftOut::no_images(&folder, &kind.other));
        }
        left_out
    }
}
