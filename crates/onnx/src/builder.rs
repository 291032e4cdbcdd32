//! Writes ONNX graphs, one method per operator.
//!
//! A [`GraphBuilder`] collects nodes and constants and encodes them as a model file. It gives every
//! value its own name, writes each operator in the form that the chosen operator set requires, and
//! adds nothing on its own: what a graph means is up to its callers. It checks no shapes; the
//! runtime that loads the file does.

use std::collections::HashSet;

use flawd_core::image::Size;
use prost::Message;

use crate::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, DimensionValue, GraphProto,
    ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
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

    /// Converts bytes to `float32`.
    pub fn cast_to_float(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Cast", &[x], vec![int("to", DataType::Float as i64)])
    }

    /// Puts the axes of `x` into the order `axes`.
    pub fn transpose(&mut self, name: &str, x: &Value, axes: &[i64]) -> Value {
        self.node(name, "Transpose", &[x], vec![ints("perm", axes)])
    }

    /// Computes `a + b`, broadcast.
    pub fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Add", &[a, b], vec![])
    }

    /// Computes `a - b`, broadcast.
    pub fn subtract(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Sub", &[a, b], vec![])
    }

    /// Computes `a * b`, broadcast.
    pub fn multiply(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Mul", &[a, b], vec![])
    }

    /// Computes `a / b`, broadcast.
    pub fn divide(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Div", &[a, b], vec![])
    }

    /// Computes the smaller of `a` and `b`, broadcast.
    pub fn smaller(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Min", &[a, b], vec![])
    }

    /// Computes the larger of `a` and `b`, broadcast.
    pub fn larger(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Max", &[a, b], vec![])
    }

    /// Computes `x * factor`.
    pub fn scale(&mut self, name: &str, x: &Value, factor: f32) -> Value {
        let factor = self.scalar(&format!("{name}.factor"), factor);
        self.multiply(name, x, &factor)
    }

    /// Computes `exp(x)`.
    pub fn exp(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Exp", &[x], vec![])
    }

    /// Computes the natural logarithm of `x`.
    pub fn log(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Log", &[x], vec![])
    }

    /// Computes `atan(x)`.
    pub fn atan(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Atan", &[x], vec![])
    }

    /// Computes `|x|`.
    pub fn abs(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Abs", &[x], vec![])
    }

    /// Computes `max(x, 0)`.
    pub fn relu(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Relu", &[x], vec![])
    }

    /// Computes `1 / (1 + exp(-x))`.
    pub fn sigmoid(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Sigmoid", &[x], vec![])
    }

    /// Computes `x` where positive, `slope * x` elsewhere.
    pub fn leaky_relu(&mut self, name: &str, x: &Value, slope: f32) -> Value {
        self.node(name, "LeakyRelu", &[x], vec![float("alpha", slope)])
    }

    /// Clips `x` to `[low, high]`.
    pub fn clip(&mut self, name: &str, x: &Value, low: f32, high: f32) -> Value {
        let low = self.scalar(&format!("{name}.low"), low);
        let high = self.scalar(&format!("{name}.high"), high);
        self.node(name, "Clip", &[x, &low, &high], vec![])
    }

    /// Gathers the entries `indices` of axis `axis`.
    pub fn gather(&mut self, name: &str, x: &Value, indices: &[i64], axis: i64) -> Value {
        let indices = self.integers(&format!("{name}.indices"), indices);
        self.node(name, "Gather", &[x, &indices], vec![int("axis", axis)])
    }

    /// Takes the entries `from..to` of axis `axis`.
    pub fn slice(&mut self, name: &str, x: &Value, axis: i64, from: usize, to: usize) -> Value {
        let bounds = [from as i64, to as i64];
        self.sliced(name, x, &bounds[..1], &bounds[1..], &[axis], &[1])
    }

    /// Takes every `step`-th row and column of an NCHW tensor, from the first on.
    pub fn every(&mut self, name: &str, x: &Value, step: usize) -> Value {
        let step = step as i64;
        self.sliced(name, x, &[0, 0], &[i64::MAX; 2], &[2, 3], &[step; 2])
    }

    fn sliced(
        &mut self,
        name: &str,
        x: &Value,
        starts: &[i64],
        ends: &[i64],
        axes: &[i64],
        steps: &[i64],
    ) -> Value {
        let starts = self.integers(&format!("{name}.starts"), starts);
        let ends = self.integers(&format!("{name}.ends"), ends);
        let axes = self.integers(&format!("{name}.axes"), axes);
        let steps = self.integers(&format!("{name}.steps"), steps);
        self.node(name, "Slice", &[x, &starts, &ends, &axes, &steps], vec![])
    }

    /// Gives `x` another shape of as many elements.
    pub fn reshape(&mut self, name: &str, x: &Value, shape: &[i64]) -> Value {
        let shape = self.integers(&format!("{name}.shape"), shape);
        self.node(name, "Reshape", &[x, &shape], vec![])
    }

    /// Takes the `count` largest entries of the last axis, the largest first.
    pub fn largest(&mut self, name: &str, x: &Value, count: usize) -> Value {
        let count = self.integers(&format!("{name}.count"), &[count as i64]);
        let largest = self.node(name, "TopK", &[x, &count], vec![int("axis", -1)]);
        // The operator has two results, and neither may be left out.
        let places = self.fresh(&format!("{name}.places"));
        let node = self.graph.node.last_mut().expect("it was just added");
        node.output.push(places.0);
        largest
    }

    /// Concatenates the tensors `parts` along axis `axis`.
    pub fn concat(&mut self, name: &str, parts: &[Value], axis: i64) -> Value {
        let parts: Vec<&Value> = parts.iter().collect();
        self.node(name, "Concat", &parts, vec![int("axis", axis)])
    }

    /// Computes the sum of several tensors of one shape.
    pub fn sum(&mut self, name: &str, terms: &[Value]) -> Value {
        let terms: Vec<&Value> = terms.iter().collect();
        self.node(name, "Sum", &terms, vec![])
    }

    /// Convolves an NCHW tensor in 2-D with `weight` `[output, input / groups, kernel, kernel]` and
    /// `bias` `[output]`.
    pub fn convolution(
        &mut self,
        name: &str,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        window: Window,
    ) -> Value {
        let mut inputs = vec![x, weight];
        inputs.extend(bias);
        let Window {
            kernel,
            stride,
            padding: [before, after],
            groups,
        } = window;
        let pads = [before, before, after, after].map(|zeros| zeros as i64);
        let attributes = vec![
            ints("kernel_shape", &[kernel as i64; 2]),
            ints("strides", &[stride as i64; 2]),
            ints("pads", &pads),
            ints("dilations", &[1, 1]),
            int("group", groups as i64),
        ];
        self.node(name, "Conv", &inputs, attributes)
    }

    /// Computes means over squares of `size` by `size` elements without overlap.
    pub fn average_pool(&mut self, name: &str, x: &Value, size: usize) -> Value {
        self.average_cells(name, x, Size::new(size, size))
    }

    /// Computes means over cells of this size without overlap; what is left over does not count.
    pub fn average_cells(&mut self, name: &str, x: &Value, cell: Size) -> Value {
        let size = [cell.height as i64, cell.width as i64];
        let attributes = vec![ints("kernel_shape", &size), ints("strides", &size)];
        self.node(name, "AveragePool", &[x], attributes)
    }

    /// Computes the mean of each map of an NCHW tensor, `[n, channels, 1, 1]`.
    pub fn global_average_pool(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "GlobalAveragePool", &[x], vec![])
    }

    /// Computes maxima over squares of `size` by `size` elements without overlap.
    pub fn max_pool(&mut self, name: &str, x: &Value, size: usize) -> Value {
        let size = [size as i64; 2];
        let attributes = vec![ints("kernel_shape", &size), ints("strides", &size)];
        self.node(name, "MaxPool", &[x], attributes)
    }

    /// Resizes an NCHW tensor to twice its height and width: bilinear, pixel centres at half
    /// positions, edges repeated.
    pub fn upsample_twice(&mut self, name: &str, x: &Value) -> Value {
        let scales = self.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, 2.0, 2.0]);
        self.resized(name, &[x, &ABSENT, &scales])
    }

    /// Resizes a tensor `[1, 1, h, w]` to another height and width, in the same way.
    pub fn resize(&mut self, name: &str, x: &Value, size: Size) -> Value {
        let sizes = [1, 1, size.height as i64, size.width as i64];
        let sizes = self.integers(&format!("{name}.sizes"), &sizes);
        self.resized(name, &[x, &ABSENT, &ABSENT, &sizes])
    }

    fn resized(&mut self, name: &str, inputs: &[&Value]) -> Value {
        let attributes = vec![
            text("mode", "linear"),
            text("coordinate_transformation_mode", "half_pixel"),
        ];
        self.node(name, "Resize", inputs, attributes)
    }

    /// Computes the largest element of each map of `[1, 1, h, w]`, as `[1, 1, 1, 1]`.
    pub fn maximum(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "GlobalMaxPool", &[x], vec![])
    }

    /// Computes the mean over `axes`, which stay as axes of size 1 if `keep_axes`.
    pub fn mean(&mut self, name: &str, x: &Value, axes: &[i64], keep_axes: bool) -> Value {
        let keep = int("keepdims", i64::from(keep_axes));
        // `ReduceMean` takes its axes as an attribute up to operator set 17, as an input from 18
        // on.
        if self.opset < 18 {
            self.node(name, "ReduceMean", &[x], vec![ints("axes", axes), keep])
        } else {
            let axes = self.integers(&format!("{name}.axes"), axes);
            self.node(name, "ReduceMean", &[x, &axes], vec![keep])
        }
    }

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

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: Some(value),
        ..attribute(name, AttributeType::Int)
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: values.to_vec(),
        ..attribute(name, AttributeType::Ints)
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: Some(value),
        ..attribute(name, AttributeType::Float)
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(value.as_bytes().to_vec()),
        ..attribute(name, AttributeType::String)
    }
}
