//! Counts what a thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What was allocated, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// At a time, at most.
    pub(crate) peak: usize,
    /// In all.
    pub(crate) total: usize,
    now: usize,
}

thread_local! {
    static COUNTED: Cell<Counted> = const { Cell::new(Counted { peak: 0, total: 0, now: 0 }) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn change(taken: usize, given: usize) {
    // A thread that ends has nothing to count with any more.
    COUNTED
        .try_with(|counted| {
            let mut all = counted.get();
            all.now = (all.now + taken).saturating_sub(given);
            all.total += taken;
            all.peak = all.peak.max(all.now);
            counted.set(all);
        })
        .ok();
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(layout.size(), 0);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        change(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        change(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        change(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What this thread allocates while something runs.
pub(crate) fn count(run: impl FnOnce()) -> Counted {
    COUNTED.set(Counted::default());
    run();
    COUNTED.get()
}
