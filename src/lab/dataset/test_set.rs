//! The labelled images of an evaluation.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::good::like_good;
use super::left_out::{folders_with_images, list_of};
use super::masks::{self, Masks, like_masks, name, stem};
use super::{DatasetError, Entries, GOOD, LeftOut};

/// The labelled images of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSet {
    /// By kind, [`GOOD`] first, then by name; within a kind by file name.
    pub samples: Vec<Sample>,
    /// What is in the data set and is not used.
    pub left_out: Vec<LeftOut>,
}

/// One labelled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// [`GOOD`], or the kind of defect, which is the name of its folder.
    pub kind: String,
    /// The files that show where the defect is; if several, each shows a part of it.
    pub masks: Vec<PathBuf>,
}

impl Sample {
    /// Returns `true` if the part has a defect.
    pub fn is_defect(&self) -> bool {
        self.kind != GOOD
    }
}

impl TestSet {
    /// Returns `true` if `folder` has a folder `test`, without looking into it.
    pub fn is_at(folder: &Path) -> bool {
        folder.join("test").is_dir()
    }

    /// Lists `folder/test` and the masks that belong to it. The good parts are in the folder named
    /// `good`, if given, else in [`GOOD`]; in that case a folder that is merely named like good
    /// parts is ambiguous.
    ///
    /// # Errors
    /// If the layout is another one, a folder or file is ambiguous, a folder cannot be listed, or
    /// there are no images.
    pub fn open(folder: &Path, good: Option<&str>) -> Result<Self, DatasetError> {
        let beside = Entries::of(folder)?;
        let test = folder.join("test");
        let no_test = || DatasetError::NoTest {
            path: folder.to_owned(),
            found: deeper(&beside.folders),
        };
        if !Self::is_at(folder) {
            return Err(no_test());
        }
        let mut entries = Entries::of(&test)?;
        let mut kinds = std::mem::take(&mut entries.folders);
        let good = test.join(good_folder(&test, &kinds, good)?);
        kinds.sort_by_key(|path| *path != good);
        let mut left_out = entries.nothing_used(&test);
        let mut masks = Masks::open(folder)?;
        let mut samples = Vec::new();
        for path in &kinds {
            let listed = kind_samples(path, *path == good, &mut masks)?;
            samples.extend(listed.samples);
            left_out.extend(listed.left_out);
        }
        if samples.is_empty() {
            return Err(no_test());
        }
        take_flat(&mut samples, &mut masks)?;
        left_out.extend(masks.left_out());
        Ok(Self { samples, left_out })
    }
}

/// Returns which sub-folders are data sets, as a continuation of a sentence.
fn deeper(folders: &[PathBuf]) -> String {
    let sets = folders.iter().filter(|folder| TestSet::is_at(folder));
    let sets: Vec<String> = sets.map(|folder| folder.display().to_string()).collect();
    match sets[..] {
        [] => String::new(),
        _ => format!("; there is one in {}", sets.join(", ")),
    }
}

/// Returns the folder name of good parts; the folder may be missing if the name was not given.
fn good_folder(
    test: &Path,
    kinds: &[PathBuf],
    given: Option<&str>,
) -> Result<String, DatasetError> {
    if let Some(path) = kinds.iter().find(|path| like_masks(path)) {
        return Err(DatasetError::LikeMasks { path: path.clone() });
    }
    let Some(given) = given else {
        let doubtful = kinds
            .iter()
            .find(|path| like_good(path) && !path.ends_with(GOOD));
        return match doubtful {
            Some(path) => Err(DatasetError::LikeGood { path: path.clone() }),
            None => Ok(GOOD.to_owned()),
        };
    };
    let path = test.join(given);
    if !kinds.contains(&path) {
        return Err(DatasetError::NoGood {
            found: list_of(&folders_with_images(kinds)),
            path,
        });
    }
    // The name of good parts in reports cannot be a kind of defect.
    match kinds.iter().find(|kind| kind.ends_with(GOOD)) {
        Some(kind) if *kind != path => Err(DatasetError::LikeGood { path: kind.clone() }),
        _ => Ok(given.to_owned()),
    }
}

/// Returns the samples of one folder, with masks of its own kind.
fn kind_samples(folder: &Path, is_good: bool, masks: &mut Masks) -> Result<TestSet, DatasetError> {
    let name = name(folder);
    let mut entries = Entries::of(folder)?;
    let beside = masks::beside(&mut entries.images);
    let mut beside_of: HashMap<String, Vec<Vec<PathBuf>>> = HashMap::new();
    for (image, mask) in beside {
        beside_of.entry(image).or_default().push(vec![mask]);
    }
    let mut stems: HashMap<String, &Path> = HashMap::new();
    let mut samples = Vec::new();
    for path in &entries.images {
        if let Some(first) = stems.insert(stem(path), path) {
            return Err(DatasetError::SameStem {
                first: first.to_owned(),
                second: path.clone(),
            });
        }
        let mut found = beside_of.remove(&stem(path)).unwrap_or_default();
        found.extend(masks.take(&name, path));
        samples.push(Sample {
            path: path.clone(),
            kind: if is_good { GOOD } else { &name }.to_owned(),
            masks: the_only(path, found)?,
        });
    }
    Ok(TestSet {
        samples,
        left_out: entries.left_out(folder),
    })
}

/// Gives samples without a mask the masks that are not in the folder of a kind, if only one sample
/// has that name.
fn take_flat(samples: &mut [Sample], masks: &mut Masks) -> Result<(), DatasetError> {
    let mut called: HashMap<String, usize> = HashMap::new();
    for sample in samples.iter() {
        *called.entry(stem(&sample.path)).or_default() += 1;
    }
    for sample in samples {
        if sample.masks.is_empty() && called[&stem(&sample.path)] == 1 {
            sample.masks = the_only(&sample.path, masks.take_flat(&sample.path))?;
        }
    }
    Ok(())
}

/// Returns the only candidate for the mask of a picture; empty if there is none.
fn the_only(image: &Path, mut found: Vec<Vec<PathBuf>>) -> Result<Vec<PathBuf>, DatasetError> {
    if let [first, second, ..] = &found[..] {
        return Err(DatasetError::TwoMasks {
            image: image.to_owned(),
            first: first[0].clone(),
            second: second[0].clone(),
        });
    }
    Ok(found.pop().unwrap_or_default())
}
