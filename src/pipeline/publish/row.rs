//! Records on their way from the journal to the broker: in order, each until it is taken.
//!
//! Pure bookkeeping. A record leaves the journal only when the broker has taken it and every one
//! before it. One that is refused stops the row: what came behind it is sent again behind it, after
//! a pause, so that the order holds and nothing is lost while somebody repairs an access list.

use std::{collections::VecDeque, time::Instant};

use flawd_journal::{Entry, Position};

use super::backoff::Backoff;

/// Records that are asked of the journal ahead of being sent.
const AHEAD: usize = 32;

/// The row of one daemon, over all its connections.
#[derive(Debug)]
pub(super) struct Row {
    generation: u64,
    waiting: VecDeque<Entry>,
    /// In order, with whether the broker has taken it.
    on_the_way: VecDeque<(Position, bool)>,
    /// Asked of the journal and not arrived.
    asked: usize,
    /// The broker has taken everything before this one.
    reached: Position,
    refused: Option<Refused>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Refused {
    reason: String,
    /// When to try again; none while a try is on its way.
    again: Option<Instant>,
}

impl Row {
    /// An empty row; `backoff` spaces the attempts after a refusal.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            generation: 0,
            waiting: VecDeque::new(),
            on_the_way: VecDeque::new(),
            asked: 0,
            reached: Position::new(0),
            refused: None,
            backoff,
        }
    }

    /// Forgets what was on its way; the journal has to start over under this generation.
    pub(super) fn start_over(&mut self) -> u64 {
        self.generation += 1;
        self.waiting.clear();
        self.on_the_way.clear();
        self.asked = 0;
        self.generation
    }

    /// How many records more to ask for.
    pub(super) fn demand(&mut self) -> Option<usize> {
        if self.refused.as_ref().is_some_and(|it| it.again.is_some()) {
            return None;
        }
        // While the broker refuses, one record is enough to see whether it still does.
        let ahead = if self.refused.is_some() { 1 } else { AHEAD };
        let held = self.waiting.len() + self.on_the_way.len() + self.asked;
        let more = ahead.checked_sub(held).filter(|&more| more * 2 >= ahead)?;
        self.asked += more;
        Some(more)
    }

    /// Records arrive from the journal; those asked for before a new start are left aside.
    pub(super) fn arrived(&mut self, generation: u64, entries: Vec<Entry>) {
        if generation == self.generation {
            self.asked = self.asked.saturating_sub(entries.len());
            self.waiting.extend(entries);
        }
    }

    /// The next record to send; it counts as on its way.
    pub(super) fn send_next(&mut self) -> Option<Entry> {
        if self.retry_at().is_some() {
            return None;
        }
        let entry = self.waiting.pop_front()?;
        self.on_the_way.push_back((entry.position, false));
        Some(entry)
    }

    /// The broker has taken a record; returns up to which one it has taken all, if that is news.
    pub(super) fn taken(&mut self, position: Position) -> Option<Position> {
        let entry = self.on_the_way.iter_mut().find(|it| it.0 == position)?;
        entry.1 = true;
        let mut through = None;
        while let Some((position, true)) = self.on_the_way.front() {
            through = Some(*position);
            self.reached = position.next();
            self.on_the_way.pop_front();
        }
        // The acknowledgement of one that was sent before the refused one says nothing about it.
        if through.is_some() && self.retry_at().is_none() {
            self.refused = None;
            self.backoff.succeed();
        }
        through
    }

    /// The broker has refused a record; the row stands still until [`Self::retry_at`].
    pub(super) fn refused(&mut self, reason: String, now: Instant) {
        // What follows on the wire behind a refused record is refused as well, once is enough.
        if self.refused.as_ref().is_none_or(|it| it.again.is_none()) {
            let again = Some(now + self.backoff.fail());
            self.refused = Some(Refused { reason, again });
        }
    }

    /// When to try again what was refused.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.refused.as_ref()?.again
    }

    /// Notes that the attempt is being made.
    pub(super) fn try_again(&mut self) {
        if let Some(refused) = &mut self.refused {
            refused.again = None;
        }
    }

    /// Why the broker refuses records, while it does.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refused.as_ref().map(|refused| refused.reason.as_str())
    }

    /// The broker has taken everything before this one, as far as is known here.
    pub(super) fn reached(&self) -> Position {
        self.reached
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
        numbers
            .map(|number| Entry {
                position: Position::new(number),
                payload: Vec::new(),
            })
            .collect()
    }

    fn row() -> Row {
        Row::new(Backoff::new(Duration::from_secs(1)))
    }

    fn send_all(row: &mut Row) -> Vec<u64> {
        std::iter::from_fn(|| row.send_next())
            .map(|entry| entry.position.get())
            .collect()
    }

    #[test]
    fn a_record_is_done_when_it_and_all_before_it_are_taken() {
        let mut row = row();
        assert_eq!(row.demand(), Some(AHEAD));
        row.arrived(0, entries(5..8));
        assert_eq!(send_all(&mut row), [5, 6, 7]);
        assert_eq!(row.taken(Position::new(6)), None);
        assert_eq!(row.taken(Position::new(5)), Some(Position::new(6)));
        assert_eq!(row.taken(Position::new(5)), None);
        assert_eq!(row.taken(Position::new(7)), Some(Position::new(7)));
        assert_eq!(row.reached(), Position::new(8));
    }

    #[test]
    fn what_was_asked_for_before_a_new_start_is_left_aside() {
        let mut row = row();
        row.demand();
        let generation = row.start_over();
        row.arrived(generation - 1, entries(0..3));
        assert!(send_all(&mut row).is_empty());
        row.demand();
        row.arrived(generation, entries(0..3));
        assert_eq!(send_all(&mut row), [0, 1, 2]);
    }

    #[test]
    fn a_refusal_stops_the_row_and_one_record_tries_the_ground() {
        let mut row = row();
        row.demand();
        row.arrived(0, entries(0..3));
        assert_eq!(row.send_next().unwrap().position, Position::new(0));
        let now = Instant::now();
        row.refused("not authorized".to_owned(), now);
        assert_eq!(row.refusal(), Some("not authorized"));
        assert!(send_all(&mut row).is_empty());
        assert_eq!(row.demand(), None);
        assert!(row.retry_at().unwrap() > now);

        let generation = row.start_over();
        row.try_again();
        assert_eq!(row.demand(), Some(1));
        row.arrived(generation, entries(0..1));
        assert_eq!(send_all(&mut row), [0]);
        assert_eq!(row.demand(), None);
        assert_eq!(row.taken(Position::new(0)), Some(Position::new(0)));
        assert_eq!(row.refusal(), None);
        assert_eq!(row.demand(), Some(AHEAD));
    }

    #[test]
    fn the_answer_to_an_earlier_record_does_not_lift_a_refusal() {
        let mut row = row();
        row.demand();
        row.arrived(0, entries(0..2));
        send_all(&mut row);
        // Brokers have to answer in order; this one does not.
        row.refused("quota exceeded".to_owned(), Instant::now());
        assert_eq!(row.taken(Position::new(0)), Some(Position::new(0)));
        assert_eq!(row.refusal(), Some("quota exceeded"));
        assert!(row.retry_at().is_some(), "nobody would try it again");
    }

    /// A journal, a broker that takes records in order and refuses them while its access list is wrong, and
    /// connections that break: everything around the row, as simple as it can be.
    #[derive(Debug)]
    struct Surroundings {
        row: Row,
        generation: u64,
        now: Instant,
        /// Entries of the journal, and up to where they are deleted.
        end: u64,
        oldest: u64,
        /// Where the row reads on, and how many it has asked for.
        read: u64,
        credit: usize,
        /// Read, and not yet handed to the row.
        read_out: VecDeque<(u64, Vec<Entry>)>,
        /// On the wire, and answers on their way back.
        wire: VecDeque<u64>,
        answers: VecDeque<(u64, bool)>,
        is_refusing: bool,
        /// What subscribers got.
        arrived: Vec<u64>,
    }

    impl Surroundings {
        fn new() -> Self {
            Self {
                row: row(),
                generation: 0,
                now: Instant::now(),
                end: 0,
                oldest: 0,
                read: 0,
                credit: 0,
                read_out: VecDeque::new(),
                wire: VecDeque::new(),
                answers: VecDeque::new(),
                is_refusing: false,
                arrived: Vec::new(),
            }
        }

        fn step(&mut self, action: u8) {
            match action {
                0 => self.end += 3,
                1 => self.read(),
                2 => {
                    if let Some((generation, entries)) = self.read_out.pop_front() {
                        self.row.arrived(generation, entries);
                    }
                }
                3 => self.send(),
                4 => self.answer(),
                5 => self.hear(),
                6 => self.is_refusing = !self.is_refusing,
                7 => {
                    self.wire.clear();
                    self.answers.clear();
                    self.start_over();
                }
                8 => self.wait(),
                // One answer overtakes the others.
                _ => self.answers.rotate_right(self.answers.len().min(1)),
            }
        }

        fn read(&mut self) {
            let more = (self.end - self.read).min(self.credit as u64);
            if more > 0 {
                let numbers = self.read..self.read + more;
                self.read_out.push_back((self.generation, entries(numbers)));
                self.read += more;
                self.credit -= usize::try_from(more).unwrap();
            }
        }

        fn send(&mut self) {
            if let Some(entry) = self.row.send_next() {
                self.wire.push_back(entry.position.get());
            }
            self.credit += self.row.demand().unwrap_or(0);
        }

        fn answer(&mut self) {
            if let Some(number) = self.wire.pop_front() {
                if !self.is_refusing {
                    self.arrived.push(number);
                }
                self.answers.push_back((number, self.is_refusing));
            }
        }

        fn hear(&mut self) {
            match self.answers.pop_front() {
                Some((number, true)) => {
                    self.row.refused(format!("refuses {number}"), self.now);
                    assert!(self.row.refusal().is_some());
                }
                Some((number, false)) => {
                    if let Some(through) = self.row.taken(Position::new(number)) {
                        self.oldest = self.oldest.max(through.next().get());
                    }
                }
                None => {}
            }
        }

        fn start_over(&mut self) {
            self.generation = self.row.start_over();
            self.read = self.oldest;
            self.credit = 0;
        }

        /// The pause after a refusal passes.
        fn wait(&mut self) {
            if let Some(again) = self.row.retry_at() {
                self.now = again;
                self.start_over();
                self.row.try_again();
            }
        }

        fn check(&self) {
            let is_taken = |number| self.arrived.contains(&number);
            assert!((0..self.oldest).all(is_taken), "deleted, and never taken");
            assert!(self.row.waiting.len() + self.row.on_the_way.len() <= AHEAD);
        }

        /// The broker takes everything from now on: everything arrives.
        fn settle(&mut self) {
            self.is_refusing = false;
            for _ in 0..10 * (self.end + 10) {
                for action in [1, 2, 3, 4, 5, 8] {
                    self.step(action);
                    self.check();
                }
            }
        }
    }

    proptest! {
        /// Whatever the order of events: nothing leaves the journal that the broker has not taken,
        /// everything arrives in the end, and for the first time in the order of the journal where
        /// the broker did not refuse in between.
        #[test]
        fn no_record_is_lost_and_the_order_holds(
            actions in prop::collection::vec(0_u8..10, 0..300),
            may_refuse: bool,
        ) {
            let mut around = Surroundings::new();
            for action in actions {
                if action != 6 || may_refuse {
                    around.step(action);
                }
                around.check();
            }
            around.settle();
            prop_assert_eq!(around.oldest, around.end);
            prop_assert_eq!(around.row.refusal(), None);
            prop_assert_eq!(around.row.reached(), Position::new(around.oldest));
            let mut first = Vec::new();
            for &number in &around.arrived {
                if !first.contains(&number) {
                    first.push(number);
                }
            }
            if !may_refuse {
                prop_assert!(first.is_sorted(), "{:?}", first);
            }
            first.sort_unstable();
            prop_assert_eq!(first, (0..around.end).collect::<Vec<_>>());
        }
    }
}
