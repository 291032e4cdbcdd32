//! Initial parameters: uniform in ±1/√fan-in, gains at zero.

use flawd_core::flow::FlowLayout;

/// Draws all parameters from one seed. The bounds are those of PyTorch's default convolution
/// initialisation, which the published code uses; the numbers themselves are not.
pub(crate) fn initialise(layout: &FlowLayout, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    let mut parameters = vec![0.0; layout.len];
    for block in &layout.blocks {
        for subnet in [&block.s1, &block.s2] {
            for (_, conv) in subnet.convolutions() {
                let bound = 1.0 / (conv.fan_in() as f32).sqrt();
                for value in &mut parameters[conv.weight.start..conv.bias.end] {
                    *value = bound * (2.0 * random.unit() - 1.0);
                }
            }
        }
    }
    parameters
}

/// SplitMix64 (Steele, Lea and Flood, 2014): one word of state, and no sequence to keep in a
/// checkpoint, since every epoch starts its own from the seed and its number.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Shuffles in place, each order equally likely but for a bias below `n / 2⁶⁴`.
    pub(crate) fn shuffle(&mut self, values: &mut [usize]) {
        for last in (1..values.len()).rev() {
            let wide = u128::from(self.next_u64()) * (last as u128 + 1);
            values.swap(last, (wide >> 64) as usize);
        }
    }
}
