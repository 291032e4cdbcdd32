//! `flawd evaluate --compare`: compares the bundle with other methods.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flawd_onnx::filter_bank::filter_bank;

use crate::files::digest::sha256;

use crate::bundle::Bundle;
use crate::commands::args::features::{self, CacheFolderArgs};
use crate::commands::args::runtime::RuntimeArgs;
use crate::commands::failure::Failure;
use crate::commands::progress::ProgressLine;
use crate::lab::comparison::{
    ComparisonError, ComparisonPlan, ComparisonStep, Method, PreparedComparison,
};
use crate::lab::evaluation::Evaluation;
use crate::lab::evaluation::compared::{AcrossCategories, Comparison};
use crate::lab::package::fetched;
use crate::messages::one_line;

/// Methods to compare the bundle with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Comparison with other methods on the same features")]
pub(crate) struct CompareArgs {
    /// Methods to fit on the images that trained the bundle, which must be in DIR/train/good
    #[arg(long, value_enum, value_name = "METHOD,…", value_delimiter = ',')]
    compare: Vec<MethodArg>,
    /// Backbone that the bundle was made with, if it is neither flawd's own nor that of `flawd backbone
    /// fetch lite0`
    #[arg(long, value_name = "FILE", requires = "compare")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheFolderArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodArg {
    /// Mahalanobis distance of the spatial means (Rippel et al., 2020)
    Gaussian,
    /// Distance to the nearest training image
    Knn,
    /// A Gaussian per position (Defard et al., 2020)
    Padim,
    /// A fully connected flow on the spatial means, after Rudolph et al., 2021
    Differnet,
}

impl From<MethodArg> for Method {
    fn from(argument: MethodArg) -> Self {
        match argument {
            MethodArg::Gaussian => Self::Gaussian,
            MethodArg::Knn => Self::Knn,
            MethodArg::Padim => Self::Padim,
            MethodArg::Differnet => Self::Differnet,
        }
    }
}

impl CompareArgs {
    /// Collects what a comparison needs, if one is requested.
    ///
    /// # Errors
    /// If the backbone is the wrong one or training images are missing.
    pub(crate) fn prepare(
        &self,
        bundle: &Bundle,
        data: &Path,
        good: &str,
    ) -> Result<Option<PreparedComparison>, Failure> {
        if self.compare.is_empty() {
            return Ok(None);
        }
        let own = sha256(&filter_bank());
        let default = || fetched().filter(|_| bundle.manifest().backbone.digest != own);
        let plan = ComparisonPlan {
            methods: self.compare.iter().copied().map(Into::into).collect(),
            backbone: self.backbone.clone().or_else(default),
            images: data.to_owned(),
            good: good.to_owned(),
            cache: self.cache.clone().folder().map_err(Failure::usage)?,
        };
        PreparedComparison::prepare(bundle, plan)
            .map(Some)
            .map_err(failure)
    }
}

fn failure(error: ComparisonError) -> Failure {
    match error {
        ComparisonError::Features(error) => features::failure(error),
        ComparisonError::OtherBackbone { .. } => Failure::config(error),
        ComparisonError::Dataset(_) | ComparisonError::TrainingImages { .. } => {
            Failure::usage(error)
        }
        error => error.into(),
    }
}

/// Fits the methods and measures them on the images of `report`.
///
/// # Errors
/// What went wrong, with its exit code.
pub(crate) fn compare(
    comparing: &PreparedComparison,
    report: &Evaluation,
    args: &RuntimeArgs,
) -> Result<Comparison, Failure> {
    let runtime =
        crate::packages::runtime::load(args.onnxruntime.as_deref()).map_err(Failure::config)?;
    let mut progress = ProgressLine::new();
    let mut show = |step: ComparisonStep| match step {
        ComparisonStep::Features(step) => progress.extraction(&step),
        ComparisonStep::Fits(method) => progress.update(&format!("fitting {}", method.name())),
        ComparisonStep::Trains(method, step) => {
            progress.update(&format!("training {}, epoch {}", method.name(), step.epoch));
        }
    };
    let options = args.session_options();
    comparing
        .run(
            &report.images,
            &report.data,
            runtime.with(&options),
            &mut show,
        )
        .map_err(failure)
}

/// Prints the table.
pub(crate) fn print_comparison(comparison: &Comparison) {
    let kinds: Vec<&String> = match comparison.rows.first() {
        Some(row) => row.metrics.defect_types.keys().collect(),
        None => return,
    };
    print!("{:12} {:>7} {:>7} {:>7}", "method", "AUROC", "AP", "F1-max");
    for kind in &kinds {
        print!(" {kind:>9}");
    }
    println!();
    for row in &comparison.rows {
        let metrics = &row.metrics;
        print!(
            "{:12} {:>7.4} {:>7.4} {:>7.4}",
            row.method, metrics.image_auroc, metrics.image_ap, metrics.f1_max
        );
        for kind in &kinds {
            let width = kind.chars().count().max(9);
            print!(" {:>width$.4}", metrics.defect_types[*kind]);
        }
        println!();
    }
    println!(
        "every method is fitted on the {} images that trained the bundle, and measured on {}",
        comparison.training_images, comparison.test_images
    );
}

/// Prints the table of several categories, if there was a comparison.
pub(crate) fn print_across(methods: &[AcrossCategories<'_>]) {
    let Some(first) = methods.first() else {
        return;
    };
    let name = first.image_auroc.keys().map(|name| name.chars().count());
    let name = name.max().unwrap_or_default().max(12);
    let line = |head: &str, cell: &dyn Fn(&AcrossCategories<'_>) -> String| {
        print!("{:name$}", one_line(head));
        for method in methods {
            print!(" {:>9}", cell(method));
        }
        println!();
    };
    println!();
    line("image AUROC", &|method| method.method.to_owned());
    for category in first.image_auroc.keys() {
        line(category, &|method| {
            format!("{:.4}", method.image_auroc[category])
        });
    }
    line("mean", &|method| format!("{:.4}", method.mean));
}
