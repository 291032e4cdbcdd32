//! Pictures under another light than those of the training, and under changes that a line will see.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd_core::condition::Quantity;
use flawd_core::image::Size;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, flawd, good_parts, training};

struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        Self {
            folder: good_parts(Size::new(96, 96), 8, 24),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn good(&self) -> PathBuf {
        self.path("data/train/good")
    }

    fn train(&self, name: &str, more: &str) -> Finished {
        let mut all = training(self.folder.path(), "cache");
        all.extend(arguments!["--out", self.path(name)]);
        let settings = "--feature features_s32 --size 128x128 --epochs 12 --hidden 4 --kernels 3 \
                        --batch 8 --hold-out 0.5 --false-reject-rate 0.2";
        let words = settings.split_whitespace().chain(more.split_whitespace());
        all.extend(words.map(OsString::from));
        flawd(all)
    }

    fn bundle(&self, name: &str) -> Bundle {
        Bundle::open(&self.path(name)).expect("every digest fits")
    }

    /// The good pictures, darker by a gain, in a new folder.
    fn darker(&self, name: &str, gain: f32) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).expect("it can be made");
        for entry in fs::read_dir(self.good()).expect("it can be listed") {
            let entry = entry.expect("listed");
            let mut image = image::open(entry.path()).expect("a picture").into_rgb8();
            for value in image.iter_mut() {
                *value = (f32::from(*value) * gain).round() as u8;
            }
            let name = Path::new(&entry.file_name()).with_extension("png");
            image.save(folder.join(name)).expect("writable");
        }
        folder
    }

    /// The mean score that a bundle gives the pictures of a folder.
    fn mean_score(&self, bundle: &str, folder: &Path) -> f64 {
        let predicted =
            flawd(arguments!["predict", self.path(bundle), folder, "--json"]).succeeded();
        let scores: Vec<f64> = predicted
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .map(|row| row["score"].as_f64().expect("a number"))
            .collect();
        assert!(!scores.is_empty());
        scores.iter().sum::<f64>() / scores.len() as f64
    }
}

/// A lamp that lost a tenth moves the scores of good parts far less if pictures are brought to one
/// light, which is the default; the bundle says so.
#[test]
fn a_darker_lamp_hardly_moves_the_scores() {
    let workshop = Workshop::new();
    workshop
        .train("one", "")
        .succeeded()
        .said(&["light: every picture is brought to"]);
    workshop.train("taken", "--light none").succeeded();
    let light = workshop.bundle("one").manifest().model.light;
    assert_eq!(light.expect("it is the default").limit, 1.25);
    assert_eq!(workshop.bundle("taken").manifest().model.light, None);

    let dark = workshop.darker("dark", 0.9);
    let good = workshop.good();
    let moved = |bundle: &str| {
        let [as_taken, darker] = [&good, &dark].map(|folder| workshop.mean_score(bundle, folder));
        (darker / as_taken - 1.0).abs()
    };
    let (one, taken) = (moved("one"), moved("taken"));
    assert!(one < 0.02 && 3.0 * one < taken, "{one} {taken}");
    let far_darker = workshop.darker("far darker", 0.6);
    let (bundle, rate) = (workshop.path("taken"), "--false-reject-rate");
    let calibrate = |bundle| flawd(arguments!["calibrate", bundle, &far_darker, rate, "0.2"]);
    calibrate(workshop.path("one"))
        .failed(78, &["corrects a factor of 1.25 at most", "train with"]);
    calibrate(bundle).succeeded();
    flawd(arguments!["model", "inspect", workshop.path("one")]).prints("brought to a level of");
}

/// What calibrates is the worst of the changes; the bundle says which, and a later calibration
/// covers them too unless it is told otherwise.
#[test]
fn a_promise_covers_the_changes_that_it_was_told_of() {
    let workshop = Workshop::new();
    workshop.train("plain", "").succeeded();
    workshop
        .train("varied", "--vary noise=3%,shift=2")
        .prints("as it is and at each end of shift=2,noise=3%");
    let plain = workshop.bundle("plain");
    let varied = workshop.bundle("varied");
    assert_eq!(plain.calibration().covers(), None);
    assert_eq!(varied.calibration().covers(), Some("shift=2,noise=3%"));
    flawd(arguments!["model", "verify", varied.folder()]).succeeded();

    // What it was told of is no news for the line, and no reason to refuse a picture: 3 % of white
    // are 7.6 grey levels.
    let quality = |bundle: &Bundle| {
        bundle
            .manifest()
            .quality
            .clone()
            .expect("it was calibrated")
    };
    let covered = |bundle: &Bundle| quality(bundle).pictures.expect("large enough").covered;
    assert!(covered(&plain).is_empty());
    let [low, high] = covered(&varied)[&Quantity::Noise];
    assert!(high - low > 4.0, "{low} {high}");
    let most = |bundle: &Bundle| quality(bundle).limits.noise_max.expect("large enough");
    assert!(most(&varied) > most(&plain) + 4.0);

    let other = good_parts(Size::new(96, 96), 9, 12);
    let other = other.path().join("data/train/good");
    let again = |bundle: &Bundle, more: &[&str]| {
        let mut all = Vec::from(arguments!["calibrate", bundle.folder(), &other]);
        all.extend(["--false-reject-rate", "0.2"].map(OsString::from));
        all.extend(more.iter().map(OsString::from));
        flawd(all).succeeded();
        Bundle::open(bundle.folder()).expect("every digest fits")
    };
    let kept = again(&varied, &[]);
    assert_eq!(kept.calibration().covers(), Some("shift=2,noise=3%"));
    let none = again(&varied, &["--vary", "none"]);
    assert_eq!(none.calibration().covers(), None);
    let pairs = kept
        .calibration()
        .scores()
        .iter()
        .zip(none.calibration().scores());
    assert!(pairs.clone().all(|(worst, taken)| worst >= taken));
    assert!(pairs.clone().any(|(worst, taken)| worst > taken));
    // Another rate from the same scores covers the same.
    let kept = again(&varied, &["--vary", "noise=3%"]);
    flawd(arguments![
        "calibrate",
        kept.folder(),
        "--false-reject-rate",
        "0.5"
    ])
    .prints("at each end of noise=3%");
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let workshop = Workshop::new();
    for (changes, said) in [
        ("lihgt=5%", "light"),
        ("noise=2", "noise"),
        ("light=5%,light=6%", "light"),
    ] {
        workshop
            .train("none", &format!("--vary {changes}"))
            .failed(64, &[said]);
    }
    workshop.train("none", "--light 0%").failed(64, &["25%"]);
    workshop
        .train("none", "--vary blur=10")
        .failed(1, &["--vary blur=10", "blurred", "vary less"]);
    assert!(!workshop.path("none").exists());
}
