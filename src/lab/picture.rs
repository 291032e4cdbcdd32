//! A picture from a file, with its digests.

use std::path::Path;

use flawd_core::depth::Depth;
use flawd_core::digest::Digest;
use flawd_core::image::RgbImage;

use crate::files::digest::{sha256, sha256_pixels};
use crate::pictures::decode::{self, DecodeError};

/// A decoded picture and its digests.
pub(crate) struct Picture {
    pub(crate) image: RgbImage,
    /// Digest of the file.
    pub(crate) file: Digest,
    /// Digest of the pixels, which other files may share.
    pub(crate) pixels: Digest,
}

impl Picture {
    /// Reads a file; `depth` is that of pictures of more than 8 bits that do not state it.
    ///
    /// # Errors
    /// If it cannot be read or decoded.
    pub(crate) fn read(path: &Path, depth: Option<Depth>) -> Result<Self, DecodeError> {
        let bytes = decode::read(path)?;
        let image = decode::from_bytes(path, &bytes, depth)?;
        Ok(Self {
            file: sha256(&bytes),
            pixels: sha256_pixels(&image),
            image,
        })
    }

    /// Returns whether `is_known` holds for the file or for its pixels.
    pub(crate) fn is_any(&self, is_known: impl Fn(Digest) -> bool) -> bool {
        is_known(self.file) || is_known(self.pixels)
    }
}
