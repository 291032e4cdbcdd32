//! What the stage does as time passes, at moments that the test chooses.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc;

use flawd_core::image::{RgbImage, Size};
use flawd_core::verdict::Verdict;

use super::*;
use crate::line::config::{Document, ValidConfig};
use crate::line::pipeline::channels::link::link;
use crate::line::pipeline::event;
use crate::line::pipeline::part::frame::Inspection;

#[derive(Clone)]
struct Ends(mpsc::Sender<Inspection>);

impl Sink for Ends {
    fn accept(&mut self, inspection: Inspection) {
        self.0.send(inspection).unwrap();
    }
}

#[test]
fn a_part_that_waits_for_the_model_is_told_before_its_deadline() {
    let text = "[station]\nname = \"s\"\nstate = \"state\"\n[inference]\nbundle = \"b\"\n\
                [camera.top.synthetic]\n[camera.top.trigger]\nmode = \"mqtt\"\n";
    let document = Document::new("flawd.toml", text);
    let config = ValidConfig::parse(&document, &BTreeMap::new()).unwrap();
    let settings = &config.cameras[0];
    let inbox = Inbox::new();
    let (ends, inspections) = mpsc::channel();
    let (prepared, _model) = link(NonZeroUsize::MIN, crate::line::config::Overflow::Block);
    let rules = AdmitRules {
        camera: CameraIndex(0),
        name: settings.name.clone(),
        deadline: None,
        trigger: settings.trigger.clone(),
        frame_timeout: settings.frame_timeout,
        on_demand: true,
        may_be_idle: false,
    };
    let deps = AdmitDeps {
        preprocess: Preprocess::new(settings, inbox.clone()),
        inbox,
        prepared,
        sink: Ends(ends),
        counters: Counters::default(),
        events: event::channel().0,
    };
    let mut admit = Admit::new(rules, deps);
    let received = Moment::now();
    let deadline = Deadline::after(received, Duration::from_secs(1));
    let answer_by = deadline.monotonic - ANSWER_MARGIN;
    let image = RgbImage::new(Size::new(1, 1), vec![0; 3]).unwrap();
    admit.state.ready.push_back(Part {
        pending: Some(Pending {
            trigger: Trigger::plain(received),
            deadline: Some(deadline),
            answer_by: Some(answer_by),
        }),
        moment: Some(received.monotonic),
        frame: Frame::new(None, Ok(image), received),
        undecided: None,
    });

    assert_eq!(admit.wake(), Some(answer_by));
    admit.keep_time(answer_by - Duration::from_millis(1));
    assert!(inspections.try_recv().is_err());
    admit.keep_time(answer_by);
    let told = inspections.try_recv().unwrap().verdict.verdict;
    assert_eq!(told, Verdict::NoDecision(Reason::Late));
}
