//! Keeps every number of a model within half precision, whatever the picture shows.
//!
//! Half precision ends at 65504. A board that computes in it makes infinity of anything larger, and
//! TensorRT's resize makes NaN of infinity. Pictures of parts stay far below, pictures of something
//! else do not: they would be answered with an error where single precision says `ng`. So the
//! exported flow has limits that no part reaches:
//!
//! ```text
//! features ─ min, max ─ transform ─► state, within ±STATE ─► block ─► state ─► … ─► squares
//!
//! block:  state ─ first layer ─ clip ±HIDDEN ─ second layer ─► s and t, within ±MOVES
//!         x · exp(s) + t, within ±(STATE · exp(LOG_SCALE) + MOVES) ─ clip ±STATE ─► state
//! ```
//! What a layer makes of the largest input follows from its weights. If that is too much, weights
//! and biases are multiplied by a power of two below 1, and the weights of the next layer divided by
//! it, which changes no digit of single precision.
//!
//! Measured on test pictures of five sets of real parts, defects included: states are at most 164,
//! hidden layers at most 98, log-scales and translations at most 16. What the backbone computes is
//! its own: that of the networks that flawd writes is at most 283 on the same pictures.

/// The largest absolute value that convolutions and sums may give: some less than the 65504 of half
/// precision, for what rounding adds.
pub(crate) const ROOM: f32 = 60_000.0;

/// The largest number of half precision.
pub(crate) const LARGEST: f32 = 65_504.0;

/// The smallest number above zero that half precision holds with all its digits.
pub(crate) const SMALLEST: f32 = 6.103_515_6e-5;

/// The limit of a flow's input and of every block's output; its square is a number of half
/// precision.
pub(crate) const STATE: f32 = 250.0;

/// The limit of the hidden layers, after they were divided by what [`shrink`] gives.
pub(crate) const HIDDEN: f32 = 1000.0;

/// The limit of log-scales and translations. A larger translation changes nothing: the state is
/// at its limit.
pub(crate) const MOVES: f32 = ROOM / 2.0;

/// The limit of the logarithm of a scale: `STATE * exp(LOG_SCALE)` is the other half of [`ROOM`].
pub(crate) const LOG_SCALE: f32 = 4.787;

/// The logarithm of a scale from which it is zero in half precision.
pub(crate) const LOG_ZERO: f32 = -100.0;

/// The largest power of two that half precision holds.
pub(crate) const FACTOR: f32 = 32_768.0;

/// The largest absolute value of a raw feature and of its mean.
const FEATURE: f32 = ROOM / 2.0;

/// Returns the largest absolute value that a layer gives for inputs within `±input`: `weight` holds
/// the same number of weights for each of the outputs, `bias` one number each.
pub(crate) fn worst(weight: &[f32], bias: &[f32], input: f64) -> f64 {
    let per_output = (weight.len() / bias.len().max(1)).max(1);
    let sums = weight.chunks(per_output).map(|weights| {
        let sum: f64 = weights.iter().map(|&w| f64::from(w).abs()).sum();
        sum * input
    });
    let outputs = sums.zip(bias).map(|(sum, &b)| sum + f64::from(b).abs());
    outputs.fold(0.0, f64::max)
}

/// Returns the power of two, 1 or below, by which a layer has to be multiplied if its largest value
/// is `worst` and `most` are allowed.
pub(crate) fn shrink(worst: f64, most: f32) -> f32 {
    let mut factor = 1.0_f32;
    // Its inverse has to be a number too.
    while worst * f64::from(factor) > f64::from(most) && factor > f32::MIN_POSITIVE * 4.0 {
        factor /= 2.0;
    }
    factor
}

/// Returns the limits of a raw feature whose mean is subtracted and which is then multiplied by
/// `scale`, so that the result is within `±STATE`.
pub(crate) fn of_feature(mean: f32, scale: f32) -> [f32; 2] {
    let reach = f64::from(STATE) / f64::from(scale).abs();
    [-reach, reach]
        .map(|side| (f64::from(mean) + side) as f32)
        .map(within)
}

fn within(limit: f32) -> f32 {
    limit.clamp(-FEATURE, FEATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_shrunk_by_the_power_of_two_that_it_takes() {
        assert_eq!(worst(&[1.0, -2.0, 0.5, 0.5], &[0.5, -9.0], 10.0), 30.5);
        for (worst, factor) in [(0.0, 1.0), (10.0, 1.0), (10.1, 0.5), (79.0, 0.125)] {
            assert_eq!(shrink(worst, 10.0), factor);
        }
        let least = shrink(f64::INFINITY, 10.0);
        assert!(least > 0.0 && (1.0 / least).is_finite());
    }

    #[test]
    fn the_limits_leave_room_for_rounding() {
        const { assert!(STATE * STATE < LARGEST) };
        assert!(STATE * LOG_SCALE.exp() + MOVES <= ROOM * 1.001);
        assert!(LOG_ZERO.exp() * STATE < SMALLEST * 1e-3);
    }

    #[test]
    fn a_feature_within_its_limits_is_a_state_within_its_own() {
        for (mean, scale) in [(0.0, 1.0), (3.0, -20.0), (-7.0, 1e4), (1e4, 1e-3)] {
            for limit in of_feature(mean, scale) {
                assert!(((limit - mean) * scale).abs() < 1.001 * STATE);
            }
        }
        // A channel that counts for nothing, and one with a mean that half precision does not hold.
        assert_eq!(of_feature(0.0, 0.0), [-FEATURE, FEATURE]);
        assert_eq!(of_feature(1e9, 1.0), [FEATURE; 2]);
    }
}
