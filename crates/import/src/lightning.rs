//! What a Lightning checkpoint states beside its tensors: the arguments that the model was built
//! with, as far as flawd needs them.

use std::collections::HashMap;

use flawd_core::image::Size;
use pytorch_reader::{PickleValue, PytorchError, PytorchReader};

use crate::tensors::{TensorError, TensorFile, explain};

/// The prefix of the names of the model's tensors.
pub(crate) const STATE_DICT: &str = "state_dict.";

/// The arguments of the model; `None` for those that the checkpoint does not state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Arguments {
    /// Limit of the log-scales.
    pub(crate) clamp: Option<f32>,
    /// Size of the network's input; older versions of anomalib state it.
    pub(crate) input_size: Option<Size>,
}

impl Arguments {
    /// Reads them; all are `None` if the file has none.
    pub(crate) fn read(file: &TensorFile) -> Result<Self, TensorError> {
        if !file.names().any(|name| name.starts_with(STATE_DICT)) {
            return Ok(Self::default());
        }
        let stated = PytorchReader::read_pickle_data(file.readable(), Some("hyper_parameters"));
        let arguments = match stated {
            Ok(PickleValue::Dict(arguments)) => arguments,
            Ok(_) | Err(PytorchError::KeyNotFound(_)) => return Ok(Self::default()),
            Err(error) => return Err(explain(file.path(), error)),
        };
        Ok(Self {
            clamp: stated_as(file, &arguments, "clamp", number)?,
            input_size: stated_as(file, &arguments, "input_size", size)?,
        })
    }
}

/// Returns an argument, `None` if it is not stated.
fn stated_as<T>(
    file: &TensorFile,
    arguments: &HashMap<String, PickleValue>,
    name: &'static str,
    convert: impl Fn(&PickleValue) -> Option<T>,
) -> Result<Option<T>, TensorError> {
    match arguments.get(name) {
        None | Some(PickleValue::None) => Ok(None),
        Some(value) => match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(TensorError::Argument {
                path: file.path().to_owned(),
                name,
                found: format!("{value:?}"),
            }),
        },
    }
}

fn number(value: &PickleValue) -> Option<f32> {
    match value {
        PickleValue::Int(number) => Some(*number as f32),
        PickleValue::Float(number) => Some(*number as f32),
        _ => None,
    }
}

fn size(value: &PickleValue) -> Option<Size> {
    let PickleValue::List(sides) = value else {
        return None;
    };
    match sides[..] {
        [PickleValue::Int(height), PickleValue::Int(width)] => Some(Size::new(
            usize::try_from(height).ok()?,
            usize::try_from(width).ok()?,
        )),
        _ => None,
    }
}
