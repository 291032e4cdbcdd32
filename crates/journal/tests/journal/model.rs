//! Random sequences of all operations, against a queue in memory.

use std::collections::{BTreeMap, VecDeque};

use flawd_journal::{Durability, Entry, Journal, Position};
use proptest::prelude::*;

use crate::common::{KIB, options, payload, read_all};

#[derive(Clone, Debug)]
enum Step {
    Append {
        stream: Option<u8>,
        size: usize,
    },
    Commit,
    /// From this part of the way between the oldest and the end, in 255ths.
    Read {
        part: u8,
        limit: usize,
    },
    Acknowledge {
        part: u8,
    },
    GiveUp {
        part: u8,
    },
    /// As after a kill.
    Reopen,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => 0..400_usize, 4 => 400..3000_usize, 1 => 3000..15_000_usize];
    let stream = prop_oneof![1 => Just(None), 5 => (0..3_u8).prop_map(Some)];
    let step = prop_oneof![
        20 => (stream, size).prop_map(|(stream, size)| Step::Append { stream, size }),
        6 => Just(Step::Commit),
        6 => (any::<u8>(), 0..20_usize).prop_map(|(part, limit)| Step::Read { part, limit }),
        3 => any::<u8>().prop_map(|part| Step::Acknowledge { part }),
        1 => any::<u8>().prop_map(|part| Step::GiveUp { part }),
        2 => Just(Step::Reopen),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the journal should hold.
#[derive(Default)]
struct Model {
    committed: VecDeque<Entry>,
    waiting: Vec<Entry>,
    settled: BTreeMap<String, u64>,
    taken: BTreeMap<String, u64>,
    end: u64,
    oldest: u64,
    dropped: u64,
    /// Dropped by journals that were open before.
    dropped_before: u64,
}

impl Model {
    fn forget_before(&mut self, position: u64) -> u64 {
        let before = self.committed.len();
        self.committed
            .retain(|entry| entry.position.get() >= position);
        self.oldest = self.oldest.max(position);
        (before - self.committed.len()) as u64
    }

    fn dropped_ever(&self) -> u64 {
        self.dropped_before + self.dropped
    }

    /// The position at this part of the way from the oldest to the end.
    fn place(&self, part: u8) -> u64 {
        self.oldest + (self.end - self.oldest) * u64::from(part) / 255
    }
}

fn check(journal: &Journal, model: &mut Model) {
    // Room was made: by whole segments, from the oldest on.
    let dropped = model.forget_before(journal.oldest().get());
    model.dropped += dropped;
    assert_eq!(journal.dropped(), model.dropped);
    assert_eq!(journal.oldest().get(), model.oldest);
    assert_eq!(journal.end().get(), model.end);
    assert_eq!(journal.pending(), model.committed.len() as u64);
    assert_eq!(journal.unwritten(), 0);
    assert!(journal.bytes() <= 64 * KIB);
}

fn run(steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let open = || Journal::open(folder.path(), options(64 * KIB, Durability::System)).unwrap();
    let mut journal = open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append { stream, size } => {
                let name = stream.map(|number| format!("camera-{number}"));
                let number = name.as_ref().map(|name| {
                    let seq = journal.next_seq(name);
                    let taken = model.taken.entry(name.clone()).or_default();
                    *taken += 1;
                    assert_eq!(seq, *taken);
                    (name.as_str(), seq)
                });
                let label = number.map_or(0, |(_, seq)| seq);
                let payload = payload(name.as_deref().unwrap_or("none"), label, *size);
                let position = journal.append(number, &payload);
                assert_eq!(position.get(), model.end + model.waiting.len() as u64);
                model.waiting.push(Entry { position, payload });
            }
            Step::Commit => {
                journal.commit().unwrap();
                model.end += model.waiting.len() as u64;
                model.committed.extend(model.waiting.drain(..));
                model.settled = model.taken.clone();
            }
            Step::Read { part, limit } => {
                let from = model.place(*part);
                let read = journal.read(Position::new(from), *limit).unwrap();
                let all = model.committed.iter();
                let expected: Vec<_> = all
                    .filter(|entry| entry.position.get() >= from)
                    .take(*limit)
                    .cloned()
                    .collect();
                assert_eq!(read, expected);
            }
            Step::Acknowledge { part } => {
                let through = model.place(*part);
                journal.acknowledge(Position::new(through));
                model.forget_before((through + 1).min(model.end));
            }
            Step::GiveUp { part } => {
                let before = model.place(*part);
                let given_up = journal.give_up(Position::new(before));
                assert_eq!(given_up, model.forget_before(before));
                model.dropped += given_up;
            }
            Step::Reopen | Step::Close => {
                let id = journal.id().to_owned();
                match step {
                    Step::Close => journal.close().unwrap(),
                    _ => drop(journal),
                }
                journal = open();
                assert_eq!(journal.id(), id);
                model.waiting.clear();
                model.taken = model.settled.clone();
                let recovery = journal.recovery();
                assert_eq!(recovery.entries, model.committed.len() as u64);
                assert_eq!(recovery.dropped_before, model.dropped_ever());
                assert_eq!((recovery.lost, recovery.damaged_segments), (0, 0));
                assert_eq!((recovery.cut_bytes, recovery.head_lost), (0, false));
                model.dropped_before = model.dropped_ever();
                model.dropped = 0;
            }
        }
        check(&journal, &mut model);
    }
    assert_eq!(
        read_all(&mut journal),
        model.committed.into_iter().collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_sequence_of_steps_gives_what_a_queue_in_memory_gives(steps in steps()) {
        run(&steps);
    }
}
