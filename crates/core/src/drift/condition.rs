//! Are today's pictures still like those of the calibration, and if not, what has changed?
//!
//! ```text
//! picture ─► values ─► one martingale per quantity ─► capital ─┐
//!                   └► median of the last parts ─► far enough ─┴► alarm with its cause
//! ```
//! The rate of false alarms is split evenly over the quantities, so that it holds for all together:
//! the probability that any of them alarms is at most the sum of theirs. An alarm also takes a
//! change that is large enough to matter, which can only make false ones rarer.
//!
//! **Every picture that was measured counts**, whatever its verdict: a change that rejects good
//! parts must not hide from the alarm by that. Defects on a few parts hardly change these values;
//! where many parts have them, the alarm says that the pictures have changed, and they have.
//!
//! Changes that the promise covers raise no alarm; that too can only make false ones rarer.
//!
//! The values come from the pictures and not from a model, so that those of a cross-calibration
//! count too.

use std::collections::VecDeque;
use std::fmt;

use super::DriftError;
use super::martingale::Martingale;
use super::tails::{Direction, Tails};
use crate::condition::{
    Cause, Change, Condition, Gauge, Quantity, UsualPictures, at_share, median,
};

/// The number of last parts whose median is stated.
const RECENT: usize = 15;

/// The share of good pictures that lies in the stated range, half of the rest on each side.
const RANGE: f64 = 0.9;

/// Watches the condition of the pictures of one camera.
#[derive(Clone, Debug)]
pub struct ConditionWatch {
    gauge: Gauge,
    series: Vec<Series>,
}

/// One quantity.
#[derive(Clone, Debug)]
struct Series {
    usual: Finding,
    /// Medians within these are no news.
    covered: [f32; 2],
    martingale: Martingale<Tails>,
    recent: VecDeque<f32>,
    alarm: bool,
}

/// A quantity that has left the range of the calibration's pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// The quantity.
    pub quantity: Quantity,
    /// Its median over the last parts, in its unit.
    pub now: f32,
    /// Its median over the pictures of the calibration.
    pub usual: f32,
    /// 5 % of those pictures are below this.
    pub low: f32,
    /// 5 % of those pictures are above this.
    pub high: f32,
}

impl Finding {
    /// Returns what the change is evidence for.
    pub fn cause(&self) -> Cause {
        self.quantity.cause()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            quantity,
            now,
            usual,
            low,
            high,
        } = self;
        let (what, unit) = quantity.words();
        let cause = self.cause().as_str();
        write!(
            f,
            "{cause}: {what} {now}{unit}; good pictures had {usual} ({low} to {high})"
        )
    }
}

impl ConditionWatch {
    /// Creates a watch over pictures that should be like `usual`, with at most the given
    /// probability of any false alarm in an epoch of [`EPOCH`](super::EPOCH) pictures; above 0 and
    /// below 1. The seed decides how equal values are ordered.
    ///
    /// # Errors
    /// If the rate is out of range.
    pub fn new(
        usual: &UsualPictures,
        false_alarm_rate: f64,
        seed: u64,
    ) -> Result<Self, DriftError> {
        let rate = false_alarm_rate / usual.values.len().max(1) as f64;
        let known = usual.values.iter().filter(|(_, values)| !values.is_empty());
        let series = (seed..).zip(known).map(|(seed, (&quantity, values))| {
            let direction = match quantity.change() {
                Change::Growth => Direction::Up,
                Change::Loss => Direction::Down,
                Change::Any => Direction::Both,
            };
            let outside = (1.0 - RANGE) / 2.0;
            let covered = usual.covered.get(&quantity).copied();
            Ok(Series {
                covered: covered.unwrap_or([median(values); 2]),
                usual: Finding {
                    quantity,
                    now: median(values),
                    usual: median(values),
                    low: at_share(values, outside),
                    high: at_share(values, 1.0 - outside),
                },
                martingale: Martingale::new(values.clone(), Tails::new(direction), rate, seed)?,
                recent: VecDeque::with_capacity(RECENT),
                alarm: false,
            })
        });
        Ok(Self {
            gauge: usual.gauge(),
            series: series.collect::<Result<_, _>>()?,
        })
    }

    /// Takes the condition of the next picture; returns `true` if something has raised the alarm
    /// that had not before.
    pub fn observe(&mut self, condition: &Condition) -> bool {
        let values = self.gauge.values(condition);
        let mut is_new = false;
        for series in &mut self.series {
            let value = values.iter().find(|(it, _)| *it == series.usual.quantity);
            if let Some(&(_, value)) = value.filter(|(_, value)| value.is_finite()) {
                is_new |= series.observe(value);
            }
        }
        is_new
    }

    /// Returns what has raised the alarm, the strongest evidence first. It stays until the watch is
    /// dropped; the numbers are those of the last parts.
    pub fn findings(&self) -> Vec<Finding> {
        let mut alarms: Vec<&Series> = self.series.iter().filter(|it| it.alarm).collect();
        let evidence = |it: &Series| it.martingale.state().martingale_log10;
        alarms.sort_by(|a, b| evidence(b).total_cmp(&evidence(a)));
        alarms.into_iter().map(Series::finding).collect()
    }
}

impl Series {
    /// Takes the next value; returns `true` if it raises the alarm.
    fn observe(&mut self, value: f32) -> bool {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
        let is_evident = self.martingale.observe(value).alarm;
        if self.alarm || !is_evident || !self.is_far() {
            return false;
        }
        self.alarm = true;
        true
    }

    /// Returns whether the last values differ enough from those of the calibration, and from what it
    /// covers, to matter.
    fn is_far(&self) -> bool {
        let Finding {
            quantity,
            now,
            usual,
            ..
        } = self.finding();
        let [low, high] = self.covered;
        let change = match quantity.change() {
            Change::Growth => now - high,
            Change::Loss => low - now,
            Change::Any => (now - high).max(low - now),
        };
        change >= quantity.least_change(usual)
    }

    fn finding(&self) -> Finding {
        let mut recent: Vec<f32> = self.recent.iter().copied().collect();
        recent.sort_by(f32::total_cmp);
        Finding {
            now: median(&recent),
            ..self.usual
        }
    }
}
