//! `flawd evaluate`: a bundle measured on labelled images.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use jiff::Timestamp;

use super::comparison::{CompareArgs, compare, print_comparison};
use super::json::JsonFile;
use super::open;
use super::progress::ProgressLine;
use crate::cli::RuntimeArgs;
use crate::dataset::{Sample, TestSet};
use crate::evaluation::{Metrics, Report, Step, evaluate};
use crate::failure::{Failure, Outcome, with_causes};
use crate::overlay::save_overlay;

/// Arguments of `flawd evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The bundle
    bundle: PathBuf,
    /// Folder in the MVTec AD layout: test/good, test/<defect>, ground_truth/<defect>
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Write the whole report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a heatmap of each image, as DIR/<defect>/<image>.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the overall metrics into the bundle
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    comparison: CompareArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code; an image that cannot be used is none, unless none can.
pub fn run(args: EvaluateArgs) -> Outcome {
    let test = TestSet::open(&args.data).map_err(Failure::usage)?;
    let json = args.json.as_deref().map(JsonFile::create).transpose()?;
    let (mut bundle, mut scorer) = open(&args.bundle, &args.runtime)?;

    let comparing = args.comparison.prepare(&bundle, &args.data)?;
    let threshold = bundle.calibration().threshold();
    let geometry = *scorer.geometry();
    let mut progress = ProgressLine::new();
    let mut done = 0;
    let mut report = evaluate(&bundle, &mut scorer, &args.data, &test, |step| {
        match step {
            Step::Skipped { path, error } => {
                progress.line(&format!(
                    "skipped {}: {}",
                    path.display(),
                    with_causes(error)
                ));
            }
            Step::Scored {
                sample,
                image,
                prediction,
            } => {
                done += 1;
                progress.update(&format!("scored {done}/{}", test.samples.len()));
                if let Some(out) = &args.out {
                    let path = overlay_path(out, sample);
                    save_overlay(&path, image, &geometry, &prediction.anomaly_map, threshold)?;
                }
            }
        }
        anyhow::Ok(())
    })?;
    drop(progress);

    if report.images.is_empty() {
        return Err(anyhow!("none of the {} images could be scored", test.samples.len()).into());
    }
    if let Some(comparing) = comparing {
        report.comparison = Some(compare(&comparing, &report, &args.runtime)?);
    }
    print_report(&report);
    if let Some(json) = json {
        json.write(&report)?;
    }
    if args.record {
        let metrics = report.overall.to_record().context(
            "metrics are recorded in a bundle only where there are good images and defects",
        )?;
        bundle.record_metrics(metrics, Timestamp::now())?;
    }
    Ok(())
}

fn overlay_path(out: &Path, sample: &Sample) -> PathBuf {
    let name = sample.path.file_stem().unwrap_or_default();
    let mut name = name.to_owned();
    name.push(".png");
    out.join(&sample.kind).join(name)
}

/// Width of the first column at least.
const KIND: usize = 12;

fn print_report(report: &Report) {
    let kinds = report.defect_types.keys().map(String::len);
    let width = kinds.max().unwrap_or_default().max(KIND);
    println!(
        "{:width$} {:>6} {:>7} {:>7} {:>7} {:>21} {:>7}",
        "defect", "images", "AUROC", "AP", "F1-max", "escapes (95 %)", "pixels"
    );
    for (kind, metrics) in &report.defect_types {
        print_row(kind, metrics, width);
    }
    print_row("all", &report.overall, width);
    let overall = &report.overall;
    println!();
    println!("threshold      {}", report.threshold);
    println!(
        "false rejects  {} of {} good: {}; promised: {:.1} % at most",
        overall.counts.false_rejects,
        overall.counts.good,
        rate(
            overall.false_reject_rate,
            overall.false_reject_rate_interval
        ),
        100.0 * report.promised_false_reject_rate
    );
    if !report.skipped.is_empty() {
        println!("skipped        {}, named above", report.skipped.len());
    }
    if let Some(comparison) = &report.comparison {
        println!();
        print_comparison(comparison);
    }
}

fn print_row(kind: &str, metrics: &Metrics, width: usize) {
    println!(
        "{kind:width$} {:>6} {:>7} {:>7} {:>7} {:>21} {:>7}",
        metrics.counts.defect,
        number(metrics.image_auroc),
        number(metrics.image_ap),
        number(metrics.f1_max),
        rate(metrics.escape_rate, metrics.escape_rate_interval),
        number(metrics.pixel_auroc),
    );
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

/// A rate with its interval, in per cent.
fn rate(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    match (value, interval) {
        (Some(value), Some([low, high])) => format!(
            "{:.1} % ({:.1} to {:.1})",
            100.0 * value,
            100.0 * low,
            100.0 * high
        ),
        _ => "-".to_owned(),
    }
}
