//! Lines through the kernel's character device: which chip, which line, and the requests for them.
//!
//! The only place that names `gpiocdev`. (`gpiocdev_uapi`, which it is made of, has the type of its
//! errors.)

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gpiocdev::line::{self, EdgeDetection, EventClock, Value};
use gpiocdev::request::Builder;
use gpiocdev::{Chip, Request, chip};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::{Edge, InputLine, LineError, OutputLine};
use crate::line::config::{self, InputSettings, LineId, LineSettings, OutputSettings};

/// The name under which lines are taken.
const CONSUMER: &str = "flawd";

/// Edges that the kernel keeps until they are read; it would keep 16.
const KEPT_EDGES: u32 = 256;

/// Edges that are read at a time.
const READ_EDGES: usize = 16;

/// A line that was found.
struct Place {
    chip: PathBuf,
    offset: u32,
    /// For messages.
    label: String,
}

/// Takes an output line, inactive from the first moment on.
///
/// # Errors
/// [`LineError`].
pub fn open_output(settings: &OutputSettings) -> Result<Box<dyn OutputLine>, LineError> {
    let place = find(&settings.line)?;
    let drive = match settings.drive {
        config::Drive::PushPull => line::Drive::PushPull,
        config::Drive::OpenDrain => line::Drive::OpenDrain,
        config::Drive::OpenSource => line::Drive::OpenSource,
    };
    let mut builder = request(&place, &settings.line);
    builder.as_output(Value::Inactive).with_drive(drive);
    let request = take(&mut builder, &place)?;
    let label = place.label;
    Ok(Box::new(CdevOutput { request, label }))
}

/// Takes an input line.
///
/// # Errors
/// [`LineError`].
pub fn open_input(settings: &InputSettings) -> Result<Box<dyn InputLine>, LineError> {
    let place = find(&settings.line)?;
    let edge = match settings.edge {
        config::EdgeKind::Rising => EdgeDetection::RisingEdge,
        config::EdgeKind::Falling => EdgeDetection::FallingEdge,
    };
    let bias = match settings.bias {
        config::Bias::AsIs => None,
        config::Bias::PullUp => Some(line::Bias::PullUp),
        config::Bias::PullDown => Some(line::Bias::PullDown),
        config::Bias::Disabled => Some(line::Bias::Disabled),
    };
    let mut builder = request(&place, &settings.line);
    builder
        .as_input()
        .with_edge_detection(edge)
        .with_event_clock(EventClock::Monotonic)
        .with_bias(bias)
        .with_kernel_event_buffer_size(KEPT_EDGES);
    if !settings.debounce.is_zero() {
        builder.with_debounce_period(settings.debounce);
    }
    let request = take(&mut builder, &place)?;
    Ok(Box::new(CdevInput {
        buffer: vec![0; READ_EDGES * request.edge_event_u64_size()],
        request,
        label: place.label,
        debounce: settings.debounce,
        last: 0,
    }))
}

/// Says where a line is and who uses it, without taking it.
///
/// # Errors
/// [`LineError`] if it is not there or may not be used; [`LineError::InUse`] if it is taken.
pub fn examine(settings: &LineSettings) -> Result<String, LineError> {
    let place = find(settings)?;
    let info = open(&place.chip)?
        .line_info(place.offset)
        .map_err(|error| explain(&place.label, error))?;
    if info.used {
        return Err(in_use(&place.label, info.consumer));
    }
    Ok(format!("{}, free", place.label))
}

fn request(place: &Place, settings: &LineSettings) -> Builder {
    let mut builder = Request::builder();
    builder
        .on_chip(&place.chip)
        .with_consumer(CONSUMER)
        .with_line(place.offset);
    if settings.active_low {
        builder.as_active_low();
    }
    builder
}

fn take(builder: &mut Builder, place: &Place) -> Result<Request, LineError> {
    builder
        .request()
        .map_err(|error| match explain(&place.label, error) {
            LineError::InUse { line, .. } => {
                let info = open(&place.chip).and_then(|chip| {
                    chip.line_info(place.offset)
                        .map_err(|error| explain(&line, error))
                });
                in_use(&line, info.map(|info| info.consumer).unwrap_or_default())
            }
            error => error,
        })
}

/// Finds the line that is configured.
fn find(settings: &LineSettings) -> Result<Place, LineError> {
    let chips = match &settings.chip {
        Some(chip) => vec![find_chip(chip)?],
        None => chip::chips().map_err(|error| explain("/dev", error))?,
    };
    match &settings.id {
        LineId::Offset(offset) => at_offset(chips, *offset),
        LineId::Name(name) => by_name(&chips, name),
    }
}

fn at_offset(chips: Vec<PathBuf>, offset: u32) -> Result<Place, LineError> {
    let path = chips.into_iter().next().unwrap_or_default();
    let info = open(&path)?
        .info()
        .map_err(|error| explain(&path.display().to_string(), error))?;
    if offset >= info.num_lines {
        return Err(LineError::OutOfRange {
            chip: path,
            offset,
            last: info.num_lines.saturating_sub(1),
        });
    }
    Ok(Place {
        label: format!("line {offset} of {}", path.display()),
        chip: path,
        offset,
    })
}

fn by_name(chips: &[PathBuf], name: &str) -> Result<Place, LineError> {
    let mut found = Vec::new();
    for path in chips {
        let chip = open(path)?;
        let explain = |error| explain(&path.display().to_string(), error);
        for info in chip.line_info_iter().map_err(explain)? {
            let info = info.map_err(explain)?;
            if info.name == name {
                found.push(Place {
                    chip: path.clone(),
                    offset: info.offset,
                    label: format!("line `{name}` ({} of {})", info.offset, path.display()),
                });
            }
        }
    }
    if found.len() > 1 {
        let places = found.iter().map(|it| it.label.as_str());
        return Err(LineError::AmbiguousLine {
            name: name.to_owned(),
            places: places.collect::<Vec<_>>().join(", "),
        });
    }
    found.pop().ok_or_else(|| LineError::NoLine {
        name: name.to_owned(),
        searched: listed(chips),
    })
}

/// Finds a chip by its device node, a link to one, or its label.
fn find_chip(named: &str) -> Result<PathBuf, LineError> {
    let present = || chip::chips().unwrap_or_default();
    if named.starts_with('/') {
        return chip::is_chip(named).map_err(|_| LineError::NoChip {
            chip: named.to_owned(),
            present: listed(&present()),
        });
    }
    let mut described = Vec::new();
    let mut found = Vec::new();
    for path in present() {
        let info = open(&path)?
            .info()
            .map_err(|error| explain(&path.display().to_string(), error))?;
        described.push(format!("{} ({})", path.display(), info.label));
        if info.label == named || info.name == named {
            found.push(path);
        }
    }
    if found.len() > 1 {
        return Err(LineError::AmbiguousChip {
            chip: named.to_owned(),
            present: listed(&found),
        });
    }
    found.pop().ok_or_else(|| LineError::NoChip {
        chip: named.to_owned(),
        present: if described.is_empty() {
            listed(&[])
        } else {
            described.join(", ")
        },
    })
}

fn open(path: &PathBuf) -> Result<Chip, LineError> {
    Chip::from_path(path).map_err(|error| match code(&error) {
        Some(Errno::ACCESS | Errno::PERM) => LineError::Denied { chip: path.clone() },
        _ => explain(&path.display().to_string(), error),
    })
}

fn listed(chips: &[PathBuf]) -> String {
    if chips.is_empty() {
        return "none".to_owned();
    }
    let paths = chips.iter().map(|path| path.display().to_string());
    paths.collect::<Vec<_>>().join(", ")
}

fn in_use(line: &str, consumer: String) -> LineError {
    let line = line.to_owned();
    let consumer = if consumer.is_empty() {
        "the kernel or another program".to_owned()
    } else {
        format!("`{consumer}`")
    };
    LineError::InUse { line, consumer }
}

/// Returns the kernel's number for an error.
fn code(error: &gpiocdev::Error) -> Option<Errno> {
    let number = match error {
        gpiocdev::Error::Os(number) => number.0,
        gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(number)) => number.0,
        _ => return None,
    };
    Some(Errno::from_raw_os_error(number))
}

fn explain(line: &str, error: gpiocdev::Error) -> LineError {
    let line = line.to_owned();
    let number = code(&error);
    let source = number.map_or_else(|| io::Error::other(error.to_string()), io::Error::from);
    match number {
        Some(Errno::BUSY) => LineError::InUse {
            line,
            consumer: String::new(),
        },
        Some(Errno::NODEV | Errno::NXIO) => LineError::Gone { line },
        Some(Errno::INVAL | Errno::NOTSUP | Errno::NOTTY) => {
            LineError::Unsupported { line, source }
        }
        _ => LineError::System { line, source },
    }
}

struct CdevOutput {
    request: Request,
    label: String,
}

impl OutputLine for CdevOutput {
    fn set(&mut self, active: bool) -> Result<(), LineError> {
        let value = Value::from(active);
        let set = self.request.set_lone_value(value);
        set.map_err(|error| explain(&self.label, error))
    }
}

struct CdevInput {
    request: Request,
    label: String,
    debounce: Duration,
    buffer: Vec<u64>,
    /// The number of the last edge; 0 before the first.
    last: u32,
}

impl InputLine for CdevInput {
    fn wait(&mut self, limit: Duration) -> Result<Vec<Edge>, LineError> {
        let explain = |error| explain(&self.label, error);
        let waited = match self.request.wait_edge_event(limit) {
            // A signal's handler ran on this thread.
            Err(error) if code(&error) == Some(Errno::INTR) => return Ok(Vec::new()),
            waited => waited.map_err(explain)?,
        };
        if !waited {
            // Many kernels report nothing when a chip is unplugged, so it is asked.
            self.request.lone_value().map_err(explain)?;
            return Ok(Vec::new());
        }
        // `Request::read_edge_event` reads up to eight edges and returns the first.
        let read = self.request.read_edge_events_into_slice(&mut self.buffer);
        let read = read.map_err(explain)?;
        let (now, monotonic) = (Instant::now(), monotonic());
        let size = self.request.edge_event_u64_size();
        let mut edges = Vec::new();
        for event in self.buffer[..read].chunks_exact(size) {
            let event = self.request.edge_event_from_slice(event).map_err(explain)?;
            let number = event.line_seqno;
            let age = monotonic.saturating_sub(Duration::from_nanos(event.timestamp_ns));
            // The kernel reports an edge once the line has been steady for this long.
            let at = now.checked_sub(age + self.debounce).unwrap_or(now);
            let missed = number.wrapping_sub(self.last).saturating_sub(1);
            self.last = number;
            edges.push(Edge { at, missed });
        }
        Ok(edges)
    }
}

/// Returns the time of the clock that the kernel's times of edges, and [`Instant`], are read from.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use gpiocdev::UapiCall;

    use super::*;

    fn settings(chip: Option<&str>, id: LineId) -> LineSettings {
        LineSettings {
            chip: chip.map(str::to_owned),
            id,
            active_low: false,
        }
    }

    #[test]
    fn a_chip_that_is_missing_is_named_with_those_that_there_are() {
        for chip in ["/dev/gpiochip4711", "/dev/null", "no-such-label"] {
            let error = find(&settings(Some(chip), LineId::Offset(0)))
                .err()
                .unwrap();
            let text = error.to_string();
            assert!(text.contains(chip), "{text}");
            assert!(text.contains("this machine has"), "{text}");
            assert!(!error.is_mistake(), "it may be plugged in: {text}");
        }
    }

    #[test]
    fn a_line_that_no_chip_has_is_named() {
        let name = "no such line anywhere";
        let error = find(&settings(None, LineId::Name(name.to_owned())));
        let text = error.err().unwrap().to_string();
        assert!(text.contains(name), "{text}");
    }

    #[test]
    fn the_kernels_answers_are_told_apart() {
        let answer = |number: i32| {
            let source = gpiocdev_uapi::Error::Os(gpiocdev_uapi::Errno(number));
            explain("line 1", gpiocdev::Error::Uapi(UapiCall::GetLine, source))
        };
        assert!(matches!(
            answer(Errno::BUSY.raw_os_error()),
            LineError::InUse { .. }
        ));
        assert!(matches!(
            answer(Errno::NODEV.raw_os_error()),
            LineError::Gone { .. }
        ));
        let refused = answer(Errno::INVAL.raw_os_error());
        assert!(refused.is_mistake(), "{refused}");
        assert!(matches!(
            answer(Errno::IO.raw_os_error()),
            LineError::System { .. }
        ));
    }
}
