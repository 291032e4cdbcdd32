//! Scores of two providers compared, and measurements as a table.

use std::fmt;
use std::fmt::Write as _;

use crate::json::Json;

/// The result for one picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    path: String,
    score: f64,
    verdict: String,
}

/// Reads what `flawd predict --json` prints.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let row = |line: &str| {
        let json = Json::parse(line)?;
        let fields = (
            json.text("path"),
            json.number("score"),
            json.text("verdict"),
        );
        let (Some(path), Some(score), Some(verdict)) = fields else {
            return Err(format!("not a row of `flawd predict --json`: {line}"));
        };
        Ok(Row {
            path: path.to_owned(),
            score,
            verdict: verdict.to_owned(),
        })
    };
    text.lines().map(row).collect()
}

/// How the scores of two providers differ.
#[derive(Debug, PartialEq)]
pub(super) struct Compared {
    pictures: usize,
    /// Largest relative difference of two scores.
    largest: f64,
    /// Pictures whose verdict differs.
    pub(super) flips: Vec<String>,
}

/// Compares the scores of the same pictures.
pub(super) fn scores(expected: &[Row], found: &[Row]) -> Result<Compared, String> {
    let is_same = |(a, b): (&Row, &Row)| a.path == b.path;
    if expected.len() != found.len() || !expected.iter().zip(found).all(is_same) {
        return Err("the two runs did not score the same pictures".to_owned());
    }
    let mut compared = Compared {
        pictures: expected.len(),
        largest: 0.0,
        flips: Vec::new(),
    };
    for (expected, found) in expected.iter().zip(found) {
        let apart = (found.score - expected.score).abs() / expected.score.abs().max(f64::EPSILON);
        compared.largest = compared.largest.max(apart);
        if found.verdict != expected.verdict {
            let (path, from, to) = (&found.path, expected.score, found.score);
            compared.flips.push(format!("{path}: {from} became {to}"));
        }
    }
    Ok(compared)
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pictures,
            largest,
            flips,
        } = self;
        write!(
            f,
            "{pictures} pictures, scores differ by at most {:.5} %, {} verdicts flip",
            largest * 100.0,
            flips.len()
        )?;
        flips.iter().try_for_each(|flip| write!(f, "\n  {flip}"))
    }
}

/// A measurement.
#[derive(Debug, PartialEq)]
pub(super) struct Bench {
    provider: String,
    cameras: f64,
    infer: (f64, f64),
    total: (f64, f64),
    rate: f64,
}

/// Reads what `flawd bench --json` writes.
pub(super) fn bench(provider: &str, text: &str) -> Result<Bench, String> {
    let json = Json::parse(text)?;
    let latency = |step: &str| {
        let step = json.get("latency_ms")?.get(step)?;
        Some((step.number("p50")?, step.number("p99")?))
    };
    let read = || {
        Some(Bench {
            provider: provider.to_owned(),
            cameras: json.number("cameras")?,
            infer: latency("infer")?,
            total: latency("total")?,
            rate: json.number("pipeline_fps")?,
        })
    };
    read().ok_or_else(|| "`flawd bench` wrote another measurement than expected".to_owned())
}

/// Returns the measurements, one per line.
pub(super) fn table(benches: &[Bench]) -> String {
    let mut table = format!(
        "{:<10}{:>8}{:>14}{:>14}{:>14}{:>14}{:>11}",
        "provider",
        "cameras",
        "infer p50, ms",
        "infer p99, ms",
        "total p50, ms",
        "total p99, ms",
        "parts/s"
    );
    for it in benches {
        write!(
            table,
            "\n{:<10}{:>8}{:>14.2}{:>14.2}{:>14.2}{:>14.2}{:>11.1}",
            it.provider, it.cameras, it.infer.0, it.infer.1, it.total.0, it.total.1, it.rate
        )
        .expect("writing to a string cannot fail");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "{\"path\":\"a.png\",\"score\":2.0,\"verdict\":\"ok\"}\n\
                        {\"path\":\"b.png\",\"score\":4.0,\"verdict\":\"ng\"}\n";

    #[test]
    fn differences_are_relative_and_a_flip_is_named() {
        let expected = rows(ROWS).expect("rows");
        let same = scores(&expected, &expected).expect("the same pictures");
        assert!(same.flips.is_empty() && same.largest == 0.0);
        let found = rows(&ROWS.replace("4.0,\"verdict\":\"ng\"", "3.0,\"verdict\":\"ok\""));
        let compared = scores(&expected, &found.expect("rows")).expect("the same pictures");
        assert_eq!(compared.largest, 0.25);
        assert_eq!(compared.flips, ["b.png: 4 became 3"]);
        assert!(scores(&expected, &expected[..1]).is_err());
    }

    #[test]
    fn what_is_not_a_row_is_named() {
        let error = rows("{\"path\":\"a\"}").expect_err("no score");
        assert!(error.contains("{\"path\":\"a\"}"), "{error}");
    }
}
