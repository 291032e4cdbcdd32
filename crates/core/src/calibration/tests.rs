//! The promise, by counting all orders; and what a manifest keeps of it.

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
    let accept =
        |n, alpha| Calibration::from_scores_or_achievable(vec![1.0; n], alpha).map(|c| c.alpha());
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
