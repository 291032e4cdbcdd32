//! Which parts are admitted to inspection, with the real stages and the real model, a scripted
//! camera and a record stage that the test can block.

mod any_order;
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use flawd::line::pipeline::admit::inbox::Control;
use flawd::line::pipeline::event::DaemonEvent;
use flawd::line::pipeline::part::frame::Inspection;
use flawd::line::pipeline::part::moment::Moment;
use flawd::line::pipeline::part::trigger::{NotTaken, Trigger};
use flawd_core::verdict::{Reason, Verdict};
use flawd_testing::process::LIMIT;

use crate::bundle;
use rig::{Rig, Shot, TOP, config_with, load, models, trigger};

const STREAM: &str = "overflow = \"newest-wins\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
                      match_within = \"1h\"";
const ON_DEMAND: &str = "[camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1h\"\nqueue = 8";

#[test]
fn until_a_model_is_loaded_triggers_are_told_that_the_engine_is_building() {
    let rig = Rig::without_models(ON_DEMAND);
    for part in ["first", "second"] {
        rig.trigger(part, None, Moment::now());
        rig.expect(part, Verdict::NoDecision(Reason::EngineBuilding));
    }
    rig.inbox.order(Control::Use(models()));
    rig.trigger("third", None, Moment::now());
    rig.shots.send(Shot::Frame).unwrap();
    let (part, inspection) = rig.next();
    assert_eq!(part, "third");
    assert!(matches!(
        inspection.verdict.verdict,
        Verdict::Ok | Verdict::Ng
    ));
    assert!(rig.stop().is_empty());
}

#[test]
fn a_trigger_that_arrives_together_with_a_frame_still_gets_the_nearer_one_before() {
    let rig = Rig::start(STREAM);
    rig.shots.send(Shot::Frame).unwrap();
    let first = rig.taken.recv_timeout(LIMIT).unwrap();
    assert_eq!(rig.next_event(), DaemonEvent::FirstFrame(TOP));
    rig.camera_waits(2);

    let held = rig.hold();
    let just_after = Moment {
        monotonic: first.monotonic + Duration::from_nanos(1),
        ..first
    };
    rig.trigger("part", None, just_after);
    rig.shots.send(Shot::Frame).unwrap();
    rig.camera_waits(1);
    drop(held);

    let (part, inspection) = rig.next();
    assert_eq!(part, "part");
    assert_eq!(inspection.time.monotonic, first.monotonic);
    assert!(rig.stop().is_empty());
}

#[test]
fn a_camera_that_is_lost_right_after_a_frame_is_lost() {
    let rig = Rig::start(STREAM);
    rig.shots.send(Shot::Frame).unwrap();
    assert_eq!(rig.next_event(), DaemonEvent::FirstFrame(TOP));
    rig.camera_waits(2);

    let held = rig.hold();
    rig.shots.send(Shot::Frame).unwrap();
    rig.shots.send(Shot::Lost).unwrap();
    // It waits for the script after the frame, and when it is to be opened again.
    rig.camera_waits(2);
    drop(held);

    assert_eq!(rig.next_event(), DaemonEvent::CameraLost(TOP));
    rig.trigger("part", None, Moment::now());
    rig.expect("part", Verdict::NoDecision(Reason::CameraLost));
    rig.shots.send(Shot::Found).unwrap();
    rig.shots.send(Shot::Frame).unwrap();
    assert_eq!(rig.next_event(), DaemonEvent::CameraFound(TOP));
    assert!(rig.stop().is_empty());
}

#[test]
fn a_part_whose_recipe_goes_while_it_waits_is_not_judged_by_another() {
    let rig = Rig::start(ON_DEMAND);
    let held = rig.gate.lock().unwrap();
    // One in front of the gate, one in each tensor, one that waits for a tensor, and one for which
    // there is no frame.
    for part in ["1", "2", "3", "4", "5"] {
        rig.trigger(part, Some("left"), Moment::now());
    }
    for _ in 0..4 {
        rig.shots.send(Shot::Frame).unwrap();
    }
    let (first, _) = rig.next();
    assert_eq!(first, "1");
    rig.camera_waits(5);
    rig.settle("unknown");
    let mut without = models();
    let left = without.recipes.remove("left").unwrap();
    without.recipes.insert("right".to_owned(), left);
    rig.inbox.order(Control::Use(without));
    rig.trigger("passes", Some("left"), Moment::now());
    // Whichever of the two is answered first shows that the models are exchanged: the new one, if
    // it came together with them, or the one that waits.
    let exchanged = rig.next();
    drop(held);

    let ends: BTreeMap<_, _> = std::iter::once(exchanged)
        .chain((0..3).map(|_| rig.next()))
        .map(|(part, inspection)| (part, inspection.verdict.verdict))
        .collect();
    for part in ["4", "passes"] {
        let refused = Verdict::NoDecision(Reason::ModelError);
        assert_eq!(ends[part], refused, "{ends:?}");
    }
    for part in ["2", "3"] {
        assert!(matches!(ends[part], Verdict::Ok | Verdict::Ng), "{ends:?}");
    }
    let last = rig.stop();
    assert_eq!(last.len(), 1);
    assert_eq!(
        last[0].verdict.verdict,
        Verdict::NoDecision(Reason::Shutdown)
    );
}

/// The model is at work for as long as the test wants, and every other part has a deadline: each
/// gets its answer by then, whatever models are requested and whatever is wrong with the pictures.
fn only_what_is_in_the_model_waits_for_it(recipes: [Option<&str>; 2], shot: Shot) {
    const PARTS: usize = 40;
    let rig = Rig::without_models(
        "[camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1h\"\nqueue = 64",
    );
    rig.inbox
        .order(Control::Use(load(&config_with("", bundle::larger()))));
    let held = rig.gate.lock().unwrap();
    rig.trigger("holds", None, Moment::now());
    rig.shots.send(Shot::Frame).unwrap();
    assert_eq!(rig.next().0, "holds");
    for part in 0..PARTS {
        let trigger = Trigger {
            recipe: recipes[part % 2].map(str::to_owned),
            deadline: Some(Duration::from_millis(500)),
            ..trigger(&format!("passes-{part}"), Moment::now())
        };
        rig.inbox.trigger(trigger).unwrap();
        rig.shots.send(shot).unwrap();
    }
    let mut told = BTreeSet::new();
    for _ in 0..PARTS {
        let (part, inspection) = rig.next();
        let verdict = inspection.verdict;
        let is_late = verdict.verdict == Verdict::NoDecision(Reason::Late);
        let is_broken = verdict.verdict == Verdict::NoDecision(Reason::ImageQuality);
        assert!(is_late || is_broken, "{verdict:?}");
        assert_eq!(
            verdict.score, None,
            "it was never in the model: {verdict:?}"
        );
        assert!(told.insert(part));
    }
    drop(held);
    assert!(rig.stop().is_empty());
}

#[test]
fn with_one_model_only_what_is_in_it_is_told_after_the_deadline() {
    only_what_is_in_the_model_waits_for_it([None, None], Shot::Frame);
}

#[test]
fn with_models_of_two_sizes_only_what_is_in_one_is_told_after_the_deadline() {
    only_what_is_in_the_model_waits_for_it([None, Some("left")], Shot::Frame);
}

#[test]
fn pictures_that_cannot_be_judged_wait_for_the_model_no_longer_than_others() {
    only_what_is_in_the_model_waits_for_it([None, Some("left")], Shot::Broken);
}

/// Models of two sizes take turns, and every part gets the score that its own model gives it.
#[test]
fn parts_of_models_of_two_sizes_are_judged_each_by_its_own() {
    let rig = Rig::without_models(ON_DEMAND);
    let models = load(&config_with("", bundle::larger()));
    rig.inbox.order(Control::Use(models.clone()));
    let sizes = [&models.standard, &models.recipes["left"]].map(|it| it.input_size());
    assert_ne!(sizes[0], sizes[1]);
    let mut scores = [const { BTreeSet::new() }; 2];
    for part in 0..8 {
        let recipe = [None, Some("left")][part % 2];
        rig.trigger("part", recipe, Moment::now());
        rig.shots.send(Shot::Frame).unwrap();
        let (_, inspection) = rig.next();
        let score = inspection.verdict.score.expect("it was judged");
        scores[part % 2].insert(score.to_bits());
    }
    // All pictures are the same.
    assert_eq!(scores.each_ref().map(BTreeSet::len), [1, 1]);
    assert_ne!(scores[0], scores[1]);
    assert!(rig.stop().is_empty());
}

#[test]
fn whatever_is_taken_while_the_line_stops_is_answered() {
    let (mut taken_in_all, mut shut_down) = (0, 0);
    for _ in 0..20 {
        let rig = Rig::start(ON_DEMAND);
        let inbox = rig.inbox.clone();
        let (started, has_started) = mpsc::channel();
        let line_controller = thread::spawn(move || {
            let mut taken = 0;
            loop {
                match inbox.trigger(trigger("part", Moment::now())) {
                    Ok(()) => taken += 1,
                    Err(NotTaken::Full { .. }) => {}
                    Err(NotTaken::Ended) => return taken,
                }
                started.send(()).ok();
            }
        });
        for _ in 0..10 {
            has_started.recv_timeout(LIMIT).unwrap();
        }
        let ends = rig.stop();
        let taken: usize = line_controller.join().unwrap();
        assert_eq!(ends.len(), taken);
        taken_in_all += taken;
        let is_shutdown =
            |it: &&Inspection| it.verdict.verdict == Verdict::NoDecision(Reason::Shutdown);
        shut_down += ends.iter().filter(is_shutdown).count();
    }
    println!("{taken_in_all} taken, {shut_down} of them while the line stopped");
    assert!(shut_down > 0);
}

#[test]
fn more_triggers_than_may_wait_are_refused_and_all_others_answered() {
    const WAITING: usize = 1024;
    let rig = Rig::start(ON_DEMAND);
    let held = rig.hold();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..WAITING + 500 {
        match rig.inbox.trigger(trigger("part", Moment::now())) {
            Ok(()) => taken += 1,
            Err(NotTaken::Full { .. }) => refused += 1,
            Err(NotTaken::Ended) => panic!("it has not ended"),
        }
    }
    assert_eq!((taken, refused), (WAITING, 500));
    drop(held);
    assert_eq!(rig.stop().len(), taken);
}

#[test]
fn a_camera_whose_next_frame_comes_after_the_deadline_is_not_lost() {
    let rig = Rig::start(
        "overflow = \"newest-wins\"\n[camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1ns\"",
    );
    rig.shots.send(Shot::Frame).unwrap();
    assert_eq!(rig.next_event(), DaemonEvent::FirstFrame(TOP));
    rig.camera_waits(2);
    let trigger = Trigger {
        deadline: Some(Duration::from_millis(100)),
        ..trigger("part", Moment::now())
    };
    rig.inbox.trigger(trigger).unwrap();
    rig.expect("part", Verdict::NoDecision(Reason::Late));
    assert!(rig.events.try_recv().is_err(), "the camera is not lost");
    assert!(rig.stop().is_empty());
}
