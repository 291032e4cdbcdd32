//! Textures for synthetic parts: integer hashes and a few smooth functions based on them.
//!
//! Independent of parts. Uses only IEEE add, multiply, divide and comparisons, so that the results
//! are bit-identical on every platform.

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit affects every output bit.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of draws that depends on two numbers only.
pub(crate) struct Draws(u64);

impl Draws {
    /// Starts the sequence for `(seed, index)`.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        Self(mix(
            mix(seed.wrapping_add(GOLDEN)) ^ index.wrapping_mul(GOLDEN)
        ))
    }

    /// Returns the next 64 bits (SplitMix64).
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Draws uniformly from `[0, 1)`, 24 bits.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Draws uniformly from `[low, high)`.
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Draws uniformly from `0..count`; the bias of the multiplication is below 2⁻⁴⁰ for small
    /// counts.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// Draws a seed for [`Noise`].
    pub(crate) fn noise(&mut self) -> Noise {
        Noise(self.bits())
    }
}

/// A random function of the plane.
#[derive(Clone, Copy)]
pub(crate) struct Noise(u64);

impl Noise {
    fn hash(self, x: i32, y: i32) -> u64 {
        // `as u32` keeps the bit pattern of negative coordinates.
        mix(self.0 ^ (u64::from(x as u32) << 32 | u64::from(y as u32)))
    }

    /// Returns independent values in `[-1, 1)` at the integer points.
    fn lattice(self, x: i32, y: i32) -> f32 {
        (self.hash(x, y) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Returns smooth noise in `[-1, 1)`, with features about one unit wide.
    pub(crate) fn smooth(self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let (along, down) = (smooth_step(x - column), smooth_step(y - row));
        let (column, row) = (column as i32, row as i32);
        let top = mix_between(
            self.lattice(column, row),
            self.lattice(column + 1, row),
            along,
        );
        let bottom = mix_between(
            self.lattice(column, row + 1),
            self.lattice(column + 1, row + 1),
            along,
        );
        mix_between(top, bottom, down)
    }

    /// Returns three octaves of [`smooth`](Self::smooth), in about `[-1, 1]`.
    pub(crate) fn cloudy(self, x: f32, y: f32) -> f32 {
        let second = Self(self.0.wrapping_add(1));
        let third = Self(self.0.wrapping_add(2));
        (4.0 * self.smooth(x, y)
            + 2.0 * second.smooth(2.0 * x, 2.0 * y)
            + third.smooth(4.0 * x, 4.0 * y))
            / 7.0
    }

    /// Returns independent, nearly normal values with mean 0 and standard deviation 1 at the
    /// integer points: the sum of four uniform draws.
    pub(crate) fn grain(self, x: usize, y: usize) -> f32 {
        let bits = self.hash(x as i32, y as i32);
        let sum: f32 = (0..4)
            .map(|draw| ((bits >> (16 * draw)) & 0xffff) as f32)
            .sum();
        // Each draw has mean 32767.5 and standard deviation 65536/√12; four of them double the
        // deviation.
        (sum - 131_070.0) / 37_837.2
    }
}

/// Moves from `from` to `to` as `share` goes from 0 to 1.
pub(crate) fn mix_between(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// The cubic that leaves 0 and reaches 1 smoothly; arguments outside are clamped.
pub(crate) fn smooth_step(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Returns cosine and sine of an angle in turns.
///
/// Taylor series on an eighth of a turn to each side, with an error below 1e-6; the platforms' own
/// functions differ from one another in the last bit.
pub(crate) fn direction(turns: f32) -> [f32; 2] {
    let quarter = (turns * 4.0).round();
    let angle = (turns * 4.0 - quarter) * std::f32::consts::FRAC_PI_2;
    let square = angle * angle;
    let sine = angle * (1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0)));
    let cosine =
        1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0 * (1.0 - square / 56.0)));
    match (quarter as i64).rem_euclid(4) {
        0 => [cosine, sine],
        1 => [-sine, cosine],
        2 => [-cosine, -sine],
        _ => [sine, -cosine],
    }
}
