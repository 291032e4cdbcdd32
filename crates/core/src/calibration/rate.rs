//! False-reject rates: how many images one takes, and how it is written.

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

/// Returns the largest whole m with m / (n + 1) <= alpha: how many of n + 1 exchangeable parts, the
/// highest scores first, may be rejected.
///
/// (n + 1) − m is then ⌈(n+1)(1−α)⌉, the rank of the threshold. The comparison is the one used for
/// a p-value, in the same arithmetic, so that the two cannot disagree over a rounding.
pub(crate) fn ranks_rejected(n: usize, alpha: f64) -> usize {
    let parts = n as f64 + 1.0;
    let estimate = (alpha * parts).floor() as usize;
    (estimate.saturating_sub(1)..=estimate + 1)
        .rev()
        .find(|&m| m as f64 / parts <= alpha)
        .unwrap_or(0)
}
