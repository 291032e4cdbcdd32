//! A child process whose lines are read as they come. Tests wait for lines, never for time.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Much longer than anything here takes on a busy machine; only a failing test waits this long.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How many of its last lines a process says when the test fails.
const LAST_LINES: usize = 60;

/// A child; it is killed when it is dropped.
pub struct Process {
    child: Child,
    name: &'static str,
    lines: Mutex<Receiver<String>>,
    /// What was read so far, for the message of a failing test.
    seen: Mutex<Vec<String>>,
}

impl Process {
    /// Starts a command; its lines are those of whichever stream is piped.
    pub fn spawn(command: &mut Command, name: &'static str, stdout: Stdio, stderr: Stdio) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (sender, lines) = mpsc::channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            child,
            name,
            lines: Mutex::new(lines),
            seen: Mutex::new(Vec::new()),
        }
    }

    /// Waits for the first line from here on that fits, and returns it.
    pub fn wait_for_line(&self, what: &str, fits: impl FnMut(&str) -> bool) -> String {
        self.lines_until(what, fits)
            .pop()
            .expect("it ends with the line that fits")
    }

    /// Returns the lines from here on, up to and with the first that fits.
    pub fn lines_until(&self, what: &str, mut fits: impl FnMut(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + LIMIT;
        let mut lines = Vec::new();
        loop {
            let line = self.line_before(what, deadline);
            let is_last = fits(&line);
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    fn line_before(&self, what: &str, deadline: Instant) -> String {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.lock().unwrap().recv_timeout(left) {
            Ok(line) => {
                self.seen.lock().unwrap().push(line.clone());
                line
            }
            Err(error) => {
                let why = match error {
                    RecvTimeoutError::Timeout => "nothing for too long",
                    RecvTimeoutError::Disconnected => "it has ended",
                };
                let seen = self.seen.lock().unwrap().join("\n");
                panic!("{}: waiting for {what}: {why}; it said:\n{seen}", self.name)
            }
        }
    }

    /// Returns its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "{}: cannot send {signal}", self.name);
    }

    /// Waits for its end, and returns how it ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        // Its streams close when it ends, so this does not poll; what is left in them is kept.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.lock().unwrap().recv_timeout(left) {
                Ok(line) => self.seen.lock().unwrap().push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!(
                    "{}: does not end; it said:\n{}",
                    self.name,
                    self.seen.lock().unwrap().join("\n")
                ),
            }
        }
        self.child.wait().unwrap()
    }

    /// Says the last lines of a process that a failing test leaves behind: the reason is often in
    /// another one than the one that was waited for.
    fn say_last(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(lines.try_iter());
        let from = seen.len().saturating_sub(LAST_LINES);
        eprintln!(
            "{}, its last lines:\n{}",
            self.name,
            seen[from..].join("\n")
        );
    }

    /// Returns everything that was read so far.
    pub fn seen(&self) -> String {
        self.seen.lock().unwrap().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            self.say_last();
        }
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
