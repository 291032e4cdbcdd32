//! Disks that fail: full, gone, read-only. Real ones if this runs as root.

use std::io;
use std::process::Command;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

const BLOCK: u64 = 4096;

/// A separate file system of this many bytes, for as long as this lives.
struct Mount(TempDir);

impl Mount {
    /// Returns `None`, and says so, if this process may not mount one.
    fn new(options: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        if mount(folder.path(), options) {
            return Some(Self(folder));
        }
        eprintln!("absent: a file system can be mounted by root only");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let system = rustix::fs::statvfs(self.path()).unwrap();
        system.f_bavail * system.f_frsize
    }

    /// Fills space, as another process would, until this much is free.
    fn fill(&self, leave: u64) {
        let foreign = fs::File::options()
            .create(true)
            .append(true)
            .open(self.foreign());
        let bytes = vec![1; (self.free() - leave) as usize];
        io::Write::write_all(&mut foreign.unwrap(), &bytes).unwrap();
    }

    fn foreign(&self) -> std::path::PathBuf {
        self.path().join("foreign")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(unmount(self.path()) || thread::panicking());
    }
}

/// Mounts an empty file system there.
fn mount(folder: &Path, options: &str) -> bool {
    let done = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(folder)
        .output();
    done.is_ok_and(|output| output.status.success())
}

/// Unmounts the file system, although a program that another test is just starting may for a moment
/// have the same files open as this process.
fn unmount(folder: &Path) -> bool {
    let done = Command::new("umount").arg("--lazy").arg(folder).status();
    done.is_ok_and(|status| status.success())
}

/// The log lines of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Returns the number of lines of this level so far.
    fn count(&self, level: &str) -> usize {
        let text = self.0.lock();
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.contains(level))
            .count()
    }

    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn when_the_disk_is_full_evidence_goes_first_then_it_is_said_once_and_goes_on_by_itself() {
    let reserve = 256 << 10;
    let Some(mount) = Mount::new("size=2m") else {
        return;
    };
    let log = Log::default();
    let _listening = log.listen();
    let folder = mount.path().join("evidence");
    let (evidence, mut writer) = open(EvidenceSettings {
        reserve,
        ..settings(&folder)
    });

    // More than fits: the reserve is never touched, the oldest make room.
    for seq in 0..150 {
        assert!(evidence.admit(item(seq, 64)).is_some());
        assert!(writer.step());
        assert!(mount.free() >= reserve, "{}", mount.free());
        assert_usage_is_true(&evidence, &folder);
    }
    let before = kept(&folder);
    assert_eq!(before.last(), Some(&149));
    assert!(before.len() > 50 && before[0] > 0, "{before:?}");

    // Another process takes what the reserve was for: evidence makes room, the oldest first.
    mount.fill(16 * BLOCK);
    assert!(evidence.admit(item(150, 64)).is_some());
    assert!(writer.step());
    let after = kept(&folder);
    assert_eq!(after.last(), Some(&150));
    assert!(after.len() < before.len() && mount.free() >= reserve);

    // And continues, until evidence has nothing left to delete. It is reported once.
    let mut seq = 151;
    let promised = loop {
        mount.fill(0);
        let promised = evidence.admit(item(seq, 64)).unwrap();
        assert!(writer.step());
        if evidence.usage().suspended.is_some() {
            break promised;
        }
        seq += 1;
    };
    assert!(kept(&folder).is_empty());
    let cause = evidence.usage().suspended.unwrap();
    assert!(cause.contains("256.0 KiB have to stay free"), "{cause}");
    for left_out in 1..9 {
        assert_eq!(evidence.admit(item(seq + left_out, 64)), None);
        assert!(writer.step());
    }
    assert_eq!(evidence.usage().dropped, 8);
    assert_eq!((log.count("ERROR"), log.count("WARN")), (1, 0));

    // There is space again: what was promised appears.
    fs::remove_file(mount.foreign()).unwrap();
    assert!(writer.step());
    assert_eq!(evidence.usage().suspended, None);
    let file = folder.join(&promised.path);
    assert_eq!(pixels_digest(&file), promised.sha256);
    assert!(evidence.admit(item(seq + 9, 64)).is_some());
    assert!(writer.step());
    assert_eq!(kept(&folder), [seq, seq + 9]);
    assert_usage_is_true(&evidence, &folder);
    assert_eq!((log.count("ERROR"), log.count("left_out=8")), (1, 1));
}

#[test]
fn of_picture_and_heatmap_either_both_are_there_or_none() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(settings(folder.path()));
    let item = EvidenceItem {
        anomaly: anomaly(9.0),
        ..item(1, 16)
    };
    let path = name::picture(&name::stem(&item));
    let (day, name) = path.rsplit_once('/').unwrap();
    let in_the_way = folder.path().join(day).join(name::unfinished(name));
    fs::create_dir_all(&in_the_way).unwrap();
    assert!(evidence.admit(item).is_some());
    assert!(writer.step());
    assert!(evidence.usage().suspended.unwrap().contains(name));
    assert_eq!(files(folder.path()).len(), 0);
    fs::remove_dir(&in_the_way).unwrap();
    assert!(writer.step());
    assert_eq!(files(folder.path()).len(), 2);
    assert_usage_is_true(&evidence, folder.path());
}

#[test]
fn what_a_slow_disk_left_out_is_said_with_its_number() {
    let folder = TempDir::new().unwrap();
    let log = Log::default();
    let _listening = log.listen();
    let (evidence, mut writer) = open(settings(folder.path()));
    let mut overwhelm = || {
        let left_out = (0..40).filter(|&seq| evidence.admit(item(seq, 8)).is_none());
        let left_out = left_out.count();
        assert!((0..32).all(|_| writer.step()));
        left_out
    };
    assert_eq!((overwhelm(), overwhelm(), overwhelm()), (8, 8, 8));
    // Once a minute at most, and the rest at the end.
    assert_eq!((log.count("WARN"), log.count("left_out=8")), (1, 1));
    drop(evidence);
    writer.run();
    assert_eq!((log.count("WARN"), log.count("left_out=16")), (2, 1));
}

#[test]
fn a_disk_that_is_full_to_the_last_block_leaves_no_torn_file() {
    let Some(mount) = Mount::new("size=1m") else {
        return;
    };
    let folder = mount.path().join("evidence");
    // Without a reserve the disk itself has to refuse: each file needs blocks for itself and for
    // folders, which cannot be predicted exactly.
    let (evidence, mut writer) = open(settings(&folder));
    for seq in 0..100 {
        evidence.admit(EvidenceItem {
            anomaly: anomaly(0.0),
            ..item(seq, 40 + seq as usize % 30)
        });
        assert!(writer.step());
        for path in files(&folder).keys() {
            decode_file(&folder.join(path), None).unwrap();
        }
        assert_usage_is_true(&evidence, &folder);
    }
    assert_eq!(evidence.usage().dropped, 0);
    assert_eq!(kept(&folder).last(), Some(&99));
}

#[test]
fn a_file_system_without_room_for_more_files_makes_the_oldest_go() {
    let Some(mount) = Mount::new("size=1m,nr_inodes=12") else {
        return;
    };
    let (evidence, mut writer) = open(settings(mount.path()));
    for seq in 0..40 {
        assert!(evidence.admit(item(seq, 8)).is_some());
        assert!(writer.step());
        assert_eq!(evidence.usage().suspended, None);
        assert_usage_is_true(&evidence, mount.path());
    }
    assert_eq!(kept(mount.path()).last(), Some(&39));
}

/// The journal creates files too.
#[test]
fn evidence_leaves_files_for_others_to_make() {
    let Some(mount) = Mount::new("size=1m,nr_inodes=64") else {
        return;
    };
    let log = Log::default();
    let _listening = log.listen();
    let folder = mount.path().join("evidence");
    let (evidence, mut writer) = open(settings(&folder));
    let left = || rustix::fs::statvfs(mount.path()).unwrap().f_favail;
    for seq in 0..80 {
        assert!(evidence.admit(item(seq, 8)).is_some());
        assert!(writer.step());
        assert!(left() >= 8, "{} are left", left());
    }
    assert_eq!(kept(&folder).last(), Some(&79));
    // Another process uses all of them: evidence yields first, and then what is missing is
    // reported.
    let foreign = mount.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    let mut made = 0;
    let mut seq = 80;
    while evidence.usage().suspended.is_none() {
        while left() > 0 {
            made += 1;
            fs::write(foreign.join(made.to_string()), "").unwrap();
        }
        assert!(evidence.admit(item(seq, 8)).is_some());
        assert!(writer.step());
        seq += 1;
    }
    let cause = evidence.usage().suspended.unwrap();
    assert!(cause.contains("inodes"), "{cause}");
    assert_eq!(log.count("ERROR"), 1);
}

#[test]
fn a_read_only_disk_suspends_evidence_until_it_can_be_written_to() {
    let Some(disk) = Mount::new("size=1m") else {
        return;
    };
    let log = Log::default();
    let _listening = log.listen();
    let folder = disk.path().join("evidence");
    let (evidence, mut writer) = open(settings(&folder));
    assert!(mount(&folder, "ro"));
    let promised = evidence.admit(item(1, 8)).unwrap();
    assert!(writer.step() && writer.step() && writer.step());
    let cause = evidence.usage().suspended.unwrap();
    assert!(cause.contains("Read-only file system"), "{cause}");
    assert!(cause.contains(folder.to_str().unwrap()), "{cause}");
    assert!(unmount(&folder));
    assert!(writer.step());
    assert_eq!(evidence.usage().suspended, None);
    assert!(folder.join(&promised.path).exists());
    assert_eq!((log.count("ERROR"), log.count("Evidence goes on")), (1, 1));
}

#[test]
fn a_folder_that_vanishes_is_made_again_or_waited_for() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("evidence");
    let (evidence, mut writer) = open(settings(&folder));
    let mut write = |seq| {
        let said = evidence.admit(item(seq, 8));
        assert!(writer.step());
        (said.map(|said| said.path), evidence.usage())
    };
    write(1);

    // Deleted: created again, and nothing of the old one counts.
    fs::remove_dir_all(&folder).unwrap();
    let (said, usage) = write(2);
    assert_eq!(usage.files, 1);
    assert!(folder.join(said.unwrap()).exists());

    // Another one in its place, as after mounting a disk: the contents of that one count.
    let aside = parent.path().join("aside");
    fs::rename(&folder, &aside).unwrap();
    write(3);
    fs::rename(&folder, parent.path().join("other")).unwrap();
    fs::rename(&aside, &folder).unwrap();
    let (_, usage) = write(4);
    assert_eq!((usage.files, kept(&folder)), (2, vec![2, 4]));

    // Cannot be created: suspended, until it can.
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let (promised, usage) = write(5);
    assert!(usage.suspended.unwrap().contains("evidence"));
    assert_eq!(write(6).0, None);
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    // The attempt that succeeds comes before the next item is handled.
    assert_eq!(write(7).1.suspended, None);
    assert!(folder.join(promised.unwrap()).exists());
    assert_eq!(kept(&folder), [2, 4, 5]);
    assert_eq!(write(8).1.files, 4);
}

#[test]
fn files_deleted_by_others_do_not_count_for_long() {
    let folder = TempDir::new().unwrap();
    let limit = 3 * png_bound(Size::new(8, 8));
    let (evidence, mut writer) = open(EvidenceSettings {
        max_size: limit,
        ..settings(folder.path())
    });
    let mut write = |seq| {
        assert!(evidence.admit(item(seq, 8)).is_some());
        assert!(writer.step());
    };
    (0..40).for_each(&mut write);
    fs::remove_dir_all(folder.path().join("top")).unwrap();
    // The next one finds the oldest gone, the one after that has counted again.
    write(40);
    write(41);
    assert_eq!(kept(folder.path()), [40, 41]);
    assert_usage_is_true(&evidence, folder.path());
}

#[test]
fn a_folder_that_cannot_be_used_at_the_start_does_not_stop_it() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("evidence");
    fs::write(&folder, "in the way").unwrap();
    let (evidence, mut writer) = open(settings(&folder));
    assert!(evidence.usage().suspended.is_some());
    assert_eq!(evidence.admit(item(1, 8)), None);
    assert!(writer.step());
    fs::remove_file(&folder).unwrap();
    assert!(writer.step());
    assert!(evidence.admit(item(2, 8)).is_some());
    assert!(writer.step());
    assert_eq!(kept(&folder), [2]);
}

#[test]
fn the_end_does_not_wait_for_a_disk_that_takes_nothing() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("evidence");
    let log = Log::default();
    let _listening = log.listen();
    let (evidence, writer) = EvidenceSink::open(settings(&folder)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    for seq in 0..5 {
        assert!(evidence.admit(item(seq, 8)).is_some());
    }
    drop(evidence);
    writer.run();
    // Suspended, and abandoned: two lines.
    assert_eq!(log.count("ERROR"), 2);
    assert_eq!(log.count("given_up=5"), 1);
}

#[test]
fn an_end_after_the_disk_came_back_writes_everything() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("evidence");
    let (evidence, mut writer) = open(settings(&folder));
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    for seq in 0..5 {
        assert!(evidence.admit(item(seq, 8)).is_some());
    }
    assert!(writer.step());
    assert!(evidence.usage().suspended.is_some());
    drop(evidence);
    fs::remove_file(&folder).unwrap();
    writer.run();
    assert_eq!(kept(&folder), [0, 1, 2, 3, 4]);
}
