//! What a packed BMP has to be before it is decoded: one that has every pixel.
//!
//! Run lengths may leave pixels out, by a jump or by an early end of a row, and the decoder takes
//! those for black; no pixel is to be made up.

use super::Problem;

const MAY_LEAVE_OUT: &str = "a packed BMP (RLE) that does not have every pixel: save it without \
                             compression, or as PNG";

/// Walks over the runs of a packed BMP; others are for the decoder.
///
/// # Errors
/// If pixels are missing.
pub(super) fn judge(bytes: &[u8]) -> Result<(), Problem> {
    match walk(bytes) {
        Some(false) => Err(Problem::Unsupported(MAY_LEAVE_OUT.to_owned())),
        _ => Ok(()),
    }
}

/// Returns whether a packed BMP has every pixel; `None` if it is not a packed one, or is cut, which
/// the decoder says.
fn walk(bytes: &[u8]) -> Option<bool> {
    let long = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (start, header, compression) = (long(10)?, long(14)?, long(30)?);
    if header < 40 || !matches!(compression, 1 | 2) {
        return None;
    }
    let (width, height) = (long(18)? as usize, long(22)? as usize);
    let (mut row, mut column) = (0, 0);
    let mut rest = bytes.get(start as usize..)?;
    loop {
        let (&[count, value], tail) = rest.split_first_chunk()?;
        rest = tail;
        match (count, value) {
            (0, 0) if column == width => (row, column) = (row + 1, 0),
            (0, 1) => return Some(row + usize::from(column == width) == height),
            (0, 0 | 2) => return Some(false),
            (0, literal) => {
                let bytes = usize::from(literal).div_ceil(compression as usize);
                rest = rest.get(bytes.next_multiple_of(2)..)?;
                column += usize::from(literal);
            }
            (run, _) => column += usize::from(run),
        }
        if column > width || row > height {
            return Some(false);
        }
    }
}
