//! The summary of a run: which parts were on the line, their verdicts, and whether that is good
//! enough. Pure.

use std::fmt;

use flawd_core::calibration::Calibration;
use flawd_core::event::VerdictData;
use flawd_core::percentiles::Percentiles;
use flawd_core::verdict::Verdict;

use crate::synthetic::{DefectKind, SyntheticLine};

/// Minimum share of the defects that a demo must find.
const DETECTION_BAR: f64 = 0.75;

/// A number of false rejects counts as a broken promise if a line that keeps the promise reaches it
/// with a lower probability than this.
const FALSE_REJECT_DOUBT: f64 = 1e-3;

/// One verdict as it arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sighting {
    /// The daemon's count of verdicts.
    pub seq: u64,
    /// Position of the part on the line.
    pub index: u64,
    /// The verdict itself.
    pub verdict: Verdict,
    /// From the picture to the verdict.
    pub latency_ms: f64,
}

/// A verdict that is not about a part of a synthetic line, whose part ids are positions.
#[derive(Debug, thiserror::Error)]
#[error("a verdict names the part {0:?}, which is not a position on the line")]
pub struct UnknownPart(Option<String>);

impl TryFrom<&VerdictData> for Sighting {
    type Error = UnknownPart;

    fn try_from(data: &VerdictData) -> Result<Self, UnknownPart> {
        let part = data.part_id.as_deref();
        let index = part.and_then(|part| part.parse().ok());
        Ok(Self {
            seq: data.seq,
            index: index.ok_or_else(|| UnknownPart(part.map(str::to_owned)))?,
            verdict: data.verdict,
            latency_ms: data.latency_ms.total,
        })
    }
}

/// Split conformal calibration in numbers: of `calibration` held-out scores, the `rank`-th smallest
/// is the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Number of held-out scores.
    pub calibration: u64,
    /// Counted from 1.
    pub rank: u64,
}

/// Verdicts of a run, as they arrive.
#[derive(Clone, Debug)]
pub struct Tally {
    line: SyntheticLine,
    parts: u64,
    sightings: Vec<Sighting>,
}

/// Defects of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCount {
    /// Number on the line.
    pub put_in: u64,
    /// Number called `ng`.
    pub found: u64,
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoSummary {
    /// Parts on the line.
    pub parts: u64,
    /// Verdicts that arrived.
    pub verdicts: u64,
    /// Parts with no verdict or more than one.
    pub not_exactly_one: Vec<u64>,
    /// Whether the sequence numbers increase by one without a gap.
    pub seq_is_whole: bool,
    /// Verdicts without a decision.
    pub undecided: u64,
    /// The defects by kind, in the order of [`DefectKind::ALL`].
    pub defects: Vec<(DefectKind, KindCount)>,
    /// Good parts with a verdict.
    pub good: u64,
    /// Good parts called `ng`.
    pub false_rejects: u64,
    /// Median latency in milliseconds.
    pub latency_p50: f64,
    /// 99th percentile of the latency, in milliseconds.
    pub latency_p99: f64,
}

impl Tally {
    /// Creates a tally for a run of the first `parts` parts of `line`.
    pub fn new(line: SyntheticLine, parts: u64) -> Self {
        Self {
            line,
            parts,
            sightings: Vec::new(),
        }
    }

    /// Returns the defect of the part at `index`.
    pub fn truth(&self, index: u64) -> Option<DefectKind> {
        self.line.defect(index)
    }

    /// Returns the line that the parts came from.
    pub fn line(&self) -> &SyntheticLine {
        &self.line
    }

    /// Returns parts worth showing: the first detected one of each kind of defect, and the first
    /// good one, with their defects.
    pub fn examples(&self) -> Vec<(u64, Option<DefectKind>)> {
        let right = |truth: Option<DefectKind>| match truth {
            Some(_) => Verdict::Ng,
            None => Verdict::Ok,
        };
        let kinds = DefectKind::ALL.into_iter().map(Some).chain([None]);
        kinds
            .filter_map(|kind| {
                let mut seen = self.sightings.iter();
                let first = seen.find(|sighting| {
                    self.truth(sighting.index) == kind && sighting.verdict == right(kind)
                })?;
                Some((first.index, kind))
            })
            .collect()
    }

    /// Adds a verdict.
    pub fn add(&mut self, sighting: Sighting) {
        self.sightings.push(sighting);
    }

    /// Returns whether there are as many verdicts as parts.
    pub fn is_complete(&self) -> bool {
        self.sightings.len() as u64 >= self.parts
    }

    /// Summarises the run.
    pub fn report(&self) -> DemoSummary {
        let mut seen = vec![0u32; self.parts as usize];
        let mut strangers = Vec::new();
        for sighting in &self.sightings {
            match seen.get_mut(sighting.index as usize) {
                Some(count) => *count += 1,
                None => strangers.push(sighting.index),
            }
        }
        let wrong_count = (0..self.parts).zip(&seen).filter(|&(_, &count)| count != 1);
        let decided = |verdict| {
            self.sightings
                .iter()
                .filter(move |sighting| sighting.verdict == verdict)
        };
        let good = |sighting: &&Sighting| self.truth(sighting.index).is_none();
        let defects = DefectKind::ALL.map(|kind| {
            let put_in = (0..self.parts).filter(|&index| self.truth(index) == Some(kind));
            let found =
                decided(Verdict::Ng).filter(|sighting| self.truth(sighting.index) == Some(kind));
            let count = KindCount {
                put_in: put_in.count() as u64,
                found: found.count() as u64,
            };
            (kind, count)
        });
        let latencies = self.sightings.iter().map(|sighting| sighting.latency_ms);
        let latency = Percentiles::of(latencies.collect());
        DemoSummary {
            parts: self.parts,
            verdicts: self.sightings.len() as u64,
            not_exactly_one: wrong_count
                .map(|(index, _)| index)
                .chain(strangers)
                .collect(),
            seq_is_whole: self
                .sightings
                .windows(2)
                .all(|pair| pair[1].seq == pair[0].seq + 1),
            undecided: self
                .sightings
                .iter()
                .filter(|sighting| sighting.verdict.reason().is_some())
                .count() as u64,
            defects: defects.to_vec(),
            good: self.sightings.iter().filter(good).count() as u64,
            false_rejects: decided(Verdict::Ng).filter(good).count() as u64,
            latency_p50: latency.p50,
            latency_p99: latency.p99,
        }
    }
}

impl DemoSummary {
    /// Returns the numbers of defects on the line and detected, over all kinds.
    pub fn total(&self) -> KindCount {
        let sum = |count: fn(&KindCount) -> u64| self.defects.iter().map(|(_, c)| count(c)).sum();
        KindCount {
            put_in: sum(|count| count.put_in),
            found: sum(|count| count.found),
        }
    }

    /// Returns all failures of the run; empty if it succeeded.
    pub fn failures(&self, promise: Promise) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.not_exactly_one.is_empty() {
            failures.push(format!(
                "{} of {} parts have no verdict or more than one: {}",
                self.not_exactly_one.len(),
                self.parts,
                first_few(&self.not_exactly_one)
            ));
        }
        if !self.seq_is_whole {
            failures.push("the sequence numbers have a gap".to_owned());
        }
        if self.undecided > 0 {
            failures.push(format!("{} verdicts have no decision", self.undecided));
        }
        let KindCount { put_in, found } = self.total();
        if (found as f64) < DETECTION_BAR * put_in as f64 {
            failures.push(format!(
                "{found} of {put_in} defects were found, and at least {:.0} % have to be",
                DETECTION_BAR * 100.0
            ));
        }
        let chance = promise.chance_of_at_least(self.false_rejects, self.good);
        if chance < FALSE_REJECT_DOUBT {
            failures.push(format!(
                "{} of {} good parts were rejected; a line that keeps the calibration's promise \
                 shows as many with a chance of {chance:.1e}",
                self.false_rejects, self.good
            ));
        }
        failures
    }
}

impl From<&Calibration> for Promise {
    fn from(calibration: &Calibration) -> Self {
        let threshold = calibration.threshold();
        let rank = calibration
            .scores()
            .partition_point(|&score| score <= threshold);
        Self {
            calibration: calibration.n() as u64,
            rank: rank as u64,
        }
    }
}

impl Promise {
    /// Returns the probability that at least `rejects` of `parts` new good parts score above the
    /// threshold, if they and the calibration parts are exchangeable.
    ///
    /// The number of new scores above the `rank`-th of `calibration` ones is beta-binomial with
    /// a = calibration + 1 - rank and b = rank, whatever the distribution of the scores.
    pub fn chance_of_at_least(self, rejects: u64, parts: u64) -> f64 {
        let (a, b) = ((self.calibration + 1 - self.rank) as f64, self.rank as f64);
        let parts = parts as f64;
        let mut chance: f64 = (0..parts as u64)
            .map(|j| (b + j as f64) / (a + b + j as f64))
            .product();
        let mut below = 0.0;
        for count in 0..rejects {
            below += chance;
            let count = count as f64;
            chance *= (parts - count) / (count + 1.0) * (count + a) / (parts - count - 1.0 + b);
        }
        (1.0 - below).max(0.0)
    }
}

/// The table at the end of a demo.
impl fmt::Display for DemoSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KindCount { put_in, found } = self.total();
        writeln!(f, "  parts              {:>6}", self.parts)?;
        writeln!(f, "  verdicts           {:>6}", self.verdicts)?;
        writeln!(f, "  defects put in     {put_in:>6}")?;
        writeln!(f, "  defects found      {found:>6}")?;
        for (kind, count) in &self.defects {
            writeln!(
                f,
                "    {:<16} {:>6} of {}",
                kind.name(),
                count.found,
                count.put_in
            )?;
        }
        writeln!(
            f,
            "  false rejects      {:>6} of {} good parts",
            self.false_rejects, self.good
        )?;
        writeln!(f, "  latency p50        {:>6.1} ms", self.latency_p50)?;
        write!(f, "  latency p99        {:>6.1} ms", self.latency_p99)
    }
}

fn first_few(indices: &[u64]) -> String {
    let shown: Vec<String> = indices.iter().take(5).map(u64::to_string).collect();
    let more = if indices.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use flawd_core::image::Size;
    use flawd_core::verdict::Reason;

    use super::*;
    use crate::synthetic::SyntheticOptions;

    const PROMISE: Promise = Promise {
        calibration: 99,
        rank: 98,
    };

    /// Returns a tally of ten parts in which `say` decides each verdict from the truth.
    fn tally(say: impl Fn(u64, Option<DefectKind>) -> Option<Verdict>) -> Tally {
        let size = Size::new(96, 96);
        let line = SyntheticLine::new(SyntheticOptions {
            size,
            seed: 3,
            defect_rate: 0.4,
        })
        .expect("valid options");
        let mut tally = Tally::new(line, 30);
        for index in 0..30 {
            if let Some(verdict) = say(index, tally.truth(index)) {
                let latency_ms = index as f64 + 1.0;
                tally.add(Sighting {
                    seq: index,
                    index,
                    verdict,
                    latency_ms,
                });
            }
        }
        tally
    }

    fn right(_: u64, truth: Option<DefectKind>) -> Option<Verdict> {
        Some(if truth.is_some() {
            Verdict::Ng
        } else {
            Verdict::Ok
        })
    }

    #[test]
    fn a_perfect_run_has_no_failures() {
        let report = tally(right).report();
        assert_eq!(report.failures(PROMISE), Vec::<String>::new());
        assert_eq!(report.total().put_in, report.total().found);
        assert_eq!(report.good + report.total().put_in, 30);
        assert!(report.total().put_in > 5, "{report}");
        assert_eq!((report.latency_p50, report.latency_p99), (15.0, 30.0));
        let examples = tally(right).examples();
        assert!(
            examples
                .iter()
                .all(|&(index, kind)| tally(right).truth(index) == kind)
        );
        assert_eq!(examples.last().map(|&(_, kind)| kind), Some(None));
    }

    #[test]
    fn each_way_to_fail_is_named() {
        let lost = tally(|index, truth| right(index, truth).filter(|_| index != 7)).report();
        let failures = lost.failures(PROMISE);
        assert!(failures[0].contains("1 of 30 parts") && failures[0].ends_with(": 7"));
        assert_eq!(failures[1], "the sequence numbers have a gap");

        let blind = tally(|_, _| Some(Verdict::Ok)).report();
        assert!(blind.failures(PROMISE)[0].contains("at least 75 %"));

        let nervous = tally(|_, _| Some(Verdict::Ng)).report();
        assert!(nervous.failures(PROMISE)[0].contains("good parts were rejected"));

        let late = Some(Verdict::NoDecision(Reason::Late));
        let undecided = tally(|index, truth| {
            if index == 0 {
                late
            } else {
                right(index, truth)
            }
        })
        .report();
        assert!(
            undecided
                .failures(PROMISE)
                .contains(&"1 verdicts have no decision".to_owned())
        );
    }

    #[test]
    fn a_part_with_two_verdicts_and_one_that_was_never_there_are_named() {
        let mut tally = tally(right);
        tally.add(Sighting {
            seq: 30,
            index: 4,
            verdict: Verdict::Ok,
            latency_ms: 1.0,
        });
        tally.add(Sighting {
            seq: 31,
            index: 99,
            verdict: Verdict::Ok,
            latency_ms: 1.0,
        });
        assert_eq!(tally.report().not_exactly_one, [4, 99]);
    }

    #[test]
    fn a_calibration_is_the_rank_of_its_threshold() {
        let scores = (0..99).map(|score| score as f32).collect();
        let calibration = Calibration::from_scores(scores, 0.02).expect("enough scores");
        assert_eq!(Promise::from(&calibration), PROMISE);
    }

    #[test]
    fn the_chance_of_false_rejects_is_the_beta_binomial_one() {
        // One calibration score as threshold: a new score exceeds it with probability one half, and
        // two new scores both do with probability one third.
        let coin = Promise {
            calibration: 1,
            rank: 1,
        };
        assert!((coin.chance_of_at_least(1, 1) - 0.5).abs() < 1e-12);
        assert!((coin.chance_of_at_least(2, 2) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(PROMISE.chance_of_at_least(0, 50), 1.0);
        // The expectation is 2 in 100; one in twenty is not unusual, one in six is.
        assert!(PROMISE.chance_of_at_least(5, 100) > 0.05);
        assert!(PROMISE.chance_of_at_least(16, 100) < 1e-4);
        let chances: Vec<f64> = (0..=20)
            .map(|x| PROMISE.chance_of_at_least(x, 20))
            .collect();
        assert!(chances.windows(2).all(|pair| pair[1] <= pair[0]));
    }
}
