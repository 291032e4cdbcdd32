//! Whether the values of a TIFF's directories can be in the file.
//!
//! The decoder allocates memory for all values that a directory announces, up to 256 MiB for each
//! entry, before it looks for them. So they are counted first, which takes no memory.

use super::MOST_PAGES;

/// Looks at every directory that is looked at later; returns `false` if one of them claims more
/// values than the file has bytes for. A directory that cannot be found is left to the decoder.
pub(super) fn values_fit(bytes: &[u8]) -> bool {
    let Some(form) = Form::of(bytes) else {
        return true;
    };
    let mut at = form.number(bytes, form.width, form.width);
    // The first picture is read one more time than the others.
    for _ in 0..=MOST_PAGES {
        let Some(start) = at.and_then(|at| usize::try_from(at).ok()) else {
            break;
        };
        let Some((fits, next)) = form.directory(bytes, start) else {
            break;
        };
        if !fits {
            return false;
        }
        at = next.filter(|&next| next > 0);
    }
    true
}

/// The encoding of numbers.
#[derive(Clone, Copy)]
struct Form {
    is_little: bool,
    /// Bytes of an offset: 4, or 8 in a BigTIFF.
    width: usize,
}

impl Form {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (is_little, width) = match bytes.get(..4)? {
            b"II*\0" => (true, 4),
            b"MM\0*" => (false, 4),
            b"II+\0" => (true, 8),
            b"MM\0+" => (false, 8),
            _ => return None,
        };
        Some(Self { is_little, width })
    }

    /// Reads a number of `width` bytes.
    fn number(self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(width)?)?;
        let append = |number, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.is_little {
            digits.iter().rev().fold(0, append)
        } else {
            digits.iter().fold(0, append)
        })
    }

    /// Returns whether the values of the directory at `start` fit into the file, and where the next
    /// one is; `None` if it ends beyond the file.
    fn directory(self, bytes: &[u8], start: usize) -> Option<(bool, Option<u64>)> {
        let count_width = if self.width == 4 { 2 } else { 8 };
        let count = self.number(bytes, start, count_width)?;
        let mut at = start + count_width;
        let mut fits = true;
        for _ in 0..count {
            let kind = self.number(bytes, at + 2, 2)?;
            let values = self.number(bytes, at + 4, self.width)?;
            fits &= values.saturating_mul(size_of(kind)) <= bytes.len() as u64;
            at += 4 + 2 * self.width;
        }
        Some((fits, self.number(bytes, at, self.width)))
    }
}

/// Returns the bytes of a value of this type: TIFF 6.0, section 2, and BigTIFF.
fn size_of(kind: u64) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one directory that has one entry of this type with this number of values.
    fn file(form: Form, kind: u64, values: u64) -> Vec<u8> {
        let mut bytes = match (form.is_little, form.width) {
            (true, 4) => b"II*\0".to_vec(),
            (false, 4) => b"MM\0*".to_vec(),
            (true, _) => b"II+\0\x08\0\0\0".to_vec(),
            (false, _) => b"MM\0+\0\x08\0\0".to_vec(),
        };
        let mut put = |number: u64, width: usize| {
            let digits = number.to_be_bytes();
            let mut digits = digits[8 - width..].to_vec();
            if form.is_little {
                digits.reverse();
            }
            bytes.extend(digits);
        };
        let start = 2 * form.width as u64;
        put(start, form.width);
        put(1, if form.width == 4 { 2 } else { 8 });
        put(273, 2);
        put(kind, 2);
        put(values, form.width);
        put(0, form.width);
        put(0, form.width);
        bytes
    }

    #[test]
    fn a_directory_has_no_more_values_than_the_file_has_bytes_for() {
        for (is_little, width) in [(true, 4), (false, 4), (true, 8), (false, 8)] {
            let form = Form { is_little, width };
            for (kind, size) in [(1, 1), (3, 2), (4, 4), (5, 8), (16, 8)] {
                let length = file(form, kind, 0).len() as u64;
                assert!(values_fit(&file(form, kind, length / size)));
                assert!(!values_fit(&file(form, kind, length / size + 1)));
                assert!(!values_fit(&file(form, kind, u64::MAX)));
            }
        }
    }

    #[test]
    fn directories_that_are_cut_or_in_a_circle_end() {
        let whole = file(
            Form {
                is_little: true,
                width: 4,
            },
            3,
            1,
        );
        for length in 0..whole.len() {
            assert!(values_fit(&whole[..length]));
        }
        let mut circle = whole;
        let end = circle.len() - 4;
        circle[end..].copy_from_slice(&8_u32.to_le_bytes());
        assert!(values_fit(&circle));
    }
}
