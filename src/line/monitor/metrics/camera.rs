//! The metrics of one camera: typed, so that no stage spells out a label.

use flawd_core::condition::Cause;
use flawd_core::event::{DriftData, ModelData, ShadowState, VerdictData};
use flawd_core::verdict::{Reason, Verdict};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{DURATION_BUCKETS, FloatGauge, Labels, register, set_total};
use crate::line::monitor::counters::Counters;

/// Bounds for scores, as multiples of the threshold that the part was judged by.
///
/// Relative, because the threshold gives a score its meaning: it differs by orders of magnitude
/// from model to model, and it changes in a running daemon with a new model, another recipe or a
/// command. With bounds in the score's own unit every such change would start new buckets, and
/// those of two cameras could not be added. Dense around 1, where verdicts change and drift shows
/// first; the bucket up to 1 holds exactly the parts whose score is not a defect.
const SCORE_BUCKETS: [f64; 16] = [
    0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0,
];

/// Why frames were not inspected: those that [`Counters`] counts.
const DROP_REASONS: [&str; 3] = ["overrun", "missed", "unused"];

/// The outcome of a message that requests something: a trigger or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It is acted on.
    Accepted,
    /// Refused: the broker had retained it for later subscribers.
    Retained,
    /// Refused: too old by its own time stamp.
    Stale,
    /// Refused: a repetition.
    Duplicate,
    /// Refused: unreadable.
    Invalid,
    /// Refused: it must state when it was sent, and does not.
    Undated,
    /// Refused: too many are waiting.
    Overrun,
    /// Refused: flawd has stopped inspecting.
    Shutdown,
}

impl MessageOutcome {
    /// All of them, in order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Retained,
        Self::Stale,
        Self::Duplicate,
        Self::Invalid,
        Self::Undated,
        Self::Overrun,
        Self::Shutdown,
    ];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Retained => "retained",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Invalid => "invalid",
            Self::Undated => "undated",
            Self::Overrun => "overrun",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What became of a part that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectOutcome {
    /// Its pulse began.
    Pulsed,
    /// The pulse of the part before it was made longer.
    Merged,
    /// No pulse: its verdict came after it had passed the actuator.
    Late,
    /// No pulse: the line could not be set.
    Failed,
    /// No pulse: too many were waiting.
    Overrun,
}

impl RejectOutcome {
    /// All of them, in order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Pulsed,
        Self::Merged,
        Self::Late,
        Self::Failed,
        Self::Overrun,
    ];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pulsed => "pulsed",
            Self::Merged => "merged",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Overrun => "overrun",
        }
    }
}

/// The steps of a part whose latency is in its verdict.
const STAGES: [&str; 4] = ["capture", "queue", "preprocess", "infer"];

/// What the shadow model did.
const SHADOW_OUTCOMES: [&str; 3] = ["agreed", "disagreed", "skipped"];

/// A family of histograms.
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// The families whose series have a camera.
pub(crate) struct CameraFamilies {
    captured: Family<Labels<1>, Counter>,
    dropped: Family<Labels<2>, Counter>,
    stages: Histograms<2>,
    verdicts: Family<Labels<3>, Counter>,
    deadline_misses: Family<Labels<1>, Counter>,
    score: Histograms<1>,
    threshold: Family<Labels<1>, FloatGauge>,
    triggers: Family<Labels<2>, Counter>,
    rejects: Family<Labels<2>, Counter>,
    drift: Family<Labels<1>, Gauge>,
    martingale: Family<Labels<1>, FloatGauge>,
    drift_causes: Family<Labels<2>, Gauge>,
    shadow: Family<Labels<2>, Counter>,
    model_info: Family<Labels<5>, Gauge>,
}

impl CameraFamilies {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        registered! { registry => Self {}
            captured: "frames_captured",
                "Frames that the source gave";
            dropped: "frames_dropped",
                "Frames that were not inspected, and why";
            stages: "stage_duration_seconds",
                "What a part spent in each step, where it reached it",
                Family::new_with_constructor(durations as fn() -> Histogram);
            verdicts: "verdicts",
                "Verdicts; only no_decision has a reason";
            deadline_misses: "deadline_misses",
                "Verdicts that were reached after the deadline of the part";
            score: "score",
                "Anomaly scores as multiples of the threshold that they were judged by; above 1 \
                 is a defect",
                Family::new_with_constructor(scores as fn() -> Histogram);
            threshold: "threshold",
                "The threshold of the camera's standard model, in the unit of its scores; NaN \
                 before a model is loaded";
            triggers: "triggers",
                "Triggers that came, and what became of them";
            rejects: "rejects",
                "Parts that were to be removed by the output line, and what became of them";
            drift: "drift",
                "1 once parts are no longer like those of the calibration, by their scores or by \
                 their pictures";
            martingale: "drift_martingale_log10",
                "Evidence for drift of the scores; 2 means that it takes a coincidence of 1 in 100";
            drift_causes: "drift_cause",
                "1 once the pictures have left the range of the calibration in this respect";
            shadow: "shadow",
                "Parts that the model in the shadow was asked about, and whether it agreed";
            model_info: "model_info",
                "Always 1; the camera's standard model, and what it runs on";
        }
    }
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

fn scores() -> Histogram {
    Histogram::new(SCORE_BUCKETS)
}

/// Counts everything about one camera.
pub struct CameraMetrics {
    name: String,
    counters: Mutex<Option<Counters>>,
    captured: Counter,
    dropped: [Counter; DROP_REASONS.len()],
    stages: [Histogram; STAGES.len()],
    ok: Counter,
    ng: Counter,
    no_decision: [Counter; Reason::ALL.len()],
    deadline_misses: Counter,
    score: Histogram,
    threshold: FloatGauge,
    triggers: [Counter; MessageOutcome::ALL.len()],
    rejects: [Counter; RejectOutcome::ALL.len()],
    drift: Gauge,
    martingale: FloatGauge,
    drift_causes: [Gauge; Cause::ALL.len()],
    shadow: [Counter; SHADOW_OUTCOMES.len()],
    model_info: Family<Labels<5>, Gauge>,
    /// The labels of this camera's only series of `model_info`.
    model: Mutex<Option<Labels<5>>>,
}

impl CameraMetrics {
    pub(crate) fn new(families: &CameraFamilies, name: String) -> Self {
        let alone = [("camera", name.clone())];
        let with = |label, value: &str| [("camera", name.clone()), (label, value.to_owned())];
        let verdicts = |verdict: Verdict| {
            let reason = verdict.reason().map_or("", Reason::as_str);
            families.verdicts.get_or_create_owned(&[
                ("camera", name.clone()),
                ("verdict", verdict.as_str().to_owned()),
                ("reason", reason.to_owned()),
            ])
        };
        let threshold = families.threshold.get_or_create_owned(&alone);
        threshold.set(f64::NAN);
        Self {
            captured: families.captured.get_or_create_owned(&alone),
            dropped: DROP_REASONS.map(|reason| {
                families
                    .dropped
                    .get_or_create_owned(&with("reason", reason))
            }),
            stages: STAGES.map(|stage| families.stages.get_or_create_owned(&with("stage", stage))),
            ok: verdicts(Verdict::Ok),
            ng: verdicts(Verdict::Ng),
            no_decision: Reason::ALL.map(|reason| verdicts(Verdict::NoDecision(reason))),
            deadline_misses: families.deadline_misses.get_or_create_owned(&alone),
            score: families.score.get_or_create_owned(&alone),
            threshold,
            triggers: MessageOutcome::ALL.map(|outcome| {
                let labels = with("outcome", outcome.as_str());
                families.triggers.get_or_create_owned(&labels)
            }),
            rejects: RejectOutcome::ALL.map(|outcome| {
                let labels = with("outcome", outcome.as_str());
                families.rejects.get_or_create_owned(&labels)
            }),
            drift: families.drift.get_or_create_owned(&alone),
            martingale: families.martingale.get_or_create_owned(&alone),
            drift_causes: Cause::ALL.map(|cause| {
                let labels = with("cause", cause.as_str());
                families.drift_causes.get_or_create_owned(&labels)
            }),
            shadow: SHADOW_OUTCOMES.map(|outcome| {
                families
                    .shadow
                    .get_or_create_owned(&with("outcome", outcome))
            }),
            model_info: families.model_info.clone(),
            model: Mutex::new(None),
            counters: Mutex::new(None),
            name,
        }
    }

    /// Returns the camera's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes every scrape show these counters from now on. The pipeline counts frames for `state`
    /// anyway, and two counts of the same thing would eventually differ.
    pub fn follow(&self, counters: Counters) {
        *self.counters.lock() = Some(counters);
    }

    /// Copies the current values of the followed counters.
    pub(crate) fn refresh(&self) {
        let counters = self.counters.lock();
        // The lock is held to the end: two concurrent scrapes must not add one difference twice.
        if let Some(counters) = &*counters {
            set_total(&self.captured, counters.captured.get());
            let dropped = [&counters.overrun, &counters.missed, &counters.unused];
            for (counter, followed) in self.dropped.iter().zip(dropped) {
                set_total(counter, followed.get());
            }
        }
    }

    /// Counts a part's verdict, with its latencies, its score, and whether it was late.
    pub fn verdict(&self, data: &VerdictData) {
        match data.verdict {
            Verdict::Ok => self.ok.inc(),
            Verdict::Ng => self.ng.inc(),
            Verdict::NoDecision(reason) => self.no_decision[reason as usize].inc(),
        };
        if data.remaining_ms.is_some_and(|remaining| remaining < 0.0) {
            self.deadline_misses.inc();
        }
        let latency = &data.latency_ms;
        let steps = [
            latency.capture,
            latency.queue,
            latency.preprocess,
            latency.infer,
        ];
        for (stage, milliseconds) in self.stages.iter().zip(steps) {
            if let Some(milliseconds) = milliseconds {
                stage.observe(milliseconds / 1e3);
            }
        }
        // A score that is not above the threshold gives at most 1, since a quotient of two `f32` in
        // `f64` is not rounded across it. Nothing is a multiple of a threshold of 0.
        if let (Some(score), Some(threshold)) = (data.score, data.threshold)
            && threshold > 0.0
        {
            self.score.observe(f64::from(score) / f64::from(threshold));
        }
    }

    /// Sets the model and threshold that from now on judge parts that request no recipe.
    pub fn model(&self, model: &ModelData, threshold: f32) {
        self.threshold.set(threshold.into());
        let labels = [
            ("camera", self.name.clone()),
            ("name", model.name.clone()),
            ("version", model.version.clone()),
            ("digest", model.digest.to_string()),
            ("provider", model.provider.clone()),
        ];
        let mut current = self.model.lock();
        if let Some(previous) = current.take_if(|previous| *previous != labels) {
            self.model_info.remove(&previous);
        }
        self.model_info.get_or_create(&labels).set(1);
        *current = Some(labels);
    }

    /// Counts a trigger.
    pub fn trigger(&self, outcome: MessageOutcome) {
        self.triggers[outcome as usize].inc();
    }

    /// Counts parts that were to be removed.
    pub fn reject(&self, outcome: RejectOutcome, parts: u64) {
        self.rejects[outcome as usize].inc_by(parts);
    }

    /// Sets the drift metrics, as reported in `state`.
    pub fn drift(&self, drift: &DriftData) {
        self.drift.set(drift.alarm.into());
        self.martingale.set(drift.martingale_log10);
        for (gauge, cause) in self.drift_causes.iter().zip(Cause::ALL) {
            let is_found = drift.causes.iter().any(|found| found.cause == cause);
            gauge.set(is_found.into());
        }
    }

    /// Sets the shadow model's metrics, as reported in `state`.
    pub fn shadow(&self, shadow: &ShadowState) {
        let totals = [shadow.agreed, shadow.disagreed, shadow.skipped];
        for (counter, total) in self.shadow.iter().zip(totals) {
            set_total(counter, total);
        }
    }
}
