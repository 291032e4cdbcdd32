//! Is the pipeline getting on? Judged from the stages' own notes, never from a timer that would
//! tick in a stage that hangs.

use std::time::Duration;

use crate::pipeline::progress::Progress;

/// A stage at one item for longer than this hangs: inference takes milliseconds, or seconds for a
/// large model on a small board.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The stage that has been at a single item for longer than `patience`, if there is one.
pub(super) fn laggard(stages: &[Progress], patience: Duration) -> Option<&Progress> {
    stages
        .iter()
        .find(|stage| stage.busy_for().is_some_and(|time| time > patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_hangs_is_found_and_one_that_waits_is_not() {
        let stages = [Progress::new("preprocess"), Progress::new("infer")];
        assert!(laggard(&stages, Duration::ZERO).is_none());
        let _working = stages[1].begin();
        while stages[1].busy_for() == Some(Duration::ZERO) {
            std::hint::spin_loop();
        }
        assert_eq!(laggard(&stages, Duration::ZERO).unwrap().stage(), "infer");
        assert!(laggard(&stages, PATIENCE).is_none());
    }
}
