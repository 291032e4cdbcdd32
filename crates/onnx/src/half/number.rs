//! Numbers of half precision (IEEE 754 binary16), as ONNX stores them.

/// Returns the number of half precision that is nearest to `x`, even if there are two; `None` if `x`
/// is beyond the largest one. Not a number stays so.
pub(super) fn rounded(x: f32) -> Option<u16> {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return Some(sign | 0x7e00);
    }
    // From 65520 on, the nearest is beyond the largest.
    if magnitude >= 0x477f_f000 {
        return None;
    }
    let exponent = (magnitude >> 23) as i32 - 127;
    let (mantissa, dropped) = match exponent {
        // Below half of the smallest number above zero.
        ..-25 => return Some(sign),
        // Numbers that have fewer digits the smaller they are.
        -25..-14 => ((magnitude & 0x7f_ffff) | 0x80_0000, (-1 - exponent) as u32),
        _ => (magnitude - ((127 - 15) << 23), 13),
    };
    let kept = mantissa >> dropped;
    let rest = mantissa & ((1 << dropped) - 1);
    let middle = 1 << (dropped - 1);
    let rounds_up = rest > middle || (rest == middle && kept & 1 == 1);
    Some(sign | (kept + u32::from(rounds_up)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a number of half precision, by its definition.
    fn value(bits: u16) -> f64 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        sign * match exponent {
            0 => mantissa * 2_f64.powi(-24),
            _ => (1.0 + mantissa / 1024.0) * 2_f64.powi(exponent - 15),
        }
    }

    #[test]
    fn every_number_of_half_precision_is_itself() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            assert_eq!(rounded(value(bits) as f32), Some(bits), "{bits:x}");
        }
    }

    #[test]
    fn what_lies_between_two_is_rounded_to_the_nearer_and_from_the_middle_to_the_even_one() {
        for bits in 0..0x7bff_u16 {
            let (low, high) = (value(bits), value(bits + 1));
            let at = |share: f64| rounded((low + share * (high - low)) as f32);
            assert_eq!(at(0.25), Some(bits), "{bits:x}");
            assert_eq!(at(0.75), Some(bits + 1), "{bits:x}");
            assert_eq!(at(0.5), Some(bits + (bits & 1)), "{bits:x}");
        }
    }

    #[test]
    fn what_is_beyond_the_largest_has_no_number() {
        assert_eq!(rounded(65_504.0), Some(0x7bff));
        assert_eq!(rounded(65_519.996), Some(0x7bff));
        for x in [65_520.0, -65_520.0, 1e30, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(rounded(x), None, "{x}");
        }
        assert_eq!(rounded(f32::NAN), Some(0x7e00));
        assert_eq!(rounded(-1e-30), Some(0x8000));
    }
}
