//! The publisher's life: connect, serve, lose the connection, pause, connect again; finish.
//! Outgoing messages are in `send.rs` and `status.rs`, incoming ones in `handle.rs`, the end in
//! `finish.rs`.

mod finish;
mod handle;
mod send;
mod status;

use std::collections::VecDeque;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use flawd_core::event::Status;
use tokio::sync::mpsc;
use tokio::{select, time};
use tracing::{debug, error, info, warn};

use super::answers::Answers;
use super::backlog::Backlog;
use super::connection::{BrokerLimits, Connection, ConnectionEvent, ConnectionLost};
use super::incoming::Inbound;
use super::inflight::InFlight;
use super::message::Writer;
use super::outbox::Outbox;
use super::reconnect::{LostConnection, Reconnect, SHORTEST};
use super::{
    CameraInfo, DaemonStatus, FirstAttempt, INBOX, Recorded, Request, UndeliveredByCamera, state,
};
use crate::line::camera::PerCamera;
use crate::line::config::MqttSettings;
use crate::line::monitor::Metrics;
use crate::line::pipeline::channels::backoff::Backoff;
use crate::line::pipeline::channels::log_limit::Throttle;
use crate::line::pipeline::event::{EventSender, RefusedTopics};

/// Maximum unacknowledged messages. Below what brokers commonly allow (20), so that nothing ages in
/// the client's own queue.
const WINDOW: usize = 16;

/// Of those, the maximum for records: a verdict always finds room.
const RECORD_WINDOW: usize = 8;

/// How often the same problem is logged.
const PER: Duration = Duration::from_secs(60);

/// Maximum verdicts that may wait for room in the window; beyond that the oldest is dropped.
const WAITING: usize = 256;

/// The possible cause when connections do not last; the broker's own log has more details.
const STRANGE: &str = "another client may have the same mqtt.client_id (two daemons with one \
                       station name), or an access rule, a limit of the broker, a response topic or \
                       a message may make it end the connection; see the broker's log";

/// Longest pause between two attempts to send a record that the broker refuses.
const LONGEST_REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// The publisher.
pub(crate) struct Task {
    parts: TaskDeps,
    writer: Writer,
    in_flight: InFlight,
    window: Window,
    /// What is subscribed to on this connection.
    topics: Vec<String>,
    waiting: VecDeque<(Recorded, Instant)>,
    outbox: Outbox,
    answers: Answers,
    /// The last verdict of each camera, and when it was reached.
    last: PerCamera<Option<(u64, Instant)>>,
    heartbeat_due: Instant,
    /// When the broker should have answered the pending subscription.
    subscribed_by: Option<Instant>,
    /// The subscriptions that the broker refuses, as last reported.
    subscriptions_refused: RefusedTopics,
    /// Whether it was logged that the broker accepts our subscriptions, and what that is worth.
    subscriptions_said: bool,
    /// Whether the broker has acknowledged something on this connection.
    is_of_use: bool,
    /// The important parts of the state when it was last published.
    headline: Option<status::Headline>,
    refusals: Throttle,
    answer_refusals: Throttle,
    set_aside: Throttle,
    too_large: Throttle,
    gaps: Throttle,
    is_finishing: bool,
}

/// Maximum unacknowledged messages.
#[derive(Clone, Copy, Debug)]
struct Window {
    all: usize,
    /// Of those, the maximum for records.
    records: usize,
}

/// What the publisher is built from.
pub(crate) struct TaskDeps {
    pub(crate) settings: MqttSettings,
    pub(crate) cameras: PerCamera<CameraInfo>,
    pub(crate) report: DaemonStatus,
    pub(crate) verdicts: mpsc::Receiver<Box<Recorded>>,
    pub(crate) orders: mpsc::UnboundedReceiver<Request>,
    pub(crate) undelivered: UndeliveredByCamera,
    pub(crate) backlog: Backlog,
    pub(crate) inbound: Inbound,
    pub(crate) events: EventSender,
    pub(crate) first_attempt: std_mpsc::Sender<FirstAttempt>,
    pub(crate) metrics: Metrics,
}

/// How an attempt to connect ended.
enum Connect {
    Connected(Box<Connection>, BrokerLimits),
    Failed(ConnectionLost),
    /// There is nothing more to publish.
    Finishing,
}

/// Why a connection is no longer served.
pub(crate) enum Ended {
    /// No more requests will come, and the broker has everything.
    Finished,
    /// No more requests will come, and the broker does not accept what is left.
    Unfinished,
    /// The broker is gone, or of no use.
    Lost(ConnectionLost),
}

/// What to do next.
enum NextStep {
    Connection(ConnectionEvent),
    Verdict(Box<Recorded>),
    Order(Request),
    /// A timer has expired.
    Time,
}

impl Task {
    pub(crate) fn new(parts: TaskDeps) -> Self {
        let settings = &parts.settings;
        Self {
            writer: Writer::new(&settings.root, settings.version, settings.expiry),
            in_flight: InFlight::default(),
            window: Window::of(BrokerLimits::default()),
            topics: Vec::new(),
            waiting: VecDeque::new(),
            outbox: Outbox::new(Backoff::jittered(SHORTEST, LONGEST_REFUSAL_PAUSE)),
            answers: Answers::default(),
            last: parts.cameras.iter().map(|_| None).collect(),
            heartbeat_due: Instant::now(),
            subscribed_by: None,
            subscriptions_refused: RefusedTopics::default(),
            subscriptions_said: false,
            is_of_use: false,
            headline: None,
            refusals: Throttle::new(PER),
            answer_refusals: Throttle::new(PER),
            set_aside: Throttle::new(PER),
            too_large: Throttle::new(PER),
            gaps: Throttle::new(PER),
            is_finishing: false,
            parts,
        }
    }

    /// Publishes until no more verdicts will come.
    pub(crate) async fn run(mut self) {
        let mut reconnect = Reconnect::new(self.parts.settings.reconnect_max);
        let mut attempts = 0_u64;
        loop {
            attempts += 1;
            debug!(attempts, "Connecting to the broker");
            let pause = match self.connect().await {
                Connect::Finishing => break,
                Connect::Connected(connection, limits) => {
                    if reconnect.connected() {
                        info!(
                            host = self.parts.settings.host,
                            port = self.parts.settings.port,
                            attempts,
                            "Connected to the broker"
                        );
                    } else {
                        debug!("Connected to the broker");
                    }
                    attempts = 0;
                    self.answer_first_attempt(Ok(()));
                    let Some(pause) = self.use_up(*connection, limits, &mut reconnect).await else {
                        break;
                    };
                    pause
                }
                Connect::Failed(cause) => {
                    // Once, twice, four times…: a broker that is down for a night causes few lines.
                    if attempts.is_power_of_two() {
                        warn!(
                            host = self.parts.settings.host,
                            port = self.parts.settings.port,
                            error = cause.to_string(),
                            attempts,
                            "Cannot connect to the broker"
                        );
                    }
                    self.answer_first_attempt(Err(cause));
                    reconnect.failed()
                }
            };
            if !self.pause(pause).await {
                break;
            }
        }
        self.say_undelivered();
    }

    /// Serves a connection to its end; returns how long to wait before the next, `None` if there is
    /// nothing more to publish.
    async fn use_up(
        &mut self,
        mut connection: Connection,
        limits: BrokerLimits,
        reconnect: &mut Reconnect,
    ) -> Option<Duration> {
        let begun = Instant::now();
        self.is_of_use = false;
        self.window = Window::of(limits);
        self.topics = self.parts.inbound.topics(limits.wildcards);
        let ended = self.serve(&mut connection).await;
        if matches!(ended, Ended::Finished) {
            return None;
        }
        // Nothing of what it holds is useful any longer, and a verdict must not arrive late.
        connection.cut();
        self.parts.metrics.mqtt_connected(false);
        self.blame(&ended);
        self.abandon();
        let Ended::Lost(cause) = ended else {
            return None;
        };
        let loss = reconnect.lost(begun.elapsed(), self.is_of_use);
        log_loss(loss, &cause.to_string());
        Some(loss.pause)
    }

    /// Makes one attempt to connect.
    async fn connect(&mut self) -> Connect {
        let topic = self.writer.status_topic();
        let will = Status::Offline.as_str();
        let mut connection = Connection::open(&self.parts.settings, &topic, will);
        while !self.is_finishing {
            match self.next(Some(&mut connection), None).await {
                NextStep::Connection(ConnectionEvent::Connected(limits)) => {
                    return Connect::Connected(Box::new(connection), limits);
                }
                NextStep::Connection(ConnectionEvent::Lost(cause)) => {
                    return Connect::Failed(cause);
                }
                NextStep::Verdict(recorded) => self.take_offline(&recorded),
                NextStep::Order(order) => self.take_order(order, None),
                NextStep::Connection(_) | NextStep::Time => {}
            }
        }
        Connect::Finishing
    }

    /// Waits before the next attempt; returns `false` if there is nothing more to publish.
    async fn pause(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.is_finishing {
            match self.next(None, Some(until)).await {
                NextStep::Time => return true,
                NextStep::Verdict(recorded) => self.take_offline(&recorded),
                NextStep::Order(order) => self.take_order(order, None),
                NextStep::Connection(_) => {}
            }
        }
        false
    }

    /// Waits for whatever comes first; among pending items the choice is arbitrary, so that a
    /// broker that sends without a pause does not block this side. The caller then takes all events
    /// or verdicts that came with the first. Verdicts take precedence over requests, as
    /// [`Self::take_order`] ensures: the request to finish has none behind it, and no record is
    /// sent before its verdict.
    async fn next(
        &mut self,
        connection: Option<&mut Connection>,
        until: Option<Instant>,
    ) -> NextStep {
        let event = async {
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
        let own = async {
            select! {
                biased;
                Some(recorded) = self.parts.verdicts.recv() => NextStep::Verdict(recorded),
                order = self.parts.orders.recv() => NextStep::Order(order.unwrap_or(Request::Finish)),
            }
        };
        select! {
            event = event => NextStep::Connection(event),
            own = own => own,
            () = moment => NextStep::Time,
        }
    }

    /// Publishes on this connection until it or the work ends.
    async fn serve(&mut self, connection: &mut Connection) -> Ended {
        if connection.subscribe(&self.topics).is_err() {
            return Ended::Lost(ConnectionLost::NotSubscribed);
        }
        self.subscribed_by = Some(self.due());
        self.say_undelivered();
        self.publish_state(connection);
        let online = self.writer.status(Status::Online);
        self.publish_own(connection, online);
        self.start_row_over();
        while !self.is_finishing {
            if let Some(ended) = self.overdue(connection) {
                return ended;
            }
            if self
                .outbox
                .retry_at()
                .is_some_and(|at| at <= Instant::now())
            {
                self.start_row_over();
                self.outbox.try_again();
            }
            self.submit(connection);
            let until = self
                .outbox
                .retry_at()
                .into_iter()
                .chain(self.due_at())
                .min();
            match self.next(Some(connection), until).await {
                NextStep::Connection(event) => {
                    if let Some(ended) = self.handle_all(event, connection) {
                        return ended;
                    }
                }
                NextStep::Verdict(recorded) => {
                    self.take_verdicts(*recorded);
                    self.submit(connection);
                    self.publish_heartbeat(connection);
                }
                NextStep::Order(order) => self.take_order(order, Some(connection)),
                NextStep::Time => {}
            }
        }
        self.finish(connection).await
    }

    /// Returns when something should have been acknowledged.
    fn due_at(&self) -> Option<Instant> {
        self.in_flight
            .due()
            .into_iter()
            .chain(self.subscribed_by)
            .min()
    }

    /// Handles a request from the daemon; one that needs a connection is dropped without one.
    fn take_order(&mut self, order: Request, connection: Option<&mut Connection>) {
        // Both may have come between two checks: first for verdicts, then for requests.
        for _ in 0..INBOX {
            match (self.parts.verdicts.try_recv(), &connection) {
                (Ok(recorded), Some(_)) => self.take_verdict(*recorded),
                (Ok(recorded), None) => self.take_offline(&recorded),
                (Err(_), _) => break,
            }
        }
        match (order, connection) {
            (Request::Finish, _) => self.is_finishing = true,
            (Request::Sign(owed), _) => drop(owed),
            (Request::Report(report), connection) => {
                self.parts.report = report;
                if let Some(connection) = connection {
                    self.publish_state(connection);
                }
            }
            (
                Request::Records {
                    generation,
                    entries,
                },
                Some(_),
            ) => self.outbox.arrived(generation, entries),
            (Request::Answer(answer), Some(connection)) => {
                let (everyone, asker) = self.writer.answer(answer);
                if let Some(message) = everyone {
                    self.publish_own(connection, message);
                }
                if let Some(message) = asker {
                    self.answer(connection, message, self.due());
                }
            }
            (Request::Beat, Some(connection)) => self.publish_heartbeat(connection),
            (Request::Records { .. } | Request::Answer(_) | Request::Beat, None) => {}
        }
    }

    fn answer_first_attempt(&self, answer: FirstAttempt) {
        // Only the first is waited for, and the daemon may no longer be waiting for it.
        self.parts.first_attempt.send(answer).ok();
    }
}

impl Window {
    fn of(limits: BrokerLimits) -> Self {
        let all = WINDOW.min(limits.receive_maximum.max(1).into());
        Self {
            all,
            records: RECORD_WINDOW.min(all.div_ceil(2)),
        }
    }
}

/// Logs few lines for a connection that is lost repeatedly, and one with the possible cause.
fn log_loss(loss: LostConnection, cause: &str) {
    let LostConnection { number, pause } = loss;
    if loss.is_worth_a_line() {
        warn!(
            error = cause,
            losses = number,
            ?pause,
            "Connection to the broker lost"
        );
    } else {
        debug!(
            error = cause,
            losses = number,
            ?pause,
            "Connection to the broker lost"
        );
    }
    if loss.is_strange() {
        error!(
            error = cause,
            hint = STRANGE,
            "The broker accepts connections and they do not last"
        );
    }
}
