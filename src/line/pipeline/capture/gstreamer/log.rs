//! GStreamer's library, started once, and what it says.
//!
//! GStreamer and GLib write to standard error on their own, and would wait for its reader. Here
//! their lines go through this program's log, without passwords. GStreamer says nothing unless the
//! variable `GST_DEBUG` asks for it; its lines are for diagnosis.

use std::collections::HashSet;
use std::sync::OnceLock;

use gst::glib;
use parking_lot::Mutex;
use tracing::{debug, warn};

use crate::line::config::PipelineText;

/// Whether the library has started, and why not.
static STARTED: OnceLock<Result<(), String>> = OnceLock::new();

/// The pipelines whose secrets lines may hold.
static KNOWN: Mutex<Vec<PipelineText>> = Mutex::new(Vec::new());

/// Texts of warnings that were logged; a repeated one is not news.
static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// More different warnings than this are only logged for diagnosis.
const MOST_WARNINGS: usize = 100;

/// Starts the library unless it has started. From here on its lines show no secret of `text`.
///
/// # Errors
/// Why it cannot start.
pub(super) fn start(text: &PipelineText) -> Result<(), String> {
    {
        let mut known = KNOWN.lock();
        if !known.contains(text) {
            known.push(text.clone());
        }
    }
    STARTED
        .get_or_init(|| {
            gst::log::remove_default_log_function();
            glib::log_set_default_handler(|domain, level, message| {
                of_glib(domain.unwrap_or("GLib"), level, message);
            });
            gst::init().map_err(|error| error.to_string())?;
            gst::log::add_log_function(|category, level, _, _, _, object, message| {
                let said = message
                    .get()
                    .map(|it| scrub(it.as_str()))
                    .unwrap_or_default();
                let object = object.map(|it| scrub(&it.to_string()));
                let category = category.name();
                debug!(
                    category,
                    level = level.name().as_str(),
                    object,
                    said,
                    "GStreamer says"
                );
            });
            Ok(())
        })
        .clone()
}

/// Logs a line of GLib, or of a library that uses it, such as GStreamer's plug-ins.
fn of_glib(domain: &str, level: glib::LogLevel, message: &str) {
    let said = scrub(message);
    let is_news = matches!(
        level,
        glib::LogLevel::Error | glib::LogLevel::Critical | glib::LogLevel::Warning
    ) && {
        let mut all = SAID.lock();
        let all = all.get_or_insert_default();
        all.len() < MOST_WARNINGS && all.insert(said.clone())
    };
    if is_news {
        warn!(library = domain, said, "A library of GStreamer complains");
    } else {
        debug!(library = domain, said, "A library of GStreamer says");
    }
}

/// Hides the secrets of every pipeline.
fn scrub(text: &str) -> String {
    let known = KNOWN.lock();
    known
        .iter()
        .fold(text.to_owned(), |text, pipeline| pipeline.scrub(&text))
}
