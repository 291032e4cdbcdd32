//! Which code an input reaches.
//!
//! `cargo xtask fuzz` has the compiler put a counter of one byte on every edge between blocks of
//! code (LLVM's SanitizerCoverage, `inline-8bit-counters`). Without them, no input reaches anything
//! new.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

static BEGIN: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static END: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// What the compiler calls before `main`, once for each crate, with the bounds of all counters of
/// the program.
// SAFETY: no other function has this name, by which the compiler calls it.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(begin: *mut u8, end: *mut u8) {
    BEGIN.store(begin, Ordering::Relaxed);
    END.store(end, Ordering::Relaxed);
}

/// All code that was reached so far, and how often per input.
#[derive(Debug, Default)]
pub struct Coverage {
    /// For each edge, one bit per order of magnitude.
    seen: Vec<u8>,
    edges: usize,
}

impl Coverage {
    /// Returns the number of edges that were reached.
    pub fn edges(&self) -> usize {
        self.edges
    }

    /// Forgets what was reached before, so that `add` counts only what follows.
    pub fn begin() {
        for_each_word(|_, _| {});
    }

    /// Adds what was reached since [`Coverage::begin`]; returns `true` if some of it is new.
    pub fn add(&mut self) -> bool {
        let mut is_new = false;
        let Self { seen, edges } = self;
        for_each_word(|place, word| {
            for (offset, count) in word.to_ne_bytes().into_iter().enumerate() {
                let Some(bit) = magnitude(count) else {
                    continue;
                };
                let place = place + offset;
                if seen.len() <= place {
                    seen.resize(place + 1, 0);
                }
                *edges += usize::from(seen[place] == 0);
                is_new |= seen[place] & bit == 0;
                seen[place] |= bit;
            }
        });
        is_new
    }
}

/// Returns roughly how often: once, twice, three times, up to 7, 15, 31, 127 and more.
fn magnitude(count: u8) -> Option<u8> {
    Some(match count {
        0 => return None,
        1 => 1,
        2 => 2,
        3 => 4,
        4..8 => 8,
        8..16 => 16,
        16..32 => 32,
        32..128 => 64,
        128.. => 128,
    })
}

/// Calls `look` with the place and the value of each group of eight counters that is not zero, and
/// sets it to zero.
fn for_each_word(mut look: impl FnMut(usize, u64)) {
    let begin = BEGIN.load(Ordering::Relaxed);
    let length = END.load(Ordering::Relaxed) as usize - begin as usize;
    // Counters are not aligned; the few after the last eight are ignored.
    for place in (0..length / 8 * 8).step_by(8) {
        // SAFETY: the compiler guarantees that the counters lie between the two, and they are bytes
        // that live as long as the program. Other threads may count meanwhile, which loses a count.
        let word = unsafe { begin.add(place).cast::<u64>().read_unaligned() };
        if word != 0 {
            // SAFETY: as above.
            unsafe { begin.add(place).cast::<u64>().write_unaligned(0) };
            look(place, word);
        }
    }
}
