//! Small changes of the pictures of real parts, and how soon the drift alarm names their cause.
//!
//! Run with `--nocapture`, it prints the table of docs/drift.md. The pictures come from outside the
//! repository, so each test is skipped without them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::lab::variation::Change;
use flawd::line::pipeline::record::FALSE_ALARM_RATE;
use flawd::pictures::decode::decode_file;
use flawd_core::condition::{Cause, Condition, UsualPictures};
use flawd_core::drift::ConditionWatch;
use flawd_core::image::{RgbImage, Size};
use flawd_core::preprocess::{Geometry, Preprocessor};
use flawd_core::quality::{self, Measured, QualityLimits};
use flawd_core::random::SplitMix64;

/// Pictures of a calibration.
const CALIBRATION: usize = 100;

/// Pictures of a set of which the first calibrate, and the others come before a change.
const TRAINING: usize = 200;

/// Pictures after a change.
const PARTS: usize = 30;

/// Unchanged lines.
const RUNS: usize = 50;

fn changes() -> Vec<(&'static str, Option<Change>)> {
    let change = |name, change| (name, Some(change));
    vec![
        ("none", None),
        change("light -5 %", Change::Light(0.95)),
        change("light +5 %", Change::Light(1.05)),
        change("light -10 %", Change::Light(0.9)),
        change("light +10 %", Change::Light(1.1)),
        change("noise 2 %", Change::Noise(0.02)),
        change("noise 5 %", Change::Noise(0.05)),
        change("blur 0.7 px", Change::Blur(0.7)),
        change("blur 1.5 px", Change::Blur(1.5)),
        change("JPEG 70", Change::Jpeg(70)),
        change("JPEG 40", Change::Jpeg(40)),
        change("shift 2 px", Change::Shift { x: 2.0, y: 0.0 }),
        change("zoom -2 %", Change::Zoom(0.98)),
        change("turn 1°", Change::Turn(1.0)),
        change("turn 3°", Change::Turn(3.0)),
    ]
}

fn files(folder: &Path, seed: u64) -> Option<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    SplitMix64::new(seed).shuffle(&mut files);
    Some(files)
}

struct Line {
    preprocessor: Preprocessor,
    tensor: Vec<u8>,
}

impl Line {
    fn new() -> Self {
        let preprocessor = Preprocessor::new(Size::new(256, 256), Geometry::default());
        let tensor = vec![0; preprocessor.tensor_len()];
        Self {
            preprocessor,
            tensor,
        }
    }

    fn measure(&mut self, picture: &RgbImage) -> Measured {
        self.preprocessor.run(picture, &mut self.tensor).unwrap();
        let (geometry, size) = (self.preprocessor.geometry(), self.preprocessor.target());
        quality::measure(picture, geometry, &self.tensor, size).unwrap()
    }
}

fn conditions(measured: &[Measured]) -> Vec<&Condition> {
    measured
        .iter()
        .map(|it| it.condition.as_ref().unwrap())
        .collect()
}

/// Returns the part of `after` at which each cause was first named, of a line that begins with
/// `before`.
fn named(
    usual: &UsualPictures,
    before: &[&Condition],
    after: &[&Condition],
) -> BTreeMap<Cause, usize> {
    // The half of the daemon's rate that is not for the scores.
    let mut watch = ConditionWatch::new(usual, FALSE_ALARM_RATE / 2.0, 1).unwrap();
    for condition in before {
        watch.observe(condition);
    }
    let mut named = BTreeMap::new();
    for (part, condition) in (1..).zip(after) {
        watch.observe(condition);
        for finding in watch.findings() {
            named.entry(finding.cause()).or_insert(part);
        }
    }
    named
}

/// Returns the causes and the parts at which they were named, the first one first.
fn described(named: &BTreeMap<Cause, usize>) -> String {
    let mut causes: Vec<_> = named.iter().map(|(cause, part)| (*part, *cause)).collect();
    causes.sort();
    let words = (causes.iter()).map(|(part, cause)| format!("{} {part}", cause.as_str()));
    words.collect::<Vec<_>>().join(", ")
}

/// Checks that after each of these changes its cause is named within [`PARTS`] good parts, and
/// before any change only what is `usual`.
fn examine(set: &str, usually: &[Cause], expected: &[(&str, Cause)]) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = data.join(set);
    let Some(train) = files(&data.join("train/good"), 1) else {
        println!("absent: shared/data/{set} is not beside the repository");
        return;
    };
    let test = files(&data.join("test/good"), 2).unwrap();
    let mut line = Line::new();
    let read = |path: &PathBuf| decode_file(path, None).unwrap();
    let train = train.iter().take(TRAINING);
    let train: Vec<Measured> = train.map(|path| line.measure(&read(path))).collect();
    let test: Vec<RgbImage> = test.iter().map(read).collect();
    let (calibration, stable) = train.split_at(CALIBRATION);
    let limits = QualityLimits::from_good(calibration).unwrap();
    let usual = UsualPictures::from_good(&conditions(calibration)).unwrap();
    for (name, change) in changes() {
        let parts = if change.is_some() { PARTS } else { usize::MAX };
        let pictures = (0..).zip(test.iter().take(parts));
        let measured: Vec<Measured> = pictures
            .map(|(seed, picture)| match change {
                Some(change) => line.measure(&change.apply(picture, seed)),
                None => line.measure(picture),
            })
            .collect();
        let refused = measured.iter().filter(|it| limits.check(it).is_err());
        let refused = refused.count();
        let changed = conditions(&measured);
        let at_once = named(&usual, &[], &changed);
        let later = named(&usual, &conditions(stable), &changed);
        println!(
            "{set} | {name} | {} | {} | {refused} of {} refused",
            described(&at_once),
            described(&later),
            changed.len(),
        );
        if change.is_none() {
            let causes: Vec<Cause> = at_once.keys().copied().collect();
            assert_eq!((&*causes, refused), (usually, 0), "{set}, unchanged");
        }
        for (_, cause) in expected.iter().filter(|(change, _)| *change == name) {
            assert!(at_once.contains_key(cause), "{set}, {name}: {at_once:?}");
        }
    }
    let alarms = false_alarms(&conditions(&train));
    println!("{set} | {alarms} of {RUNS} unchanged lines with an alarm");
    assert!(alarms <= 2);
}

/// Returns the number of lines with an alarm whose calibration and parts are pictures of one set in
/// random order.
fn false_alarms(pictures: &[&Condition]) -> usize {
    let mut random = SplitMix64::new(5);
    let mut order = pictures.to_vec();
    let mut is_false = |_: &usize| {
        random.shuffle(&mut order);
        let (calibration, parts) = order.split_at(CALIBRATION);
        let usual = UsualPictures::from_good(calibration).unwrap();
        !named(&usual, &[], parts).is_empty()
    };
    (0..RUNS).filter(|run| is_false(run)).count()
}

const NOISE_AND_BLUR: [(&str, Cause); 4] = [
    ("noise 2 %", Cause::Noise),
    ("noise 5 %", Cause::Noise),
    ("blur 0.7 px", Cause::Focus),
    ("blur 1.5 px", Cause::Focus),
];

const JPEG: [(&str, Cause); 2] = [
    ("JPEG 70", Cause::Compression),
    ("JPEG 40", Cause::Compression),
];

const DARKER: [(&str, Cause); 2] = [("light -5 %", Cause::Light), ("light -10 %", Cause::Light)];

/// Always in the same place, on a lit background.
#[test]
fn a_bottle() {
    let others = [
        ("light +5 %", Cause::Light),
        ("light +10 %", Cause::Light),
        ("shift 2 px", Cause::Position),
        ("zoom -2 %", Cause::Zoom),
    ];
    let expected = [&NOISE_AND_BLUR[..], &JPEG, &DARKER, &others].concat();
    examine("bottle", &[], &expected);
}

/// Each is different, and only black and white.
#[test]
fn a_printed_circuit() {
    let expected = [&NOISE_AND_BLUR[..], &DARKER].concat();
    examine("deeppcb", &[], &expected);
}

/// Differ in size, light and surface.
#[test]
fn a_magnetic_tile() {
    examine("mtd", &[], &[&NOISE_AND_BLUR[..], &JPEG].concat());
}

/// Lie at any angle; those of the line are 8 % darker than those of the training.
#[test]
fn a_screw() {
    let expected = [&NOISE_AND_BLUR[..], &JPEG, &DARKER].concat();
    examine("screw", &[Cause::Light], &expected);
}

/// Differ in light, and fill the picture.
#[test]
fn a_solar_cell() {
    let others = [
        ("shift 2 px", Cause::Position),
        ("zoom -2 %", Cause::Zoom),
        ("turn 1°", Cause::Turn),
        ("turn 3°", Cause::Turn),
    ];
    let expected = [&NOISE_AND_BLUR[..], &JPEG, &others].concat();
    examine("solar_mono", &[], &expected);
}
