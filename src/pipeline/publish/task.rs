//! The publisher's life: connect, serve, lose the connection, pause, connect again; finish.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc as std_mpsc,
    time::{Duration, Instant},
};

use flawd_core::event::{Beat, CameraState, Heartbeat, ModelData, Phase, State, Status};
use jiff::Timestamp;
use tokio::{select, sync::mpsc, time};
use tracing::{error, info, warn};

use super::{
    CameraInfo, FirstAttempt, Order, Report, UndeliveredByCamera,
    backoff::Backoff,
    connection::{Connection, Happening, Message},
    ledger::{About, Ledger},
    message::{Telegram, Writer},
};
use crate::{
    config::MqttSettings,
    pipeline::{frame::Inspection, throttle::Throttle},
};

/// Messages that may be unacknowledged at a time. Below what brokers commonly allow (20), so that
/// nothing ages in the client's own queue.
const WINDOW: usize = 16;

/// Verdicts that may wait for room in the window; then the oldest gives way.
const WAITING: usize = 256;

/// At the end, how long verdicts on their way and the farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// The publisher.
pub(super) struct Task {
    settings: MqttSettings,
    writer: Writer,
    model: ModelData,
    cameras: Vec<CameraInfo>,
    report: Report,
    orders: mpsc::Receiver<Order>,
    undelivered: UndeliveredByCamera,
    first_attempt: Option<std_mpsc::Sender<FirstAttempt>>,
    ledger: Ledger,
    waiting: VecDeque<Telegram>,
    /// The last verdict of each camera, and when it was reached.
    last: Vec<Option<(u64, Instant)>>,
    heartbeat_due: Instant,
    refusals: Throttle,
}

/// Why a connection is not served any more.
enum Ended {
    /// There will be no more orders.
    Finished,
    /// The broker is gone.
    Lost(String),
}

impl Task {
    pub(super) fn new(
        settings: MqttSettings,
        model: ModelData,
        cameras: Vec<CameraInfo>,
        report: Report,
        orders: mpsc::Receiver<Order>,
        undelivered: UndeliveredByCamera,
        first_attempt: std_mpsc::Sender<FirstAttempt>,
    ) -> Self {
        Self {
            writer: Writer::new(&settings.root, settings.version),
            last: vec![None; cameras.len()],
            settings,
            model,
            cameras,
            report,
            orders,
            undelivered,
            first_attempt: Some(first_attempt),
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            heartbeat_due: Instant::now(),
            refusals: Throttle::new(Duration::from_secs(60)),
        }
    }

    /// Publishes until nobody can give orders any more.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.reconnect_max);
        let mut attempts = 0_u64;
        loop {
            attempts += 1;
            match self.connect().await {
                None => break,
                Some(Ok(mut connection)) => {
                    backoff.succeed();
                    info!(
                        host = self.settings.host,
                        port = self.settings.port,
                        attempts,
                        "Connected to the broker"
                    );
                    attempts = 0;
                    self.answer_first_attempt(Ok(()));
                    match self.serve(&mut connection).await {
                        Ended::Finished => break,
                        Ended::Lost(cause) => {
                            warn!(error = cause, "Connection to the broker lost");
                            self.abandon();
                        }
                    }
                }
                Some(Err(cause)) => {
                    // Once, twice, four times…: a broker that is away for a night takes few lines.
                    if attempts.is_power_of_two() {
                        warn!(
                            host = self.settings.host,
                            port = self.settings.port,
                            error = cause,
                            attempts,
                            "Cannot connect to the broker"
                        );
                    }
                    self.answer_first_attempt(Err(cause));
                }
            }
            if !self.pause(backoff.fail()).await {
                break;
            }
        }
        self.say_undelivered();
    }

    /// One attempt to connect; `None` if there are no more orders.
    async fn connect(&mut self) -> Option<Result<Connection, String>> {
        let topic = self.writer.status_topic();
        let mut connection = Connection::open(&self.settings, &topic, Status::Offline.as_str());
        loop {
            select! {
                happening = connection.next() => match happening {
                    Happening::Connected => return Some(Ok(connection)),
                    Happening::Lost(cause) => return Some(Err(cause)),
                    _ => {}
                },
                order = self.orders.recv() => self.take_offline(order?),
            }
        }
    }

    /// Waits before the next attempt; `false` if there are no more orders.
    async fn pause(&mut self, pause: Duration) -> bool {
        let until = time::Instant::now() + pause;
        loop {
            select! {
                () = time::sleep_until(until) => return true,
                order = self.orders.recv() => match order {
                    Some(order) => self.take_offline(order),
                    None => return false,
                },
            }
        }
    }

    /// Publishes on this connection until it or the work ends.
    async fn serve(&mut self, connection: &mut Connection) -> Ended {
        self.say_undelivered();
        self.publish_state(connection);
        self.publish(connection, self.writer.status(Status::Online), None);
        loop {
            self.submit_waiting(connection);
            select! {
                happening = connection.next() => {
                    if let Some(cause) = self.note(happening) {
                        return Ended::Lost(cause);
                    }
                }
                order = self.orders.recv() => match order {
                    Some(Order::Verdict(inspection)) => {
                        self.take_verdict(*inspection);
                        self.submit_waiting(connection);
                        self.publish_heartbeat(connection);
                    }
                    Some(Order::Report(report)) => {
                        self.report = report;
                        self.publish_state(connection);
                    }
                    None => return self.finish(connection).await,
                },
            }
        }
    }

    /// Sends what is on its way, says goodbye, and waits until the broker has it all.
    async fn finish(&mut self, connection: &mut Connection) -> Ended {
        let deadline = time::Instant::now() + FAREWELL;
        self.report.phase = Phase::Halted;
        let mut is_said = false;
        loop {
            self.submit_waiting(connection);
            if self.waiting.is_empty() && self.ledger.open() == 0 {
                if is_said {
                    break;
                }
                is_said = true;
                self.say_undelivered();
                self.publish_state(connection);
                self.publish(connection, self.writer.status(Status::Stopped), None);
            }
            match time::timeout_at(deadline, connection.next()).await {
                Ok(happening) => {
                    if let Some(cause) = self.note(happening) {
                        return Ended::Lost(cause);
                    }
                }
                Err(_) => {
                    warn!("The broker does not confirm the end");
                    self.abandon();
                    return Ended::Finished;
                }
            }
        }
        if connection.disconnect().is_ok() {
            let farewell = async {
                while !matches!(
                    connection.next().await,
                    Happening::Disconnected | Happening::Lost(_)
                ) {}
            };
            if time::timeout_at(deadline, farewell).await.is_err() {
                warn!("The broker does not take the farewell");
            }
        }
        Ended::Finished
    }

    /// Notes what happened on the connection; `Some` with the cause if it is lost.
    fn note(&mut self, happening: Happening) -> Option<String> {
        match happening {
            Happening::Sent(packet) => self.ledger.sent(packet),
            Happening::Acknowledged { packet, refused } => {
                let about = self.ledger.acknowledged(packet);
                if let Some(reason) = refused {
                    if let Some(suppressed) = self.refusals.permit() {
                        error!(
                            reason,
                            suppressed, "The broker refuses to publish for this client"
                        );
                    }
                    self.count_undelivered(about);
                }
            }
            Happening::Lost(cause) => return Some(cause),
            Happening::Connected
            | Happening::Disconnected
            | Happening::Subscribed { .. }
            | Happening::Received(_) => {}
        }
        None
    }

    /// Without a connection a verdict is worth nothing, and a report waits for the next one.
    fn take_offline(&mut self, order: Order) {
        match order {
            Order::Verdict(inspection) => {
                let seq = inspection.verdict.seq;
                self.last[inspection.camera] = Some((seq, Instant::now()));
                self.undelivered.lock()[inspection.camera].add(seq);
            }
            Order::Report(report) => self.report = report,
        }
    }

    fn take_verdict(&mut self, inspection: Inspection) {
        self.last[inspection.camera] = Some((inspection.verdict.seq, Instant::now()));
        let telegram = self.writer.verdict(inspection, self.settings.expiry);
        self.waiting.push_back(telegram);
        if self.waiting.len() > WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.count_undelivered(oldest.about());
        }
    }

    /// Hands verdicts to the client as long as few enough are unacknowledged.
    fn submit_waiting(&mut self, connection: &Connection) {
        while self.ledger.open() < WINDOW
            && let Some(telegram) = self.waiting.pop_front()
        {
            let about = telegram.about();
            let left = telegram.expires.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.count_undelivered(about);
                continue;
            }
            for message in telegram.messages {
                let message = Message {
                    expiry: Some(left),
                    ..message
                };
                self.publish(connection, message, about);
            }
        }
    }

    fn publish(&mut self, connection: &Connection, message: Message, about: About) {
        match connection.publish(message) {
            Ok(()) => self.ledger.hand_over(about),
            Err(_) => self.count_undelivered(about),
        }
    }

    fn publish_state(&mut self, connection: &Connection) {
        let state = self.state();
        self.publish(connection, self.writer.state(&state), None);
    }

    /// At most one an interval, and only behind a verdict: when inspection stops, so does this.
    fn publish_heartbeat(&mut self, connection: &Connection) {
        let now = Instant::now();
        if now < self.heartbeat_due {
            return;
        }
        self.heartbeat_due = now + self.settings.heartbeat;
        let beats = self
            .cameras
            .iter()
            .zip(&self.last)
            .filter_map(|(camera, last)| {
                let (seq, reached) = (*last)?;
                let age_ms = now.duration_since(reached).as_secs_f64() * 1e3;
                Some((camera.name.clone(), Beat { seq, age_ms }))
            });
        let heartbeat = Heartbeat {
            cameras: beats.collect(),
            time: Timestamp::now(),
        };
        let message = self.writer.heartbeat(&heartbeat);
        self.publish(connection, message, None);
        if self
            .undelivered
            .lock()
            .iter()
            .any(|camera| camera.is_unsaid())
        {
            self.say_undelivered();
            self.publish_state(connection);
        }
    }

    fn state(&self) -> State {
        let undelivered = self.undelivered.lock();
        let cameras: BTreeMap<_, _> = self
            .cameras
            .iter()
            .zip(undelivered.iter())
            .map(|(camera, undelivered)| {
                let counters = &camera.counters;
                let state = CameraState {
                    captured: counters.captured.get(),
                    overrun: counters.overrun.get(),
                    ok: counters.ok.get(),
                    ng: counters.ng.get(),
                    no_decision: counters.no_decision.get(),
                    undelivered: undelivered.to_event(),
                    ..CameraState::default()
                };
                (camera.name.clone(), state)
            })
            .collect();
        State {
            ready: self.report.not_ready.is_none(),
            reason: self.report.not_ready.clone(),
            state: self.report.phase,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: Some(self.model.clone()),
            clock_synchronised: None,
            cameras,
            records: None,
            evidence: None,
            time: Timestamp::now(),
        }
    }

    /// The connection is gone, and with it every verdict that was on its way.
    fn abandon(&mut self) {
        let waiting = self.waiting.drain(..).map(|telegram| telegram.about);
        let mut verdicts = self.ledger.abandon();
        verdicts.extend(waiting);
        let mut undelivered = self.undelivered.lock();
        for verdict in verdicts {
            undelivered[verdict.camera].add(verdict.seq);
        }
    }

    fn count_undelivered(&self, about: About) {
        if let Some(verdict) = about {
            self.undelivered.lock()[verdict.camera].add(verdict.seq);
        }
    }

    /// Logs each gap once.
    fn say_undelivered(&self) {
        let mut undelivered = self.undelivered.lock();
        for (camera, undelivered) in self.cameras.iter().zip(undelivered.iter_mut()) {
            if let Some(gap) = undelivered.say() {
                warn!(
                    camera = camera.name,
                    count = gap.count,
                    first_seq = gap.first_seq,
                    last_seq = gap.last_seq,
                    "Verdicts not delivered"
                );
            }
        }
    }

    fn answer_first_attempt(&mut self, answer: FirstAttempt) {
        if let Some(sender) = self.first_attempt.take() {
            // The daemon may have given up waiting.
            sender.send(answer).ok();
        }
    }
}
