//! A block of bytes that shows whether it is whole: magic, version, length, checksum, body.

use std::fs::File;
use std::io;

use crate::bytes::{ByteReader, put_u32};
use crate::pages;

/// Version of everything that the journal writes.
const VERSION: u32 = 1;

/// Bytes before the body.
pub(crate) const PREFIX: usize = 8 + 4 + 4 + 4;

/// Why a frame cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// It is missing, incomplete, or not what was written.
    Damaged,
    /// It is whole, but of another version.
    Version(u32),
}

/// Returns the frame around `body`. The checksum (CRC-32) is over everything else.
pub(crate) fn seal(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    with_version(magic, VERSION, body)
}

fn with_version(magic: &[u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a table of streams is no 4 GiB");
    let mut frame = Vec::with_capacity(PREFIX + body.len());
    frame.extend_from_slice(magic);
    put_u32(&mut frame, version);
    put_u32(&mut frame, length);
    let checksum = checksum(&frame, body);
    put_u32(&mut frame, checksum);
    frame.extend_from_slice(body);
    frame
}

/// Returns the body of the frame at the start of `bytes`, and the bytes that the frame takes.
pub(crate) fn open<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Result<(&'a [u8], usize), FrameError> {
    let parts = || {
        let mut reader = ByteReader(bytes);
        let found = reader.bytes(8)?;
        let version = reader.u32()?;
        let length = usize::try_from(reader.u32()?).ok()?;
        let stored = reader.u32()?;
        let body = reader.bytes(length)?;
        let whole = found == magic && checksum(&bytes[..16], body) == stored;
        whole.then_some((version, body))
    };
    match parts() {
        None => Err(FrameError::Damaged),
        Some((VERSION, body)) => Ok((body, PREFIX + body.len())),
        Some((version, _)) => Err(FrameError::Version(version)),
    }
}

/// Returns the bytes of the frame at `offset` in the file, whole or not: at most `most`, and at
/// most its stated length. The error says why there are fewer, if the disk is the reason.
pub(crate) fn load(
    magic: &[u8; 8],
    file: &File,
    offset: u64,
    most: u64,
) -> (Vec<u8>, Option<io::Error>) {
    let (bytes, fault) = pages::read(file, offset, most.min(pages::PAGE));
    let length = ByteReader(bytes.get(12..).unwrap_or_default()).u32();
    let frame = PREFIX as u64 + u64::from(length.unwrap_or_default());
    if fault.is_some() || !bytes.starts_with(magic) || frame <= bytes.len() as u64 || frame > most {
        return (bytes, fault);
    }
    pages::read(file, offset, frame)
}

fn checksum(prefix: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"a frame!";

    #[test]
    fn a_frame_is_refused_with_any_bit_changed_or_any_byte_missing() {
        let frame = seal(MAGIC, b"body");
        assert_eq!(open(MAGIC, &frame), Ok((&b"body"[..], frame.len())));
        for length in 0..frame.len() {
            assert_eq!(open(MAGIC, &frame[..length]), Err(FrameError::Damaged));
        }
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(MAGIC, &changed), Err(FrameError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_whole_frame_of_another_version_says_which() {
        let frame = with_version(MAGIC, 7, b"what the future holds");
        assert_eq!(open(MAGIC, &frame), Err(FrameError::Version(7)));
    }
}
