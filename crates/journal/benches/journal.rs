//! The journal against redb used as a queue, in one run on one disk: `cargo bench -p flawd-journal`.
//!
//! `cargo bench -p flawd-journal -- FOLDER` measures in that folder, which should be on the disk
//! that matters. Times depend on the disk and its other load: compare the ratios.
//!
//! Both do what the daemon does: append records, commit them in batches, and delete them in batches
//! once they are read. redb is used in the obvious way: a table from a number to the record, one
//! transaction for each batch of appends and one for each batch of deletions, the latter without
//! waiting for the disk, as in the journal. redb has nothing like `System`: with its `None` a
//! commit stays in the memory of the process, and a kill loses it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use flawd_journal::{Durability, Journal, Options};
use redb::{Database, ReadableDatabase, TableDefinition};

/// Bytes of a record: a verdict's payload with some regions.
const RECORD: usize = 900;
const CAPACITY: u64 = 64 << 20;
const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

fn main() {
    // cargo passes `--bench`.
    let folder = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{RECORD} bytes a record, in {}; best of 5 in turns; appended and committed, then read and deleted",
        folder.display()
    );
    println!(
        "{:<7} {:>5} | {:>9} {:>9} {:>6} | {:>9} {:>9} | {:>9} {:>9} {:>6}",
        "", "", "rec/s", "rec/s", "", "sent", "sent", "disk", "disk", ""
    );
    println!(
        "{:<7} {:>5} | {:>9} {:>9} {:>6} | {:>9} {:>9} | {:>9} {:>9} {:>6}",
        "sync", "batch", "journal", "redb", "ratio", "journal", "redb", "journal", "redb", "ratio"
    );
    for (sync, records) in [(Durability::Always, 1600), (Durability::System, 32_000)] {
        for batch in [1, 16] {
            let records = if batch == 1 { records } else { records * 4 };
            let (mut ours, mut theirs): (Option<Run>, Option<Run>) = (None, None);
            for _ in 0..5 {
                let run = measure(&folder, |place| run_journal(place, sync, records, batch));
                ours = Some(run.best(ours));
                let run = measure(&folder, |place| run_redb(place, sync, records, batch));
                theirs = Some(run.best(theirs));
            }
            let (ours, theirs) = (ours.expect("five"), theirs.expect("five"));
            let rate = |run: &Run| records as f64 / run.seconds;
            let each = |bytes: u64| bytes as f64 / records as f64;
            println!(
                "{:<7} {:>5} | {:>9.0} {:>9.0} {:>6.2} | {:>9.0} {:>9.0} | {:>9.0} {:>9.0} {:>6.2}",
                format!("{sync:?}"),
                batch,
                rate(&ours),
                rate(&theirs),
                rate(&ours) / rate(&theirs),
                each(ours.sent),
                each(theirs.sent),
                each(ours.disk),
                each(theirs.disk),
                each(ours.disk) / each(theirs.disk),
            );
        }
    }
    println!("sent: bytes a record that this process had written (write_bytes of /proc/self/io)");
    println!(
        "disk: bytes a record that reached the disk, with the file system's own, by a sync at"
    );
    println!("  the end; by anyone: it says something only where nothing else uses the disk");
}

/// One run; bytes as they are printed.
struct Run {
    seconds: f64,
    sent: u64,
    disk: u64,
}

impl Run {
    /// Returns the shorter time, and the fewer bytes on the disk, which others may use.
    fn best(self, other: Option<Self>) -> Self {
        match other {
            None => self,
            Some(other) => Self {
                seconds: self.seconds.min(other.seconds),
                sent: self.sent.min(other.sent),
                disk: self.disk.min(other.disk),
            },
        }
    }
}

fn measure(folder: &Path, run: impl FnOnce(&Path)) -> Run {
    let place = tempfile::tempdir_in(folder).expect("the folder can be written");
    flush(folder);
    let (sent, disk) = (sent(), reached_disk(folder));
    let start = Instant::now();
    run(place.path());
    let seconds = start.elapsed().as_secs_f64();
    let sent = self::sent() - sent;
    flush(folder);
    Run {
        seconds,
        sent,
        disk: reached_disk(folder) - disk,
    }
}

/// Waits until all data of the folder's file system is on its disk.
fn flush(folder: &Path) {
    let status = Command::new("sync").arg("-f").arg(folder).status();
    assert!(status.expect("coreutils").success());
}

/// Bytes that this process has had written.
fn sent() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("Linux with task accounting");
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("the line is there").parse().expect("a number")
}

/// Bytes written to the disk that the folder is on; 0 if it is not on one.
fn reached_disk(folder: &Path) -> u64 {
    let device = fs::metadata(folder).expect("it is there").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(stat) = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) else {
        return 0;
    };
    // Documentation/block/stat.rst: the seventh is sectors written, of 512 bytes.
    let sectors = stat.split_whitespace().nth(6).expect("it has eleven");
    512 * sectors.parse::<u64>().expect("a number")
}

fn record(number: u64) -> Vec<u8> {
    let mut record = vec![b'x'; RECORD];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record
}

/// Records are deleted in batches of this many, or of a commit if that is more.
const DELETED_AT_ONCE: usize = 16;

fn run_journal(place: &Path, sync: Durability, records: u64, batch: u64) {
    let options = Options {
        capacity: CAPACITY,
        sync,
    };
    let mut journal = Journal::open(place, options).expect("it opens");
    for first in (0..records).step_by(batch as usize) {
        for number in first..first + batch {
            let seq = journal.next_seq("camera");
            journal.append(Some(("camera", seq)), &record(number));
        }
        journal.commit().expect("there is room");
        if journal.pending() >= DELETED_AT_ONCE as u64 {
            let from = journal.oldest();
            let read = journal.read(from, DELETED_AT_ONCE).expect("it is there");
            let last = read.last().expect("there are some");
            journal.acknowledge(last.position);
        }
    }
    assert_eq!(journal.pending(), 0, "all was read");
    journal.close().expect("it can be written");
}

fn run_redb(place: &Path, sync: Durability, records: u64, batch: u64) {
    let durability = match sync {
        Durability::Always => redb::Durability::Immediate,
        Durability::System => redb::Durability::None,
    };
    let database = Database::create(place.join("queue.redb")).expect("it opens");
    let (mut pending, mut oldest) = (0, 0);
    for first in (0..records).step_by(batch as usize) {
        let mut transaction = database.begin_write().expect("one at a time");
        transaction
            .set_durability(durability)
            .expect("it is offered");
        {
            let mut table = transaction.open_table(TABLE).expect("the table");
            for number in first..first + batch {
                table
                    .insert(number, &record(number)[..])
                    .expect("there is room");
            }
        }
        transaction.commit().expect("there is room");
        pending += batch as usize;
        if pending >= DELETED_AT_ONCE {
            let read = database.begin_read().expect("a snapshot");
            let table = read.open_table(TABLE).expect("the table");
            let end = oldest + DELETED_AT_ONCE as u64;
            let found: Vec<Vec<u8>> = table
                .range(oldest..end)
                .expect("it is there")
                .map(|entry| entry.expect("it is there").1.value().to_vec())
                .collect();
            assert_eq!(found.len(), DELETED_AT_ONCE);
            let mut transaction = database.begin_write().expect("one at a time");
            transaction
                .set_durability(redb::Durability::None)
                .expect("it is offered");
            {
                let mut table = transaction.open_table(TABLE).expect("the table");
                for number in oldest..end {
                    table.remove(number).expect("it is there");
                }
            }
            transaction.commit().expect("there is room");
            oldest = end;
            pending -= DELETED_AT_ONCE;
        }
    }
    assert_eq!(pending, 0, "all was read");
}
