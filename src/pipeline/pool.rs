//! A fixed number of buffers that go round: taken, filled, used, given back.
//!
//! It is what keeps the hot path free of allocation, and what bounds how far preprocessing may
//! run ahead of inference: who finds the pool empty waits.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

/// Hands out buffers of one kind.
#[derive(Debug)]
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    free: Mutex<Vec<T>>,
    returned: Condvar,
}

/// A buffer on loan; dropping it gives it back.
#[derive(Debug)]
pub struct Pooled<T> {
    /// Present until dropped.
    buffer: Option<T>,
    shared: Arc<Shared<T>>,
}

impl<T> Pool<T> {
    /// A pool of these buffers.
    pub fn new(buffers: Vec<T>) -> Self {
        Self {
            shared: Arc::new(Shared {
                free: Mutex::new(buffers),
                returned: Condvar::new(),
            }),
        }
    }

    /// Waits for a free buffer. Its content is that of its last use.
    pub fn take(&self) -> Pooled<T> {
        let free = self
            .shared
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .shared
            .returned
            .wait_while(free, |free| free.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        Pooled {
            buffer: free.pop(),
            shared: Arc::clone(&self.shared),
        }
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
        let mut free = self
            .shared
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.extend(buffer);
        drop(free);
        self.shared.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_buffer_that_is_given_back_is_the_one_handed_out_next() {
        let pool = Pool::new(vec![vec![0_u8; 4]]);
        let mut loan = pool.take();
        loan[0] = 7;
        let address = loan.as_ptr();
        drop(loan);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again[0]), (address, 7));
    }

    #[test]
    fn who_finds_the_pool_empty_waits_for_a_buffer() {
        let pool = Pool::new(vec![1]);
        let loan = pool.take();
        let waiting = thread::spawn(move || *pool.take());
        drop(loan);
        assert_eq!(waiting.join().unwrap(), 1);
    }
}
