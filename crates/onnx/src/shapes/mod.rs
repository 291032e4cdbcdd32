//! The shapes of a backbone's tensors for a given input size, without running it.
//!
//! The exporter needs to know how large the feature maps are before a model exists: to refuse a
//! size that the three scales cannot divide, and to bring several feature maps to one grid. This
//! covers the operators of convolutional networks. An operator that is not covered is an error, not
//! a guess; add it in `rule.rs`.

mod rule;

use std::collections::HashMap;

use crate::backbone::node_name;
use crate::names::shown;
use crate::proto::{NodeProto, TensorProto};
use rule::Rule;

type Shape = Vec<usize>;

/// A node whose output shape cannot be determined.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "cannot tell the shape behind node `{}` ({}): {reason}",
    shown(node),
    shown(operator)
)]
pub struct ShapeError {
    /// The node.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// The obstacle.
    pub reason: &'static str,
}

/// Returns the shapes of all values that `nodes` output, for an input called `input` of shape
/// `shape`.
pub(crate) fn infer<'a>(
    nodes: &[&'a NodeProto],
    constants: &HashMap<&'a str, &'a TensorProto>,
    input: &'a str,
    shape: &[usize],
) -> Result<HashMap<&'a str, Shape>, ShapeError> {
    // Every known shape is bounded, so that no file makes arithmetic overflow, or takes memory out
    // of proportion to its size.
    let image = bounded(shape.to_vec()).map_err(|reason| ShapeError {
        node: input.to_owned(),
        operator: "image".to_owned(),
        reason,
    })?;
    let mut known = Known {
        shapes: HashMap::from([(input, image)]),
        integers: HashMap::new(),
        floats: HashMap::new(),
    };
    for (name, tensor) in constants {
        known.constant(name, tensor);
    }
    for node in nodes {
        if node.op_type() == "Constant"
            && let (Some(tensor), Some(name)) = (node.tensor("value"), node.output.first())
        {
            known.constant(name, tensor);
            continue;
        }
        let shapes = Rule {
            node,
            known: &known,
        }
        .output_shapes();
        let shapes = shapes.and_then(|shapes| shapes.into_iter().map(bounded).collect());
        let shapes: Vec<Shape> = shapes.map_err(|reason| ShapeError {
            node: node_name(node),
            operator: node.op_type().to_owned(),
            reason,
        })?;
        let outputs = node.output.iter().map(String::as_str);
        known.shapes.extend(outputs.zip(shapes));
    }
    Ok(known.shapes)
}

const TOO_LARGE: &str = "its output would be larger than any machine can hold";

/// Most axes of a tensor; networks for images have four, and a few more in between.
const MOST_AXES: usize = 16;

/// Most elements of a tensor: more than any has at the 2^41 pixels at which strides are probed, and
/// few enough that the sum of two shapes does not overflow.
const MOST_ELEMENTS: usize = 1 << 58;

/// Returns the shape, if it is within both limits.
fn bounded(shape: Shape) -> Result<Shape, &'static str> {
    let elements = shape.iter().try_fold(1_usize, |elements, &size| {
        let elements = elements.checked_mul(size.max(1))?;
        (elements <= MOST_ELEMENTS).then_some(elements)
    });
    match elements {
        Some(_) if shape.len() <= MOST_AXES => Ok(shape),
        _ => Err(TOO_LARGE),
    }
}

/// What is known before a node.
struct Known<'a> {
    shapes: HashMap<&'a str, Shape>,
    /// The elements of integer constants.
    integers: HashMap<&'a str, Vec<i64>>,
    /// The elements of float constants of one short axis, as `Resize` takes them.
    floats: HashMap<&'a str, Vec<f32>>,
}

impl<'a> Known<'a> {
    fn constant(&mut self, name: &'a str, tensor: &TensorProto) {
        let shape = tensor
            .dims
            .iter()
            .map(|&size| size.max(0) as usize)
            .collect();
        // A larger one does not fit any node.
        if let Ok(shape) = bounded(shape) {
            self.shapes.insert(name, shape);
        }
        if let Some(values) = tensor.int64_values() {
            self.integers.insert(name, values);
        }
        if let ([1..=8], Some(values)) = (&tensor.dims[..], tensor.float_values()) {
            self.floats.insert(name, values);
        }
    }
}

#[cfg(test)]
mod tests;
