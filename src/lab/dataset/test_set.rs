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
    /// [`GOOD`], or the kind of defect, which is the name of the folder it lies in.
    pub kind: String,
    /// The files that show where the defect is: several show a part of it each.
    pub masks: Vec<PathBuf>,
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

    /// Lists `folder/test` and the masks that belong to it. The good parts are in the folder that
    /// is called `good`, where that is given, and else in [`GOOD`]; then a folder that is only
    /// called like good parts is in doubt.
    ///
    /// # Errors
    /// If the layout is another one, a folder or file is in doubt, a folder cannot be listed, or
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

/// Which sub-folders are data sets, in words that go on a sentence.
fn deeper(folders: &[PathBuf]) -> String {
    let sets = folders.iter().filter(|folder| TestSet::is_at(folder));
    let sets: Vec<String> = sets.map(|folder| folder.display().to_string()).collect();
    match sets[..] {
        [] => String::new(),
        _ => format!("; there is one in {}", sets.join(", ")),
    }
}

/// The name of the folder of good parts; it may be missing if it was not given.
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
    // What good parts are called in reports cannot be a kind of defect.
    match kinds.iter().find(|kind| kind.ends_with(GOOD)) {
        Some(kind) if *kind != path => Err(DatasetError::LikeGood { path: kind.clone() }),
        _ => Ok(given.to_owned()),
    }
}

/// The samples of one folder, with masks of its own kind.
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

/// Gives the samples without a mask those that lie in no folder of a kind, where one name is one
/// sample's.
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

/// The only one of what may be the mask of a picture; none where there is none.
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
