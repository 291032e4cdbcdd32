//! `flawd ablate`: measures what each part of the flow contributes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use flawd_train::variant::Variant;
use flawd_train::view::FeatureView;

use super::StopFlag;
use super::args::features::{self, FeatureArgs};
use super::args::flow::FlowArgs;
use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::output::{Content, OutputFile};
use super::progress::{ProgressLine, minutes};
use crate::lab::ablation::{
    Ablation, AblationError, AblationPlan, AblationRow, AblationStep, At, Group, Summary, ablate,
};

/// Arguments of `flawd ablate`.
#[derive(Debug, Args)]
pub struct AblateArgs {
    /// Folder in the MVTec AD layout: train/good, test/good, test/<defect>
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Name of the folder of good parts in DIR/train and DIR/test; defaults to `good`
    #[arg(long, value_name = "NAME")]
    good: Option<String>,
    #[command(flatten)]
    features: FeatureArgs,
    /// Train each variant with seeds 1 to N
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// What to vary
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,…",
        value_delimiter = ',',
        default_value = "scales,fusion,blocks,kernel,baselines"
    )]
    only: Vec<GroupArg>,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Train again what an earlier ablation has finished
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    flow: FlowArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GroupArg {
    /// Each scale alone, two together, and all three
    Scales,
    /// Across scales, one flow per scale, or scales concatenated after resizing
    Fusion,
    /// One to eight coupling blocks
    Blocks,
    /// Kernel size of the last coupling block
    Kernel,
    /// Other methods on the same features
    Baselines,
}

impl From<GroupArg> for Group {
    fn from(argument: GroupArg) -> Self {
        match argument {
            GroupArg::Scales => Self::Scales,
            GroupArg::Fusion => Self::Fusion,
            GroupArg::Blocks => Self::Blocks,
            GroupArg::Kernel => Self::Kernel,
            GroupArg::Baselines => Self::Baselines,
        }
    }
}

impl AblateArgs {
    fn plan(self) -> Result<AblationPlan, Failure> {
        let features = self.features.plan(&self.flow)?;
        let flow = self.flow.settings(1).map_err(Failure::usage)?;
        let mut groups: Vec<Group> = Vec::new();
        for group in self.only.into_iter().map(Group::from) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Ok(AblationPlan {
            data: self.data,
            good: self.good,
            features,
            base: Variant {
                view: FeatureView::ALL,
                cross_scale: true,
                flow,
            },
            seeds: (1..=self.seeds).collect(),
            groups,
            fresh: self.fresh,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(mut args: AblateArgs) -> Outcome {
    let runtime = crate::packages::runtime::load(args.runtime.onnxruntime.as_deref())
        .map_err(Failure::config)?;
    let options = args.runtime.session_options();
    let json = args.json.take();
    let json = json
        .as_deref()
        .map(|path| OutputFile::create(path, Content::Json))
        .transpose()?;
    let plan = args.plan()?;
    let stop = StopFlag::listen()?;
    let mut progress = ProgressLine::new();
    let outcome = ablate(&plan, runtime.with(&options), &mut |step| {
        show(&mut progress, &step);
        stop.check()
    });
    drop(progress);
    let ablation = outcome.map_err(|error| match error {
        AblationError::Features(error) => features::failure(error),
        AblationError::Dataset(_) | AblationError::Depth(_) | AblationError::OneKind { .. } => {
            Failure::usage(error)
        }
        error => error.into(),
    })?;
    print_ablation(&ablation);
    if let Some(json) = json {
        json.write_json(&ablation)?;
    }
    Ok(())
}

fn show(progress: &mut ProgressLine, step: &AblationStep) {
    match step {
        AblationStep::LeftOut(left_out) => progress.left_out(left_out),
        AblationStep::Depths { done, total } => progress.checked("depth", *done, *total),
        AblationStep::Depth(found) => progress.depth(found),
        AblationStep::Lights { done, total } => progress.checked("light", *done, *total),
        AblationStep::Features(step) => progress.extraction(step),
        AblationStep::Trains { at, epochs, step } => progress.update(&format!(
            "{}, epoch {}/{epochs}, step {}/{}, loss {:.4}",
            place(at),
            step.epoch,
            step.step,
            step.steps,
            step.loss
        )),
        AblationStep::Finished { at, run, was_kept } => {
            let time = Duration::from_secs_f64(run.seconds);
            let note = if *was_kept { ", kept" } else { "" };
            progress.line(&format!(
                "{}: AUROC {:.4}, {}{note}",
                place(at),
                run.metrics.image_auroc,
                minutes(time)
            ));
        }
    }
}

/// Returns for example `[3/17] blocks: 2, seed 1`.
fn place(at: &At) -> String {
    let seed = at
        .seed
        .map_or_else(String::new, |seed| format!(", seed {seed}"));
    format!("[{}/{}] {}{seed}", at.number, at.of, at.variant)
}

fn print_ablation(ablation: &Ablation) {
    let rows = || ablation.groups.iter().flat_map(|group| &group.rows);
    let width = rows()
        .map(|row| row.variant.len())
        .max()
        .unwrap_or_default()
        + 3;
    println!(
        "{:width$} {:>11} {:>4}  {:22} {:>7} {:>7}",
        "", "parameters", "runs", "AUROC (lowest-highest)", "AP", "F1-max"
    );
    for group in &ablation.groups {
        println!("{}", group.group);
        for row in &group.rows {
            print_row(row, width);
        }
    }
    println!(
        "* the flow that is varied; {} images train, {} test",
        ablation.training_images, ablation.test_images
    );
}

fn print_row(row: &AblationRow, width: usize) {
    let Summary {
        mean,
        lowest,
        highest,
    } = row.image_auroc;
    let mark = if row.is_base { '*' } else { ' ' };
    let parameters = row.parameters.map_or_else(String::new, |n| n.to_string());
    println!(
        "{:width$} {parameters:>11} {:>4}  {mean:.4} ({lowest:.4}-{highest:.4}) {:>7.4} {:>7.4}",
        format!("{mark} {}", row.variant),
        row.runs.len(),
        row.image_ap.mean,
        row.f1_max.mean,
    );
}
