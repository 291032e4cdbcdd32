//! The fourth stage: every verdict passes here once, is numbered, written to the journal, and only
//! then published.
//!
//! One thread, which alone owns the journal: numbers are given in the order of the verdicts, and
//! nothing else waits for the disk. Whatever has come in while the disk was busy is committed
//! together, so a slow disk makes the groups larger and not the line slower. The publisher requests
//! records by credit and reports what the broker has acknowledged; it never touches the disk
//! itself.
//!
//! Inspection continues if the journal cannot be written: the verdict is published, and the loss is
//! counted and reported.

mod observers;
mod reader;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flawd_core::event::Event;
use flawd_core::verdict::Verdict;
use flawd_journal::Journal;
use tracing::{error, info, trace, warn};

use super::channels::link::{self, Received, Receiver, Sender};
use super::channels::log_limit::Throttle;
use super::part::frame::{Inspection, Sink};
use super::publish::backlog::{Backlog, BacklogRequest, JournalStatus, SharedStatus};
use super::publish::{Publisher, Recorded};
use super::shadow::{CameraSetup, Disagreement, Shadow};
use crate::line::camera::PerCamera;
use crate::line::config::Overflow;
use crate::line::evidence::EvidenceSink;
use crate::line::monitor::Metrics;
use crate::line::monitor::counters::Counters;
use crate::line::monitor::progress::Progress;
use crate::messages::with_causes;

pub use super::part::stored::Stored;
pub use observers::FALSE_ALARM_RATE;

use observers::{DriftWatch, EvidenceSampler};
use reader::{JournalReader, ReadAhead};

/// Maximum verdicts that may wait for the disk; beyond that, the earlier stages wait.
const WAITING: usize = 64;

/// Maximum verdicts that are committed together.
const GROUP: usize = 64;

/// The handle to the record stage for sources of verdicts; clones lead to the same one. When the
/// last is dropped, no more verdicts will come.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<CloseOnDrop>,
}

#[derive(Debug)]
struct CloseOnDrop {
    entries: Sender<Input>,
}

/// Everything that the stage reacts to.
#[derive(Debug)]
enum Input {
    Verdict(Box<Inspection>),
    /// The shadow model disagrees.
    Disagreement(Box<Disagreement>),
    /// No more verdicts will come.
    NoMore,
    /// The publisher requests records, or has sent some.
    Backlog(BacklogRequest),
}

/// The stage, not yet running.
pub(crate) struct Record {
    /// First levels of every topic.
    pub(crate) root: String,
    pub(crate) cameras: PerCamera<Counters>,
    pub(crate) journal: Journal,
    pub(crate) publisher: Publisher,
    pub(crate) progress: Progress,
    pub(crate) metrics: Metrics,
    sampler: EvidenceSampler,
    drift: PerCamera<DriftWatch>,
    /// `None` once no more verdicts will come.
    shadow: Option<Shadow>,
    status: SharedStatus,
    inputs: Receiver<Input>,
    reader: JournalReader,
    problems: Throttle,
}

/// The result of [`Record::prepare`]: the stage, and the handles to it.
pub(crate) struct PreparedRecord {
    pub(crate) record: Record,
    pub(crate) recorder: Recorder,
    pub(crate) backlog: Backlog,
    pub(crate) shadow: Shadow,
}

/// The arguments of [`Record::prepare`].
pub(crate) struct RecordDeps {
    /// First levels of every topic.
    pub(crate) root: String,
    pub(crate) cameras: PerCamera<(CameraSetup, Counters)>,
    pub(crate) journal: Journal,
    /// Keeps pictures, if any are to be kept.
    pub(crate) evidence: Option<EvidenceSink>,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: Metrics,
}

impl Record {
    /// Creates the stage for these cameras; the shadow's thread is started, its own is not.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(crate) fn prepare(plan: RecordDeps) -> io::Result<PreparedRecord> {
        let RecordDeps {
            root,
            cameras,
            journal,
            evidence,
            publisher,
            metrics,
        } = plan;
        let capacity = NonZeroUsize::new(WAITING).unwrap_or(NonZeroUsize::MIN);
        let (entries, inputs) = link::link(capacity, Overflow::Block);
        let status = SharedStatus::of(&journal);
        let ask = entries.clone();
        let ask = move |request| {
            ask.send_unbounded(Input::Backlog(request));
        };
        let backlog = Backlog::new(ask, status.clone());
        let (shadows, counters): (Vec<_>, Vec<_>) = cameras.into_iter().unzip();
        let shadow = observers::start_shadow(shadows.into(), entries.clone())?;
        let record = Self {
            root,
            drift: counters.iter().map(|_| DriftWatch::default()).collect(),
            cameras: counters.into(),
            reader: JournalReader::new(&journal),
            sampler: EvidenceSampler {
                evidence,
                series: journal.id().to_owned(),
            },
            journal,
            publisher,
            progress: Progress::new("record"),
            metrics,
            shadow: Some(shadow.clone()),
            status,
            inputs,
            problems: Throttle::new(Duration::from_secs(60)),
        };
        // A status before the first verdict shows what the last run has left.
        record.note_status(None);
        let recorder = Recorder {
            inner: Arc::new(CloseOnDrop { entries }),
        };
        Ok(PreparedRecord {
            record,
            recorder,
            backlog,
            shadow,
        })
    }

    /// Records until no more verdicts come and the publisher has finished.
    pub(crate) fn run(mut self) {
        let progress = self.progress.clone();
        loop {
            let input = self.inputs.recv_until(self.reader.retry_at(&self.journal));
            let working = progress.begin();
            let mut group = Vec::new();
            match input {
                Received::Item(input) => self.take(input, &mut group),
                Received::Nothing => {}
                Received::Closed => break,
            }
            while group.len() < GROUP
                && let Some(input) = self.inputs.try_recv()
            {
                self.take(input, &mut group);
            }
            if !group.is_empty() {
                self.record(group);
            }
            self.reader();
            drop(working);
        }
        if let Err(error) = self.journal.close() {
            warn!(%error, "The journal could not be closed; some records will be sent twice");
        }
    }

    fn take(&mut self, input: Input, group: &mut Vec<Inspection>) {
        match input {
            Input::Verdict(inspection) => group.push(*inspection),
            Input::Disagreement(disagreement) => {
                let id = self.journal.id().to_owned();
                let event = observers::disagreement(*disagreement, &self.sampler, &id, &self.root);
                let stored = Stored::Disagreement(Box::new(event));
                self.journal.append(None, &stored.to_json());
                self.commit();
            }
            Input::NoMore => {
                self.record(std::mem::take(group));
                if let Some(shadow) = self.shadow.take() {
                    shadow.stop();
                }
                self.publisher.finish();
            }
            Input::Backlog(BacklogRequest::Rewind { generation }) => {
                self.reader.rewind(generation, &self.journal);
            }
            Input::Backlog(BacklogRequest::Credit(more)) => self.reader.credit(more),
            Input::Backlog(BacklogRequest::Taken(position)) => {
                self.journal.acknowledge(position);
                self.note_status(self.failing());
            }
        }
    }

    /// Numbers a group of verdicts, records them, and has them published.
    fn record(&mut self, group: Vec<Inspection>) {
        let recorded: Vec<_> = group.into_iter().map(|it| self.write(it)).collect();
        if !recorded.is_empty() {
            self.commit();
        }
        for (inspection, recorded) in recorded {
            self.publisher.verdict(recorded);
            self.count(&inspection);
            self.watch(&inspection);
        }
    }

    /// Gives a verdict its number and appends it to the journal, not yet on the disk.
    fn write(&mut self, mut inspection: Inspection) -> (Inspection, Recorded) {
        inspection.expire(Instant::now());
        let camera = inspection.verdict.camera.clone();
        let seq = self.journal.next_seq(&camera);
        inspection.verdict.seq = seq;
        inspection.verdict.evidence = self.sampler.keep(&inspection);
        let event = Event {
            id: format!("{}-{camera}-{seq}", self.journal.id()),
            source: format!("{}/{camera}", self.root),
            time: inspection.time.wall,
            data: inspection.verdict.clone(),
        };
        let stored = Stored::Verdict(Box::new(event.clone()));
        self.journal.append(Some((&camera, seq)), &stored.to_json());
        let recorded = Recorded {
            camera: inspection.camera,
            event,
            time: inspection.time.monotonic,
            deadline: inspection.deadline,
            reply: inspection.reply.take(),
        };
        (inspection, recorded)
    }

    fn commit(&mut self) {
        let was_failing = self.failing().is_some();
        let failing = match self.journal.commit() {
            Ok(()) => None,
            Err(error) => Some(with_causes(&error)),
        };
        match &failing {
            Some(problem) if !was_failing => {
                error!(error = problem, "Verdicts cannot be written to the journal");
            }
            None if was_failing => {
                let unwritten = self.journal.unwritten();
                info!(unwritten, "Verdicts can be written to the journal again");
            }
            _ => {}
        }
        let dropped_before = self.status.lock().state.dropped;
        self.note_status(failing);
        if dropped_before == 0 && self.journal.dropped() > 0 {
            warn!("The journal is full; the oldest records are dropped and counted");
        }
    }

    fn failing(&self) -> Option<String> {
        self.status.lock().state.failing.clone()
    }

    fn note_status(&self, failing: Option<String>) {
        let mut standing = JournalStatus::of(&self.journal, failing);
        self.metrics.records(&standing.state);
        standing.evidence = self.sampler.usage();
        if let Some(evidence) = &standing.evidence {
            self.metrics.evidence(evidence);
        }
        *self.status.lock() = standing;
    }

    /// Counts a verdict, and logs it if it is important.
    fn count(&mut self, inspection: &Inspection) {
        let verdict = &inspection.verdict;
        let counters = &self.cameras[inspection.camera];
        match verdict.verdict {
            Verdict::Ok => counters.ok.increment(),
            Verdict::Ng => counters.ng.increment(),
            Verdict::NoDecision(reason) => {
                counters.no_decision.increment();
                if let Some(suppressed) = self.problems.permit() {
                    warn!(
                        camera = verdict.camera,
                        seq = verdict.seq,
                        part = verdict.part_id,
                        %reason,
                        detail = verdict.detail,
                        suppressed,
                        "No decision"
                    );
                }
            }
        }
        trace!(
            camera = verdict.camera,
            seq = verdict.seq,
            verdict = %verdict.verdict,
            score = verdict.score,
            latency_ms = verdict.latency_ms.total,
            "Verdict"
        );
    }

    /// Passes a verdict to the observers.
    fn watch(&mut self, inspection: &Inspection) {
        let camera = inspection.camera;
        let metrics = self.metrics.camera(camera);
        metrics.verdict(&inspection.verdict);
        if let Some(drift) = self.drift[camera].observe(inspection) {
            metrics.drift(&drift);
            self.cameras[camera].drift.set(drift);
        }
        if let Some(shadow) = &self.shadow {
            if let Some(part) = observers::for_shadow(inspection) {
                shadow.offer(part);
            }
            if let Some(state) = shadow.state(camera) {
                metrics.shadow(&state);
                self.cameras[camera].shadow.set(state);
            }
        }
    }

    /// Gives the publisher as many records as it has room for.
    fn reader(&mut self) {
        while let Some(fed) = self.reader.next(&mut self.journal, Instant::now()) {
            match fed {
                ReadAhead::Records(generation, entries) => {
                    self.publisher.records(generation, entries)
                }
                ReadAhead::GivenUp => self.note_status(self.failing()),
            }
        }
    }
}

impl Sink for Recorder {
    fn accept(&mut self, inspection: Inspection) {
        // The stage ends only after the last of these is gone.
        let input = Input::Verdict(Box::new(inspection));
        self.inner.entries.send(input).ok();
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.entries.send_unbounded(Input::NoMore);
    }
}
