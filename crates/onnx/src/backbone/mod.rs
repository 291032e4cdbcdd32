//! Reads a feature extractor from an ONNX file.
//!
//! A [`Backbone`] is the parsed file and what was checked about it: one image input of three
//! channels, weights inside the file, an operator set that is compatible with the exporter's. It
//! runs nothing; the exporter copies its nodes into its own graphs.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use flawd_core::normalisation::{Normalisation, NormalisationError};
use prost::Message;

use crate::builder::OLDEST_OPSET;
use crate::names::{list, shown};
use crate::proto::{
    AttributeType, DataLocation, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};

/// The property of a file that names the outputs to use if none are chosen, separated by commas.
pub(crate) const DEFAULT_OUTPUTS: &str = "default_outputs";

/// A feature extractor: an ONNX model from one image to one or more feature maps.
pub struct Backbone {
    path: PathBuf,
    graph: GraphProto,
    opset: i64,
    ir_version: i64,
    input: String,
    default_outputs: Vec<String>,
    normalisation: Option<Normalisation>,
}

/// Why a file cannot serve as a backbone. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// The file cannot be read.
    #[error("cannot read the backbone {}; give an ONNX file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("{} is not an ONNX model, or is cut short: copy or download it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the decoder stopped.
        source: prost::DecodeError,
    },
    /// An ONNX model with no graph in it.
    #[error("{} holds no graph: it is empty or not an ONNX model", path.display())]
    NoGraph {
        /// The file.
        path: PathBuf,
    },
    /// The operator set is older than what the exporter writes.
    #[error(
        "{} uses ONNX operator set {found}, and {OLDEST_OPSET} or later is needed: export it with a \
         later one, or convert it with onnx.version_converter",
        path.display()
    )]
    OpsetTooOld {
        /// The file.
        path: PathBuf,
        /// Its operator set; 0 if it names none.
        found: i64,
    },
    /// Weights lie in other files.
    #[error(
        "{} keeps the tensor `{}` in another file: save it as one file \
         (onnx.save_model with save_as_external_data=False)",
        path.display(), shown(tensor)
    )]
    ExternalData {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
    },
    /// Its input is not one image.
    #[error(
        "{} must have one input of float32 [n, 3, height, width], and has {found}",
        path.display()
    )]
    NotOneImage {
        /// The file.
        path: PathBuf,
        /// The inputs that it has.
        found: String,
    },
    /// Conditional branches or loops, whose bodies the exporter does not copy.
    #[error(
        "{} has the control-flow operator {} (node `{}`), which is not supported: \
         export it without branches and loops",
        path.display(), shown(operator), shown(node)
    )]
    ControlFlow {
        /// The file.
        path: PathBuf,
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
    },
    /// An output that none of its nodes computes.
    #[error(
        "{} has the output `{}`, which none of its nodes computes: export it again",
        path.display(), shown(output)
    )]
    NotComputed {
        /// The file.
        path: PathBuf,
        /// The output.
        output: String,
    },
    /// The normalisation in the metadata cannot be used.
    #[error("cannot read the normalisation of {}", path.display())]
    Normalisation {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NormalisationError,
    },
}

impl Backbone {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// A [`BackboneError`] that names the file and the remedy.
    pub fn open(path: &Path) -> Result<Self, BackboneError> {
        let unreadable = |source| BackboneError::Unreadable {
            path: path.to_owned(),
            source,
        };
        Self::from_bytes(path, &std::fs::read(path).map_err(unreadable)?)
    }

    /// Checks the bytes of a model file; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Backbone::open`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, BackboneError> {
        let path = path.to_owned();
        let model = match ModelProto::decode(bytes) {
            Ok(model) => model,
            Err(source) => return Err(BackboneError::Damaged { path, source }),
        };
        let opset = default_opset(&model);
        let metadata = model.metadata_props;
        let Some(graph) = model.graph.filter(|graph| !graph.node.is_empty()) else {
            return Err(BackboneError::NoGraph { path });
        };
        if opset < OLDEST_OPSET {
            return Err(BackboneError::OpsetTooOld { path, found: opset });
        }
        if let Some(tensor) = external_tensor(&graph) {
            let tensor = tensor.to_owned();
            return Err(BackboneError::ExternalData { path, tensor });
        }
        if let Some(node) = graph.node.iter().find(|node| has_subgraph(node)) {
            let operator = node.op_type().to_owned();
            let node = node_name(node);
            return Err(BackboneError::ControlFlow {
                path,
                node,
                operator,
            });
        }
        let input = match image_input(&graph) {
            Ok(input) => input.to_owned(),
            Err(found) => return Err(BackboneError::NotOneImage { path, found }),
        };
        if let Some(output) = not_computed(&graph, &input) {
            let output = output.to_owned();
            return Err(BackboneError::NotComputed { path, output });
        }
        let property = |key: &str| {
            let found = metadata
                .iter()
                .find(|entry| entry.key.as_deref() == Some(key))?;
            found.value.as_deref()
        };
        let normalisation = match Normalisation::from_properties(property) {
            Ok(normalisation) => normalisation,
            Err(source) => return Err(BackboneError::Normalisation { path, source }),
        };
        let default_outputs = property(DEFAULT_OUTPUTS).unwrap_or_default();
        let default_outputs = default_outputs
            .split(',')
            .map(|name| name.trim().to_owned());
        Ok(Self {
            default_outputs: default_outputs.filter(|name| !name.is_empty()).collect(),
            path,
            opset,
            ir_version: model.ir_version.unwrap_or_default(),
            input,
            normalisation,
            graph,
        })
    }

    /// Returns the file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of its outputs, in the file's order.
    pub fn outputs(&self) -> Vec<&str> {
        self.graph.output.iter().map(ValueInfoProto::name).collect()
    }

    /// Returns the outputs that the file's metadata (`default_outputs`) names for those who choose
    /// none; empty if it names none.
    pub fn default_outputs(&self) -> &[String] {
        &self.default_outputs
    }

    /// Returns the normalisation that the file's metadata (`mean`, `std`, `channel_order`) asks
    /// for; `None` if it states none.
    pub fn normalisation(&self) -> Option<Normalisation> {
        self.normalisation
    }

    /// Returns the operator set of its nodes.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// Returns the file-format version of its nodes.
    pub(crate) fn ir_version(&self) -> i64 {
        self.ir_version
    }

    /// Returns the name of its image input.
    pub(crate) fn input(&self) -> &str {
        &self.input
    }

    /// Returns its constants by name.
    pub(crate) fn constants(&self) -> HashMap<&str, &TensorProto> {
        let constants = self.graph.initializer.iter();
        constants.map(|tensor| (tensor.name(), tensor)).collect()
    }

    /// Returns the nodes that `outputs` depend on, in order.
    pub(crate) fn nodes_behind(&self, outputs: &[String]) -> Vec<&NodeProto> {
        let mut wanted: HashSet<&str> = outputs.iter().map(String::as_str).collect();
        // Nodes are in topological order, so one pass from the end finds every ancestor.
        let mut nodes: Vec<&NodeProto> = self
            .graph
            .node
            .iter()
            .rev()
            .filter(|node| {
                let needed = node
                    .output
                    .iter()
                    .any(|name| wanted.contains(name.as_str()));
                if needed {
                    wanted.extend(node.input.iter().map(String::as_str));
                }
                needed
            })
            .collect();
        nodes.reverse();
        nodes
    }
}

impl fmt::Debug for Backbone {
    /// Without the weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backbone")
            .field("path", &self.path)
            .field("outputs", &self.outputs())
            .finish_non_exhaustive()
    }
}

/// Returns the first output that is neither computed by a node nor the input.
fn not_computed<'a>(graph: &'a GraphProto, input: &str) -> Option<&'a str> {
    let computed = graph.node.iter().flat_map(|node| &node.output);
    let computed: HashSet<&str> = computed.map(String::as_str).chain([input]).collect();
    let mut outputs = graph.output.iter().map(ValueInfoProto::name);
    outputs.find(|name| name.is_empty() || !computed.contains(name))
}

/// Returns a node's name, or the name of its output.
pub(crate) fn node_name(node: &NodeProto) -> String {
    let name = node.name.as_ref().filter(|name| !name.is_empty());
    name.or(node.output.first()).cloned().unwrap_or_default()
}

/// Returns the version of ONNX's own operators, 0 if the file names none.
fn default_opset(model: &ModelProto) -> i64 {
    let own = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
    model
        .opset_import
        .iter()
        .find(|opset| own(opset.domain.as_deref()))
        .and_then(|opset| opset.version)
        .unwrap_or_default()
}

fn external_tensor(graph: &GraphProto) -> Option<&str> {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let tensors = graph
        .initializer
        .iter()
        .chain(attributes.filter_map(|attribute| attribute.t.as_ref()));
    tensors
        .filter(|tensor| tensor.data_location == Some(DataLocation::External as i32))
        .map(TensorProto::name)
        .next()
}

/// Returns whether a node holds graphs, as branches and loops do.
pub(crate) fn has_subgraph(node: &NodeProto) -> bool {
    let holds = [AttributeType::Graph as i32, AttributeType::Graphs as i32];
    node.attribute
        .iter()
        .any(|attribute| attribute.r#type.is_some_and(|kind| holds.contains(&kind)))
}

/// Returns the one image input, or a description of what is there instead.
fn image_input(graph: &GraphProto) -> Result<&str, String> {
    let constants: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    // Old files list their constants among the inputs.
    let inputs: Vec<&ValueInfoProto> = graph
        .input
        .iter()
        .filter(|input| !constants.contains(input.name()))
        .collect();
    let [input] = inputs[..] else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name()).collect();
        return Err(format!("{} inputs ({})", names.len(), list(&names)));
    };
    let described = |what: &str| format!("`{}`, which is {what}", shown(input.name()));
    let Some(tensor) = input.tensor_type() else {
        return Err(described("no tensor"));
    };
    if tensor.elem_type != Some(DataType::Float as i32) {
        return Err(described("not float32"));
    }
    let Some(shape) = &tensor.shape else {
        return Ok(input.name());
    };
    match &shape.dim[..] {
        [batch, channels, _, width]
            if batch.fixed().is_none_or(|size| size == 1)
                && match channels.fixed() {
                    Some(channels) => channels == 3,
                    // A last axis of 3 means that the channels come last.
                    None => width.fixed() != Some(3),
                } =>
        {
            Ok(input.name())
        }
        dimensions => {
            let sizes: Vec<String> = dimensions
                .iter()
                .map(|size| size.fixed().map_or("?".to_owned(), |size| size.to_string()))
                .collect();
            Err(described(&format!("[{}]", sizes.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests;
