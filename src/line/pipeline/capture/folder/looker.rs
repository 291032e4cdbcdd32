//! Polls a folder for images that arrive, where the system does not report them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use super::listing::list;

/// Polling interval if the system reports no arrivals. A file that is unchanged between two polls
/// counts as complete.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Polls for arrivals.
pub(crate) struct Looker {
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
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
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

    pub(crate) fn run(mut self, arrived: &mpsc::Sender<PathBuf>) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
