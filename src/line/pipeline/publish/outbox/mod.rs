//! The outbox: records in order, sent until each is acknowledged or set aside as refused.
//!
//! Pure bookkeeping. A record leaves the journal only when the broker has acknowledged it and every
//! one before it. A refused one stops the outbox: what came behind it is sent again behind it,
//! after a pause, so that the order is kept and nothing is lost while an access list is repaired.
//!
//! A record that the broker will never accept must not stop the others forever. But neither may it
//! be abandoned because the broker accepts none at all, or was restarted twice at the wrong moment.
//! So it has to be proven that the record is at fault:
//!
//! ```text
//! refused for its content, or the connection ended there ─► again ─► passed over
//!     ─► one behind it is acknowledged ─► again, alone ─► same result: set aside
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use flawd_journal::{Entry, Position};

use crate::line::pipeline::channels::backoff::Backoff;

/// Records that are requested from the journal ahead of being sent.
const AHEAD: usize = 32;

/// Times that the broker may object to a record before it is passed over.
const TRIES: u32 = 2;

/// Pause before a record that has ended two connections is sent once more: each end costs the
/// verdicts in flight, so they must be spaced. Not measured.
const PEACE: Duration = Duration::from_secs(120);

/// The outbox of one daemon, over all its connections.
#[derive(Debug)]
pub(crate) struct Outbox {
    generation: u64,
    waiting: VecDeque<Entry>,
    /// In order.
    on_the_way: VecDeque<OnTheWay>,
    /// Requested from the journal and not arrived.
    asked: usize,
    /// The broker has acknowledged everything before this one.
    reached: Position,
    refused: Option<Refused>,
    suspects: BTreeMap<Position, SuspectRecord>,
    /// Records that were set aside.
    set_aside: u64,
    backoff: Backoff,
    peace: Backoff,
}

#[derive(Debug)]
struct OnTheWay {
    entry: Entry,
    stage: RecordStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordStage {
    Sent,
    PassedOver,
    /// The broker has acknowledged it, or it was set aside.
    Done,
}

#[derive(Debug)]
struct Refused {
    reason: String,
    /// When to try again; `None` while a try is in flight.
    again: Option<Instant>,
}

/// A record that the broker has objected to.
#[derive(Debug, Default)]
struct SuspectRecord {
    tries: u32,
    /// Whether the broker has accepted another one meanwhile.
    is_alone: bool,
}

/// Why the broker does not accept a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// This client may not publish it, or the broker stalls: it says nothing about the record.
    Client,
    /// Because of its content.
    Content,
    /// The broker ended the connection when it came to this record.
    End,
}

/// The consequences of an answer to a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordOutcome {
    /// No record up to this one will be sent again, if that has changed.
    pub(crate) through: Option<Position>,
    /// This record is abandoned.
    pub(crate) set_aside: Option<Entry>,
}

impl Outbox {
    /// Creates an empty outbox; `backoff` spaces the attempts after a refusal.
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            generation: 0,
            waiting: VecDeque::new(),
            on_the_way: VecDeque::new(),
            asked: 0,
            reached: Position::new(0),
            refused: None,
            suspects: BTreeMap::new(),
            set_aside: 0,
            backoff,
            peace: Backoff::jittered(PEACE, PEACE),
        }
    }

    /// Forgets what was in flight; the journal must start over under this generation.
    pub(crate) fn start_over(&mut self) -> u64 {
        self.generation += 1;
        self.waiting.clear();
        self.on_the_way.clear();
        self.asked = 0;
        self.generation
    }

    /// Returns how many more records to request.
    pub(crate) fn demand(&mut self) -> Option<usize> {
        if self.retry_at().is_some() {
            return None;
        }
        // While the broker refuses, one record is enough to see whether it still does.
        let ahead = if self.refused.is_some() { 1 } else { AHEAD };
        let is_held = |it: &&OnTheWay| it.stage != RecordStage::PassedOver;
        let on_the_way = self.on_the_way.iter().filter(is_held).count();
        let held = self.waiting.len() + on_the_way + self.asked;
        let more = ahead.checked_sub(held).filter(|&more| more * 2 >= ahead)?;
        self.asked += more;
        Some(more)
    }

    /// Adds records from the journal; those requested before a new start are ignored.
    pub(crate) fn arrived(&mut self, generation: u64, entries: Vec<Entry>) {
        if generation == self.generation {
            self.asked = self.asked.saturating_sub(entries.len());
            self.waiting.extend(entries);
        }
    }

    /// Returns the next record to send, which then counts as in flight.
    pub(crate) fn send_next(&mut self) -> Option<&Entry> {
        if self.retry_at().is_some() {
            return None;
        }
        loop {
            let entry = self.waiting.pop_front()?;
            let suspect = self.suspects.get(&entry.position);
            let passes = suspect.is_some_and(|it| it.tries >= TRIES && !it.is_alone);
            let stage = if passes {
                RecordStage::PassedOver
            } else {
                RecordStage::Sent
            };
            self.on_the_way.push_back(OnTheWay { entry, stage });
            if stage == RecordStage::Sent {
                return self.on_the_way.back().map(|it| &it.entry);
            }
        }
    }

    /// Notes that the broker has acknowledged a record.
    pub(crate) fn taken(&mut self, position: Position, now: Instant) -> RecordOutcome {
        let Some(place) = self.place(position) else {
            return RecordOutcome::default();
        };
        self.on_the_way[place].stage = RecordStage::Done;
        self.suspects.remove(&position);
        let before = self.on_the_way.range(..place);
        let passed_over: Vec<_> = before
            .filter(|it| it.stage == RecordStage::PassedOver)
            .map(|it| it.entry.position)
            .collect();
        for position in &passed_over {
            if let Some(suspect) = self.suspects.get_mut(position) {
                suspect.is_alone = true;
            }
        }
        let through = self.advance();
        if !passed_over.is_empty() {
            // Now the cause is known: they are tried once more, each alone.
            let reason = || "the broker has refused it before".to_owned();
            let reason = self.refused.take().map_or_else(reason, |it| it.reason);
            let again = Some(now);
            self.refused = Some(Refused { reason, again });
        } else if through.is_some() && self.retry_at().is_none() {
            // The acknowledgement of one that was sent before the refused one says nothing about
            // it.
            self.refused = None;
            self.backoff.succeed();
            self.peace.succeed();
        }
        RecordOutcome {
            through,
            set_aside: None,
        }
    }

    /// Notes that the broker does not accept a record; the outbox stops until [`Self::retry_at`],
    /// unless this was the last attempt.
    pub(crate) fn refused(
        &mut self,
        position: Position,
        objection: Objection,
        reason: String,
        now: Instant,
    ) -> RecordOutcome {
        // What follows on the wire behind a refused record is refused as well; once is enough.
        if self.retry_at().is_some() {
            return RecordOutcome::default();
        }
        let mut tries = 0;
        if objection != Objection::Client {
            let suspect = self.suspects.entry(position).or_default();
            suspect.tries = suspect.tries.saturating_add(1);
            tries = suspect.tries;
            if suspect.is_alone {
                return self.set_aside(position);
            }
            // It refuses so many that the cause is not in each of them.
            if self.suspects.len() >= AHEAD {
                self.suspects.clear();
            }
        }
        let pause = if objection == Objection::End && tries >= TRIES {
            self.peace.fail()
        } else {
            self.backoff.fail()
        };
        let again = Some(now + pause);
        self.refused = Some(Refused { reason, again });
        RecordOutcome::default()
    }

    /// Abandons a record that is in flight and cannot arrive.
    pub(crate) fn set_aside(&mut self, position: Position) -> RecordOutcome {
        let Some(place) = self.place(position) else {
            return RecordOutcome::default();
        };
        self.suspects.remove(&position);
        self.set_aside += 1;
        let on_the_way = &mut self.on_the_way[place];
        on_the_way.stage = RecordStage::Done;
        let set_aside = Some(on_the_way.entry.clone());
        RecordOutcome {
            through: self.advance(),
            set_aside,
        }
    }

    /// Removes what is done and has nothing before it.
    fn advance(&mut self) -> Option<Position> {
        let mut through = None;
        while let Some(first) = self.on_the_way.front()
            && first.stage == RecordStage::Done
        {
            through = Some(first.entry.position);
            self.reached = first.entry.position.next();
            self.on_the_way.pop_front();
        }
        self.suspects = self.suspects.split_off(&self.reached);
        through
    }

    fn place(&self, position: Position) -> Option<usize> {
        let fits = |it: &OnTheWay| it.entry.position == position && it.stage != RecordStage::Done;
        self.on_the_way.iter().position(fits)
    }

    /// Returns when to retry what was refused.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.refused.as_ref()?.again
    }

    /// Notes that the attempt is being made.
    pub(crate) fn try_again(&mut self) {
        if let Some(refused) = &mut self.refused {
            refused.again = None;
        }
    }

    /// Returns why the broker refuses records, while it does.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refused.as_ref().map(|refused| refused.reason.as_str())
    }

    /// Returns how many records were set aside.
    pub(crate) fn count_set_aside(&self) -> u64 {
        self.set_aside
    }

    /// Returns the position before which the broker has acknowledged everything, as far as is known
    /// here.
    pub(crate) fn reached(&self) -> Position {
        self.reached
    }
}

#[cfg(test)]
mod tests;
