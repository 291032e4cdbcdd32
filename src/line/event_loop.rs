//! The runtime that the publisher and the monitor each have on their own thread.

use std::io;
use std::os::unix::net::UnixStream;

use tokio::runtime::{Builder, Runtime};

/// Pairs of descriptors that a runtime needs: for signals, timers and the kernel's event queue.
const PAIRS: usize = 3;

/// Creates a runtime for one thread.
///
/// # Errors
/// If the system has no descriptors for it. The library panics if some of them are missing, so they
/// are requested beforehand.
pub(crate) fn new() -> io::Result<Runtime> {
    let spare = (0..PAIRS).map(|_| UnixStream::pair());
    drop(spare.collect::<io::Result<Vec<_>>>()?);
    Builder::new_current_thread().enable_all().build()
}
