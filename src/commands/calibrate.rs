//! `flawd calibrate`: a new threshold from held-out good images.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::digest::Digest;
use jiff::Timestamp;

use super::progress::ProgressLine;
use super::{open, share};
use crate::bundle::{Bundle, GoldenInput, GoodImage, Thresholds, choose_golden};
use crate::cli::RuntimeArgs;
use crate::dataset::images_in;
use crate::decode::decode_file;
use crate::digest::sha256_file;
use crate::failure::{Failure, Outcome, with_causes};
use crate::scorer::{Scorer, ScorerError};

/// Arguments of `flawd calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// The bundle, which gets the new threshold
    bundle: PathBuf,
    /// Folder of good images that did not train the model
    #[arg(value_name = "DIR")]
    images: PathBuf,
    /// The false-reject rate that the threshold promises
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = share)]
    false_reject_rate: f64,
    /// Where the images are too few for that rate, promise the lowest that they allow
    #[arg(long)]
    accept_achievable: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

impl CalibrateArgs {
    fn calibrate(&self, scores: Vec<f32>) -> Result<Calibration, CalibrationError> {
        if self.accept_achievable {
            Calibration::from_scores_or_achievable(scores, self.false_reject_rate)
        } else {
            Calibration::from_scores(scores, self.false_reject_rate)
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code; the bundle is then as it was.
pub fn run(args: CalibrateArgs) -> Outcome {
    let paths = images_in(&args.images).map_err(Failure::usage)?;
    // Too few is found before any image is scored.
    args.calibrate(vec![0.0; paths.len()])?;
    let (mut bundle, mut scorer) = open(&args.bundle, &args.runtime)?;

    let images = score(&mut scorer, &usable(&bundle, &paths)?);
    let (scored, good): (Vec<&Path>, Vec<GoodImage>) = images.into_iter().unzip();
    let thresholds = Thresholds::from_good(&good, |scores| args.calibrate(scores))?;
    let scores: Vec<f32> = good.iter().map(|image| image.score).collect();
    let mut golden = Vec::new();
    for place in choose_golden(&scores, &thresholds.calibration) {
        let image = decode_file(scored[place])?;
        let score = scores[place];
        golden.push(GoldenInput { image, score });
    }

    let old = bundle.calibration().threshold();
    bundle.recalibrate(thresholds, &golden, Timestamp::now())?;
    let manifest = bundle.manifest();
    println!("bundle     {} {}", manifest.name, manifest.version);
    println!(
        "images     {}, {} skipped",
        scores.len(),
        paths.len() - scores.len()
    );
    println!(
        "threshold  {} (before: {old})",
        manifest.calibration.threshold()
    );
    println!("promise    {}", manifest.calibration.promise());
    Ok(())
}

/// Leaves out what cannot be read, and files that are there twice: two scores of one part are not
/// exchangeable with the next part's. Images that trained the model end the command.
fn usable<'a>(bundle: &Bundle, paths: &'a [PathBuf]) -> anyhow::Result<Vec<&'a Path>> {
    let mut seen: HashMap<Digest, &Path> = HashMap::new();
    let mut trained_on: Vec<&Path> = Vec::new();
    let mut usable = Vec::new();
    for path in paths {
        match sha256_file(path) {
            Err(error) => eprintln!("skipped {}: {error}", path.display()),
            Ok(digest) if bundle.was_trained_on(digest) => trained_on.push(path),
            Ok(digest) => match seen.entry(digest) {
                Entry::Occupied(earlier) => eprintln!(
                    "skipped {}: the same file as {}",
                    path.display(),
                    earlier.get().display()
                ),
                Entry::Vacant(place) => {
                    place.insert(path);
                    usable.push(path.as_path());
                }
            },
        }
    }
    if let [first, ..] = trained_on[..] {
        bail!(
            "{} of the {} images trained this model, {} among them: a threshold from images that \
             the model knows would be too low; use other good images",
            trained_on.len(),
            paths.len(),
            first.display()
        );
    }
    Ok(usable)
}

/// Scores what can be scored; names and leaves out what cannot.
fn score<'a>(scorer: &mut Scorer, paths: &[&'a Path]) -> Vec<(&'a Path, GoodImage)> {
    let mut examine = |path| -> Result<GoodImage, ScorerError> {
        Ok(scorer.examine(&decode_file(path)?)?.into())
    };
    let mut progress = ProgressLine::new();
    let mut scored = Vec::new();
    for (done, path) in paths.iter().enumerate() {
        progress.update(&format!("scored {done}/{}", paths.len()));
        match examine(path) {
            Ok(image) => scored.push((*path, image)),
            Err(error) => {
                progress.line(&format!(
                    "skipped {}: {}",
                    path.display(),
                    with_causes(&error)
                ));
            }
        }
    }
    scored
}
