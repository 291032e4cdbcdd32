//! A running pipeline: its frames with the times at which they were taken, and why it ends.
//!
//! A buffer of a live pipeline states its time on the pipeline's clock, whichever that is; what
//! counts is how long ago that was. The buffers of any other pipeline state a place in a recording:
//! they are taken as they come.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_app::AppSink;
use tracing::{debug, warn};

use super::error::PipelineError;
use super::form::{Coding, Unreadable};
use super::text::{self, Built};
use crate::line::config::PipelineText;
use crate::line::pipeline::part::frame::FrameError;
use crate::line::pipeline::part::moment::Moment;

/// How long a start waits for a frame or an error. A camera that waits for a trigger gives neither.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// How long one wait for a frame lasts, after which messages are looked at.
const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// An older time stamp is invalid: frames are taken as they come.
const OLDEST: Duration = Duration::from_secs(60);

/// A frame as it was copied from the pipeline.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) coding: Coding,
    pub(super) bytes: Result<Vec<u8>, FrameError>,
    pub(super) captured: Moment,
}

/// A running pipeline; it stops when this is dropped.
pub(super) struct Stream {
    text: PipelineText,
    pipeline: gst::Pipeline,
    sink: AppSink,
    bus: gst::Bus,
    /// Without a frame for this long, it has failed.
    patience: Duration,
    last_frame: Instant,
    /// The first frame, which the start has waited for.
    first: Option<Taken>,
    /// Whether buffers state when they were taken; known from the first one on, if not before.
    is_live: Option<bool>,
    /// The caps of the last buffer, and what follows from them.
    coding: Option<(gst::Caps, Coding)>,
    /// What decoders and the like are missing.
    missing: Vec<String>,
    has_warned: bool,
}

impl Stream {
    /// Builds a pipeline and starts it, and waits for a frame, but not long.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub(super) fn start(text: &PipelineText, patience: Duration) -> Result<Self, PipelineError> {
        let Built { pipeline, sink } = text::build(text)?;
        let bus = pipeline.bus().expect("a pipeline has a bus");
        // From here on it is stopped again, even if a step fails.
        let mut stream = Self {
            text: text.clone(),
            pipeline,
            sink,
            bus,
            patience,
            last_frame: Instant::now(),
            first: None,
            is_live: None,
            coding: None,
            missing: Vec::new(),
            has_warned: false,
        };
        let paused = stream.set_state(gst::State::Paused)?;
        if paused == gst::StateChangeSuccess::NoPreroll {
            stream.is_live = Some(true);
        }
        // A recording is read at its own pace; frames of a camera are taken as they come.
        let keeps_time = stream.is_live.is_none() && !text::stamps_arrivals(&stream.pipeline);
        stream.sink.set_property("sync", keeps_time);
        stream.set_state(gst::State::Playing)?;
        let until = Instant::now() + FIRST_FRAME;
        while stream.first.is_none() && Instant::now() < until {
            match stream.next() {
                Ok(frame) => stream.first = frame,
                Err(PipelineError::Silent(_)) => break,
                Err(problem) => return Err(problem),
            }
        }
        // What was waited here is not held against the camera.
        stream.last_frame = Instant::now();
        Ok(stream)
    }

    fn set_state(&mut self, state: gst::State) -> Result<gst::StateChangeSuccess, PipelineError> {
        match self.pipeline.set_state(state) {
            Ok(success) => Ok(success),
            Err(gst::StateChangeError) => {
                self.look()?;
                Err(PipelineError::Element {
                    element: self.pipeline.name().to_string(),
                    problem: format!("cannot be set to {state:?}, and no element says why"),
                })
            }
        }
    }

    /// Returns the next frame, or `None` if there is none yet.
    ///
    /// # Errors
    /// [`PipelineError`]: none will come.
    pub(super) fn next(&mut self) -> Result<Option<Taken>, PipelineError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let sample = self.sink.try_pull_sample(LOOK);
        let Some(sample) = sample else {
            self.look()?;
            if self.sink.is_eos() {
                return Err(PipelineError::Ended);
            }
            if self.last_frame.elapsed() > self.patience {
                return Err(PipelineError::Silent(self.patience));
            }
            return Ok(None);
        };
        self.last_frame = Instant::now();
        self.taken(&sample).map(Some)
    }

    fn taken(&mut self, sample: &gst::Sample) -> Result<Taken, PipelineError> {
        let captured = Moment::before_now(self.age(sample));
        let caps = sample.caps_owned().unwrap_or_else(gst::Caps::new_empty);
        let coding = match &self.coding {
            Some((known, coding)) if *known == caps => coding.clone(),
            _ => Coding::new(&caps)?,
        };
        self.coding = Some((caps, coding.clone()));
        let bytes = match sample.buffer() {
            Some(buffer) => coding.copy(buffer),
            None => Err(FrameError::Short {
                given: 0,
                expected: 1,
            }),
        };
        Ok(Taken {
            coding,
            bytes,
            captured,
        })
    }

    /// Returns how long ago a frame was taken; zero if it does not say.
    fn age(&mut self, sample: &gst::Sample) -> Duration {
        if !self.is_live() {
            return Duration::ZERO;
        }
        let running = sample.segment().and_then(|segment| {
            let segment = segment.downcast_ref::<gst::ClockTime>()?;
            segment.to_running_time(sample.buffer()?.pts()?)
        });
        let taken = running.and_then(|running| running.checked_add(self.sink.base_time()?));
        let now = self.sink.clock().map(|clock| clock.time());
        age(taken, now)
    }

    fn is_live(&mut self) -> bool {
        if let Some(is_live) = self.is_live {
            return is_live;
        }
        // The sink itself is not live as long as it keeps no time.
        let mut query = gst::query::Latency::new();
        let sink = self.sink.static_pad("sink");
        let is_live = sink.is_some_and(|it| it.peer_query(&mut query)) && query.result().0;
        if is_live {
            self.sink.set_property("sync", false);
        }
        self.is_live = Some(is_live);
        is_live
    }

    /// Looks at what elements have reported.
    fn look(&mut self) -> Result<(), PipelineError> {
        while let Some(message) = self.bus.pop() {
            match message.view() {
                gst::MessageView::Error(error) => {
                    if let Some(unreadable) = self.unreadable() {
                        return Err(unreadable.into());
                    }
                    let (text, details) = (error.error().to_string(), error.debug());
                    return Err(PipelineError::Element {
                        element: source(&message),
                        problem: self.describe(&text, details.as_deref()),
                    });
                }
                gst::MessageView::Warning(warning) => {
                    let (text, details) = (warning.error().to_string(), warning.debug());
                    let said = self.describe(&text, details.as_deref());
                    self.warn(&source(&message), &said);
                }
                gst::MessageView::Latency(_) => {
                    // What waits for it is the sinks that keep time; this program's does not.
                    self.pipeline.recalculate_latency().ok();
                }
                gst::MessageView::ClockLost(_) => {
                    return Err(PipelineError::Element {
                        element: source(&message),
                        problem: "its clock is gone".to_owned(),
                    });
                }
                gst::MessageView::Element(element) => {
                    let missing = element.structure();
                    let missing = missing.filter(|it| it.name() == "missing-plugin");
                    let name = missing.and_then(|it| it.get::<String>("name").ok());
                    self.missing.extend(name);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Describes what an element reports, without passwords.
    fn describe(&self, text: &str, details: Option<&str>) -> String {
        let mut problem = self.text.scrub(text);
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            problem = format!("{problem} (not installed: {missing})");
        }
        // It begins with a place in GStreamer's source.
        let details = details.and_then(|details| details.split_once('\n'));
        if let Some((_, details)) = details.filter(|(_, details)| !details.trim().is_empty()) {
            let details = self.text.scrub(details.trim()).replace('\n', " ");
            problem = format!("{problem} [{details}]");
        }
        problem
    }

    /// The first warning of each start is for the operator.
    fn warn(&mut self, element: &str, said: &str) {
        let pipeline = self.text.shown();
        if std::mem::replace(&mut self.has_warned, true) {
            debug!(element, said, pipeline, "A pipeline warns again");
        } else {
            warn!(element, said, pipeline, "A pipeline warns");
        }
    }

    /// Returns what the pipeline delivers, if it ends in something that this program cannot read.
    fn unreadable(&self) -> Option<Unreadable> {
        let readable = super::form::readable();
        let sink = self.sink.static_pad("sink")?;
        let given = match sink.peer() {
            Some(peer) => vec![peer.current_caps().unwrap_or_else(|| peer.query_caps(None))],
            // Nothing could be linked: what is there lies at another loose end.
            None => text::elements(&self.pipeline)
                .iter()
                .flat_map(|element| element.src_pads())
                .filter(|pad| !pad.is_linked() && !pad.is::<gst::GhostPad>())
                .filter_map(|pad| pad.current_caps())
                .collect(),
        };
        let given = given.iter();
        let mut given = given.filter(|caps| !caps.is_any() && !caps.is_empty());
        let refused = given.find(|caps| !caps.can_intersect(&readable))?;
        Some(Unreadable::of(refused))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A camera that does not answer is given up; there is nothing else to do about it.
        self.pipeline.set_state(gst::State::Null).ok();
    }
}

fn source(message: &gst::Message) -> String {
    let name = message.src().map(|source| source.name().to_string());
    name.unwrap_or_else(|| "the pipeline".to_owned())
}

/// Returns the age of what was `taken`, both on the pipeline's clock; zero if that cannot be.
fn age(taken: Option<gst::ClockTime>, now: Option<gst::ClockTime>) -> Duration {
    let age = taken.and_then(|taken| now?.checked_sub(taken));
    let age = age.map(Duration::from).unwrap_or_default();
    if age < OLDEST { age } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_the_difference_on_the_pipelines_clock_and_an_impossible_one_is_none() {
        let seconds = |it| Some(gst::ClockTime::from_seconds(it));
        assert_eq!(age(seconds(98), seconds(100)), Duration::from_secs(2));
        // A future time, none, no clock, and one that no camera has.
        assert_eq!(age(seconds(101), seconds(100)), Duration::ZERO);
        assert_eq!(age(None, seconds(100)), Duration::ZERO);
        assert_eq!(age(seconds(98), None), Duration::ZERO);
        assert_eq!(age(seconds(1), seconds(100)), Duration::ZERO);
    }
}
