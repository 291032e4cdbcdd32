//! `flawd predict`: scores single images.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use flawd_core::regions::{Region, regions};
use flawd_core::verdict::Verdict;
use serde::Serialize;

use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::open;
use super::output::{heatmap_folder, keep_apart};
use super::progress::ProgressLine;
use crate::bundle::Bundle;
use crate::bundle::scorer::{ScoredImage, Scorer};
use crate::files::path_text;
use crate::lab::dataset::images_in;
use crate::messages::{one_line, with_causes};
use crate::pictures::decode::decode_file;
use crate::pictures::heatmap::{OverlayError, save_overlay};

/// Arguments of `flawd predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Bundle to score with
    bundle: PathBuf,
    /// Image files, or folders of them
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Print one JSON object per image, one per line
    #[arg(long)]
    json: bool,
    /// Write a heatmap for each image, as DIR/<image>.png or, if two images have the same name, as
    /// DIR/<folder>/<image>.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The result for an image.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(serialize_with = "path_text::serialize")]
    path: &'a Path,
    score: f32,
    threshold: f32,
    p_value: f64,
    #[serde(flatten)]
    verdict: Verdict,
    /// Where the image is unusual, in its pixels; absent if the bundle has no threshold for
    /// regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<Region>>,
    /// Why the line would not judge such a picture, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_quality: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code. Images that cannot be scored and heatmaps that cannot be
/// written are reported, and all others scored first.
pub fn run(args: PredictArgs) -> Outcome {
    let images = list(&args.images)?;
    let heatmaps = match &args.out {
        Some(out) => places(&images, out).map_err(Failure::usage)?,
        None => vec![None; images.len()],
    };
    if let Some(out) = &args.out {
        heatmap_folder(out)?;
    }
    let (bundle, mut scorer) = open(&args.bundle, &args.runtime)?;
    let width = images.iter().map(|path| shown(path).chars().count());
    let width = width.max().unwrap_or_default();
    if !args.json {
        println!(
            "{:width$}  {:>9}  {:>7}  verdict",
            "image", "score", "p-value"
        );
    }
    let (mut failed, mut not_drawn) = (0, 0);
    for (path, heatmap) in images.iter().zip(&heatmaps) {
        let row = match predict(path, &bundle, &mut scorer, heatmap.as_deref()) {
            Ok((row, Ok(()))) => row,
            Ok((row, Err(error))) => {
                not_drawn += 1;
                eprintln!("{}", one_line(&with_causes(&error)));
                row
            }
            Err(error) => {
                failed += 1;
                let skipped = format!("skipped {}: {}", path.display(), with_causes(&*error));
                eprintln!("{}", one_line(&skipped));
                continue;
            }
        };
        if args.json {
            println!("{}", serde_json::to_string(&row)?);
        } else {
            println!(
                "{:width$}  {:>9.4}  {:>7.4}  {}{}",
                shown(path),
                row.score,
                row.p_value,
                row.verdict,
                row.image_quality
                    .map_or_else(String::new, |why| format!("  ({why})"))
            );
        }
    }
    if failed > 0 {
        return Err(anyhow!("{failed} of {} images could not be scored", images.len()).into());
    }
    if not_drawn > 0 {
        return Err(anyhow!(
            "{not_drawn} of {} heatmaps could not be written",
            images.len()
        )
        .into());
    }
    Ok(())
}

/// Returns a path as the table shows it.
fn shown(path: &Path) -> String {
    one_line(&path_text::text(path)).into_owned()
}

fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut images = Vec::new();
    for path in paths {
        if path.is_dir() {
            let listed = images_in(path).map_err(Failure::usage)?;
            ProgressLine::new().left_out(&listed.left_out);
            images.extend(listed.paths);
        } else {
            images.push(path.clone());
        }
    }
    Ok(images)
}

/// Returns where each image's heatmap is written. File names are often numbers that start again in
/// each folder, so the folder's name is put before them if they are not unique.
fn places(images: &[PathBuf], out: &Path) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let name = |image: &Path| {
        // The whole name, so that part.png and part.jpg do not overwrite each other.
        let mut name: OsString = image.file_name().unwrap_or_default().to_owned();
        name.push(".png");
        name
    };
    let distinct: HashSet<&PathBuf> = images.iter().collect();
    let names: HashSet<_> = distinct.iter().map(|image| name(image)).collect();
    let is_enough = names.len() == distinct.len();
    let place = |image: &PathBuf| {
        let folder = image.parent().and_then(Path::file_name);
        let folder = folder.filter(|_| !is_enough).unwrap_or_default();
        out.join(folder).join(name(image))
    };
    let places: Vec<_> = images.iter().map(|it| (it.as_path(), place(it))).collect();
    keep_apart(&places)?;
    Ok(places.into_iter().map(|(_, place)| Some(place)).collect())
}

fn predict<'a>(
    path: &'a Path,
    bundle: &Bundle,
    scorer: &mut Scorer,
    heatmap: Option<&Path>,
) -> anyhow::Result<(Row<'a>, Result<(), OverlayError>)> {
    let calibration = bundle.calibration();
    let image = decode_file(path, scorer.depth())?;
    let ScoredImage {
        prediction,
        measured,
    } = scorer.examine(&image)?;
    let drawn = heatmap.map_or(Ok(()), |heatmap| {
        save_overlay(
            heatmap,
            &image,
            scorer.geometry(),
            &prediction.anomaly_map,
            calibration.threshold(),
        )
    });
    let map = &prediction.anomaly_map;
    let regions = match &bundle.manifest().pixel {
        Some(pixel) => Some(regions(
            map,
            pixel.threshold(),
            scorer.geometry(),
            image.size(),
        )?),
        None => None,
    };
    let quality = bundle.manifest().quality.as_ref();
    let quality = quality.and_then(|quality| quality.limits.check(&measured).err());
    let row = Row {
        path,
        score: prediction.score,
        threshold: calibration.threshold(),
        p_value: calibration.p_value(prediction.score),
        verdict: Verdict::from_score(prediction.score, calibration),
        regions,
        image_quality: quality.map(|why| why.to_string()),
    };
    Ok((row, drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(images: &[&str]) -> Vec<String> {
        let images: Vec<_> = images.iter().map(PathBuf::from).collect();
        let places = places(&images, Path::new("out")).unwrap();
        let shown = |place: Option<PathBuf>| place.unwrap().display().to_string();
        places.into_iter().map(shown).collect()
    }

    #[test]
    fn images_of_the_same_name_keep_their_folders_and_others_need_none() {
        assert_eq!(
            placed(&["test/good/000.png", "a/001.jpg"]),
            ["out/000.png.png", "out/001.jpg.png"]
        );
        assert_eq!(
            placed(&["test/good/000.png", "test/crack/000.png", "b.png"]),
            [
                "out/good/000.png.png",
                "out/crack/000.png.png",
                "out/b.png.png"
            ]
        );
        let images = ["x/good/0.png", "y/good/0.png"].map(PathBuf::from);
        assert!(places(&images, Path::new("out")).is_err());
    }
}
