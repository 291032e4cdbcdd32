//! Limits lines that repeat, whichever module or library writes them: a safety net in addition to
//! each module's own measures.
//!
//! Lines are the same if they come from the same place in a source file. Lines requested for
//! diagnosis, DEBUG and TRACE, are never left out.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::layer::{Context, Layer};

/// Up to this many lines per minute from one place are information: more than a large station has
/// cameras. More are repetition; the limit was not measured.
const MOST: u64 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// Passes a limited number of lines per minute from each place.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    places: Mutex<HashMap<Identifier, Window>>,
}

/// The lines from one place in the last minute.
#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u64,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    /// The first after a minute in which this many were left out.
    PassesAfter(u64),
    /// The first that is left out.
    IsLeftOutAsTheFirst,
    IsLeftOut,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            lines: 0,
        }
    }

    fn add(&mut self, now: Instant) -> Fate {
        let mut left_out = 0;
        if now.saturating_duration_since(self.began) >= MINUTE {
            left_out = self.lines.saturating_sub(MOST);
            *self = Self::new(now);
        }
        self.lines += 1;
        match self.lines {
            ..=MOST if left_out == 0 => Fate::Passes,
            ..=MOST => Fate::PassesAfter(left_out),
            lines if lines == MOST + 1 => Fate::IsLeftOutAsTheFirst,
            _ => Fate::IsLeftOut,
        }
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let now = Instant::now();
        let fate = {
            let mut places = self.places.lock();
            places
                .entry(event.metadata().callsite())
                .or_insert_with(|| Window::new(now))
                .add(now)
        };
        match fate {
            Fate::Passes => true,
            Fate::PassesAfter(left_out) => {
                let line = message(event);
                warn!(
                    line,
                    left_out, "Lines were left out, because there were too many of them"
                );
                true
            }
            Fate::IsLeftOutAsTheFirst => {
                let line = message(event);
                warn!(
                    line,
                    most = MOST,
                    "Too many lines of one kind: left out for a minute"
                );
                false
            }
            Fate::IsLeftOut => false,
        }
    }
}

/// Returns the message of a line without its fields.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_of_a_place_pass_in_a_minute_and_the_rest_is_counted() {
        let begin = Instant::now();
        let mut window = Window::new(begin);
        for _ in 0..MOST {
            assert_eq!(window.add(begin), Fate::Passes);
        }
        assert_eq!(window.add(begin), Fate::IsLeftOutAsTheFirst);
        for _ in 0..49 {
            assert_eq!(window.add(begin), Fate::IsLeftOut);
        }
        let later = begin + MINUTE;
        assert_eq!(window.add(later), Fate::PassesAfter(50));
        assert_eq!(window.add(later), Fate::Passes);
        // After a quiet minute there is nothing to report.
        assert_eq!(window.add(later + MINUTE), Fate::Passes);
    }
}
