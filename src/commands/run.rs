//! `flawd run`: the inspection daemon.

use super::args::runtime::ConfigArgs;
use super::failure::{Failure, Outcome};
use crate::exit_code::Kind;
use crate::line::daemon::{self, Daemon};
use crate::line::pipeline::event;

/// Inspects until SIGTERM, SIGINT or the end of every source.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: ConfigArgs) -> Outcome {
    let (events, received) = event::channel();
    daemon::listen_to_signals(events.clone())
        .map_err(|error| Failure::new(Kind::of(&error, Kind::Bug), error))?;
    Daemon::prepare(&args.config)
        .and_then(|daemon| daemon.run(&events, &received))
        .map_err(|error| Failure::new(error.kind(), error))
}
