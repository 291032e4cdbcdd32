//! Elements of a tensor as stored in a file, and as `float32`.

use half::{bf16, f16};
use pytorch_reader::DType;
use safetensors::Dtype;

/// A type of floating-point number that becomes a `float32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elements {
    Double,
    Single,
    /// IEEE 754's binary16.
    Half,
    /// The upper half of a single.
    Brain,
}

impl Elements {
    /// Returns the type in a safetensors file, or the name of an unsupported one.
    pub(crate) fn of_safetensors(dtype: Dtype) -> Result<Self, String> {
        match dtype {
            Dtype::F64 => Ok(Self::Double),
            Dtype::F32 => Ok(Self::Single),
            Dtype::F16 => Ok(Self::Half),
            Dtype::BF16 => Ok(Self::Brain),
            other => Err(other.to_string()),
        }
    }

    /// Returns the type in a PyTorch file, or the name of an unsupported one.
    pub(crate) fn of_torch(dtype: DType) -> Result<Self, String> {
        match dtype {
            DType::F64 => Ok(Self::Double),
            DType::F32 => Ok(Self::Single),
            DType::F16 => Ok(Self::Half),
            DType::BF16 => Ok(Self::Brain),
            other => Err(format!("{other:?}")),
        }
    }

    /// Returns the numbers in `bytes`, which are little-endian as files and machines are.
    pub(crate) fn read(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Double => each(bytes, |x| f64::from_le_bytes(x) as f32),
            Self::Single => each(bytes, f32::from_le_bytes),
            Self::Half => each(bytes, |x| f16::from_le_bytes(x).to_f32()),
            Self::Brain => each(bytes, |x| bf16::from_le_bytes(x).to_f32()),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks();
    elements.iter().copied().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_is_read() {
        let double: Vec<u8> = [1.5_f64, -2.0].map(f64::to_le_bytes).concat();
        let single: Vec<u8> = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        for (elements, bytes) in [
            (Elements::Double, &double[..]),
            (Elements::Single, &single[..]),
            (Elements::Half, &[0x00, 0x3e, 0x00, 0xc0]),
            (Elements::Brain, &[0xc0, 0x3f, 0x00, 0xc0]),
        ] {
            assert_eq!(elements.read(bytes), [1.5, -2.0], "{elements:?}");
        }
    }
}
