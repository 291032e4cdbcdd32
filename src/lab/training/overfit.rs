//! Whether a flow came to fit its own images better than others, by the loss of held-out images.
//!
//! It is said and nothing follows from it: the held-out images calibrate, so the flow must not be
//! chosen by them.

use std::fmt;

use flawd_train::trainer::EpochReport;

/// Rise of the loss of held-out images above its lowest that is worth saying: a tenth of a nat per
/// dimension. From epoch to epoch it varies by less.
const RISE: f64 = 0.1;

/// A flow that fits its own images better and better, and others worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overfit {
    /// The epoch, from 1, after which the loss of held-out images was lowest.
    pub best: usize,
    /// All epochs.
    pub of: usize,
}

impl fmt::Display for Overfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { best, of } = self;
        write!(
            f,
            "the loss of held-out images was lowest after epoch {best} of {of} and has risen since: \
             the flow overfits; fewer --epochs, more --feature-noise or more images help"
        )
    }
}

/// Returns whether the loss of held-out images was lower than it is at the end.
pub fn overfit(epochs: &[EpochReport]) -> Option<Overfit> {
    let losses = || epochs.iter().filter_map(|epoch| epoch.held_out_loss);
    let (best, lowest) = losses()
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (losses().next_back()? > lowest + RISE).then_some(Overfit {
        best: best + 1,
        of: epochs.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(losses: &[Option<f64>]) -> Vec<EpochReport> {
        let report = |(place, loss): (usize, &Option<f64>)| EpochReport {
            epoch: place + 1,
            loss: -1.0,
            held_out_loss: *loss,
            learning_rate: 1e-3,
            seconds: 1.0,
        };
        losses.iter().enumerate().map(report).collect()
    }

    #[test]
    fn a_loss_that_rose_names_the_epoch_before() {
        let risen = epochs(&[Some(0.5), Some(-1.3), Some(-1.1), Some(0.2)]);
        assert_eq!(overfit(&risen), Some(Overfit { best: 2, of: 4 }));
    }

    #[test]
    fn a_loss_that_falls_or_was_not_watched_is_no_matter() {
        let falls = epochs(&[Some(0.5), Some(-1.3), Some(-1.25)]);
        for epochs in [falls, epochs(&[None, None]), Vec::new()] {
            assert_eq!(overfit(&epochs), None);
        }
    }
}
