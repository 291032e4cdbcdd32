//! Whether the values of a TIFF's directories can be in the file.
//!
//! The decoder allocates memory for all values that a directory announces, up to 256 MiB for each
//! entry, before it looks for them. So they are counted first, which takes no memory.
//!
//! Both must read the same entries. In a BigTIFF, the decoder passes over 12 of the 20 bytes of an
//! entry of unknown type (`tiff` 0.11.3, `read_entry`), and takes what follows for other entries,
//! so such a file is refused.

use super::{MOST_PAGES, Problem};

/// Looks at every directory that is looked at later. A directory that cannot be found, or that ends
/// beyond the file, is left to the decoder.
///
/// # Errors
/// [`Problem`] if a directory claims more values than the file has bytes for, or the decoder would
/// misread it.
pub(super) fn check(bytes: &[u8]) -> Result<(), Problem> {
    let Some(form) = Form::of(bytes) else {
        return Ok(());
    };
    let mut at = form.number(bytes, form.width, form.width);
    // The first picture is read one more time than the others.
    for _ in 0..=MOST_PAGES {
        let Some(start) = at.and_then(|at| usize::try_from(at).ok()) else {
            break;
        };
        at = form.directory(bytes, start)?.filter(|&next| next > 0);
    }
    Ok(())
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

    fn is_big(self) -> bool {
        self.width == 8
    }

    /// Checks the directory at `start`; returns where the next one is, or `None` if this one ends
    /// beyond the file.
    fn directory(self, bytes: &[u8], start: usize) -> Result<Option<u64>, Problem> {
        let count_width = if self.is_big() { 8 } else { 2 };
        let Some(count) = self.number(bytes, start, count_width) else {
            return Ok(None);
        };
        let mut at = start + count_width;
        for _ in 0..count {
            let Some(kind) = self.number(bytes, at + 2, 2) else {
                return Ok(None);
            };
            if self.is_big() && size_of(kind).is_none() {
                return Err(Problem::Unsupported(format!(
                    "a BigTIFF with a value of the unknown type {kind}: save it as a TIFF without \
                     that value"
                )));
            }
            let Some(values) = self.number(bytes, at + 4, self.width) else {
                return Ok(None);
            };
            if values.saturating_mul(size_of(kind).unwrap_or(1)) > bytes.len() as u64 {
                let reason = "a directory says that it has more values than the file has bytes for";
                return Err(Problem::Damaged(reason.to_owned()));
            }
            at += 4 + 2 * self.width;
        }
        Ok(self.number(bytes, at, self.width))
    }
}

/// Returns the bytes of a value of this type, if it is known: TIFF 6.0, section 2, and BigTIFF.
fn size_of(kind: u64) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16..=18 => Some(8),
        _ => None,
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
                check(&file(form, kind, length / size)).unwrap();
                for values in [length / size + 1, u64::MAX] {
                    let refused = check(&file(form, kind, values));
                    assert!(matches!(refused, Err(Problem::Damaged(_))), "{refused:?}");
                }
            }
        }
    }

    /// The decoder finds an entry of five million values behind the first 12 bytes of this one.
    #[test]
    fn no_value_hides_behind_an_entry_of_unknown_type() {
        for is_little in [true, false] {
            let big = file(
                Form {
                    is_little,
                    width: 8,
                },
                99,
                0,
            );
            for length in 28..=big.len() {
                let refused = check(&big[..length]);
                assert!(
                    matches!(refused, Err(Problem::Unsupported(_))),
                    "{refused:?}"
                );
            }
            let classic = Form {
                is_little,
                width: 4,
            };
            check(&file(classic, 99, 0)).unwrap();
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
            check(&whole[..length]).unwrap();
        }
        let mut circle = whole;
        let end = circle.len() - 4;
        circle[end..].copy_from_slice(&8_u32.to_le_bytes());
        check(&circle).unwrap();
    }
}
