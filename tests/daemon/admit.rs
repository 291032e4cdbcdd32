//! Which parts are admitted to inspection, with the real stages and the real model, a scripted
//! camera and a record stage that the test can block.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use flawd::line::camera::CameraIndex;
use flawd::line::config::{Document, ValidConfig};
use flawd::line::models::LoadedModels;
use flawd::line::pipeline::admit::inbox::{Control, Inbox};
use flawd::line::pipeline::capture::{CameraLost, Source};
use flawd::line::pipeline::channels::threads::Threads;
use flawd::line::pipeline::event::{self, DaemonEvent};
use flawd::line::pipeline::part::frame::{Frame, FrameError, Inspection, Sink};
use flawd::line::pipeline::part::model::ModelSet;
use flawd::line::pipeline::part::moment::Moment;
use flawd::line::pipeline::part::trigger::{NotTaken, Trigger};
use flawd::line::pipeline::{Line, OpenCamera, start_line};
use flawd_core::image::{RgbImage, Size};
use flawd_core::verdict::{Reason, Verdict};
use flawd_onnx::Runtime;
use flawd_testing::process::LIMIT;
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::bundle;

/// The only camera.
const TOP: CameraIndex = CameraIndex(0);

/// What the camera does next.
#[derive(Clone, Copy, Debug)]
enum Shot {
    Frame,
    /// A picture that cannot be decoded.
    Broken,
    Lost,
    Found,
}

/// A camera that follows a script and says what it is asked.
struct Script {
    shots: mpsc::Receiver<Shot>,
    /// When each picture was taken.
    taken: mpsc::Sender<Moment>,
    /// One message each time that it waits for the script.
    waiting: mpsc::Sender<()>,
}

impl Script {
    fn next(&mut self) -> Option<Shot> {
        self.waiting.send(()).ok();
        self.shots.recv().ok()
    }
}

impl Source for Script {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        match self.next() {
            Some(Shot::Frame) => {
                let captured = Moment::now();
                self.taken.send(captured).ok();
                let size = Size::new(96, 96);
                let image = RgbImage::new(size, vec![90; size.area() * 3]).unwrap();
                Ok(Some(Frame::new(None, Ok(image), captured)))
            }
            Some(Shot::Broken) => {
                let problem = Err::<RgbImage, _>(FrameError::Damaged);
                Ok(Some(Frame::new(None, problem, Moment::now())))
            }
            Some(Shot::Lost | Shot::Found) => Err(CameraLost::LossBegins),
            None => Ok(None),
        }
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        match self.next() {
            Some(Shot::Lost) => Err(CameraLost::LossNotOver),
            _ => Ok(()),
        }
    }
}

/// Takes every inspection, and then waits as long as the test holds the gate; parts that are
/// called `passes…` do not wait.
#[derive(Clone)]
struct Ends {
    inspections: mpsc::Sender<Inspection>,
    gate: Arc<Mutex<()>>,
}

impl Sink for Ends {
    fn accept(&mut self, inspection: Inspection) {
        let part = inspection.verdict.part_id.clone().unwrap_or_default();
        self.inspections.send(inspection).ok();
        if !part.starts_with("passes") {
            drop(self.gate.lock());
        }
    }
}

fn trigger(part: &str, received: Moment) -> Trigger {
    Trigger {
        part_id: Some(part.to_owned()),
        ..Trigger::plain(received)
    }
}

/// The first half of the pipeline, with a test at both ends of it.
struct Rig {
    threads: Threads,
    line: Line,
    inbox: Inbox,
    shots: mpsc::Sender<Shot>,
    taken: mpsc::Receiver<Moment>,
    waiting: mpsc::Receiver<()>,
    inspections: mpsc::Receiver<Inspection>,
    events: mpsc::Receiver<DaemonEvent>,
    gate: Arc<Mutex<()>>,
}

fn config(camera: &str) -> ValidConfig {
    config_with(camera, bundle::path())
}

/// The same, with this bundle for the recipe `left`.
fn config_with(camera: &str, left: &Path) -> ValidConfig {
    let text = format!(
        "[station]\nname = \"rig\"\nstate = \"state\"\n[inference]\nbundle = \"{}\"\nthreads = 1\n\
         [camera.top]\nquality_gate = false\nframe_timeout = \"1h\"\n{camera}\n\
         [camera.top.synthetic]\n\
         [camera.top.recipe.left]\nbundle = \"{}\"\n",
        bundle::path().display(),
        left.display()
    );
    let document = Document::new("flawd.toml", text);
    ValidConfig::parse(&document, &BTreeMap::new()).unwrap()
}

/// The models, loaded once for all tests here.
fn models() -> ModelSet {
    static MODELS: OnceLock<ModelSet> = OnceLock::new();
    MODELS.get_or_init(|| load(&config(""))).clone()
}

fn load(config: &ValidConfig) -> ModelSet {
    let runtime = Runtime::load(None).unwrap();
    let models = LoadedModels::load(config, &runtime, &mut |_| ()).unwrap();
    models.model_sets()[TOP].clone()
}

impl Rig {
    /// Starts a camera with these settings; its models are in use.
    fn start(camera: &str) -> Self {
        let rig = Self::without_models(camera);
        rig.inbox.order(Control::Use(models()));
        rig
    }

    /// Starts a camera whose models are not loaded yet.
    fn without_models(camera: &str) -> Self {
        let (shots, script) = mpsc::channel();
        let (taken_sender, taken) = mpsc::channel();
        let (waiting_sender, waiting) = mpsc::channel();
        let (ends, inspections) = mpsc::channel();
        let (event_sender, events) = event::channel();
        let gate = Arc::new(Mutex::new(()));
        let source = Script {
            shots: script,
            taken: taken_sender,
            waiting: waiting_sender,
        };
        let settings = config(camera).cameras[0].clone();
        let camera = OpenCamera::new(settings, Box::new(source));
        let inbox = camera.inbox.clone();
        let mut threads = Threads::new();
        let sink = Ends {
            inspections: ends,
            gate: Arc::clone(&gate),
        };
        let line = start_line(&mut threads, vec![camera].into(), sink, &event_sender).unwrap();
        Self {
            threads,
            line,
            inbox,
            shots,
            taken,
            waiting,
            inspections,
            events,
            gate,
        }
    }

    fn trigger(&self, part: &str, recipe: Option<&str>, received: Moment) {
        let trigger = Trigger {
            recipe: recipe.map(str::to_owned),
            ..trigger(part, received)
        };
        self.inbox.trigger(trigger).unwrap();
    }

    fn next(&self) -> (String, Inspection) {
        let inspection = self.inspections.recv_timeout(LIMIT).expect("a verdict");
        (inspection.verdict.part_id.clone().unwrap(), inspection)
    }

    fn expect(&self, part: &str, verdict: Verdict) {
        let (found, inspection) = self.next();
        assert_eq!(
            (found.as_str(), inspection.verdict.verdict),
            (part, verdict)
        );
    }

    /// Waits until the camera has finished its script and asks for more.
    fn camera_waits(&self, after: usize) {
        for _ in 0..after {
            self.waiting
                .recv_timeout(LIMIT)
                .expect("the camera goes on");
        }
    }

    fn next_event(&self) -> DaemonEvent {
        self.events.recv_timeout(LIMIT).expect("an event")
    }

    /// Holds the stage in the middle of a verdict, so that what comes meanwhile arrives together.
    fn hold(&self) -> MutexGuard<'_, ()> {
        let held = self.gate.lock().unwrap();
        self.inbox.order(Control::Pause);
        self.trigger("holds", None, Moment::now());
        self.expect("holds", Verdict::NoDecision(Reason::Paused));
        self.inbox.order(Control::Resume);
        held
    }

    /// Waits until the stage has done all that arrived before. A part without a recipe is answered
    /// before others are passed on, so it takes two to know that this has happened as well.
    fn settle(&self, recipe: &str) {
        for part in ["passes-1", "passes-2"] {
            self.trigger(part, Some(recipe), Moment::now());
            self.expect(part, Verdict::NoDecision(Reason::ModelError));
        }
    }

    /// Ends the line; returns what had not been looked at.
    fn stop(self) -> Vec<Inspection> {
        self.line.stop();
        drop(self.line);
        // The camera keeps waiting for its script meanwhile, like one that hangs.
        (self.threads.join_until(Instant::now() + LIMIT)).expect("every stage ends");
        self.inspections.try_iter().collect()
    }
}

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

/// What may happen on a line.
#[derive(Clone, Copy, Debug)]
enum Step {
    Trigger { recipe: bool, deadline_ms: u64 },
    Shot(Shot),
    Pause,
    Resume,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0_u64..30)
            .prop_map(|(recipe, deadline_ms)| Step::Trigger { recipe, deadline_ms }),
        6 => Just(Step::Shot(Shot::Frame)),
        1 => Just(Step::Shot(Shot::Lost)),
        1 => Just(Step::Shot(Shot::Found)),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        4 => (0_u64..8).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 32, failure_persistence: None, ..Config::default() })]

    /// Whatever happens in whatever order: each trigger ends once.
    #[test]
    fn each_trigger_ends_exactly_once_whatever_happens(
        steps in prop::collection::vec(step(), 0..60),
        is_streaming: bool,
        queue in 1_usize..4,
        match_within in 1_u64..40,
    ) {
        let overflow = if is_streaming { "newest-wins" } else { "block" };
        let rig = Rig::start(&format!(
            "overflow = \"{overflow}\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
             match_within = \"{match_within}ms\"\nqueue = {queue}"
        ));
        let (_sender, never) = mpsc::channel::<()>();
        let mut expected = BTreeSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Trigger { recipe, deadline_ms } => {
                    let part = format!("part-{number}");
                    let trigger = Trigger {
                        recipe: Some(if recipe { "left" } else { "unknown" }.to_owned()),
                        deadline: (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms)),
                        ..trigger(&part, Moment::now())
                    };
                    rig.inbox.trigger(trigger).unwrap();
                    expected.insert(part);
                }
                Step::Shot(shot) => rig.shots.send(shot).unwrap(),
                Step::Pause => rig.inbox.order(Control::Pause),
                Step::Resume => rig.inbox.order(Control::Resume),
                Step::Wait(ms) => {
                    never.recv_timeout(Duration::from_millis(ms)).ok();
                }
            }
        }
        let ends = rig.stop();
        let parts: Vec<_> = ends.into_iter().filter_map(|it| it.verdict.part_id).collect();
        prop_assert_eq!(parts.len(), expected.len());
        prop_assert_eq!(parts.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}
