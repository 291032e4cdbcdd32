//! One set with one seed: trained once, evaluated at every run.
//!
//! ```text
//! target/detect/<digest of the options>/<set>-<seed>/
//!     bundle/       what flawd train made
//!     training      its CPU time, and the commit
//!     <name>.json   the reports of the latest run
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::arguments::Arguments;
use super::cpu;
use super::sets::Set;
use crate::files::{self, at};
use crate::json::Json;
use crate::process::Step;

/// The other methods of `flawd evaluate --compare`.
const METHODS: &str = "gaussian,knn,padim,differnet";

/// The changes under which a bundle is measured: what a lamp, a lens, a recording or a mount may
/// do between two shifts.
const CHANGES: [&str; 14] = [
    "light=-5%",
    "light=5%",
    "light=-10%",
    "light=10%",
    "noise=2%",
    "noise=5%",
    "blur=0.7",
    "blur=1.5",
    "jpeg=70",
    "jpeg=40",
    "shift=2",
    "zoom=-2%",
    "turn=1",
    "turn=3",
];

/// One set with one seed.
pub(super) struct Work<'a> {
    /// The workspace root, in which flawd runs.
    pub(super) root: &'a Path,
    /// The program.
    pub(super) flawd: &'a Path,
    /// The folder of all sets.
    pub(super) data: &'a Path,
    pub(super) arguments: &'a Arguments,
    pub(super) set: &'a Set,
    pub(super) seed: u64,
    /// The commit that a training is noted with.
    pub(super) commit: &'a str,
}

/// What was measured.
pub(super) struct Measured {
    /// Name of the set.
    pub(super) set: &'static str,
    /// Size of the network's input.
    pub(super) size: String,
    /// The flow first, then the other methods.
    pub(super) methods: Vec<MethodNumbers>,
    /// The commit that trained the bundle.
    pub(super) trained_at: String,
    /// The flow on changed pictures.
    pub(super) changed: Vec<(&'static str, Under)>,
}

/// The numbers of one method; `None` if it has no such number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MethodNumbers {
    pub(super) method: String,
    pub(super) auroc: Option<f64>,
    pub(super) ap: Option<f64>,
    pub(super) f1_max: Option<f64>,
    pub(super) false_rejects: Option<f64>,
    pub(super) promised: Option<f64>,
    pub(super) escapes: Option<f64>,
    pub(super) aupro: Option<f64>,
    /// CPU seconds of the training, features included.
    pub(super) training_cpu_s: Option<f64>,
    /// CPU milliseconds of the evaluation per picture: reading, scoring, comparing with the mask,
    /// and a share of loading the model.
    pub(super) picture_cpu_ms: Option<f64>,
}

/// The numbers under one change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Under {
    pub(super) auroc: Option<f64>,
    pub(super) false_rejects: Option<f64>,
}

/// A finished training.
struct Training {
    cpu_s: f64,
    commit: String,
}

impl Work<'_> {
    /// Trains, unless that was done before, and evaluates.
    pub(super) fn measure(&self) -> Result<Measured, String> {
        let training = match self.kept() {
            Some(training) => training,
            None => self.train()?,
        };
        let (report, cpu_s) = self.evaluate("plain", &[])?;
        let mut methods = vec![flow(&report, cpu_s, training.cpu_s)];
        if self.arguments.compare {
            methods.extend(self.compare()?);
        }
        let changes: &[&'static str] = if self.arguments.changes {
            &CHANGES
        } else {
            &[]
        };
        let mut changed = vec![("none", Under::of(&report))];
        for &change in changes {
            let (report, _) = self.evaluate(change, &["--under", change])?;
            changed.push((change, Under::of(&report)));
        }
        Ok(Measured {
            set: self.set.name,
            size: self.size()?,
            methods,
            trained_at: training.commit,
            changed: if changes.is_empty() {
                Vec::new()
            } else {
                changed
            },
        })
    }

    fn folder(&self) -> PathBuf {
        let name = format!("{}-{}", self.set.name, self.seed);
        self.root
            .join("target/detect")
            .join(self.arguments.digest())
            .join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.folder().join("bundle")
    }

    /// Returns the training of an earlier run with the same options.
    fn kept(&self) -> Option<Training> {
        let text = fs::read_to_string(self.folder().join("training")).ok()?;
        let (cpu_s, commit) = text.trim_end().split_once(' ')?;
        let training = Training {
            cpu_s: cpu_s.parse().ok()?,
            commit: commit.to_owned(),
        };
        let is_there = self.bundle().join("bundle.toml").is_file();
        is_there.then(|| {
            eprintln!("kept {}", self.bundle().display());
            training
        })
    }

    /// Trains from nothing, so that the CPU time is that of the whole training.
    fn train(&self) -> Result<Training, String> {
        let folder = self.folder();
        // It is only there if an earlier run was interrupted.
        files::empty(&folder)?;
        let before = cpu::of_children()?;
        self.flawd(&["train", &text(&self.images())])
            .args(&[
                "--out",
                &text(&self.bundle()),
                "--cache",
                &text(&self.cache()),
            ])
            .args(&["--seed", &self.seed.to_string()])
            .args(&self.arguments.options)
            .run()?;
        let training = Training {
            cpu_s: cpu::of_children()? - before,
            commit: self.commit.to_owned(),
        };
        // The features take more space than everything else, and are not needed again.
        fs::remove_dir_all(self.cache()).ok();
        let note = format!("{:.2} {}\n", training.cpu_s, training.commit);
        fs::write(folder.join("training"), note).map_err(at(&folder))?;
        Ok(training)
    }

    /// Evaluates the bundle; returns the report, and the CPU time in seconds.
    fn evaluate(&self, name: &str, more: &[&str]) -> Result<(Json, f64), String> {
        let report = self.folder().join(format!("{name}.json"));
        let before = cpu::of_children()?;
        self.flawd(&["evaluate", &text(&self.bundle()), &text(&self.images())])
            .args(&["--json", &text(&report)])
            .args(more)
            .run()?;
        let cpu_s = cpu::of_children()? - before;
        let text = fs::read_to_string(&report);
        let text = text.map_err(at(&report))?;
        Ok((Json::parse(&text)?, cpu_s))
    }

    /// Measures the other methods.
    fn compare(&self) -> Result<Vec<MethodNumbers>, String> {
        let cache = text(&self.cache());
        let mut more = vec!["--compare", METHODS, "--cache", &cache];
        if let Some(backbone) = self.arguments.option("--backbone") {
            more.extend(["--backbone", backbone]);
        }
        let compared = self.evaluate("compared", &more);
        fs::remove_dir_all(self.cache()).ok();
        let (report, _) = compared?;
        let comparison = report
            .get("comparison")
            .ok_or("the report has no comparison")?;
        // The flow is the first.
        let others = comparison.list("rows").iter().skip(1);
        Ok(others
            .map(|row| MethodNumbers {
                method: row.text("method").unwrap_or_default().to_owned(),
                auroc: row.number("image_auroc"),
                ap: row.number("image_ap"),
                f1_max: row.number("f1_max"),
                ..MethodNumbers::default()
            })
            .collect())
    }

    /// Reads the size of the network's input in the bundle.
    fn size(&self) -> Result<String, String> {
        let manifest = self.bundle().join("bundle.toml");
        let text = fs::read_to_string(&manifest);
        let text = text.map_err(at(&manifest))?;
        let size = text.lines().find_map(|line| line.strip_prefix("input = "));
        let size = size.ok_or_else(|| format!("{} has no input", manifest.display()))?;
        Ok(size.trim_matches('"').to_owned())
    }

    fn images(&self) -> PathBuf {
        self.data.join(self.set.name)
    }

    fn cache(&self) -> PathBuf {
        self.folder().join("cache")
    }

    /// Returns flawd with these arguments; what it prints on standard output is not shown.
    fn flawd(&self, arguments: &[&str]) -> Step {
        Step::new(&text(self.flawd), arguments)
            .inside(self.root)
            .silent()
    }
}

/// Returns the numbers of the flow.
fn flow(report: &Json, cpu_s: f64, training_cpu_s: f64) -> MethodNumbers {
    let pictures = report.list("images").len() as f64;
    MethodNumbers {
        method: "cs-flow".to_owned(),
        auroc: report.number("image_auroc"),
        ap: report.number("image_ap"),
        f1_max: report.number("f1_max"),
        false_rejects: report.number("false_reject_rate"),
        promised: report.number("promised_false_reject_rate"),
        escapes: report.number("escape_rate"),
        aupro: report.number("aupro"),
        training_cpu_s: Some(training_cpu_s),
        picture_cpu_ms: Some(1000.0 * cpu_s / pictures),
    }
}

impl Under {
    fn of(report: &Json) -> Self {
        Self {
            auroc: report.number("image_auroc"),
            false_rejects: report.number("false_reject_rate"),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
