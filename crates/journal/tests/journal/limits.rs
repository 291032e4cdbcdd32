//! The bound: what makes room, what is too large, and that the files stay within the capacity.

use std::fs;
use std::path::Path;

use flawd_journal::{Durability, Journal, WriteError};

use crate::common::{KIB, open, options, parse, put, read_all};

fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn the_files_stay_within_the_capacity_and_what_made_room_is_counted() {
    for sync in [Durability::System, Durability::Always] {
        let folder = tempfile::tempdir().unwrap();
        let capacity = 128 * KIB;
        let mut journal = Journal::open(folder.path(), options(capacity, sync)).unwrap();
        let total = 600;
        for _ in 0..total {
            put(&mut journal, "camera", 700);
            journal.commit().unwrap();
            assert!(bytes_in(folder.path()) <= capacity);
            assert_eq!(journal.bytes(), bytes_in(folder.path()));
        }
        assert!(journal.dropped() > 0);
        assert_eq!(journal.pending() + journal.dropped(), total);
        // At least what fits beside the head and the segment that is being filled.
        assert!(journal.pending() * 700 > capacity / 2);
        let entries = read_all(&mut journal);
        let numbers: Vec<u64> = entries.iter().map(|entry| parse(entry).1).collect();
        let expected: Vec<u64> = (journal.dropped() + 1..=total).collect();
        assert_eq!(numbers, expected, "the newest, in order, without a gap");
    }
}

#[test]
fn what_is_acknowledged_leaves_the_disk_and_is_not_counted_as_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for _ in 0..1000 {
        let (_, position) = put(&mut journal, "camera", 700);
        journal.commit().unwrap();
        journal.acknowledge(position);
        assert_eq!(journal.pending(), 0);
        // Head, and one segment or two.
        assert!(bytes_in(folder.path()) <= 8 * KIB + 2 * 8 * KIB);
    }
    assert_eq!(journal.dropped(), 0);
    assert_eq!(journal.oldest(), journal.end());
}

#[test]
fn a_smaller_capacity_drops_the_oldest_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let wide = options(512 * KIB, Durability::System);
    let mut journal = Journal::open(folder.path(), wide).unwrap();
    for _ in 0..400 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    assert_eq!(journal.dropped(), 0);
    drop(journal);
    let journal = open(folder.path());
    assert!(journal.dropped() > 0);
    assert_eq!(journal.pending() + journal.dropped(), 400);
    assert!(bytes_in(folder.path()) <= 128 * KIB, "the newest stays");
}

#[test]
fn an_entry_larger_than_a_segment_is_kept_and_one_larger_than_a_quarter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    put(&mut journal, "camera", 100);
    put(&mut journal, "camera", 15 * 1024);
    put(&mut journal, "camera", 17 * 1024);
    put(&mut journal, "camera", 100);
    let error = journal.commit().unwrap_err();
    assert_eq!((error.lost, error.numbers_kept), (1, true));
    assert!(matches!(
        error.source,
        WriteError::TooLarge { most: 16384, .. }
    ));
    assert_eq!((journal.unwritten(), journal.pending()), (1, 3));
    drop(journal);

    let mut journal = open(folder.path());
    assert_eq!(journal.recovery().lost, 0, "it was never written");
    assert_eq!(journal.recovery().unwritten_before, 1);
    let entries = read_all(&mut journal);
    let found: Vec<(u64, u64)> = entries
        .iter()
        .map(|entry| (entry.position.get(), parse(entry).1))
        .collect();
    assert_eq!(found, [(0, 1), (1, 2), (3, 4)]);
    assert_eq!(journal.next_seq("camera"), 5);
}

#[test]
fn the_number_of_a_last_entry_that_was_refused_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    put(&mut journal, "camera", 17 * 1024);
    journal.commit().unwrap_err();
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(journal.next_seq("camera"), 2);
    assert_eq!(journal.append(None, b"next").get(), 1);
}

#[test]
fn hundreds_of_streams_with_long_names_keep_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = options(1024 * KIB, Durability::System);
    let mut journal = Journal::open(folder.path(), roomy).unwrap();
    let names: Vec<String> = (0..300)
        .map(|number| format!("{number}-{}", "n".repeat(60)))
        .collect();
    for round in 1..=2 {
        for name in &names {
            assert_eq!(put(&mut journal, name, 0).0, round);
        }
        journal.commit().unwrap();
    }
    drop(journal);
    // The segments alone know them, and then the head alone.
    for lost in ["head", "segment"] {
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            if path.to_str().unwrap().ends_with(lost) {
                fs::remove_file(path).unwrap();
            }
        }
        let mut journal = Journal::open(folder.path(), roomy).unwrap();
        for name in &names {
            assert_eq!(journal.next_seq(name), 3, "without {lost}");
        }
    }
}
