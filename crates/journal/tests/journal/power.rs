//! The power fails: what the file system had not sent to its disk is gone.
//!
//! The disk is a file. A copy of it, taken while the journal is open, is what a disk would hold if
//! the power failed at that moment; what is only in the memory of the file system is not in it. Not
//! modelled: a disk that acknowledges what it then forgets.

use std::fs;
use std::path::{Path, PathBuf};

use flawd_journal::{Durability, Journal, Position};

use crate::common::{KIB, options, parse, put, read_all};
use crate::disk::{may_mount, mount_ext4, mount_image, unmount};

/// A disk, its place, and the place of what is left of it.
struct Line {
    image: PathBuf,
    disk: PathBuf,
    copy: PathBuf,
    after: PathBuf,
}

impl Line {
    fn new(folder: &Path) -> Option<Self> {
        let [image, disk, copy, after] =
            ["image", "disk", "copy", "after"].map(|name| folder.join(name));
        fs::create_dir(&disk).unwrap();
        fs::create_dir(&after).unwrap();
        mount_ext4(&image, &disk).then_some(Self {
            image,
            disk,
            copy,
            after,
        })
    }

    /// Lets `look` see the disk as it would be after a loss of power now.
    fn cut<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        fs::copy(&self.image, &self.copy).unwrap();
        assert!(mount_image(&self.copy, &self.after), "ext4 recovers");
        let seen = look(&self.after.join("journal"));
        unmount(&self.after);
        seen
    }
}

#[test]
fn what_was_committed_with_always_is_there_after_a_loss_of_power() {
    if !may_mount("power::what_was_committed_with_always_is_there_after_a_loss_of_power") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(line) = Line::new(folder.path()) else {
        return;
    };
    // Segments of 8 KiB: one begins every third round.
    let options = options(64 * KIB, Durability::Always);
    let mut journal = Journal::open(&line.disk.join("journal"), options).unwrap();
    for round in 0..40_u64 {
        for number in 0..=round % 4 {
            put(&mut journal, "camera", 300 + number as usize * 400);
        }
        journal.commit().unwrap();
        if round % 7 == 6 {
            journal.acknowledge(Position::new(journal.end().get() - 5));
        }
        let wanted = read_all(&mut journal);
        line.cut(|place| {
            let mut left = Journal::open(place, options).unwrap();
            let recovery = left.recovery();
            assert_eq!((recovery.lost, recovery.damaged_segments), (0, 0));
            assert!(!recovery.head_lost);
            let found = read_all(&mut left);
            // Acknowledged ones may come again.
            assert!(found.ends_with(&wanted), "round {round}");
            let last = parse(wanted.last().unwrap()).1;
            assert_eq!(left.next_seq("camera"), last + 1);
            assert_eq!(left.id(), journal.id());
        });
    }
    unmount_open(journal, &line);
}

#[test]
fn the_numbers_of_entries_that_were_refused_are_there_after_a_loss_of_power() {
    let name = "power::the_numbers_of_entries_that_were_refused_are_there_after_a_loss_of_power";
    if !may_mount(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(line) = Line::new(folder.path()) else {
        return;
    };
    let options = options(64 * KIB, Durability::Always);
    let mut journal = Journal::open(&line.disk.join("journal"), options).unwrap();
    for _ in 0..3 {
        put(&mut journal, "camera", 100);
        journal.commit().unwrap();
        let (refused, position) = put(&mut journal, "camera", 20_000);
        journal.commit().unwrap_err();
        line.cut(|place| {
            let mut left = Journal::open(place, options).unwrap();
            assert_eq!(left.next_seq("camera"), refused + 1);
            assert_eq!(left.end(), position.next());
        });
    }
    unmount_open(journal, &line);
}

#[test]
fn without_waiting_for_the_disk_a_loss_of_power_takes_entries_and_the_journal_still_opens() {
    // This is what `System` means, and it shows that the tests above can tell.
    let name = "power::without_waiting_for_the_disk_a_loss_of_power_takes_entries_and_the_journal_still_opens";
    if !may_mount(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(line) = Line::new(folder.path()) else {
        return;
    };
    let options = options(64 * KIB, Durability::System);
    let mut journal = Journal::open(&line.disk.join("journal"), options).unwrap();
    for _ in 0..20 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    let found = line.cut(|place| read_all(&mut Journal::open(place, options).unwrap()).len());
    assert!(found < 20, "{found} entries");
    unmount_open(journal, &line);
}

fn unmount_open(journal: Journal, line: &Line) {
    journal.close().unwrap();
    unmount(&line.disk);
}
