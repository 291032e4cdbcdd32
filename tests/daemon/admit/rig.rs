//! The first half of the pipeline with a test at both ends of it: a scripted camera, and a record
//! stage that the test can block.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::time::Instant;

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
use flawd::line::pipeline::part::trigger::Trigger;
use flawd::line::pipeline::{Line, OpenCamera, start_line};
use flawd_core::image::{RgbImage, Size};
use flawd_core::verdict::{Reason, Verdict};
use flawd_onnx::Runtime;
use flawd_testing::process::LIMIT;

use crate::bundle;
/// The only camera.
pub(crate) const TOP: CameraIndex = CameraIndex(0);

/// What the camera does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shot {
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

pub(crate) fn trigger(part: &str, received: Moment) -> Trigger {
    Trigger {
        part_id: Some(part.to_owned()),
        ..Trigger::plain(received)
    }
}

/// The first half of the pipeline, with a test at both ends of it.
pub(crate) struct Rig {
    threads: Threads,
    line: Line,
    pub(crate) inbox: Inbox,
    pub(crate) shots: mpsc::Sender<Shot>,
    pub(crate) taken: mpsc::Receiver<Moment>,
    waiting: mpsc::Receiver<()>,
    pub(crate) inspections: mpsc::Receiver<Inspection>,
    pub(crate) events: mpsc::Receiver<DaemonEvent>,
    pub(crate) gate: Arc<Mutex<()>>,
}

fn config(camera: &str) -> ValidConfig {
    config_with(camera, bundle::path())
}

/// The same, with this bundle for the recipe `left`.
pub(crate) fn config_with(camera: &str, left: &Path) -> ValidConfig {
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
pub(crate) fn models() -> ModelSet {
    static MODELS: OnceLock<ModelSet> = OnceLock::new();
    MODELS.get_or_init(|| load(&config(""))).clone()
}

pub(crate) fn load(config: &ValidConfig) -> ModelSet {
    let runtime = Runtime::load(None).unwrap();
    let models = LoadedModels::load(config, &runtime, &mut |_| ()).unwrap();
    models.model_sets()[TOP].clone()
}

impl Rig {
    /// Starts a camera with these settings; its models are in use.
    pub(crate) fn start(camera: &str) -> Self {
        let rig = Self::without_models(camera);
        rig.inbox.order(Control::Use(models()));
        rig
    }

    /// Starts a camera whose models are not loaded yet.
    pub(crate) fn without_models(camera: &str) -> Self {
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

    pub(crate) fn trigger(&self, part: &str, recipe: Option<&str>, received: Moment) {
        let trigger = Trigger {
            recipe: recipe.map(str::to_owned),
            ..trigger(part, received)
        };
        self.inbox.trigger(trigger).unwrap();
    }

    pub(crate) fn next(&self) -> (String, Inspection) {
        let inspection = self.inspections.recv_timeout(LIMIT).expect("a verdict");
        (inspection.verdict.part_id.clone().unwrap(), inspection)
    }

    pub(crate) fn expect(&self, part: &str, verdict: Verdict) {
        let (found, inspection) = self.next();
        assert_eq!(
            (found.as_str(), inspection.verdict.verdict),
            (part, verdict)
        );
    }

    /// Waits until the camera has finished its script and asks for more.
    pub(crate) fn camera_waits(&self, after: usize) {
        for _ in 0..after {
            self.waiting
                .recv_timeout(LIMIT)
                .expect("the camera goes on");
        }
    }

    pub(crate) fn next_event(&self) -> DaemonEvent {
        self.events.recv_timeout(LIMIT).expect("an event")
    }

    /// Holds the stage in the middle of a verdict, so that what comes meanwhile arrives together.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        let held = self.gate.lock().unwrap();
        self.inbox.order(Control::Pause);
        self.trigger("holds", None, Moment::now());
        self.expect("holds", Verdict::NoDecision(Reason::Paused));
        self.inbox.order(Control::Resume);
        held
    }

    /// Waits until the stage has done all that arrived before. A part without a recipe is answered
    /// before others are passed on, so it takes two to know that this has happened as well.
    pub(crate) fn settle(&self, recipe: &str) {
        for part in ["passes-1", "passes-2"] {
            self.trigger(part, Some(recipe), Moment::now());
            self.expect(part, Verdict::NoDecision(Reason::ModelError));
        }
    }

    /// Ends the line; returns what had not been looked at.
    pub(crate) fn stop(self) -> Vec<Inspection> {
        self.line.stop();
        drop(self.line);
        // The camera keeps waiting for its script meanwhile, like one that hangs.
        (self.threads.join_until(Instant::now() + LIMIT)).expect("every stage ends");
        self.inspections.try_iter().collect()
    }
}
