//! Which images of a training run are used for training, and which are held out.

use std::path::PathBuf;

use flawd_core::digest::Digest;

use super::HoldOut;
use crate::files::digest::sha256;
use crate::lab::features::FeatureImage;
use crate::pictures::decode;

/// Puts the images into the order in which they are distributed.
///
/// The order depends on their content and the seed, not on their names, so that neither part
/// consists of the last shift's pictures.
pub(crate) fn shuffle(mut images: Vec<FeatureImage>, seed: u64) -> Vec<FeatureImage> {
    images.sort_by_cached_key(|image| place(image.digest, seed));
    images
}

/// Returns what decides an image's place in the order.
fn place(image: Digest, seed: u64) -> Digest {
    sha256(format!("{seed} {image}").as_bytes())
}

/// Returns at most `most` of the files, and at most half of those that will train: all of them
/// come first in the order. Whatever of the files is left out later, which can only move others
/// forward, those returned do not calibrate, unless more than half is left out.
pub(crate) fn sure_to_train(
    paths: &[PathBuf],
    hold_out: HoldOut,
    seed: u64,
    most: usize,
) -> Vec<PathBuf> {
    let mut placed: Vec<(Digest, &PathBuf)> = Vec::with_capacity(paths.len());
    for path in paths {
        if let Ok(bytes) = decode::read(path) {
            placed.push((place(sha256(&bytes), seed), path));
        }
    }
    placed.sort();
    let training = match hold_out {
        HoldOut::Share(share) => (placed.len() as f64 * (1.0 - share) / 2.0) as usize,
        HoldOut::Folds(_) => placed.len(),
    };
    let first = placed.into_iter().take(most.min(training.max(1)));
    first.map(|(_, path)| path.clone()).collect()
}

/// Divides the images, at least two: the first part trains, the second calibrates.
pub(crate) fn split(
    mut images: Vec<FeatureImage>,
    hold_out: f64,
) -> (Vec<FeatureImage>, Vec<FeatureImage>) {
    let held_out = images.split_off(images.len() - held_out_count(images.len(), hold_out));
    (images, held_out)
}

/// Returns how many of `images`, at least two, the share `hold_out` is: at least one, and not all.
pub(crate) fn held_out_count(images: usize, hold_out: f64) -> usize {
    let count = (images as f64 * hold_out).round() as usize;
    count.clamp(1, images - 1)
}

/// Distributes the images over `folds` folds, as evenly as possible: the first part are those of
/// all folds except `number`, the second those of this one.
pub(crate) fn fold(
    images: &[FeatureImage],
    number: usize,
    folds: usize,
) -> (Vec<FeatureImage>, Vec<FeatureImage>) {
    let dealt = images.iter().cloned().enumerate();
    let (held_out, training): (Vec<_>, Vec<_>) =
        dealt.partition(|(place, _)| place % folds == number);
    let images = |part: Vec<(usize, FeatureImage)>| part.into_iter().map(|(_, image)| image);
    (images(training).collect(), images(held_out).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn images(count: usize) -> Vec<FeatureImage> {
        let image = |number: usize| {
            let name = number.to_string();
            FeatureImage {
                path: PathBuf::from(&name),
                digest: sha256(name.as_bytes()),
                pixels: sha256(name.as_bytes()),
                key: name,
            }
        };
        (0..count).map(image).collect()
    }

    /// Whatever is left out later, nothing that calibrates has set the light.
    #[test]
    fn what_is_sure_to_train_is_never_held_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = |number: usize| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, number.to_string()).expect("writable");
            let digest = sha256(number.to_string().as_bytes());
            FeatureImage {
                path,
                digest,
                pixels: digest,
                key: number.to_string(),
            }
        };
        let images: Vec<FeatureImage> = (0..40).map(image).collect();
        let paths: Vec<PathBuf> = images.iter().map(|image| image.path.clone()).collect();
        for (seed, share) in [(1, 0.2), (2, 0.5), (3, 0.9)] {
            let sure = sure_to_train(&paths, HoldOut::Share(share), seed, 64);
            assert!(!sure.is_empty());
            for left_out in [0, 7, 20] {
                let rest = images[left_out..].to_vec();
                let (_, held_out) = split(shuffle(rest, seed), share);
                let is_held_out = |path: &PathBuf| held_out.iter().any(|it| it.path == *path);
                assert!(!sure.iter().any(is_held_out), "{share} {left_out}");
            }
        }
    }

    fn names(images: &[FeatureImage]) -> BTreeMap<&str, usize> {
        let mut names = BTreeMap::new();
        for image in images {
            *names.entry(image.key.as_str()).or_default() += 1;
        }
        names
    }

    proptest! {
        /// The basis of a cross-calibration: no image is scored by a flow that it trained, and each
        /// counts once.
        #[test]
        fn every_image_is_out_of_fold_exactly_once_and_trains_all_other_folds(
            count in 2_usize..60,
            share in 0.0_f64..=1.0,
            seed in any::<u64>(),
        ) {
            let folds = 2 + (share * (count - 2) as f64) as usize;
            let all = images(count);
            let dealt = shuffle(all.clone(), seed);
            let mut out_of_fold = Vec::new();
            for number in 0..folds {
                let (training, held_out) = fold(&dealt, number, folds);
                prop_assert!(!training.is_empty() && !held_out.is_empty());
                prop_assert!(held_out.len() - count / folds <= 1, "even folds");
                let mut both = training;
                both.extend(held_out.clone());
                prop_assert_eq!(names(&both), names(&all));
                out_of_fold.extend(held_out);
            }
            prop_assert_eq!(names(&out_of_fold), names(&all));
        }

        #[test]
        fn a_split_has_every_image_once_and_both_parts_have_one(
            count in 2_usize..60,
            hold_out in 0.001_f64..0.999,
        ) {
            let all = images(count);
            let (training, held_out) = split(shuffle(all.clone(), 1), hold_out);
            prop_assert!(!training.is_empty() && !held_out.is_empty());
            let mut both = training;
            both.extend(held_out);
            prop_assert_eq!(names(&both), names(&all));
        }
    }
}
