//! Measures what a piece of work uses: memory and processor time, counted in its thread.
//!
//! Memory is counted in programs that have [`Counting`] as their allocator:
//!
//! ```
//! use flawd_testing::memory::{Counting, count};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! fn main() {
//!     assert!(count(|| drop(vec![1_u8; 1000])).peak >= 1000);
//! }
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;
use std::{hint, ptr, thread};

use rustix::time::{ClockId, clock_gettime};

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Peak bytes of memory held, including what was requested and refused.
    pub peak: usize,
    /// Bytes of memory requested in total, a measure of the work that was done.
    pub total: usize,
    /// Processor time.
    pub time: Duration,
}

/// Measures what `work` uses in this thread.
pub fn count(work: impl FnOnce()) -> Taken {
    count_within(usize::MAX, work)
}

/// Measures what `work` uses in this thread, with at most `most` bytes held at a time. The first
/// request beyond is refused, as on a machine that is out of memory, so that a mistake does not
/// take the machine down. From then on, and in a panic, everything is granted: it may be about to
/// report what is wrong.
///
/// # Panics
/// If the allocator of this program is not [`Counting`].
pub fn count_within(most: usize, work: impl FnOnce()) -> Taken {
    assert!(is_counting(), "`Counting` is the global allocator");
    let begun = thread_time();
    BOOK.set(Book {
        most,
        ..Book::EMPTY
    });
    work();
    let Book { peak, total, .. } = BOOK.replace(Book::EMPTY);
    Taken {
        peak,
        total,
        time: thread_time().saturating_sub(begun),
    }
}

/// Whether memory that this thread requests is booked.
fn is_counting() -> bool {
    BOOK.set(Book::EMPTY);
    drop(hint::black_box(Box::new(1_u8)));
    BOOK.get().total > 0
}

/// Returns the processor time of this thread so far.
pub fn thread_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// Returns the processor time of all threads of this process so far.
pub fn process_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("time on a processor is never negative")
}

#[derive(Clone, Copy)]
struct Book {
    now: usize,
    peak: usize,
    total: usize,
    most: usize,
}

impl Book {
    const EMPTY: Self = Self {
        now: 0,
        peak: 0,
        total: 0,
        most: usize::MAX,
    };
}

thread_local! {
    static BOOK: Cell<Book> = const { Cell::new(Book::EMPTY) };
}

/// Books memory that is taken and given back at once; returns `false` if that is more than allowed.
fn book(taken: usize, given: usize) -> bool {
    let entry = BOOK.try_with(|book| {
        let mut all = book.get();
        // What was taken before counting began may be given back.
        let now = all.now.saturating_add(taken).saturating_sub(given);
        let allowed = now <= all.most || thread::panicking();
        all.peak = all.peak.max(now);
        all.total = all.total.saturating_add(taken);
        if allowed {
            all.now = now;
        } else {
            all.most = usize::MAX;
        }
        book.set(all);
        allowed
    });
    // A thread that ends no longer has a book.
    entry.unwrap_or(true)
}

/// The system's allocator, with a book for each thread.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is passed unchanged to the system's allocator, or answered with null, which
// means out of memory; booking allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !book(layout.size(), 0) {
            return ptr::null_mut();
        }
        // SAFETY: the caller upholds the contract that is required here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !book(layout.size(), 0) {
            return ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        book(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !book(size, layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn what_is_held_at_a_time_and_what_was_asked_for_in_all_are_told_apart() {
        let taken = count(|| {
            for _ in 0..3 {
                drop(std::hint::black_box(vec![1_u8; 1000]));
            }
        });
        assert_eq!((taken.peak, taken.total), (1000, 3000));
    }

    #[test]
    fn a_vector_that_grows_holds_what_it_has() {
        let taken = count(|| {
            let mut bytes = vec![1_u8; 1000];
            bytes.reserve_exact(4000);
            std::hint::black_box(&bytes);
        });
        assert_eq!((taken.peak, taken.total), (5000, 6000));
    }

    #[test]
    fn more_than_allowed_is_refused_and_said() {
        let taken = count_within(1000, || {
            let mut bytes: Vec<u8> = Vec::new();
            assert!(bytes.try_reserve_exact(999).is_ok());
            assert!(bytes.try_reserve_exact(1 << 40).is_err());
            assert!(bytes.try_reserve_exact(2000).is_ok());
        });
        assert_eq!(taken.peak, 1 << 40);
        assert!(Vec::<u8>::new().try_reserve_exact(2000).is_ok());
    }

    #[test]
    fn each_thread_has_its_own_count() {
        let taken = count(|| {
            let other = std::thread::spawn(|| vec![1_u8; 1 << 20].len());
            assert_eq!(other.join().expect("it ends"), 1 << 20);
        });
        assert!(taken.peak < 1 << 19, "{taken:?}");
    }

    #[test]
    fn time_is_that_of_the_processor() {
        let taken = count(|| while thread_time() == Duration::ZERO {});
        assert!(taken.time <= process_time());
    }
}
