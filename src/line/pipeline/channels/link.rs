//! The bounded channel between two stages, with a stated overflow policy.
//!
//! `std`'s channels can only refuse the newest item when full. A camera needs the opposite: the
//! waiting frame is stale, the arriving one is not. Hence this one: a queue, two condition
//! variables, and an [`Overflow`] that sets what happens when it is full.
//!
//! A link closes when its last sender or its receiver is gone. What was sent before the senders
//! were dropped is still received, in order: closing travels downstream behind the last item, which
//! is how the pipeline drains.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::line::config::Overflow;

/// The sending end; clones feed the same link.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<LinkShared<T>>,
}

/// The receiving end; there is only one.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<LinkShared<T>>,
}

/// The receiver is gone; the item is returned.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// What arrived until a given moment.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The oldest item.
    Item(T),
    /// Nothing arrived in time.
    Nothing,
    /// Nothing, and nothing will come: every sender is gone.
    Closed,
}

#[derive(Debug)]
struct LinkShared<T> {
    state: Mutex<LinkState<T>>,
    item_arrived: Condvar,
    room_made: Condvar,
    capacity: usize,
    overflow: Overflow,
}

#[derive(Debug)]
struct LinkState<T> {
    items: VecDeque<T>,
    senders: usize,
    has_receiver: bool,
}

impl<T> LinkState<T> {
    /// Returns whether there is nothing to take and something may come.
    fn is_waiting(&self) -> bool {
        self.items.is_empty() && self.senders > 0
    }
}

/// Creates a link that holds at most `capacity` items.
pub fn link<T>(capacity: NonZeroUsize, overflow: Overflow) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(LinkShared {
        state: Mutex::new(LinkState {
            items: VecDeque::with_capacity(capacity.get()),
            senders: 1,
            has_receiver: true,
        }),
        item_arrived: Condvar::new(),
        room_made: Condvar::new(),
        capacity: capacity.get(),
        overflow,
    });
    let sender = Sender {
        shared: Arc::clone(&shared),
    };
    (sender, Receiver { shared })
}

impl<T> LinkShared<T> {
    fn wait_for_room(&self, state: &mut MutexGuard<'_, LinkState<T>>) {
        self.room_made.wait_while(state, |state| {
            state.items.len() >= self.capacity && state.has_receiver
        });
    }
}

impl<T> Sender<T> {
    /// Enqueues an item. Under [`Overflow::NewestWins`] a full link returns the oldest item, which
    /// the caller has to count; under [`Overflow::Block`] it waits and returns `None`.
    ///
    /// # Errors
    /// [`Closed`] with the item, if there is no receiver.
    pub fn send(&self, item: T) -> Result<Option<T>, Closed<T>> {
        let mut state = self.shared.state.lock();
        if self.shared.overflow == Overflow::Block {
            self.shared.wait_for_room(&mut state);
        }
        if !state.has_receiver {
            return Err(Closed(item));
        }
        let displaced = if state.items.len() >= self.shared.capacity {
            state.items.pop_front()
        } else {
            None
        };
        state.items.push_back(item);
        drop(state);
        self.shared.item_arrived.notify_one();
        Ok(displaced)
    }

    /// Takes back the items that were sent, have not been received, and satisfy `fits`; in order.
    pub fn take_back(&self, mut fits: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.shared.state.lock();
        let mut taken = Vec::new();
        let mut index = 0;
        while let Some(item) = state.items.get(index) {
            if fits(item) {
                taken.extend(state.items.remove(index));
            } else {
                index += 1;
            }
        }
        drop(state);
        if !taken.is_empty() {
            self.shared.room_made.notify_all();
        }
        taken
    }

    /// Looks at what was sent and has not been received; `look` must not wait for anything.
    pub fn peek<R>(&self, look: impl FnOnce(&VecDeque<T>) -> R) -> R {
        look(&self.shared.state.lock().items)
    }

    /// Enqueues `item` even if the link is full, without blocking. For messages that must arrive
    /// and whose number is bounded elsewhere. Returns `false` if the receiver is gone.
    pub fn send_unbounded(&self, item: T) -> bool {
        let mut state = self.shared.state.lock();
        let is_taken = state.has_receiver;
        if is_taken {
            state.items.push_back(item);
        }
        drop(state);
        self.shared.item_arrived.notify_one();
        is_taken
    }
}

impl<T> Receiver<T> {
    /// Waits for the oldest item; returns `None` once every sender is gone and everything was
    /// received.
    pub fn recv(&self) -> Option<T> {
        let mut state = self.shared.state.lock();
        let item_arrived = &self.shared.item_arrived;
        item_arrived.wait_while(&mut state, |state| state.is_waiting());
        self.take(state)
    }

    /// Waits for the oldest item until `moment`, or indefinitely if `None`.
    pub fn recv_until(&self, moment: Option<Instant>) -> Received<T> {
        let Some(moment) = moment else {
            return self.recv().map_or(Received::Closed, Received::Item);
        };
        let mut state = self.shared.state.lock();
        let item_arrived = &self.shared.item_arrived;
        item_arrived.wait_while_until(&mut state, |state| state.is_waiting(), moment);
        let is_closed = state.senders == 0;
        match self.take(state) {
            Some(item) => Received::Item(item),
            None if is_closed => Received::Closed,
            None => Received::Nothing,
        }
    }

    /// Returns the oldest item, if any.
    pub fn try_recv(&self) -> Option<T> {
        self.take(self.shared.state.lock())
    }

    fn take(&self, mut state: MutexGuard<'_, LinkState<T>>) -> Option<T> {
        let item = state.items.pop_front();
        drop(state);
        self.shared.room_made.notify_all();
        item
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.state.lock().senders += 1;
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.state.lock().senders -= 1;
        self.shared.item_arrived.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.has_receiver = false;
        // Items may hold buffers of a pool that are waited for.
        let left = std::mem::take(&mut state.items);
        drop(state);
        drop(left);
        self.shared.room_made.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn capacity(items: usize) -> NonZeroUsize {
        NonZeroUsize::new(items).unwrap()
    }

    #[test]
    fn a_full_link_where_the_newest_wins_gives_back_the_oldest() {
        let (sender, receiver) = link(capacity(1), Overflow::NewestWins);
        assert_eq!(sender.send(1), Ok(None));
        assert_eq!(sender.send(2), Ok(Some(1)));
        assert_eq!(receiver.recv(), Some(2));
    }

    #[test]
    fn what_was_sent_before_the_senders_went_is_still_received() {
        let (sender, receiver) = link(capacity(4), Overflow::Block);
        let second = sender.clone();
        sender.send(1).unwrap();
        drop(sender);
        second.send(2).unwrap();
        drop(second);
        assert_eq!(receiver.recv(), Some(1));
        assert_eq!(receiver.recv(), Some(2));
        assert_eq!(receiver.recv(), None);
    }

    #[test]
    fn a_blocked_sender_is_woken_when_the_receiver_goes() {
        let (sender, receiver) = link(capacity(1), Overflow::Block);
        sender.send(1).unwrap();
        let blocked = thread::spawn(move || sender.send(2));
        drop(receiver);
        assert_eq!(blocked.join().unwrap(), Err(Closed(2)));
    }

    #[test]
    fn what_is_forced_in_waits_for_no_room() {
        let (sender, receiver) = link(capacity(1), Overflow::Block);
        sender.send(1).unwrap();
        assert!(sender.send_unbounded(2));
        assert_eq!(
            (receiver.try_recv(), receiver.try_recv()),
            (Some(1), Some(2))
        );
        assert_eq!(receiver.try_recv(), None);
        drop(receiver);
        assert!(!sender.send_unbounded(3));
    }

    #[test]
    fn what_has_not_been_received_can_be_taken_back_and_makes_room() {
        let (sender, receiver) = link(capacity(3), Overflow::Block);
        for item in [1, 2, 3] {
            sender.send(item).unwrap();
        }
        assert_eq!(sender.take_back(|item| item % 2 == 1), [1, 3]);
        assert_eq!(sender.peek(|items| items.len()), 1);
        sender.send(4).unwrap();
        sender.send(5).unwrap();
        let left: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert_eq!(left, [2, 4, 5]);
        assert!(sender.take_back(|_| true).is_empty());
    }

    #[test]
    fn who_waits_until_a_moment_is_told_what_came_and_that_nothing_will() {
        let (sender, receiver) = link(capacity(1), Overflow::Block);
        let past = Some(Instant::now());
        assert_eq!(receiver.recv_until(past), Received::Nothing);
        sender.send(7).unwrap();
        assert_eq!(receiver.recv_until(past), Received::Item(7));
        sender.send(8).unwrap();
        drop(sender);
        assert_eq!(receiver.recv_until(past), Received::Item(8));
        assert_eq!(receiver.recv_until(past), Received::Closed);
        assert_eq!(receiver.recv_until(None), Received::Closed);
    }

    proptest! {
        /// Two threads race through the link. Whatever the interleaving: every item is either
        /// received or given back, none twice, and those received are in the order sent.
        #[test]
        fn no_item_is_lost_uncounted_and_order_is_kept(
            items in 0_u32..500,
            size in 1_usize..5,
            newest_wins: bool,
        ) {
            let overflow = if newest_wins { Overflow::NewestWins } else { Overflow::Block };
            let (sender, receiver) = link(capacity(size), overflow);
            let producer = thread::spawn(move || {
                (0..items).filter_map(|item| sender.send(item).unwrap()).collect::<Vec<_>>()
            });
            let received: Vec<_> = std::iter::from_fn(|| receiver.recv()).collect();
            let displaced = producer.join().unwrap();
            prop_assert!(received.is_sorted());
            prop_assert!(displaced.is_sorted());
            if !newest_wins {
                prop_assert!(displaced.is_empty());
            }
            let mut all = [received, displaced].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..items).collect::<Vec<_>>());
        }
    }
}
