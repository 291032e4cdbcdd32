//! Runs a feature graph: image in, the feature maps of three scales out.

use std::path::Path;

use flawd_core::flow::SCALES;
use flawd_core::image::Size;
use ndarray::Array3;

use crate::binding::Binding;
use crate::session::{Execution, ModelError, Source};

/// A session over a [`feature_graph`](crate::feature_graph).
pub struct FeatureExtractor {
    binding: Binding,
    shapes: [[usize; 3]; SCALES],
}

impl FeatureExtractor {
    /// Opens a session over the bytes of a feature graph.
    ///
    /// # Errors
    /// If ONNX Runtime rejects it, or it is not a feature graph.
    pub fn load(execution: Execution, graph: &[u8]) -> Result<Self, ModelError> {
        let name = Path::new("the feature graph");
        let binding = Binding::open(execution, &Source::Bytes(name, graph))?;
        let shapes: Option<Vec<[usize; 3]>> = binding
            .outputs()
            .map(|(_, shape)| match shape {
                &[1, channels, height, width] => Some([channels, height, width]),
                _ => None,
            })
            .collect();
        match shapes.and_then(|shapes| shapes.try_into().ok()) {
            Some(shapes) => Ok(Self { binding, shapes }),
            None => Err(ModelError::WrongKind {
                path: name.to_owned(),
                what: format!("it does not have {SCALES} outputs of shape [1, channels, h, w]"),
            }),
        }
    }

    /// Returns the size of the image it takes.
    pub fn input_size(&self) -> Size {
        self.binding.input_size()
    }

    /// Returns the shapes `[channels, height, width]` of the maps it gives, finest first.
    pub fn shapes(&self) -> [[usize; 3]; SCALES] {
        self.shapes
    }

    /// Computes the features of one image of [`Self::input_size`]: RGB bytes, row by row.
    ///
    /// # Errors
    /// If the image has another size, or the run fails.
    pub fn run(&mut self, tensor: &[u8]) -> Result<[Array3<f32>; SCALES], ModelError> {
        let outputs = self.binding.run(tensor)?;
        let mut maps = Vec::with_capacity(SCALES);
        for (scale, shape) in self.shapes.iter().enumerate() {
            let elements = outputs.elements(scale)?.to_vec();
            let map = Array3::from_shape_vec(*shape, elements);
            maps.push(map.expect("the buffer was allocated with this shape"));
        }
        Ok(maps.try_into().expect("one map was pushed a scale"))
    }
}
