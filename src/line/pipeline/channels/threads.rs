//! The named threads of the daemon, and how to wait for them without waiting forever.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Instant;
use std::{io, thread};

/// Threads that end on their own once their input has closed.
///
/// A panic in one ends the whole process (see `main`), so a thread that is gone has finished.
#[derive(Debug)]
pub struct Threads {
    running: BTreeSet<String>,
    finished_sender: mpsc::Sender<String>,
    finished: mpsc::Receiver<String>,
}

impl Threads {
    /// Creates an empty set.
    pub fn new() -> Self {
        let (finished_sender, finished) = mpsc::channel();
        Self {
            running: BTreeSet::new(),
            finished_sender,
            finished,
        }
    }

    /// Starts a thread. Linux shows the first 15 bytes of the name; names must differ.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let name = name.into();
        let finished = self.finished_sender.clone();
        let own_name = name.clone();
        thread::Builder::new().name(name.clone()).spawn(move || {
            body();
            // There is no listener left when the grace period is over.
            finished.send(own_name).ok();
        })?;
        self.running.insert(name);
        Ok(())
    }

    /// Starts a thread that is not waited for, because it may hang in a driver forever.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn spawn_detached(
        name: impl Into<String>,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        thread::Builder::new().name(name.into()).spawn(body)?;
        Ok(())
    }

    /// Waits for every thread, but not beyond `deadline`.
    ///
    /// # Errors
    /// The names of those that have not finished by then.
    pub fn join_until(mut self, deadline: Instant) -> Result<(), Vec<String>> {
        while !self.running.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.finished.recv_timeout(left) {
                Ok(name) => self.running.remove(&name),
                Err(_) => return Err(self.running.into_iter().collect()),
            };
        }
        Ok(())
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_crew_that_has_finished_is_joined() {
        let mut threads = Threads::new();
        threads.spawn("one", || ()).unwrap();
        threads.spawn("two", || ()).unwrap();
        assert_eq!(
            threads.join_until(Instant::now() + Duration::from_secs(60)),
            Ok(())
        );
    }

    #[test]
    fn the_one_that_hangs_is_named() {
        let (_keep, never) = mpsc::channel::<()>();
        let mut threads = Threads::new();
        threads
            .spawn("hangs", move || {
                never.recv().ok();
            })
            .unwrap();
        assert_eq!(
            threads.join_until(Instant::now()),
            Err(vec!["hangs".to_owned()])
        );
    }
}
