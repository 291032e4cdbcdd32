//! The tables, as Markdown.

use super::work::{Measured, MethodNumbers, Under};

const HEADS: [&str; 11] = [
    "set",
    "size",
    "method",
    "image AUROC",
    "AP",
    "F1-max",
    "false rejects (promised)",
    "escapes",
    "AUPRO",
    "training, CPU-s",
    "CPU-ms per picture",
];

/// Returns all tables: every set and method, and, if that was measured, the flow on changed
/// pictures. Trainings of another commit than `commit` are named.
pub(super) fn tables(measured: &[Measured], commit: &str) -> String {
    // The seeds of a set follow one another.
    let sets: Vec<&[Measured]> = measured.chunk_by(|a, b| a.set == b.set).collect();
    let mut lines = vec![row(HEADS), row(["---"; HEADS.len()])];
    for seeds in &sets {
        for place in 0..seeds[0].methods.len() {
            let methods: Vec<&MethodNumbers> =
                seeds.iter().map(|run| &run.methods[place]).collect();
            lines.push(row(cells(&seeds[0], &methods)));
        }
    }
    if sets.iter().all(|seeds| !seeds[0].changed.is_empty()) {
        lines.push(String::new());
        lines.extend(changed(&sets));
    }
    let old = measured.iter().filter(|run| run.trained_at != commit);
    let old: Vec<String> = old
        .map(|run| format!("{} at {}", run.set, run.trained_at))
        .collect();
    if !old.is_empty() {
        lines.push(format!("\nTrained earlier: {}.", old.join(", ")));
    }
    lines.join("\n") + "\n"
}

/// Returns the cells of a method: the mean over the seeds.
fn cells(run: &Measured, seeds: &[&MethodNumbers]) -> [String; HEADS.len()] {
    let mean = |number: fn(&MethodNumbers) -> Option<f64>| {
        mean(seeds.iter().map(|&numbers| number(numbers)))
    };
    let promised = mean(|it| it.promised).map(|rate| format!(" ({})", percent(Some(rate))));
    [
        run.set.to_owned(),
        run.size.clone(),
        seeds[0].method.clone(),
        metric(mean(|it| it.auroc)),
        metric(mean(|it| it.ap)),
        metric(mean(|it| it.f1_max)),
        percent(mean(|it| it.false_rejects)) + &promised.unwrap_or_default(),
        percent(mean(|it| it.escapes)),
        metric(mean(|it| it.aupro)),
        whole(mean(|it| it.training_cpu_s)),
        whole(mean(|it| it.picture_cpu_ms)),
    ]
}

/// Returns the table of the changes: a row for each, a column for each set.
fn changed(sets: &[&[Measured]]) -> Vec<String> {
    let mut head = vec!["AUROC, false rejects under".to_owned()];
    head.extend(sets.iter().map(|seeds| seeds[0].set.to_owned()));
    let mut lines = vec![row(&head), row(vec!["---"; head.len()])];
    for (place, (change, _)) in sets[0][0].changed.iter().enumerate() {
        let mut cells = vec![format!("`{change}`")];
        cells.extend(sets.iter().map(|seeds| {
            let mean = |number: fn(&Under) -> Option<f64>| {
                mean(seeds.iter().map(|run| number(&run.changed[place].1)))
            };
            let auroc = metric(mean(|under| under.auroc));
            format!("{auroc}, {}", percent(mean(|under| under.false_rejects)))
        }));
        lines.push(row(cells));
    }
    lines
}

fn row<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    cells
        .into_iter()
        .fold("|".to_owned(), |row, cell| row + " " + cell.as_ref() + " |")
}

/// Returns the mean; `None` if a number is missing.
fn mean(numbers: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let numbers: Option<Vec<f64>> = numbers.collect();
    numbers.map(|numbers| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Formats a number from 0 to 1 as the other documents do: `.993`.
fn metric(value: Option<f64>) -> String {
    let text = value.map(|value| format!("{value:.3}"));
    let text = text.map(|text| text.strip_prefix('0').unwrap_or(&text).to_owned());
    text.unwrap_or_else(|| "–".to_owned())
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

fn whole(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(set: &'static str, auroc: f64) -> Measured {
        let flow = MethodNumbers {
            method: "cs-flow".to_owned(),
            auroc: Some(auroc),
            false_rejects: Some(0.0417),
            promised: Some(0.05),
            training_cpu_s: Some(291.6),
            ..MethodNumbers::default()
        };
        let under = |auroc| Under {
            auroc: Some(auroc),
            false_rejects: Some(0.5),
        };
        Measured {
            set,
            size: "384x384".to_owned(),
            methods: vec![flow],
            trained_at: "abc".to_owned(),
            changed: vec![("none", under(auroc)), ("noise=2%", under(0.75))],
        }
    }

    #[test]
    fn seeds_are_averaged_and_what_is_not_known_is_a_dash() {
        let text = tables(
            &[run("mtd", 0.9), run("mtd", 1.0), run("screw", 1.0)],
            "abc",
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| mtd | 384x384 | cs-flow | .950 | – | – | 4.2 % (5.0 %) | – | – | 292 | – |"
        );
        assert!(
            lines[3].starts_with("| screw | 384x384 | cs-flow | 1.000 |"),
            "{text}"
        );
        assert_eq!(lines[5], "| AUROC, false rejects under | mtd | screw |");
        assert_eq!(lines[7], "| `none` | .950, 50.0 % | 1.000, 50.0 % |");
        assert_eq!(lines[8], "| `noise=2%` | .750, 50.0 % | .750, 50.0 % |");
        assert_eq!(lines.len(), 9, "{text}");
    }

    #[test]
    fn a_training_of_another_commit_is_named() {
        let text = tables(&[run("mtd", 0.9)], "def");
        assert!(text.ends_with("\nTrained earlier: mtd at abc.\n"), "{text}");
    }
}
