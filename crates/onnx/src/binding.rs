//! A session whose buffers are allocated once.
//!
//! The image is copied into one permanent tensor, and the results are written into permanent
//! tensors, so a run itself allocates nothing. The shapes must be fixed, as they are in flawd's
//! graphs.

use flawd_core::image::Size;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::{Tensor, TensorElementType};

use crate::features::IMAGE;
use crate::session::{Execution, ModelError, Source, fixed_shape, open};

/// A session with one image input and `float32` outputs, all of fixed shape.
pub(crate) struct Binding {
    session: Session,
    binding: IoBinding,
    image: Tensor<u8>,
    size: Size,
    outputs: Vec<(String, Vec<usize>)>,
}

impl Binding {
    /// Opens a session and allocates its buffers.
    pub(crate) fn open(execution: Execution, source: &Source<'_>) -> Result<Self, ModelError> {
        let session = open(execution, source)?;
        let wrong = |what: String| ModelError::WrongKind {
            path: source.path(),
            what,
        };
        let size = image_size(&session).ok_or_else(|| {
            wrong(format!(
                "its one input must be `{IMAGE}`, uint8 [1, height, width, 3]"
            ))
        })?;
        let mut outputs = Vec::new();
        for outlet in session.outputs() {
            let name = outlet.name().to_owned();
            match fixed_shape(outlet, TensorElementType::Float32) {
                Some(shape) => outputs.push((name, shape)),
                None => {
                    return Err(wrong(format!(
                        "output `{name}` is not float32 of fixed shape"
                    )));
                }
            }
        }
        let (binding, image) = allocate(&session, size, &outputs).map_err(ModelError::Run)?;
        Ok(Self {
            session,
            binding,
            image,
            size,
            outputs,
        })
    }

    pub(crate) fn input_size(&self) -> Size {
        self.size
    }

    /// Returns name and shape of each output, in order.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.outputs
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Runs the session on an image: RGB bytes, row by row.
    pub(crate) fn run(&mut self, image: &[u8]) -> Result<Outputs<'_>, ModelError> {
        let (_, tensor) = self.image.extract_tensor_mut();
        if image.len() != tensor.len() {
            let (expected, found) = (tensor.len(), image.len());
            return Err(ModelError::WrongInput { expected, found });
        }
        tensor.copy_from_slice(image);
        // On a GPU, binding is what copies the image there; on the CPU it only notes the address.
        self.binding
            .bind_input(IMAGE, &self.image)
            .map_err(ModelError::Run)?;
        let values = self
            .session
            .run_binding(&self.binding)
            .map_err(ModelError::Run)?;
        Ok(Outputs { values })
    }
}

/// The results of a run, in the session's buffers.
pub(crate) struct Outputs<'a> {
    values: SessionOutputs<'a>,
}

impl Outputs<'_> {
    /// Returns the elements of output `index` in C order.
    pub(crate) fn elements(&self, index: usize) -> Result<&[f32], ModelError> {
        let (_, elements) = self.values[index]
            .try_extract_tensor()
            .map_err(ModelError::Run)?;
        Ok(elements)
    }
}

fn image_size(session: &Session) -> Option<Size> {
    let [input] = session.inputs() else {
        return None;
    };
    match fixed_shape(input, TensorElementType::Uint8)?[..] {
        [1, height, width, 3] if input.name() == IMAGE => Some(Size::new(height, width)),
        _ => None,
    }
}

fn allocate(
    session: &Session,
    size: Size,
    outputs: &[(String, Vec<usize>)],
) -> ort::Result<(IoBinding, Tensor<u8>)> {
    let allocator = Allocator::default();
    let image = Tensor::new(&allocator, [1, size.height, size.width, 3])?;
    let mut binding = session.create_binding()?;
    for (name, shape) in outputs {
        binding.bind_output(name, Tensor::<f32>::new(&allocator, shape.as_slice())?)?;
    }
    Ok((binding, image))
}
