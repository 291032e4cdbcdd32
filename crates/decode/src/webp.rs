//! The check of a WebP before it is decoded: its frame has to have the size announced before it.
//!
//! A WebP of the extended form states the size of the picture, and the frame in it states its own.
//! The decoder allocates by the latter, and compares afterwards. Animations, which have more
//! frames, are not read at all.

use flawd_core::image::Size;

use super::Problem;

/// Where the first chunk begins, in bytes.
const FIRST: usize = 12;

/// Where its data begin.
const DATA: usize = FIRST + 8;

/// The flag of a file with several pictures.
const ANIMATED: u8 = 2;

/// Looks at the headers; pixels are not touched. What has no such header is left to the decoder.
///
/// # Errors
/// [`Problem::Unsupported`] for an animation, [`Problem::Damaged`] if a frame has another size than
/// it should.
pub(super) fn judge(bytes: &[u8]) -> Result<(), Problem> {
    let mut chunks = Chunks(bytes.get(FIRST..).unwrap_or_default());
    // In the simple form there is one frame, whose size is that of the picture.
    let Some((b"VP8X", canvas)) = chunks.next() else {
        return Ok(());
    };
    if canvas.first().is_some_and(|flags| flags & ANIMATED > 0) {
        return Err(Problem::Unsupported(
            "a WebP with an animation: save the picture that is meant as a separate file"
                .to_owned(),
        ));
    }
    // The decoder reads it to its end, whatever length the chunk claims to have.
    let canvas = announced(&bytes[DATA..]);
    for (kind, data) in chunks {
        let frame = match kind {
            b"VP8 " => lossy(data),
            b"VP8L" => lossless(data),
            _ => None,
        };
        if let (Some(frame), Some(canvas)) = (frame, canvas)
            && frame != canvas
        {
            return Err(Problem::Damaged(format!(
                "a frame of {frame} where {canvas} is announced"
            )));
        }
    }
    Ok(())
}

/// Reads flags, and two sides minus one, of 24 bits each.
fn announced(data: &[u8]) -> Option<Size> {
    let [_, _, _, _, w0, w1, w2, h0, h1, h2] = *data.first_chunk()?;
    let side = |digits: [u8; 3]| {
        let [low, middle, high] = digits.map(usize::from);
        (high << 16 | middle << 8 | low) + 1
    };
    Some(Size::new(side([h0, h1, h2]), side([w0, w1, w2])))
}

/// Reads the header of RFC 6386, section 9.1: three bytes, a start code, and sides of 14 bits.
fn lossy(data: &[u8]) -> Option<Size> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *data.first_chunk()? else {
        return None;
    };
    let side = |low, high| usize::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some(Size::new(side(h0, h1), side(w0, w1)))
}

/// Reads the header of RFC 9649, section 3.4: a signature, and sides minus one of 14 bits.
fn lossless(data: &[u8]) -> Option<Size> {
    let [0x2f, digits @ ..] = *data.first_chunk::<5>()? else {
        return None;
    };
    let sides = u32::from_le_bytes(digits);
    let side = |bits: u32| (bits & 0x3fff) as usize + 1;
    Some(Size::new(side(sides >> 14), side(sides)))
}

/// Kind and data of each chunk, the last one as far as it is there.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, rest) = self.0.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let data = &rest[..length.min(rest.len())];
        // Chunks begin at even offsets.
        self.0 = rest.get(length + length % 2..).unwrap_or_default();
        Some((kind, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut chunk = [&kind[..], &(data.len() as u32).to_le_bytes(), data].concat();
        chunk.resize(chunk.len().next_multiple_of(2), 0);
        chunk
    }

    fn less_one(size: Size) -> Vec<u8> {
        let side = |side: usize| (side as u32 - 1).to_le_bytes()[..3].to_vec();
        [side(size.width), side(size.height)].concat()
    }

    /// The beginning of a frame of this size, lossy and lossless.
    fn frames(size: Size) -> [Vec<u8>; 2] {
        let side = |side: usize| (side as u16).to_le_bytes();
        let lossy = [
            &b"\0\0\0\x9d\x01\x2a"[..],
            &side(size.width),
            &side(size.height),
        ];
        let sides = (size.height as u32 - 1) << 14 | (size.width as u32 - 1);
        let lossless = [&b"\x2f"[..], &sides.to_le_bytes()];
        [
            chunk(b"VP8 ", &lossy.concat()),
            chunk(b"VP8L", &lossless.concat()),
        ]
    }

    fn file(canvas: Size, rest: &[u8]) -> Vec<u8> {
        let head = chunk(b"VP8X", &[&[0; 4][..], &less_one(canvas)].concat());
        [b"RIFF\0\0\0\0WEBP", &head[..], rest].concat()
    }

    #[test]
    fn a_frame_has_the_size_of_the_picture() {
        let canvas = Size::new(17, 24);
        for frame in frames(canvas) {
            assert!(judge(&file(canvas, &frame)).is_ok());
        }
        for other in [Size::new(24, 17), Size::new(16383, 16383)] {
            for frame in frames(other) {
                let behind = [chunk(b"ICCP", b"odd"), frame].concat();
                let mut file = file(canvas, &behind);
                assert!(judge(&file).is_err());
                // An odd length, one less than it takes.
                file[FIRST + 4] -= 1;
                assert!(judge(&file).is_err());
            }
        }
    }

    #[test]
    fn what_is_cut_is_left_to_the_decoder() {
        let whole = file(Size::new(17, 24), &frames(Size::new(17, 24)).concat());
        for length in 0..whole.len() {
            assert!(judge(&whole[..length]).is_ok());
        }
    }
}
