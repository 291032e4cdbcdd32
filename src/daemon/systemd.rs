//! What the service manager is told. Without one every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The service manager, or nobody.
#[derive(Debug)]
pub(super) struct ServiceManager {
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment has it.
    pub(super) fn from_environment() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
        }
    }

    /// After how long without a sign of life the process is restarted.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Start-up is finished.
    pub(super) fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    /// A line for `systemctl status`.
    pub(super) fn status(&self, status: &str) {
        notify(&[NotifyState::Status(status)]);
    }

    /// A sign of life.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Start-up goes on and takes its time: the limit counts from now on.
    pub(super) fn extend_start(&self) {
        let limit = Duration::from_secs(60).as_micros();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        notify(&[NotifyState::ExtendTimeoutUsec(limit)]);
    }

    /// The shutdown has begun.
    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "Cannot reach the service manager");
    }
}
