//! Log lines: where they go, how they look, which of them are wanted.
//!
//! Logging starts before the configuration is read, so that reading it can be logged; when it has
//! been read, [`configure`] exchanges filter and form in place. Lines go to standard error, so
//! that standard output holds results alone. Under systemd each line begins with its priority,
//! as `sd-daemon(3)` has it, and has no time, which the journal adds.

use std::{fmt, io::IsTerminal, sync::OnceLock};

use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Compact, Format, Writer},
    },
    layer::{Layered, SubscriberExt},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// The environment variable that holds the filter, in `tracing`'s syntax; it goes before
/// `[log] level`.
pub const FILTER_VARIABLE: &str = "FLAWD_LOG";

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// What decides which lines are wanted, and what writes them: two layers, because a filter counts
/// for all of a stack but not for its neighbours in a list.
struct Handles {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

static HANDLES: OnceLock<Handles> = OnceLock::new();

/// Installs the process-wide subscriber with its defaults. A second call does nothing.
pub fn init() {
    let (subscriber, handles) = subscriber(&Log::default());
    if subscriber.try_init().is_ok() {
        HANDLES.get_or_init(|| handles);
    }
}

/// Goes on as the configuration says.
pub fn configure(log: &Log) {
    if let Some(handles) = HANDLES.get()
        && let Err(error) = handles.change(log)
    {
        warn!(%error, "Cannot change the logging");
    }
}

impl Handles {
    fn change(&self, log: &Log) -> Result<(), reload::Error> {
        self.filter.reload(filter(log))?;
        self.lines.reload(lines(log))
    }
}

fn subscriber(log: &Log) -> (impl Subscriber + Send + Sync, Handles) {
    let (filter, filter_handle) = reload::Layer::new(filter(log));
    let (lines, lines_handle) = reload::Layer::new(lines(log));
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    let handles = Handles {
        filter: filter_handle,
        lines: lines_handle,
    };
    (subscriber, handles)
}

/// ONNX Runtime's binding speaks of itself at level INFO, at every start; that is for whoever
/// debugs it. What the operator says about `ort` goes before.
const QUIET: &str = "ort=warn";

/// Whether `level` is a filter that [`configure`] can use.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    EnvFilter::try_new(level)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn filter(log: &Log) -> EnvFilter {
    let from_environment = std::env::var(FILTER_VARIABLE).ok();
    from_environment
        .iter()
        .chain([&log.level])
        .find_map(|level| EnvFilter::try_new(format!("{QUIET},{level}")).ok())
        .unwrap_or_else(|| EnvFilter::new("info"))
}

fn lines(log: &Log) -> Lines {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let is_journal = match log.format {
        // systemd sets it to the journal's stream where standard error goes there.
        LogFormat::Auto => std::env::var_os("JOURNAL_STREAM").is_some(),
        LogFormat::Journal => true,
        LogFormat::Text | LogFormat::Json => false,
    };
    if is_journal {
        lines
            .with_ansi(false)
            .event_format(WithPriority::new())
            .boxed()
    } else if log.format == LogFormat::Json {
        lines.json().flatten_event(true).with_target(false).boxed()
    } else {
        let is_terminal = std::io::stderr().is_terminal();
        lines.with_ansi(is_terminal).with_target(false).boxed()
    }
}

/// A line as the journal wants it.
struct WithPriority(Format<Compact, ()>);

impl WithPriority {
    fn new() -> Self {
        Self(
            tracing_subscriber::fmt::format()
                .compact()
                .without_time()
                .with_level(false)
                .with_target(false),
        )
    }
}

impl<S, N> FormatEvent<S, N> for WithPriority
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter variable goes before what is configured, so the test says nothing where it is set.
    #[test]
    fn only_the_levels_asked_for_are_written_and_a_change_takes_effect() {
        if std::env::var_os(FILTER_VARIABLE).is_some() {
            println!("skipped: {FILTER_VARIABLE} is set");
            return;
        }
        let (subscriber, handles) = subscriber(&Log::default());
        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::enabled!(Level::INFO));
            assert!(!tracing::enabled!(Level::DEBUG));
            let log = Log {
                level: "error".to_owned(),
                ..Log::default()
            };
            handles.change(&log).unwrap();
            assert!(tracing::enabled!(Level::ERROR));
            assert!(!tracing::enabled!(Level::INFO));
        });
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        assert_eq!(check_level("warn,flawd=debug"), Ok(()));
        assert!(check_level("flawd=loud").is_err());
    }
}
