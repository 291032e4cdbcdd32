//! The report of an ablation: every row of the table, with every run behind it.

use flawd_core::digest::Digest;
use flawd_core::image::Size;
use flawd_train::trainer::TrainingSettings;
use serde::Serialize;

use super::{AblationPlan, Contender, Entry, Finished, Group, SavedRun};

/// All results of an ablation, as written by `flawd ablate --json`.
#[derive(Debug, Serialize)]
pub struct Ablation {
    /// Digest of the backbone's file.
    pub backbone: Digest,
    /// The outputs that provide the features.
    pub outputs: Vec<String>,
    /// Size of the network's input.
    pub size: Size,
    /// Images that every variant was trained on.
    pub training_images: usize,
    /// Images that every variant was measured on.
    pub test_images: usize,
    /// How the flows were trained; each run has its own seed.
    pub settings: TrainingSettings,
    /// The table.
    pub groups: Vec<GroupReport>,
}

/// The rows that vary one aspect.
#[derive(Debug, Serialize)]
pub struct GroupReport {
    /// What is varied.
    pub group: &'static str,
    /// Its variants.
    pub rows: Vec<AblationRow>,
}

/// One variant.
#[derive(Debug, Serialize)]
pub struct AblationRow {
    /// Its name within the group.
    pub variant: String,
    /// Whether this is the flow that the others vary.
    pub is_base: bool,
    /// Number of trained parameters, if any.
    pub parameters: Option<usize>,
    /// Area under the ROC curve of the image scores, over the runs.
    pub image_auroc: Summary,
    /// Average precision, over the runs.
    pub image_ap: Summary,
    /// Best F1 score, over the runs.
    pub f1_max: Summary,
    /// One per seed, or only one if nothing is drawn.
    pub runs: Vec<SavedRun>,
}

/// A number over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Summary {
    /// Summarises some runs, at least one.
    fn of(runs: &[SavedRun], value: impl Fn(&SavedRun) -> f64) -> Self {
        let values = || runs.iter().map(&value);
        Self {
            mean: values().sum::<f64>() / runs.len() as f64,
            lowest: values().fold(f64::INFINITY, f64::min),
            highest: values().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Sorts finished runs into their rows.
pub(crate) fn groups(
    plan: &AblationPlan,
    groups: &[(Group, Vec<Entry>)],
    finished: &Finished,
) -> Vec<GroupReport> {
    let base = Contender::Flow(plan.base.clone());
    let run = |contender: &Contender| {
        let run = finished.iter().find(|(other, _)| other == contender);
        run.expect("every entry ran with every seed").1.clone()
    };
    let row = |entry: &Entry| {
        let runs: Vec<SavedRun> = entry.contenders(&plan.seeds).iter().map(run).collect();
        AblationRow {
            variant: entry.name.clone(),
            is_base: entry.contender == base,
            parameters: runs[0].parameters,
            image_auroc: Summary::of(&runs, |run| run.metrics.image_auroc),
            image_ap: Summary::of(&runs, |run| run.metrics.image_ap),
            f1_max: Summary::of(&runs, |run| run.metrics.f1_max),
            runs,
        }
    };
    let group = |(group, entries): &(Group, Vec<Entry>)| GroupReport {
        group: group.name(),
        rows: entries.iter().map(row).collect(),
    };
    groups.iter().map(group).collect()
}
