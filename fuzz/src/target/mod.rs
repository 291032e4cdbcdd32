//! What is fed, one module for each reader, and what it may take.

mod checkpoint;
mod image;
mod journal;
mod manifest;
mod onnx;
mod payload;

use std::time::Duration;

/// A reader of what comes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called, and its folder in the corpus.
    pub name: &'static str,
    /// Reads the input, whatever it is: without a panic, to an end, and with what it promises of
    /// the outcome.
    pub read: fn(&[u8]),
    /// What it may take.
    pub limits: Limits,
    /// Bytes of an input at most; longer ones take long and find nothing new.
    pub longest: usize,
    /// Pieces of its language, for inputs to be made with.
    pub words: &'static [&'static [u8]],
}

/// What a reader may take for one input. Memory is in proportion to the input, and a share that is
/// there for every input.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes held at a time, whatever the input.
    pub peak: usize,
    /// Bytes held at a time, for each byte of the input.
    pub peak_per_byte: usize,
    /// Bytes asked for in all, whatever the input.
    pub total: usize,
    /// Bytes asked for in all, for each byte of the input.
    pub total_per_byte: usize,
}

/// Processor time for one input. The slowest took a tenth of it, with all checks on.
pub const MOST_TIME: Duration = Duration::from_secs(5);

/// Every reader there is.
pub const ALL: [Target; 6] = [
    onnx::TARGET,
    checkpoint::TARGET,
    journal::TARGET,
    manifest::TARGET,
    payload::TARGET,
    image::TARGET,
];

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
