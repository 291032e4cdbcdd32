//! The options of a journal, and the sizes that follow from them.

/// Smallest capacity of a journal, in bytes.
pub const MIN_CAPACITY: u64 = 64 << 10;

/// Largest usual segment. A new segment is filled with zeros inside a commit, so its size is a
/// delay; half a MiB is some 10 to 25 ms on a slow eMMC (20 to 50 MB/s).
const LARGEST_SEGMENT: u64 = 512 << 10;

/// How a journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most bytes on disk, at least [`MIN_CAPACITY`]. An entry may take a quarter of it, and at
    /// most 1 GiB.
    pub capacity: u64,
    /// What a commit withstands.
    pub sync: Durability,
}

/// What a commit withstands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Each commit waits until the data is on the disk (`fdatasync`), and survives a loss of power.
    Always,
    /// Each commit writes, and the operating system flushes at any time later; it survives a kill
    /// of the process.
    System,
}

impl Options {
    /// Returns the bytes of a usual segment file: small against the capacity, so that little is
    /// dropped when room is needed.
    pub(crate) fn segment_size(&self) -> u64 {
        (self.capacity / 8).min(LARGEST_SEGMENT)
    }

    /// Returns the bytes that the largest entry may take. Lengths are 32 bits wide.
    pub(crate) fn largest_entry(&self) -> u64 {
        (self.capacity / 4).min(1 << 30)
    }

    /// Returns `true` if writes wait for the disk.
    pub(crate) fn waits(&self) -> bool {
        self.sync == Durability::Always
    }
}
