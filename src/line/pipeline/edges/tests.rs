//! Edges of a line that is not there: the test says when it changed.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::*;
use crate::line::monitor::metrics::Format;
use crate::line::pipeline::event;

const LIMIT: Duration = Duration::from_secs(60);

/// Gives the edges of the test; `Err` is a chip that is unplugged.
struct ToldLine(Receiver<Result<Edge, ()>>);

impl InputLine for ToldLine {
    fn wait(&mut self, limit: Duration) -> Result<Vec<Edge>, LineError> {
        match self.0.recv_timeout(limit) {
            Ok(Ok(edge)) => Ok(vec![edge]),
            Ok(Err(())) => Err(LineError::Gone {
                line: "line 7".to_owned(),
            }),
            Err(_) => Ok(Vec::new()),
        }
    }
}

struct Rig {
    edges: Sender<Result<Edge, ()>>,
    inbox: Inbox,
    metrics: Metrics,
    counters: Counters,
    events: Receiver<DaemonEvent>,
    shutdown: Shutdown,
    running: thread::JoinHandle<()>,
}

/// A running source; if its line is lost, it finds the one of `next`.
fn rig(next: Receiver<Result<Edge, ()>>) -> Rig {
    let (edges, told) = mpsc::channel();
    let (sender, events) = event::channel();
    let mut next = Some(next);
    let source = EdgeTriggers {
        index: CameraIndex(0),
        camera: "top".to_owned(),
        line: Box::new(ToldLine(told)),
        open: Box::new(move || Ok(Box::new(ToldLine(next.take().expect("lost once"))))),
        max_age: Duration::from_secs(2),
        inbox: Inbox::new(),
        counters: Counters::default(),
        metrics: Metrics::new(["top"]),
        events: sender,
        shutdown: Shutdown::new(),
    };
    Rig {
        edges,
        inbox: source.inbox.clone(),
        metrics: source.metrics.clone(),
        counters: source.counters.clone(),
        events,
        shutdown: source.shutdown.clone(),
        running: thread::spawn(move || source.run()),
    }
}

impl Rig {
    fn end(self) -> String {
        self.shutdown.request();
        self.running.join().unwrap();
        self.metrics.encode(Format::Prometheus)
    }
}

fn edge(at: Instant, missed: u32) -> Edge {
    Edge { at, missed }
}

#[test]
fn a_trigger_has_the_time_of_its_edge_and_not_that_of_its_arrival() {
    let rig = rig(mpsc::channel().1);
    let at = Instant::now() - Duration::from_millis(700);
    rig.edges.send(Ok(edge(at, 0))).unwrap();
    let news = rig.inbox.wait(Some(Instant::now() + LIMIT));
    let received = news.triggers[0].received.monotonic;
    let apart = received.max(at) - received.min(at);
    assert!(apart < Duration::from_millis(100), "{apart:?}");
    let accepted = rig.counters.triggers_accepted.clone();
    rig.end();
    assert_eq!(accepted.get(), 1);
}

#[test]
fn edges_that_were_missed_and_edges_that_are_old_are_counted() {
    let rig = rig(mpsc::channel().1);
    let old = Instant::now() - Duration::from_secs(3);
    rig.edges.send(Ok(edge(old, 0))).unwrap();
    rig.edges.send(Ok(edge(Instant::now(), 5))).unwrap();
    let news = rig.inbox.wait(Some(Instant::now() + LIMIT));
    assert_eq!(news.triggers.len(), 1, "the old one is not acted on");
    let refused = rig.counters.triggers_refused.clone();
    let text = rig.end();
    assert_eq!(refused.get(), 6);
    for (outcome, count) in [("accepted", 1), ("stale", 1), ("overrun", 5)] {
        let series =
            format!("flawd_triggers_total{{camera=\"top\",outcome=\"{outcome}\"}} {count}");
        assert!(text.contains(&series), "{series} in:\n{text}");
    }
}

#[test]
fn a_line_that_is_lost_is_found_again() {
    let (later, next) = mpsc::channel();
    let rig = rig(next);
    rig.edges.send(Err(())).unwrap();
    let name = "trigger input of top".to_owned();
    let event = rig.events.recv_timeout(LIMIT).unwrap();
    assert_eq!(event, DaemonEvent::LineLost(name.clone()));
    let event = rig.events.recv_timeout(LIMIT).unwrap();
    assert_eq!(event, DaemonEvent::LineFound(name));
    later.send(Ok(edge(Instant::now(), 0))).unwrap();
    let news = rig.inbox.wait(Some(Instant::now() + LIMIT));
    assert_eq!(news.triggers.len(), 1);
    rig.end();
}
