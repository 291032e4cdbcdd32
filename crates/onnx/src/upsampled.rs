//! A convolution of an upsampled map at a quarter of the multiplications.
//!
//! Upsampling works on each channel alone, and a tap of the kernel mixes channels at one place, so
//! the two can be swapped: all taps at the low resolution as one convolution of one pixel, then
//! upsampling, then each tap shifted to where it belongs, and the sum of all.
//!
//! ```text
//! x [c,h,w] ─ 1x1 ─► [k²·out,h,w] ─ upsample ─► [k²·out,2h,2w] ─ shift ─ slices ─ + ─► [out,2h,2w]
//! ```
//! The shift is a convolution of each channel with a kernel that is 1 at its tap and 0 elsewhere.
//! It sees zeros around the upsampled map, as the whole convolution does, so only the order of
//! additions changes.

use crate::builder::{GraphBuilder, Value, Window};

/// The number of channels from which it pays: the savings grow with them, the overhead does not.
/// Measured with one thread on x86-64 with AVX-512, maps of 8 to 24 cells per side.
pub(crate) const WORTH_FROM: usize = 256;

/// A convolution's numbers: weight `[output, input, kernel, kernel]` in C order, `kernel` odd.
pub(crate) struct Taps<'a> {
    pub(crate) output: usize,
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) weight: &'a [f32],
}

/// Adds the convolution of `x` upsampled twice, stride 1, zeros around, without a bias.
pub(crate) fn add(builder: &mut GraphBuilder, name: &str, taps: &Taps, x: &Value) -> Value {
    let &Taps {
        output,
        input,
        kernel,
        weight,
    } = taps;
    let count = kernel * kernel;
    let channels = count * output;
    // From [output, input, tap] to [tap, output, input].
    let mut by_tap = vec![0.0; weight.len()];
    for (place, &number) in weight.iter().enumerate() {
        by_tap[place % count * (output * input) + place / count] = number;
    }
    let by_tap = builder.floats(&format!("{name}.weight"), &[channels, input, 1, 1], &by_tap);
    let low = format!("{name}.low");
    let low = builder.convolution(&low, x, &by_tap, None, Window::same(1, 1));
    let wide = builder.upsample_twice(&format!("{name}.wide"), &low);
    if count == 1 {
        return wide;
    }
    let at_tap = |place: usize| f32::from(u8::from(place % count == place / count / output));
    let shift: Vec<f32> = (0..channels * count).map(at_tap).collect();
    let shape = [channels, 1, kernel, kernel];
    let shift = builder.floats(&format!("{name}.shift"), &shape, &shift);
    let window = Window {
        groups: channels,
        ..Window::same(kernel, 1)
    };
    let shifted = format!("{name}.shifted");
    let shifted = builder.convolution(&shifted, &wide, &shift, None, window);
    let terms: Vec<Value> = (0..count)
        .map(|tap| {
            let name = format!("{name}.tap{tap}");
            builder.slice(&name, &shifted, 1, tap * output, (tap + 1) * output)
        })
        .collect();
    builder.sum(name, &terms)
}
