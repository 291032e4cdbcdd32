//! A fixed number of reused buffers: taken, filled, used, returned.
//!
//! It keeps the hot path free of allocation, and limits how far preprocessing may run ahead of
//! inference. A callback reports when a buffer is returned.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// Hands out buffers of one kind.
#[derive(Debug)]
pub struct Pool<T> {
    shared: Arc<PoolShared<T>>,
}

struct PoolShared<T> {
    free: Mutex<Vec<T>>,
    returned: Box<dyn Fn() + Send + Sync>,
}

/// A buffer on loan; dropping it returns it.
#[derive(Debug)]
pub struct Pooled<T> {
    /// Present until dropped.
    buffer: Option<T>,
    shared: Arc<PoolShared<T>>,
}

impl<T> Pool<T> {
    /// Creates a pool of these buffers; `returned` is called whenever one has been returned.
    pub fn new(buffers: Vec<T>, returned: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(PoolShared {
                free: Mutex::new(buffers),
                returned: Box::new(returned),
            }),
        }
    }

    /// Returns a free buffer, if any. Its content is that of its last use.
    pub fn take(&self) -> Option<Pooled<T>> {
        let mut free = self.shared.free.lock();
        let buffer = free.pop()?;
        Some(Pooled {
            buffer: Some(buffer),
            shared: Arc::clone(&self.shared),
        })
    }
}

impl<T> fmt::Debug for PoolShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

const ON_LOAN: &str = "a buffer is only taken out when the loan is dropped";

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.buffer.as_ref().expect(ON_LOAN)
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.buffer.as_mut().expect(ON_LOAN)
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        let buffer = self.buffer.take();
        let mut free = self.shared.free.lock();
        free.extend(buffer);
        drop(free);
        (self.shared.returned)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_buffer_that_is_given_back_is_the_one_handed_out_next() {
        let pool = Pool::new(vec![vec![0_u8; 4]], || ());
        let mut loan = pool.take().unwrap();
        loan[0] = 7;
        let address = loan.as_ptr();
        drop(loan);
        let again = pool.take().unwrap();
        assert_eq!((again.as_ptr(), again[0]), (address, 7));
    }

    #[test]
    fn who_finds_the_pool_empty_is_told_when_a_buffer_comes_back() {
        let returns = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&returns);
        let pool = Pool::new(vec![1], move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let loan = pool.take();
        assert!(pool.take().is_none());
        assert_eq!(returns.load(Ordering::Relaxed), 0);
        drop(loan);
        assert_eq!(returns.load(Ordering::Relaxed), 1);
        assert_eq!(pool.take().as_deref(), Some(&1));
    }
}
