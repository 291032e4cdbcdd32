//! From a model in single precision to one in which convolutions, and what lies between them, are in
//! half precision: for runtimes that compute in the types that a file states, such as TensorRT from
//! version 11 on.
//!
//! ```text
//! image ─ normalisation ─ Cast ─► backbone ─ Cast ─► transform ─► state ──────────► x · exp(s) + t ─► …
//!            single               half                single       │                     ▲
//!                                                                  └ Cast ─► convolutions ┘ Cast
//!                                                                            half
//! ```
//! A convolution is always in half precision. An operator that only moves, limits or combines numbers
//! is, if everything that it is given is. All others are in single precision: exponentials,
//! logarithms, means, and what is computed of the state, which a flow adds up over its blocks. Inputs
//! and outputs of the model keep their types.
//!
//! That no number of the flow exceeds half precision is the exporter's work (`range.rs`).

mod number;

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::backbone::{has_subgraph, node_name};
use crate::builder::ModelTooLarge;
use crate::names::shown;
use crate::proto::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
};

/// Why a model cannot be brought to half precision.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum HalfError {
    /// It cannot be read.
    #[error("the model is damaged: {0}")]
    Damaged(String),
    /// It holds no graph.
    #[error("the model holds no graph")]
    NoGraph,
    /// It has numbers of half precision already.
    #[error("the model is in half precision already: convert the one that it was made of")]
    AlreadyHalf,
    /// Branches and loops see values of the graph around them.
    #[error(
        "the model has control flow (node `{}`), which cannot be converted",
        shown(node)
    )]
    ControlFlow {
        /// The node.
        node: String,
    },
    /// A constant that half precision does not hold.
    #[error(
        "the constant `{}` has the number {value}, and half precision ends at 65504: this model has to \
         stay in single precision",
        shown(name)
    )]
    TooLarge {
        /// Its name.
        name: String,
        /// The number.
        value: f32,
    },
    /// A constant whose elements cannot be read.
    #[error("the constant `{}` has no elements that can be read", shown(name))]
    NoElements {
        /// Its name.
        name: String,
    },
    /// The file would be too large.
    #[error(transparent)]
    File(#[from] ModelTooLarge),
}

/// What a conversion did, by numbers of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfCount {
    /// Nodes in half precision.
    pub half: usize,
    /// Nodes that stay as they were.
    pub other: usize,
    /// Nodes between them, which change the type.
    pub casts: usize,
}

/// Returns the model with convolutions, and what lies between them, in half precision.
///
/// # Errors
/// If the bytes are not a model, or a number that would be half does not fit.
pub fn half_graph(model: &[u8]) -> Result<(Vec<u8>, HalfCount), HalfError> {
    let mut model =
        ModelProto::decode(model).map_err(|error| HalfError::Damaged(error.to_string()))?;
    let graph = model.graph.take().ok_or(HalfError::NoGraph)?;
    if let Some(node) = graph.node.iter().find(|node| has_subgraph(node)) {
        return Err(HalfError::ControlFlow {
            node: node_name(node),
        });
    }
    let (graph, count) = Conversion::new(&graph)?.run(graph)?;
    model.graph = Some(graph);
    ModelTooLarge::check(model.encoded_len())?;
    Ok((model.encode_to_vec(), count))
}

/// Which inputs of an operator are numbers of its own precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    All,
    First,
}

/// Returns which inputs have the precision of the result, if the operator can be in half precision.
/// A `Conv` is in any case.
fn numbers(operator: &str) -> Option<Numbers> {
    match operator {
        "Add" | "Clip" | "Concat" | "Conv" | "HardSigmoid" | "HardSwish" | "LeakyRelu"
        | "MaxPool" | "Mul" | "PRelu" | "Relu" | "Sigmoid" | "Sum" => Some(Numbers::All),
        // The others are places, sizes and factors.
        "Gather" | "Reshape" | "Resize" | "Slice" | "Transpose" => Some(Numbers::First),
        _ => None,
    }
}

/// The precision that a value is needed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum FloatWidth {
    Single,
    Half,
}

/// One conversion.
struct Conversion {
    /// Constants of single precision, by name.
    constants: HashMap<String, TensorProto>,
    /// Names that are taken.
    names: HashSet<String>,
    outputs: HashSet<String>,
    /// Values that are in half precision.
    half: HashSet<String>,
    /// What a value is called in another precision than its own.
    copies: HashMap<(String, FloatWidth), String>,
    nodes: Vec<NodeProto>,
    /// Constants that were added.
    added: Vec<TensorProto>,
    count: HalfCount,
}

impl Conversion {
    fn new(graph: &GraphProto) -> Result<Self, HalfError> {
        let is_half = |tensor: &TensorProto| tensor.data_type == Some(DataType::Float16 as i32);
        let in_nodes = graph.node.iter().filter_map(|node| {
            let tensor = (node.op_type() == "Constant").then(|| node.tensor("value"))??;
            Some((node.output.first()?.clone(), tensor))
        });
        let in_graph = graph.initializer.iter();
        let all = in_graph.map(|tensor| (tensor.name().to_owned(), tensor));
        let all: Vec<_> = all.chain(in_nodes).collect();
        let has_casts = |node: &NodeProto| {
            node.op_type() == "Cast" && node.int("to") == Some(DataType::Float16 as i64)
        };
        if all.iter().any(|(_, tensor)| is_half(tensor)) || graph.node.iter().any(has_casts) {
            return Err(HalfError::AlreadyHalf);
        }
        let is_single = |tensor: &TensorProto| tensor.data_type == Some(DataType::Float as i32);
        let singles = all.into_iter().filter(|(_, tensor)| is_single(tensor));
        let values = graph.node.iter().flat_map(|node| &node.output);
        let inputs = graph.input.iter().map(|input| input.name().to_owned());
        let constants = graph.initializer.iter().map(|it| it.name().to_owned());
        Ok(Self {
            constants: singles.map(|(name, it)| (name, it.clone())).collect(),
            names: values.cloned().chain(inputs).chain(constants).collect(),
            outputs: graph.output.iter().map(|it| it.name().to_owned()).collect(),
            half: HashSet::new(),
            copies: HashMap::new(),
            nodes: Vec::new(),
            added: Vec::new(),
            count: HalfCount::default(),
        })
    }

    fn run(mut self, mut graph: GraphProto) -> Result<(GraphProto, HalfCount), HalfError> {
        for node in std::mem::take(&mut graph.node) {
            self.node(node)?;
        }
        graph.node = self.nodes;
        graph.initializer.extend(self.added);
        // What was only used in half precision is not needed in single.
        let inputs = graph.node.iter().flat_map(|node| &node.input);
        let used: HashSet<&str> = inputs.chain(&self.outputs).map(String::as_str).collect();
        let kept = |tensor: &TensorProto| used.contains(tensor.name());
        graph.initializer.retain(kept);
        // The types in it are no longer right, and nothing needs it.
        graph.value_info.clear();
        Ok((graph, self.count))
    }

    /// Adds a node, in the precision that its inputs give it, and what brings them to it.
    fn node(&mut self, mut node: NodeProto) -> Result<(), HalfError> {
        let kind = numbers(node.op_type());
        let precision = match kind {
            Some(kind) if self.is_half(&node, kind) => FloatWidth::Half,
            _ => FloatWidth::Single,
        };
        let mut inputs = Vec::new();
        for (place, input) in node.input.iter().enumerate() {
            let is_number = kind != Some(Numbers::First) || place == 0;
            inputs.push(match precision {
                FloatWidth::Half if is_number => self.in_half(input)?,
                _ => self.in_single(input),
            });
        }
        node.input = inputs;
        match precision {
            FloatWidth::Half => {
                self.count.half += 1;
                self.half.extend(node.output.iter().cloned());
            }
            FloatWidth::Single => self.count.other += 1,
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Returns whether a node is in half precision: a convolution, or one all of whose numbers are,
    /// apart from constants. Outputs of the model are not.
    fn is_half(&self, node: &NodeProto, kind: Numbers) -> bool {
        if node.output.iter().any(|name| self.outputs.contains(name)) {
            return false;
        }
        if node.op_type() == "Conv" {
            return true;
        }
        let numbers = match kind {
            Numbers::All => &node.input[..],
            Numbers::First => node.input.get(..1).unwrap_or_default(),
        };
        let values = numbers
            .iter()
            .filter(|name| !name.is_empty() && !self.constants.contains_key(*name));
        let mut values = values.peekable();
        values.peek().is_some() && values.all(|name| self.half.contains(name))
    }

    /// Returns the name of a value in half precision.
    fn in_half(&mut self, name: &str) -> Result<String, HalfError> {
        if name.is_empty() || self.half.contains(name) {
            return Ok(name.to_owned());
        }
        let key = (name.to_owned(), FloatWidth::Half);
        if let Some(copy) = self.copies.get(&key) {
            return Ok(copy.clone());
        }
        let copy = self.fresh(&format!("{name}.half"));
        match self.constants.get(name) {
            Some(constant) => {
                let constant = half_constant(name, constant, &copy)?;
                self.added.push(constant);
            }
            None => self.cast(name, &copy, DataType::Float16),
        }
        self.copies.insert(key, copy.clone());
        Ok(copy)
    }

    /// Returns the name of a value that is not in half precision.
    fn in_single(&mut self, name: &str) -> String {
        if !self.half.contains(name) {
            return name.to_owned();
        }
        let key = (name.to_owned(), FloatWidth::Single);
        if let Some(copy) = self.copies.get(&key) {
            return copy.clone();
        }
        let copy = self.fresh(&format!("{name}.single"));
        self.cast(name, &copy, DataType::Float);
        self.copies.insert(key, copy.clone());
        copy
    }

    fn cast(&mut self, from: &str, to: &str, element: DataType) {
        self.count.casts += 1;
        self.nodes.push(NodeProto {
            input: vec![from.to_owned()],
            output: vec![to.to_owned()],
            name: Some(to.to_owned()),
            op_type: Some("Cast".to_owned()),
            attribute: vec![AttributeProto {
                name: Some("to".to_owned()),
                r#type: Some(AttributeType::Int as i32),
                i: Some(element as i64),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        });
    }

    /// Returns `name`, or `name` with the first free number if it is taken.
    fn fresh(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut number = 1;
        while !self.names.insert(candidate.clone()) {
            candidate = format!("{name}_{number}");
            number += 1;
        }
        candidate
    }
}

/// Returns a constant in half precision, under another name.
fn half_constant(name: &str, tensor: &TensorProto, copy: &str) -> Result<TensorProto, HalfError> {
    let values = tensor.float_values().unwrap_or_default();
    let elements = tensor.dims.iter().try_fold(1_usize, |all, &size| {
        all.checked_mul(usize::try_from(size).ok()?)
    });
    if elements != Some(values.len()) {
        return Err(HalfError::NoElements {
            name: name.to_owned(),
        });
    }
    let mut raw = Vec::with_capacity(2 * values.len());
    for value in values {
        let number = number::rounded(value).ok_or_else(|| HalfError::TooLarge {
            name: name.to_owned(),
            value,
        })?;
        raw.extend(number.to_le_bytes());
    }
    Ok(TensorProto {
        dims: tensor.dims.clone(),
        data_type: Some(DataType::Float16 as i32),
        name: Some(copy.to_owned()),
        raw_data: Some(raw),
        ..TensorProto::default()
    })
}

#[cfg(test)]
mod tests;
