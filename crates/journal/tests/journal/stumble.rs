//! A disk that fails at random: the journal continues, loses nothing that it had committed, and is
//! whole once the disk is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flawd_journal::{Durability, Journal, MIN_CAPACITY, Options, Position};

use crate::common::payload;
use crate::faults::{self, Call, Faults, random};

fn options() -> Options {
    Options {
        capacity: MIN_CAPACITY,
        sync: Durability::Always,
    }
}

/// A stream of entries, and what is known about each.
struct Line {
    folder: PathBuf,
    journal: Option<Journal>,
    random: u64,
    /// The payload of each entry that was committed, is not acknowledged, and was not damaged.
    committed: BTreeMap<u64, Vec<u8>>,
    /// The payload of each position that was ever appended to.
    appended: BTreeMap<u64, Vec<u8>>,
    /// The last number of each stream that may not come again.
    last: BTreeMap<&'static str, u64>,
    /// The last number of each stream that an entry carries.
    carried: BTreeMap<&'static str, u64>,
    /// Dropped by the open journal, as far as it was looked at.
    dropped: u64,
}

impl Line {
    fn new(folder: &Path, seed: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            journal: None,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            committed: BTreeMap::new(),
            appended: BTreeMap::new(),
            last: BTreeMap::new(),
            carried: BTreeMap::new(),
            dropped: 0,
        }
    }

    /// A number below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        random(&mut self.random) % bound
    }

    fn failing<T>(&mut self, storm: Faults, work: impl FnOnce(&mut Journal) -> T) -> T {
        let journal = self.journal.as_mut().expect("it is open");
        let faults = Faults {
            random: self.random,
            ..storm
        };
        let (done, random) = faults::with(faults, || work(journal));
        self.random = random;
        done
    }

    /// Commits one to three entries.
    fn commit(&mut self, storm: Faults) {
        let mut entries = Vec::new();
        for _ in 0..=self.draw(3) {
            let stream = ["left", "right", "top"][self.draw(3) as usize];
            let size = match self.draw(40) {
                0 => 9_000 + self.draw(8_000),
                _ => 20 + self.draw(900),
            };
            let journal = self.journal.as_mut().expect("it is open");
            let seq = journal.next_seq(stream);
            let last = self.last.get(stream).copied().unwrap_or(0);
            assert!(seq > last, "{stream} {seq} was given before");
            let payload = payload(stream, seq, size as usize);
            let position = journal.append(Some((stream, seq)), &payload).get();
            let before = self.appended.insert(position, payload.clone());
            assert!(before.is_none(), "position {position} was given before");
            entries.push((stream, seq, position, payload));
        }
        let outcome = self.failing(storm, Journal::commit);
        let numbers_kept = outcome.as_ref().map_or_else(|e| e.numbers_kept, |()| true);
        for (stream, seq, position, payload) in entries {
            if numbers_kept {
                self.last.insert(stream, seq);
            }
            if outcome.is_ok() {
                self.carried.insert(stream, seq);
                self.committed.insert(position, payload);
            }
        }
        self.look_for_dropped(storm.full);
    }

    /// Whatever was dropped was counted, and there was reason to.
    fn look_for_dropped(&mut self, full: bool) {
        let journal = self.journal.as_ref().expect("it is open");
        let kept = self.committed.split_off(&journal.oldest().get());
        let dropped = std::mem::replace(&mut self.committed, kept);
        let counted = journal.dropped() - self.dropped;
        self.dropped = journal.dropped();
        assert!(dropped.len() as u64 <= counted, "{counted} of {dropped:?}");
        if let Some((&oldest, _)) = dropped.first_key_value()
            && !full
        {
            // Those of failed commits and damaged ones may take room too.
            let since = self.appended.range(oldest..);
            let bytes: usize = since.map(|(_, payload)| payload.len() + 31).sum();
            // The head takes an eighth, a segment with a large entry a quarter, one that is
            // being filled an eighth, and others keep up to a page for nothing.
            assert!(
                bytes as u64 > MIN_CAPACITY / 4,
                "{} entries of {bytes} bytes were pushed out by nothing",
                dropped.len()
            );
        }
    }

    fn acknowledge(&mut self, storm: Faults) {
        let oldest = self.committed.keys().next().copied().unwrap_or(0);
        let count = self.draw(20);
        self.failing(storm, |journal| {
            journal.acknowledge(Position::new(oldest + count));
        });
        self.committed = self.committed.split_off(&(oldest + count + 1));
    }

    /// Ends as a kill does, perhaps damages a file, and opens the journal again.
    fn reopen(&mut self, mut storm: Faults) {
        if self.journal.is_some() && self.draw(2) == 0 {
            // What the disk had refused to write is not to be missing as well.
            self.commit(CALM);
            self.journal = None;
            self.damage();
            // One file at a time: the head is given back, or else the segments are whole.
            storm.only.get_or_insert(Call::Write);
        }
        self.journal = None;
        if storm.share > 0 && storm.only.is_none_or(|only| only == Call::Read) {
            // The numbers of entries that were refused are in the head alone.
            self.last = self.carried.clone();
        }
        for attempt in 0.. {
            let faults = Faults {
                random: self.random,
                // A disk that stumbles does so for a while.
                share: if attempt < 50 { storm.share } else { 0 },
                ..storm
            };
            let folder = self.folder.clone();
            let (opened, random) = faults::with(faults, || Journal::open(&folder, options()));
            self.random = random;
            if let Ok(journal) = opened {
                self.journal = Some(journal);
                break;
            }
        }
        self.dropped = 0;
        self.look_for_dropped(storm.full);
        let end = self.journal.as_ref().expect("it was opened").end().get();
        // Later ones were in a commit that failed, so they were never reported as kept.
        self.appended.split_off(&end);
        self.check();
    }

    /// Reads everything on a disk that works, and compares.
    fn check(&mut self) {
        let journal = self.journal.as_mut().expect("it is open");
        let mut from = journal.oldest();
        let mut found = BTreeMap::new();
        // Each read advances; more than this cannot be there.
        for _ in 0..self.appended.len() + 10 {
            match journal.read(from, 7) {
                Ok(entries) if entries.is_empty() => break,
                Ok(entries) => {
                    for entry in entries {
                        assert!(entry.position >= from);
                        from = entry.position.next();
                        found.insert(entry.position.get(), entry.payload);
                    }
                }
                Err(error) => {
                    assert!(error.skip_to > error.position && error.position >= from);
                    from = error.skip_to;
                }
            }
        }
        assert!(
            journal.read(from, 1).is_ok_and(|rest| rest.is_empty()),
            "read to its end"
        );
        for (position, payload) in &self.committed {
            assert!(found.contains_key(position), "{position} is gone");
            assert!(found[position] == *payload, "{position} is another one");
        }
        for (position, payload) in &found {
            assert_eq!(self.appended.get(position), Some(payload), "at {position}");
        }
    }

    /// Flips bits, cuts, copies or removes one file, and forgets what may be gone by that.
    fn damage(&mut self) {
        let files = fs::read_dir(&self.folder).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| !file.ends_with("lock"));
        files.sort();
        let Some(victim) = files
            .get(self.draw(files.len().max(1) as u64) as usize)
            .cloned()
        else {
            return;
        };
        if victim.ends_with("head") {
            // The numbers of entries that were refused are there alone.
            self.last = self.carried.clone();
        }
        let original = fs::read(&victim).unwrap();
        let mut bytes = original.clone();
        let at = self.draw(bytes.len() as u64 + 1) as usize;
        let damaged = match self.draw(4) {
            0 => {
                let end = (at + 1 + self.draw(200) as usize).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte = !*byte);
                fs::write(&victim, &bytes).unwrap();
                at..end
            }
            1 => {
                fs::write(&victim, &bytes[..at]).unwrap();
                at..bytes.len()
            }
            2 => {
                let position = self.draw(2 * self.appended.len() as u64 + 2);
                let copy = self.folder.join(format!("{position:020}.segment"));
                if !copy.exists() {
                    fs::write(copy, &bytes).unwrap();
                }
                // Nothing is gone by that.
                return;
            }
            _ => {
                fs::remove_file(&victim).unwrap();
                0..bytes.len()
            }
        };
        // There it says whose it is.
        let everything = damaged.start < 48;
        self.committed.retain(|_, payload| {
            let place = original.windows(payload.len()).position(|it| it == payload);
            place.is_none_or(|start| {
                let (from, to) = (start - 31, start + payload.len());
                !everything && (to <= damaged.start || from >= damaged.end)
            })
        });
    }
}

const CALM: Faults = Faults {
    share: 0,
    only: None,
    full: false,
    random: 1,
};

/// Commits, acknowledges, reopens and damages, through storms and calms.
fn sail(seed: u64, rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Line::new(folder.path(), seed);
    line.reopen(CALM);
    for _ in 0..rounds {
        let storm = Faults {
            share: [0, 10, 100, 400, 900][line.draw(5) as usize],
            only: [None, Some(Call::SyncData), Some(Call::Write)][line.draw(3) as usize],
            full: line.draw(4) == 0,
            random: 1,
        };
        for _ in 0..line.draw(60) {
            match line.draw(12) {
                0 => line.acknowledge(storm),
                1 => line.check(),
                _ => line.commit(storm),
            }
        }
        line.reopen(storm);
    }
    for _ in 0..3 {
        line.commit(CALM);
    }
    line.check();
}

/// A seed for each run, so that many runs try many; it is printed, and can be set.
fn seed() -> u64 {
    let given = std::env::var("FLAWD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) << 20)
}

#[test]
fn on_a_disk_that_fails_at_random_nothing_committed_is_lost_and_no_number_comes_twice() {
    for seed in 0..4 {
        sail(seed, 12);
    }
}

#[test]
#[ignore = "run by cargo xtask endurance"]
fn on_a_disk_that_fails_for_minutes_nothing_committed_is_lost_and_no_number_comes_twice() {
    let begun = Instant::now();
    let mut seed = seed();
    while begun.elapsed() < Duration::from_secs(180) {
        println!("FLAWD_SEED={seed}");
        sail(seed, 200);
        seed += 1;
    }
}

/// The head may be behind what was written, so that the numbers in the part that is not given back
/// are not known.
#[test]
fn what_the_disk_does_not_give_back_at_the_opening_comes_later_and_no_number_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Line::new(folder.path(), 3);
    line.reopen(CALM);
    for _ in 0..12 {
        line.commit(CALM);
    }
    let mut opened = 0;
    for share in [400, 600, 800, 850, 900, 950] {
        for random in 1..30 {
            let storm = Faults {
                share,
                only: Some(Call::Read),
                full: false,
                random,
            };
            line.journal = None;
            let outcome = faults::with(storm, || Journal::open(folder.path(), options())).0;
            // Without any name to go by it is not opened, and left as it is.
            if let Ok(journal) = outcome {
                opened += 1;
                line.journal = Some(journal);
                line.commit(CALM);
                line.check();
                // Not acknowledged, and still within the bound.
                line.committed.clear();
                let end = line.journal.as_ref().unwrap().end();
                line.journal
                    .as_mut()
                    .unwrap()
                    .acknowledge(Position::new(end.get() - 1));
            }
        }
    }
    assert!(opened > 100, "{opened}");
}

/// So does what was written after the head that is there, which says nothing of it.
#[test]
fn what_the_disk_does_not_give_back_at_the_opening_is_read_in_the_same_life() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Line::new(folder.path(), 5);
    line.reopen(CALM);
    let head = fs::read(folder.path().join("head")).unwrap();
    while line.committed.len() < 30 {
        line.commit(CALM);
    }
    line.journal = None;
    let files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|file| (file.clone(), fs::read(&file).unwrap()))
        .collect();
    let mut refused = 0;
    for share in [400, 600, 800, 900] {
        for random in 1..30 {
            for file in fs::read_dir(folder.path()).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
            for (file, bytes) in &files {
                fs::write(file, bytes).unwrap();
            }
            fs::write(folder.path().join("head"), &head).unwrap();
            let storm = Faults {
                share,
                only: Some(Call::Read),
                random,
                ..CALM
            };
            if let Ok(journal) = faults::with(storm, || Journal::open(folder.path(), options())).0 {
                refused += u64::from(journal.pending() < line.committed.len() as u64);
                line.journal = Some(journal);
                line.check();
                let journal = line.journal.as_ref().unwrap();
                assert_eq!(journal.pending(), line.committed.len() as u64);
                assert_eq!((journal.recovery().lost, journal.dropped()), (0, 0));
                line.journal = None;
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

/// Each of those seconds left a segment that held nothing, and the oldest made room for it.
#[test]
fn commits_that_fail_push_out_nothing_that_waits() {
    for (share, only) in [(1000, Some(Call::SyncData)), (500, None)] {
        let folder = tempfile::tempdir().unwrap();
        let mut line = Line::new(folder.path(), 7);
        line.reopen(CALM);
        while line.committed.len() < 25 {
            let journal = line.journal.as_mut().unwrap();
            let seq = journal.next_seq("left");
            let payload = payload("left", seq, 700);
            let position = journal.append(Some(("left", seq)), &payload).get();
            journal.commit().unwrap();
            line.committed.insert(position, payload.clone());
            line.appended.insert(position, payload);
        }
        let storm = Faults {
            share,
            only,
            ..CALM
        };
        for _ in 0..100 {
            let journal = line.journal.as_mut().unwrap();
            let seq = journal.next_seq("left");
            let payload = payload("left", seq, 100);
            let position = journal.append(Some(("left", seq)), &payload).get();
            line.appended.insert(position, payload.clone());
            if line.failing(storm, Journal::commit).is_ok() {
                line.committed.insert(position, payload);
            }
            assert_eq!(line.journal.as_ref().unwrap().dropped(), 0);
        }
        line.check();
        let journal = line.journal.as_ref().unwrap();
        assert!(journal.unwritten() > 0);
        let files = fs::read_dir(folder.path()).unwrap();
        let files: u64 = files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(files <= MIN_CAPACITY && journal.bytes() == files, "{files}");
    }
}
