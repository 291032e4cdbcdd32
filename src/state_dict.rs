//! A network's weights by name, from a safetensors file. What they are the weights of, this does
//! not know.

use std::fs;
use std::path::{Path, PathBuf};

use flawd_onnx::efficientnet::StateDict;
use ndarray::ArrayD;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

/// Why a file gives no weights. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum StateDictError {
    /// The file cannot be read.
    #[error("cannot read the weights {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is of another kind, or cut short.
    #[error(
        "{} is no safetensors file, or is cut short: copy it again, or convert it as \
         models/README.md says", path.display()
    )]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SafeTensorError,
    },
    /// Elements that are no floating-point numbers of a usual width.
    #[error(
        "the tensor `{key}` of {} has elements of type {found}, and F64, F32, F16 or BF16 is \
         needed: save the weights before they are quantised", path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        key: String,
        /// Its elements' type, as safetensors calls it.
        found: Dtype,
    },
}

/// Reads all tensors of a safetensors file as `float32`. A single integer is a counter that PyTorch
/// keeps beside the weights, and is left out.
///
/// # Errors
/// If the file cannot be read, or holds numbers of another kind.
pub fn read(path: &Path) -> Result<StateDict, StateDictError> {
    let unreadable = |source| StateDictError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(unreadable)?;
    let not_safetensors = |source| StateDictError::NotSafetensors {
        path: path.to_owned(),
        source,
    };
    let file = SafeTensors::deserialize(&bytes).map_err(not_safetensors)?;
    let mut tensors = StateDict::new();
    for (key, view) in file.iter() {
        if is_counter(&view) {
            continue;
        }
        let Some(tensor) = floats(&view) else {
            return Err(StateDictError::ElementType {
                path: path.to_owned(),
                key: key.to_owned(),
                found: view.dtype(),
            });
        };
        tensors.insert(key.to_owned(), tensor);
    }
    Ok(tensors)
}

fn is_counter(view: &TensorView) -> bool {
    let is_integer = matches!(view.dtype(), Dtype::I64 | Dtype::I32);
    is_integer && view.shape().is_empty()
}

/// The elements as `float32`; nothing where they are of a type that does not become one.
fn floats(view: &TensorView) -> Option<ArrayD<f32>> {
    let data = view.data();
    let elements = match view.dtype() {
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(data, |bytes| from_half(u16::from_le_bytes(bytes))),
        // The upper half of a float32.
        Dtype::BF16 => each(data, |[low, high]| f32::from_le_bytes([0, 0, low, high])),
        _ => return None,
    };
    let tensor = ArrayD::from_shape_vec(view.shape(), elements);
    Some(tensor.expect("safetensors holds the length of the data against the shape"))
}

fn each<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (elements, _) = data.as_chunks();
    elements.iter().copied().map(convert).collect()
}

/// A number of half precision (IEEE 754-2008, binary16), exactly: one bit of sign, five of
/// exponent, ten of fraction.
fn from_half(bits: u16) -> f32 {
    let magnitude = match (bits >> 10 & 0x1f, f32::from(bits & 0x3ff)) {
        (0x1f, 0.0) => f32::INFINITY,
        (0x1f, _) => f32::NAN,
        // Subnormal: no leading one.
        (0, fraction) => fraction * 2.0_f32.powi(-24),
        (exponent, fraction) => (1024.0 + fraction) * 2.0_f32.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use tempfile::TempDir;

    fn written(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Result<StateDict, StateDictError> {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("w.safetensors");
        let views = tensors.iter().map(|&(name, dtype, shape, data)| {
            let view = TensorView::new(dtype, shape.to_vec(), data).expect("as long as it says");
            (name, view)
        });
        let bytes = safetensors::serialize(views, None).expect("it can be written");
        fs::write(&path, bytes).expect("it can be written");
        read(&path)
    }

    #[test]
    fn every_width_of_floating_point_is_read() {
        let single: Vec<u8> = [1.5_f32, -2.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let double: Vec<u8> = [1.5_f64, -2.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let half: Vec<u8> = [0x3e00_u16, 0xc000]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let brain: Vec<u8> = [0x3fc0_u16, 0xc000]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let tensors = written(&[
            ("single", Dtype::F32, &[2, 1], &single),
            ("double", Dtype::F64, &[2, 1], &double),
            ("half", Dtype::F16, &[2, 1], &half),
            ("brain", Dtype::BF16, &[2, 1], &brain),
            (
                "bn.num_batches_tracked",
                Dtype::I64,
                &[],
                &[7, 0, 0, 0, 0, 0, 0, 0],
            ),
        ]);
        let tensors = tensors.expect("they are read");
        assert_eq!(tensors.len(), 4, "the counter is left out");
        for (name, tensor) in tensors {
            assert_eq!(tensor, array![[1.5], [-2.0]].into_dyn(), "{name}");
        }
    }

    /// All 65536 of them, against the value that the standard's formula gives in double precision.
    #[test]
    fn half_precision_is_converted_exactly() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
            let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
            let found = from_half(bits);
            let expected = match exponent {
                0 => sign * 2.0_f64.powi(-14) * (fraction / 1024.0),
                31 if fraction > 0.0 => {
                    assert!(found.is_nan(), "{bits:#x}");
                    continue;
                }
                31 => sign * f64::INFINITY,
                _ => sign * 2.0_f64.powi(exponent - 15) * (1.0 + fraction / 1024.0),
            };
            assert_eq!(f64::from(found), expected, "{bits:#x}");
        }
        // The largest number, the smallest, and a third, as the standard's examples have them.
        assert_eq!(from_half(0x7bff), 65504.0);
        assert_eq!(from_half(0x0001), 5.960_464_5e-8);
        assert_eq!(from_half(0x3555), 0.333_251_95);
    }

    #[test]
    fn quantised_weights_are_named_with_their_type() {
        let error = written(&[("a.weight", Dtype::I8, &[2], &[1, 2])]);
        let error = error.expect_err("must be refused").to_string();
        for part in ["a.weight", "I8", "w.safetensors"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn files_that_are_none_are_refused_by_name() {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("w.pth");
        let refused = || read(&path).expect_err("must be refused").to_string();
        assert!(refused().contains("cannot read the weights") && refused().contains("w.pth"));
        fs::write(&path, b"PK\x03\x04 as torch.save begins").expect("it can be written");
        assert!(refused().contains("no safetensors file"), "{}", refused());
    }
}
