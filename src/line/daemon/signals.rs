//! The first SIGTERM or SIGINT requests a shutdown, the second ends the process immediately. SIGHUP
//! requests a reload of the configuration.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tracing::info;

use crate::line::pipeline::event::{DaemonEvent, EventSender};

/// Listens from now on, on a thread that ends with the process.
///
/// # Errors
/// If the system refuses the handlers.
pub fn listen(events: EventSender) -> io::Result<()> {
    let has_asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first of a kind finds the flag unset and sets it; the next of either
        // kind finds it set and ends the process within the handler, whatever hangs.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&has_asked))?;
        flag::register(signal, Arc::clone(&has_asked))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    info!("Asked to read the configuration again");
                    events.send(DaemonEvent::Reload);
                } else {
                    info!(signal, "Asked to stop");
                    events.send(DaemonEvent::Stop);
                }
            }
        })?;
    Ok(())
}
