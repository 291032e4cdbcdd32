//! The publisher's end: what is in flight goes out, then a clean disconnect.

use std::time::{Duration, Instant};

use flawd_core::event::{Phase, Status};
use tokio::time;
use tracing::warn;

use super::{Ended, NextStep, Task};
use crate::line::pipeline::publish::connection::{Connection, ConnectionEvent};

/// At the end, the time for records and verdicts in flight, and then for the clean disconnect.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(3);

impl Task {
    /// Sends what is in flight, disconnects, and waits until the broker has it all.
    pub(crate) async fn finish(&mut self, connection: &mut Connection) -> Ended {
        let mut deadline = Instant::now() + DISCONNECT_LIMIT;
        // A backlog of records must not take the time that verdicts need.
        let records_until = Instant::now() + DISCONNECT_LIMIT / 2;
        self.parts.report.phase = Phase::Halted;
        self.parts.report.not_ready = Some("stopping".to_owned());
        let mut is_said = false;
        loop {
            if let Some(ended) = self.overdue(connection) {
                return ended;
            }
            let records_wait = !self.records_are_done() && Instant::now() < records_until;
            if !is_said {
                self.submit_verdicts(connection);
                if records_wait {
                    self.submit_records(connection);
                }
            }
            if self.waiting.is_empty() && self.in_flight.open() == 0 && !records_wait {
                if is_said {
                    break;
                }
                is_said = true;
                deadline = Instant::now() + DISCONNECT_LIMIT;
                self.say_undelivered();
                self.publish_state(connection);
                let stopped = self.writer.status(Status::Stopped);
                self.publish_own(connection, stopped);
            }
            let until = records_wait.then_some(records_until);
            let until = until.into_iter().chain(self.due_at()).min();
            match time::timeout_at(deadline.into(), self.next(Some(connection), until)).await {
                Ok(NextStep::Connection(event)) => {
                    if let Some(ended) = self.handle_all(event, connection) {
                        return ended;
                    }
                }
                Ok(NextStep::Verdict(recorded)) => self.take_verdicts(*recorded),
                // Once no more requests can come, this is all that can happen.
                Ok(NextStep::Order(order)) => self.take_order(order, Some(connection)),
                Ok(NextStep::Time) => {}
                Err(_) => {
                    warn!("The broker does not confirm the end");
                    return Ended::Unfinished;
                }
            }
        }
        self.disconnect_cleanly(connection, deadline).await
    }

    async fn disconnect_cleanly(
        &mut self,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Ended {
        if connection.disconnect().is_ok() {
            let closing = async {
                loop {
                    match connection.next().await {
                        ConnectionEvent::Disconnected | ConnectionEvent::Lost(_) => return,
                        // It is refused, and counted.
                        ConnectionEvent::Received(message) => self.parts.inbound.take(message),
                        _ => {}
                    }
                }
            };
            if time::timeout_at(deadline.into(), closing).await.is_err() {
                warn!("The broker does not take the clean disconnect");
                return Ended::Unfinished;
            }
        }
        Ended::Finished
    }
}
