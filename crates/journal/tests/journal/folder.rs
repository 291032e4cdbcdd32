//! The folder: who may use it, and what else may be in it.

use std::fs;

use flawd_journal::{Durability, Journal, OpenError};

use crate::common::{KIB, open, options, put, read_all};

#[test]
fn a_second_opener_is_refused_with_the_folder_named_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("deep/down");
    let first = open(&place);
    let refused = Journal::open(&place, options(64 * KIB, Durability::System)).unwrap_err();
    assert!(matches!(&refused, OpenError::Locked { .. }), "{refused:?}");
    let message = refused.to_string();
    assert!(message.contains(place.to_str().unwrap()), "{message}");
    drop(first);
    assert_eq!(open(&place).pending(), 0);
}

#[test]
fn too_small_a_capacity_is_refused_with_the_least_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Journal::open(folder.path(), options(1000, Durability::System)).unwrap_err();
    let message = refused.to_string();
    assert!(
        message.contains("1000") && message.contains("65536"),
        "{message}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_a_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("journal");
    fs::write(&place, "not a folder").unwrap();
    let refused = Journal::open(&place, options(64 * KIB, Durability::System)).unwrap_err();
    assert!(refused.to_string().contains(place.to_str().unwrap()));
    assert_eq!(fs::read(&place).unwrap(), b"not a folder");
}

#[test]
fn the_name_stays_with_the_journal_and_a_new_journal_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let id = open(folder.path()).id().to_owned();
    assert_eq!(id.len(), 12);
    assert!(id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(open(folder.path()).id(), id);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path()).id(), id);
}

#[test]
fn foreign_files_and_unfinished_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    drop(journal);
    for name in ["notes.txt", "1.segment", "unfinished"] {
        fs::write(folder.path().join(name), "something").unwrap();
    }
    let mut journal = open(folder.path());
    assert_eq!(read_all(&mut journal).len(), 1);
    assert_eq!(journal.recovery().damaged_segments, 0);
    assert!(!folder.path().join("unfinished").exists());
    assert!(folder.path().join("notes.txt").exists());
}

#[test]
fn a_segment_of_another_journal_is_not_read_as_ones_own() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for place in [&folder, &other] {
        let mut journal = open(place.path());
        put(&mut journal, "camera", 100);
        journal.commit().unwrap();
    }
    let name = "00000000000000000000.segment";
    fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
    let mut journal = open(folder.path());
    assert_eq!(journal.recovery().damaged_segments, 1);
    assert_eq!(journal.recovery().lost, 1);
    assert_eq!(read_all(&mut journal), []);
    assert_eq!(journal.next_seq("camera"), 2);
}

#[test]
fn a_folder_that_goes_is_made_again_with_the_numbers_going_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("state/journal");
    let mut journal = open(&place);
    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    fs::remove_dir_all(folder.path().join("state")).unwrap();

    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    let unreadable = journal.read(journal.oldest(), 10).unwrap_err();
    assert_eq!(unreadable.skip_to.get(), 1);
    assert_eq!(journal.give_up(unreadable.skip_to), 1);
    let refused = Journal::open(&place, options(64 * KIB, Durability::System)).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    journal.close().unwrap();

    let mut journal = open(&place);
    assert_eq!(read_all(&mut journal).len(), 1);
    assert_eq!(journal.next_seq("camera"), 3);
}

#[test]
fn a_folder_in_the_place_of_one_that_was_moved_is_used_by_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("journal");
    let mut journal = open(&place);
    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    fs::rename(&place, folder.path().join("moved")).unwrap();
    let mut other = open(&place);
    let id = other.id().to_owned();

    // More than what has room in the segment that was moved.
    let mut lost = 0;
    for _ in 0..20 {
        put(&mut journal, "camera", 1000);
        if let Err(error) = journal.commit() {
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("another process uses the folder"), "{cause}");
            lost += error.lost;
        }
    }
    assert!(lost > 0);
    put(&mut other, "camera", 100);
    other.commit().unwrap();
    other.close().unwrap();
    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    let refused = Journal::open(&place, options(64 * KIB, Durability::System)).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    assert_ne!(journal.id(), id);
}

#[test]
fn a_folder_that_cannot_be_made_is_used_again_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("journal");
    let mut journal = open(&place);
    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "not a folder").unwrap();

    put(&mut journal, "camera", 100);
    let error = journal.commit().unwrap_err();
    assert_eq!((error.lost, error.numbers_kept), (1, false));
    assert_eq!(journal.unwritten(), 1);
    let unreadable = journal.read(journal.oldest(), 10).unwrap_err();
    assert_eq!(unreadable.position, journal.oldest());
    assert_eq!(unreadable.skip_to.get(), 1);

    fs::remove_file(&place).unwrap();
    let (seq, _) = put(&mut journal, "camera", 100);
    assert_eq!(seq, 3);
    journal.commit().unwrap();
    assert_eq!(journal.give_up(unreadable.skip_to), 1);
    assert_eq!((journal.dropped(), journal.pending()), (1, 1));
    let refused = Journal::open(&place, options(64 * KIB, Durability::System)).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    journal.close().unwrap();

    let mut journal = open(&place);
    assert_eq!(read_all(&mut journal).len(), 1);
    assert_eq!(journal.next_seq("camera"), 4);
}
