//! The operators, one method each.
//!
//! A method adds one node and its constants, in the form that the operator set requires; the
//! formulas that they make up are elsewhere.

use flawd_core::image::Size;

use super::{ABSENT, GraphBuilder, Value, Window};
use crate::proto::{AttributeProto, AttributeType, DataType};

impl GraphBuilder {
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
