//! The runtime that the publisher and the monitor have each on its own thread.

use std::io;
use std::os::unix::net::UnixStream;

use tokio::runtime::{Builder, Runtime};

/// Pairs of descriptors that a runtime takes: for signals, timers and the kernel's event queue.
const PAIRS: usize = 3;

/// A runtime for one thread.
///
/// # Errors
/// When the system has no descriptors for it. The library panics at some of them, so they are
/// asked for beforehand.
pub(crate) fn new() -> io::Result<Runtime> {
    let spare = (0..PAIRS).map(|_| UnixStream::pair());
    drop(spare.collect::<io::Result<Vec<_>>>()?);
    Builder::new_current_thread().enable_all().build()
}
