//! A token that means "accept no more work".
//!
//! Only what would otherwise start something new checks it: capture, and waits between two
//! attempts. Every other stage ends because its input has closed.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// The token; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Shutdown {
    /// Creates a token that has not been requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests the shutdown and wakes all waiting threads.
    pub fn request(&self) {
        let (requested, changed) = &*self.shared;
        *requested.lock() = true;
        changed.notify_all();
    }

    /// Waits until `moment`, or less if the shutdown is requested; returns whether it is.
    pub fn wait_until(&self, moment: Instant) -> bool {
        let (requested, changed) = &*self.shared;
        let mut requested = requested.lock();
        changed.wait_while_until(&mut requested, |requested| !*requested, moment);
        *requested
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_wakes_all_that_wait() {
        let shutdown = Shutdown::new();
        let waiting = thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.wait_until(Instant::now() + Duration::from_secs(600))
        });
        shutdown.request();
        assert!(waiting.join().unwrap());
        assert!(shutdown.wait_until(Instant::now()));
    }

    #[test]
    fn without_a_request_the_wait_ends_at_its_moment() {
        assert!(!Shutdown::new().wait_until(Instant::now()));
    }
}
