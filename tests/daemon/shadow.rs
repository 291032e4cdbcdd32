//! The shadow model, with real sessions: what it disagrees with, and that nothing waits for it.

use std::sync::{Arc, mpsc};

use flawd::bundle::Bundle;
use flawd::bundle::scorer::Scorer;
use flawd::line::camera::CameraIndex;
use flawd::line::pipeline::part::model::{Judge, LoadedModel};
use flawd::line::pipeline::part::moment::Moment;
use flawd::line::pipeline::shadow::{self, CameraSetup, Disagreement, JudgedPart, Shadow};
use flawd::pictures::decode::decode_file;
use flawd_core::calibration::Calibration;
use flawd_core::event::{ModelData, Opinion, ShadowState};
use flawd_core::image::RgbImage;
use flawd_core::preprocess::{Geometry, RegionOfInterest};
use flawd_core::verdict::{Reason, Verdict};
use flawd_onnx::{Runtime, SessionOptions};
use flawd_testing::process::LIMIT;

use crate::bundle;

const TOP: CameraIndex = CameraIndex(0);
const SIDE: CameraIndex = CameraIndex(1);

/// The tests' second bundle as a model whose threshold is `threshold`.
fn model(threshold: f32) -> Arc<LoadedModel> {
    let bundle = Bundle::open(bundle::other()).unwrap();
    let manifest = bundle.manifest();
    let judge = Judge {
        calibration: Calibration::from_scores(vec![threshold; 9], 0.1).unwrap(),
        pixel_threshold: None,
        quality: None,
        pictures: None,
        model: ModelData {
            name: manifest.name.clone(),
            version: manifest.version.to_string(),
            digest: manifest.model.digest,
            provider: "cpu".to_owned(),
            engine: None,
        },
    };
    let geometry = manifest.model.geometry;
    Arc::new(LoadedModel::new(scorer().into_model(), judge, geometry))
}

fn scorer() -> Scorer {
    let bundle = Bundle::open(bundle::other()).unwrap();
    let runtime = Runtime::load(None).unwrap();
    Scorer::open(&bundle, runtime.with(&SessionOptions::default())).unwrap()
}

/// The tests' pictures.
fn pictures() -> Vec<Arc<RgbImage>> {
    let mut files: Vec<_> = std::fs::read_dir(bundle::images().join("test/good"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let pictures = files
        .iter()
        .map(|file| Arc::new(decode_file(file, None).unwrap()));
    pictures.collect()
}

fn camera(geometry: Option<Geometry>) -> CameraSetup {
    CameraSetup {
        name: "top".to_owned(),
        geometry,
    }
}

/// A part that the live model called `verdict`.
fn judged(seq: u64, image: &Arc<RgbImage>, verdict: Verdict) -> JudgedPart {
    JudgedPart {
        camera: TOP,
        seq,
        part_id: Some(format!("part {seq}")),
        captured: Moment::now(),
        image: Arc::clone(image),
        live: Opinion {
            verdict,
            score: 0.25,
            threshold: 0.5,
            model: ModelData {
                name: "live".to_owned(),
                version: "1.0.0".to_owned(),
                digest: flawd::files::digest::sha256(b"live"),
                provider: "cpu".to_owned(),
                engine: None,
            },
        },
        evidence: None,
    }
}

/// A shadow that sends what it disagrees with; with each, it waits until that was taken.
fn start(
    camera: CameraSetup,
    model: Option<Arc<LoadedModel>>,
) -> (Shadow, mpsc::Receiver<Disagreement>) {
    let (sender, received) = mpsc::sync_channel(0);
    let shadow = shadow::start(
        vec![camera].into(),
        vec![model].into(),
        move |disagreement| {
            sender.send(disagreement).unwrap();
        },
    );
    (shadow.unwrap(), received)
}

#[test]
fn a_shadow_hands_out_the_parts_on_which_it_says_something_else_and_counts_the_rest() {
    let pictures = pictures();
    let mut scorer = scorer();
    let scores: Vec<_> = pictures
        .iter()
        .map(|picture| scorer.score(picture).unwrap().score)
        .collect();
    // A threshold that lets some parts pass and others not.
    let mut sorted = scores.clone();
    sorted.sort_by(f32::total_cmp);
    let threshold = sorted[pictures.len() / 2];
    let (shadow, received) = start(camera(None), Some(model(threshold)));

    let mut seq = 0;
    for (count, (picture, score)) in (1..).zip(pictures.iter().zip(&scores)) {
        let (same, other) = match *score > threshold {
            true => (Verdict::Ng, Verdict::Ok),
            false => (Verdict::Ok, Verdict::Ng),
        };
        // What the line did not decide is not compared.
        shadow.offer(judged(seq, picture, Verdict::NoDecision(Reason::Late)));
        shadow.offer(judged(seq + 1, picture, same));
        shadow.offer(judged(seq + 2, picture, other));
        let said = received.recv_timeout(LIMIT).unwrap();
        assert_eq!((said.camera, said.data.seq), (TOP, seq + 2));
        assert_eq!(said.data.camera, "top");
        assert_eq!(said.data.part_id, Some(format!("part {}", seq + 2)));
        assert_eq!(
            (said.data.live.verdict, said.data.shadow.verdict),
            (other, same)
        );
        let opinion = &said.data.shadow;
        assert_eq!((opinion.score, opinion.threshold), (*score, threshold));
        assert!(Arc::ptr_eq(&said.image, picture));
        seq += 3;
        let expected = ShadowState {
            agreed: count,
            disagreed: count,
            skipped: 0,
        };
        assert_eq!(shadow.state(TOP), Some(expected));
    }
}

#[test]
fn nothing_waits_for_a_busy_shadow_and_what_it_left_out_is_counted() {
    let picture = &pictures()[0];
    // Everything is a defect to it.
    let (shadow, received) = start(camera(None), Some(model(-1e9)));
    for seq in 0..=1 {
        shadow.offer(judged(seq, picture, Verdict::Ok));
    }
    received.recv_timeout(LIMIT).unwrap();
    // It stands at part 1 from now on, or will with the first that it takes.
    for seq in 2..12 {
        shadow.offer(judged(seq, picture, Verdict::Ok));
    }
    let skipped = shadow.state(TOP).unwrap().skipped;
    assert!((6..=7).contains(&skipped), "{skipped} parts were left out");
    let mut said = Vec::new();
    while said.last() != Some(&11) {
        said.push(received.recv_timeout(LIMIT).unwrap().data.seq);
    }
    assert_eq!(
        said.len() as u64 + 1 + skipped,
        12,
        "each part once: {said:?}"
    );
    assert!(said.is_sorted());
    assert_eq!(shadow.state(TOP).unwrap().disagreed, 12 - skipped);
}

#[test]
fn a_camera_without_a_shadow_has_none_until_it_is_given_one() {
    let picture = &pictures()[0];
    let (shadow, received) = start(camera(None), None);
    shadow.offer(judged(1, picture, Verdict::Ok));
    assert_eq!(shadow.state(TOP), None);
    shadow.exchange(vec![Some(model(-1e9))].into());
    shadow.offer(judged(2, picture, Verdict::Ok));
    assert_eq!(received.recv_timeout(LIMIT).unwrap().data.seq, 2);
    shadow.exchange(vec![None].into());
    shadow.offer(judged(3, picture, Verdict::Ok));
    assert_eq!(shadow.state(TOP), None);
    drop(shadow);
    assert!(received.recv().is_err(), "nothing else was said");
}

#[test]
fn a_camera_with_its_own_region_is_looked_at_there() {
    let picture = &pictures()[0];
    let region = |side| Geometry {
        region: Some(RegionOfInterest {
            left: 8,
            top: 16,
            width: side,
            height: side,
        }),
        ..Geometry::default()
    };
    let runtime = Runtime::load(None).unwrap();
    let file = Bundle::open(bundle::other()).unwrap().model_path();
    let options = SessionOptions::default();
    let mut scorer = Scorer::load(&file, region(48), runtime.with(&options)).unwrap();
    let expected = scorer.score(picture).unwrap().score;
    let (shadow, received) = start(camera(Some(region(48))), Some(model(-1e9)));
    shadow.offer(judged(1, picture, Verdict::Ok));
    let said = received.recv_timeout(LIMIT).unwrap();
    assert_eq!(said.data.shadow.score, expected);
}

#[test]
fn a_part_that_cannot_be_scored_is_counted_and_the_next_one_is() {
    let picture = &pictures()[0];
    let outside = Geometry {
        region: Some(RegionOfInterest {
            left: 0,
            top: 0,
            width: 4800,
            height: 1,
        }),
        ..Geometry::default()
    };
    let (sender, received) = mpsc::channel();
    let cameras = vec![camera(Some(outside)), camera(None)];
    let models = vec![Some(model(-1e9)); 2];
    let shadow = shadow::start(cameras.into(), models.into(), move |disagreement| {
        sender.send(disagreement.data.seq).unwrap();
    });
    let shadow = shadow.unwrap();
    shadow.offer(judged(1, picture, Verdict::Ok));
    shadow.offer(JudgedPart {
        camera: SIDE,
        ..judged(2, picture, Verdict::Ok)
    });
    assert_eq!(received.recv_timeout(LIMIT).unwrap(), 2);
    let counts = [TOP, SIDE].map(|camera| shadow.state(camera).unwrap());
    assert_eq!(counts.map(|counts| counts.skipped), [1, 0]);
    assert_eq!(counts.map(|counts| counts.disagreed), [0, 1]);
}

#[test]
fn at_the_end_nothing_waits_for_the_shadow_and_what_waits_in_its_queue_is_dropped() {
    let picture = &pictures()[0];
    let (shadow, received) = start(camera(None), Some(model(-1e9)));
    shadow.offer(judged(0, picture, Verdict::Ok));
    // It stands at part 1 from now on, or will with the first that it takes.
    received.recv_timeout(LIMIT).unwrap();
    for seq in 1..4 {
        shadow.offer(judged(seq, picture, Verdict::Ok));
    }
    shadow.stop();
    // One that is on its way may still come.
    let late: Vec<_> = received.iter().map(|it| it.data.seq).collect();
    assert!(late.len() <= 1, "{late:?}");
    let skipped = || shadow.state(TOP).unwrap().skipped;
    while skipped() + late.len() as u64 != 3 {
        std::thread::yield_now();
    }
}
