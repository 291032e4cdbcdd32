//! The content of `state` and `heartbeat`, assembled from all sources.

use std::collections::BTreeMap;
use std::time::Instant;

use flawd_core::event::{Beat, CameraState, EvidenceState, Heartbeat, RecordsState, State};
use jiff::Timestamp;

use super::inflight::Undelivered;
use super::{CameraInfo, CameraReport, DaemonStatus};
use crate::line::camera::PerCamera;

/// Creates the content of `state`.
pub(crate) fn state(
    report: &DaemonStatus,
    cameras: &PerCamera<CameraInfo>,
    undelivered: &PerCamera<Undelivered>,
    commands_refused: u64,
    records: RecordsState,
    evidence: Option<EvidenceState>,
) -> State {
    let silent = CameraReport::default();
    let reports = report.cameras.iter().chain(std::iter::repeat(&silent));
    let cameras: BTreeMap<_, _> = cameras
        .iter()
        .zip(undelivered.iter())
        .zip(reports)
        .map(|((camera, undelivered), report)| {
            let counters = &camera.counters;
            let state = CameraState {
                captured: counters.captured.get(),
                overrun: counters.overrun.get(),
                missed: counters.missed.get(),
                unused: counters.unused.get(),
                ok: counters.ok.get(),
                ng: counters.ng.get(),
                no_decision: counters.no_decision.get(),
                model: report.model.clone(),
                triggers_accepted: counters.triggers_accepted.get(),
                triggers_refused: counters.triggers_refused.get(),
                paused: report.paused,
                drift: counters.drift.get(),
                shadow: counters.shadow.get(),
                undelivered: undelivered.to_event(),
            };
            (camera.name.clone(), state)
        })
        .collect();
    State {
        ready: report.not_ready.is_none(),
        reason: report.not_ready.clone(),
        state: report.phase,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: report.cameras.iter().find_map(|it| it.model.clone()),
        clock_synchronised: report.clock_synchronised,
        cameras,
        commands_refused,
        records: Some(records),
        evidence,
        time: Timestamp::now(),
    }
}

/// Creates the content of `heartbeat`: `last` has each camera's last verdict and when it was
/// reached.
pub(crate) fn heartbeat(
    cameras: &PerCamera<CameraInfo>,
    last: &PerCamera<Option<(u64, Instant)>>,
    now: Instant,
) -> Heartbeat {
    let beats = cameras
        .iter()
        .zip(last.iter())
        .filter_map(|(camera, last)| {
            let (seq, reached) = (*last)?;
            let age_ms = now.saturating_duration_since(reached).as_secs_f64() * 1e3;
            Some((camera.name.clone(), Beat { seq, age_ms }))
        });
    Heartbeat {
        cameras: beats.collect(),
        time: Timestamp::now(),
    }
}
