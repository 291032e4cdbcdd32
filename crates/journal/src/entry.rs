//! One entry as bytes in a segment.
//!
//! ```text
//! length u32 │ CRC-32 u32 │ stream? u8 │ name u64+bytes │ seq u64 │ payload
//!            │            └──── the body: `length` bytes; name and seq only where stream? is 1
//!            └── over the position (u64), the length and the body
//! ```
//! The position is not stored: entries of a segment follow each other. It is in the checksum, so
//! that bytes in the wrong place are not an entry. A length of 0 is the end.

use crate::bytes::{ByteReader, put_text, put_u32, put_u64};

/// Bytes before the body.
const PREFIX: usize = 8;

/// Bytes of the smallest entry: no stream, no payload.
pub(crate) const SMALLEST: u64 = PREFIX as u64 + 1;

/// An entry that was found whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FoundEntry<'a> {
    pub(crate) stream: Option<(&'a str, u64)>,
    pub(crate) payload: &'a [u8],
    /// Bytes that it takes in the segment.
    pub(crate) size: usize,
}

/// Returns the bytes that an entry takes.
pub(crate) fn size(stream: Option<(&str, u64)>, payload: &[u8]) -> u64 {
    let number = stream.map_or(0, |(name, _)| 16 + name.len());
    (PREFIX + 1 + number + payload.len()) as u64
}

/// Appends the entry's bytes; `size` must fit into 32 bits.
pub(crate) fn write(out: &mut Vec<u8>, position: u64, stream: Option<(&str, u64)>, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    out.push(stream.is_some().into());
    if let Some((name, seq)) = stream {
        put_text(out, name);
        put_u64(out, seq);
    }
    out.extend_from_slice(payload);
    let body = &out[start + PREFIX..];
    let length = u32::try_from(body.len()).expect("larger entries are refused before");
    let mut prefix = Vec::with_capacity(PREFIX);
    put_u32(&mut prefix, length);
    put_u32(&mut prefix, checksum(position, length, body));
    out[start..start + PREFIX].copy_from_slice(&prefix);
}

/// Returns the entry at the start of `bytes`, if there is a whole one with this position.
pub(crate) fn read(bytes: &[u8], position: u64) -> Option<FoundEntry<'_>> {
    let mut reader = ByteReader(bytes);
    let length = reader.u32().filter(|&length| length > 0)?;
    let stored = reader.u32()?;
    let body = reader.bytes(usize::try_from(length).ok()?)?;
    if checksum(position, length, body) != stored {
        return None;
    }
    let mut body = ByteReader(body);
    let stream = match body.u8()? {
        0 => None,
        _ => Some((body.text()?, body.u64()?)),
    };
    Some(FoundEntry {
        stream,
        payload: body.0,
        size: PREFIX + usize::try_from(length).ok()?,
    })
}

/// Returns length and body of what could be an entry at the start of `bytes`, judged by everything
/// but its checksum.
pub(crate) fn plausible(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut reader = ByteReader(bytes);
    let length = reader.u32().filter(|&length| length > 0)?;
    reader.u32()?;
    let body = reader.bytes(usize::try_from(length).ok()?)?;
    let mut fields = ByteReader(body);
    match fields.u8()? {
        0 => {}
        1 => {
            fields.text()?;
            fields.u64()?;
        }
        _ => return None,
    }
    Some((length, body))
}

/// Returns the bytes that the entry at the start of `bytes` claims to take, whole or not.
pub(crate) fn claimed_size(bytes: &[u8]) -> Option<u64> {
    Some(PREFIX as u64 + u64::from(ByteReader(bytes).u32()?))
}

fn checksum(position: u64, length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_at_its_own_position_only() {
        for stream in [None, Some(("", 1)), Some(("kamera 1 ä", u64::MAX))] {
            for payload in [&b""[..], b"x", &[0; 5000]] {
                let mut bytes = Vec::new();
                write(&mut bytes, 7, stream, payload);
                assert_eq!(bytes.len() as u64, size(stream, payload));
                assert_eq!(claimed_size(&bytes), Some(bytes.len() as u64));
                let found = read(&bytes, 7).expect("it is whole");
                assert_eq!((found.stream, found.payload), (stream, payload));
                assert_eq!(found.size, bytes.len());
                assert_eq!(read(&bytes, 8), None);
            }
        }
    }

    #[test]
    fn zeros_and_any_cut_entry_are_no_entry() {
        assert_eq!(read(&[0; 64], 0), None);
        let mut bytes = Vec::new();
        write(&mut bytes, 7, Some(("camera", 3)), b"payload");
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], 7), None, "{length} bytes");
        }
    }
}
