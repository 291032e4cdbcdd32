//! The check of a packed BMP before it is decoded: it has to have every pixel.
//!
//! Run lengths may leave pixels out, by a jump or an early end of a row, and the decoder makes
//! those black; no pixel may be made up.

use super::Problem;

const MAY_LEAVE_OUT: &str = "a packed BMP (RLE) that does not have every pixel: save it without \
                             compression, or as PNG";

/// Walks over the runs of a packed BMP; others are left to the decoder.
///
/// # Errors
/// If pixels are missing.
pub(super) fn judge(bytes: &[u8]) -> Result<(), Problem> {
    match walk(bytes) {
        Some(false) => Err(Problem::Unsupported(MAY_LEAVE_OUT.to_owned())),
        _ => Ok(()),
    }
}

/// Returns whether a packed BMP has every pixel; `None` if it is not packed, or is cut short, which
/// the decoder reports.
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
