//! From a pipeline's text to a pipeline that ends in this program's sink. Nothing is opened.

use gst::glib;
use gst::prelude::*;
use gst_app::AppSink;

use super::error::TextError;
use super::{form, log};
use crate::line::config::PipelineText;

/// The name of this program's sink.
const SINK: &str = "flawd-frames";

/// A pipeline that has not started.
pub(super) struct Built {
    pub(super) pipeline: gst::Pipeline,
    pub(super) sink: AppSink,
}

/// Builds the pipeline. Its elements are created and linked, and touch no camera.
///
/// # Errors
/// [`TextError`], without passwords.
pub(super) fn build(text: &PipelineText) -> Result<Built, TextError> {
    log::start(text).map_err(|problem| TextError::Library(text.scrub(&problem)))?;
    let whole = format!("{} ! appsink name={SINK}", text.reveal());
    let mut context = gst::ParseContext::new();
    let parsed = gst::parse::launch_full(&whole, Some(&mut context), gst::ParseFlags::FATAL_ERRORS)
        .map_err(|error| refused(&error, &context, text))?;
    let pipeline = match parsed.downcast::<gst::Pipeline>() {
        Ok(pipeline) => pipeline,
        Err(other) => {
            let pipeline = gst::Pipeline::new();
            let added = pipeline.add(&other);
            added.map_err(|error| TextError::End(error.to_string()))?;
            pipeline
        }
    };
    let end = || TextError::End("its last word is unfinished".to_owned());
    let sink = pipeline.by_name(SINK).ok_or_else(end)?;
    let sink = sink.downcast::<AppSink>().map_err(|_| end())?;
    for element in elements(&pipeline) {
        if element.is::<AppSink>() && element != *sink.upcast_ref::<gst::Element>() {
            return Err(TextError::Sink(element.name().to_string()));
        }
        // This source counts time from its first frame on, by the camera's own clock, unless told
        // otherwise.
        if element.factory().is_some_and(|it| it.name() == "aravissrc") {
            element.set_property("do-timestamp", true);
        }
    }
    sink.set_caps(Some(&form::readable()));
    // One buffer, which the reader takes at once: what is dropped is dropped and counted there.
    sink.set_max_buffers(1);
    sink.set_drop(false);
    sink.set_property("enable-last-sample", false);
    Ok(Built { pipeline, sink })
}

/// Returns every element, also those inside others.
pub(super) fn elements(pipeline: &gst::Pipeline) -> Vec<gst::Element> {
    // If elements come or go meanwhile, what was found is enough.
    pipeline
        .iterate_recurse()
        .into_iter()
        .map_while(Result::ok)
        .collect()
}

/// Returns whether a source stamps what it reads with the time of its arrival. While a pipeline that
/// is not live starts, such a stamp may be that of another clock, which a sink must not wait for.
pub(super) fn stamps_arrivals(pipeline: &gst::Pipeline) -> bool {
    let stamps = |element: &gst::Element| {
        element.find_property("do-timestamp").is_some() && element.property("do-timestamp")
    };
    elements(pipeline).iter().any(stamps)
}

fn refused(error: &glib::Error, context: &gst::ParseContext, text: &PipelineText) -> TextError {
    let problem = text.scrub(error.message());
    if let Some(element) = context.missing_elements().into_iter().next() {
        let element = text.scrub(&element);
        let remedy = remedy(&element);
        return TextError::Missing { element, remedy };
    }
    match error.kind::<gst::ParseError>() {
        Some(gst::ParseError::Link | gst::ParseError::DelayedLink)
            if problem.contains(SINK) || problem.contains("appsink") =>
        {
            TextError::End(problem)
        }
        _ => TextError::Syntax(problem),
    }
}

/// Debian's packages, each with the elements that cameras need of it.
const PACKAGES: [(&str, &[&str]); 6] = [
    (
        "gstreamer1.0-plugins-base",
        &[
            "decodebin",
            "decodebin3",
            "uridecodebin",
            "videoconvert",
            "videoconvertscale",
            "videoscale",
            "videorate",
            "videotestsrc",
            "tcpclientsrc",
            "gldownload",
        ],
    ),
    (
        "gstreamer1.0-plugins-good",
        &[
            "rtspsrc",
            "rtpjpegdepay",
            "rtph264depay",
            "rtph265depay",
            "rtpvrawdepay",
            "rtpjitterbuffer",
            "udpsrc",
            "souphttpsrc",
            "multipartdemux",
            "jpegdec",
            "v4l2src",
            "deinterlace",
            "videocrop",
            "videoflip",
            "videobalance",
        ],
    ),
    (
        "gstreamer1.0-plugins-bad",
        &[
            "h264parse",
            "h265parse",
            "jpegparse",
            "bayer2rgb",
            "openh264dec",
            "srtsrc",
            "vah264dec",
            "vapostproc",
            "tsdemux",
        ],
    ),
    (
        "gstreamer1.0-libav",
        &["avdec_h264", "avdec_h265", "avdec_mjpeg", "avdec_mpeg4"],
    ),
    ("libaravis-0.8-0", &["aravissrc"]),
    ("gstreamer1.0-libcamera", &["libcamerasrc"]),
];

/// NVIDIA's, which Debian does not have.
const JETSON: &str = "nvidia-l4t-gstreamer";

/// Returns which package has a missing element, as the end of a sentence.
fn remedy(element: &str) -> String {
    let known = PACKAGES
        .iter()
        .find(|(_, elements)| elements.contains(&element));
    let is_jetsons = element.starts_with("nv");
    match known {
        Some((package, _)) => format!("; it is in the Debian package {package}"),
        None if is_jetsons => format!("; on a Jetson it is in the package {JETSON}"),
        None => "; is it installed? `gst-inspect-1.0` lists what is".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_in_one_package_alone() {
        let all: Vec<_> = PACKAGES.iter().flat_map(|(_, names)| *names).collect();
        for name in &all {
            assert_eq!(all.iter().filter(|it| it == &name).count(), 1, "{name}");
        }
    }
}
