//! Log lines: where they go, their format, and which of them are logged.
//!
//! Logging starts before the configuration is read, so that reading it can be logged; afterwards
//! [`configure`] exchanges filter and format in place. Lines go to standard error, so that standard
//! output holds only results; [`writer`] makes sure that nothing waits for their reader. Under
//! systemd each line starts with its priority, as defined in `sd-daemon(3)`, and has no time, which
//! the journal adds. Nothing here knows what a line is about.

use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

mod filter;
mod limit;
mod settings;
mod writer;

pub use settings::{Log, LogFormat};

use limit::Limit;
use writer::LineWriter;

/// The environment variable that holds the filter; it takes precedence over `[log] level`, unless
/// it is empty.
pub const FILTER_VARIABLE: &str = "FLAWD_LOG";

/// How long the process waits at its end for unwritten lines. A reader that is merely slow needs
/// less; not measured.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter in the variable.
    #[error("environment variable {FILTER_VARIABLE}: {0}")]
    Filter(String),
    /// The operating system.
    #[error("the system refuses a thread for the log")]
    Thread(#[from] io::Error),
}

type Filtered = Layered<Limit, Layered<reload::Layer<EnvFilter, Registry>, Registry>>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// What decides which lines are logged, and what writes them: two layers, because a filter applies
/// to all of a stack but not to its neighbours in a list.
struct Handles {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

static HANDLES: OnceLock<Handles> = OnceLock::new();
static WRITER: OnceLock<LineWriter> = OnceLock::new();

/// Installs the process-wide subscriber with its defaults. A second call does nothing.
///
/// # Errors
/// [`LogError`] for an invalid filter in the environment, or if no thread can be started.
pub fn init() -> Result<(), LogError> {
    let wanted = from_environment()?.unwrap_or(Log::default().level);
    filter::parse(&wanted).map_err(LogError::Filter)?;
    let writer = LineWriter::start(io::stderr(), |dropped| {
        warn!(
            dropped,
            "Log lines were dropped, because they were not read"
        );
    })?;
    let (subscriber, handles) = subscriber(&Log::default(), &writer);
    if subscriber.try_init().is_ok() {
        HANDLES.get_or_init(|| handles);
        WRITER.get_or_init(|| writer);
    }
    Ok(())
}

/// Applies the configuration.
pub fn configure(log: &Log) {
    if let (Some(handles), Some(writer)) = (HANDLES.get(), WRITER.get())
        && let Err(error) = handles.change(log, writer)
    {
        warn!(%error, "Cannot change the logging");
    }
}

/// Returns the number of log lines dropped since the start because they were not read.
pub fn dropped_lines() -> u64 {
    WRITER.get().map_or(0, LineWriter::dropped)
}

/// Prints the final message of a process on standard error, after everything that was logged, and
/// waits until all of it is written; but at most a second, because there may be no process that
/// reads it.
pub fn say_last(text: &str) {
    match WRITER.get() {
        Some(writer) => {
            writer.push_last(text);
            writer.drain(LAST_LINES);
        }
        // There were no log lines before it.
        None => {
            io::Write::write_all(&mut io::stderr(), text.as_bytes()).ok();
        }
    }
}

impl Handles {
    fn change(&self, log: &Log, writer: &LineWriter) -> Result<(), reload::Error> {
        self.filter.reload(filter(log))?;
        self.lines.reload(lines(log, writer))
    }
}

fn subscriber(log: &Log, writer: &LineWriter) -> (impl Subscriber + Send + Sync, Handles) {
    let (filter, filter_handle) = reload::Layer::new(filter(log));
    let (lines, lines_handle) = reload::Layer::new(lines(log, writer));
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(Limit::default())
        .with(lines);
    let handles = Handles {
        filter: filter_handle,
        lines: lines_handle,
    };
    (subscriber, handles)
}

/// Checks whether `level` is a filter that [`configure`] can use.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    filter::parse(level).map(drop)
}

/// Returns the value of the variable, if any.
fn from_environment() -> Result<Option<String>, LogError> {
    match env::var(FILTER_VARIABLE) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(LogError::Filter("is not UTF-8".to_owned())),
    }
}

/// Returns the filter of the environment or of the configuration; both have been checked before.
fn filter(log: &Log) -> EnvFilter {
    let wanted = from_environment().ok().flatten();
    filter::parse(wanted.as_ref().unwrap_or(&log.level)).unwrap_or_else(|_| EnvFilter::new("info"))
}

fn lines(log: &Log, writer: &LineWriter) -> Lines {
    let writer = writer.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let is_journal = match log.format {
        // systemd sets it to the journal's stream if standard error goes there.
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

/// A line in the journal's format.
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

    /// The filter variable takes precedence over the configuration, so the test is skipped if it is
    /// set.
    #[test]
    fn only_the_levels_asked_for_are_written_and_a_change_takes_effect() {
        if std::env::var_os(FILTER_VARIABLE).is_some() {
            println!("skipped: {FILTER_VARIABLE} is set");
            return;
        }
        let writer = LineWriter::start(io::stderr(), |_| ()).unwrap();
        let (subscriber, handles) = subscriber(&Log::default(), &writer);
        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::enabled!(Level::INFO));
            assert!(!tracing::enabled!(Level::DEBUG));
            let log = Log {
                level: "error".to_owned(),
                ..Log::default()
            };
            handles.change(&log, &writer).unwrap();
            assert!(tracing::enabled!(Level::ERROR));
            assert!(!tracing::enabled!(Level::INFO));
        });
    }
}
