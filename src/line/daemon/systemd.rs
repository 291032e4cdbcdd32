//! Messages to the service manager, and its watchdog. Without one every call does nothing.
//!
//! A separate thread sends them, so that a manager that does not read blocks nothing. Unsent
//! messages are kept as one state, of which the newest counts, and not as a queue.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use parking_lot::{Condvar, Mutex};
use sd_notify::NotifyState;
use tracing::{info, warn};

/// How much more time for the start is requested at a time.
const MORE_TIME: Duration = Duration::from_secs(60);

/// How long the last message may take. The manager needs microseconds; one that does not read would
/// delay the end.
const LAST_NEWS: Duration = Duration::from_secs(1);

/// The service manager, if any.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    watchdog: Option<Duration>,
    unsent: Option<Arc<Unsent>>,
}

/// Where messages wait for the thread.
#[derive(Debug, Default)]
struct Unsent {
    messages: Mutex<PendingMessages>,
    changed: Condvar,
}

/// What has not been sent to the manager yet.
#[derive(Debug, Default)]
struct PendingMessages {
    is_ready: bool,
    is_stopping: bool,
    is_alive: bool,
    needs_time: bool,
    status: Option<String>,
    /// Whether the thread has taken messages and not sent them yet.
    is_being_told: bool,
}

impl ServiceManager {
    /// Creates the manager that the environment names.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let unsent = std::env::var_os("NOTIFY_SOCKET").map(|_| Arc::new(Unsent::default()));
        if let Some(unsent) = &unsent {
            let unsent = Arc::clone(unsent);
            thread::Builder::new()
                .name("manager".to_owned())
                .spawn(move || unsent.send_pending())?;
        }
        Ok(Self {
            watchdog: sd_notify::watchdog_enabled(),
            unsent,
        })
    }

    /// Returns after how long without a sign of life the process is restarted.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports that start-up is finished.
    pub(crate) fn ready(&self) {
        self.add(|messages| messages.is_ready = true);
    }

    /// Sets the line for `systemctl status`.
    pub(crate) fn status(&self, status: &str) {
        // In the protocol a value ends with its line.
        let status = status.replace('\n', " ");
        self.add(|messages| messages.status = Some(status));
    }

    /// Sends a sign of life.
    pub(crate) fn alive(&self) {
        if self.watchdog.is_some() {
            self.add(|messages| messages.is_alive = true);
        }
    }

    /// Reports that start-up continues and takes time: the limit counts from now on.
    pub(crate) fn extend_start(&self) {
        self.add(|messages| messages.needs_time = true);
    }

    /// Reports that the shutdown has begun.
    pub(crate) fn stopping(&self) {
        self.add(|messages| messages.is_stopping = true);
    }

    fn add(&self, messages: impl FnOnce(&mut PendingMessages)) {
        if let Some(unsent) = &self.unsent {
            messages(&mut unsent.messages.lock());
            unsent.changed.notify_all();
        }
    }
}

/// Sends the last messages before the end.
impl Drop for ServiceManager {
    fn drop(&mut self) {
        if let Some(unsent) = &self.unsent {
            let is_untold =
                |messages: &mut PendingMessages| messages.is_being_told || messages.has_any();
            let changed = &unsent.changed;
            changed.wait_while_for(&mut unsent.messages.lock(), is_untold, LAST_NEWS);
        }
    }
}

impl Unsent {
    /// Sends pending messages until the process ends; logs once that it cannot, and once that it
    /// can again.
    fn send_pending(&self) {
        let mut is_failing = false;
        loop {
            let mut pending = self.messages.lock();
            self.changed
                .wait_while(&mut pending, |unsent| !unsent.has_any());
            let messages = std::mem::take(&mut *pending);
            pending.is_being_told = true;
            drop(pending);
            let told = messages.notify();
            let was_failing = std::mem::replace(&mut is_failing, told.is_err());
            match told {
                Err(error) if !was_failing => {
                    warn!(%error, "Cannot reach the service manager");
                }
                Ok(()) if was_failing => info!("The service manager can be reached again"),
                Ok(()) | Err(_) => {}
            }
            self.messages.lock().is_being_told = false;
            self.changed.notify_all();
        }
    }
}

impl PendingMessages {
    fn has_any(&self) -> bool {
        let flags = [
            self.is_ready,
            self.is_stopping,
            self.is_alive,
            self.needs_time,
        ];
        flags.contains(&true) || self.status.is_some()
    }

    fn notify(&self) -> io::Result<()> {
        let limit = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
        let states = [
            self.is_ready.then_some(NotifyState::Ready),
            self.status.as_deref().map(NotifyState::Status),
            self.is_alive.then_some(NotifyState::Watchdog),
            self.needs_time
                .then_some(NotifyState::ExtendTimeoutUsec(limit)),
            self.is_stopping.then_some(NotifyState::Stopping),
        ];
        sd_notify::notify(&states.into_iter().flatten().collect::<Vec<_>>())
    }
}
