//! Every number that the daemon exports, under the names of `docs/metrics.md`.
//!
//! [`Metrics`] is created once, with the names of the cameras, and needs no daemon around it. Every
//! series but `flawd_model_info` exists from the beginning, so that a rate over the first event is
//! right. The handles are looked up at construction: a stage's call is an addition to an atomic, or
//! to a histogram behind a lock that otherwise only a scrape holds.
//!
//! Part ids never become labels: one series per id would fill the scraper's memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use flawd_core::event::{EvidenceState, RecordsState};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::line::camera::{CameraIndex, PerCamera};
use crate::logging;

/// Creates a struct of registered metrics: for each field its name, its help, and the metric unless
/// it is the default. Fields in braces are taken from variables.
macro_rules! registered {
    (
        $registry:expr => $all:ident { $($other:ident),* }
        $($field:ident: $name:literal, $help:literal $(, $metric:expr)?;)*
    ) => {
        $all {
            $($field: register($registry, $name, $help, registered!(@metric $($metric)?)),)*
            $($other,)*
        }
    };
    (@metric) => { Default::default() };
    (@metric $metric:expr) => { $metric };
}

mod camera;

pub use camera::{CameraMetrics, MessageOutcome, RejectOutcome};

use camera::CameraFamilies;

/// Prefix of every name.
const PREFIX: &str = "flawd";

/// Bounds for durations, in seconds: 1 ms, below which no stage matters, to 2 s, above which no
/// reject gate waits.
const DURATION_BUCKETS: [f64; 11] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
];

/// A gauge for non-integer values; `NaN` if unknown.
type FloatGauge = Gauge<f64, AtomicU64>;

/// All metrics of one daemon; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    cameras: PerCamera<CameraMetrics>,
    capture_to_publish: Histogram,
    mqtt_connected: Gauge,
    journal_events: Gauge,
    journal_bytes: Gauge,
    journal_dropped: Counter,
    records_set_aside: Counter,
    evidence_bytes: Gauge,
    evidence_dropped: Counter,
    engine_build: FloatGauge,
    ready: Gauge,
    clock_synchronised: FloatGauge,
    clock_jumps: Counter,
    commands: Family<Labels<1>, Counter>,
    log_lines_dropped: Counter,
}

/// The possible outcomes of a command; a second delivery does no harm.
const COMMAND_OUTCOMES: [MessageOutcome; 5] = [
    MessageOutcome::Accepted,
    MessageOutcome::Retained,
    MessageOutcome::Stale,
    MessageOutcome::Invalid,
    MessageOutcome::Overrun,
];

/// The two output formats for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus requests.
    OpenMetrics,
    /// The older text format 0.0.4, which every collector reads.
    Prometheus,
}

impl Metrics {
    /// Creates the metrics of a daemon with these cameras, in the order of the configuration.
    pub fn new<N: Into<String>>(cameras: impl IntoIterator<Item = N>) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let families = CameraFamilies::register(&mut registry);
        let cameras = cameras
            .into_iter()
            .map(|name| CameraMetrics::new(&families, name.into()))
            .collect();
        let build = Family::<Labels<1>, Gauge>::default();
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        build.get_or_create(&version).set(1);
        registry.register("build_info", "Always 1; which flawd this is", build);
        let inner = registered! { &mut registry => Inner { cameras, registry }
            capture_to_publish: "capture_to_publish_seconds",
                "Time from the picture being taken until its verdict was handed to the broker's \
                 connection",
                Histogram::new(DURATION_BUCKETS);
            mqtt_connected: "mqtt_connected",
                "1 while the broker is connected";
            journal_events: "journal_events",
                "Records that the broker has not taken yet";
            journal_bytes: "journal_bytes",
                "Space that the journal takes on the disk";
            journal_dropped: "journal_dropped",
                "Records that nobody will receive: deleted unsent because the journal was full, \
                 or never written because the disk refused";
            records_set_aside: "records_set_aside",
                "Records that were given up because the broker takes others and not them";
            evidence_bytes: "evidence_bytes",
                "Space that the kept pictures take on the disk";
            evidence_dropped: "evidence_dropped",
                "Pictures that should have been kept and were not";
            engine_build: "engine_build_seconds",
                "How long the last build of an inference engine took; NaN before the first",
                unknown();
            ready: "ready",
                "1 while parts are judged";
            clock_synchronised: "clock_synchronised",
                "1 if the system's clock is synchronised, 0 if not, NaN if that cannot be known",
                unknown();
            clock_jumps: "clock_jumps",
                "Jumps of the wall clock against the monotonic one";
            commands: "commands",
                "Commands over MQTT, by what became of them";
            log_lines_dropped: "log_lines_dropped",
                "Log lines that were left out, because nobody read them or they could not be \
                 written";
        };
        for outcome in COMMAND_OUTCOMES {
            drop(inner.commands.get_or_create(&by_outcome(outcome)));
        }
        Self(Arc::new(inner))
    }

    /// Returns the metrics of one camera.
    ///
    /// # Panics
    /// If there are not that many cameras.
    pub fn camera(&self, camera: CameraIndex) -> &CameraMetrics {
        &self.0.cameras[camera]
    }

    /// Returns everything as text for a scrape.
    pub fn encode(&self, format: Format) -> String {
        self.0.cameras.iter().for_each(CameraMetrics::refresh);
        set_total(&self.0.log_lines_dropped, logging::dropped_lines());
        let mut buffer = String::new();
        let result = match format {
            Format::OpenMetrics => text::encode(&mut buffer, &self.0.registry),
            Format::Prometheus => prometheus_text::encode(&mut buffer, &self.0.registry),
        };
        result.expect("writing to a string does not fail");
        buffer
    }

    /// Records that a verdict was handed to the broker's connection this long after the picture was
    /// taken.
    pub fn published(&self, since_capture: Duration) {
        self.0
            .capture_to_publish
            .observe(since_capture.as_secs_f64());
    }

    /// Sets whether the broker is connected.
    pub fn mqtt_connected(&self, connected: bool) {
        self.0.mqtt_connected.set(connected.into());
    }

    /// Sets the journal's metrics, as reported in `state`.
    pub fn records(&self, records: &RecordsState) {
        self.0.journal_events.set(whole(records.pending));
        self.0.journal_bytes.set(whole(records.bytes));
        set_total(
            &self.0.journal_dropped,
            records.dropped.saturating_add(records.unwritten),
        );
    }

    /// Counts records that were set aside.
    pub fn records_set_aside(&self, count: u64) {
        set_total(&self.0.records_set_aside, count);
    }

    /// Sets the metrics of the kept pictures, as reported in `state`.
    pub fn evidence(&self, evidence: &EvidenceState) {
        self.0.evidence_bytes.set(whole(evidence.bytes));
        set_total(&self.0.evidence_dropped, evidence.dropped);
    }

    /// Records that an inference engine was built in this time.
    pub fn engine_built(&self, duration: Duration) {
        self.0.engine_build.set(duration.as_secs_f64());
    }

    /// Sets whether parts are judged.
    pub fn ready(&self, ready: bool) {
        self.0.ready.set(ready.into());
    }

    /// Sets whether the system's clock is synchronised, if known.
    pub fn clock_synchronised(&self, synchronised: Option<bool>) {
        let value = synchronised.map_or(f64::NAN, |yes| f64::from(u8::from(yes)));
        self.0.clock_synchronised.set(value);
    }

    /// Counts a command.
    pub fn command(&self, outcome: MessageOutcome) {
        self.0.commands.get_or_create(&by_outcome(outcome)).inc();
    }

    /// Counts a jump of the wall clock.
    pub fn clock_jumped(&self) {
        self.0.clock_jumps.inc();
    }
}

impl Format {
    /// Returns the format for a client that sent these `Accept` headers: the one that it prefers,
    /// and OpenMetrics if it prefers none of the two.
    pub fn accepted_by<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut openmetrics, mut prometheus) = (0.0, 0.0);
        let ranges = accept.into_iter().flat_map(|header| header.split(','));
        for (media_type, quality) in ranges.map(quality) {
            let of_type = match media_type {
                it if it.eq_ignore_ascii_case("application/openmetrics-text") => &mut openmetrics,
                it if it.eq_ignore_ascii_case("text/plain") => &mut prometheus,
                _ => continue,
            };
            *of_type = quality.max(*of_type);
        }
        if openmetrics > 0.0 && openmetrics >= prometheus {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the content type to send it with.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cameras = self.0.cameras.iter().map(CameraMetrics::name);
        f.debug_tuple("Metrics")
            .field(&cameras.collect::<Vec<_>>())
            .finish()
    }
}

/// The labels of a series, in the order in which they are written.
type Labels<const N: usize> = [(&'static str, String); N];

/// Returns the type in one range of an `Accept` header, and how much it is preferred, 0 to 1 (RFC
/// 9110, 12.4.2).
fn quality(range: &str) -> (&str, f64) {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let stated = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    // What cannot be read is not preferred, and neither is NaN.
    let quality: f64 = stated.map_or(1.0, |stated| stated.parse().unwrap_or(0.0));
    (media_type, quality.clamp(0.0, 1.0))
}

/// Registers a metric and returns it. Counters automatically get `_total` appended to their name.
fn register<M>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M
where
    M: Clone + Metric,
{
    registry.register(name, help, metric.clone());
    metric
}

fn by_outcome(outcome: MessageOutcome) -> Labels<1> {
    [("outcome", outcome.as_str().to_owned())]
}

fn unknown() -> FloatGauge {
    let gauge = FloatGauge::default();
    gauge.set(f64::NAN);
    gauge
}

/// Raises a counter to the value of another one, which counts the same.
fn set_total(counter: &Counter, total: u64) {
    // Only one thread ever reports a total, so nothing is lost between the two.
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Converts a value for a gauge. No disk has 2^63 bytes.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
