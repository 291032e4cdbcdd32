//! What a scrape sees of what was counted.

use std::collections::BTreeSet;

use flawd_core::condition::{Cause, Quantity};
use flawd_core::digest::Digest;
use flawd_core::event::{DriftCause, DriftData, LatencyMs, ModelData, ShadowState, VerdictData};
use flawd_core::verdict::{Reason, Verdict};
use proptest::prelude::*;

use super::*;
use crate::line::monitor::counters::Counters;

const TOP: CameraIndex = CameraIndex(0);
const SIDE: CameraIndex = CameraIndex(1);

fn data(verdict: Verdict, score: Option<f32>, threshold: f32) -> VerdictData {
    VerdictData {
        seq: 1,
        part_id: Some("SN123".to_owned()),
        score,
        threshold: Some(threshold),
        latency_ms: LatencyMs {
            capture: Some(3.0),
            queue: Some(0.5),
            preprocess: Some(8.0),
            infer: Some(40.0),
            total: 51.5,
        },
        ..VerdictData::new("top", verdict)
    }
}

fn model(version: &str) -> ModelData {
    ModelData {
        name: "flange".to_owned(),
        version: version.to_owned(),
        digest: Digest::new([7; 32]),
        provider: "cpu".to_owned(),
        engine: None,
    }
}

/// Returns the value of the one series that is written like this.
#[track_caller]
fn value(metrics: &Metrics, series: &str) -> f64 {
    let text = metrics.encode(Format::Prometheus);
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = values
        .next()
        .unwrap_or_else(|| panic!("no {series} in:\n{text}"));
    assert_eq!(values.next(), None, "{series} is there twice");
    value.parse().unwrap()
}

/// Returns names and kinds of all families of a daemon that has done everything.
fn families() -> Vec<(String, String)> {
    let metrics = Metrics::new(["top"]);
    metrics.camera(TOP).model(&model("1.0.0"), 2.5);
    let text = metrics.encode(Format::Prometheus);
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            (name.to_owned(), kind.to_owned())
        })
        .collect()
}

#[test]
fn every_verdict_counts_once_under_its_own_name() {
    let metrics = Metrics::new(["top", "side"]);
    let all: Vec<_> = [Verdict::Ok, Verdict::Ng]
        .into_iter()
        .chain(Reason::ALL.map(Verdict::NoDecision))
        .collect();
    let series = |camera, verdict: Verdict| {
        format!(
            "flawd_verdicts_total{{camera=\"{camera}\",verdict=\"{}\",reason=\"{}\"}}",
            verdict.as_str(),
            verdict.reason().map_or("", Reason::as_str)
        )
    };
    for (times, &verdict) in all.iter().enumerate() {
        assert_eq!(value(&metrics, &series("side", verdict)), 0.0);
        for _ in 0..times {
            metrics.camera(SIDE).verdict(&data(verdict, None, 1.0));
        }
    }
    for (times, &verdict) in all.iter().enumerate() {
        assert_eq!(value(&metrics, &series("side", verdict)), times as f64);
        assert_eq!(value(&metrics, &series("top", verdict)), 0.0);
    }
}

#[test]
fn triggers_count_under_their_own_names() {
    let metrics = Metrics::new(["top"]);
    for (times, outcome) in MessageOutcome::ALL.into_iter().enumerate() {
        (0..times).for_each(|_| metrics.camera(TOP).trigger(outcome));
    }
    for (times, outcome) in MessageOutcome::ALL.into_iter().enumerate() {
        let outcome = outcome.as_str();
        let series = format!("flawd_triggers_total{{camera=\"top\",outcome=\"{outcome}\"}}");
        assert_eq!(value(&metrics, &series), times as f64);
    }
}

#[test]
fn commands_count_by_what_became_of_them() {
    let metrics = Metrics::new(["top"]);
    let series = |outcome| format!("flawd_commands_total{{outcome=\"{outcome}\"}}");
    for outcome in ["accepted", "retained", "stale", "invalid", "overrun"] {
        assert_eq!(value(&metrics, &series(outcome)), 0.0);
    }
    metrics.command(MessageOutcome::Stale);
    metrics.command(MessageOutcome::Stale);
    metrics.command(MessageOutcome::Accepted);
    assert_eq!(value(&metrics, &series("stale")), 2.0);
    assert_eq!(value(&metrics, &series("accepted")), 1.0);
}

#[test]
fn every_scrape_shows_what_the_pipeline_has_counted_until_then() {
    let metrics = Metrics::new(["top", "side"]);
    let counters = Counters::default();
    metrics.camera(TOP).follow(counters.clone());
    for frames in 1..=3 {
        counters.captured.increment();
        counters.unused.increment();
        counters.missed.add(3);
        (0..2).for_each(|_| counters.overrun.increment());
        let captured = |camera| {
            let series = format!("flawd_frames_captured_total{{camera=\"{camera}\"}}");
            value(&metrics, &series)
        };
        let dropped = |reason| {
            let series =
                format!("flawd_frames_dropped_total{{camera=\"top\",reason=\"{reason}\"}}");
            value(&metrics, &series)
        };
        let frames = f64::from(frames);
        assert_eq!((captured("top"), captured("side")), (frames, 0.0));
        assert_eq!(
            (dropped("overrun"), dropped("missed"), dropped("unused")),
            (2.0 * frames, 3.0 * frames, frames)
        );
    }
}

#[test]
fn latencies_are_seconds_in_the_step_that_they_were_spent_in() {
    let metrics = Metrics::new(["top"]);
    metrics
        .camera(TOP)
        .verdict(&data(Verdict::Ok, Some(1.0), 2.0));
    for (stage, seconds) in [
        ("capture", 0.003),
        ("queue", 0.0005),
        ("preprocess", 0.008),
        ("infer", 0.04),
    ] {
        let labels = format!("{{camera=\"top\",stage=\"{stage}\"}}");
        let sum = value(
            &metrics,
            &format!("flawd_stage_duration_seconds_sum{labels}"),
        );
        assert!((sum - seconds).abs() < 1e-12, "{stage}: {sum}");
        let count = format!("flawd_stage_duration_seconds_count{labels}");
        assert_eq!(value(&metrics, &count), 1.0);
    }
}

#[test]
fn only_a_verdict_after_its_deadline_is_a_miss() {
    let metrics = Metrics::new(["top"]);
    for (remaining_ms, misses) in [(None, 0.0), (Some(0.0), 0.0), (Some(-0.1), 1.0)] {
        metrics.camera(TOP).verdict(&VerdictData {
            remaining_ms,
            ..data(Verdict::Ok, Some(1.0), 2.0)
        });
        let series = "flawd_deadline_misses_total{camera=\"top\"}";
        assert_eq!(value(&metrics, series), misses);
    }
}

proptest! {
    #[test]
    fn the_bucket_up_to_1_holds_exactly_the_scores_that_are_no_defect(
        threshold in 1e-30f32..1e30,
        factor in 0f32..3.0,
        steps in -3i32..=3,
    ) {
        // Often within a few last places of the threshold, where rounding would show.
        let near = f32::from_bits(threshold.to_bits().saturating_add_signed(steps));
        let far = threshold * factor;
        let metrics = Metrics::new(["top"]);
        for score in [near, far] {
            metrics.camera(TOP).verdict(&data(Verdict::Ok, Some(score), threshold));
        }
        let good = [near, far].iter().filter(|score| **score <= threshold).count();
        let bucket = value(&metrics, "flawd_score_bucket{camera=\"top\",le=\"1\"}");
        prop_assert_eq!(bucket, good as f64);
    }
}

#[test]
fn what_is_not_known_yet_is_no_number() {
    let metrics = Metrics::new(["top"]);
    for series in [
        "flawd_threshold{camera=\"top\"}",
        "flawd_engine_build_seconds",
        "flawd_clock_synchronised",
    ] {
        assert!(value(&metrics, series).is_nan(), "{series}");
    }
    metrics.engine_built(Duration::from_secs(90));
    metrics.clock_synchronised(Some(false));
    assert_eq!(value(&metrics, "flawd_engine_build_seconds"), 90.0);
    assert_eq!(value(&metrics, "flawd_clock_synchronised"), 0.0);
}

#[test]
fn a_camera_has_one_model_and_an_exchange_takes_the_old_one_away() {
    let metrics = Metrics::new(["top", "side"]);
    for version in ["1.0.0", "1.0.0", "2.0.0"] {
        metrics.camera(TOP).model(&model(version), 2.5);
        metrics.camera(SIDE).model(&model("1.0.0"), 3.5);
        let text = metrics.encode(Format::Prometheus);
        let infos: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("flawd_model_info{camera=\"top\""))
            .collect();
        assert_eq!(infos.len(), 1, "{infos:?}");
        let version = format!("version=\"{version}\"");
        assert!(infos[0].contains(&version), "{infos:?}");
    }
    assert_eq!(value(&metrics, "flawd_threshold{camera=\"top\"}"), 2.5);
    assert_eq!(value(&metrics, "flawd_threshold{camera=\"side\"}"), 3.5);
}

#[test]
fn totals_that_are_reported_again_are_not_added_again() {
    let metrics = Metrics::new(["top"]);
    let records = RecordsState {
        pending: 4,
        bytes: 4096,
        dropped: 2,
        unwritten: 1,
        ..RecordsState::default()
    };
    let shadow = ShadowState {
        agreed: 5,
        disagreed: 6,
        skipped: 7,
    };
    for _ in 0..2 {
        metrics.records(&records);
        metrics.camera(TOP).shadow(&shadow);
    }
    assert_eq!(value(&metrics, "flawd_journal_events"), 4.0);
    assert_eq!(value(&metrics, "flawd_journal_dropped_total"), 3.0);
    let series = "flawd_shadow_total{camera=\"top\",outcome=\"disagreed\"}";
    assert_eq!(value(&metrics, series), 6.0);
    metrics.camera(TOP).drift(&DriftData {
        alarm: true,
        martingale_log10: -1.5,
        parts: 10,
        causes: vec![DriftCause {
            cause: Cause::Focus,
            quantity: Quantity::Focus,
            now: 0.3,
            usual: 0.4,
            low: 0.38,
            high: 0.42,
            detail: "focus".to_owned(),
        }],
    });
    let cause = |name: &str| format!("flawd_drift_cause{{camera=\"top\",cause=\"{name}\"}}");
    assert_eq!(value(&metrics, &cause("focus")), 1.0);
    assert_eq!(value(&metrics, &cause("noise")), 0.0);
    assert_eq!(value(&metrics, "flawd_drift{camera=\"top\"}"), 1.0);
    let series = "flawd_drift_martingale_log10{camera=\"top\"}";
    assert_eq!(value(&metrics, series), -1.5);
}

#[test]
fn both_formats_describe_every_family_and_name_no_part() {
    let metrics = Metrics::new(["top"]);
    metrics.camera(TOP).model(&model("1.0.0"), 2.5);
    metrics
        .camera(TOP)
        .verdict(&data(Verdict::Ng, Some(3.0), 2.0));
    metrics.published(Duration::from_millis(60));
    for format in [Format::OpenMetrics, Format::Prometheus] {
        let text = metrics.encode(format);
        let names = |kind: &str| -> BTreeSet<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
            lines
                .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
                .collect()
        };
        let types = names("# TYPE ");
        assert_eq!(names("# HELP "), types);
        assert!(types.len() > 20, "{types:?}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count", "_total"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert!(types.contains(name) || types.contains(family), "{line}");
        }
        assert!(!text.contains("SN123"), "{text}");
        assert_eq!(
            text.ends_with("# EOF\n"),
            format == Format::OpenMetrics,
            "{text}"
        );
    }
}

#[test]
fn openmetrics_goes_to_who_prefers_it() {
    for accept in [
        &["application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"][..],
        &["application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
        &["Application/OpenMetrics-Text; version=1.0.0"],
        &["text/html", "application/openmetrics-text"],
        &["text/plain, application/openmetrics-text"],
    ] {
        let format = Format::accepted_by(accept.iter().copied());
        assert_eq!(format, Format::OpenMetrics, "{accept:?}");
    }
    for accept in [
        &["*/*"][..],
        &[],
        &[""],
        &["text/plain, application/openmetrics-text;q=0"],
        &["text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.2"],
        &["application/openmetrics-text;q=much"],
        &["application/openmetrics-text;q=NaN"],
    ] {
        let format = Format::accepted_by(accept.iter().copied());
        assert_eq!(format, Format::Prometheus, "{accept:?}");
    }
}

#[test]
fn every_family_is_documented_with_its_kind_and_nothing_else_is() {
    let documentation = include_str!("../../../../docs/metrics.md");
    let documented: BTreeSet<_> = documentation
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `flawd_")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            Some((format!("flawd_{name}"), cells.next()?.to_owned()))
        })
        .collect();
    assert_eq!(documented, families().into_iter().collect());
}
