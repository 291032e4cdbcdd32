//! The outbox alone, and in surroundings where everything happens in any order.

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

fn outbox() -> Outbox {
    Outbox::new(Backoff::jittered(
        Duration::from_millis(250),
        Duration::from_secs(1),
    ))
}

fn send_all(outbox: &mut Outbox) -> Vec<u64> {
    std::iter::from_fn(|| outbox.send_next().map(|it| it.position.get())).collect()
}

fn taken(outbox: &mut Outbox, number: u64) -> Option<u64> {
    let progress = outbox.taken(Position::new(number), Instant::now());
    assert_eq!(progress.set_aside, None);
    progress.through.map(Position::get)
}

/// The broker refuses a record; the outbox starts over when it is time.
fn refuse(outbox: &mut Outbox, number: u64, objection: Objection) -> RecordOutcome {
    let now = Instant::now();
    let progress = outbox.refused(Position::new(number), objection, "no".to_owned(), now);
    again(outbox);
    progress
}

/// The journal starts over, and delivers these.
fn again(outbox: &mut Outbox) {
    outbox.start_over();
    outbox.try_again();
}

fn give(outbox: &mut Outbox, numbers: std::ops::Range<u64>) {
    outbox.demand();
    outbox.arrived(outbox.generation, entries(numbers));
}

#[test]
fn a_record_is_done_when_it_and_all_before_it_are_taken() {
    let mut outbox = outbox();
    assert_eq!(outbox.demand(), Some(AHEAD));
    outbox.arrived(0, entries(5..8));
    assert_eq!(send_all(&mut outbox), [5, 6, 7]);
    assert_eq!(taken(&mut outbox, 6), None);
    assert_eq!(taken(&mut outbox, 5), Some(6));
    assert_eq!(taken(&mut outbox, 5), None);
    assert_eq!(taken(&mut outbox, 7), Some(7));
    assert_eq!(outbox.reached(), Position::new(8));
}

#[test]
fn what_was_asked_for_before_a_new_start_is_left_aside() {
    let mut outbox = outbox();
    outbox.demand();
    let generation = outbox.start_over();
    outbox.arrived(generation - 1, entries(0..3));
    assert!(send_all(&mut outbox).is_empty());
    outbox.demand();
    outbox.arrived(generation, entries(0..3));
    assert_eq!(send_all(&mut outbox), [0, 1, 2]);
}

#[test]
fn a_refusal_stops_the_row_and_one_record_tries_the_ground() {
    let mut outbox = outbox();
    outbox.demand();
    outbox.arrived(0, entries(0..3));
    assert_eq!(outbox.send_next().unwrap().position, Position::new(0));
    let now = Instant::now();
    let reason = "not authorized".to_owned();
    outbox.refused(Position::new(0), Objection::Client, reason, now);
    assert_eq!(outbox.refusal(), Some("not authorized"));
    assert!(send_all(&mut outbox).is_empty());
    assert_eq!(outbox.demand(), None);
    assert!(outbox.retry_at().unwrap() > now);

    let generation = outbox.start_over();
    outbox.try_again();
    assert_eq!(outbox.demand(), Some(1));
    outbox.arrived(generation, entries(0..1));
    assert_eq!(send_all(&mut outbox), [0]);
    assert_eq!(outbox.demand(), None);
    assert_eq!(taken(&mut outbox, 0), Some(0));
    assert_eq!(outbox.refusal(), None);
    assert_eq!(outbox.demand(), Some(AHEAD));
}

#[test]
fn a_record_is_set_aside_when_the_broker_takes_others_and_refuses_it_again() {
    for objection in [Objection::Content, Objection::End] {
        let mut outbox = outbox();
        for _ in 0..TRIES {
            give(&mut outbox, 0..1);
            assert_eq!(send_all(&mut outbox), [0]);
            assert_eq!(refuse(&mut outbox, 0, objection), RecordOutcome::default());
        }
        // The next one is tried, and accepted.
        give(&mut outbox, 0..2);
        assert_eq!(send_all(&mut outbox), [1]);
        assert_eq!(taken(&mut outbox, 1), None);
        assert!(outbox.retry_at().is_some());
        again(&mut outbox);
        give(&mut outbox, 0..1);
        assert_eq!(send_all(&mut outbox), [0]);
        let progress = refuse(&mut outbox, 0, objection);
        assert_eq!(progress.through, Some(Position::new(0)));
        assert_eq!(progress.set_aside.unwrap().position, Position::new(0));
        assert_eq!(outbox.count_set_aside(), 1);
        give(&mut outbox, 1..2);
        assert_eq!(send_all(&mut outbox), [1]);
        assert_eq!(taken(&mut outbox, 1), Some(1));
        assert_eq!(outbox.refusal(), None);
    }
}

#[test]
fn a_broker_that_takes_no_record_for_what_is_in_it_costs_none() {
    let mut outbox = outbox();
    let mut oldest_tries = 0;
    for _ in 0..1000 {
        give(&mut outbox, 0..100);
        let sent = send_all(&mut outbox);
        oldest_tries += u64::from(sent.first() == Some(&0));
        let first = *sent.first().expect("something is always tried");
        assert_eq!(
            refuse(&mut outbox, first, Objection::Content).set_aside,
            None
        );
    }
    assert!(oldest_tries > 10, "{oldest_tries}");
    assert_eq!(outbox.count_set_aside(), 0);
    // It was a quota, and is over.
    while outbox.reached() < Position::new(100) {
        let next = outbox.reached().get();
        give(&mut outbox, next..100);
        let first = *send_all(&mut outbox).first().expect("something is tried");
        taken(&mut outbox, first);
        again(&mut outbox);
    }
    assert_eq!(outbox.count_set_aside(), 0);
}

#[test]
fn a_record_that_was_on_its_way_when_a_broker_was_restarted_twice_is_taken_by_the_third() {
    let mut outbox = outbox();
    for _ in 0..TRIES {
        give(&mut outbox, 0..3);
        assert_eq!(send_all(&mut outbox).first(), Some(&0));
        refuse(&mut outbox, 0, Objection::End);
    }
    give(&mut outbox, 0..2);
    assert_eq!(send_all(&mut outbox), [1]);
    taken(&mut outbox, 1);
    again(&mut outbox);
    give(&mut outbox, 0..1);
    assert_eq!(send_all(&mut outbox), [0]);
    assert_eq!(taken(&mut outbox, 0), Some(0));
    assert_eq!(outbox.count_set_aside(), 0);
}

#[test]
fn a_record_that_ends_connections_is_not_sent_again_before_there_was_peace() {
    let mut outbox = outbox();
    let now = Instant::now();
    for longest in [Duration::from_secs(1), PEACE] {
        give(&mut outbox, 0..1);
        send_all(&mut outbox);
        outbox.refused(Position::new(0), Objection::End, "gone".to_owned(), now);
        let pause = outbox.retry_at().unwrap() - now;
        assert!(pause <= longest && pause >= longest / 8, "{pause:?}");
        again(&mut outbox);
    }
}

#[test]
fn a_record_that_cannot_be_sent_is_set_aside_and_holds_up_none() {
    let mut outbox = outbox();
    give(&mut outbox, 0..3);
    assert_eq!(send_all(&mut outbox), [0, 1, 2]);
    let progress = outbox.set_aside(Position::new(1));
    assert_eq!(progress.through, None);
    assert!(progress.set_aside.is_some());
    assert_eq!(outbox.set_aside(Position::new(1)), RecordOutcome::default());
    assert_eq!(taken(&mut outbox, 0), Some(1));
    assert_eq!(taken(&mut outbox, 2), Some(2));
    assert_eq!(outbox.refusal(), None);
}

#[test]
fn the_answer_to_an_earlier_record_does_not_lift_a_refusal() {
    let mut outbox = outbox();
    outbox.demand();
    outbox.arrived(0, entries(0..2));
    send_all(&mut outbox);
    // Brokers must answer in order; this one does not.
    let reason = "not authorized".to_owned();
    outbox.refused(Position::new(1), Objection::Client, reason, Instant::now());
    assert_eq!(taken(&mut outbox, 0), Some(0));
    assert_eq!(outbox.refusal(), Some("not authorized"));
    assert!(outbox.retry_at().is_some(), "it would never be tried again");
}

/// A journal, a broker that accepts records in order and refuses them while its access list is
/// wrong, some of them always, and connections that break: everything around the outbox, as simple
/// as possible.
#[derive(Debug)]
struct Surroundings {
    outbox: Outbox,
    generation: u64,
    now: Instant,
    /// Entries of the journal, and up to where they are deleted.
    end: u64,
    oldest: u64,
    /// Where the outbox continues to read, and how many it has requested.
    read: u64,
    credit: usize,
    /// Read, and not yet handed to the outbox.
    read_out: VecDeque<(u64, Vec<Entry>)>,
    /// On the wire, and answers on their way back.
    wire: VecDeque<u64>,
    answers: VecDeque<(u64, Option<Objection>)>,
    is_refusing: bool,
    /// The broker never accepts those whose number modulo ten is one of these.
    bad: Vec<(u64, Objection)>,
    /// What subscribers received, and what was abandoned.
    arrived: Vec<u64>,
    set_aside: Vec<u64>,
}

impl Surroundings {
    fn new(bad: Vec<(u64, Objection)>) -> Self {
        Self {
            outbox: outbox(),
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
            bad,
            arrived: Vec::new(),
            set_aside: Vec::new(),
        }
    }

    fn step(&mut self, action: u8) {
        match action {
            0 => self.end += 3,
            1 => self.read(),
            2 => {
                if let Some((generation, entries)) = self.read_out.pop_front() {
                    self.outbox.arrived(generation, entries);
                }
            }
            3 => self.send(),
            4 => self.answer(),
            5 => self.hear(),
            6 => self.is_refusing = !self.is_refusing,
            7 => self.lose(),
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
        if let Some(entry) = self.outbox.send_next() {
            self.wire.push_back(entry.position.get());
        }
        self.credit += self.outbox.demand().unwrap_or(0);
    }

    fn objection(&self, number: u64) -> Option<Objection> {
        if self.is_refusing {
            return Some(Objection::Client);
        }
        let bad = self.bad.iter().find(|(rest, _)| number % 10 == *rest);
        bad.map(|(_, objection)| *objection)
    }

    fn answer(&mut self) {
        let Some(number) = self.wire.pop_front() else {
            return;
        };
        let objection = self.objection(number);
        if objection == Some(Objection::End) {
            // What was answered before still arrives.
            while !self.answers.is_empty() {
                self.hear();
            }
            self.object(number, Objection::End);
            return self.lose();
        }
        if objection.is_none() {
            self.arrived.push(number);
        }
        self.answers.push_back((number, objection));
    }

    fn hear(&mut self) {
        match self.answers.pop_front() {
            Some((number, Some(objection))) => self.object(number, objection),
            Some((number, None)) => {
                let progress = self.outbox.taken(Position::new(number), self.now);
                self.note(progress);
            }
            None => {}
        }
    }

    fn object(&mut self, number: u64, objection: Objection) {
        let reason = format!("refuses {number}");
        let position = Position::new(number);
        let progress = self.outbox.refused(position, objection, reason, self.now);
        assert!(self.outbox.refusal().is_some());
        self.note(progress);
    }

    fn note(&mut self, progress: RecordOutcome) {
        let set_aside = progress.set_aside.map(|it| it.position.get());
        self.set_aside.extend(set_aside);
        if let Some(through) = progress.through {
            self.oldest = self.oldest.max(through.next().get());
        }
    }

    fn lose(&mut self) {
        self.wire.clear();
        self.answers.clear();
        self.start_over();
    }

    fn start_over(&mut self) {
        self.generation = self.outbox.start_over();
        self.read = self.oldest;
        self.credit = 0;
    }

    /// The pause after a refusal passes.
    fn wait(&mut self) {
        if let Some(again) = self.outbox.retry_at() {
            self.now = again;
            self.start_over();
            self.outbox.try_again();
        }
    }

    fn is_bad(&self, number: u64) -> bool {
        self.bad.iter().any(|(rest, _)| number % 10 == *rest)
    }

    fn check(&self) {
        let is_done = |number| self.arrived.contains(&number) || self.is_bad(number);
        assert!((0..self.oldest).all(is_done), "deleted, and never taken");
        assert!(self.set_aside.iter().all(|it| self.is_bad(*it)));
        assert!(self.outbox.waiting.len() + self.outbox.on_the_way.len() <= 2 * AHEAD);
    }

    /// From now on the broker accepts everything that it ever accepts: everything arrives.
    fn settle(&mut self) {
        self.is_refusing = false;
        // A good one at the end proves what is wrong with those before it.
        self.end = self.end / 10 * 10 + 10;
        for _ in 0..100 * (self.end + 10) {
            for action in [1, 2, 3, 4, 5, 8] {
                self.step(action);
                self.check();
            }
            if self.oldest == self.end {
                break;
            }
        }
    }
}

fn bad() -> impl Strategy<Value = Vec<(u64, Objection)>> {
    let objection = prop_oneof![Just(Objection::Content), Just(Objection::End)];
    // 9 is always a good one.
    prop::collection::vec((0_u64..9, objection), 0..3)
}

proptest! {
    /// Whatever the order of events: nothing leaves the journal unacknowledged, except what the
    /// broker never accepts; everything else arrives in the end, and for the first time in the
    /// order of the journal if the broker did not refuse in between.
    #[test]
    fn no_record_is_lost_and_the_order_holds(
        actions in prop::collection::vec(0_u8..10, 0..300),
        may_refuse: bool,
        bad in bad(),
    ) {
        let is_in_order = !may_refuse && bad.is_empty();
        let mut around = Surroundings::new(bad);
        for action in actions {
            if action != 6 || may_refuse {
                around.step(action);
            }
            around.check();
        }
        around.settle();
        prop_assert_eq!(around.oldest, around.end);
        prop_assert_eq!(around.outbox.refusal(), None);
        prop_assert_eq!(around.outbox.reached(), Position::new(around.oldest));
        let mut first = Vec::new();
        for &number in &around.arrived {
            if !first.contains(&number) {
                first.push(number);
            }
        }
        if is_in_order {
            prop_assert!(first.is_sorted(), "{:?}", first);
        }
        first.extend(&around.set_aside);
        first.sort_unstable();
        prop_assert_eq!(first, (0..around.end).collect::<Vec<_>>());
    }
}
