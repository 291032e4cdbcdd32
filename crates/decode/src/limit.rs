//! The limit on the size of a picture, checked before anything is allocated for it.

use std::sync::atomic::{AtomicU64, Ordering};

use flawd_core::image::Size;

use super::Problem;

/// Default limit of a picture: more than industrial cameras have (150 million at the very most, 5
/// to 25 usually), at up to 11 bytes per pixel while it is decoded.
pub const DEFAULT_MEGAPIXELS: u32 = 100;

/// The limit of this process. One number for all, because it protects the process's memory, and no
/// picture has a reason to be allowed more than another.
static MEGAPIXELS: AtomicU64 = AtomicU64::new(DEFAULT_MEGAPIXELS as u64);

/// Sets the limit for files from now on; for `main`.
pub fn set_max_megapixels(megapixels: u32) {
    MEGAPIXELS.store(megapixels.into(), Ordering::Relaxed);
}

/// Returns the megapixels that a file may have.
pub(super) fn max_megapixels() -> u64 {
    MEGAPIXELS.load(Ordering::Relaxed)
}

/// Returns the bytes that a file may have: an uncompressed picture with the most pixels, four
/// channels of 16 bits each, and the same again for its other content.
pub(super) fn max_file_bytes() -> u64 {
    max_megapixels() * 16_000_000
}

/// Checks that a picture may be that large. One without pixels may have four billion rows, each of
/// which a decoder walks through.
pub(super) fn admit(size: Size) -> Result<(), Problem> {
    if size.area() == 0 {
        return Err(Problem::Damaged(format!(
            "its header says {size} pixels, which is not a picture"
        )));
    }
    let limit = max_megapixels();
    if size.area() as u64 > limit * 1_000_000 {
        return Err(Problem::TooLarge { size, limit });
    }
    Ok(())
}

/// A size that the file cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its header says {size} pixels, more than {bytes} bytes can hold: it is damaged, copy or take it \
     again"
)]
pub struct TooLittle {
    /// The size in the header.
    pub size: Size,
    /// Length of the file.
    pub bytes: usize,
}

/// Checks that so short a file can hold so many bytes of pixels. Deflate compresses at most 1032
/// times, and pixels of one bit become eight; small pictures of one colour may be shorter still.
pub(super) fn plausible(size: Size, pixel_bytes: u64, file_bytes: usize) -> Result<(), Problem> {
    const ALWAYS: u64 = 16 << 20;
    if pixel_bytes > ALWAYS.saturating_add(file_bytes as u64 * 8 * 1032) {
        return Err(TooLittle {
            size,
            bytes: file_bytes,
        }
        .into());
    }
    Ok(())
}
