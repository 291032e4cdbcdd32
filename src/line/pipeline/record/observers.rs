//! The observers of the record stage, off the path of a verdict: evidence, drift, and the shadow
//! model. Each receives its input over a queue that is never waited for.

use std::io;
use std::sync::Arc;

use flawd_core::drift::{ConditionWatch, Drift, DriftError};
use flawd_core::event::{
    DisagreementData, DriftCause, DriftData, Event, EvidenceData, EvidenceState, Opinion,
};
use tracing::warn;

use super::Input;
use crate::line::camera::PerCamera;
use crate::line::evidence::{Anomaly, EvidenceItem, EvidenceSink};
use crate::line::pipeline::channels::link::Sender;
use crate::line::pipeline::part::frame::Inspection;
use crate::line::pipeline::part::model::LoadedModel;
use crate::line::pipeline::shadow::{self, CameraSetup, Disagreement, JudgedPart, Shadow};

/// The probability of a false drift alarm, for whatever cause, in an epoch of
/// [`flawd_core::drift::EPOCH`] good parts.
pub const FALSE_ALARM_RATE: f64 = 0.01;

/// Keeps the pictures of parts that are worth reviewing.
#[derive(Clone, Debug)]
pub(crate) struct EvidenceSampler {
    pub(crate) evidence: Option<EvidenceSink>,
    /// The journal's name: it gives the numbers.
    pub(crate) series: String,
}

impl EvidenceSampler {
    /// Queues the picture of a numbered verdict for the disk, if it is to be kept.
    pub(crate) fn keep(&self, inspection: &Inspection) -> Option<EvidenceData> {
        let evidence = self.evidence.as_ref()?;
        let data = &inspection.verdict;
        let is_wanted =
            inspection.is_snapshot || evidence.wants(data.verdict, &data.camera, data.seq);
        let picture = inspection.picture.as_ref().filter(|_| is_wanted)?;
        let map = inspection.anomaly_map.clone();
        evidence.admit(EvidenceItem {
            camera: data.camera.clone(),
            seq: data.seq,
            series: self.series.clone(),
            verdict: data.verdict,
            captured: inspection.time.wall,
            picture: Arc::clone(picture),
            anomaly: map.zip(data.threshold).map(|(map, threshold)| Anomaly {
                map,
                geometry: inspection.geometry,
                threshold,
            }),
        })
    }

    /// Returns the current usage.
    pub(crate) fn usage(&self) -> Option<EvidenceState> {
        let usage = self.evidence.as_ref()?.usage();
        Some(EvidenceState {
            files: usage.files,
            bytes: usage.bytes,
            dropped: usage.dropped,
            suspended: usage.suspended,
        })
    }

    /// Keeps the picture of a part on which the shadow disagrees.
    fn keep_disagreement(&self, disagreement: &Disagreement) -> Option<EvidenceData> {
        let evidence = self.evidence.as_ref()?;
        let data = &disagreement.data;
        evidence.admit(EvidenceItem {
            camera: data.camera.clone(),
            seq: data.seq,
            series: self.series.clone(),
            verdict: data.live.verdict,
            captured: disagreement.captured.wall,
            picture: Arc::clone(&disagreement.image),
            anomaly: None,
        })
    }
}

/// Watches whether one camera's parts are still like those of the calibration.
#[derive(Debug, Default)]
pub(crate) struct DriftWatch {
    watched: Option<Watched>,
}

/// The evidence against the calibration of one model.
#[derive(Debug)]
struct Watched {
    model: Arc<LoadedModel>,
    scores: Drift,
    /// `None` if the bundle does not say what pictures were like.
    pictures: Option<ConditionWatch>,
}

impl Watched {
    /// Starts a watch. Scores and pictures share the rate of false alarms.
    fn new(model: &Arc<LoadedModel>, seed: u64) -> Result<Self, DriftError> {
        let judge = &model.judge;
        let rate = match judge.pictures {
            Some(_) => FALSE_ALARM_RATE / 2.0,
            None => FALSE_ALARM_RATE,
        };
        let pictures = judge.pictures.as_ref();
        let pictures = pictures.map(|usual| ConditionWatch::new(usual, rate, seed));
        Ok(Self {
            model: Arc::clone(model),
            scores: Drift::new(&judge.calibration, rate, seed)?,
            pictures: pictures.transpose()?,
        })
    }
}

impl DriftWatch {
    /// Observes the result of an inspection; returns the state of the drift evidence, if the part
    /// counts.
    ///
    /// Another model, or the same with another threshold, starts again. Parts that a recipe's model
    /// judges are another population, so only those of the camera's own model are observed.
    pub(crate) fn observe(&mut self, inspection: &Inspection) -> Option<DriftData> {
        let model = inspection
            .model
            .as_ref()
            .filter(|_| inspection.is_standard)?;
        let verdict = &inspection.verdict;
        let measured = inspection.measured.as_ref();
        let condition = measured.and_then(|measured| measured.condition.as_ref());
        if verdict.score.is_none() && condition.is_none() {
            return None;
        }
        let is_watched = |it: &Watched| Arc::ptr_eq(&it.model, model);
        if !self.watched.as_ref().is_some_and(is_watched) {
            // The seed only breaks ties; the same line gives the same results twice.
            self.watched = Some(Watched::new(model, verdict.seq).ok()?);
        }
        let Watched {
            scores, pictures, ..
        } = self.watched.as_mut()?;
        let was_alarm = scores.state().alarm;
        let state = match verdict.score {
            Some(score) => scores.observe(score),
            None => scores.state(),
        };
        if state.alarm && !was_alarm {
            warn!(
                camera = verdict.camera,
                martingale_log10 = state.martingale_log10,
                parts = state.observed,
                "Good parts no longer score like those of the calibration"
            );
        }
        let causes = match (pictures, condition) {
            (Some(pictures), Some(condition)) => {
                let is_new = pictures.observe(condition);
                let causes = causes(pictures);
                if is_new {
                    let details: Vec<&str> = causes.iter().map(|it| &*it.detail).collect();
                    warn!(
                        camera = verdict.camera,
                        causes = details.join("; "),
                        "Pictures are no longer like those of the calibration"
                    );
                }
                causes
            }
            (Some(pictures), None) => causes(pictures),
            (None, _) => Vec::new(),
        };
        Some(DriftData {
            alarm: state.alarm || !causes.is_empty(),
            martingale_log10: state.martingale_log10,
            parts: state.observed,
            causes,
        })
    }
}

fn causes(pictures: &ConditionWatch) -> Vec<DriftCause> {
    let findings = pictures.findings().into_iter();
    findings.map(DriftCause::from).collect()
}

/// Starts the shadow's thread, which has no model yet and hands its disagreements to the record
/// stage.
pub(crate) fn start_shadow(
    cameras: PerCamera<CameraSetup>,
    entries: Sender<Input>,
) -> io::Result<Shadow> {
    let models = cameras.iter().map(|_| None).collect();
    shadow::start(cameras, models, move |disagreement| {
        // The record stage ends after the last of these is gone.
        entries
            .send(Input::Disagreement(Box::new(disagreement)))
            .ok();
    })
}

/// Returns the part for the shadow, if the shadow may judge it.
pub(crate) fn for_shadow(inspection: &Inspection) -> Option<JudgedPart> {
    let data = &inspection.verdict;
    Some(JudgedPart {
        camera: inspection.camera,
        seq: data.seq,
        part_id: data.part_id.clone(),
        captured: inspection.time,
        image: Arc::clone(
            inspection
                .picture
                .as_ref()
                .filter(|_| inspection.is_standard)?,
        ),
        live: Opinion {
            verdict: data.verdict,
            score: data.score?,
            threshold: data.threshold?,
            model: data.model.clone()?,
        },
        evidence: data.evidence.clone(),
    })
}

/// Creates the event of a disagreement. If the verdict was no reason to keep the picture, this is.
pub(crate) fn disagreement(
    it: Disagreement,
    sampler: &EvidenceSampler,
    journal: &str,
    root: &str,
) -> Event<DisagreementData> {
    let kept = it.data.evidence.clone();
    let evidence = kept.or_else(|| sampler.keep_disagreement(&it));
    let (camera, seq) = (&it.data.camera, it.data.seq);
    Event {
        id: format!("{journal}-{camera}-{seq}-shadow"),
        source: format!("{root}/{camera}"),
        time: it.captured.wall,
        data: DisagreementData {
            evidence,
            ..it.data
        },
    }
}
