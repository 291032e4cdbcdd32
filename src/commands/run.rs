//! `flawd run`: the inspection daemon.

use std::path::PathBuf;

use crate::{
    daemon::{self, Daemon},
    failure::{Failure, Outcome},
    pipeline::event,
};

/// Arguments of `flawd run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/flawd/flawd.toml"
    )]
    config: PathBuf,
}

/// Inspects until SIGTERM, SIGINT or the end of every source.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: RunArgs) -> Outcome {
    let (events, received) = event::channel();
    daemon::listen_to_signals(events.clone())?;
    Daemon::prepare(&args.config)
        .and_then(|daemon| daemon.run(&events, &received))
        .map_err(|error| Failure::new(error.kind(), error))
}
