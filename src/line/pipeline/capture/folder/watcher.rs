//! Follows a folder and its subfolders by the system's notifications.
//!
//! A watch follows a folder wherever it is moved, and knows no names. So what is moved away is
//! given up, what is moved in is watched under its new name, and once a second the watched path is
//! compared with the folder that is watched: another one may be mounted there, or a link may lead
//! elsewhere.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::{error, warn};

use super::listing::{at, is_hidden};
use crate::files::identity::Identity;
use crate::pictures::decode;

/// Time between two comparisons of the path with the folder that is watched.
const COMPARE: Duration = Duration::from_secs(1);

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

/// Receives the system's notifications.
pub(crate) struct Watcher {
    events: OwnedFd,
    path: PathBuf,
    identity: Identity,
    root: i32,
    /// By watch descriptor.
    folders: HashMap<i32, PathBuf>,
    /// What was found in folders that have come, as it was then, and when. A notification of what
    /// happened before says nothing new about it, and comes within moments.
    found: HashMap<PathBuf, (State, Instant)>,
}

/// Length, and time of the last change.
type State = (u64, SystemTime);

impl Watcher {
    /// Watches a folder and its subfolders.
    ///
    /// # Errors
    /// If the system does not report everything that happens there.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        // The kernel's type of this number differs between machines; all of them have 32 bits.
        let kind = rustix::fs::statfs(folder)?.f_type as u32;
        if REMOTE.contains(&kind) {
            let problem = "others can write to its file system unheard";
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
        let mut watcher = Self {
            events: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            path: folder.to_owned(),
            identity: Identity::of(folder)?,
            root: 0,
            folders: HashMap::new(),
            found: HashMap::new(),
        };
        watcher.root = watcher.add(folder, &mut Vec::new())?;
        Ok(watcher)
    }

    /// Watches a folder and its subfolders, and adds the images of those that were not watched to
    /// `found`.
    fn add(&mut self, folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<i32> {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.events, folder, what)
            .map_err(|errno| at(folder, errno.into()))?;
        let before = self.folders.insert(watch, folder.to_owned());
        let is_new = before.is_none_or(|before| before != folder);
        for entry in folder.read_dir().map_err(|error| at(folder, error))? {
            let entry = entry.map_err(|error| at(folder, error))?;
            if is_hidden(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                match self.add(&path, found) {
                    // It has gone in between.
                    Err(error) if is_gone(&error) => {}
                    added => drop(added?),
                }
            } else if is_new && decode::is_image(&path) {
                found.push(path);
            }
        }
        Ok(watch)
    }

    /// Watches a folder that has come, and returns the images in it: what is written into it from
    /// here on is reported; what is already there is checked now, and once more if it was not
    /// complete then.
    fn follow(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        match self.add(folder, &mut found) {
            Err(error) if !is_gone(&error) => error!(
                folder = %folder.display(),
                %error,
                "Images that come into a folder are not seen: it cannot be watched"
            ),
            _ => {}
        }
        for image in &found {
            if let Some(state) = state(image) {
                self.found.insert(image.clone(), (state, Instant::now()));
            }
        }
        found.sort_unstable();
        found
    }

    /// Gives up a folder that was moved away, and its subfolders.
    fn forget(&mut self, folder: &Path) {
        self.folders.retain(|&watch, path| {
            let stays = !path.starts_with(folder);
            if !stays {
                // If the folder was deleted meanwhile, the watch went with it.
                inotify::remove_watch(&self.events, watch).ok();
            }
            stays
        });
    }

    /// Sends the images that arrive until `arrived` has no receiver.
    ///
    /// # Errors
    /// If the folder is gone, or another one is in its place.
    pub(crate) fn run(mut self, arrived: &mpsc::Sender<PathBuf>) -> io::Result<()> {
        // Some hundreds of events; the longest has a name of 255 bytes.
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        let events = self.events.try_clone()?;
        let mut reader = inotify::Reader::new(events, &mut buffer);
        let mut compared = Instant::now();
        let mut is_replaced = false;
        loop {
            if reader.is_buffer_empty() && compared.elapsed() >= COMPARE {
                compared = Instant::now();
                self.found.retain(|_, (_, at)| at.elapsed() < COMPARE);
                is_replaced = !Identity::of(&self.path).is_ok_and(|it| it == self.identity);
            }
            let images = match reader.next() {
                Ok(event) => self.on_event(event.wd(), event.events(), event.file_name())?,
                Err(Errno::INTR) => continue,
                // What was reported before has been taken.
                Err(Errno::AGAIN) if is_replaced => {
                    let problem = "it is gone, or another folder is in its place";
                    return Err(io::Error::new(io::ErrorKind::NotFound, problem));
                }
                Err(Errno::AGAIN) => {
                    self.wait()?;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            for image in images {
                if arrived.send(image).is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Waits for events, at most until the next comparison.
    fn wait(&self) -> io::Result<()> {
        let limit = Timespec::try_from(COMPARE).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::new(&self.events, PollFlags::IN)],
            Some(&limit),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the images that an event reports.
    fn on_event(
        &mut self,
        watch: i32,
        what: ReadFlags,
        name: Option<&CStr>,
    ) -> io::Result<Vec<PathBuf>> {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            warn!("More files came at once than the system notes down: some were not seen");
            // A folder may be among what was not noted down.
            return Ok(self.follow(&self.path.clone()));
        }
        let is_end = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::UNMOUNT;
        if watch == self.root && what.intersects(is_end | ReadFlags::MOVE_SELF) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is gone"));
        }
        if what.intersects(is_end) {
            self.folders.remove(&watch);
        }
        let (Some(folder), Some(name)) = (self.folders.get(&watch), name) else {
            return Ok(Vec::new());
        };
        let name = OsStr::from_bytes(name.to_bytes());
        let path = folder.join(name);
        if is_hidden(name) {
            return Ok(Vec::new());
        }
        let is_leaving = what.contains(ReadFlags::MOVED_FROM);
        if what.contains(ReadFlags::ISDIR) {
            if is_leaving {
                self.forget(&path);
                return Ok(Vec::new());
            }
            return Ok(self.follow(&path));
        }
        let is_complete = !is_leaving && !what.contains(ReadFlags::CREATE);
        let is_known = || {
            let found = self.found.get(&path);
            found.is_some_and(|(found, _)| state(&path).is_none_or(|now| now == *found))
        };
        Ok((is_complete && decode::is_image(&path) && !is_known())
            .then_some(path)
            .into_iter()
            .collect())
    }
}

/// Returns the state of a file, unless it has gone.
fn state(file: &Path) -> Option<State> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Returns whether a folder disappeared before it could be watched or listed.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}
