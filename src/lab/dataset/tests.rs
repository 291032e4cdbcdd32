//! Which files of which folders are recognised as what.

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

fn names<'a>(folder: &TempDir, paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    let relative = paths
        .into_iter()
        .map(|path| path.strip_prefix(folder.path()).expect("it lies inside"));
    relative.map(|path| path.display().to_string()).collect()
}

/// Returns what was not used, as reported, without the folder's own path.
fn said(folder: &TempDir, left_out: &[LeftOut]) -> Vec<String> {
    let root = format!("{}", folder.path().display());
    let said = left_out
        .iter()
        .map(|row| row.to_string().replace(&root, "DIR"));
    said.collect()
}

/// By its name it is an image, so the name is not the reason.
#[test]
fn a_pipe_with_the_name_of_an_image_is_not_opened_and_called_a_pipe() {
    let folder = folder_with(&["a.png", "notes.txt"]);
    let pipe = folder.path().join("b.png");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.expect("coreutils are there").success());
    let images = images_in(folder.path()).expect("there is an image");
    assert_eq!(names(&folder, &images.paths), ["a.png"]);
    assert_eq!(
        said(&folder, &images.left_out),
        [
            "2 files of DIR not used: no images by their names: 1 .txt; pipes or devices that are \
             called like images: 1, b.png among them"
        ]
    );
}

#[test]
fn images_are_listed_by_name_and_what_else_is_there_is_counted_by_ending() {
    let folder = folder_with(&[
        "b.png",
        "a.JPG",
        "notes.txt",
        "part.PNG.tmp",
        "c.tmp",
        "README",
        ".hidden.png",
        "c/d.png",
        "c/deeper/e.png",
        "empty/notes.txt",
        "b_mask.png",
    ]);
    let images = images_in(folder.path()).expect("there are images");
    assert_eq!(names(&folder, &images.paths), ["a.JPG", "b.png"]);
    assert_eq!(
        said(&folder, &images.left_out),
        [
            "4 files of DIR not used: no images by their names: 2 .tmp, 1 .txt, 1 without an \
             ending",
            "2 files of DIR/c not used: images in a folder that is not searched",
            "1 file of DIR not used: masks of the images beside them",
        ]
    );
}

#[test]
fn a_folder_is_no_image_whatever_it_is_called() {
    let folder = folder_with(&["a.png", "b.png/c.txt"]);
    let images = images_in(folder.path()).expect("there are images");
    assert_eq!(names(&folder, &images.paths), ["a.png"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_no_image_and_a_link_to_nothing_is_missed_by_its_name() {
    let folder = folder_with(&["a.png"]);
    let socket = folder.path().join("b.png");
    std::os::unix::net::UnixListener::bind(socket).expect("it can be made");
    let link = folder.path().join("c.png");
    std::os::unix::fs::symlink("/nowhere/at/all.png", link).expect("it can be made");
    let images = images_in(folder.path()).expect("there are images");
    assert_eq!(names(&folder, &images.paths), ["a.png", "c.png"]);
    assert_eq!(images.left_out.len(), 1);
}

#[test]
fn a_folder_without_images_says_what_is_looked_for_and_what_is_there() {
    let refused = |files: &[&str]| {
        let folder = folder_with(files);
        images_in(folder.path()).expect_err("no images").to_string()
    };
    let error = refused(&["notes.txt"]);
    for part in ["jpg", "1 .txt"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("sub-folders"), "{error}");
    let error = refused(&["good/a.png", "bad/a.png", "bad/b.png"]);
    assert!(error.contains("bad (2 images), good (1 images)"), "{error}");
    let nowhere = folder_with(&[]).path().join("bad");
    assert!(matches!(
        images_in(&nowhere),
        Err(DatasetError::Unlistable { .. })
    ));
}

#[test]
fn training_images_are_those_of_train_good_and_others_are_named() {
    let mvtec = folder_with(&[
        "train/good/a.png",
        "train/bad/b.png",
        "train/c.png",
        "x.png",
    ]);
    let images = training_images(mvtec.path()).expect("there are images");
    assert_eq!(names(&mvtec, &images.paths), ["train/good/a.png"]);
    assert_eq!(
        said(&mvtec, &images.left_out),
        [
            "1 file of DIR/train/bad not used: images in a folder that is not searched",
            "1 file of DIR/train not used: images that lie in no folder of a kind",
            "1 file of DIR not used: images that lie in no folder of a kind",
        ]
    );
    let plain = folder_with(&["x.png"]);
    let images = training_images(plain.path()).expect("there are images");
    assert_eq!(names(&plain, &images.paths), ["x.png"]);
}

#[test]
fn a_folder_train_without_good_is_refused_with_what_is_there() {
    for (files, part) in [
        (&["train/ok/a.png", "x.png"][..], "train/ok"),
        (&["train/Good/a.png"], "train/Good"),
        (&["train/OK/a.png", "train/bad/a.png"], "train/OK"),
        (
            &["train/left/a.png", "train/right/a.png"],
            "left (1 images), right (1 images)",
        ),
        (&["train/a.png"], "1 images lie in"),
    ] {
        let folder = folder_with(files);
        let error = training_images(folder.path())
            .expect_err("doubtful")
            .to_string();
        assert!(
            error.contains("train/good") && error.contains(part),
            "{error}"
        );
    }
    let folder = folder_with(&["test/good/a.png"]);
    let error = train_good(folder.path(), GOOD)
        .expect_err("nothing")
        .to_string();
    assert!(error.contains("has no folder `train`"), "{error}");
}

#[test]
fn a_test_set_has_kinds_and_masks_and_starts_with_the_good_ones() {
    let folder = folder_with(&[
        "test/crack/1.jpg",
        "test/crack/2.jpg",
        "test/good/1.jpg",
        "ground_truth/crack/1_mask.png",
    ]);
    let test = TestSet::open(folder.path(), None).expect("the layout is right");
    let seen: Vec<_> = test
        .samples
        .iter()
        .map(|sample| (sample.kind.as_str(), sample.is_defect(), sample.masks.len()))
        .collect();
    assert_eq!(
        seen,
        [("good", false, 0), ("crack", true, 1), ("crack", true, 0)]
    );
    assert_eq!(test.left_out, []);
}

/// Checks a picture `test/crack/000.png` and its masks, in all forms that are in use.
#[test]
fn the_usual_places_and_names_of_masks_are_found() {
    for masks in [
        &["ground_truth/crack/000_mask.png"][..],
        &["ground_truth/crack/000_mask.PNG"],
        &["ground_truth/crack/000_MASK.png"],
        &["ground_truth/crack/000_mask.bmp"],
        &["ground_truth/crack/000_mask.tif"],
        &["ground_truth/crack/000_mask.jpg"],
        &["ground_truth/crack/000.png"],
        &["ground_truth/crack/000.bmp"],
        &["ground_truth/crack/000_gt.png"],
        &["ground_truth/crack/000_GT.png"],
        &["ground_truth/crack/000_label.bmp"],
        &["ground_truth/Crack/000_mask.png"],
        &["ground_truth/crack/000/000.png"],
        &[
            "ground_truth/crack/000/000.png",
            "ground_truth/crack/000/001.png",
        ],
        &["ground_truth/000_mask.png"],
        &["ground_truth/000.png"],
        &["Ground_Truth/crack/000_mask.png"],
        &["groundtruth/crack/000_mask.png"],
        &["ground-truth/crack/000_mask.png"],
        &["masks/crack/000.png"],
        &["gt/crack/000.png"],
        &["test/crack/000_mask.png"],
        &["test/crack/000_GT.png"],
        &["test/crack/000_label.bmp"],
    ] {
        let folder = folder_with(&[masks, &["test/crack/000.png", "test/good/001.png"]].concat());
        let test = TestSet::open(folder.path(), None).expect("it is clear");
        let [good, crack] = &test.samples[..] else {
            panic!("{masks:?}: {:?}", test.samples);
        };
        assert_eq!(names(&folder, &crack.masks), masks);
        assert!(
            good.masks.is_empty() && test.left_out.is_empty(),
            "{test:?}"
        );
    }
}

#[test]
fn a_picture_that_is_called_like_a_mask_has_its_own() {
    let folder = folder_with(&["test/seal/a_seg.png", "ground_truth/seal/a_seg.png"]);
    let test = TestSet::open(folder.path(), None).expect("it is clear");
    assert_eq!(
        names(&folder, &test.samples[0].masks),
        ["ground_truth/seal/a_seg.png"]
    );
}

#[test]
fn masks_of_nothing_and_whatever_else_is_not_used_are_named_with_their_number() {
    for (more, expected) in [
        (
            &[
                "ground_truth/crack/7_mask.png",
                "ground_truth/crack/8_mask.png",
            ][..],
            "2 files of DIR/ground_truth/crack not used: masks of no image that is known, \
             7_mask.png among them",
        ),
        (
            &["ground_truth/dent/1.png"],
            "1 file of DIR/ground_truth/dent not used: masks of no",
        ),
        (
            &["ground_truth/5.png"],
            "1 file of DIR/ground_truth not used: masks of no",
        ),
        (
            &["ground_truth/crack/1.json"],
            "DIR/ground_truth/crack not used: no images by their",
        ),
        (
            &["test/a.png", "test/b.png"],
            "2 files of DIR/test not used: images that lie in no",
        ),
        (
            &["test/notes.txt"],
            "1 file of DIR/test not used: no images by their names: 1 .txt",
        ),
        (
            &["test/crack/deep/a.png"],
            "1 file of DIR/test/crack/deep not used: images in a",
        ),
        (
            &["test/crack/a.gif"],
            "1 file of DIR/test/crack not used: no images by their names",
        ),
        (
            &["test/wrap/dent/a.png"],
            "1 file of DIR/test/wrap/dent not used: images in a folder",
        ),
    ] {
        let files = [more, &["test/crack/1.png", "test/good/1.png"]].concat();
        let folder = folder_with(&files);
        let test = TestSet::open(folder.path(), None).expect("it is clear");
        let said = said(&folder, &test.left_out);
        assert!(said.len() == 1 && said[0].contains(expected), "{said:?}");
    }
}

#[test]
fn what_is_in_doubt_is_refused_by_its_name() {
    for (more, expected) in [
        (&["test/ok/1.png"][..], "test/ok"),
        (&["test/Good/1.png"], "test/Good"),
        (&["test/OK/1.png"], "test/OK"),
        (&["test/normal/1.png"], "test/normal"),
        (&["test/pass/1.png"], "test/pass"),
        (&["test/good_parts/1.png"], "test/good_parts"),
        (&["test/ground_truth/1.png"], "test/ground_truth"),
        (&["test/masks/1.png"], "test/masks"),
        (
            &["ground_truth/crack/1.png", "ground_truth/crack/1_mask.png"],
            "1_mask.png",
        ),
        (
            &["ground_truth/crack/1.png", "ground_truth/crack/1/0.png"],
            "crack/1/0.png",
        ),
        (
            &["ground_truth/crack/1.png", "test/crack/1_mask.png"],
            "test/crack/1_mask.png",
        ),
        (&["ground_truth/crack/1.png", "masks/crack/1.png"], "masks"),
        (&["test/crack/1.jpg"], "crack/1.jpg"),
        (&["test/good/1.bmp"], "good/1.bmp"),
    ] {
        let files = [more, &["test/crack/1.png", "test/good/1.png"]].concat();
        let folder = folder_with(&files);
        let error = TestSet::open(folder.path(), None)
            .expect_err("in doubt")
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_folder_of_good_parts_is_the_one_that_is_named() {
    let folder = folder_with(&["test/ok/1.png", "test/crack/1.png"]);
    let test = TestSet::open(folder.path(), Some("ok")).expect("it was said");
    let kinds: Vec<_> = test
        .samples
        .iter()
        .map(|sample| sample.kind.as_str())
        .collect();
    assert_eq!(kinds, ["good", "crack"]);
    let error = TestSet::open(folder.path(), Some("fine")).expect_err("not there");
    assert!(
        error
            .to_string()
            .contains("crack (1 images), ok (1 images)"),
        "{error}"
    );
    // If the name was given, nothing else is ambiguous, except what it would be confused with.
    let folder = folder_with(&["test/ok/1.png", "test/good/1.png"]);
    let test = TestSet::open(folder.path(), Some("good")).expect("it was said");
    assert_eq!(test.samples[1].kind, "ok");
    assert!(TestSet::open(folder.path(), Some("ok")).is_err());
}

#[test]
fn another_layout_is_refused_with_the_one_that_is_wanted() {
    for files in [&["good/a.png"][..], &["test/a.png"], &["test/good/a.txt"]] {
        let folder = folder_with(files);
        let error = TestSet::open(folder.path(), None).expect_err("another layout");
        assert!(error.to_string().contains("test/good"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf_8_are_told_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder_with(&[
        "test/good/1.png",
        "ground_truth/crack/x.txt",
        "test/crack/x.txt",
    ]);
    for name in [&b"\xe4.png"[..], b"\xe5.png"] {
        let name = OsStr::from_bytes(name);
        fs::write(folder.path().join("test/crack").join(name), b"").expect("it can be written");
        let mask = folder.path().join("ground_truth/crack").join(name);
        fs::write(mask, b"").expect("it can be written");
    }
    let test = TestSet::open(folder.path(), None).expect("it is clear");
    for sample in &test.samples[1..] {
        assert_eq!(sample.masks[0].file_name(), sample.path.file_name());
    }
}
