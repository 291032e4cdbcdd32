//! The channel permutations of the flow, regenerated from a block number.
//!
//! CS-Flow checkpoints do not store their permutations: each coupling block draws them from a
//! generator seeded with the block's index. Both published implementations draw them with numpy,
//! each with another generator, so this module carries both, bit for bit:
//!
//! * [`PermutationKind::NumpyLegacy`] — the original code: `numpy.random.seed(block)` and one
//!   `permutation` per scale, the generator running on from scale to scale.
//! * [`PermutationKind::NumpyPcg64`] — anomalib: a fresh `default_rng(block)` for every scale, so
//!   that the three scales of a block share one permutation.
//!
//! Both shuffle with Fisher–Yates from the top and draw each index by masked rejection.

use serde::{Deserialize, Serialize};

/// Which published implementation's permutations a flow uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermutationKind {
    /// The original CS-Flow code: numpy's legacy generator, MT19937.
    #[default]
    NumpyLegacy,
    /// anomalib: numpy's `default_rng`, PCG64.
    NumpyPcg64,
}

/// Returns the permutations of block `block` over `channels` channels for `scales` scales, finest
/// first.
///
/// A permutation `p` gathers: output channel `c` is input channel `p[c]`.
pub fn block_permutations(
    kind: PermutationKind,
    block: u32,
    channels: usize,
    scales: usize,
) -> Vec<Vec<usize>> {
    match kind {
        PermutationKind::NumpyLegacy => {
            let mut generator = Mt19937::new(block);
            let next = |_| shuffle(channels, || generator.next_u32());
            (0..scales).map(next).collect()
        }
        PermutationKind::NumpyPcg64 => {
            let mut generator = Pcg64::new(block);
            vec![shuffle(channels, || generator.next_u32()); scales]
        }
    }
}

/// Shuffles `0..n` as both numpy generators do.
fn shuffle(n: usize, mut next_u32: impl FnMut() -> u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let mask = (last + 1).next_power_of_two() - 1;
        let chosen = loop {
            let draw = next_u32() as usize & mask;
            if draw <= last {
                break draw;
            }
        };
        order.swap(last, chosen);
    }
    order
}

/// Mersenne Twister (Matsumoto and Nishimura, 1998) with Knuth's one-word seeding.
struct Mt19937 {
    state: [u32; 624],
    next: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, next: 624 }
    }

    fn twist(&mut self) {
        for i in 0..624 {
            let word = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
            let odd = if word & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % 624] ^ (word >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == 624 {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }
}

/// PCG XSL-RR 128/64 (O'Neill, 2014), seeded through numpy's `SeedSequence`.
struct Pcg64 {
    state: u128,
    increment: u128,
    /// The high half of the last 64-bit output, which the next 32-bit draw returns.
    buffered: Option<u32>,
}

impl Pcg64 {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

    fn new(seed: u32) -> Self {
        let words = seed_sequence(seed);
        let wide = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        let mut generator = Self {
            state: 0,
            increment: (wide(words[2], words[3]) << 1) | 1,
            buffered: None,
        };
        generator.step();
        generator.state = generator.state.wrapping_add(wide(words[0], words[1]));
        generator.step();
        generator
    }

    fn step(&mut self) {
        self.state = self
            .state
            .wrapping_mul(Self::MULTIPLIER)
            .wrapping_add(self.increment);
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.buffered.take() {
            return high;
        }
        self.step();
        let folded = ((self.state >> 64) as u64) ^ (self.state as u64);
        let output = folded.rotate_right((self.state >> 122) as u32);
        self.buffered = Some((output >> 32) as u32);
        output as u32
    }
}

/// numpy's `SeedSequence(seed).generate_state(4, uint64)` for a one-word seed and the default pool
/// of four words. The constants are those of numpy's `bit_generator.pyx`.
fn seed_sequence(seed: u32) -> [u64; 4] {
    const POOL: usize = 4;

    let mut hash_constant = 0x43b0_d7e5_u32;
    let mut hash_mix = |value: u32| {
        let value = value ^ hash_constant;
        hash_constant = hash_constant.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(hash_constant);
        value ^ (value >> 16)
    };
    let mix = |x: u32, y: u32| {
        let word = 0xca01_f9dd_u32
            .wrapping_mul(x)
            .wrapping_sub(0x4973_f715_u32.wrapping_mul(y));
        word ^ (word >> 16)
    };

    let mut pool = [0_u32; POOL];
    for (i, word) in pool.iter_mut().enumerate() {
        *word = hash_mix(if i == 0 { seed } else { 0 });
    }
    for source in 0..POOL {
        for target in 0..POOL {
            if source != target {
                pool[target] = mix(pool[target], hash_mix(pool[source]));
            }
        }
    }

    let mut hash_constant = 0x8b51_f9dd_u32;
    let mut generate = |i: usize| {
        let value = pool[i % POOL] ^ hash_constant;
        hash_constant = hash_constant.wrapping_mul(0x58f3_8ded);
        let value = value.wrapping_mul(hash_constant);
        value ^ (value >> 16)
    };
    let words: [u32; 2 * POOL] = std::array::from_fn(&mut generate);
    std::array::from_fn(|i| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn digest(permutation: &[usize]) -> String {
        let mut hash = Sha256::new();
        for &channel in permutation {
            hash.update((channel as u16).to_le_bytes());
        }
        hash.finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// SHA-256 prefixes of numpy's own permutations of 304 channels, blocks 0 to 3.
    #[test]
    fn permutations_of_304_channels_equal_numpys() {
        let legacy = [
            ["672c0e97077aeaef", "af8f8bfa7b7f1a4f", "fafcbc930af4df25"],
            ["518d4a17e65ec3a3", "de0cbdb0102bab32", "af8176ae1703118e"],
            ["f543673a50662dea", "56a2142e550d4724", "5aace4e2c4204261"],
            ["f26d1ffd027c790c", "530899c92810d8bf", "dce1aae82e201c28"],
        ];
        let pcg64 = [
            "bd961507490bd446",
            "c2ed6d788e173a30",
            "816e12e069b5e0bd",
            "c7ef0b313bd1e3ca",
        ];
        for block in 0..4 {
            let drawn = block_permutations(PermutationKind::NumpyLegacy, block as u32, 304, 3);
            assert_eq!(
                drawn.iter().map(|p| digest(p)).collect::<Vec<_>>(),
                legacy[block],
                "legacy {block}"
            );
            let drawn = block_permutations(PermutationKind::NumpyPcg64, block as u32, 304, 3);
            assert_eq!(
                drawn.iter().map(|p| digest(p)).collect::<Vec<_>>(),
                [pcg64[block]; 3],
                "pcg64 {block}"
            );
        }
    }

    #[test]
    fn first_channels_are_the_published_ones() {
        let drawn = block_permutations(PermutationKind::NumpyLegacy, 0, 304, 3);
        assert_eq!(
            drawn[0][..10],
            [66, 156, 247, 267, 145, 135, 81, 137, 111, 173]
        );
        let drawn = block_permutations(PermutationKind::NumpyPcg64, 0, 304, 3);
        assert_eq!(
            drawn[2][..10],
            [162, 295, 123, 299, 119, 0, 215, 47, 298, 5]
        );
    }
}
