//! What is kept: in the order in which it was taken, and by date.
//!
//! The two differ once the clock was set. Room is made in the order, so that pictures of a wrong
//! date displace no later ones, and only the limit of age goes by the date. The order survives a
//! restart in the verdicts' numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::name;

/// The files of one item.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) stem: Box<str>,
    /// When the picture was taken, by the clock at that time.
    pub(crate) taken: SystemTime,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// All items.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By their place in the order, oldest first.
    items: BTreeMap<u64, Kept>,
    by_date: BTreeSet<(SystemTime, u64)>,
    /// The place of the next one.
    next: u64,
    files: u64,
    bytes: u64,
}

impl Index {
    /// Creates an index of what was found, in any order.
    pub(crate) fn of(found: Vec<Kept>) -> Self {
        let mut index = Self::default();
        for item in in_order(found) {
            index.push(item);
        }
        index
    }

    /// Adds an item as the newest one.
    pub(crate) fn push(&mut self, item: Kept) {
        self.files += item.files;
        self.bytes += item.bytes;
        self.by_date.insert((item.taken, self.next));
        self.items.insert(self.next, item);
        self.next += 1;
    }

    /// Removes the item at this place.
    pub(crate) fn remove(&mut self, place: u64) {
        if let Some(item) = self.items.remove(&place) {
            self.by_date.remove(&(item.taken, place));
            self.files -= item.files;
            self.bytes -= item.bytes;
        }
    }

    /// Returns the number of files.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// Returns the bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the item at this place.
    pub(crate) fn get(&self, place: u64) -> Option<&Kept> {
        self.items.get(&place)
    }

    /// Returns the place of the item that was taken before all others.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.items.first_key_value().map(|(place, _)| *place)
    }

    /// Returns the place of an item whose date is before `limit`.
    pub(crate) fn before(&self, limit: SystemTime) -> Option<u64> {
        let (date, place) = self.by_date.first()?;
        (*date < limit).then_some(*place)
    }

    /// Returns the place of the item with this stem. Searches all of them.
    pub(crate) fn find(&self, stem: &str) -> Option<u64> {
        let mut items = self.items.iter();
        let (place, _) = items.find(|(_, item)| &*item.stem == stem)?;
        Some(*place)
    }
}

/// Brings items into the order in which they were taken. Within a camera's series that is the order
/// of their numbers; between series it is by date, where none counts as later than one that follows
/// it in its series.
fn in_order(mut found: Vec<Kept>) -> Vec<Kept> {
    found.sort_by(|one, other| name::number(&one.stem).cmp(&name::number(&other.stem)));
    let mut dates: Vec<_> = found.iter().map(|item| item.taken).collect();
    let series = |index: usize| name::number(&found[index].stem).0;
    for index in (1..found.len()).rev() {
        if series(index - 1) == series(index) {
            dates[index - 1] = dates[index - 1].min(dates[index]);
        }
    }
    let mut dated: Vec<_> = dates.into_iter().zip(found).collect();
    // Stable: what has one date stays in the order of the numbers.
    dated.sort_by_key(|(date, _)| *date);
    dated.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn item(stem: &str, hours: u64) -> Kept {
        Kept {
            stem: stem.into(),
            taken: SystemTime::UNIX_EPOCH + Duration::from_hours(hours),
            files: 1,
            bytes: 1,
        }
    }

    #[test]
    fn numbers_order_a_series_and_dates_order_the_series() {
        let expected = [
            ("top/1970-01-01/000000000007-ng-old", 3),
            // The clock was ahead, then it was put right.
            ("top/2030-01-01/000000000001-ng-new", 9000),
            ("top/2030-01-01/000000000002-ng-new", 9001),
            ("top/1970-01-01/000000000003-ok-new", 4),
            ("side/1970-01-01/000000000001-ng-new", 5),
            ("top/1970-01-01/000000000010-image_quality-new", 6),
        ];
        let shuffled = [3, 5, 0, 2, 4, 1].map(|at: usize| item(expected[at].0, expected[at].1));
        let ordered = in_order(shuffled.to_vec());
        let stems: Vec<_> = ordered.iter().map(|item| &*item.stem).collect();
        assert_eq!(stems, expected.map(|(stem, _)| stem));
    }
}
