//! Recovery: from the existing files to a working journal, whatever happened to it; a torn end is cut.
//!
//! The head and the segments both record the journal's name, the last numbers, and how far entries
//! were written. The larger of the two counts, so that either may be damaged and no number is given
//! again.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::OpenError;
use crate::folder::Folder;
use crate::found::Found;
use crate::head::{Head, Record};
use crate::options::Options;
use crate::segment::{self, Segment};

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that can be read and are not acknowledged, including those that the disk did not
    /// give back now and may give back when they are read, as far as something else records them.
    pub entries: u64,
    /// Entries that were committed, not acknowledged, and lost through damage. The same loss is
    /// found again until what follows it is acknowledged.
    pub lost: u64,
    /// Segments with parts that are damaged, missing, or were not given back by the disk.
    pub damaged_segments: u64,
    /// Bytes after the last entry that were not a whole entry, and were cut off. Without damage
    /// this is what a kill or a power loss left of a commit.
    pub cut_bytes: u64,
    /// True if entries were found but no readable head: acknowledged entries may come again.
    pub head_lost: bool,
    /// Entries dropped to make room, in the journal's whole previous life, as far as known.
    pub dropped_before: u64,
    /// Entries that could not be written, in the journal's whole previous life.
    pub unwritten_before: u64,
}

/// A file that is named like a segment but holds no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Useless {
    /// The position in its name.
    pub(crate) first: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// A journal's parts, ready for use.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) record: Record,
    /// In order, without overlap.
    pub(crate) segments: VecDeque<Segment>,
    /// In order.
    pub(crate) useless: Vec<Useless>,
    /// The newest segment, if more can be written to it.
    pub(crate) newest: Option<File>,
    pub(crate) report: Recovery,
}

/// Reads what is there, repairs its end, and creates a head if there is none.
pub(crate) fn recover(folder: &mut Folder, options: &Options) -> Result<Recovered, OpenError> {
    let (loaded, refused) = Head::load(folder)?;
    let (head, stored) = loaded.unzip();
    let mut found = find(folder)?;
    let mut report = Recovery {
        head_lost: stored.is_none() && !found.is_empty(),
        ..Recovery::default()
    };
    let written = stored.as_ref().map(|record| record.written);
    let mut record = match stored {
        Some(record) => record,
        None => Record {
            id: lost_id(folder, &found, refused)?,
            ..Record::default()
        },
    };
    report.dropped_before = record.dropped;
    report.unwritten_before = record.unwritten;

    for found in &mut found {
        found.claim(&record.id);
    }
    walk(&mut found, written);
    if let Some(oldest) = found.iter().find(|found| found.is_ours()) {
        record.oldest = record.oldest.max(oldest.segment.first);
    }
    count_losses(&found, &record, written, &mut report);
    advance(&mut record, &found);
    let newest = match found.last() {
        Some(newest) => repair(folder, newest, options, &mut report)?,
        None => None,
    };
    let (segments, useless) = divide(found);
    report.entries = segments
        .iter()
        .map(|segment| segment.from(record.oldest))
        .sum();

    Ok(Recovered {
        head: store(folder, head, &record, options)?,
        record,
        segments,
        useless,
        newest,
        report,
    })
}

/// Opens all segments, in order.
fn find(folder: &Folder) -> Result<Vec<Found>, OpenError> {
    let firsts = folder.segments().map_err(|source| OpenError::Io {
        what: "list",
        path: folder.path().to_owned(),
        source,
    })?;
    let found = firsts.into_iter().map(|first| Found::open(folder, first));
    found.collect()
}

/// Writes the record to the head, which is created if there is none.
fn store(
    folder: &mut Folder,
    head: Option<Head>,
    record: &Record,
    options: &Options,
) -> Result<Head, OpenError> {
    let stored = match head {
        Some(mut head) => (head.store(folder, record, true, options.waits())).map(|()| head),
        None => Head::create(folder, record),
    };
    stored.map_err(|source| OpenError::Io {
        what: "write",
        path: folder.head(),
        source,
    })
}

/// Returns the journal's id if its head is lost: that of the newest segment, else a new one.
///
/// # Errors
/// If the head was refused and no segment has an id: under a new one everything there would be
/// foreign.
fn lost_id(
    folder: &Folder,
    found: &[Found],
    refused: Option<io::Error>,
) -> Result<String, OpenError> {
    match (newest_id(found), refused) {
        (Some(id), _) => Ok(id),
        (None, None) => new_id(folder),
        (None, Some(source)) => Err(OpenError::Io {
            what: "read",
            path: folder.head(),
            source,
        }),
    }
}

/// Brings the record up to what was found. The losses are counted by now, and are not counted again.
fn advance(record: &mut Record, found: &[Found]) {
    for found in found {
        if let Some(header) = &found.header {
            record.streams.merge(&header.streams);
        }
        record.streams.merge(&found.streams);
    }
    let newest = found.iter().rev().find(|found| found.is_ours());
    record.written = newest.map_or(record.oldest, |newest| newest.segment.end);
    // If a header is damaged, the file name still says which positions were given.
    let ends = found.iter().map(|found| found.segment.end);
    record.end = ends.fold(record.end.max(record.oldest), u64::max);
    // Nothing follows the newest one that would record what is in it.
    let hidden = newest.map_or(0, |newest| newest.segment.hidden);
    record.end += hidden;
    record.streams.leap(hidden);
}

/// Divides what was found into the journal's segments and the rest. The newest one is kept for
/// writing, even if it is empty.
fn divide(found: Vec<Found>) -> (VecDeque<Segment>, Vec<Useless>) {
    let last = found.len().saturating_sub(1);
    let (mut segments, mut useless) = (VecDeque::new(), Vec::new());
    for (index, found) in found.into_iter().enumerate() {
        if found.is_ours() && (index == last || !found.segment.is_empty()) {
            segments.push_back(found.segment);
        } else {
            useless.push(Useless {
                first: found.segment.first,
                size: found.segment.size,
            });
        }
    }
    (segments, useless)
}

fn newest_id(found: &[Found]) -> Option<String> {
    found
        .iter()
        .rev()
        .find_map(|found| found.id().map(str::to_owned))
}

/// Returns 12 random hexadecimal digits.
fn new_id(folder: &Folder) -> Result<String, OpenError> {
    let mut random = [0; 6];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| OpenError::Io {
        what: "draw a random name for",
        path: folder.path().to_owned(),
        source: errno.into(),
    })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads the entries of all segments. `written` is where they end according to the head.
fn walk(found: &mut [Found], written: Option<u64>) {
    let mut said = written;
    let mut limit = u64::MAX;
    for this in found.iter_mut().rev().filter(|found| found.is_ours()) {
        this.walk(said, limit);
        limit = this.segment.first;
        let follows = this.header.as_ref().map(|header| header.follows);
        said = Some(follows.unwrap_or(limit));
    }
}

/// Compares how far each segment goes with how far it went according to what follows it.
fn count_losses(found: &[Found], record: &Record, written: Option<u64>, report: &mut Recovery) {
    let mut known = written.unwrap_or(u64::MAX);
    // Without the head, it is unknown what is missing at the end.
    let mut said = vec![written.unwrap_or(0); found.len()];
    for index in (1..found.len()).rev() {
        let next = &found[index];
        known = next.header.as_ref().map_or(known, |header| header.follows);
        said[index - 1] = known.min(next.segment.first);
    }
    let mut reached = record.oldest;
    for (this, said) in found.iter().zip(said) {
        let segment = &this.segment;
        let gaps = segment.gaps.iter();
        let gone: u64 = gaps
            .map(|gap| gap.to.saturating_sub(gap.from.max(record.oldest)))
            .sum();
        reached = reached.max(segment.end);
        let lost = gone + said.saturating_sub(reached);
        reached = reached.max(said);
        report.lost += lost;
        report.damaged_segments += u64::from(lost > 0 || !this.is_whole());
    }
    // The segments were deleted.
    report.lost += written.unwrap_or(0).saturating_sub(reached);
}

/// Cuts off what is not an entry, and opens the segment for more. A damaged one is left as it is.
fn repair(
    folder: &Folder,
    newest: &Found,
    options: &Options,
    report: &mut Recovery,
) -> Result<Option<File>, OpenError> {
    if !newest.is_whole() {
        return Ok(None);
    }
    let path = folder.segment(newest.segment.first);
    let mut open = || {
        let file = File::options().read(true).write(true).open(&path)?;
        let torn = newest.torn(&file);
        if torn > 0 {
            // Remains there could later pass for an entry, once others are before it.
            segment::erase(&file, newest.segment.length, torn)?;
            if options.waits() {
                file.sync_data()?;
            }
        }
        report.cut_bytes = torn;
        Ok(file)
    };
    let file = open().map_err(|source| OpenError::Io {
        what: "repair",
        path: path.clone(),
        source,
    })?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry;
    use crate::options::Durability;
    use crate::reader::Reader;
    use crate::segment::Header;
    use crate::streams::Streams;

    #[test]
    fn entries_that_a_refusing_disk_kept_all_the_same_do_not_come_twice() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), false).unwrap();
        // Positions 0 to 4, of which 3 and 4 were considered lost and written again.
        for (first, count) in [(0, 5), (3, 4)] {
            let header = Header {
                id: "0123456789ab".to_owned(),
                first,
                follows: first,
                streams: Streams::default(),
            };
            let (mut segment, file) = segment::create(&mut folder, &header, 0, 4096).unwrap();
            for position in first..first + count {
                let mut bytes = Vec::new();
                entry::write(&mut bytes, position, None, format!("of {first}").as_bytes());
                segment.append(&file, &bytes, 1, false).unwrap();
            }
        }
        let options = Options {
            capacity: 65536,
            sync: Durability::System,
        };
        let found = recover(&mut folder, &options).unwrap();
        assert_eq!((found.report.entries, found.report.lost), (7, 0));
        assert_eq!(found.record.end, 7);
        let read = Reader::default().read(&folder, &found.segments, 0, 100);
        let read: Vec<(u64, Vec<u8>)> = read
            .unwrap()
            .into_iter()
            .map(|entry| (entry.position.0, entry.payload))
            .collect();
        let expected: Vec<(u64, Vec<u8>)> = (0..7)
            .map(|position| (position, if position < 3 { "of 0" } else { "of 3" }))
            .map(|(position, payload)| (position, payload.into()))
            .collect();
        assert_eq!(read, expected);
    }
}
