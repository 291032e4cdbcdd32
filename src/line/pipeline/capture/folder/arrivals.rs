//! Images that arrive in a folder while it is watched, each once it is complete.
//!
//! ```text
//! closed after writing, or moved in ─► Watcher (inotify) ────┐
//!                                                            ├─► a queue ─► the source
//! not reported by the system ─► Looker, at intervals ────────┘
//! ```
//!
//! A separate thread reads the system's events, so that nothing overflows while inspection is
//! paused. Contains nothing about frames.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::{io, thread};

use tracing::{info, warn};

use super::looker::{LOOK, Looker};
use super::watcher::Watcher;

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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

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
    fn images_in_a_folder_that_is_renamed_come_under_its_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("shift/early")).unwrap();
        let arrivals = Arrivals::watch(folder.path()).unwrap();
        for (from, to) in [("shift", "night"), ("night", "day")] {
            fs::rename(at(from), at(to)).unwrap();
            for name in ["1.png", "early/2.png"] {
                // Complete as soon as it is there: one that is not may be given twice.
                let image = at(to).join(name);
                fs::write(at("part.tmp"), b"1").unwrap();
                fs::rename(at("part.tmp"), &image).unwrap();
                assert_eq!(next(&arrivals), image);
                fs::remove_file(image).unwrap();
            }
        }
    }

    #[test]
    fn images_in_a_folder_that_was_moved_away_do_not_come() {
        let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("shift/early")).unwrap();
        let arrivals = Arrivals::watch(folder.path()).unwrap();
        let away = beside.path().join("shift");
        fs::rename(at("shift"), &away).unwrap();
        // What comes now is seen after the move was.
        fs::write(at("1.png"), b"1").unwrap();
        assert_eq!(next(&arrivals), at("1.png"));
        fs::write(away.join("early/2.png"), b"2").unwrap();
        fs::write(at("3.png"), b"3").unwrap();
        assert_eq!(next(&arrivals), at("3.png"));
    }

    #[test]
    fn another_folder_in_the_place_of_the_watched_one_is_said_after_what_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("monday")).unwrap();
        fs::create_dir_all(at("tuesday")).unwrap();
        symlink(at("monday"), at("today")).unwrap();
        let linked = Arrivals::watch(&at("today")).unwrap();
        fs::create_dir_all(at("line/parts")).unwrap();
        let above = Arrivals::watch(&at("line/parts")).unwrap();

        fs::write(at("monday/1.png"), b"1").unwrap();
        fs::remove_file(at("today")).unwrap();
        symlink(at("tuesday"), at("today")).unwrap();
        fs::rename(at("line"), at("old")).unwrap();
        fs::create_dir_all(at("line/parts")).unwrap();
        assert_eq!(next(&linked), at("today/1.png"));
        assert_eq!(linked.wait(), None);
        assert_eq!(above.wait(), None);
    }
}
