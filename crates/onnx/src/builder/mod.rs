//! Writes ONNX graphs, one method per operator (`operators.rs`).
//!
//! A [`GraphBuilder`] collects nodes and constants and encodes them as a model file. It gives every
//! value its own name, writes each operator in the form that the chosen operator set requires, and
//! adds nothing on its own: what a graph means is up to its callers. It checks no shapes; the
//! runtime that loads the file does.

mod operators;

use std::collections::HashSet;

use prost::Message;

use crate::proto::{
    AttributeProto, DataType, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorType,
    TypeProto, TypeValue, ValueInfoProto,
};

/// The oldest operator set that the builder writes: its forms of `Clip`, `Resize`, `ReduceSum` and
/// `Slice` are valid from here on.
pub const OLDEST_OPSET: i64 = 13;

/// A file of this size cannot be encoded: protocol buffers are limited to 2 GiB.
const LARGEST_FILE: usize = i32::MAX as usize;

/// The file-format version written; operator sets from [`OLDEST_OPSET`] on need at least 7.
const IR_VERSION: i64 = 8;

/// The model does not fit into one file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the model takes {bytes} bytes, and an ONNX file ends at {LARGEST_FILE}: choose a smaller one"
)]
pub struct ModelTooLarge {
    /// Size of the encoded model.
    pub bytes: usize,
}

impl ModelTooLarge {
    /// Checks that a model of this number of bytes fits into an ONNX file.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(bytes: usize) -> Result<(), Self> {
        if bytes > LARGEST_FILE {
            return Err(Self { bytes });
        }
        Ok(())
    }
}

/// The name of a tensor in the graph under construction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value(String);

impl Value {
    /// Returns the name used in the file.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// An optional input that is left out.
const ABSENT: Value = Value(String::new());

/// The element type of a graph's input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floating point.
    Float32,
    /// Bytes.
    Uint8,
}

/// One dimension of a graph's input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A size that is the same for every run.
    Fixed(usize),
    /// A size that a run chooses, under a name.
    Symbol(String),
}

impl From<usize> for Dimension {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl From<&str> for Dimension {
    fn from(symbol: &str) -> Self {
        Self::Symbol(symbol.to_owned())
    }
}

/// The window of [`GraphBuilder::convolution`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros added before and after, in both directions.
    pub padding: [usize; 2],
    /// Groups of channels that do not see each other; 1 for an ordinary convolution.
    pub groups: usize,
}

impl Window {
    /// Creates a square window that keeps a map's size at stride 1, for odd `kernel`.
    pub fn same(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            padding: [kernel / 2; 2],
            groups: 1,
        }
    }
}

/// A graph under construction.
pub struct GraphBuilder {
    opset: i64,
    ir_version: i64,
    graph: GraphProto,
    metadata: Vec<StringStringEntryProto>,
    names: HashSet<String>,
}

impl GraphBuilder {
    /// Creates an empty graph for operator set `opset`, which is at least [`OLDEST_OPSET`].
    pub fn new(name: &str, opset: i64) -> Self {
        Self {
            opset,
            ir_version: IR_VERSION,
            graph: GraphProto {
                name: Some(name.to_owned()),
                ..GraphProto::default()
            },
            metadata: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Raises the file-format version to at least `version`, as copied nodes may need.
    pub(crate) fn require_ir_version(&mut self, version: i64) {
        self.ir_version = self.ir_version.max(version);
    }

    /// Declares an input of the graph.
    pub fn input(&mut self, name: &str, element: ElementType, shape: &[Dimension]) -> Value {
        let value = self.fresh(name);
        self.graph.input.push(value_info(&value, element, shape));
        value
    }

    /// Declares `value` as an output of the graph.
    pub fn output(&mut self, value: &Value, element: ElementType, shape: &[Dimension]) {
        self.graph.output.push(value_info(value, element, shape));
    }

    /// Adds a metadata property to the file.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.push(StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        });
    }

    /// Adds a `float32` constant of shape `shape`, its elements in C order.
    pub fn floats(&mut self, name: &str, shape: &[usize], elements: &[f32]) -> Value {
        debug_assert_eq!(shape.iter().product::<usize>(), elements.len());
        let raw = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, DataType::Float, shape, raw)
    }

    /// Adds an `int64` constant with one axis.
    pub fn integers(&mut self, name: &str, elements: &[i64]) -> Value {
        let raw = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, DataType::Int64, &[elements.len()], raw)
    }

    fn scalar(&mut self, name: &str, element: f32) -> Value {
        self.floats(name, &[], &[element])
    }

    fn constant(&mut self, name: &str, element: DataType, shape: &[usize], raw: Vec<u8>) -> Value {
        let value = self.fresh(name);
        self.graph.initializer.push(TensorProto {
            name: Some(value.0.clone()),
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: Some(element as i32),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
        value
    }

    /// Adds a node with one output.
    fn node(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
    ) -> Value {
        let value = self.fresh(name);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![value.0.clone()],
            name: Some(value.0.clone()),
            op_type: Some(operator.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        });
        value
    }

    /// Adds a node of another file, whose value names must not occur here yet.
    pub(crate) fn copied_node(&mut self, node: NodeProto) {
        self.names.extend(node.output.iter().cloned());
        self.graph.node.push(node);
    }

    /// Adds a constant of another file under its own name.
    pub(crate) fn copied_constant(&mut self, name: &str, mut tensor: TensorProto) -> Value {
        let value = self.fresh(name);
        tensor.name = Some(value.0.clone());
        self.graph.initializer.push(tensor);
        value
    }

    /// Returns the value that a copied node outputs under `name`.
    pub(crate) fn copied_value(&self, name: String) -> Value {
        debug_assert!(self.names.contains(&name));
        Value(name)
    }

    /// Returns `name`, or `name` with the first free number if it is taken.
    fn fresh(&mut self, name: &str) -> Value {
        let mut candidate = name.to_owned();
        let mut number = 1;
        while !self.names.insert(candidate.clone()) {
            candidate = format!("{name}_{number}");
            number += 1;
        }
        Value(candidate)
    }

    /// Returns the model file.
    ///
    /// # Errors
    /// [`ModelTooLarge`] if it would not fit into one.
    pub fn encode(self) -> Result<Vec<u8>, ModelTooLarge> {
        let model = ModelProto {
            ir_version: Some(self.ir_version),
            producer_name: Some("flawd".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(self.opset),
            }],
            metadata_props: self.metadata,
            ..ModelProto::default()
        };
        ModelTooLarge::check(model.encoded_len())?;
        Ok(model.encode_to_vec())
    }
}

fn value_info(value: &Value, element: ElementType, shape: &[Dimension]) -> ValueInfoProto {
    let element = match element {
        ElementType::Float32 => DataType::Float,
        ElementType::Uint8 => DataType::Uint8,
    };
    let dimension = |dimension: &Dimension| DimensionProto {
        value: Some(match dimension {
            Dimension::Fixed(size) => DimensionValue::Value(*size as i64),
            Dimension::Symbol(symbol) => DimensionValue::Symbol(symbol.clone()),
        }),
        denotation: None,
    };
    let tensor = TensorType {
        elem_type: Some(element as i32),
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(dimension).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(value.0.clone()),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(tensor)),
            denotation: None,
        }),
        ..ValueInfoProto::default()
    }
}
