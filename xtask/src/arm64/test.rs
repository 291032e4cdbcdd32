//! `cargo xtask arm64-test`: the program for arm64, in an emulator, does what this machine's does.
//! What is compared is in `target/arm64`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::emulator::Machine;
use super::line::inspect;
use crate::broker::Broker;
use crate::files::{self, at};
use crate::json::Json;
use crate::process::Step;
use crate::{package, packages, setup};

/// The largest relative difference of two scores: sums in single precision are added up in another
/// order. Seen was 1.5e-6.
const TOLERANCE: f64 = 1e-4;

/// What of a prediction, and of the record of a verdict, does not depend on time and place.
const COMPARED: [&str; 7] = [
    "verdict",
    "reason",
    "seq",
    "score",
    "threshold",
    "p_value",
    "regions",
];

/// Settings of trainings that take seconds.
const SHORT: [&str; 6] = ["--size", "128", "--epochs", "2", "--hidden", "16"];

/// Runs everything with this program for arm64, which is built if none is named, and reports the
/// largest difference of two scores.
pub(crate) fn run(root: &Path, program: Option<&Path>) -> Result<(), String> {
    let start = Instant::now();
    setup(root, packages::ALL)?;
    packages::install(packages::ARM64_TEST)?;
    let here = Machine::This {
        program: package::build(root, "dev")?,
    };
    let program = match program {
        Some(program) => program.to_owned(),
        None => super::build(root)?,
    };
    let there = Machine::emulated(root, program)?;
    let work = Work::new(root)?;

    for machine in [&here, &there] {
        let parts = work.path(&format!("parts-{}", machine.name()));
        machine.flawd(&["demo", "--write", &parts]).silent().run()?;
    }
    let parts = work.path(&format!("parts-{}", here.name()));
    let others = work.path(&format!("parts-{}", there.name()));
    Step::new("diff", &["--recursive", "--brief", &parts, &others])
        .run()
        .map_err(|error| format!("{error}: the synthetic parts are not the same bytes"))?;
    let (good, test) = work.samples(Path::new(&parts))?;

    let mut difference = 0.0_f64;
    for (trainer, verifier) in [(&here, &there), (&there, &here)] {
        let bundle = work.path(&format!("bundle-{}", trainer.name()));
        let cache = work.path(&format!("cache-{}", trainer.name()));
        trainer
            .flawd(&["train", &good, "--out", &bundle, "--cache", &cache])
            .args(&SHORT)
            .run()?;
        verifier.flawd(&["model", "verify", &bundle]).run()?;
        let predictions = |machine: &Machine| {
            machine
                .flawd(&["predict", &bundle, &test, "--json"])
                .answer()
                .ok_or_else(|| format!("flawd predict fails on {}", machine.name()))
        };
        let (own, other) = (predictions(trainer)?, predictions(verifier)?);
        difference = difference.max(same(&own, &other)?);
    }

    let bundle = work.path(&format!("bundle-{}", here.name()));
    let broker = Broker::start(&work.0, "")?;
    let records = |machine: &Machine| inspect(machine, &broker, &work.0, &bundle, &test);
    difference = difference.max(same(&records(&here)?, &records(&there)?)?);

    println!(
        "arm64-test: ok in {:.1} min; scores differ by {difference:.1e} at most",
        start.elapsed().as_secs_f64() / 60.0
    );
    Ok(())
}

/// The folder with everything that is compared.
struct Work(PathBuf);

impl Work {
    /// Makes the folder, empty.
    fn new(root: &Path) -> Result<Self, String> {
        let folder = root.join("target/arm64/work");
        files::empty(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Picks good parts to train with, and parts of each kind to judge: an emulator is slow.
    fn samples(&self, parts: &Path) -> Result<(String, String), String> {
        let (good, test) = (self.path("good"), self.path("test"));
        pick(&parts.join("train/good"), Path::new(&good), 10, "")?;
        let kinds = parts.join("test");
        for kind in names(&kinds)? {
            pick(&kinds.join(&kind), Path::new(&test), 10, &kind)?;
        }
        Ok((good, test))
    }
}

/// Copies one of so many files, under a name that begins with `prefix`.
fn pick(from: &Path, to: &Path, one_of: usize, prefix: &str) -> Result<(), String> {
    fs::create_dir_all(to).map_err(at(to))?;
    for name in names(from)?.iter().step_by(one_of) {
        fs::copy(from.join(name), to.join(format!("{prefix}{name}")))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Compares JSON line by line, and returns the largest relative difference of two numbers.
///
/// # Errors
/// If a verdict differs, or a number by more than [`TOLERANCE`].
fn same(one: &str, other: &str) -> Result<f64, String> {
    let (mut ones, mut others) = (one.lines(), other.lines());
    let mut largest = 0.0_f64;
    let mut lines = 0;
    loop {
        let (one, other) = match (ones.next(), others.next()) {
            (None, None) if lines > 0 => return Ok(largest),
            (Some(one), Some(other)) => (Json::parse(one)?, Json::parse(other)?),
            (one, other) => return Err(format!("one has {one:?}, the other {other:?}")),
        };
        for key in COMPARED {
            let difference = match (one.get(key), other.get(key)) {
                (None, None) => continue,
                (Some(one), Some(other)) => distance(one, other),
                _ => None,
            };
            match difference {
                Some(difference) => largest = largest.max(difference),
                None => return Err(format!("`{key}` differs: {one:?} and {other:?}")),
            }
        }
        lines += 1;
    }
}

/// Returns the largest relative difference of numbers in two values; `None` if the values differ
/// otherwise, or by too much.
fn distance(one: &Json, other: &Json) -> Option<f64> {
    let difference = match (one, other) {
        (Json::Number(one), Json::Number(other)) => {
            let larger = one.abs().max(other.abs());
            if larger == 0.0 {
                0.0
            } else {
                (one - other).abs() / larger
            }
        }
        (Json::List(ones), Json::List(others)) if ones.len() == others.len() => {
            let pairs = ones.iter().zip(others);
            pairs.map(|(a, b)| distance(a, b)).try_fold(0.0, worst)?
        }
        (Json::Object(ones), Json::Object(others)) if ones.len() == others.len() => {
            let pairs = ones.iter().zip(others);
            pairs
                .map(|((a, one), (b, other))| distance(one, other).filter(|_| a == b))
                .try_fold(0.0, worst)?
        }
        _ => (one == other).then_some(0.0)?,
    };
    (difference <= TOLERANCE).then_some(difference)
}

fn worst(largest: f64, next: Option<f64>) -> Option<f64> {
    Some(largest.max(next?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = r#"{"path":"a","verdict":"ok","score":0.5}"#;
    const NG: &str =
        r#"{"verdict":"ng","score":2.5,"regions":[{"x":3,"y":4,"score":2.5}],"seq":1}"#;

    #[test]
    fn what_depends_on_the_place_and_the_last_digits_is_the_same() {
        let other = NG.replace("2.5", "2.50001");
        let difference = same(
            &format!("{OK}\n{NG}"),
            &format!("{}\n{other}", OK.replace('a', "b")),
        );
        assert!((difference.expect("the same") - 4e-6).abs() < 1e-8);
    }

    #[test]
    fn another_verdict_score_region_or_number_of_lines_is_not() {
        for (from, to) in [
            ("\"ng\"", "\"ok\""),
            ("2.5,", "2.6,"),
            ("\"x\":3", "\"x\":4"),
            (",\"seq\":1", ""),
        ] {
            assert!(same(NG, &NG.replace(from, to)).is_err(), "{to}");
        }
        assert!(same(NG, &format!("{NG}\n{NG}")).is_err());
        assert!(same("", "").is_err());
    }
}
