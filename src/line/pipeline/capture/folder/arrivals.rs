//! Images that arrive in a folder while it is watched, each once it is complete.
//!
//! ```text
//! closed after writing, or moved in ─► inotify ──────────────┐
//!                                                            ├─► a queue ─► the source
//! not reported by the system ─► polling at intervals ────────┘
//! ```
//!
//! A separate thread reads the system's events, so that nothing overflows while inspection is
//! paused. Contains nothing about frames.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::{info, warn};

use super::list;
use crate::pictures::decode;

/// Polling interval if the system reports no arrivals. A file that is unchanged between two polls
/// counts as complete.
const LOOK: Duration = Duration::from_secs(1);

/// File systems that others write to without this system being notified: NFS, SMB, CIFS, SMB 2,
/// FUSE, 9P, Ceph, AFS, VirtualBox; by their numbers in `statfs(2)`.
const REMOTE: [u32; 9] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x786f_4256,
];

/// What arrives in a folder and its subfolders.
#[derive(Debug)]
pub(crate) struct Arrivals {
    arrived: mpsc::Receiver<PathBuf>,
}

impl Arrivals {
    /// Starts watching.
    ///
    /// # Errors
    /// If the folder cannot be listed, or the system cannot create a thread.
    pub(crate) fn watch(folder: &Path) -> io::Result<Self> {
        match Watcher::new(folder) {
            Ok(watcher) => Self::spawn(folder, move |arrived| watcher.run(arrived)),
            Err(why) => {
                info!(
                    folder = %folder.display(),
                    interval = ?LOOK,
                    why = %why,
                    "The folder is looked at at intervals"
                );
                let looker = Looker::new(folder)?;
                Self::spawn(folder, move |arrived| looker.run(arrived))
            }
        }
    }

    fn spawn(
        folder: &Path,
        watch: impl FnOnce(&mpsc::Sender<PathBuf>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, arrived) = mpsc::channel();
        let folder = folder.to_owned();
        // It ends with the folder, or the first file that has no receiver.
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                if let Err(error) = watch(&sender) {
                    warn!(folder = %folder.display(), %error, "The folder can no longer be watched");
                }
            })?;
        Ok(Self { arrived })
    }

    /// Waits for the next image; returns `None` once the folder can no longer be watched.
    pub(crate) fn wait(&self) -> Option<PathBuf> {
        self.arrived.recv().ok()
    }

    /// Returns the images that have arrived and were not taken.
    pub(crate) fn come(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.arrived.try_iter()
    }
}

/// Receives the system's notifications.
struct Watcher {
    events: OwnedFd,
    root: i32,
    /// By watch descriptor.
    folders: HashMap<i32, PathBuf>,
}

impl Watcher {
    fn new(folder: &Path) -> io::Result<Self> {
        // The kernel's type of this number differs between machines; all of them have 32 bits.
        let kind = rustix::fs::statfs(folder)?.f_type as u32;
        if REMOTE.contains(&kind) {
            let problem = "others can write to its file system unheard";
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
        let mut watcher = Self {
            events: inotify::init(CreateFlags::CLOEXEC)?,
            root: 0,
            folders: HashMap::new(),
        };
        watcher.root = watcher.add(folder, &mut |_| ())?;
        Ok(watcher)
    }

    /// Watches a folder and its subfolders; reports the images in them.
    fn add(&mut self, folder: &Path, found: &mut dyn FnMut(PathBuf)) -> io::Result<i32> {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.events, folder, what)?;
        self.folders.insert(watch, folder.to_owned());
        for entry in folder.read_dir()? {
            let entry = entry?;
            if is_hidden(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.add(&path, found)?;
            } else if decode::is_image(&path) {
                found(path);
            }
        }
        Ok(watch)
    }

    fn run(mut self, arrived: &mpsc::Sender<PathBuf>) -> io::Result<()> {
        // Some hundreds of events; the longest has a name of 255 bytes.
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        let events = self.events.try_clone()?;
        let mut reader = inotify::Reader::new(events, &mut buffer);
        loop {
            let event = match reader.next() {
                Err(Errno::INTR) => continue,
                event => event?,
            };
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                warn!("More files came at once than the system notes down: some were not seen");
                continue;
            }
            let is_gone = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
            if what.intersects(is_gone | ReadFlags::UNMOUNT) {
                if event.wd() == self.root {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "it is gone"));
                }
                self.folders.remove(&event.wd());
                continue;
            }
            let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name())
            else {
                continue;
            };
            let name = OsStr::from_bytes(name.to_bytes());
            let path = folder.join(name);
            let mut found = Vec::new();
            if is_hidden(name) {
                continue;
            } else if what.contains(ReadFlags::ISDIR) {
                // It may be gone again. What is written into it from here on is reported; what is
                // already there is checked now, and once more if it was not complete.
                self.add(&path, &mut |image| found.push(image)).ok();
                found.sort_unstable();
            } else if !what.contains(ReadFlags::CREATE) && decode::is_image(&path) {
                found.push(path);
            }
            for image in found {
                if arrived.send(image).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Polls for arrivals.
struct Looker {
    folder: PathBuf,
    known: BTreeMap<PathBuf, Known>,
}

struct Known {
    length: u64,
    modified: Option<SystemTime>,
    is_given: bool,
}

impl Looker {
    /// What is there at the first poll is not an arrival.
    fn new(folder: &Path) -> io::Result<Self> {
        let mut looker = Self {
            folder: folder.to_owned(),
            known: BTreeMap::new(),
        };
        looker.look()?;
        for known in looker.known.values_mut() {
            known.is_given = true;
        }
        Ok(looker)
    }

    /// Returns the images that have become complete since the last poll.
    fn look(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut images = Vec::new();
        list(&self.folder, &mut images, &mut Vec::new())?;
        let mut before = std::mem::take(&mut self.known);
        let mut whole = Vec::new();
        for image in images {
            // One that disappeared in between has not arrived.
            let Ok(metadata) = fs::metadata(&image) else {
                continue;
            };
            let (length, modified) = (metadata.len(), metadata.modified().ok());
            let same = before
                .remove(&image)
                .filter(|it| (it.length, it.modified) == (length, modified));
            if same.as_ref().is_some_and(|known| !known.is_given) {
                whole.push(image.clone());
            }
            let known = Known {
                length,
                modified,
                is_given: same.is_some(),
            };
            self.known.insert(image, known);
        }
        whole.sort_unstable();
        Ok(whole)
    }

    fn run(mut self, arrived: &mpsc::Sender<PathBuf>) -> io::Result<()> {
        loop {
            thread::park_timeout(LOOK);
            for image in self.look()? {
                if arrived.send(image).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Much longer than it takes on a busy machine.
    const LIMIT: Duration = Duration::from_secs(60);

    fn next(arrivals: &Arrivals) -> PathBuf {
        arrivals.arrived.recv_timeout(LIMIT).expect("an image")
    }

    #[test]
    fn an_image_comes_when_it_is_closed_or_moved_in_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let arrivals = Arrivals::watch(folder.path()).unwrap();
        let mut slow = fs::File::create(at("slow.png")).unwrap();
        slow.write_all(b"half").unwrap();
        fs::write(at("notes.txt"), b"none").unwrap();
        fs::write(at(".hidden.png"), b"none").unwrap();
        fs::write(at("part.png.tmp"), b"whole").unwrap();
        fs::rename(at("part.png.tmp"), at("part.png")).unwrap();
        assert_eq!(next(&arrivals), at("part.png"));
        slow.write_all(b"whole").unwrap();
        drop(slow);
        assert_eq!(next(&arrivals), at("slow.png"));
        // Another picture under the name of an earlier one.
        fs::write(at("part.png"), b"other").unwrap();
        assert_eq!(next(&arrivals), at("part.png"));
        assert_eq!(arrivals.come().next(), None);
    }

    #[test]
    fn images_in_folders_that_come_later_are_seen() {
        let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let arrivals = Arrivals::watch(folder.path()).unwrap();
        let shift = beside.path().join("shift");
        fs::create_dir_all(shift.join("early")).unwrap();
        fs::write(shift.join("early/1.png"), b"1").unwrap();
        let moved = folder.path().join("shift");
        fs::rename(&shift, &moved).unwrap();
        assert_eq!(next(&arrivals), moved.join("early/1.png"));
        fs::write(moved.join("early/2.png"), b"2").unwrap();
        assert_eq!(next(&arrivals), moved.join("early/2.png"));
    }

    #[test]
    fn a_folder_that_goes_away_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let watched = folder.path().join("watched");
        fs::create_dir(&watched).unwrap();
        let arrivals = Arrivals::watch(&watched).unwrap();
        fs::remove_dir(&watched).unwrap();
        assert_eq!(arrivals.wait(), None);
    }

    #[test]
    fn where_one_has_to_look_an_image_is_whole_when_it_was_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("old.png"), b"old").unwrap();
        let mut looker = Looker::new(folder.path()).unwrap();
        let mut look = || looker.look().unwrap();
        fs::write(at("new.png"), b"ha").unwrap();
        assert_eq!(look(), [] as [PathBuf; 0]);
        fs::write(at("new.png"), b"half").unwrap();
        assert_eq!(look(), [] as [PathBuf; 0]);
        assert_eq!(look(), [at("new.png")]);
        assert_eq!(look(), [] as [PathBuf; 0]);
        fs::write(at("old.png"), b"another").unwrap();
        assert_eq!(look(), [] as [PathBuf; 0]);
        assert_eq!(look(), [at("old.png")]);
    }
}
