//! `flawd evaluate`: measures bundles on labelled images.

pub(crate) mod comparison;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;

use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::open;
use super::output::{Content, OutputFile, are_two, heatmap_folder, keep_apart};
use super::progress::ProgressLine;
use crate::bundle::Bundle;
use crate::bundle::scorer::Scorer;
use crate::files::path_text;
use crate::lab::dataset::{GOOD, Sample, TestSet};
use crate::lab::evaluation::{
    Category, CategoryError, Evaluation, EvaluationPlan, EvaluationStep, EvaluationTarget,
    Overview, Splits, evaluate,
};
use crate::lab::report::{Gallery, Page, Section, page};
use crate::lab::variation::ChangeList;
use crate::messages::{lines, with_causes};
use crate::pictures::heatmap::save_overlay;
use comparison::{CompareArgs, compare};

/// Arguments of `flawd evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Bundle, or a folder of bundles, each of which is evaluated on the folder of the same name
    bundle: PathBuf,
    /// Folder in the MVTec AD layout: test/good, test/<defect>, ground_truth/<defect>; or a folder
    /// of such folders
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Name of the folder of good parts in DIR/test; defaults to `good`
    #[arg(long, value_name = "NAME")]
    good: Option<String>,
    /// Write all numbers as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a human-readable report: one self-contained HTML file with plots and pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a heatmap for each image, as DIR/<defect>/<image>.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the overall metrics into the bundle
    #[arg(long)]
    record: bool,
    /// Change every picture before it is scored, such as noise=2% or light=-5%,turn=3: light, noise
    /// and zoom in per cent; blur and shift in pixels; turn in degrees; jpeg as a quality
    #[arg(long, value_name = "CHANGES", conflicts_with_all = ["record", "compare"])]
    under: Option<ChangeList>,
    /// Number of random splits of the good scores for measuring the calibration's promise
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = splits)]
    splits: usize,
    /// Seed of the random splits
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    comparison: CompareArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Parses a number of splits that is large enough for an interval.
fn splits(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(splits @ 10..=100_000) => Ok(splits),
        _ => Err(format!(
            "`{text}` is not a number of splits from 10 to 100000: from fewer, nothing can be said of \
             their mean"
        )),
    }
}

/// A bundle and its results.
struct Evaluated {
    category: Category,
    bundle: Bundle,
    report: Evaluation,
    gallery: Gallery,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code. An image that cannot be used is not an error, unless all
/// are unusable.
pub fn run(args: EvaluateArgs) -> Outcome {
    let selection =
        EvaluationTarget::find(&args.bundle, &args.data).map_err(|error| match error {
            CategoryError::NoBundle(_) => Failure::config(error),
            error => Failure::usage(error),
        })?;
    let categories = selection.categories();
    // Report all obstacles before the first image is scored.
    let tests: Vec<TestSet> = categories
        .iter()
        .map(|category| TestSet::open(&category.data, args.good.as_deref()).map_err(Failure::usage))
        .collect::<Result<_, _>>()?;
    if let (Some(json), Some(html)) = (&args.json, &args.html) {
        are_two(json, html).map_err(Failure::usage)?;
    }
    let json = args
        .json
        .as_deref()
        .map(|path| OutputFile::create(path, Content::Json))
        .transpose()?;
    let html = args
        .html
        .as_deref()
        .map(|path| OutputFile::create(path, Content::Html))
        .transpose()?;
    for category in categories {
        Bundle::open(&category.bundle).map_err(Failure::config)?;
    }
    let is_one = matches!(selection, EvaluationTarget::One(_));
    let outs: Vec<Option<PathBuf>> = categories
        .iter()
        .map(|category| {
            let name = if is_one { "" } else { &category.name };
            args.out.as_ref().map(|out| out.join(name))
        })
        .collect();
    for ((category, test), out) in categories.iter().zip(&tests).zip(&outs) {
        if let Some(out) = out {
            check_overlays(out, category, test).map_err(Failure::usage)?;
            heatmap_folder(out)?;
        }
    }

    let mut evaluated = Vec::new();
    let mut failed = None;
    for ((category, test), out) in categories.iter().zip(&tests).zip(&outs) {
        match evaluate_one(&args, category, test, out.as_deref()) {
            Ok((one, failure)) => {
                evaluated.push(one);
                failed = failed.or(failure);
            }
            // The other results took long, and are worth as much without this one.
            Err(failure) if !is_one => {
                let text = format!("failed {}: {:#}", category.name, failure.error);
                eprintln!("{}", lines(&text));
                failed.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if !evaluated.is_empty() {
        finish(&selection, &evaluated, json, html)?;
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    if args.record {
        evaluated.iter_mut().try_for_each(Evaluated::record)?;
    }
    Ok(())
}

impl Evaluated {
    /// Records the metrics in the bundle.
    fn record(&mut self) -> anyhow::Result<()> {
        let metrics = self.report.overall.to_record().with_context(|| {
            format!(
                "metrics are recorded in a bundle only where there are good images and defects; {} \
                 has not both",
                self.category.data.display()
            )
        })?;
        Ok(self.bundle.record_metrics(metrics, Timestamp::now())?)
    }
}

/// Measures one category. If a comparison was requested and failed, also returns why.
fn evaluate_one(
    args: &EvaluateArgs,
    category: &Category,
    test: &TestSet,
    out: Option<&Path>,
) -> Result<(Evaluated, Option<Failure>), Failure> {
    let (bundle, mut scorer) = open(&category.bundle, &args.runtime)?;
    let good = args.good.as_deref().unwrap_or(GOOD);
    let comparing = args.comparison.prepare(&bundle, &category.data, good)?;
    let mut gallery = Gallery::new(bundle.calibration().threshold(), *scorer.geometry());
    let images = args.html.is_some().then_some(&mut gallery);
    let mut report = score(args, (&bundle, &mut scorer), (category, test), out, images)?;
    if report.images.is_empty() {
        return Err(anyhow!(
            "none of the {} images of {} could be scored",
            test.samples.len(),
            category.data.display()
        )
        .into());
    }
    let compared = comparing.map(|comparing| compare(&comparing, &report, &args.runtime));
    let (comparison, failure) = match compared.transpose() {
        Ok(comparison) => (comparison, None),
        Err(failure) => (None, Some(failure)),
    };
    report.comparison = comparison;
    let evaluated = Evaluated {
        category: category.clone(),
        bundle,
        report,
        gallery,
    };
    Ok((evaluated, failure))
}

/// Scores the images of one category: shows how far it is, draws heatmaps into `out`, and keeps
/// what the report shows in `gallery`.
fn score(
    args: &EvaluateArgs,
    (bundle, scorer): (&Bundle, &mut Scorer),
    (category, test): (&Category, &TestSet),
    out: Option<&Path>,
    mut gallery: Option<&mut Gallery>,
) -> anyhow::Result<Evaluation> {
    let threshold = bundle.calibration().threshold();
    let geometry = *scorer.geometry();
    let plan = EvaluationPlan {
        splits: Splits {
            count: args.splits,
            seed: args.seed,
        },
        under: args.under.clone(),
    };
    let mut progress = ProgressLine::new();
    progress.left_out(&test.left_out);
    let mut done = 0;
    evaluate(bundle, scorer, &category.data, test, &plan, |step| {
        if let Some(gallery) = &mut gallery {
            gallery.observe(&step)?;
        }
        match step {
            EvaluationStep::Skipped { path, error } => {
                progress.skipped(path, &with_causes(error));
            }
            EvaluationStep::Scored {
                sample,
                image,
                prediction,
                ..
            } => {
                done += 1;
                let total = test.samples.len();
                progress.update(&format!("{}: scored {done}/{total}", category.name));
                if let Some(out) = out {
                    let path = overlay_path(out, sample);
                    save_overlay(&path, image, &geometry, &prediction.anomaly_map, threshold)?;
                }
            }
        }
        Ok(())
    })
}

/// Makes sure that no heatmap overwrites another one, or something in the data set.
fn check_overlays(out: &Path, category: &Category, test: &TestSet) -> anyhow::Result<()> {
    let overlays = test.samples.iter();
    let overlays: Vec<_> = overlays
        .map(|sample| (sample.path.as_path(), overlay_path(out, sample)))
        .collect();
    keep_apart(&overlays)?;
    let folders = ["train", "test", "ground_truth"].map(|name| category.data.join(name));
    let folders: Vec<_> = folders.iter().flat_map(|it| it.canonicalize()).collect();
    for (_, overlay) in &overlays {
        if let Ok(existing) = overlay.canonicalize()
            && folders.iter().any(|folder| existing.starts_with(folder))
        {
            bail!(
                "a heatmap would overwrite {}, which is data; give another folder with --out",
                overlay.display()
            );
        }
    }
    Ok(())
}

fn overlay_path(out: &Path, sample: &Sample) -> PathBuf {
    let name = sample.path.file_stem().unwrap_or_default();
    let mut name = name.to_owned();
    name.push(".png");
    out.join(&sample.kind).join(name)
}

/// Prints and writes the results; `evaluated` has what `selection` has, so it is not empty.
fn finish(
    selection: &EvaluationTarget,
    evaluated: &[Evaluated],
    json: Option<OutputFile<'_>>,
    html: Option<OutputFile<'_>>,
) -> anyhow::Result<()> {
    let reports = evaluated.iter();
    let reports = reports.map(|evaluated| (evaluated.category.name.as_str(), &evaluated.report));
    let overview = match selection {
        EvaluationTarget::One(_) => None,
        EvaluationTarget::Several { left_out, .. } => {
            Some(Overview::new(reports.collect(), left_out))
        }
    };
    match &overview {
        Some(overview) => table::print_overview(overview),
        None => table::print_report(&evaluated[0].report),
    }
    if let Some(json) = json {
        match &overview {
            Some(overview) => json.write_json(overview)?,
            None => json.write_json(&evaluated[0].report)?,
        }
    }
    if let Some(html) = html {
        let page = page(&Page {
            sections: evaluated.iter().map(section).collect(),
            overview: overview.as_ref(),
            command: command_line(),
            made: Timestamp::now(),
        });
        html.write(page.as_bytes())?;
    }
    Ok(())
}

fn section(evaluated: &Evaluated) -> Section<'_> {
    Section {
        name: &evaluated.category.name,
        report: &evaluated.report,
        manifest: evaluated.bundle.manifest(),
        bundle: evaluated.bundle.digest(),
        gallery: &evaluated.gallery,
    }
}

/// Returns the command as it was typed, for a shell.
fn command_line() -> String {
    let quoted = |argument: std::ffi::OsString| {
        let argument = path_text::text(Path::new(&argument)).into_owned();
        let is_plain = |letter: char| letter.is_alphanumeric() || "-_./=,:+@%".contains(letter);
        if !argument.is_empty() && argument.chars().all(is_plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    let arguments = std::env::args_os().skip(1).map(quoted);
    std::iter::once("flawd".to_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
