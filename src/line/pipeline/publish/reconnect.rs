//! When to connect again, and which of many losses to log.
//!
//! Two series of pauses. Failed attempts follow each other at the configured pace: a broker that
//! was down is tried again soon after it is back. A connection that the broker accepts and then
//! ends is another matter: whatever ended it, another client of the same name, an access rule, a
//! message that it rejects, will do so again. Then connections must be spaced well apart, and only
//! a connection that lasts shows that the cause is gone.

use std::time::Duration;

use crate::line::pipeline::channels::backoff::Backoff;

/// A connection that lived this long, and on which something was acknowledged, was a good one. More
/// than [`PACE`] grows to by default, so that two clients of one name, which end each other's
/// connections at that pace, do not count as good.
const LASTING: Duration = Duration::from_secs(60);

/// From the third loss on connections start at least this far apart: ten per minute.
const PACE: Duration = Duration::from_secs(6);

/// Shortest pause; the jitter may halve it.
pub(crate) const SHORTEST: Duration = Duration::from_millis(250);

/// The loss from which on this is no longer a coincidence.
const STRANGE: u32 = 3;

/// The pace of connections.
#[derive(Debug)]
pub(crate) struct Reconnect {
    attempts: Backoff,
    /// After one or two losses.
    losses: Backoff,
    /// After more of them.
    strange: Backoff,
    /// Connections in a row that did not last.
    lost: u32,
}

/// The consequences of losing a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostConnection {
    /// Pause before the next attempt.
    pub(crate) pause: Duration,
    /// Its number among consecutive short-lived connections, from 1.
    pub(crate) number: u32,
}

impl Reconnect {
    /// Creates the pace with this maximum pause between failed attempts.
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            attempts: Backoff::jittered(SHORTEST, longest),
            losses: Backoff::jittered(SHORTEST, longest),
            // The jitter at most halves it.
            strange: Backoff::jittered(PACE * 2, longest.max(PACE * 2)),
            lost: 0,
        }
    }

    /// Notes a failed attempt; returns the pause before the next.
    pub(crate) fn failed(&mut self) -> Duration {
        self.attempts.fail()
    }

    /// Notes that the broker has accepted a connection; returns whether to log it, which is so only
    /// if the previous loss was logged.
    pub(crate) fn connected(&mut self) -> bool {
        self.attempts.succeed();
        is_worth_a_line(self.lost)
    }

    /// Notes the end of a connection that lived this long; `was_of_use` if something was
    /// acknowledged.
    pub(crate) fn lost(&mut self, lived: Duration, was_of_use: bool) -> LostConnection {
        if was_of_use && lived >= LASTING {
            self.lost = 0;
            self.losses.succeed();
            self.strange.succeed();
        }
        self.lost = self.lost.saturating_add(1);
        let soonest = self.losses.fail();
        // Counted from the start of the connection: one that lived for a while, for example on a
        // radio link, is not made to wait.
        let pause = if self.lost < STRANGE {
            soonest
        } else {
            let apart = self.strange.fail();
            apart.saturating_sub(lived).max(soonest.min(SHORTEST))
        };
        LostConnection {
            pause,
            number: self.lost,
        }
    }
}

impl LostConnection {
    /// Returns whether to report now that it is not a coincidence: once in each series of losses.
    pub(crate) fn is_strange(self) -> bool {
        self.number == STRANGE
    }

    /// Returns whether to log it: the first ones, then fewer and fewer.
    pub(crate) fn is_worth_a_line(self) -> bool {
        is_worth_a_line(self.number)
    }
}

fn is_worth_a_line(number: u32) -> bool {
    number == 0 || number == STRANGE || number.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn after_the_third_loss_connections_begin_at_most_ten_times_a_minute() {
        for longest in [1, 30, 3600].map(Duration::from_secs) {
            for lived in [0, 250, 2500, 7000].map(Duration::from_millis) {
                let mut reconnect = Reconnect::new(longest);
                let mut begins = Vec::new();
                let mut now = Duration::ZERO;
                while now < 20 * MINUTE {
                    begins.push(now);
                    reconnect.connected();
                    now += lived + reconnect.lost(lived, true).pause;
                }
                for (place, &begin) in begins.iter().enumerate().skip(3) {
                    let within = begins[place..].iter().filter(|it| **it < begin + MINUTE);
                    assert!(within.count() <= 10, "{longest:?} {lived:?}: {begins:?}");
                }
            }
        }
    }

    /// Each one's connection ends the other's.
    #[test]
    fn two_clients_of_one_name_end_each_others_connections_ever_more_rarely_and_say_little() {
        let mut clients = [(); 2].map(|()| Reconnect::new(Duration::from_secs(30)));
        let mut next = [Duration::ZERO, Duration::from_millis(100)];
        let mut connected: Option<(usize, Duration)> = None;
        let mut begins = Vec::new();
        let mut lines = 0;
        loop {
            let who = usize::from(next[1] < next[0]);
            let now = next[who];
            if now > 20 * MINUTE {
                break;
            }
            if let Some((other, since)) = connected {
                let loss = clients[other].lost(now - since, true);
                next[other] = now + loss.pause;
                lines += usize::from(loss.is_worth_a_line());
            }
            lines += usize::from(clients[who].connected());
            connected = Some((who, now));
            next[who] = Duration::MAX;
            begins.push(now);
        }
        let late = begins.iter().filter(|it| **it > MINUTE).count();
        assert!(late <= 20 * 10, "{begins:?}");
        assert!(
            lines <= 60,
            "{lines} lines for {} connections",
            begins.len()
        );
    }

    #[test]
    fn only_a_connection_that_lasts_and_is_of_use_starts_the_series_again() {
        let mut reconnect = Reconnect::new(Duration::from_secs(30));
        let numbers: Vec<_> = [
            (Duration::ZERO, true),
            (Duration::from_secs(59), true),
            (Duration::from_secs(600), false),
            (Duration::from_secs(600), true),
            (Duration::ZERO, true),
        ]
        .map(|(lived, was_of_use)| reconnect.lost(lived, was_of_use).number)
        .into();
        assert_eq!(numbers, [1, 2, 3, 1, 2]);
    }

    #[test]
    fn the_third_loss_is_called_strange_and_lines_become_rare() {
        let mut reconnect = Reconnect::new(Duration::from_secs(30));
        let losses: Vec<_> = (0..1000)
            .map(|_| reconnect.lost(Duration::ZERO, true))
            .collect();
        let strange: Vec<_> = (losses.iter().filter(|it| it.is_strange()))
            .map(|it| it.number)
            .collect();
        assert_eq!(strange, [3]);
        let said = losses.iter().filter(|it| it.is_worth_a_line()).count();
        assert_eq!(said, 11);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_none_and_one_that_lived_long_waits_little(
            lived in 0_u64..7200,
            losses in 1_usize..20,
        ) {
            let lived = Duration::from_secs(lived);
            let mut reconnect = Reconnect::new(Duration::from_secs(30));
            for _ in 0..losses {
                let loss = reconnect.lost(lived, true);
                prop_assert!(loss.pause >= Duration::from_millis(125));
                if lived >= Duration::from_secs(30) {
                    prop_assert!(loss.pause <= Duration::from_millis(500));
                }
            }
        }
    }
}
