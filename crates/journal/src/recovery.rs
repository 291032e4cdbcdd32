//! From the files that are there to a journal that works, whatever happened to it.
//!
//! The head and the segments say the same things twice: the journal's name, the last numbers, how
//! far entries were written. What counts is the larger of the two, so that either may be damaged
//! and no number is given again.

use std::collections::VecDeque;
use std::fs::File;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::OpenError;
use crate::folder::Folder;
use crate::head::{Head, Record};
use crate::options::Options;
use crate::segment::{self, Found, Segment};

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that can be read and are not acknowledged.
    pub entries: u64,
    /// Entries that were committed, were not acknowledged, and are gone through damage. The same
    /// loss is found again until what follows it is acknowledged.
    pub lost: u64,
    /// Segments that are damaged: what is in them from the damage on is skipped.
    pub damaged_segments: u64,
    /// Bytes after the last entry that were no whole entry, and were cut off. Without damage this
    /// is what the end of the process or of the power left of a commit.
    pub cut_bytes: u64,
    /// True if entries were found, and no readable head: acknowledged entries may come again.
    pub head_lost: bool,
    /// Entries dropped to make room, in the journal's whole life before, as far as it is known.
    pub dropped_before: u64,
    /// Entries that could not be written, in the journal's whole life before.
    pub unwritten_before: u64,
}

/// A journal's parts, ready for use.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) record: Record,
    pub(crate) segments: VecDeque<Segment>,
    /// The newest segment, where more can be written to it.
    pub(crate) newest: Option<File>,
    pub(crate) report: Recovery,
}

/// Reads what is there, repairs the end of it, and makes a head where there is none.
pub(crate) fn recover(folder: &mut Folder, options: &Options) -> Result<Recovered, OpenError> {
    let (mut head, stored) = Head::load(folder)?.unzip();
    let firsts = folder.segments().map_err(|source| OpenError::Io {
        what: "list",
        path: folder.path().to_owned(),
        source,
    })?;
    let mut found: Vec<Found> = firsts
        .into_iter()
        .map(|first| segment::load(folder, first))
        .collect::<Result<_, _>>()?;

    let mut report = Recovery {
        head_lost: stored.is_none() && !found.is_empty(),
        ..Recovery::default()
    };
    let mut record = match stored {
        Some(record) => record,
        None => Record {
            id: newest_id(&found).map_or_else(|| new_id(folder), Ok)?,
            ..Record::default()
        },
    };
    report.dropped_before = record.dropped;
    report.unwritten_before = record.unwritten;

    disown(&mut found, &record.id);
    trim_overlaps(&mut found);
    if let Some(oldest) = found.first() {
        record.oldest = record.oldest.max(oldest.segment.first);
    }
    count_losses(&found, &record, &mut report);
    for found in &found {
        if let Some(header) = &found.header {
            record.streams.merge(&header.streams);
        }
        record.streams.merge(&found.streams);
    }
    let end = found.last().map(|newest| newest.segment.end);
    // What is lost is counted by now, and is not to be missed again.
    record.written = end.unwrap_or(record.oldest);
    record.end = record.end.max(record.written).max(record.oldest);

    let newest = match found.last() {
        Some(newest) => repair(folder, newest, options, &mut report)?,
        None => None,
    };
    let segments: VecDeque<_> = found.iter().map(|found| found.segment).collect();
    report.entries = segments
        .iter()
        .map(|segment| segment.from(record.oldest))
        .sum();

    let stored = match &mut head {
        Some(head) => head.store(folder, &record, true, options.waits()),
        None => Head::create(folder, &record).map(|made| head = Some(made)),
    };
    stored.map_err(|source| OpenError::Io {
        what: "write",
        path: folder.head(),
        source,
    })?;
    Ok(Recovered {
        head: head.expect("it was opened or made above"),
        record,
        segments,
        newest,
        report,
    })
}

fn newest_id(found: &[Found]) -> Option<String> {
    let header = found.iter().rev().find_map(|found| found.header.as_ref())?;
    Some(header.id.clone())
}

/// 12 random hexadecimal digits.
fn new_id(folder: &Folder) -> Result<String, OpenError> {
    let mut random = [0; 6];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| OpenError::Io {
        what: "draw a random name for",
        path: folder.path().to_owned(),
        source: errno.into(),
    })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Segments of another journal are no part of this one: they count as damaged.
fn disown(found: &mut [Found], id: &str) {
    for found in found {
        if found.header.as_ref().is_some_and(|header| header.id != id) {
            found.header = None;
            found.segment.end = found.segment.first;
            found.streams = Default::default();
        }
    }
}

/// Entries that stayed in a segment after its disk refused them, and were written to the next one,
/// count there.
fn trim_overlaps(found: &mut [Found]) {
    for index in 1..found.len() {
        let next = found[index].segment.first;
        let segment = &mut found[index - 1].segment;
        segment.end = segment.end.min(next);
    }
}

/// Compares how far each segment goes with how far the next one, or the head, says it went.
fn count_losses(found: &[Found], record: &Record, report: &mut Recovery) {
    let mut reached = record.oldest;
    for (index, this) in found.iter().enumerate() {
        let said = match found.get(index + 1) {
            Some(next) => next
                .header
                .as_ref()
                .map_or(next.segment.first, |header| header.follows),
            None => record.written,
        };
        reached = reached.max(this.segment.end);
        let lost = said.saturating_sub(reached);
        reached = reached.max(said);
        report.lost += lost;
        report.damaged_segments += u64::from(lost > 0 || this.header.is_none());
    }
    // Someone has deleted the segments.
    report.lost += record.written.saturating_sub(reached);
}

/// Cuts off what is no entry, and opens the segment for more.
fn repair(
    folder: &Folder,
    newest: &Found,
    options: &Options,
    report: &mut Recovery,
) -> Result<Option<File>, OpenError> {
    if newest.header.is_none() {
        return Ok(None);
    }
    let path = folder.segment(newest.segment.first);
    let open = || {
        let file = File::options().read(true).write(true).open(&path)?;
        if newest.torn > 0 {
            // What is left there could pass for an entry later, when others stand before it.
            segment::erase(&file, newest.segment.length, newest.torn)?;
            if options.waits() {
                file.sync_data()?;
            }
        }
        Ok(file)
    };
    let file = open().map_err(|source| OpenError::Io {
        what: "repair",
        path: path.clone(),
        source,
    })?;
    report.cut_bytes = newest.torn;
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
        // Positions 0 to 4, of which 3 and 4 were taken for lost and written again.
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
