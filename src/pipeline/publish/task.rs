//! The publisher's life: connect, serve, lose the connection, pause, connect again; finish.
//! What goes out meanwhile is in `send.rs` and `say.rs`.

mod say;
mod send;

use std::{
    collections::VecDeque,
    sync::mpsc as std_mpsc,
    time::{Duration, Instant},
};

use flawd_core::event::{Phase, Status};
use tokio::{select, sync::mpsc, time};
use tracing::{error, info, warn};

use super::{
    CameraInfo, FirstAttempt, Order, Recorded, Report, UndeliveredByCamera,
    backoff::Backoff,
    connection::{Connection, Happening, Refusal},
    intake::Intake,
    ledger::{About, Ledger},
    message::Writer,
    row::Row,
    state,
};
use crate::{
    config::MqttSettings,
    monitor::Metrics,
    pipeline::{record::Desk, throttle::Throttle},
};

/// Messages that may be unacknowledged at a time. Below what brokers commonly allow (20), so that
/// nothing ages in the client's own queue.
const WINDOW: usize = 16;

/// Of those, what records may take: a verdict always finds room.
const RECORD_WINDOW: usize = 8;

/// Verdicts that may wait for room in the window; then the oldest gives way.
const WAITING: usize = 256;

/// At the end, how long records and verdicts on their way may take, and then the farewell.
const FAREWELL: Duration = Duration::from_secs(3);

/// Longest pause between two attempts to have a record taken that the broker refuses.
const LONGEST_REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// The publisher.
pub(super) struct Task {
    parts: Parts,
    writer: Writer,
    ledger: Ledger,
    waiting: VecDeque<(Recorded, Instant)>,
    row: Row,
    /// The last verdict of each camera, and when it was reached.
    last: Vec<Option<(u64, Instant)>>,
    heartbeat_due: Instant,
    /// Why the broker lets nobody ask us for anything.
    subscription_refused: Option<String>,
    /// What of the state was worth a message when it was last published.
    headline: Option<say::Headline>,
    refusals: Throttle,
    is_finishing: bool,
}

/// What the publisher is made of.
pub(super) struct Parts {
    pub(super) settings: MqttSettings,
    pub(super) cameras: Vec<CameraInfo>,
    pub(super) report: Report,
    pub(super) verdicts: mpsc::Receiver<Box<Recorded>>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) undelivered: UndeliveredByCamera,
    pub(super) desk: Desk,
    pub(super) intake: Intake,
    pub(super) first_attempt: std_mpsc::Sender<FirstAttempt>,
    pub(super) metrics: Metrics,
}

/// Why a connection is not served any more.
enum Ended {
    /// There will be no more orders.
    Finished,
    /// The broker is gone.
    Lost(String),
}

/// What there is to do next.
enum Next {
    Happening(Happening),
    Verdict(Box<Recorded>),
    Order(Order),
    /// A moment has come.
    Time,
}

impl Task {
    pub(super) fn new(parts: Parts) -> Self {
        let settings = &parts.settings;
        Self {
            writer: Writer::new(&settings.root, settings.version, settings.expiry),
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            row: Row::new(Backoff::new(LONGEST_REFUSAL_PAUSE)),
            last: vec![None; parts.cameras.len()],
            heartbeat_due: Instant::now(),
            subscription_refused: None,
            headline: None,
            refusals: Throttle::new(Duration::from_secs(60)),
            is_finishing: false,
            parts,
        }
    }

    /// Publishes until no verdict will come any more.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.parts.settings.reconnect_max);
        let mut attempts = 0_u64;
        loop {
            attempts += 1;
            match self.connect().await {
                None => break,
                Some(Ok(mut connection)) => {
                    backoff.succeed();
                    info!(
                        host = self.parts.settings.host,
                        port = self.parts.settings.port,
                        attempts,
                        "Connected to the broker"
                    );
                    attempts = 0;
                    self.answer_first_attempt(Ok(()));
                    self.parts.metrics.mqtt_connected(true);
                    match self.serve(&mut connection).await {
                        Ended::Finished => break,
                        Ended::Lost(cause) => {
                            connection.cut();
                            self.parts.metrics.mqtt_connected(false);
                            warn!(error = cause, "Connection to the broker lost");
                            self.abandon();
                        }
                    }
                }
                Some(Err(cause)) => {
                    // Once, twice, four times…: a broker that is away for a night takes few lines.
                    if attempts.is_power_of_two() {
                        warn!(
                            host = self.parts.settings.host,
                            port = self.parts.settings.port,
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

    /// One attempt to connect; `None` if there is nothing more to say.
    async fn connect(&mut self) -> Option<Result<Connection, String>> {
        let topic = self.writer.status_topic();
        let will = Status::Offline.as_str();
        let mut connection = Connection::open(&self.parts.settings, &topic, will);
        while !self.is_finishing {
            match self.next(Some(&mut connection), None).await {
                Next::Happening(Happening::Connected(_)) => return Some(Ok(connection)),
                Next::Happening(Happening::Lost(cause)) => return Some(Err(cause)),
                Next::Verdict(recorded) => self.take_offline(&recorded),
                Next::Order(order) => self.take_order(order, None),
                Next::Happening(_) | Next::Time => {}
            }
        }
        None
    }

    /// Waits before the next attempt; `false` if there is nothing more to say.
    async fn pause(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.is_finishing {
            match self.next(None, Some(until)).await {
                Next::Time => return true,
                Next::Verdict(recorded) => self.take_offline(&recorded),
                Next::Order(order) => self.take_order(order, None),
                Next::Happening(_) => {}
            }
        }
        false
    }

    /// Waits for whatever comes first. Verdicts go before orders, so that the order to finish
    /// finds none behind it.
    async fn next(&mut self, connection: Option<&mut Connection>, until: Option<Instant>) -> Next {
        let happening = async {
            match connection {
                Some(connection) => connection.next().await,
                None => std::future::pending().await,
            }
        };
        let moment = async {
            match until {
                Some(until) => time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        select! {
            biased;
            happening = happening => Next::Happening(happening),
            Some(recorded) = self.parts.verdicts.recv() => Next::Verdict(recorded),
            order = self.parts.orders.recv() => Next::Order(order.unwrap_or(Order::Finish)),
            () = moment => Next::Time,
        }
    }

    /// Publishes on this connection until it or the work ends.
    async fn serve(&mut self, connection: &mut Connection) -> Ended {
        self.subscription_refused = None;
        if connection.subscribe(&self.parts.intake.topics()).is_err() {
            return Ended::Lost("the client does not take a subscription".to_owned());
        }
        self.say_undelivered();
        self.publish_state(connection);
        self.publish(
            connection,
            self.writer.status(Status::Online),
            About::Nothing,
        );
        self.start_row_over();
        while !self.is_finishing {
            self.submit(connection);
            let until = self.row.retry_at();
            match self.next(Some(connection), until).await {
                Next::Happening(happening) => {
                    if let Some(cause) = self.note(happening, connection) {
                        return Ended::Lost(cause);
                    }
                }
                Next::Verdict(recorded) => {
                    self.take_verdict(*recorded);
                    self.submit(connection);
                    self.publish_heartbeat(connection);
                }
                Next::Order(order) => self.take_order(order, Some(connection)),
                Next::Time => {
                    self.start_row_over();
                    self.row.try_again();
                }
            }
        }
        self.finish(connection).await
    }

    /// Sends what is on its way, says goodbye, and waits until the broker has it all.
    async fn finish(&mut self, connection: &mut Connection) -> Ended {
        let mut deadline = time::Instant::now() + FAREWELL;
        // A backlog of records must not take the time that verdicts need.
        let records_until = Instant::now() + FAREWELL / 2;
        self.parts.report.phase = Phase::Halted;
        self.parts.report.not_ready = Some("stopping".to_owned());
        let mut is_said = false;
        loop {
            let records_wait = !self.records_are_done() && Instant::now() < records_until;
            if !is_said {
                self.submit_verdicts(connection);
                if records_wait {
                    self.submit_records(connection);
                }
            }
            if self.waiting.is_empty() && self.ledger.open() == 0 && !records_wait {
                if is_said {
                    break;
                }
                is_said = true;
                deadline = time::Instant::now() + FAREWELL;
                self.say_undelivered();
                self.publish_state(connection);
                self.publish(
                    connection,
                    self.writer.status(Status::Stopped),
                    About::Nothing,
                );
            }
            let until = records_wait.then_some(records_until);
            match time::timeout_at(deadline, self.next(Some(connection), until)).await {
                Ok(Next::Happening(happening)) => {
                    if let Some(cause) = self.note(happening, connection) {
                        return Ended::Lost(cause);
                    }
                }
                Ok(Next::Verdict(recorded)) => self.take_verdict(*recorded),
                // Once nobody can order anything any more, that is all there is to hear.
                Ok(Next::Order(order)) => self.take_order(order, Some(connection)),
                Ok(Next::Time) => {}
                Err(_) => {
                    warn!("The broker does not confirm the end");
                    self.abandon();
                    return Ended::Finished;
                }
            }
        }
        if connection.disconnect().is_ok() {
            let farewell = async {
                loop {
                    match connection.next().await {
                        Happening::Disconnected | Happening::Lost(_) => return,
                        // It is refused, and counted.
                        Happening::Received(message) => self.parts.intake.take(message),
                        _ => {}
                    }
                }
            };
            if time::timeout_at(deadline, farewell).await.is_err() {
                warn!("The broker does not take the farewell");
            }
        }
        Ended::Finished
    }

    /// Notes what happened on the connection; `Some` with the cause if it is lost.
    fn note(&mut self, happening: Happening, connection: &Connection) -> Option<String> {
        match happening {
            Happening::Sent(packet) => self.ledger.sent(packet),
            Happening::Acknowledged { packet, refused } => {
                self.note_acknowledgement(packet, refused, connection);
            }
            Happening::Subscribed { refused } if refused.is_empty() => {}
            Happening::Subscribed { refused } => {
                let refused = refused.join(", ");
                error!(refused, "The broker refuses subscriptions to this client");
                self.subscription_refused =
                    Some(format!("the broker refuses subscriptions: {refused}"));
                self.publish_state(connection);
            }
            Happening::Received(message) => self.parts.intake.take(message),
            Happening::Lost(cause) => return Some(cause),
            Happening::Connected(_) | Happening::Disconnected => {}
        }
        None
    }

    fn note_acknowledgement(
        &mut self,
        packet: u16,
        refused: Option<Refusal>,
        connection: &Connection,
    ) {
        let about = self.ledger.acknowledged(packet);
        match (about, refused) {
            (About::Record(position), None) => {
                if let Some(position) = self.row.taken(position) {
                    self.parts.desk.taken(position);
                    self.publish_headline(connection);
                }
            }
            (_, None) => {}
            (about, Some(Refusal { reason, .. })) => {
                if let Some(suppressed) = self.refusals.permit() {
                    error!(
                        reason,
                        suppressed, "The broker refuses to publish for this client"
                    );
                }
                match about {
                    About::Record(_) => {
                        self.row.refused(reason.to_owned(), Instant::now());
                        self.publish_headline(connection);
                    }
                    about => self.count_undelivered(about),
                }
            }
        }
    }

    /// Does what the daemon asks for; an order that needs a connection is let go without one.
    fn take_order(&mut self, order: Order, connection: Option<&mut Connection>) {
        match (order, connection) {
            (Order::Finish, _) => self.is_finishing = true,
            (Order::Sign(owed), _) => drop(owed),
            (Order::Report(report), connection) => {
                self.parts.report = report;
                if let Some(connection) = connection {
                    self.publish_state(connection);
                }
            }
            (
                Order::Records {
                    generation,
                    entries,
                },
                Some(_),
            ) => self.row.arrived(generation, entries),
            (Order::Answer(answer), Some(connection)) => {
                for message in self.writer.answer(answer) {
                    self.publish(connection, message, About::Nothing);
                }
            }
            (Order::Beat, Some(connection)) => self.publish_heartbeat(connection),
            (Order::Records { .. } | Order::Answer(_) | Order::Beat, None) => {}
        }
    }

    fn answer_first_attempt(&self, answer: FirstAttempt) {
        // Only the first is waited for, and the daemon may have given up waiting for it.
        self.parts.first_attempt.send(answer).ok();
    }
}
