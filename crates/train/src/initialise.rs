//! Initial parameters: uniform in ±1/√fan-in, gains at zero.

use flawd_core::flow::FlowLayout;
use flawd_core::random::SplitMix64;

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
                    *value = bound * (2.0 * unit(&mut random) - 1.0);
                }
            }
        }
    }
    parameters
}

/// Returns a number uniform in `[0, 1)`, 24 bits.
fn unit(random: &mut SplitMix64) -> f32 {
    (random.next_u64() >> 40) as f32 / (1_u64 << 24) as f32
}
