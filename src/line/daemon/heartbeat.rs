//! The heartbeat for a line controller: an output that changes as long as parts are judged.
//!
//! Each change asks the stages' own notes first, as the watchdog does, so the line stops when a
//! stage hangs, and when there is a known reason why parts are not judged. When the process has
//! ended, however, nothing changes it either.

use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::line::gpio::{Opener, OutputLine};
use crate::line::monitor::Health;
use crate::line::pipeline::channels::shutdown::Shutdown;

/// Pause before a lost line is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// The heartbeat, not yet beating.
pub(crate) struct BeatingLine {
    pub(crate) line: Box<dyn OutputLine>,
    /// Opens the line again when it was lost.
    pub(crate) open: Opener<dyn OutputLine>,
    /// From one change to the next.
    pub(crate) interval: Duration,
    pub(crate) health: Health,
    pub(crate) shutdown: Shutdown,
}

impl BeatingLine {
    /// Beats until the shutdown is requested; the line is inactive then.
    pub(crate) fn run(mut self) {
        let mut next = Instant::now() + self.interval;
        let mut level = false;
        let mut is_lost = false;
        while !self.shutdown.wait_until(next) {
            next = (next + self.interval).max(Instant::now());
            if is_lost {
                let Ok(line) = (self.open)() else {
                    next = Instant::now() + PAUSE;
                    continue;
                };
                (self.line, level, is_lost) = (line, false, false);
                info!(line = "heartbeat", "GPIO line found again");
            }
            // Set even if it stays: a line that is gone shows only then.
            level = !level && self.health.condition().ready;
            if let Err(error) = self.line.set(level) {
                is_lost = true;
                error!(line = "heartbeat", %error, "GPIO line lost");
            }
        }
        if !is_lost {
            // If that fails, the line is given back in a moment all the same.
            self.line.set(false).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use flawd_core::event::Phase;

    use super::*;
    use crate::line::gpio::LineError;
    use crate::line::monitor::progress::Progress;

    /// Says what it is set to.
    struct Told(mpsc::Sender<bool>);

    impl OutputLine for Told {
        fn set(&mut self, active: bool) -> Result<(), LineError> {
            self.0.send(active).ok();
            Ok(())
        }
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn the_line_changes_while_parts_are_judged_and_stops_when_a_stage_hangs() {
        let (sender, told) = mpsc::channel();
        let health = Health::with_patience(Duration::from_millis(20));
        let stage = Progress::new("infer");
        health.watch(vec![stage.clone()]);
        let shutdown = Shutdown::new();
        let heartbeat = BeatingLine {
            line: Box::new(Told(sender)),
            open: Box::new(|| unreachable!("the line is never lost")),
            interval: Duration::from_millis(1),
            health: health.clone(),
            shutdown: shutdown.clone(),
        };
        let beating = thread::spawn(move || heartbeat.run());
        let next = || told.recv_timeout(LIMIT).unwrap();
        // Not ready yet: inactive throughout.
        assert!((0..5).all(|_| !next()));
        health.report(Phase::ContinuousExecution, None);
        while !next() {}
        let levels: Vec<_> = (0..6).map(|_| next()).collect();
        assert_eq!(levels, [false, true, false, true, false, true]);
        let working = stage.begin();
        // It hangs from some moment on: then it stays inactive, longer than an interval.
        let mut steady = 0;
        while steady < 20 {
            steady = if next() { 0 } else { steady + 1 };
        }
        drop(working);
        while !next() {}
        shutdown.request();
        beating.join().unwrap();
        assert_eq!(told.iter().last(), Some(false));
    }
}
