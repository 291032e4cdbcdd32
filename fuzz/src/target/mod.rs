//! The targets, one module per reader, and their limits.

mod checkpoint;
mod image;
mod journal;
mod manifest;
mod onnx;
mod payload;

use std::time::Duration;

/// A reader of outside data.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and its folder in the corpus.
    pub name: &'static str,
    /// Reads the input, whatever it is: without a panic, to an end, and checks what it promises
    /// about the outcome.
    pub read: fn(&[u8]),
    /// What it may use.
    pub limits: Limits,
    /// Most bytes of an input; longer ones are slow and find nothing new.
    pub longest: usize,
    /// Pieces of its language, for making inputs.
    pub words: &'static [&'static [u8]],
}

/// What a reader may use for one input. Memory has a share in proportion to the input, and a fixed
/// one.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes held at a time, whatever the input.
    pub peak: usize,
    /// Bytes held at a time, for each byte of the input.
    pub peak_per_byte: usize,
    /// Bytes requested in total, whatever the input.
    pub total: usize,
    /// Bytes requested in total, for each byte of the input.
    pub total_per_byte: usize,
}

/// Processor time for one input. The slowest took a tenth of it, with all checks on.
pub const MOST_TIME: Duration = Duration::from_secs(5);

/// All readers.
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
