//! One input, read within the limits.

use flawd_testing::memory::{Counting, Taken, count_within};

use crate::target::{Limits, MOST_TIME, Target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Limits {
    /// Returns the memory that an input of `bytes` bytes may hold at a time.
    pub fn peak(&self, bytes: usize) -> usize {
        self.peak + self.peak_per_byte * bytes
    }

    /// Returns the memory that an input of `bytes` bytes may request in total.
    pub fn total(&self, bytes: usize) -> usize {
        self.total + self.total_per_byte * bytes
    }
}

/// Lets the target read the input, and returns what that used.
///
/// # Panics
/// If the target does, or uses more than it may. A target that never ends is not stopped.
pub fn feed(target: &Target, input: &[u8]) -> Taken {
    let (most, length) = (target.limits.peak(input.len()), input.len());
    let taken = count_within(most, || (target.read)(input));
    assert!(
        taken.peak <= most,
        "{} bytes are held at a time for {length} bytes of input, where {most} are allowed",
        taken.peak
    );
    let most = target.limits.total(length);
    assert!(
        taken.total <= most,
        "{} bytes are asked for in all for {length} bytes of input, where {most} are allowed",
        taken.total
    );
    assert!(
        taken.time <= MOST_TIME,
        "{length} bytes of input take {:?} of processor time, where {MOST_TIME:?} is allowed",
        taken.time
    );
    taken
}
