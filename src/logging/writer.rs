//! Writes log lines on a separate thread instead of in the stages: a reader that has stopped
//! reading blocks only that thread.
//!
//! ```text
//! stages, client, ONNX Runtime ──line──► buffer ──batch──► thread `log` ──► standard error
//!                                never waits; what does not fit is counted
//! ```
//!
//! It knows nothing of levels and formats. [`LineWriter::drain`] waits for the last lines before
//! the end, within a limit.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, poll};

/// Bytes of lines that may wait for their reader: thousands of lines of the usual length. A
/// sensible size for a burst was not measured.
const CAPACITY: usize = 1 << 20;

/// The handle of the thread that writes; clones share the same one.
#[derive(Clone, Debug)]
pub(crate) struct LineWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines, each with its line break.
    waiting: Vec<u8>,
    /// Whether the thread has taken lines and not written all of them yet.
    is_writing: bool,
    /// Number of dropped lines not reported yet.
    unsaid: u64,
    /// Number of lines dropped since the start.
    dropped: u64,
}

impl LineWriter {
    /// Starts writing to `sink`, on a thread that ends with the process. `say` is called on that
    /// thread with the number of dropped lines, once lines can be written again.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start<W>(sink: W, say: impl Fn(u64) + Send + 'static) -> io::Result<Self>
    where
        W: Write + AsFd + Send + 'static,
    {
        let writer = Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        let shared = Self(Arc::clone(&writer.0));
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.run(sink, say))?;
        Ok(writer)
    }

    /// Takes a line, or counts it as dropped if there is no room; never blocks.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len().saturating_add(line.len()) > CAPACITY {
            state.drop_lines(1);
        } else {
            state.waiting.extend_from_slice(line);
            self.0.changed.notify_all();
        }
    }

    /// Takes the final message of a process, regardless of what else is waiting.
    pub(crate) fn push_last(&self, text: &str) {
        self.lock().waiting.extend_from_slice(text.as_bytes());
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, at most for `limit`.
    pub(crate) fn drain(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let changed = &self.0.changed;
        changed.wait_while_for(&mut self.lock(), is_busy, limit);
    }

    /// Returns the number of lines dropped since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn run<W: Write + AsFd>(self, mut sink: W, say: impl Fn(u64)) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.lock();
            let changed = &self.0.changed;
            changed.wait_while(&mut state, |state| state.waiting.is_empty());
            std::mem::swap(&mut batch, &mut state.waiting);
            state.is_writing = true;
            drop(state);
            let lost = write(&mut sink, &batch);
            batch.clear();
            let mut state = self.lock();
            state.drop_lines(lost);
            // If nothing can be written, there is no use in saying so again and again.
            let unsaid = if lost == 0 {
                std::mem::take(&mut state.unsaid)
            } else {
                0
            };
            drop(state);
            if unsaid > 0 {
                say(unsaid);
            }
            self.lock().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl State {
    fn drop_lines(&mut self, lines: u64) {
        self.unsaid += lines;
        self.dropped += lines;
    }
}

/// The writer for `tracing`, which passes one line at a time.
impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes as much as possible; returns how many lines were lost.
fn write<W: Write + AsFd>(sink: &mut W, batch: &[u8]) -> u64 {
    let mut rest = batch;
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(written) if written > 0 => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Standard error may be shared with a program that has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock && wait(sink).is_ok() => {}
            Ok(_) | Err(_) => break,
        }
    }
    rest.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Waits until the sink is writable, or its other end is gone.
fn wait(sink: &impl AsFd) -> rustix::io::Result<()> {
    poll(&mut [PollFd::new(sink, PollFlags::OUT)], None).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
    use std::sync::mpsc;

    use super::*;

    /// Only a failing test waits this long.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Returns a writer into a pipe, the pipe's other end, and the reported numbers of dropped
    /// lines.
    fn writer() -> (LineWriter, PipeReader, mpsc::Receiver<u64>) {
        let (reader, sink) = pipe().unwrap();
        let (sender, said) = mpsc::channel();
        let say = move |lines| sender.send(lines).unwrap();
        (LineWriter::start(sink, say).unwrap(), reader, said)
    }

    /// Writes more lines than pipe and buffer hold.
    fn flood(writer: &mut LineWriter) -> u64 {
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let lines = 2 * CAPACITY / line.len();
        for _ in 0..lines {
            writer.write_all(&line).unwrap();
        }
        lines as u64
    }

    #[test]
    fn unread_lines_hold_nothing_up_and_are_counted_and_reported_once() {
        let (mut writer, reader, said) = writer();
        let lines = flood(&mut writer);
        let dropped = writer.dropped();
        assert!(dropped > 0 && dropped < lines, "{dropped} of {lines}");
        assert!(said.try_recv().is_err(), "nothing flows yet");
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        for _ in 0..lines - dropped {
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line.len(), 1000, "lines are whole");
        }
        assert_eq!(said.recv_timeout(PATIENCE), Ok(dropped));
        writer.write_all(b"on it goes\n").unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "on it goes\n");
        assert!(said.try_recv().is_err(), "once is enough");
    }

    #[test]
    fn the_last_words_find_room_and_are_waited_for_no_longer_than_the_limit() {
        let (mut writer, mut reader, _said) = writer();
        flood(&mut writer);
        writer.push_last("the end\n");
        // Returns although there is no reader.
        writer.drain(Duration::from_millis(1));
        let reading = thread::spawn(move || {
            let mut text = Vec::new();
            while !text.ends_with(b"the end\n") {
                let mut piece = [0; 4096];
                let length = reader.read(&mut piece).unwrap();
                text.extend_from_slice(&piece[..length]);
            }
        });
        writer.drain(PATIENCE);
        reading.join().unwrap();
    }

    #[test]
    fn lines_for_a_reader_that_has_gone_are_counted_and_not_spoken_of() {
        let (mut writer, reader, said) = writer();
        drop(reader);
        for line in ["one\n", "two\n"] {
            writer.write_all(line.as_bytes()).unwrap();
            writer.drain(PATIENCE);
        }
        assert_eq!(writer.dropped(), 2);
        assert!(said.try_recv().is_err());
    }

    #[test]
    fn a_sink_that_does_not_wait_gets_every_line_all_the_same() {
        let (reader, sink) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&sink, true).unwrap();
        let mut writer = LineWriter::start(sink, |_| ()).unwrap();
        let reading = thread::spawn(move || BufReader::new(reader).lines().take(2000).count());
        for _ in 0..2000 {
            writer
                .write_all([b"x".repeat(99), b"\n".to_vec()].concat().as_slice())
                .unwrap();
        }
        assert_eq!(reading.join().unwrap(), 2000);
        assert_eq!(writer.dropped(), 0);
    }
}
