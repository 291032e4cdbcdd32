//! Reads bytes from a file of which parts may be unreadable.
//!
//! A disk with a bad place fails every read that touches it. So such a read is repeated page by
//! page, a few times: this returns what is before the bad place, and what the disk refused only for
//! a moment.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// The most that one bad place costs. Disks and the page cache do not work in smaller units.
pub(crate) const PAGE: u64 = 4096;

/// How often the same place is tried.
const TRIES: u32 = 3;

/// Reads up to `count` bytes from `offset` on. Fewer if the file ends, or if a place cannot be
/// read: then the error says why.
pub(crate) fn read(file: &File, offset: u64, count: u64) -> (Vec<u8>, Option<io::Error>) {
    let Ok(count) = usize::try_from(count) else {
        return (Vec::new(), Some(ErrorKind::OutOfMemory.into()));
    };
    let mut bytes = vec![0; count];
    let mut filled = 0;
    let mut tries = 0;
    let mut fault = None;
    while filled < count {
        let at = offset + filled as u64;
        let ask = if tries == 0 {
            count
        } else {
            count.min(filled + to_the_next_page(at))
        };
        match file.read_at(&mut bytes[filled..ask], at) {
            Ok(0) => break,
            Ok(more) => {
                filled += more;
                tries = 0;
            }
            Err(error) => {
                tries += 1;
                if tries == TRIES {
                    fault = Some(error);
                    break;
                }
            }
        }
    }
    bytes.truncate(filled);
    (bytes, fault)
}

/// Reads up to `count` bytes from `offset` on, with zeros for pages that cannot be read, and
/// returns how many bytes those are. Fewer if the file ends.
pub(crate) fn read_around(file: &File, offset: u64, count: u64) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let mut refused = 0;
    while (bytes.len() as u64) < count {
        let at = offset + bytes.len() as u64;
        let (more, fault) = read(file, at, count - bytes.len() as u64);
        bytes.extend(more);
        if fault.is_none() {
            break;
        }
        let at = offset + bytes.len() as u64;
        let hole = (to_the_next_page(at) as u64).min(count - bytes.len() as u64);
        bytes.resize(bytes.len() + index(hole), 0);
        refused += hole;
    }
    (bytes, refused)
}

/// Returns the bytes from here to the end of the page, at least one.
fn to_the_next_page(offset: u64) -> usize {
    index(PAGE - offset % PAGE)
}

/// Converts a number of bytes that are in memory.
pub(crate) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_ends_early_gives_what_it_has_and_no_error() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[7; 5000]).unwrap();
        for (offset, count, expected) in [(0, 5000, 5000), (0, 9000, 5000), (4990, 100, 10)] {
            let (bytes, fault) = read(&file, offset, count);
            assert_eq!((bytes, fault.is_none()), (vec![7; expected], true));
            let around = read_around(&file, offset, count);
            assert_eq!(around, (vec![7; expected], 0));
        }
        assert!(read(&file, 6000, 10).0.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_an_error_or_zeros_and_always_ends() {
        let place = tempfile::tempdir().unwrap();
        let folder = File::open(place.path()).unwrap();
        let (bytes, fault) = read(&folder, 0, 10_000);
        assert!(bytes.is_empty() && fault.is_some());
        let around = read_around(&folder, 100, 10_000);
        assert_eq!(around, (vec![0; 10_000], 10_000));
    }
}
