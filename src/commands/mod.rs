//! One file or folder per command: its arguments, and the thin function that turns them into calls.
//!
//! Only here and in `main` may anything be printed to standard output. Logic that is worth testing
//! belongs in the modules that the commands call.

pub mod ablate;
pub mod args;
pub mod backbone;
pub mod bench;
pub mod cache;
pub mod calibrate;
pub mod check;
pub mod cli;
pub mod demo;
pub mod doctor;
pub mod evaluate;
pub mod generate;
pub mod model;
pub mod predict;
pub mod run;
pub mod runtime;
pub mod train;

pub mod failure;
mod output;
mod progress;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use clap::Args;
use flawd_core::calibration::CalibrationError;
use flawd_core::interrupted::Interrupted;

use self::failure::Failure;
use crate::bundle::Bundle;
use crate::bundle::scorer::Scorer;
use crate::lab::calibration::{DEFAULT_RATE, PromiseTarget, Selection};
use args::runtime::RuntimeArgs;

/// What a threshold promises; shared by the commands that calibrate.
#[derive(Clone, Copy, Debug, Args)]
struct PromiseArgs {
    /// False-reject rate that the threshold promises. Defaults to 0.01, or to the lowest rate that
    /// the images support if they are too few for that
    #[arg(long, value_name = "RATE", value_parser = share)]
    false_reject_rate: Option<f64>,
    /// If the images are too few for the requested rate, promise the lowest that they support
    #[arg(long)]
    accept_achievable: bool,
}

impl PromiseArgs {
    /// Returns the requested rate, if any.
    fn asked(&self) -> Option<f64> {
        self.false_reject_rate
    }

    fn promise(self) -> PromiseTarget {
        PromiseTarget {
            false_reject_rate: self.false_reject_rate.unwrap_or(DEFAULT_RATE),
            // The default may be relaxed, because it was not requested.
            accept_achievable: self.accept_achievable || self.false_reject_rate.is_none(),
        }
    }
}

/// How to treat pictures that do not belong in a calibration; shared by the commands that
/// calibrate.
#[derive(Clone, Debug, Args)]
struct SelectionArgs {
    /// Picture to leave out, given as path or file name; repeat for several. Recorded in the bundle
    #[arg(long, value_name = "NAME")]
    exclude: Vec<PathBuf>,
    /// Accept pictures that stand apart from the others as good parts. Otherwise they are listed
    /// and the calibration fails. Recorded in the bundle
    #[arg(long)]
    accept_outliers: bool,
}

impl SelectionArgs {
    fn selection(&self) -> Selection {
        Selection {
            exclude: self.exclude.clone(),
            accept_outliers: self.accept_outliers,
        }
    }
}

/// Turns a failed calibration into a message that names the arguments which resolve it.
fn ways_out(error: CalibrationError) -> Failure {
    match error {
        CalibrationError::TooFewScores { .. } => Failure::from(anyhow!(
            "{error}; leave --false-reject-rate out to promise the lowest rate that they support, or \
             bring more good images"
        )),
        error => error.into(),
    }
}

/// Parses a share such as a false-reject rate.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err(format!("`{text}` does not lie between 0 and 1")),
    }
}

/// Parses numbers separated by commas; returns none of them if any is invalid.
fn numbers<T: FromStr>(text: &str) -> Vec<T> {
    let numbers: Option<Vec<T>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    numbers.unwrap_or_default()
}

/// Whether the user has asked long work to stop, by SIGINT or SIGTERM. A second signal ends the
/// process at once.
struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    fn listen() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&stop),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self(stop))
    }

    /// Ends work that asks for this after each of its steps.
    fn check(&self) -> Result<(), Interrupted> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(Interrupted),
            false => Ok(()),
        }
    }
}

/// Verifies a bundle and loads its model.
fn open(bundle: &Path, args: &RuntimeArgs) -> Result<(Bundle, Scorer), Failure> {
    let bundle = Bundle::open(bundle).map_err(Failure::config)?;
    let runtime =
        crate::packages::runtime::load(args.onnxruntime.as_deref()).map_err(Failure::config)?;
    let scorer = Scorer::open(&bundle, runtime.with(&args.session_options()));
    Ok((bundle, scorer.map_err(Failure::config)?))
}

/// Returns what it means if no golden input is something other than a part.
fn without_foreign_input(has_foreign_input: bool) -> Option<&'static str> {
    (!has_foreign_input).then_some(
        "every golden input is a part, so no device has to prove that it calls something else ng; \
         flawd train and flawd calibrate DIR add one if the model gives it twice the threshold",
    )
}
