//! A disk that other files fill, on a real small file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use flawd_journal::{Durability, Journal, Position, WriteError};

use crate::common::{KIB, options, parse, put, read_all};
use crate::disk::{may_mount, mount, mount_ext4, mount_image, unmount};

/// Fills the disk to the last byte with one file.
fn fill(path: &Path) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    let mut chunk = 64 * 1024;
    while chunk > 0 {
        match file.write(&vec![1; chunk]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => chunk /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    // On ext4 only this takes the blocks for good.
    drop(file.sync_all());
}

/// A foreign file fills the disk while the journal works; then it goes.
fn outlive_a_full_disk(disk: &Path, sync: Durability) {
    let place = disk.join("journal");
    let foreign = disk.join("foreign");
    let options = options(512 * KIB, sync);
    let mut journal = Journal::open(&place, options).unwrap();
    let mut last = 0;
    for _ in 0..300 {
        last = put(&mut journal, "camera", 700).0;
        journal.commit().unwrap();
    }
    assert_eq!((journal.dropped(), journal.unwritten()), (0, 0));

    // Full: the oldest make room for the new, within the blocks that the journal has.
    fill(&foreign);
    for _ in 0..300 {
        last = put(&mut journal, "camera", 700).0;
        journal.commit().unwrap();
    }
    assert!(journal.dropped() > 0);
    assert_eq!(journal.unwritten(), 0);
    assert_eq!(journal.pending() + journal.dropped(), 600);

    // Another process takes the space that the journal frees, and nothing is acknowledged: when the
    // newest segment is full, there is nothing left to drop.
    journal.acknowledge(Position::new(journal.end().get() - 1));
    fill(&foreign);
    let mut lost = 0;
    for _ in 0..200 {
        last = put(&mut journal, "camera", 700).0;
        if let Err(error) = journal.commit() {
            assert!(error.numbers_kept, "{error}");
            assert!(matches!(&error.source, WriteError::Io(source)
                if source.kind() == io::ErrorKind::StorageFull));
            lost += error.lost;
        }
    }
    assert!(lost > 0);
    assert_eq!((journal.unwritten(), journal.pending() + lost), (lost, 200));

    // A kill, on the full disk: it opens, with all that was written and all numbers.
    let kept = read_all(&mut journal);
    drop(journal);
    let mut journal = Journal::open(&place, options).unwrap();
    assert_eq!(read_all(&mut journal), kept);
    assert_eq!(journal.recovery().unwritten_before, lost);
    assert_eq!(journal.next_seq("camera"), last + 1);

    // With everything acknowledged, the room in the newest segment is enough to continue.
    journal.acknowledge(kept.last().unwrap().position);
    for seq in last + 2..last + 400 {
        let (given, position) = put(&mut journal, "camera", 700);
        assert_eq!(given, seq);
        journal.commit().unwrap();
        journal.acknowledge(position);
    }
    assert_eq!((journal.dropped(), journal.unwritten()), (0, 0));

    // The foreign file goes: all is as before.
    fs::remove_file(&foreign).unwrap();
    for _ in 0..300 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    assert_eq!((journal.dropped(), journal.unwritten()), (0, 0));
    let entries = read_all(&mut journal);
    assert_eq!(entries.len(), 300);
    let numbers: Vec<u64> = entries.iter().map(|entry| parse(entry).1).collect();
    assert_eq!(numbers, (last + 400..last + 700).collect::<Vec<_>>());
    journal.close().unwrap();
}

#[test]
fn a_full_tmpfs_costs_the_oldest_entries_and_never_a_number() {
    if !may_mount("full::a_full_tmpfs_costs_the_oldest_entries_and_never_a_number") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for sync in [Durability::System, Durability::Always] {
        let size = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
        assert!(mount(&size, folder.path()), "a tmpfs can be mounted");
        outlive_a_full_disk(folder.path(), sync);
    }
}

#[test]
fn a_full_ext4_costs_the_oldest_entries_and_never_a_number() {
    if !may_mount("full::a_full_ext4_costs_the_oldest_entries_and_never_a_number") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for sync in [Durability::System, Durability::Always] {
        let image = folder.path().join(format!("{sync:?}.image"));
        let place = folder.path().join(format!("{sync:?}"));
        fs::create_dir(&place).unwrap();
        if !mount_ext4(&image, &place) {
            return;
        }
        outlive_a_full_disk(&place, sync);
    }
}

#[test]
fn a_read_only_folder_is_refused_with_its_name_and_opens_when_it_can_be_written_again() {
    let name =
        "full::a_read_only_folder_is_refused_with_its_name_and_opens_when_it_can_be_written_again";
    if !may_mount(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path();
    assert!(mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], disk));
    let options = options(64 * KIB, Durability::System);
    let mut journal = Journal::open(disk, options).unwrap();
    put(&mut journal, "camera", 700);
    journal.commit().unwrap();
    drop(journal);
    assert!(mount(&["-o", "remount,ro"], disk));
    let refused = Journal::open(disk, options).unwrap_err();
    let message = refused.to_string();
    assert!(message.contains(disk.to_str().unwrap()), "{message}");
    assert!(mount(&["-o", "remount,rw"], disk));
    let mut journal = Journal::open(disk, options).unwrap();
    assert_eq!(read_all(&mut journal).len(), 1);
    assert_eq!(journal.next_seq("camera"), 2);
}

#[test]
fn a_disk_that_fails_costs_counted_entries_and_everything_before_stays_readable() {
    let name = "full::a_disk_that_fails_costs_counted_entries_and_everything_before_stays_readable";
    if !may_mount(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, disk) = (folder.path().join("image"), folder.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    if !mount_ext4(&image, &disk) {
        return;
    }
    let options = options(64 * KIB, Durability::Always);
    let place = disk.join("journal");
    let mut journal = Journal::open(&place, options).unwrap();
    for _ in 0..20 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    let kept = read_all(&mut journal);
    // What ext4 does at an error of its disk: from here on it takes nothing more.
    assert!(mount(&["-o", "remount,abort"], &disk));
    for lost in 1..=30 {
        put(&mut journal, "camera", 700);
        let error = journal.commit().unwrap_err();
        assert_eq!((error.lost, error.numbers_kept), (1, false));
        assert_eq!(journal.unwritten(), lost);
    }
    assert_eq!(read_all(&mut journal), kept);
    assert_eq!(journal.next_seq("camera"), 51);
    journal.close().unwrap_err();

    unmount(&disk);
    assert!(mount_image(&image, &disk));
    let mut journal = Journal::open(&place, options).unwrap();
    assert_eq!(read_all(&mut journal), kept);
    put(&mut journal, "camera", 700);
    journal.commit().unwrap();
}
