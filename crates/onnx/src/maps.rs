//! What there is once per scale, finest first.

use flawd_core::flow::SCALES;

use crate::builder::Value;

/// One map per scale.
pub(crate) type Maps = [Value; SCALES];

/// Calls `of` with the number of each scale.
pub(crate) fn each_scale<T>(of: impl FnMut(usize) -> T) -> [T; SCALES] {
    std::array::from_fn(of)
}
