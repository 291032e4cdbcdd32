//! Why a camera cannot be opened, or no longer delivers frames.

use std::io;

use crate::line::pipeline::capture::pixels::LayoutError;
use crate::line::pipeline::capture::reader::ReaderError;

/// Why a device delivers no frames.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The system refuses a call.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It does not deliver what is configured.
    #[error(transparent)]
    Agree(#[from] AgreeError),
    /// Its thread: the driver does not answer.
    #[error(transparent)]
    Reader(#[from] ReaderError),
}

/// Why a device does not deliver what is configured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AgreeError {
    /// Its pictures cannot be read by this program.
    #[error("it streams no pictures in one plane; another node of it may")]
    NoPictures,
    /// It changes the format that it is asked for.
    #[error("{mismatch}; {offer}")]
    Format {
        /// What it changes.
        mismatch: FormatMismatch,
        /// What it offers, human-readable.
        offer: String,
    },
    /// Frames come at another rate.
    #[error(
        "it gives {given:.2} frames a second where {asked} were asked: set `rate` to what it \
         gives, in whole frames"
    )]
    Rate {
        /// The configured rate.
        asked: u32,
        /// The rate that it gives.
        given: f64,
    },
}

/// In what way a driver's format is not the configured one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatMismatch {
    /// Another pixel format or size.
    #[error("asked for {asked}, it gives {given}")]
    Other {
        /// The configured one, for example `YUYV 640x480`.
        asked: String,
        /// The one that it gives.
        given: String,
    },
    /// Each picture consists of two that were taken one after the other.
    #[error("it gives interlaced pictures, which are not supported")]
    Interlaced,
    /// The driver describes rows that cannot be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}
