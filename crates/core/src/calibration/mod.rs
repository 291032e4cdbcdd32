//! The threshold and what it promises: split conformal calibration on held-out good parts.
//!
//! With n scores of good parts that the model was not trained on, the threshold for a
//! false-reject rate α is the ⌈(n+1)(1−α)⌉-th smallest of them. If the next good part is
//! exchangeable with those n, it is rejected with a probability of at most α, whatever the
//! distribution of the scores and however good or bad the model is. The promise is about false
//! rejects; it says nothing about defects that escape.
//!
//! The same argument gives each score a p-value, and the two agree exactly: a score is above the
//! threshold if and only if its p-value is at most α.
//!
//! If there are too few images to hold some out, their scores may come from a cross-calibration,
//! with the same threshold and a weaker promise: see [`CalibrationMethod`].

mod method;

pub use method::CalibrationMethod;
pub(crate) use method::MethodName;

use serde::{Deserialize, Serialize};

/// A threshold together with the scores and the rate that it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredCalibration", into = "StoredCalibration")]
pub struct Calibration {
    alpha: f64,
    /// The lower rate that was asked for, if there are too few scores for it.
    asked: Option<f64>,
    threshold: f32,
    /// Ascending, all finite.
    scores: Vec<f32>,
    method: CalibrationMethod,
    /// The changes of the pictures that the scores cover, as text.
    varied: Option<String>,
}

/// Why scores cannot make a calibration.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CalibrationError {
    /// The requested rate is not a probability that a threshold could keep.
    #[error("a false-reject rate lies between 0 and 1, for example 0.01; {0} does not")]
    BadRate(f64),
    /// A score is not a number or infinite.
    #[error("calibration score {index} is {score}, which is not finite")]
    NotFinite {
        /// Its place in the list, from 0.
        index: usize,
        /// The score.
        score: f32,
    },
    /// Too few scores for the rate.
    #[error(
        "{n} calibration images cannot promise a false-reject rate of {alpha}: that takes at \
         least {needed}; {}",
        what_can_be_promised(*n)
    )]
    TooFewScores {
        /// Scores that were given.
        n: usize,
        /// The rate asked for.
        alpha: f64,
        /// Scores that this rate needs.
        needed: usize,
    },
    /// This number of folds cannot have given this number of scores.
    #[error(
        "{n} images cannot make {folds} folds: a cross-calibration takes at least 2, and no more than images"
    )]
    BadFolds {
        /// The folds asked for.
        folds: usize,
        /// Images there are.
        n: usize,
    },
    /// A stored calibration has folds although its method has none, or the other way round.
    #[error("a stored calibration of this method {0} `folds`")]
    FoldsDoNotBelong(&'static str),
    /// A stored calibration contradicts itself.
    #[error("the stored {field} is {stored}, but the stored scores give {computed}")]
    Inconsistent {
        /// The field in question.
        field: &'static str,
        /// What was read.
        stored: String,
        /// What follows from the scores and the rate.
        computed: String,
    },
}

fn what_can_be_promised(n: usize) -> String {
    match n {
        0 => "there are none".to_owned(),
        // Rounded up, so that the printed rate is one that can be asked for.
        n => format!("{n} can promise {} and above", shown(achievable_rate(n))),
    }
}

/// Formats a rate for messages: with three digits if it has more, rounded up, so that a promise of it
/// holds and it can be asked for.
pub fn shown(rate: f64) -> String {
    const DIGITS: i32 = 3;
    let text = rate.to_string();
    if text.len() <= "0.0123".len() || !(rate > 0.0 && rate < 1.0) {
        return text;
    }
    let decimals = DIGITS - 1 - rate.log10().floor() as i32;
    let unit = 10_f64.powi(decimals);
    let rounded = (rate * unit).ceil() / unit;
    // Without the tail that a division by a power of ten may leave, and without zeros.
    let text = format!("{rounded:.*}", decimals.unsigned_abs() as usize);
    text.trim_end_matches('0').to_owned()
}

/// Returns the lowest false-reject rate that `n` calibration images can promise.
pub fn achievable_rate(n: usize) -> f64 {
    1.0 / (n as f64 + 1.0)
}

/// Returns the number of calibration images that a false-reject rate of `alpha` needs: ⌈1/α⌉ − 1.
pub fn needed_images(alpha: f64) -> usize {
    let n = (1.0 / alpha).ceil() as usize;
    // The quotient is rounded, so that the estimate may be one off on either side.
    (n.saturating_sub(2)..=n)
        .find(|&n| achievable_rate(n) <= alpha)
        .unwrap_or(n)
}

impl Calibration {
    /// Calibrates for a false-reject rate of at most `alpha`, 0 < `alpha` < 1, on the scores, in
    /// any order, of good images that the model has not seen in training.
    ///
    /// # Errors
    /// If `alpha` is out of range, a score is not finite, or there are too few scores.
    pub fn from_scores(mut scores: Vec<f32>, alpha: f64) -> Result<Self, CalibrationError> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(CalibrationError::BadRate(alpha));
        }
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(CalibrationError::NotFinite {
                index,
                score: scores[index],
            });
        }
        let n = scores.len();
        let rejected = ranks_rejected(n, alpha);
        if rejected == 0 {
            return Err(CalibrationError::TooFewScores {
                n,
                alpha,
                needed: needed_images(alpha),
            });
        }
        scores.sort_by(f32::total_cmp);
        Ok(Self {
            alpha,
            asked: None,
            threshold: scores[n - rejected],
            scores,
            method: CalibrationMethod::Split,
            varied: None,
        })
    }

    /// Returns the same scores and threshold, where each score is the highest of a picture as it was
    /// taken and at each end of these changes, such as `light=10%,noise=2%`.
    pub fn varied(self, changes: String) -> Self {
        Self {
            varied: Some(changes),
            ..self
        }
    }

    /// Returns the changes whose ends the scores cover, as text; `None` if each is that of a picture
    /// as it was taken.
    pub fn covers(&self) -> Option<&str> {
        self.varied.as_deref()
    }

    /// Returns the same scores and threshold with another method.
    ///
    /// # Errors
    /// If the method could not have given so many scores.
    pub fn with_method(self, method: CalibrationMethod) -> Result<Self, CalibrationError> {
        method.check(self.n())?;
        Ok(Self { method, ..self })
    }

    /// Returns the threshold that the same scores give at another rate.
    ///
    /// # Errors
    /// As [`Self::from_scores`].
    pub fn at_rate(&self, alpha: f64) -> Result<Self, CalibrationError> {
        let calibration = Self::from_scores(self.scores.clone(), alpha)?;
        Self {
            varied: self.varied.clone(),
            ..calibration
        }
        .with_method(self.method)
    }

    /// As [`Self::from_scores`], but with the lowest rate that the number of scores supports if
    /// `alpha` asks for more than that. [`Self::alpha`] is the rate used, and [`Self::asked`] the
    /// one that was asked for.
    ///
    /// # Errors
    /// As [`Self::from_scores`]; with no scores at all there is nothing to accept.
    pub fn from_scores_or_achievable(
        scores: Vec<f32>,
        alpha: f64,
    ) -> Result<Self, CalibrationError> {
        let achievable = achievable_rate(scores.len());
        let asks_for_more = alpha > 0.0 && alpha < achievable && !scores.is_empty();
        if !asks_for_more {
            return Self::from_scores(scores, alpha);
        }
        Ok(Self {
            asked: Some(alpha),
            ..Self::from_scores(scores, achievable)?
        })
    }

    /// Returns how the scores were obtained.
    pub fn method(&self) -> CalibrationMethod {
        self.method
    }

    /// Returns the promised false-reject rate.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Returns the lower rate that was asked for, if there are too few scores for it and the lowest
    /// supported rate was taken.
    pub fn asked(&self) -> Option<f64> {
        self.asked
    }

    /// Returns the number of calibration scores.
    pub fn n(&self) -> usize {
        self.scores.len()
    }

    /// Returns the calibration scores, ascending.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Returns the largest score that still counts as good.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Returns how many of n + 1 exchangeable parts, the highest scores first, may be rejected: the
    /// threshold is that score from above.
    pub fn rejected_ranks(&self) -> usize {
        ranks_rejected(self.n(), self.alpha)
    }

    /// Returns `true` if a part with this score is to be rejected.
    pub fn is_anomalous(&self, score: f32) -> bool {
        score > self.threshold
    }

    /// Returns how unusual a score is among good parts: (1 + number of calibration scores that are
    /// at least as large) / (n + 1). After a split calibration it is, over good parts, at most p
    /// with a probability of at most p.
    pub fn p_value(&self, score: f32) -> f64 {
        let smaller = self.scores.partition_point(|&other| other < score);
        (1 + self.n() - smaller) as f64 / (self.n() + 1) as f64
    }

    /// Checks what was stored beside the scores against what they give.
    pub(crate) fn check_stored(&self, n: usize, threshold: f32) -> Result<(), CalibrationError> {
        let mismatch = |field, stored: &dyn ToString, computed: &dyn ToString| {
            Err(CalibrationError::Inconsistent {
                field,
                stored: stored.to_string(),
                computed: computed.to_string(),
            })
        };
        if n != self.n() {
            return mismatch("n", &n, &self.n());
        }
        if threshold.to_bits() != self.threshold.to_bits() {
            return mismatch("threshold", &threshold, &self.threshold);
        }
        Ok(())
    }

    /// Returns the promise and its small print, human-readable.
    pub fn promise(&self) -> String {
        let n = self.n();
        let alpha = match self.asked {
            None => shown(self.alpha),
            Some(asked) => format!(
                "{}, the lowest that {n} images support ({} takes {} of them)",
                shown(self.alpha),
                shown(asked),
                needed_images(asked)
            ),
        };
        let varied = match &self.varied {
            None => String::new(),
            Some(changes) => format!(" as it is and at each end of {changes}"),
        };
        match self.method {
            CalibrationMethod::Split => format!(
                "a good part is rejected with a probability of at most {alpha}{varied}, as long as it \
                 comes from the same process as the {n} good images of the calibration (exchangeable \
                 with them) and has one score; this bounds false rejects, not escapes"
            ),
            CalibrationMethod::Cross { folds } => format!(
                "a good part is expected to be rejected with a probability of about \
                 {alpha}{varied}, as long as it comes from the same process as the {n} good images \
                 of the calibration (exchangeable with them) and has one score; this is an \
                 estimate and no bound: each image was scored by one of {folds} models that were \
                 not trained on it, and the model in use, which was trained on all of them, is \
                 taken to score new parts no higher; it is about false rejects, not escapes"
            ),
        }
    }
}

/// Returns the largest whole m with m / (n + 1) <= alpha: how many of n + 1 exchangeable parts, the
/// highest scores first, may be rejected.
///
/// (n + 1) − m is then ⌈(n+1)(1−α)⌉, the rank of the threshold. The comparison is the one used for
/// a p-value, in the same arithmetic, so that the two cannot disagree over a rounding.
fn ranks_rejected(n: usize, alpha: f64) -> usize {
    let parts = n as f64 + 1.0;
    let estimate = (alpha * parts).floor() as usize;
    (estimate.saturating_sub(1)..=estimate + 1)
        .rev()
        .find(|&m| m as f64 / parts <= alpha)
        .unwrap_or(0)
}

/// A calibration as it is stored: with what follows from the rest spelled out for readers, and
/// checked when read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCalibration {
    #[serde(default)]
    method: MethodName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folds: Option<usize>,
    false_reject_rate: f64,
    /// Only if there are too few images for what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_false_reject_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vary: Option<String>,
    threshold: f32,
    n: usize,
    promise: String,
    scores: Vec<f32>,
}

impl From<Calibration> for StoredCalibration {
    fn from(calibration: Calibration) -> Self {
        let (method, folds) = calibration.method.stored();
        Self {
            method,
            folds,
            false_reject_rate: calibration.alpha,
            asked_false_reject_rate: calibration.asked,
            vary: calibration.varied.clone(),
            threshold: calibration.threshold,
            n: calibration.n(),
            promise: calibration.promise(),
            scores: calibration.scores,
        }
    }
}

impl TryFrom<StoredCalibration> for Calibration {
    type Error = CalibrationError;

    fn try_from(record: StoredCalibration) -> Result<Self, Self::Error> {
        let method = CalibrationMethod::from_stored(record.method, record.folds)?;
        let calibration =
            Self::from_scores(record.scores, record.false_reject_rate)?.with_method(method)?;
        calibration.check_stored(record.n, record.threshold)?;
        if let Some(asked) = record.asked_false_reject_rate
            && !(asked > 0.0 && asked < achievable_rate(record.n))
        {
            return Err(CalibrationError::Inconsistent {
                field: "asked_false_reject_rate",
                stored: asked.to_string(),
                computed: format!("support for {}", shown(achievable_rate(record.n))),
            });
        }
        Ok(Self {
            asked: record.asked_false_reject_rate,
            varied: record.vary,
            ..calibration
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calibrated(scores: &[f32], alpha: f64) -> Calibration {
        Calibration::from_scores(scores.to_vec(), alpha).expect("enough scores")
    }

    #[test]
    fn the_threshold_is_the_stated_order_statistic() {
        let scores: Vec<f32> = (1..=99).rev().map(|i| i as f32).collect();
        // ⌈100 · 0.99⌉ = 99, ⌈100 · 0.95⌉ = 95, ⌈100 · 0.905⌉ = 91.
        assert_eq!(calibrated(&scores, 0.01).threshold(), 99.0);
        assert_eq!(calibrated(&scores, 0.05).threshold(), 95.0);
        assert_eq!(calibrated(&scores, 0.095).threshold(), 91.0);
        // 0.29 · 100 is 28.999999999999996 in binary arithmetic; the rank must not suffer.
        assert_eq!(calibrated(&scores, 0.29).threshold(), 71.0);
    }

    #[test]
    fn too_few_scores_say_how_many_it_takes_and_what_these_can_promise() {
        let error = Calibration::from_scores(vec![1.0; 98], 0.01).expect_err("99 are needed");
        assert_eq!(
            error.to_string(),
            "98 calibration images cannot promise a false-reject rate of 0.01: that takes at \
             least 99; 98 can promise 0.0102 and above"
        );
        assert!(Calibration::from_scores(vec![1.0; 99], 0.01).is_ok());
        let none = Calibration::from_scores(Vec::new(), 0.5).expect_err("one is needed");
        assert!(
            none.to_string().ends_with("at least 1; there are none"),
            "{none}"
        );
    }

    #[test]
    fn the_achievable_rate_is_taken_only_where_it_is_accepted_and_needed() {
        let accept = |n, alpha| {
            Calibration::from_scores_or_achievable(vec![1.0; n], alpha).map(|c| c.alpha())
        };
        assert_eq!(accept(9, 0.01), Ok(0.1));
        assert_eq!(accept(99, 0.05), Ok(0.05));
        assert!(matches!(
            accept(0, 0.01),
            Err(CalibrationError::TooFewScores { needed: 99, .. })
        ));
        assert_eq!(accept(9, 0.0), Err(CalibrationError::BadRate(0.0)));
    }

    /// What a bundle states about itself, also after it is read back.
    #[test]
    fn a_rate_that_gave_way_is_stored_and_said_with_the_images_that_it_takes() {
        let scores = (1..=42).map(|score| score as f32).collect();
        let gave_way = Calibration::from_scores_or_achievable(scores, 0.01).expect("42 scores");
        assert_eq!(gave_way.asked(), Some(0.01));
        let said = "at most 0.0233, the lowest that 42 images support (0.01 takes 99 of them), as";
        assert!(gave_way.promise().contains(said), "{}", gave_way.promise());
        let stored = toml::to_string(&gave_way).expect("it serialises");
        assert_eq!(toml::from_str(&stored).as_ref(), Ok(&gave_way));
        assert_eq!(gave_way.at_rate(0.1).map(|c| c.asked()), Ok(None));

        let key = "asked_false_reject_rate = 0.01";
        let wrong = stored.replace(key, "asked_false_reject_rate = 0.5");
        let error = toml::from_str::<Calibration>(&wrong).expect_err("42 support that");
        assert!(error.to_string().contains("asked_false"), "{error}");
        let kept = calibrated(&[0.1, 0.2, 0.3], 0.25);
        assert!(
            !toml::to_string(&kept)
                .expect("it serialises")
                .contains("asked")
        );
    }

    #[test]
    fn rates_and_scores_that_mean_nothing_are_refused() {
        for alpha in [0.0, 1.0, -0.1, f64::INFINITY] {
            assert_eq!(
                Calibration::from_scores(vec![1.0; 9], alpha),
                Err(CalibrationError::BadRate(alpha))
            );
        }
        assert!(Calibration::from_scores(vec![1.0; 9], f64::NAN).is_err());
        assert!(matches!(
            Calibration::from_scores(vec![1.0, f32::NAN], 0.5),
            Err(CalibrationError::NotFinite { index: 1, .. })
        ));
    }

    #[test]
    fn a_stored_calibration_that_contradicts_itself_is_refused() {
        let stored = toml::to_string(&calibrated(&[0.1, 0.2, 0.3], 0.25)).expect("it serialises");
        let read: Calibration = toml::from_str(&stored).expect("it reads back");
        assert_eq!(read.threshold(), 0.3);

        let raised = stored.replace("threshold = 0.3", "threshold = 0.7");
        let error = toml::from_str::<Calibration>(&raised).expect_err("not what the scores say");
        assert!(
            error.to_string().contains("the stored threshold is 0.7"),
            "{error}"
        );
    }

    /// A bundle says the same after it is read back, and a bundle from before there were methods
    /// counts as one with held-out images.
    #[test]
    fn the_method_is_stored_and_makes_the_promise() {
        let split = calibrated(&[0.1, 0.2, 0.3], 0.25);
        let cross = CalibrationMethod::Cross { folds: 3 };
        let cross = split
            .clone()
            .with_method(cross)
            .expect("3 images in 3 folds");
        for calibration in [&split, &cross] {
            let stored = toml::to_string(calibration).expect("it serialises");
            assert_eq!(toml::from_str(&stored).as_ref(), Ok(calibration));
        }
        assert_eq!(cross.threshold(), split.threshold());
        assert_ne!(cross, split);
        assert!(split.promise().contains("at most 0.25"));
        assert!(!cross.promise().contains("at most"), "{}", cross.promise());
        assert!(
            cross.promise().contains("about 0.25"),
            "{}",
            cross.promise()
        );
        assert_eq!(cross.at_rate(0.5).map(|c| c.method()), Ok(cross.method()));

        let stored = toml::to_string(&split).expect("it serialises");
        let old = stored.replace("method = \"split\"\n", "");
        assert_ne!(old, stored);
        assert_eq!(toml::from_str(&old).as_ref(), Ok(&split));
    }

    #[test]
    fn folds_that_cannot_be_are_refused() {
        let split = calibrated(&[0.1, 0.2, 0.3], 0.25);
        for folds in [0, 1, 4] {
            let method = CalibrationMethod::Cross { folds };
            assert_eq!(
                split.clone().with_method(method),
                Err(CalibrationError::BadFolds { folds, n: 3 })
            );
        }
        let stored = toml::to_string(&split).expect("it serialises");
        for (changed, said) in [
            (stored.replace("split", "cross"), "needs its `folds`"),
            (format!("folds = 3\n{stored}"), "has no `folds`"),
            (
                format!("folds = 9\n{}", stored.replace("split", "cross")),
                "cannot make 9 folds",
            ),
        ] {
            let error = toml::from_str::<Calibration>(&changed).expect_err("it makes no sense");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    /// Scores with many ties, so that the rules for equal scores are put to the test.
    fn scores(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec((0_u8..6).prop_map(f32::from), len)
    }

    proptest! {
        /// The human-readable rate holds, and can be asked for.
        #[test]
        fn a_rate_is_shown_short_and_never_lower_than_it_is(n in 1_usize..100_000) {
            let rate = achievable_rate(n);
            let text = shown(rate);
            let read: f64 = text.parse().expect("a number");
            prop_assert!(read >= rate && read <= rate * 1.011, "{rate} as {text}");
            prop_assert!(text.len() <= "0.0000123".len(), "{text}");
            prop_assert!(Calibration::from_scores(vec![0.0; n], read).is_ok());
        }

        /// The promise, exactly: let any one of n + 1 parts be the new one and the other n the
        /// calibration. Exchangeability makes each choice equally likely, so the probability of
        /// a false reject is the share of choices that end in one.
        #[test]
        fn at_most_alpha_of_all_exchangeable_splits_reject_the_new_part(
            parts in scores(2..40),
            alpha in 0.001_f64..0.999,
        ) {
            let n = parts.len() - 1;
            let alpha = alpha.max(achievable_rate(n));
            let rejected = (0..=n)
                .filter(|&new| {
                    let mut others = parts.clone();
                    let score = others.remove(new);
                    calibrated(&others, alpha).is_anomalous(score)
                })
                .count();
            prop_assert!(rejected as f64 / (n + 1) as f64 <= alpha);
        }

        /// And it is not bought with a needlessly high threshold: without ties the share is the
        /// largest one that alpha allows.
        #[test]
        fn without_ties_the_promise_is_used_up(n in 1_usize..60, alpha in 0.001_f64..0.999) {
            let alpha = alpha.max(achievable_rate(n));
            let parts: Vec<f32> = (0..=n).map(|i| i as f32).collect();
            let rejected = (0..=n)
                .filter(|&new| {
                    let mut others = parts.clone();
                    let score = others.remove(new);
                    calibrated(&others, alpha).is_anomalous(score)
                })
                .count();
            prop_assert!((rejected + 1) as f64 / (n + 1) as f64 > alpha);
        }

        #[test]
        fn a_score_is_above_the_threshold_exactly_if_its_p_value_is_at_most_alpha(
            calibration in scores(1..80),
            hundredths in 1_u32..100,
            score in (0_u8..13).prop_map(|half| f32::from(half) / 2.0),
        ) {
            let alpha = (f64::from(hundredths) / 100.0).max(achievable_rate(calibration.len()));
            let calibration = calibrated(&calibration, alpha);
            prop_assert_eq!(
                calibration.is_anomalous(score),
                calibration.p_value(score) <= alpha
            );
        }

        #[test]
        fn the_needed_number_is_enough_and_one_less_is_not(alpha in 0.0005_f64..0.9999) {
            let needed = needed_images(alpha);
            prop_assert!(Calibration::from_scores(vec![0.0; needed], alpha).is_ok());
            if needed > 0 {
                prop_assert!(Calibration::from_scores(vec![0.0; needed - 1], alpha).is_err());
            }
        }

        #[test]
        fn scores_and_threshold_read_back_bit_for_bit(
            bits in prop::collection::vec(any::<u32>(), 3..20),
        ) {
            let scores: Vec<f32> =
                bits.into_iter().map(f32::from_bits).filter(|score| score.is_finite()).collect();
            prop_assume!(!scores.is_empty());
            let calibration = calibrated(&scores, 0.5);
            let stored = toml::to_string(&calibration).expect("it serialises");
            let read: Calibration = toml::from_str(&stored).expect("it reads back");
            let bits = |calibration: &Calibration| -> Vec<u32> {
                let scores = calibration.scores().iter().copied();
                scores.chain([calibration.threshold()]).map(f32::to_bits).collect()
            };
            prop_assert_eq!(bits(&read), bits(&calibration));
        }
    }
}
