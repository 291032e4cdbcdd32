//! Finds where the entries continue after damage.
//!
//! An entry does not say its position, but its checksum is over it. So every place that could be
//! the start of an entry is tried, with every position that it could have: an entry takes at least
//! [`SMALLEST`] bytes, so that not many can have been in the damaged part. Text and zeros are not
//! the start of an entry, so there are few such places, unless they are crafted: [`EFFORT`] bounds
//! that.

use std::ops::Range;

use crate::bytes::ByteReader;
use crate::entry::{SMALLEST, plausible};

/// Bytes of checksums that a search may compute: a tenth of a second or so (not measured).
const EFFORT: u64 = 64 << 20;

/// The cost of trying a position, in bytes of a checksum (not measured).
const PER_POSITION: u64 = 256;

/// Returns the first whole entry at `skip` or later in the bytes, of one of these positions: where
/// it begins, and its position.
pub(crate) fn find(bytes: &[u8], skip: usize, positions: Range<u64>) -> Option<(usize, u64)> {
    let mut effort = EFFORT;
    for offset in skip..bytes.len() {
        let rest = &bytes[offset..];
        let Some((length, body)) = plausible(rest) else {
            continue;
        };
        let stored = ByteReader(&rest[4..]).u32()?;
        let content = content(length, body);
        let missing = (offset as u64).div_ceil(SMALLEST) + 1;
        let last = positions.end.min(positions.start.saturating_add(missing));
        effort = effort.checked_sub(body.len() as u64)?;
        for position in positions.start..last {
            if with_position(position, &content) == stored {
                return Some((offset, position));
            }
            effort = effort.checked_sub(PER_POSITION)?;
        }
    }
    None
}

/// Returns the part of the checksum that does not depend on the position.
fn content(length: u32, body: &[u8]) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(body);
    hasher
}

fn with_position(position: u64, content: &crc32fast::Hasher) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.combine(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry;

    /// Entries of these sizes from position 10 on, and where each begins.
    fn entries(sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let starts = (10..).zip(sizes).map(|(position, &size)| {
            let start = bytes.len();
            let stream = (position % 2 == 0).then_some(("camera", position));
            entry::write(&mut bytes, position, stream, &vec![b'x'; size]);
            start
        });
        let starts = starts.collect();
        (bytes, starts)
    }

    #[test]
    fn behind_any_number_of_damaged_entries_the_next_whole_one_is_found() {
        let (bytes, starts) = entries(&[0, 300, 5, 0, 0, 0, 40, 1000, 0, 7]);
        for (from, &start) in starts.iter().enumerate() {
            for (to, &end) in starts.iter().enumerate().skip(from + 1) {
                for filler in [0, b'x', 0xff] {
                    let mut damaged = bytes[start..].to_vec();
                    damaged[..end - start].fill(filler);
                    let position = 10 + from as u64;
                    let found = find(&damaged, 1, position + 1..20);
                    assert_eq!(found, Some((end - start, 10 + to as u64)));
                    assert_eq!(find(&damaged, 1, position + 1..10 + to as u64), None);
                }
            }
        }
    }

    #[test]
    fn text_and_zeros_are_no_entries_and_a_search_in_what_resembles_them_ends() {
        assert_eq!(find(&vec![0; 1 << 20], 1, 1..u64::MAX), None);
        assert_eq!(find(&vec![b'{'; 1 << 20], 1, 1..u64::MAX), None);
        // Every ninth byte begins what could be an entry.
        let resembling = [1, 0, 0, 0, 9, 9, 9, 9, 0].repeat(1 << 17);
        assert_eq!(find(&resembling, 1, 1..u64::MAX), None);
        let (bytes, _) = entries(&[0, 300]);
        assert_eq!(find(&bytes[..bytes.len() - 1], 1, 11..20), None);
    }
}
