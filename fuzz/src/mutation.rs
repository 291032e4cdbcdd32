//! Changes that turn one input into another.

use flawd_core::random::SplitMix64;

/// Replacements for a number.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    7,
    16,
    64,
    100,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Replacements for a number in text.
const TEXTS: [&[u8]; 10] = [
    b"0",
    b"-1",
    b"1",
    b"65536",
    b"4294967296",
    b"9223372036854775807",
    b"18446744073709551615",
    b"1e308",
    b"0.1",
    b"99999999999999999999999999999999999999999",
];

/// Changes inputs at random, and never makes one longer than `longest`.
#[derive(Debug)]
pub struct Mutation {
    random: SplitMix64,
    longest: usize,
    words: &'static [&'static [u8]],
}

impl Mutation {
    /// Creates the changes that belong to a seed. `words` are pieces of the input's language.
    pub fn new(seed: u64, longest: usize, words: &'static [&'static [u8]]) -> Self {
        Self {
            random: SplitMix64::new(seed),
            longest,
            words,
        }
    }

    /// Returns a number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        (self.random.next_u64() % bound) as usize
    }

    /// Changes `input` a few times; `other` is an input to take pieces of.
    pub fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..1 << self.below(5) {
            self.once(input, other);
        }
        input.truncate(self.longest);
    }

    fn once(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len());
        match self.below(14) {
            0 => self.byte(input, at, |byte, random| byte ^ 1 << (random % 8)),
            1 => self.byte(input, at, |_, random| random as u8),
            2 => self.byte(input, at, |byte, random| {
                byte.wrapping_add((random % 33) as u8).wrapping_sub(16)
            }),
            3 | 4 => self.number(input, at),
            5 => {
                let end = at + self.length(input.len() - at);
                input.drain(at..end);
            }
            6 => input.truncate(at),
            7 => {
                // A piece of the input again, elsewhere or in place.
                let end = at + self.length(input.len() - at);
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                self.insert(input, to, &piece);
            }
            8 => {
                let end = at + self.length(input.len() - at);
                let to = self.below(input.len());
                let length = (end - at).min(input.len() - to);
                input.copy_within(at..at + length, to);
            }
            9 => {
                let from = self.below(other.len());
                let piece = &other[from..from + self.length(other.len() - from)];
                self.insert(input, at, piece);
            }
            10 => {
                // The beginning of one and the end of the other.
                let from = self.below(other.len());
                input.truncate(at);
                self.insert(input, at, &other[from..]);
            }
            11 => self.text_number(input, at),
            12 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                if self.below(2) == 0 {
                    let end = input.len().min(at + word.len());
                    input[at..end].copy_from_slice(&word[..end - at]);
                } else {
                    self.insert(input, at, word);
                }
            }
            _ => {
                // A long run of one byte, which only a length check can bound.
                let byte = input.get(at).copied().unwrap_or(self.below(256) as u8);
                let count = self.length(4096);
                self.insert(input, at, &vec![byte; count]);
            }
        }
    }

    fn byte(&mut self, input: &mut [u8], at: usize, change: impl Fn(u8, u64) -> u8) {
        let random = self.random.next_u64();
        if let Some(byte) = input.get_mut(at) {
            *byte = change(*byte, random);
        }
    }

    /// Replaces a number of one to eight bytes, in either byte order, by a critical one, or one
    /// near to it.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let width = 1 << self.below(4);
        let is_big = self.below(2) == 0;
        let length = input.len() as u64;
        let Some(place) = input.get_mut(at..at + width) else {
            return;
        };
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(place);
        if is_big {
            bytes[..width].reverse();
        }
        let before = u64::from_le_bytes(bytes);
        let near = (self.below(65) as u64).wrapping_sub(32);
        let number = match self.below(4) {
            0 => before.wrapping_add(near),
            1 => length.wrapping_add(near),
            _ => NUMBERS[self.below(NUMBERS.len())],
        };
        bytes = number.to_le_bytes();
        if is_big {
            bytes[..width].reverse();
        }
        place.copy_from_slice(&bytes[..width]);
    }

    /// Replaces the digits at or after a place by another number.
    fn text_number(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(begin) = input[at..].iter().position(u8::is_ascii_digit) else {
            return;
        };
        let begin = at + begin;
        let digits = input[begin..].iter().take_while(|it| it.is_ascii_digit());
        let end = begin + digits.count();
        let text = TEXTS[self.below(TEXTS.len())];
        input.splice(begin..end, text.iter().copied());
    }

    /// Returns a length, mostly a short one, of at most `most`.
    fn length(&mut self, most: usize) -> usize {
        let bound = 1 << self.below(13);
        (1 + self.below(bound)).min(most)
    }

    fn insert(&self, input: &mut Vec<u8>, at: usize, piece: &[u8]) {
        let room = self.longest.saturating_sub(input.len());
        let piece = &piece[..piece.len().min(room)];
        input.splice(at..at, piece.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_can_be_changed_and_none_becomes_longer_than_allowed() {
        let mut mutation = Mutation::new(1, 100, &[b"word"]);
        for start in [&b""[..], b"a", b"12 and 340", &[0; 100]] {
            let mut changed = 0;
            for _ in 0..2000 {
                let mut input = start.to_vec();
                mutation.change(&mut input, b"another");
                assert!(input.len() <= 100);
                changed += usize::from(input != start);
            }
            assert!(changed > 1000, "{changed} of 2000");
        }
    }

    #[test]
    fn a_seed_gives_the_same_changes() {
        let run = || {
            let mut mutation = Mutation::new(7, 100, &[]);
            let mut input = b"some input".to_vec();
            (0..50).for_each(|_| mutation.change(&mut input, b"another"));
            input
        };
        assert_eq!(run(), run());
    }
}
