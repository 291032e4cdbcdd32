//! Files cut short and bits flipped: nothing panics, nothing false is returned, what is before the
//! damage stays, and no number is given again.

use std::fs;
use std::process::Command;

use flawd_journal::{OpenError, Position};
use proptest::prelude::*;

use crate::common::{KIB, open, options, parse, put, read_all};
use crate::written::{Written, load, store};

/// Most bytes of an entry before its payload.
const OVERHEAD: usize = 8 + 1 + 8 + "right".len() + 8;

#[test]
fn a_newest_segment_cut_at_any_byte_keeps_every_whole_entry_and_every_number() {
    let written = Written::new(20, 700, 3);
    let name = (*written.segments().last().unwrap()).clone();
    let first = *written.firsts().last().unwrap();
    let earlier = written.entries.iter();
    let earlier = earlier.filter(|e| e.position.get() < first).count();
    let in_newest = written.entries.len() - earlier;
    assert!(earlier > 0 && in_newest > 2);

    let folder = tempfile::tempdir().unwrap();
    let used = 1 + written.files[&name].iter().rposition(|&b| b != 0).unwrap();
    let mut found_before = 0;
    for length in 0..=used {
        let mut files = written.files.clone();
        files.get_mut(&name).unwrap().truncate(length);
        let found = written.survive(&files, folder.path());
        assert_eq!(found, written.entries[..found.len()], "{length} bytes");
        assert!(found.len() >= earlier.max(found_before), "{length} bytes");
        found_before = found.len();
    }
    assert_eq!(found_before, written.entries.len());
}

#[test]
fn a_commit_torn_at_any_byte_is_cut_off_counted_and_done_again_with_the_same_number() {
    // What a kill in the middle of a write leaves: the head of before, and a part of the entry.
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for _ in 0..3 {
        put(&mut journal, "camera", 100);
        journal.commit().unwrap();
    }
    let before = load(folder.path());
    let (seq, position) = put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    drop(journal);
    let after = load(folder.path());
    let name = "00000000000000000000.segment";
    let (old, new) = (&before[name], &after[name]);
    let start = old.iter().zip(new).position(|(a, b)| a != b).unwrap();
    let end = 1 + new.iter().rposition(|&byte| byte != 0).unwrap();

    for torn in start..end {
        let mut files = before.clone();
        files.get_mut(name).unwrap()[start..torn].copy_from_slice(&new[start..torn]);
        store(&files, folder.path());
        let mut journal = open(folder.path());
        let recovery = journal.recovery();
        assert_eq!((recovery.entries, recovery.lost), (3, 0));
        assert_eq!(recovery.damaged_segments, 0);
        let left = new[start..torn].iter().rposition(|&byte| byte != 0);
        assert_eq!(recovery.cut_bytes, left.map_or(0, |last| last as u64 + 1));
        assert_eq!(put(&mut journal, "camera", 90), (seq, position));
        journal.commit().unwrap();
        drop(journal);
        let mut journal = open(folder.path());
        assert_eq!(journal.recovery().cut_bytes, 0);
        assert_eq!(read_all(&mut journal).len(), 4);
    }
}

#[test]
fn blocks_of_a_torn_commit_that_came_out_of_order_never_become_entries() {
    // The power goes while two entries are written: the second is on the disk, the first is not.
    // Then another first entry of the same length takes its place.
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    put(&mut journal, "camera", 100);
    journal.commit().unwrap();
    let before = load(folder.path());
    let (_, torn) = put(&mut journal, "camera", 500);
    put(&mut journal, "camera", 501);
    journal.commit().unwrap();
    drop(journal);
    let name = "00000000000000000000.segment";
    let mut files = before.clone();
    let new = load(folder.path());
    let second = new[name]
        .windows(9)
        .position(|window| window == b"camera 3 ")
        .unwrap();
    let start = second - (8 + 1 + 8 + 6 + 8);
    files.get_mut(name).unwrap()[start..].copy_from_slice(&new[name][start..]);
    store(&files, folder.path());

    let mut journal = open(folder.path());
    assert!(journal.recovery().cut_bytes > 500);
    assert_eq!(put(&mut journal, "camera", 500).1, torn);
    journal.commit().unwrap();
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(read_all(&mut journal).len(), 2);
    assert_eq!(journal.end(), torn.next());
}

#[test]
fn a_damaged_entry_costs_itself_in_any_segment_and_is_counted_once() {
    let written = Written::new(50, 700, 0);
    assert!(written.segments().len() > 3);
    let folder = tempfile::tempdir().unwrap();
    for victim in &written.entries {
        for place in [-20, 0, 5, 600] {
            let mut files = written.files.clone();
            written.flip(&mut files, victim, place);
            store(&files, folder.path());
            let mut journal = open(folder.path());
            let recovery = journal.recovery().clone();
            let found = read_all(&mut journal);
            let others = written.entries.iter().filter(|entry| *entry != victim);
            assert_eq!(found, others.cloned().collect::<Vec<_>>());
            assert_eq!((recovery.lost, recovery.damaged_segments), (1, 1));
            drop(journal);
            written.survive(&files, folder.path());
        }
    }
}

#[test]
fn without_the_head_a_damaged_entry_costs_no_other_one() {
    let written = Written::new(50, 700, 0);
    let folder = tempfile::tempdir().unwrap();
    let mut files = written.files.clone();
    files.remove("head");
    for victim in &written.entries {
        let mut files = files.clone();
        written.flip(&mut files, victim, 5);
        store(&files, folder.path());
        let mut journal = open(folder.path());
        let others = written.entries.iter().filter(|entry| *entry != victim);
        assert_eq!(read_all(&mut journal), others.cloned().collect::<Vec<_>>());
        // Nothing says that there was one at the end.
        let known = Some(victim) != written.entries.last();
        assert_eq!(journal.recovery().lost, u64::from(known));
    }
}

#[test]
fn a_damaged_header_costs_no_entry() {
    let written = Written::new(50, 700, 4);
    let folder = tempfile::tempdir().unwrap();
    for name in written.segments() {
        // Magic, version, length, checksum, the numbers.
        for place in [0, 9, 12, 17, 45, 60] {
            let mut files = written.files.clone();
            files.get_mut(name).unwrap()[place] ^= 0x10;
            assert_eq!(written.survive(&files, folder.path()), written.entries);
        }
    }
}

#[test]
fn entries_written_behind_damage_are_read_without_opening_the_journal_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for _ in 0..3 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    let name = folder.path().join("00000000000000000000.segment");
    let mut bytes = fs::read(&name).unwrap();
    let second = bytes.windows(9).position(|w| w == b"camera 2 ").unwrap();
    // All of it, and the third one's length, so that nothing tells where that begins.
    bytes[second..second + 700 + 4].fill(0xff);
    fs::write(&name, bytes).unwrap();

    let mut numbers = Vec::new();
    for _ in 0..30 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    let mut from = journal.oldest();
    for _ in 0..100 {
        match journal.read(from, 5) {
            Ok(entries) if entries.is_empty() => break,
            Ok(entries) => {
                from = entries.last().unwrap().position.next();
                numbers.extend(entries.iter().map(|entry| parse(entry).1));
            }
            Err(error) => {
                assert!(error.skip_to > error.position);
                from = error.skip_to;
            }
        }
    }
    let expected: Vec<u64> = (1..=33).filter(|number| ![2, 3].contains(number)).collect();
    assert_eq!(numbers, expected);
}

/// As one second in which the disk refuses, or a loss of power behind the making of a segment,
/// leaves it.
#[test]
fn an_empty_segment_behind_a_gap_ends_no_read_and_takes_no_entry_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for _ in 0..5 {
        put(&mut journal, "camera", 100);
        journal.commit().unwrap();
    }
    drop(journal);
    fs::write(folder.path().join("00000000000000000007.segment"), b"").unwrap();
    let mut journal = open(folder.path());
    assert_eq!(journal.recovery().lost, 0);
    assert_eq!(journal.read(Position::new(0), 100).unwrap().len(), 5);
    assert_eq!(journal.pending(), 5);
    let (seq, position) = put(&mut journal, "camera", 100);
    assert_eq!((seq, position), (6, Position::new(7)));
    journal.commit().unwrap();
    assert_eq!(journal.read(Position::new(0), 100).unwrap().len(), 6);
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(journal.recovery().lost, 0);
    assert_eq!(read_all(&mut journal).len(), 6);
    journal.acknowledge(position);
    assert_eq!((journal.oldest(), journal.pending()), (journal.end(), 0));
}

/// What failed commits of earlier versions left.
#[test]
fn segments_without_an_entry_make_room_before_any_entry_does() {
    let written = Written::new(20, 700, 0);
    let folder = tempfile::tempdir().unwrap();
    let mut files = written.files.clone();
    for first in 100..107 {
        files.insert(format!("{first:020}.segment"), vec![0; 8192]);
    }
    store(&files, folder.path());
    let mut journal = open(folder.path());
    for _ in 0..20 {
        put(&mut journal, "left", 700);
        journal.commit().unwrap();
        assert!(journal.bytes() <= 64 * KIB);
    }
    assert_eq!((journal.dropped(), journal.pending()), (0, 40));
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(read_all(&mut journal).len(), 40);
}

#[test]
fn what_is_only_named_like_a_segment_is_left_alone() {
    let written = Written::new(20, 700, 0);
    let folder = tempfile::tempdir().unwrap();
    store(&written.files, folder.path());
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place("00000000000000000003.segment")).unwrap();
    let pipe = place("00000000000000000004.segment");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let elsewhere = folder.path().join("head");
    std::os::unix::fs::symlink(elsewhere, place("00000000000000000005.segment")).unwrap();
    fs::write(place("18446744073709551615.segment"), b"the last of all").unwrap();
    // Copies of a segment under names of others: inside of one, and behind all.
    let copy = &written.files["00000000000000000000.segment"];
    fs::write(place("00000000000000000006.segment"), copy).unwrap();
    fs::write(place("00000000000000000300.segment"), copy).unwrap();
    let mut journal = open(folder.path());
    assert_eq!(read_all(&mut journal), written.entries);
    assert_eq!(put(&mut journal, "left", 700).1, Position::new(300));
    journal.commit().unwrap();
    assert_eq!(read_all(&mut journal).len(), 21);
}

#[test]
fn damage_after_the_opening_is_an_error_that_says_where_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for _ in 0..30 {
        put(&mut journal, "camera", 700);
        journal.commit().unwrap();
    }
    let name = "00000000000000000000.segment";
    let mut bytes = fs::read(folder.path().join(name)).unwrap();
    let third = bytes.windows(9).position(|w| w == b"camera 3 ").unwrap();
    bytes[third + 20] ^= 1;
    fs::write(folder.path().join(name), bytes).unwrap();

    let oldest = journal.oldest();
    let before = journal.read(oldest, 100).unwrap();
    assert_eq!(before.len(), 2, "what is before the damage comes first");
    let position = before[1].position.next();
    let error = journal.read(position, 100).unwrap_err();
    assert_eq!(error.position, position);
    assert_eq!(error.source.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains(name), "{error}");
    let rest = journal.read(error.skip_to, 100).unwrap();
    assert_eq!(rest[0].position, error.skip_to);
    assert_eq!(rest.last().unwrap().position.next(), journal.end());

    journal.acknowledge(before[1].position);
    let given_up = journal.give_up(error.skip_to);
    assert_eq!(given_up, error.skip_to.get() - position.get());
    assert_eq!(journal.dropped(), given_up);
    assert_eq!(journal.pending(), rest.len() as u64);
}

#[test]
fn a_lost_head_brings_acknowledged_entries_again_and_loses_nothing() {
    let written = Written::new(40, 700, 15);
    let folder = tempfile::tempdir().unwrap();
    for content in [None, Some(vec![]), Some(vec![7; 100]), Some(vec![0; 8192])] {
        let mut files = written.files.clone();
        files.remove("head");
        files.extend(content.map(|content| ("head".to_owned(), content)));
        store(&files, folder.path());
        let journal = open(folder.path());
        assert!(journal.recovery().head_lost);
        assert!(journal.pending() >= written.entries.len() as u64);
        drop(journal);
        assert_eq!(written.survive(&files, folder.path()), written.entries);
    }
}

#[test]
fn deleted_segments_are_counted_as_lost_and_no_number_is_given_again() {
    let written = Written::new(40, 700, 5);
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = written.segments().into_iter().cloned().collect();
    let mut files = written.files.clone();
    files.retain(|name, _| !names.contains(name));
    store(&files, folder.path());
    let lost = open(folder.path()).recovery().lost;
    assert_eq!(lost, written.entries.len() as u64);
    assert_eq!(written.survive(&files, folder.path()), []);

    for name in &names[1..] {
        let mut files = written.files.clone();
        files.remove(name);
        store(&files, folder.path());
        let recovery = open(folder.path()).recovery().clone();
        let found = written.survive(&files, folder.path());
        let lost = (written.entries.len() - found.len()) as u64;
        assert!(lost > 0);
        assert_eq!((recovery.lost, recovery.damaged_segments), (lost, 1));
    }
}

#[test]
fn a_newer_format_is_refused_with_its_file_and_left_alone() {
    let written = Written::new(3, 100, 0);
    let folder = tempfile::tempdir().unwrap();
    for name in ["head", "00000000000000000000.segment"] {
        let mut files = written.files.clone();
        let bytes = files.get_mut(name).unwrap();
        for slot in [0, if name == "head" { 4096 } else { 0 }] {
            let frame = &mut bytes[slot..];
            frame[8] = 2;
            let length = u32::from_le_bytes(frame[12..16].try_into().unwrap()) as usize;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&frame[..16]);
            hasher.update(&frame[20..20 + length]);
            frame[16..20].copy_from_slice(&hasher.finalize().to_le_bytes());
        }
        store(&files, folder.path());
        let options = options(64 * KIB, flawd_journal::Durability::System);
        let refused = flawd_journal::Journal::open(folder.path(), options).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Version { version: 2, file } if file.ends_with(name)),
            "{refused:?}"
        );
        assert_eq!(load(folder.path()), files);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_in_one_file_cost_only_the_entries_that_they_hit(
        count in 1..60_u64,
        acknowledged in 0..30_usize,
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..6),
        in_use in any::<bool>(),
    ) {
        let written = Written::new(count, 700, acknowledged.min(count as usize));
        let names: Vec<_> = written.files.keys().filter(|name| *name != "lock").collect();
        let name = names[which.index(names.len())].clone();
        let mut files = written.files.clone();
        let bytes = files.get_mut(&name).unwrap();
        let used = 1 + bytes.iter().rposition(|&byte| byte != 0).unwrap();
        let reach = if in_use { used } else { bytes.len() };
        let mut places = Vec::new();
        for (index, bit) in flips {
            let place = index.index(reach);
            bytes[place] ^= 1_u8 << bit;
            places.push(place);
        }
        let unchanged = *bytes == written.files[&name];
        let folder = tempfile::tempdir().unwrap();
        let found = written.survive(&files, folder.path());
        // What was not hit itself is there.
        let beheaded = |&place: &usize| place < 48;
        for entry in &written.entries {
            let payload = &entry.payload[..];
            let start = written.files[&name].windows(payload.len()).position(|w| w == payload);
            let hit = start.is_some_and(|start| {
                let (from, to) = (start - OVERHEAD, start + payload.len());
                places.iter().any(|place| (from..to).contains(place) || beheaded(place))
            });
            if unchanged || !hit {
                prop_assert!(found.contains(entry), "{} is gone", entry.position);
            }
        }
    }
}
