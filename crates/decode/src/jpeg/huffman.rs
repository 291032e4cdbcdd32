//! The Huffman codes of a JPEG, and the bits they are read from.
//!
//! Only lengths and symbols matter here, never the values: this is for counting blocks, not for
//! decoding them.

use super::JpegError;

/// Bits that one table lookup covers. Longer codes are rare, and are tried one length after
/// another.
const LOOK: u32 = 10;

/// A table of codes with 1 to 16 bits.
pub(super) struct Huffman {
    /// Indexed by the next [`LOOK`] bits: the code's length and its symbol, or a length of 0.
    short: Box<[(u8, u8); 1 << LOOK]>,
    /// Indexed by the next [`LOOK`] bits, for coefficients of a sequential scan: bits of the code
    /// and of the value that follows it, and how far the place in the block advances.
    steps: Box<[(u8, u8); 1 << LOOK]>,
    /// For each length: the first code that is longer, shifted to 16 bits.
    ends: [u32; 17],
    /// For each length: what is added to a code to get its index in `symbols`.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

/// The advance that means that the rest of the block is zero.
const END_OF_BLOCK: u8 = 128;

impl Huffman {
    /// Makes a table in which `counts[n]` codes have `n + 1` bits, with `symbols` in that order.
    ///
    /// # Errors
    /// [`JpegError::Header`] if there are more codes than the bits can distinguish.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Result<Self, JpegError> {
        let mut table = Self {
            short: Box::new([(0, 0); 1 << LOOK]),
            steps: Box::new([(0, 0); 1 << LOOK]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(&counts) {
            table.offsets[length as usize] = place as i32 - code as i32;
            for _ in 0..count {
                let symbol = *symbols.get(place).ok_or(JpegError::Header(BAD_TABLE))?;
                if code >= 1 << length {
                    return Err(JpegError::Header(BAD_TABLE));
                }
                if length <= LOOK {
                    let first = (code << (LOOK - length)) as usize;
                    let entries = first..first + (1 << (LOOK - length));
                    table.short[entries.clone()].fill((length as u8, symbol));
                    table.steps[entries].fill(step(length as u8, symbol));
                }
                (code, place) = (code + 1, place + 1);
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// Returns length and symbol of a code that is longer than [`LOOK`] bits.
    fn long(&self, bits: &Bits) -> Option<(u8, u8)> {
        let next = bits.peek(16);
        let length = (LOOK + 1..=16).find(|&length| next < self.ends[length as usize])?;
        let code = next >> (16 - length);
        let place = usize::try_from(code as i32 + self.offsets[length as usize]).ok()?;
        Some((length as u8, *self.symbols.get(place)?))
    }
}

const BAD_TABLE: &str = "a Huffman table is inconsistent";

/// Returns what a symbol of a sequential scan means: bits in all, and the advance; (0, 0) for a
/// symbol that such scans do not have.
fn step(length: u8, symbol: u8) -> (u8, u8) {
    match (symbol >> 4, symbol & 15) {
        (0, 0) => (length, END_OF_BLOCK),
        (15, 0) => (length, 16),
        (_, 0) => (0, 0),
        (run, size) => (length + size, run + 1),
    }
}

/// The reason why there is no next symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A marker or the end of the file came first.
    Ended,
    /// No code begins like that, or the block would be longer than 64 coefficients.
    Invalid,
}

/// Reads bits up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that has not been loaded.
    at: usize,
    /// Bits that have been loaded, the next one on top, zeros below.
    window: u64,
    /// The number of loaded bits.
    count: u32,
}

impl<'a> Bits<'a> {
    /// Begins reading at `at`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            window: 0,
            count: 0,
        }
    }

    /// Loads bytes until there are at least 32 bits, or none are left before the next marker.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(chunk) = self.bytes[self.at..].first_chunk::<4>() {
            let chunk = u32::from_be_bytes(*chunk);
            let zeros = !chunk;
            // True if no byte is 0xff.
            if zeros.wrapping_sub(0x0101_0101) & chunk & 0x8080_8080 == 0 {
                self.window |= u64::from(chunk) << (32 - self.count);
                (self.at, self.count) = (self.at + 4, self.count + 32);
                return;
            }
        }
        self.fill_slowly();
    }

    #[cold]
    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else {
                return;
            };
            self.at += 1;
            if byte == 0xff {
                let fill = self.bytes[self.at..].iter().take_while(|&&b| b == 0xff);
                let next = self.at + fill.count();
                if self.bytes.get(next) != Some(&0) {
                    // A marker, or the end of the file.
                    self.at -= 1;
                    return;
                }
                self.at = next + 1;
            }
            self.window |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Returns the next bits; those beyond the end are zero.
    fn peek(&self, bits: u32) -> u32 {
        (self.window >> (64 - bits)) as u32
    }

    #[inline]
    fn take(&mut self, bits: u32) -> Result<(), Stop> {
        self.count = self.count.checked_sub(bits).ok_or(Stop::Ended)?;
        self.window <<= bits;
        Ok(())
    }

    /// Skips up to 64 bits.
    pub(super) fn skip(&mut self, bits: u32) -> Result<(), Stop> {
        for part in [bits.min(32), bits.saturating_sub(32)] {
            self.fill();
            self.take(part)?;
        }
        Ok(())
    }

    /// Reads the value of up to 16 bits.
    pub(super) fn value(&mut self, bits: u32) -> Result<u32, Stop> {
        if bits == 0 {
            return Ok(0);
        }
        self.fill();
        let value = self.peek(bits);
        self.take(bits)?;
        Ok(value)
    }

    /// Reads the symbol of the next code.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8, Stop> {
        self.fill();
        let (length, symbol) = match table.short[self.peek(LOOK) as usize] {
            (0, _) => table.long(self).ok_or_else(|| self.no_code())?,
            short => short,
        };
        self.take(length.into())?;
        Ok(symbol)
    }

    /// Skips the coefficients after the first one of a sequential block.
    #[inline]
    pub(super) fn skip_coefficients(&mut self, table: &Huffman) -> Result<(), Stop> {
        let mut place = 1_u32;
        while place < 64 {
            self.fill();
            let (bits, advance) = match table.steps[self.peek(LOOK) as usize] {
                (0, _) => self.long_step(table)?,
                step => step,
            };
            self.take(bits.into())?;
            place += u32::from(advance);
        }
        if place > 64 && place < u32::from(END_OF_BLOCK) {
            return Err(Stop::Invalid);
        }
        Ok(())
    }

    #[cold]
    fn long_step(&self, table: &Huffman) -> Result<(u8, u8), Stop> {
        if table.short[self.peek(LOOK) as usize].0 > 0 {
            return Err(self.no_code());
        }
        let (length, symbol) = table.long(self).ok_or_else(|| self.no_code())?;
        match step(length, symbol) {
            (0, _) => Err(self.no_code()),
            step => Ok(step),
        }
    }

    /// Returns why there is no code: at the very end, what looks like an invalid code may be one
    /// that is cut off.
    fn no_code(&self) -> Stop {
        if self.count < 16 {
            Stop::Ended
        } else {
            Stop::Invalid
        }
    }

    /// Ends here; returns how many whole bytes were left, and where the next marker is.
    pub(super) fn end(self) -> (usize, usize) {
        let taken = self.count as usize / 8;
        let mut left = taken;
        let mut at = self.at;
        while let Some(&byte) = self.bytes.get(at) {
            if byte == 0xff {
                match self.bytes.get(at + 1) {
                    Some(0) => at += 1,
                    Some(0xff) => {
                        at += 1;
                        continue;
                    }
                    _ => break,
                }
            }
            (at, left) = (at + 1, left + 1);
        }
        (left, at)
    }
}
