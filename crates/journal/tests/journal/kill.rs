//! A process killed in the middle of its work: what it had reported as committed is there.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use flawd_journal::{Durability, Journal, Options};

use crate::common::{KIB, parse, put, read_all};

const FOLDER: &str = "FLAWD_JOURNAL_KILL_FOLDER";
const NAME: &str = "kill::what_a_killed_process_had_committed_is_there_and_no_number_comes_twice";

fn options() -> Options {
    Options {
        capacity: 256 * KIB,
        sync: Durability::System,
    }
}

/// Commits batches and acknowledges old ones for ever, and says each on standard output.
fn work(folder: &Path) {
    let mut journal = Journal::open(folder, options()).unwrap();
    let mut out = std::io::stdout();
    for round in 0_usize.. {
        let mut line = String::from("\ncommitted");
        for number in 0..=round % 5 {
            let stream = if number % 2 == 0 { "left" } else { "right" };
            let (seq, position) = put(&mut journal, stream, 50 + (round * 37) % 900);
            line += &format!(" {stream} {seq} {position}");
        }
        journal.commit().unwrap();
        writeln!(out, "{line}").unwrap();
        if journal.pending() > 60 {
            let entries = journal.read(journal.oldest(), 20).unwrap();
            // Reported before it is done: from here on they may be gone.
            let through = entries.last().unwrap().position;
            writeln!(out, "\nacknowledging {through}").unwrap();
            journal.acknowledge(through);
        }
        out.flush().unwrap();
    }
}

#[test]
fn what_a_killed_process_had_committed_is_there_and_no_number_comes_twice() {
    if let Some(folder) = env::var_os(FOLDER) {
        return work(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    // Position and number of all entries that any process reported as committed.
    let mut committed: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut acknowledging = None;
    let mut random = 88_172_645_463_325_252_u64;
    for kill in 0..40 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let lines = 1 + random % 150;
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = 0;
        let mut line = String::new();
        loop {
            line.clear();
            // The pipe still holds what it printed between this line and its end.
            let ended = output.read_line(&mut line).unwrap() == 0;
            // The kill may cut a line short: what it had not printed is not expected.
            let whole = line.ends_with('\n');
            let mut words = line.split_whitespace();
            match words.next() {
                Some("committed") if whole => {
                    let words: Vec<&str> = words.collect();
                    for word in words.chunks(3) {
                        let (stream, seq) = (word[0].to_owned(), word[1].parse().unwrap());
                        let before = last.insert(stream.clone(), seq).unwrap_or(0);
                        assert!(seq > before, "{stream} {seq} after {before}, kill {kill}");
                        committed.insert(word[2].parse().unwrap(), (stream, seq));
                    }
                    said += 1;
                }
                Some("acknowledging") => {
                    let through: Option<u64> = words.next().and_then(|word| word.parse().ok());
                    acknowledging = acknowledging.max(through.filter(|_| whole));
                }
                _ => {}
            }
            if said == lines {
                // SIGKILL, wherever it is by now.
                child.kill().unwrap();
                said += 1;
            }
            if ended {
                break;
            }
        }
        assert!(
            said > lines,
            "it ended on its own: {}",
            child.wait().unwrap()
        );
        child.wait().unwrap();

        let mut journal = Journal::open(folder.path(), options()).unwrap();
        let recovery = journal.recovery();
        assert_eq!((recovery.lost, recovery.damaged_segments), (0, 0));
        assert!(!recovery.head_lost);
        let found: BTreeMap<u64, (String, u64)> = read_all(&mut journal)
            .iter()
            .map(|entry| (entry.position.get(), parse(entry)))
            .collect();
        for (position, number) in &committed {
            let gone = !found.contains_key(position);
            assert!(
                !gone || acknowledging.is_some_and(|through| *position <= through),
                "{position} was committed and is gone after kill {kill}"
            );
            assert!(gone || found[position] == *number);
        }
        // No gaps: the numbers of a stream follow each other.
        for stream in ["left", "right"] {
            let numbers = found.values().filter(|(name, _)| name == stream);
            let numbers: Vec<u64> = numbers.map(|(_, seq)| *seq).collect();
            for pair in numbers.windows(2) {
                assert_eq!(pair[1], pair[0] + 1, "{stream}, kill {kill}");
            }
            // Committed but not printed counts too.
            if let Some(&newest) = numbers.last() {
                let known = last.entry(stream.to_owned()).or_default();
                *known = newest.max(*known);
                assert_eq!(journal.next_seq(stream), newest + 1);
            }
        }
        committed.retain(|position, _| found.contains_key(position));
    }
}
