//! How the data of a TIFF is packed, by an encoder that does no more than the format asks for.

/// LZW with codes of nine bits: the table begins again before it would need ten.
pub(super) fn lzw(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut code = |code: u16| bits.extend((0..9).rev().map(|bit| (code >> bit & 1) as u8));
    for part in bytes.chunks(200) {
        code(256);
        part.iter().for_each(|&byte| code(byte.into()));
    }
    code(257);
    let byte = |bits: &[u8]| (0..8).fold(0, |byte, at| byte << 1 | bits.get(at).unwrap_or(&0));
    bits.chunks(8).map(byte).collect()
}

/// PackBits that repeats nothing.
pub(super) fn pack_bits(bytes: &[u8]) -> Vec<u8> {
    let parts = bytes.chunks(128);
    parts
        .flat_map(|part| [&[part.len() as u8 - 1], part].concat())
        .collect()
}

/// Each row of three pixels by what it differs from the pixel before.
pub(super) fn differences(bytes: &[u8]) -> Vec<u8> {
    let row = bytes.len() / 2;
    let pixel = row / 3;
    (bytes.chunks(row))
        .flat_map(|row| {
            (0..row.len()).map(|at| match at.checked_sub(pixel) {
                Some(before) => row[at].wrapping_sub(row[before]),
                None => row[at],
            })
        })
        .collect()
}
