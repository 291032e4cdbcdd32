//! The wall clock, used in messages: whether it jumps, and whether it is synchronised.
//!
//! Every duration and every deadline is measured on the monotonic clock, so a jump changes no
//! verdict. But times in messages can then no longer be compared with earlier ones, so a jump must
//! be reported. A machine that was suspended looks the same: its monotonic clock stalled.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use crate::line::monitor::Metrics;

/// A smaller difference is not a jump. Clock daemons slew, which moves both clocks alike, and step
/// from an offset of 0.128 s (ntpd) or 0.4 s (systemd-timesyncd) upwards; and between the readings
/// of the two clocks the thread may be interrupted for some milliseconds.
const SHORTEST_JUMP: SignedDuration = SignedDuration::from_millis(500);

/// How long a known synchronisation state is valid: time servers are polled every half minute at
/// most.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The folder that systemd-timesyncd has while it runs, and the file that it creates in it once the
/// clock is right; systemd-timesyncd.service(8).
const TIMESYNC: &str = "systemd/timesync";
const SYNCHRONISED: &str = "synchronized";

/// The wall clock was set, or the machine slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    /// The time without the jump.
    pub(crate) expected: Timestamp,
    /// The actual time.
    pub(crate) actual: Timestamp,
}

/// Compares the two clocks at each call.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last: Option<(Timestamp, Instant)>,
}

impl ClockWatch {
    /// Returns the jump of the wall clock since the last call, if any; `wall` and `monotonic` are
    /// the same moment.
    pub(crate) fn look(&mut self, wall: Timestamp, monotonic: Instant) -> Option<Jump> {
        let (last_wall, last_monotonic) = self.last.replace((wall, monotonic))?;
        let passed = monotonic.saturating_duration_since(last_monotonic);
        // Beyond the year 9999 there is no expectation.
        let expected = last_wall.checked_add(passed).ok()?;
        let jump = Jump {
            expected,
            actual: wall,
        };
        (jump.by().abs() > SHORTEST_JUMP).then_some(jump)
    }
}

impl Jump {
    /// Returns the size of the jump; negative if the clock was set back.
    pub(crate) fn by(self) -> SignedDuration {
        self.actual.duration_since(self.expected)
    }
}

/// The clock as the daemon monitors it: logs each jump once.
#[derive(Debug)]
pub(crate) struct Clock {
    watch: ClockWatch,
    metrics: Metrics,
    synchronised: Option<bool>,
    looked: Option<Instant>,
}

impl Clock {
    /// Creates a clock that has not been checked yet.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            watch: ClockWatch::default(),
            metrics,
            synchronised: None,
            looked: None,
        }
    }

    /// Returns whether the clock was synchronised when it was last checked; `None` if unknown.
    pub(crate) fn synchronised(&self) -> Option<bool> {
        self.synchronised
    }

    /// Checks whether the clock jumped, and from time to time whether it is synchronised.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        if let Some(jump) = self.watch.look(Timestamp::now(), now) {
            self.metrics.clock_jumped();
            warn!(
                expected = %jump.expected,
                actual = %jump.actual,
                by = ?jump.by(),
                "The clock was set, or the machine slept: times before and after do not compare"
            );
        }
        let is_due = self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_INTERVAL);
        if is_due {
            self.looked = Some(now);
            self.synchronised = synchronised(Path::new("/run"));
            self.metrics.clock_synchronised(self.synchronised);
        }
    }
}

/// Returns whether the system's clock is synchronised, according to systemd-timesyncd's files below
/// `run`; `None` if another program, or none, keeps the clock.
///
/// The kernel would know in every case, but `adjtimex` is among the calls that set the clock, and
/// those are blocked in a hardened unit (`ProtectClock=`).
pub(crate) fn synchronised(run: &Path) -> Option<bool> {
    let folder = run.join(TIMESYNC);
    folder.is_dir().then(|| folder.join(SYNCHRONISED).exists())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// Checks both clocks after this many milliseconds of each.
    fn jump_after(wall_ms: i64, monotonic_ms: u64) -> Option<Jump> {
        let (wall, monotonic) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(wall, monotonic), None);
        watch.look(
            wall + SignedDuration::from_millis(wall_ms),
            monotonic + Duration::from_millis(monotonic_ms),
        )
    }

    proptest! {
        #[test]
        fn clocks_that_go_together_never_jump_and_others_jump_by_their_difference(
            passed in 0u64..1_000_000_000,
            difference in -1_000_000_000i64..1_000_000_000,
        ) {
            let wall = i64::try_from(passed).unwrap() + difference;
            let jump = jump_after(wall, passed);
            let by = jump.map(|jump| i64::try_from(jump.by().as_millis()).unwrap());
            let expected = (difference.abs() > 500).then_some(difference);
            prop_assert_eq!(by, expected);
        }
    }

    #[test]
    fn the_shortest_jump_is_longer_than_half_a_second() {
        assert_eq!(jump_after(1_500, 1_000), None);
        assert_eq!(jump_after(500, 1_000), None);
        let back = jump_after(-100, 1_000).unwrap();
        assert_eq!(back.by(), SignedDuration::from_millis(-1_100));
        let (expected, actual) = (back.expected.as_millisecond(), back.actual.as_millisecond());
        assert_eq!((expected, actual), (1_000, -100));
    }

    #[test]
    fn a_jump_is_seen_once_and_small_differences_do_not_add_up() {
        let (mut wall, mut monotonic) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut watch = ClockWatch::default();
        let mut jumps = 0;
        for look in 0..100 {
            jumps += usize::from(watch.look(wall, monotonic).is_some());
            let jump = if look == 50 { 3_600_000 } else { 0 };
            wall += SignedDuration::from_millis(1_100 + jump);
            monotonic += Duration::from_millis(1_000);
        }
        assert_eq!(jumps, 1);
    }

    #[test]
    fn synchronised_is_what_timesyncd_says_and_unknown_without_it() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(synchronised(run.path()), None);
        let folder = run.path().join(TIMESYNC);
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(synchronised(run.path()), Some(false));
        fs::write(folder.join(SYNCHRONISED), "").unwrap();
        assert_eq!(synchronised(run.path()), Some(true));
    }
}
