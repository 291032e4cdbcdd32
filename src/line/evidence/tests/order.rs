//! Which pictures go first: the quota goes by the order in which they were taken.

use std::os::unix::fs::symlink;

use jiff::ToSpan;

use super::*;

/// Years by which the clock is wrong when each picture is taken.
const CLOCK: [i64; 14] = [1, 1, 1, 0, 0, 0, -60, -60, -60, 0, 80, 80, 0, 0];

fn keeps_the_newest(restarts: bool) {
    let folder = TempDir::new().unwrap();
    let limits = EvidenceSettings {
        max_size: 3 * png_bound(Size::new(32, 32)),
        max_age: Duration::from_hours(24 * 365 * 200),
        ..settings(folder.path())
    };
    let (mut evidence, mut writer) = open(limits.clone());
    for (seq, years) in (1..).zip(CLOCK) {
        let wrong = Timestamp::now() + (years * 365 * 24).hours();
        evidence.admit(EvidenceItem {
            captured: wrong,
            ..item(seq, 32)
        });
        assert!(writer.step());
        let kept = kept(folder.path());
        let newest: Vec<u64> = (seq + 1 - kept.len() as u64..=seq).collect();
        assert_eq!(kept, newest, "restarts: {restarts}");
        assert!(kept.len() as u64 >= seq.min(2));
        if restarts {
            drop((evidence, writer));
            (evidence, writer) = open(limits.clone());
        }
    }
}

#[test]
fn the_oldest_go_first_whatever_is_done_to_the_clock() {
    keeps_the_newest(false);
}

#[test]
fn the_oldest_go_first_after_restarts_too() {
    keeps_the_newest(true);
}

#[test]
fn what_is_behind_a_link_counts_in_the_quota_after_a_restart() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    symlink(elsewhere.path(), folder.path().join("top")).unwrap();
    let limits = EvidenceSettings {
        max_size: 3 * png_bound(Size::new(32, 32)),
        ..settings(folder.path())
    };
    for seq in 1..=8 {
        let (evidence, mut writer) = open(limits.clone());
        assert_usage_is_true(&evidence, folder.path());
        evidence.admit(item(seq, 32));
        assert!(writer.step());
        assert_usage_is_true(&evidence, folder.path());
        assert!(evidence.usage().bytes <= limits.max_size);
    }
    assert_eq!(kept(folder.path()).last(), Some(&8));
}
