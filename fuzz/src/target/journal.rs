//! The journal, whose files are damaged, cut, copied and removed between two openings.
//!
//! The input is a script: each byte is a step, and the bytes after it are its arguments. A checksum
//! can be corrected, so that what comes after it is reached as well.

use std::fs;
use std::path::{Path, PathBuf};

use flawd_journal::{Durability, Journal, MIN_CAPACITY, Options, Position};
use tempfile::TempDir;

use super::{KIB, Limits, MIB, Target};

pub(super) const TARGET: Target = Target {
    name: "journal",
    read,
    limits: Limits {
        peak: 2 * MIB,
        peak_per_byte: 256,
        total: 64 * MIB,
        total_per_byte: 4 * MIB,
    },
    longest: KIB,
    words: &[],
};

/// Steps of a script; more find nothing new and are slow.
const STEPS: usize = 64;

/// Bytes of a frame before its body: magic, version, length, checksum.
const FRAME: usize = 20;

fn read(input: &[u8]) {
    // In memory, if there is such a place.
    let place = ["/dev/shm", "/tmp"].map(Path::new);
    let place = place.into_iter().find(|place| place.is_dir());
    let folder = tempfile::tempdir_in(place.expect("a place for files")).expect("a folder");
    let mut line = Line {
        journal: open(folder.path()),
        folder,
    };
    let mut script = Script(input);
    for _ in 0..STEPS {
        if line.step(&mut script).is_none() {
            break;
        }
    }
    line.journal = None;
    line.journal = open(line.folder.path());
    line.read_all();
}

fn open(folder: &Path) -> Option<Journal> {
    let options = Options {
        capacity: MIN_CAPACITY,
        sync: Durability::System,
    };
    Journal::open(folder, options).ok()
}

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<usize> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(byte))
    }

    fn number(&mut self) -> Option<usize> {
        Some(self.byte()? << 8 | self.byte()?)
    }
}

struct Line {
    folder: TempDir,
    /// `None` if it could not be opened.
    journal: Option<Journal>,
}

impl Line {
    /// Takes one step; `None` if the script has ended.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 12 {
            0..4 => {
                let size = script.byte()?;
                self.append(script.byte()?, size);
            }
            4 => {
                let size = script.number()? % (18 * KIB);
                self.append(script.byte()?, size);
            }
            5 => self.read_all(),
            6 => {
                let count = script.byte()? as u64;
                if let Some(journal) = &mut self.journal {
                    let position = journal.oldest().get().saturating_add(count);
                    journal.acknowledge(Position::new(position));
                }
            }
            damage => {
                self.journal = None;
                // If there is no such place, nothing is damaged.
                self.damage(damage, script);
                self.journal = open(self.folder.path());
                self.read_all();
            }
        }
        Some(())
    }

    fn append(&mut self, stream: usize, size: usize) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let stream = ["left", "right", ""][stream % 3];
        let payload = vec![b'a' + (size % 26) as u8; size];
        let seq = journal.next_seq(stream);
        let number = (!stream.is_empty()).then_some((stream, seq));
        let position = journal.append(number, &payload);
        if journal.commit().is_ok() {
            let read = journal.read(position, 1).expect("it was just written");
            assert!(read.len() == 1 && read[0].payload == payload);
        }
    }

    /// Reads to the end; every read makes progress.
    fn read_all(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let mut from = journal.oldest();
        loop {
            match journal.read(from, 5) {
                Ok(entries) => {
                    let Some(last) = entries.last() else { break };
                    assert!(entries.len() <= 5 && entries[0].position >= from);
                    from = last.position.next();
                }
                Err(error) => {
                    assert!(error.skip_to > error.position && error.position >= from);
                    from = error.skip_to;
                }
            }
        }
        assert!(journal.oldest() <= journal.end());
        assert!(journal.pending() <= journal.end().get());
    }

    fn damage(&self, how: usize, script: &mut Script<'_>) -> Option<()> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path())
            .ok()?
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(|path| !path.ends_with("lock") && path.is_file())
            .collect();
        files.sort();
        let victim = files.get(script.byte()? % files.len().max(1))?;
        let mut bytes = fs::read(victim).ok()?;
        let at = script.number()?;
        match how {
            7 => *bytes.get_mut(at)? ^= script.byte()? as u8,
            8 => bytes.truncate(at),
            9 => {
                let copy = format!("{at:020}.segment");
                return fs::write(self.folder.path().join(copy), &bytes).ok();
            }
            10 => return fs::remove_file(victim).ok(),
            _ => {
                // Eight changed bytes with a correct checksum.
                let start = if script.byte()?.is_multiple_of(2) {
                    0
                } else {
                    bytes.len() / 2
                };
                let place = start + FRAME + at % 80;
                let value = script.number()? as u64;
                let value = match value {
                    0xff00.. => u64::MAX - (value & 0xff),
                    0xfe00.. => (1 << 63) - 128 + (value & 0xff),
                    small => small,
                };
                let field = bytes.get_mut(place..place + 8)?;
                field.copy_from_slice(&value.to_le_bytes());
                seal(&mut bytes, start)?;
            }
        }
        fs::write(victim, &bytes).ok()
    }
}

/// Corrects the checksum of the frame at `start`.
fn seal(bytes: &mut [u8], start: usize) -> Option<()> {
    let length = bytes.get(start + 12..start + 16)?.try_into().ok()?;
    let length = u32::from_le_bytes(length) as usize;
    let body = start + FRAME;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[start..start + 16]);
    hasher.update(bytes.get(body..body.checked_add(length)?)?);
    let checksum = hasher.finalize().to_le_bytes();
    bytes[start + 16..body].copy_from_slice(&checksum);
    Some(())
}
