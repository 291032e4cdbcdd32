//! Evidence from the outside: what was admitted, and what is in the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;
use std::{fs, thread};

use flawd_core::digest::Digest;
use flawd_core::verdict::Reason;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::pictures::decode::decode_file;
use crate::pictures::heatmap::overlay;

mod disk;
mod order;

const LATE: Verdict = Verdict::NoDecision(Reason::Late);

/// A listener that is always present. Whether one exists is looked up when a line is logged for the
/// first time, and a test that listens only on its own thread would lose a line that another thread
/// without a listener looks up at the same moment.
static LISTENER: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink);
    tracing::Dispatch::new(subscriber.finish())
});

fn settings(folder: &Path) -> EvidenceSettings {
    LazyLock::force(&LISTENER);
    EvidenceSettings {
        folder: folder.to_owned(),
        max_size: 1 << 30,
        max_age: Duration::from_hours(30 * 24),
        ok_share: 0.0,
        reserve: 0,
    }
}

/// Opens a writer without pauses, to be driven step by step.
fn open(settings: EvidenceSettings) -> (EvidenceSink, EvidenceWriter) {
    let (evidence, mut writer) = EvidenceSink::open(settings).unwrap();
    writer.sweep = Duration::ZERO;
    writer.retry = Duration::ZERO;
    writer.settled = Duration::ZERO;
    (evidence, writer)
}

/// Creates a picture that no encoder can compress.
fn picture(side: usize, seed: u64) -> Arc<RgbImage> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let pixels = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let size = Size::new(side, side);
    Arc::new(RgbImage::new(size, pixels.take(3 * side * side).collect()).unwrap())
}

/// Creates a part of the camera `top`, taken `seq` seconds after a moment one hour ago.
fn item(seq: u64, side: usize) -> EvidenceItem {
    let began = Timestamp::now() - Duration::from_hours(1);
    EvidenceItem {
        camera: "top".to_owned(),
        seq,
        series: "a1b2".to_owned(),
        verdict: Verdict::Ng,
        captured: began + Duration::from_secs(seq),
        picture: picture(side, seq),
        anomaly: None,
    }
}

fn anomaly(value: f32) -> Option<Anomaly> {
    Some(Anomaly {
        map: AnomalyMap::new(Size::new(2, 2), vec![0.1, value, value, 0.1]).unwrap(),
        geometry: Geometry::default(),
        threshold: 1.0,
    })
}

/// Returns every file below the folder except the lock, with its length.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, u64>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), path.metadata().unwrap().len());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found.remove(".lock");
    found
}

/// Returns the numbers of the pictures that are there.
fn kept(folder: &Path) -> Vec<u64> {
    let numbers = files(folder).into_keys().map(|path| {
        let (_, name) = path.rsplit_once('/').unwrap();
        name.split_once('-').unwrap().0.parse().unwrap()
    });
    numbers.collect::<BTreeSet<_>>().into_iter().collect()
}

fn assert_usage_is_true(evidence: &EvidenceSink, folder: &Path) {
    let files = files(folder);
    let usage = evidence.usage();
    assert_eq!(usage.files, files.len() as u64);
    assert_eq!(usage.bytes, files.values().sum::<u64>());
}

#[test]
fn ng_and_undecided_parts_are_wanted_and_ok_parts_by_a_sample_that_repeats() {
    let folder = TempDir::new().unwrap();
    let wanted = |ok_share| {
        let settings = EvidenceSettings {
            ok_share,
            ..settings(folder.path())
        };
        let (evidence, _writer) = open(settings);
        assert!((0..100).all(|seq| evidence.wants(Verdict::Ng, "top", seq)));
        assert!((0..100).all(|seq| evidence.wants(LATE, "top", seq)));
        let of = |camera: &str| -> Vec<u64> {
            (0..10_000)
                .filter(|&seq| evidence.wants(Verdict::Ok, camera, seq))
                .collect()
        };
        (of("top"), of("side"))
    };
    assert_eq!(wanted(0.0).0.len(), 0);
    assert_eq!(wanted(1.0).0.len(), 10_000);
    let (top, side) = wanted(0.1);
    // Six deviations of a binomial variable with n = 10,000 and p = 0.1.
    assert!(top.len().abs_diff(1000) < 180, "{}", top.len());
    assert_ne!(top, side);
    assert_eq!(wanted(0.1).0, top);
    let more: BTreeSet<_> = wanted(0.2).0.into_iter().collect();
    assert!(top.iter().all(|seq| more.contains(seq)));
}

#[test]
fn everything_admitted_is_written_before_the_writer_ends_with_the_digest_that_was_said() {
    let folder = TempDir::new().unwrap();
    let (evidence, writer) = EvidenceSink::open(settings(folder.path())).unwrap();
    let writer = thread::spawn(move || writer.run());
    let items: Vec<_> = (0..12)
        .map(|seq| EvidenceItem {
            verdict: [Verdict::Ok, Verdict::Ng, LATE][seq as usize % 3],
            anomaly: anomaly(9.0).filter(|_| seq % 2 == 0),
            ..item(seq, 40)
        })
        .collect();
    let said: Vec<_> = items
        .iter()
        .map(|item| evidence.admit(item.clone()).unwrap())
        .collect();
    let clone = evidence.clone();
    drop(evidence);
    drop(clone);
    writer.join().unwrap();

    for (item, said) in items.iter().zip(&said) {
        let day = item.captured.to_string();
        let what = ["ok", "ng", "late"][item.seq as usize % 3];
        let (seq, series) = (item.seq, &item.series);
        let expected = format!("top/{}/{seq:012}-{what}-{series}.png", &day[..10]);
        assert_eq!(said.path, expected);
        let decoded = decode_file(&folder.path().join(&said.path), None).unwrap();
        assert_eq!(digest::sha256(decoded.pixels()), said.sha256);
        assert_eq!(&decoded, &*item.picture);

        let heatmap = folder.path().join(said.path.replace(".png", ".map.png"));
        assert_eq!(heatmap.exists(), item.anomaly.is_some());
        if let Some(anomaly) = &item.anomaly {
            let drawn = overlay(&item.picture, &anomaly.map, anomaly.threshold);
            assert_eq!(decode_file(&heatmap, None).unwrap(), drawn);
        }
    }
    assert_eq!(files(folder.path()).len(), 12 + 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_quota_holds_after_every_picture_and_only_the_oldest_go(
        sides in prop::collection::vec((1_usize..60, any::<bool>(), any::<bool>()), 1..20),
        max_size in 12_000_u64..60_000,
    ) {
        let folder = TempDir::new().unwrap();
        let (evidence, mut writer) = open(EvidenceSettings {
            max_size,
            ..settings(folder.path())
        });
        let mut sizes = BTreeMap::new();
        for (seq, &(side, is_top, has_map)) in (0..).zip(&sides) {
            let admitted = evidence.admit(EvidenceItem {
                camera: if is_top { "top" } else { "side" }.to_owned(),
                anomaly: anomaly(9.0).filter(|_| has_map),
                ..item(seq, side)
            });
            prop_assert!(writer.step());
            let files = files(folder.path());
            let total: u64 = files.values().sum();
            prop_assert!(total <= max_size, "{total} of {max_size}");
            assert_usage_is_true(&evidence, folder.path());
            if let Some(said) = admitted {
                // The promised picture is there, and its heatmap if it has one.
                prop_assert!(files.contains_key(&said.path));
                let own = said.path.replace(".png", "");
                let bytes = files.iter().filter(|(path, _)| path.starts_with(&own));
                sizes.insert(seq, bytes.map(|(_, bytes)| bytes).sum::<u64>());
            } else {
                prop_assert!(png_bound(Size::new(side, side)) > max_size);
            }
        }
        let kept = kept(folder.path());
        let newest: Vec<u64> = sizes.keys().copied().skip(sizes.len() - kept.len()).collect();
        prop_assert_eq!(&kept, &newest);
        // Nothing was deleted needlessly: the next one would not have fitted.
        if let Some((_, last_gone)) = sizes.iter().rev().nth(kept.len()) {
            let total: u64 = files(folder.path()).values().sum();
            prop_assert!(total + last_gone > max_size);
        }
        let dropped = evidence.usage().dropped as usize;
        prop_assert_eq!(dropped, sides.len() - sizes.len());
    }
}

#[test]
fn a_heatmap_is_left_out_where_the_quota_holds_the_picture_alone() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(EvidenceSettings {
        max_size: png_bound(Size::new(64, 64)),
        ..settings(folder.path())
    });
    let said = evidence.admit(EvidenceItem {
        anomaly: anomaly(0.0),
        ..item(1, 64)
    });
    assert!(writer.step());
    let files: Vec<_> = files(folder.path()).into_keys().collect();
    assert_eq!(files, [said.unwrap().path]);
}

#[test]
fn a_picture_larger_than_the_quota_is_refused_and_counted() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(EvidenceSettings {
        max_size: 10_000,
        ..settings(folder.path())
    });
    assert_eq!(evidence.admit(item(1, 64)), None);
    assert!(evidence.admit(item(2, 32)).is_some());
    assert!(writer.step());
    let usage = evidence.usage();
    assert_eq!((usage.files, usage.dropped), (1, 1));
}

#[test]
fn in_the_first_hour_nothing_goes_by_its_age() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(EvidenceSettings {
        max_age: Duration::from_secs(1),
        ..settings(folder.path())
    });
    writer.settled = Duration::from_secs(3600);
    assert!(evidence.admit(item(1, 8)).is_some());
    writer.step();
    writer.step();
    assert!(!files(folder.path()).is_empty());
}

#[test]
fn files_older_than_the_limit_go_although_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(settings(folder.path()));
    for (seq, days) in [(1, 40), (2, 31), (3, 29), (4, 0)] {
        evidence.admit(EvidenceItem {
            captured: Timestamp::now() - Duration::from_hours(24 * days),
            anomaly: anomaly(9.0),
            ..item(seq, 16)
        });
        assert!(writer.step());
    }
    // Each was written, and deleted at the writer's next check.
    assert!(writer.step());
    assert_eq!(kept(folder.path()), [3, 4]);
    assert_usage_is_true(&evidence, folder.path());
    // Their folders were deleted with them.
    assert_eq!(fs::read_dir(folder.path().join("top")).unwrap().count(), 2);
}

#[test]
fn after_a_restart_what_is_there_counts_and_goes_first() {
    let folder = TempDir::new().unwrap();
    let limits = |max_size| EvidenceSettings {
        max_size,
        ..settings(folder.path())
    };
    let (evidence, mut writer) = open(limits(1 << 30));
    for seq in 1..=4 {
        evidence.admit(EvidenceItem {
            anomaly: anomaly(9.0).filter(|_| seq == 3),
            ..item(seq, 32)
        });
        assert!(writer.step());
    }
    let before = evidence.usage();
    assert_eq!(before.files, 5);
    drop((evidence, writer));

    let (evidence, mut writer) = open(limits(before.bytes));
    assert_eq!(evidence.usage(), before);
    for seq in 5..=6 {
        evidence.admit(item(seq, 32));
        assert!(writer.step());
        assert_usage_is_true(&evidence, folder.path());
    }
    assert_eq!(kept(folder.path()), [3, 4, 5, 6]);
}

#[test]
fn an_unfinished_file_is_removed_at_the_start_and_a_foreign_one_never() {
    let folder = TempDir::new().unwrap();
    let day = folder.path().join("top/2020-01-01");
    fs::create_dir_all(day.join("000000000008-ng.png")).unwrap();
    fs::create_dir_all(folder.path().join("top/holiday")).unwrap();
    let torn = day.join(".000000000007-ng.png.part");
    fs::write(&torn, "half").unwrap();
    let foreign = [
        day.join("notes.txt"),
        day.join("000000000007-good.png"),
        day.join(".notes.part"),
        folder.path().join("notes.txt"),
        folder.path().join("top/000000000001-ng.png"),
        folder.path().join("top/holiday/000000000001-ng.png"),
    ];
    for path in &foreign {
        fs::write(path, "mine").unwrap();
    }
    // Old enough, and too much for the quota: everything of ours is deleted.
    let own = day.join("000000000001-ng-a1b2.png");
    fs::write(&own, "ours").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(24 * 365);
    let file = fs::File::options().write(true).open(&own).unwrap();
    file.set_modified(long_ago).unwrap();

    let (evidence, mut writer) = open(EvidenceSettings {
        max_size: png_bound(Size::new(8, 8)),
        ..settings(folder.path())
    });
    assert!(!torn.exists());
    assert_eq!(evidence.usage().files, 1);
    for seq in 2..20 {
        assert!(evidence.admit(item(seq, 8)).is_some());
        assert!(writer.step());
    }
    assert!(!own.exists());
    for path in &foreign {
        assert_eq!(fs::read_to_string(path).unwrap(), "mine", "{path:?}");
    }
    assert!(day.join("000000000008-ng.png").is_dir());
}

#[test]
fn a_number_that_comes_again_replaces_its_picture_and_heatmap() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(settings(folder.path()));
    let captured = Timestamp::now();
    let mut admit = |side, anomaly, captured| {
        let item = EvidenceItem {
            captured,
            anomaly,
            picture: picture(side, side as u64),
            ..item(7, side)
        };
        let said = evidence.admit(item).unwrap();
        assert!(writer.step());
        assert_usage_is_true(&evidence, folder.path());
        said
    };
    let first = admit(32, anomaly(9.0), captured);
    let second = admit(24, None, captured + Duration::from_micros(1));
    assert_eq!(first.path, second.path);
    let file = folder.path().join(&second.path);
    assert_eq!(pixels_digest(&file), second.sha256);
    assert_eq!(files(folder.path()).len(), 1);
}

/// After the journal was lost, or with another state folder.
#[test]
fn a_numbering_that_starts_again_on_the_same_day_replaces_no_picture() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(settings(folder.path()));
    let mut paths = BTreeSet::new();
    for series in ["0123456789ab", "ba9876543210"] {
        let item = EvidenceItem {
            series: series.to_owned(),
            ..item(1, 16)
        };
        paths.insert(evidence.admit(item).unwrap().path);
        assert!(writer.step());
        assert_usage_is_true(&evidence, folder.path());
    }
    let found: BTreeSet<String> = files(folder.path()).into_keys().collect();
    assert_eq!((paths.len(), found), (2, paths));
}

fn pixels_digest(path: &Path) -> Digest {
    digest::sha256(decode_file(path, None).unwrap().pixels())
}

#[test]
fn what_does_not_fit_into_memory_is_refused_at_once_and_counted() {
    let folder = TempDir::new().unwrap();
    let (evidence, mut writer) = open(settings(folder.path()));
    // Small ones are limited by number, large ones by bytes; a single one always fits.
    let small = item(1, 8);
    let admitted = (0..100).filter(|_| evidence.admit(small.clone()).is_some());
    assert_eq!(admitted.count(), 32);
    assert!((0..32).all(|_| writer.step()));
    let large = EvidenceItem {
        picture: Arc::new(RgbImage::new(Size::new(4096, 2048), vec![7; 3 << 23]).unwrap()),
        ..item(2, 1)
    };
    let admitted = (0..10).filter(|_| evidence.admit(large.clone()).is_some());
    assert_eq!(admitted.count(), 2);
    assert!((0..2).all(|_| writer.step()));
    let huge = EvidenceItem {
        picture: Arc::new(RgbImage::new(Size::new(4096, 6000), vec![7; 3 * 4096 * 6000]).unwrap()),
        ..item(3, 1)
    };
    assert!(evidence.admit(huge.clone()).is_some());
    assert!(evidence.admit(huge).is_none());
    assert_eq!(evidence.usage().dropped, 68 + 8 + 1);
}

#[test]
fn two_stations_cannot_share_a_folder() {
    let folder = TempDir::new().unwrap();
    let (evidence, writer) = open(settings(folder.path()));
    let error = EvidenceSink::open(settings(folder.path())).unwrap_err();
    assert!(matches!(error, EvidenceError::InUse { .. }));
    assert!(error.to_string().contains(folder.path().to_str().unwrap()));
    drop((evidence, writer));
    open(settings(folder.path()));
}
