//! Pulses on the real clock, of a line that is not there: it notes when it is set.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use flawd_core::event::VerdictData;
use flawd_core::preprocess::Geometry;
use flawd_core::verdict::Reason;

use super::*;
use crate::line::config::{Document, ValidConfig};
use crate::line::gpio::LineError;
use crate::line::monitor::metrics::Format;
use crate::line::pipeline::event::{self, DaemonEvent};
use crate::line::pipeline::part::moment::Moment;

const LIMIT: Duration = Duration::from_secs(60);

/// What a line was set to, and when.
type Change = (Instant, bool);

/// Notes what it is set to, and fails as often as the test wants.
struct NotedLine {
    changes: Sender<Change>,
    failures: Arc<parking_lot::Mutex<u32>>,
}

impl OutputLine for NotedLine {
    fn set(&mut self, active: bool) -> Result<(), LineError> {
        let mut failures = self.failures.lock();
        if *failures > 0 && active {
            *failures -= 1;
            return Err(LineError::Gone {
                line: "line 7".to_owned(),
            });
        }
        self.changes.send((Instant::now(), active)).ok();
        Ok(())
    }
}

/// Takes what the outputs pass on.
#[derive(Clone)]
struct Passed(Sender<Inspection>);

impl Sink for Passed {
    fn accept(&mut self, inspection: Inspection) {
        self.0.send(inspection).unwrap();
    }
}

/// One camera with an output.
struct Rig {
    sink: Option<Rejecting<Passed>>,
    threads: Threads,
    passed: Receiver<Inspection>,
    changes: Receiver<Change>,
    failures: Arc<parking_lot::Mutex<u32>>,
    metrics: Metrics,
    events: Receiver<DaemonEvent>,
    delay: Duration,
}

impl Rig {
    /// A rig with these keys in `[camera.top.reject]`.
    fn new(keys: &str) -> Self {
        let text = format!(
            "[station]\nname = \"rig\"\nstate = \"/var/empty\"\n[inference]\nbundle = \"bundle\"\n\
             [camera.top.synthetic]\n[camera.top.reject]\nchip = \"/dev/gpiochip0\"\noffset = 7\n\
             {keys}"
        );
        let document = Document::new("/etc/flawd.toml", text);
        let config = ValidConfig::parse(&document, &Default::default()).unwrap();
        let (changed, changes) = mpsc::channel();
        let (accepted, passed) = mpsc::channel();
        let failures = Arc::new(parking_lot::Mutex::new(0));
        let line = {
            let failures = Arc::clone(&failures);
            move || {
                Box::new(NotedLine {
                    changes: changed.clone(),
                    failures: Arc::clone(&failures),
                })
            }
        };
        let lines = vec![Some(RejectLine {
            line: line(),
            open: Box::new(move || Ok(line())),
        })];
        let metrics = Metrics::new(["top"]);
        let (sender, events) = event::channel();
        let mut threads = Threads::new();
        let started = start(
            &mut threads,
            &config.cameras,
            lines.into(),
            &metrics,
            &sender,
        );
        let (rejects, _) = started.unwrap();
        Self {
            sink: Some(Rejecting::new(rejects, Passed(accepted))),
            threads,
            passed,
            changes,
            failures,
            metrics,
            events,
            delay: config.cameras[0].reject.as_ref().unwrap().delay,
        }
    }

    fn accept(&mut self, verdict: Verdict, captured: Moment) {
        let inspection = inspection(verdict, captured);
        self.sink.as_mut().unwrap().accept(inspection);
    }

    /// Ends as a daemon does; returns everything that the line was set to.
    fn end(mut self) -> (Vec<Change>, Counts) {
        drop(self.sink.take());
        self.threads.join_until(Instant::now() + LIMIT).unwrap();
        let text = self.metrics.encode(Format::Prometheus);
        let count = |outcome: &str| -> u64 {
            let series = format!("flawd_rejects_total{{camera=\"top\",outcome=\"{outcome}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            value.unwrap().parse().unwrap()
        };
        let counts = Counts {
            pulsed: count("pulsed"),
            merged: count("merged"),
            late: count("late"),
            failed: count("failed"),
        };
        (self.changes.try_iter().collect(), counts)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    pulsed: u64,
    merged: u64,
    late: u64,
    failed: u64,
}

fn inspection(verdict: Verdict, captured: Moment) -> Inspection {
    Inspection {
        camera: CameraIndex(0),
        verdict: VerdictData {
            captured_at: Some(captured.wall),
            ..VerdictData::new("top", verdict)
        },
        time: captured,
        deadline: None,
        reply: None,
        picture: None,
        is_snapshot: false,
        is_standard: true,
        measured: None,
        geometry: Geometry::default(),
        anomaly_map: None,
        model: None,
    }
}

/// Returns the pulses: from when until when the line was active.
fn pulses(changes: &[Change]) -> Vec<(Instant, Instant)> {
    let mut pulses = Vec::new();
    let mut begun = None;
    for &(at, active) in changes {
        match (active, begun) {
            (true, None) => begun = Some(at),
            (false, Some(from)) => {
                pulses.push((from, at));
                begun = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    assert_eq!(begun, None, "the line ends inactive");
    pulses
}

/// A part of the property below.
struct Part {
    verdict: Verdict,
    captured: Moment,
    /// When its verdict is there.
    decided: Instant,
}

/// Parts every 4 ms, in the order in which their verdicts come.
fn parts(count: u32) -> Vec<Part> {
    let mut random = fastrand::Rng::with_seed(11);
    let begin = Moment::before_now(Duration::ZERO);
    let mut parts: Vec<_> = (0..count)
        .map(|index| {
            let offset = Duration::from_millis(4) * index;
            let captured = Moment {
                wall: begin.wall,
                monotonic: begin.monotonic + offset,
            };
            let verdict = match random.u32(0..10) {
                0..5 => Verdict::Ok,
                5..8 => Verdict::Ng,
                _ => Verdict::NoDecision(Reason::Late),
            };
            let latency = Duration::from_micros(random.u64(0..60_000));
            Part {
                verdict,
                captured,
                decided: captured.monotonic + latency,
            }
        })
        .collect();
    parts.sort_by_key(|part| part.decided);
    parts
}

#[test]
fn of_a_thousand_parts_every_ng_in_time_has_one_pulse_and_there_is_no_other() {
    // A busy machine may wake the thread late; that shows as jitter and not as a missing pulse.
    let keys = "delay = \"40ms\"\nlength = \"1ms\"\ntolerance = \"9s\"\nno_decision = \"pass\"\n";
    let mut rig = Rig::new(keys);
    let (_never, pace) = mpsc::channel::<()>();
    let mut moments = Vec::new();
    let mut late = 0;
    let mut unclear = Vec::new();
    for part in parts(1000) {
        // Nothing comes on it: the pace of the parts is the point here.
        let left = part.decided.saturating_duration_since(Instant::now());
        pace.recv_timeout(left).ok();
        let moment = part.captured.monotonic + rig.delay;
        let before = Instant::now();
        rig.accept(part.verdict, part.captured);
        if part.verdict != Verdict::Ng {
            continue;
        }
        if moment < before {
            late += 1;
        } else if Instant::now() <= moment {
            moments.push(moment);
        } else {
            // The clock passed the moment in between.
            unclear.push(moment);
        }
    }
    assert_eq!(rig.passed.try_iter().count(), 1000, "all are passed on");
    let (changes, counts) = rig.end();
    println!("{counts:?}, {} at the edge", unclear.len());
    let pulses = pulses(&changes);
    assert_eq!(pulses.len() as u64, counts.pulsed);
    let taken = counts.pulsed + counts.merged;
    let edge = unclear.len() as u64;
    let in_time = moments.len() as u64;
    assert!((in_time..=in_time + edge).contains(&taken), "{counts:?}");
    assert_eq!(counts.late + taken, late + in_time + edge);
    assert!(late > 50 && in_time > 100, "the latencies make both");

    moments.extend(unclear);
    moments.sort();
    let mut waiting = moments.iter().copied().peekable();
    let mut jitter = Vec::new();
    for (from, until) in pulses {
        assert!(until - from >= Duration::from_millis(1));
        let first = waiting.next().expect("a pulse has its part");
        assert!(from >= first, "no pulse comes before its part");
        jitter.push(from - first);
        while waiting.next_if(|moment| *moment <= from).is_some() {}
        // Those that made it longer.
        while waiting.next_if(|moment| *moment < until).is_some() {}
    }
    assert_eq!(waiting.count(), 0, "every part has its pulse");
    jitter.sort();
    let share = |percent: usize| jitter[(jitter.len() - 1) * percent / 100];
    println!(
        "jitter of {} pulses: p50 {:?}, p99 {:?}, highest {:?}",
        jitter.len(),
        share(50),
        share(99),
        share(100)
    );
}

#[test]
fn pulses_that_overlap_are_one_and_it_lasts_until_the_last_has_ended() {
    let keys = "delay = \"200ms\"\nlength = \"100ms\"\ntolerance = \"9s\"\n";
    let mut rig = Rig::new(keys);
    let first = Moment::now();
    let second = Moment {
        monotonic: first.monotonic + Duration::from_millis(60),
        ..first
    };
    // Their verdicts may come in any order.
    rig.accept(Verdict::Ng, second);
    rig.accept(Verdict::Ng, first);
    let delay = rig.delay;
    let (changes, counts) = rig.end();
    let pulses = pulses(&changes);
    assert_eq!(pulses.len(), 1, "{counts:?}");
    assert_eq!((counts.pulsed, counts.merged), (1, 1));
    let (from, until) = pulses[0];
    assert!(from >= first.monotonic + delay);
    assert!(until >= second.monotonic + delay + Duration::from_millis(100));
}

#[test]
fn a_verdict_that_comes_after_its_part_has_passed_makes_no_pulse_whatever_it_is() {
    let mut rig = Rig::new("delay = \"50ms\"\n");
    let long_ago = Moment::before_now(Duration::from_millis(51));
    for verdict in [
        Verdict::Ng,
        Verdict::NoDecision(Reason::Late),
        Verdict::NoDecision(Reason::CameraLost),
    ] {
        rig.accept(verdict, long_ago);
    }
    rig.accept(Verdict::Ok, long_ago);
    let (changes, counts) = rig.end();
    assert!(pulses(&changes).is_empty());
    let expected = Counts {
        pulsed: 0,
        merged: 0,
        late: 3,
        failed: 0,
    };
    assert_eq!(counts, expected);
}

#[test]
fn a_part_without_a_decision_is_rejected_unless_it_is_to_pass() {
    for (key, rejected) in [("", 1), ("no_decision = \"pass\"\n", 0)] {
        let mut rig = Rig::new(&format!("delay = \"500ms\"\ntolerance = \"9s\"\n{key}"));
        rig.accept(Verdict::NoDecision(Reason::ImageQuality), Moment::now());
        let (changes, _) = rig.end();
        assert_eq!(pulses(&changes).len(), rejected, "{key:?}");
    }
}

#[test]
fn a_trigger_without_a_picture_is_counted_from_the_moment_that_it_asked_for() {
    let mut rig = Rig::new(
        "delay = \"100ms\"\ntolerance = \"9s\"\n[camera.top.trigger]\nmode = \"mqtt\"\ndelay = \"150ms\"\n",
    );
    let received = Moment::now();
    let mut asked = inspection(Verdict::NoDecision(Reason::CameraLost), received);
    asked.verdict.captured_at = None;
    rig.sink.as_mut().unwrap().accept(asked);
    let (changes, _) = rig.end();
    let (from, _) = pulses(&changes)[0];
    assert!(from >= received.monotonic + Duration::from_millis(250));
}

#[test]
fn a_line_that_is_lost_is_reported_counted_and_opened_again() {
    let mut rig = Rig::new("delay = \"100ms\"\nlength = \"1ms\"\ntolerance = \"9s\"\n");
    *rig.failures.lock() = 1;
    rig.accept(Verdict::Ng, Moment::now());
    let name = "reject output of top".to_owned();
    let event = rig.events.recv_timeout(LIMIT).unwrap();
    assert_eq!(event, DaemonEvent::LineLost(name.clone()));
    let event = rig.events.recv_timeout(LIMIT).unwrap();
    assert_eq!(event, DaemonEvent::LineFound(name));
    rig.accept(Verdict::Ng, Moment::now());
    let (changes, counts) = rig.end();
    assert_eq!(pulses(&changes).len(), 1);
    assert_eq!((counts.pulsed, counts.failed), (1, 1));
}
