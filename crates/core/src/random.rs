//! Reproducible random orders and draws: one generator, whose whole state is one word.
//!
//! For random orders and draws that must be the same on every machine for the same seed. For the
//! numbers of another program, see [`permutation`](crate::permutation).

use std::f64::consts::TAU;

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
/// 2014, with the constants of Vigna's `splitmix64.c`.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Creates the sequence that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Shuffles in place, each order equally likely except for a bias below `n / 2⁶⁴`.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let wide = u128::from(self.next_u64()) * (last as u128 + 1);
            values.swap(last, (wide >> 64) as usize);
        }
    }
}

/// Draws from the standard normal distribution, in pairs: Box and Muller, "A note on the generation
/// of random normal deviates", Annals of Mathematical Statistics 29, 1958.
#[derive(Clone, Debug)]
pub struct Normal {
    random: SplitMix64,
    second: Option<f64>,
}

impl Normal {
    /// Creates the sequence that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
            second: None,
        }
    }

    /// Returns the next draw.
    pub fn draw(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        // 1 minus a number below 1 is not 0, whose logarithm is infinite.
        let radius = (-2.0 * (1.0 - self.random.unit()).ln()).sqrt();
        let (sine, cosine) = (TAU * self.random.unit()).sin_cos();
        self.second = Some(radius * sine);
        radius * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers that `splitmix64.c` gives for the seed 1234567.
    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut random = SplitMix64::new(1_234_567);
        let numbers = [(); 3].map(|()| random.next_u64());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn a_shuffle_keeps_what_it_shuffles_and_every_place_is_as_likely_as_another() {
        let mut random = SplitMix64::new(5);
        let mut counts = [[0; 4]; 4];
        for _ in 0..4000 {
            let mut values = [0, 1, 2, 3];
            random.shuffle(&mut values);
            for (place, &value) in values.iter().enumerate() {
                counts[value][place] += 1;
            }
        }
        // Binomial, 4000 draws at 1/4: a standard deviation is 27, so these are five of them.
        assert!(
            counts
                .as_flattened()
                .iter()
                .all(|count| (863..=1137).contains(count)),
            "{counts:?}"
        );
    }
}
