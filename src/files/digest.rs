//! SHA-256 of bytes and of files.

use std::fs::File;
use std::io;
use std::path::Path;

use flawd_core::digest::Digest;
use flawd_core::image::RgbImage;
use sha2::{Digest as _, Sha256};

/// Returns the digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// Returns the digest of a picture's pixels and size, whatever file they come from: two pictures
/// with the same digest are one shot, because sensor noise makes no two shots alike.
pub fn sha256_pixels(image: &RgbImage) -> Digest {
    let mut hash = Sha256::new();
    hash.update(format!("{} ", image.size()));
    hash.update(image.pixels());
    Digest::new(hash.finalize().into())
}

/// Returns the digest of a file, reading it in pieces.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_file(path: &Path) -> io::Result<Digest> {
    let mut hash = HashWriter(Sha256::new());
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(Digest::new(hash.0.finalize().into()))
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha_256() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b"").to_string(), empty);
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert_eq!(
            sha256_file(file.path())
                .expect("it is readable")
                .to_string(),
            empty
        );
    }
}
