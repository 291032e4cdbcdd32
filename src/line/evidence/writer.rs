//! The thread that writes: one item at a time, and once a minute a check for old files.
//!
//! It holds the current item until it is written. While the disk does not accept it, evidence is
//! suspended: nothing more is admitted, what was admitted waits, and it retries every few seconds.
//! So every promised path comes to exist, unless the daemon ends first.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, info, warn};

use super::queue::{EvidenceQueue, NextItem};
use super::store::{EvidenceFiles, Store};
use super::{EvidenceError, EvidenceItem, EvidenceSettings, name, png_bound};
use crate::messages::with_causes;
use crate::pictures::encode;
use crate::pictures::heatmap::overlay;

/// Time between two checks of the files' ages. They are kept for days.
const SWEEP: Duration = Duration::from_secs(60);

/// For this long after the start nothing is deleted by age: a wrong clock of a board without a
/// battery is right by then, if it ever will be.
const SETTLED: Duration = Duration::from_secs(3600);

/// Time between two attempts at a disk that accepts nothing.
const RETRY: Duration = Duration::from_secs(2);

/// Shortest time between two log lines about pictures that were left out.
const SAY: Duration = Duration::from_secs(60);

/// The thread's niceness, relative to the others. A picture of 1280x720 with its heatmap takes some
/// 25 ms of processor time (measured on one core of an EPYC), which inspection may need itself; at
/// 10 the thread gets a tenth of a core's time next to a thread that wants all of it.
const NICER: i32 = 10;

/// The thread's body.
#[derive(Debug)]
pub struct EvidenceWriter {
    settings: Arc<EvidenceSettings>,
    queue: Arc<EvidenceQueue>,
    /// `None` while the folder cannot be used.
    store: Option<Store>,
    in_hand: Option<InHand>,
    /// Why nothing can be written.
    suspended: Option<String>,
    said: Option<Instant>,
    calendar: Calendar,
    pub(crate) settled: Duration,
    pub(crate) sweep: Duration,
    pub(crate) retry: Duration,
}

/// The date by which pictures are aged: no later than the clock shows, and no later than the start
/// plus the time that has passed since. So a clock that is set forward, rightly or wrongly, makes
/// nothing old that is not.
#[derive(Debug)]
struct Calendar {
    begun: (SystemTime, Instant),
}

impl Calendar {
    /// Creates a calendar that begins at this moment, on both clocks.
    fn new(wall: SystemTime, monotonic: Instant) -> Self {
        Self {
            begun: (wall, monotonic),
        }
    }

    /// Returns the time since the beginning.
    fn passed(&self, monotonic: Instant) -> Duration {
        monotonic.saturating_duration_since(self.begun.1)
    }

    /// Returns the date at a later moment.
    fn today(&self, wall: SystemTime, monotonic: Instant) -> SystemTime {
        let expected = self.begun.0.checked_add(self.passed(monotonic));
        expected.map_or(wall, |expected| wall.min(expected))
    }
}

/// An item that is being written.
#[derive(Debug)]
struct InHand {
    files: EvidenceFiles,
    /// The memory that was reserved for it.
    weight: usize,
}

impl EvidenceWriter {
    pub(crate) fn open(
        settings: Arc<EvidenceSettings>,
        queue: Arc<EvidenceQueue>,
    ) -> Result<Self, EvidenceError> {
        let mut writer = Self {
            settings,
            queue,
            store: None,
            in_hand: None,
            suspended: None,
            said: None,
            calendar: Calendar::new(SystemTime::now(), Instant::now()),
            settled: SETTLED,
            sweep: SWEEP,
            retry: RETRY,
        };
        match Store::open(&writer.settings.folder) {
            Ok(store) => writer.store = Some(store),
            Err(error @ EvidenceError::InUse { .. }) => return Err(error),
            Err(error) => writer.suspend(&error),
        }
        writer.report();
        Ok(writer)
    }

    /// Writes until every [`EvidenceSink`](super::EvidenceSink) is gone and what was admitted is
    /// written. Items that the disk does not accept at that moment are abandoned, counted and
    /// reported.
    pub fn run(mut self) {
        if let Err(error) = be_nice() {
            debug!(%error, "Evidence writer keeps its priority");
        }
        while self.step() {}
    }

    /// Takes the next item, or waits for a while, then does pending work; returns `false` after the
    /// last item.
    pub(crate) fn step(&mut self) -> bool {
        let is_suspended = self.suspended.is_some();
        let patience = if is_suspended { self.retry } else { self.sweep };
        let next = self.queue.next(patience, is_suspended);
        let goes_on = !matches!(next, NextItem::Closed);
        if let NextItem::Item(item) = next {
            self.in_hand = Some(InHand {
                weight: item.weight(),
                files: self.pack(item),
            });
        }
        match self.attempt() {
            Ok(()) => self.resume(),
            Err(error) => self.suspend(&error),
        }
        self.say_left_out(!goes_on);
        self.report();
        // After an attempt finally succeeds, what had to wait behind it has its turn.
        let has_recovered = is_suspended && self.suspended.is_none();
        if goes_on || has_recovered {
            return true;
        }
        self.give_up();
        false
    }

    /// Converts pixels to files.
    fn pack(&self, item: EvidenceItem) -> EvidenceFiles {
        let picture = encode::png(&item.picture).expect("a camera's picture fits into a PNG");
        let map =
            item.anomaly
                .as_ref()
                .and_then(|anomaly| match anomaly.geometry.apply(&item.picture) {
                    Ok(inspected) => {
                        let drawn = overlay(&inspected, &anomaly.map, anomaly.threshold);
                        Some(encode::png(&drawn).expect("a part of the picture fits into a PNG"))
                    }
                    Err(error) => {
                        warn!(camera = item.camera, seq = item.seq, %error, "No heatmap drawn");
                        None
                    }
                });
        // A quota that is too small for both holds at least the picture: it was promised.
        debug_assert!(picture.len() as u64 <= png_bound(item.picture.size()));
        let left = self.settings.max_size.saturating_sub(picture.len() as u64);
        EvidenceFiles {
            stem: name::stem(&item),
            captured: SystemTime::try_from(item.captured)
                .expect("the system's time reaches further than timestamps"),
            map: map.filter(|map| map.len() as u64 <= left),
            picture,
        }
    }

    /// Does everything that can fail: the folder, old files, and the item in hand.
    fn attempt(&mut self) -> Result<(), EvidenceError> {
        if self.store.as_ref().is_some_and(|store| !store.is_current()) {
            self.store = None;
        }
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(Store::open(&self.settings.folder)?),
        };
        let now = Instant::now();
        let limit = (self.calendar.passed(now) >= self.settled)
            .then(|| self.calendar.today(SystemTime::now(), now))
            .and_then(|today| today.checked_sub(self.settings.max_age));
        if let Some(limit) = limit {
            store.expire(limit)?;
        }
        if let Some(InHand { files, weight }) = &self.in_hand {
            store.put(files, self.settings.max_size, self.settings.reserve)?;
            self.queue.release(*weight, true);
            self.in_hand = None;
        }
        Ok(())
    }

    fn suspend(&mut self, error: &EvidenceError) {
        let cause = with_causes(error);
        if self.suspended.is_none() {
            error!(error = %cause, "Evidence suspended: pictures are not kept until this is mended");
        }
        self.suspended = Some(cause);
    }

    fn resume(&mut self) {
        if self.suspended.take().is_some() {
            let left_out = self.queue.take_unsaid();
            info!(left_out, "Evidence goes on: pictures are kept again");
        }
    }

    /// Reports that the disk is too slow, at the end in any case. While nothing can be written,
    /// that has already been reported.
    fn say_left_out(&mut self, is_end: bool) {
        let is_due = self.said.is_none_or(|said| said.elapsed() >= SAY) || is_end;
        if self.suspended.is_some() || !is_due {
            return;
        }
        let left_out = self.queue.take_unsaid();
        if left_out > 0 {
            warn!(
                left_out,
                "Pictures left out: there were more than the disk could take"
            );
            self.said = Some(Instant::now());
        }
    }

    fn report(&self) {
        let count = |of: fn(&Store) -> u64| self.store.as_ref().map_or(0, of);
        let (files, bytes) = (count(Store::files), count(Store::bytes));
        self.queue.report(files, bytes, self.suspended.clone());
    }

    fn give_up(&mut self) {
        let in_hand = self.in_hand.take();
        if let Some(InHand { weight, .. }) = &in_hand {
            self.queue.release(*weight, false);
        }
        let given_up = u64::from(in_hand.is_some()) + self.queue.give_up();
        if given_up > 0 {
            error!(
                given_up,
                "Pictures given up: the disk did not take them before the end"
            );
        }
    }
}

/// Lowers the priority of this thread: in Linux, unlike in POSIX, each has its own.
fn be_nice() -> rustix::io::Result<i32> {
    rustix::process::nice(NICER)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn pictures_grow_old_as_fast_as_time_passes_whatever_is_done_to_the_clock() {
        let (wall, monotonic) = (SystemTime::now(), Instant::now());
        let calendar = Calendar::new(wall, monotonic);
        let hours = |hours| Duration::from_hours(hours);
        let after = |passed, set_by| {
            let today = calendar.today(wall + passed + set_by, monotonic + passed);
            today.duration_since(wall).unwrap()
        };
        assert_eq!(after(hours(30), Duration::ZERO), hours(30));
        assert_eq!(after(hours(30), hours(24 * 365)), hours(30));
        // It was ahead at the start, and is right now.
        let right = wall - hours(24 * 365);
        assert_eq!(calendar.today(right, monotonic + hours(30)), right);
    }

    #[test]
    fn only_the_writers_thread_is_nice() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let of_writer = thread::spawn(move || {
            be_nice().unwrap();
            niceness()
        });
        assert_eq!(of_writer.join().unwrap(), (before + NICER).min(19));
        assert_eq!(niceness(), before);
    }
}
