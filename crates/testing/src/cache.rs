//! Folders that take long to make, kept between runs under the digest of what they were made of.
//!
//! ```text
//! <cache>/<name>/lock                held by the one process that looks, makes and removes
//! <cache>/<name>/<digest>/made/      the folder
//! <cache>/<name>/<digest>/contents   the digest of its files
//! ```
//! A folder in use is locked as well, shared, so that only unused folders are removed when
//! their digest is no longer the current one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The name of the folder in its entry.
const MADE: &str = "made";

/// The name of the file beside it.
const CONTENTS: &str = "contents";

/// Folders by name, all made by the same programs.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    makers: Sha256,
}

/// A folder in the cache: it stays as long as this lives, and must not be changed.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    contents: String,
    _in_use: File,
}

impl Cache {
    /// Opens a cache in this folder. `makers` are the files whose content decides what is made:
    /// programs and libraries.
    ///
    /// # Panics
    /// If one of them cannot be read.
    pub fn new(folder: PathBuf, makers: &[&Path]) -> Self {
        let mut digest = Sha256::new();
        for maker in makers {
            add_file(&mut digest, maker);
        }
        Self {
            folder,
            makers: digest,
        }
    }

    /// Returns the folder of this name, which `make` fills unless the same programs have done so
    /// from the same input.
    ///
    /// `make` gets an empty folder, which has another path afterwards. Other processes and threads
    /// wait meanwhile.
    ///
    /// # Panics
    /// If `make` does, if a test has changed the folder, or if a file cannot be read or written.
    pub fn folder(&self, name: &str, input: &[&[u8]], make: impl FnOnce(&Path)) -> Kept {
        let all = self.folder.join(name);
        fs::create_dir_all(&all).unwrap();
        let lock = File::create(all.join("lock")).unwrap();
        lock.lock().unwrap();
        let mut digest = self.makers.clone();
        for part in input {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        let entry = all.join(hex(digest));
        if !entry.exists() {
            remove_unused(&all);
            let new = TempDir::new_in(&all).unwrap();
            let folder = new.path().join(MADE);
            fs::create_dir(&folder).unwrap();
            make(&folder);
            fs::write(new.path().join(CONTENTS), contents(&folder)).unwrap();
            fs::rename(new.path(), &entry).unwrap();
        }
        let in_use = File::open(&entry).unwrap();
        in_use.lock_shared().unwrap();
        let folder = entry.join(MADE);
        let contents = contents(&folder);
        assert_eq!(
            fs::read_to_string(entry.join(CONTENTS)).unwrap(),
            contents,
            "a test has changed {}; remove it",
            entry.display()
        );
        Kept {
            folder,
            contents,
            _in_use: in_use,
        }
    }
}

impl Kept {
    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Returns the digest of its files.
    pub fn contents(&self) -> &str {
        &self.contents
    }
}

/// Removes what no process uses: what other programs have made, and what was not finished.
fn remove_unused(all: &Path) {
    for entry in fs::read_dir(all).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() && File::open(&entry).unwrap().try_lock().is_ok() {
            fs::remove_dir_all(&entry).unwrap();
        }
    }
}

/// Returns the digest of all files in a folder, with their names.
fn contents(folder: &Path) -> String {
    let mut digest = Sha256::new();
    add_folder(&mut digest, folder);
    hex(digest)
}

fn add_folder(digest: &mut Sha256, folder: &Path) {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    digest.update(paths.len().to_le_bytes());
    for path in paths {
        let name = path.file_name().unwrap().as_encoded_bytes();
        digest.update(name.len().to_le_bytes());
        digest.update(name);
        if path.is_dir() {
            add_folder(digest, &path);
        } else {
            add_file(digest, &path);
        }
    }
}

fn add_file(digest: &mut Sha256, path: &Path) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    digest.update(bytes.len().to_le_bytes());
    digest.update(bytes);
}

/// The first 128 bits, which are enough to tell folders apart.
fn hex(digest: Sha256) -> String {
    let bytes = digest.finalize();
    bytes[..16].iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    /// A cache whose only maker is a file with this content.
    fn cache(folder: &TempDir, maker: &str) -> Cache {
        let program = folder.path().join("program");
        fs::write(&program, maker).unwrap();
        Cache::new(folder.path().join("cache"), &[&program])
    }

    fn write(text: &str) -> impl FnOnce(&Path) {
        move |folder| fs::write(folder.join("text"), text).unwrap()
    }

    fn text(kept: &Kept) -> String {
        fs::read_to_string(kept.path().join("text")).unwrap()
    }

    #[test]
    fn a_folder_is_made_once_for_the_same_programs_and_input() {
        let folder = TempDir::new().unwrap();
        let made = Mutex::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                // Not in the thread, where it would read a program that another one writes.
                let cache = cache(&folder, "program 1");
                let made = &made;
                scope.spawn(move || {
                    let make = |folder: &Path| {
                        *made.lock().unwrap() += 1;
                        write("first")(folder);
                    };
                    assert_eq!(text(&cache.folder("bundle", &[b"-v"], make)), "first");
                });
            }
        });
        assert_eq!(made.into_inner().unwrap(), 1);
    }

    #[test]
    fn another_program_and_other_input_make_another_folder() {
        let folder = TempDir::new().unwrap();
        let one = cache(&folder, "program 1").folder("bundle", &[b"-v"], write("first"));
        let two = cache(&folder, "program 1").folder("bundle", &[b"-w"], write("second"));
        let three = cache(&folder, "program 2").folder("bundle", &[b"-v"], write("third"));
        let texts = [&one, &two, &three].map(text);
        assert_eq!(texts, ["first", "second", "third"], "all are in use");
        drop((one, two));
        let four = cache(&folder, "program 3").folder("bundle", &[b"-v"], write("fourth"));
        let all = folder.path().join("cache/bundle");
        let left = fs::read_dir(all).unwrap().count();
        assert_eq!(left, 3, "those in use and the lock");
        assert_eq!([&three, &four].map(text), ["third", "fourth"]);
    }

    #[test]
    fn what_was_not_finished_is_made_again() {
        let folder = TempDir::new().unwrap();
        let failed = thread::scope(|scope| {
            let make = |folder: &Path| {
                write("half")(folder);
                panic!("as a test does");
            };
            let cache = cache(&folder, "program 1");
            scope
                .spawn(move || cache.folder("bundle", &[], make))
                .join()
                .is_err()
        });
        assert!(failed);
        let kept = cache(&folder, "program 1").folder("bundle", &[], write("whole"));
        assert_eq!(text(&kept), "whole");
    }

    #[test]
    #[should_panic(expected = "a test has changed")]
    fn a_folder_that_was_changed_is_not_used() {
        let folder = TempDir::new().unwrap();
        let kept = cache(&folder, "program 1").folder("bundle", &[], write("first"));
        fs::write(kept.path().join("more"), "").unwrap();
        cache(&folder, "program 1").folder("bundle", &[], write("first"));
    }
}
