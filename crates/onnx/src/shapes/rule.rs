//! The shape of one node's output, by its operator and the shapes of its inputs.

use super::{Known, MOST_AXES, Shape, TOO_LARGE};
use crate::proto::NodeProto;

const UNKNOWN_OPERATOR: &str =
    "this operator is not known; choose an earlier output, or simplify the model when exporting it";
const COMPUTED: &str =
    "its arguments are computed at run time; export the model with constants folded";
const MALFORMED: &str = "its inputs do not fit together at this image size";

/// One node, to be read with what is known before it.
pub(crate) struct Rule<'n, 'a> {
    pub(crate) node: &'a NodeProto,
    pub(crate) known: &'n Known<'a>,
}

impl Rule<'_, '_> {
    pub(crate) fn output_shapes(&self) -> Result<Vec<Shape>, &'static str> {
        if !matches!(self.node.domain.as_deref(), None | Some("" | "ai.onnx")) {
            return Err(UNKNOWN_OPERATOR);
        }
        if self.node.op_type() == "Split" {
            return self.split();
        }
        let shape = match self.node.op_type() {
            operator if keeps_shape(operator) => self.input(0)?.clone(),
            "Add" | "Div" | "Max" | "Mean" | "Min" | "Mul" | "Pow" | "Sub" | "Sum" => {
                self.broadcast()?
            }
            "Conv" => self.convolution()?,
            "AveragePool" | "LpPool" | "MaxPool" => self.pool()?,
            "GlobalAveragePool" | "GlobalLpPool" | "GlobalMaxPool" => self.global_pool()?,
            "ReduceL2" | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" => self.reduce()?,
            "Concat" => self.concat()?,
            "Flatten" => self.flatten()?,
            "Gemm" => self.gemm()?,
            "MatMul" => self.matmul()?,
            "Pad" => self.pad()?,
            "Reshape" => self.reshape()?,
            "Resize" => self.resize()?,
            "Slice" => self.slice()?,
            "Squeeze" => self.squeeze()?,
            "Transpose" => self.transpose()?,
            "Unsqueeze" => self.unsqueeze()?,
            _ => return Err(UNKNOWN_OPERATOR),
        };
        Ok(vec![shape])
    }

    fn input(&self, index: usize) -> Result<&Shape, &'static str> {
        let name = self.node.input.get(index).ok_or(MALFORMED)?;
        self.known.shapes.get(name.as_str()).ok_or(MALFORMED)
    }

    /// Returns the values of a constant integer input; `None` if it is left out.
    fn integers(&self, index: usize) -> Result<Option<&[i64]>, &'static str> {
        match self.node.input.get(index).map(String::as_str) {
            None | Some("") => Ok(None),
            Some(name) => match self.known.integers.get(name) {
                Some(values) => Ok(Some(values)),
                None => Err(COMPUTED),
            },
        }
    }

    /// Returns the `axes` of this node, from its attribute or from input `index`, as indices below
    /// `rank`.
    fn axes(&self, index: usize, rank: usize) -> Result<Option<Vec<usize>>, &'static str> {
        let axes = match self.node.ints("axes") {
            Some(axes) => Some(axes),
            None => self.integers(index)?,
        };
        axes.map(|axes| axes.iter().map(|&axis| place(axis, rank)).collect())
            .transpose()
    }

    fn axis(&self, default: i64, rank: usize) -> Result<usize, &'static str> {
        place(self.node.int("axis").unwrap_or(default), rank)
    }

    fn broadcast(&self) -> Result<Shape, &'static str> {
        let mut result = self.input(0)?.clone();
        for index in 1..self.node.input.len() {
            result = broadcast(&result, self.input(index)?)?;
        }
        Ok(result)
    }

    fn convolution(&self) -> Result<Shape, &'static str> {
        let (input, weight) = (self.input(0)?, self.input(1)?);
        if input.len() < 3 || weight.len() != input.len() {
            return Err(MALFORMED);
        }
        let mut result = vec![input[0], weight[0]];
        result.extend(self.slide(&input[2..], &weight[2..])?);
        Ok(result)
    }

    fn pool(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let kernel: Shape = self
            .node
            .ints("kernel_shape")
            .ok_or(MALFORMED)?
            .iter()
            .map(|&size| size.max(1) as usize)
            .collect();
        if input.len() != kernel.len() + 2 {
            return Err(MALFORMED);
        }
        let mut result = input[..2].to_vec();
        result.extend(self.slide(&input[2..], &kernel)?);
        Ok(result)
    }

    fn global_pool(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let kept = input.iter().take(2).copied();
        Ok(kept.chain(input.iter().skip(2).map(|_| 1)).collect())
    }

    /// Returns the number of places of a window of size `kernel` on a grid of size `input`.
    fn slide(&self, input: &[usize], kernel: &[usize]) -> Result<Shape, &'static str> {
        let rank = input.len();
        let attribute = |name, axis: usize, default: i64| {
            let values = self.node.ints(name);
            let value = values.and_then(|values| values.get(axis)).copied();
            value.unwrap_or(default).max(0) as usize
        };
        let automatic = self.node.text("auto_pad").unwrap_or("NOTSET");
        let round_up = self.node.int("ceil_mode") == Some(1);
        let place_count = |axis: usize| {
            let stride = attribute("strides", axis, 1).max(1);
            let dilation = attribute("dilations", axis, 1).max(1);
            let reach = dilation
                .saturating_mul(kernel[axis].max(1) - 1)
                .saturating_add(1);
            let (before, after) = match automatic {
                "SAME_UPPER" | "SAME_LOWER" => return Ok(input[axis].div_ceil(stride)),
                "VALID" => (0, 0),
                _ => (
                    attribute("pads", axis, 0),
                    attribute("pads", axis + rank, 0),
                ),
            };
            let room = input[axis].saturating_add(before).saturating_add(after);
            let steps = room.checked_sub(reach).ok_or(MALFORMED)?;
            if !round_up {
                return Ok((steps / stride).saturating_add(1));
            }
            // A last window that would start in the padding after the input is dropped.
            let places = steps.div_ceil(stride).saturating_add(1);
            let last = (places - 1).saturating_mul(stride);
            Ok(places - usize::from(last >= input[axis].saturating_add(before)))
        };
        (0..rank).map(place_count).collect()
    }

    fn reduce(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let axes = self.axes(1, input.len())?;
        let axes = match axes.filter(|axes| !axes.is_empty()) {
            Some(axes) => axes,
            None if self.node.int("noop_with_empty_axes") == Some(1) => return Ok(input.clone()),
            None => (0..input.len()).collect(),
        };
        let keep = self.node.int("keepdims").unwrap_or(1) == 1;
        Ok(input
            .iter()
            .enumerate()
            .filter_map(|(axis, &size)| match axes.contains(&axis) {
                false => Some(size),
                true => keep.then_some(1),
            })
            .collect())
    }

    fn concat(&self) -> Result<Shape, &'static str> {
        let mut result = self.input(0)?.clone();
        let axis = self.axis(0, result.len())?;
        for index in 1..self.node.input.len() {
            let part = self.input(index)?;
            let fits = part.len() == result.len()
                && (0..part.len()).all(|other| other == axis || part[other] == result[other]);
            if !fits {
                return Err(MALFORMED);
            }
            result[axis] = result[axis].saturating_add(part[axis]);
        }
        Ok(result)
    }

    fn split(&self) -> Result<Vec<Shape>, &'static str> {
        let input = self.input(0)?;
        let axis = self.axis(0, input.len())?;
        let parts = self.node.output.len();
        let sizes: Vec<usize> = match self.integers(1)? {
            Some(sizes) => sizes.iter().map(|&size| size.max(0) as usize).collect(),
            // Equal parts, the last one smaller if they do not come out even.
            None if parts == 0 => return Err(MALFORMED),
            None => {
                let part = input[axis].div_ceil(parts);
                (0..parts)
                    .map(|i| part.min(input[axis].saturating_sub(i * part)))
                    .collect()
            }
        };
        let shape = |size| {
            let mut shape = input.clone();
            shape[axis] = size;
            shape
        };
        Ok(sizes.into_iter().map(shape).collect())
    }

    fn flatten(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let axis = self.node.int("axis").unwrap_or(1);
        let axis = if axis == input.len() as i64 {
            input.len()
        } else {
            place(axis, input.len())?
        };
        Ok(vec![
            input[..axis].iter().product(),
            input[axis..].iter().product(),
        ])
    }

    fn gemm(&self) -> Result<Shape, &'static str> {
        let (a, b) = (self.input(0)?, self.input(1)?);
        let (&[rows, columns], &[b_rows, b_columns]) = (&a[..], &b[..]) else {
            return Err(MALFORMED);
        };
        let flag = |name| self.node.int(name) == Some(1);
        Ok(vec![
            if flag("transA") { columns } else { rows },
            if flag("transB") { b_rows } else { b_columns },
        ])
    }

    fn matmul(&self) -> Result<Shape, &'static str> {
        let (a, b) = (self.input(0)?, self.input(1)?);
        let ([a_batch @ .., rows, inner], [b_batch @ .., b_inner, columns]) = (&a[..], &b[..])
        else {
            return Err(MALFORMED);
        };
        if inner != b_inner {
            return Err(MALFORMED);
        }
        let mut result = broadcast(a_batch, b_batch)?;
        result.extend([rows, columns]);
        Ok(result)
    }

    fn pad(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let pads = self.integers(1)?.ok_or(COMPUTED)?;
        let axes = self.axes(3, input.len())?;
        let axes = axes.unwrap_or_else(|| (0..input.len()).collect());
        if pads.len() != 2 * axes.len() {
            return Err(MALFORMED);
        }
        let mut result = input.clone();
        for (i, &axis) in axes.iter().enumerate() {
            let size = input[axis] as i64;
            let size = size
                .saturating_add(pads[i])
                .saturating_add(pads[axes.len() + i]);
            result[axis] = usize::try_from(size).map_err(|_| MALFORMED)?;
        }
        Ok(result)
    }

    fn reshape(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let asked = self.integers(1)?.ok_or(COMPUTED)?;
        let zero_copies = self.node.int("allowzero") != Some(1);
        let mut result = Vec::with_capacity(asked.len());
        let mut open = None;
        for (axis, &size) in asked.iter().enumerate() {
            result.push(match size {
                0 if zero_copies => *input.get(axis).ok_or(MALFORMED)?,
                -1 => {
                    open = Some(axis);
                    1
                }
                size => usize::try_from(size).map_err(|_| MALFORMED)?,
            });
        }
        let elements = |shape: &[usize]| {
            shape
                .iter()
                .fold(1, |all: usize, &it| all.saturating_mul(it))
        };
        let (total, fixed) = (elements(input), elements(&result));
        match open {
            Some(axis) if fixed > 0 && total.is_multiple_of(fixed) => result[axis] = total / fixed,
            None if total == fixed => {}
            _ => return Err(MALFORMED),
        }
        Ok(result)
    }

    fn resize(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        if self.node.ints("axes").is_some() {
            return Err(UNKNOWN_OPERATOR);
        }
        if let Some(sizes) = self.integers(3)? {
            return Ok(sizes.iter().map(|&size| size.max(0) as usize).collect());
        }
        let name = self.node.input.get(2).ok_or(MALFORMED)?;
        let scales = self.known.floats.get(name.as_str()).ok_or(COMPUTED)?;
        if scales.len() != input.len() {
            return Err(MALFORMED);
        }
        let scaled = |(&size, &scale): (&usize, &f32)| (size as f32 * scale).floor() as usize;
        Ok(input.iter().zip(scales).map(scaled).collect())
    }

    fn slice(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let starts = self.integers(1)?.ok_or(COMPUTED)?;
        let ends = self.integers(2)?.ok_or(COMPUTED)?;
        let axes = self.axes(3, input.len())?;
        let axes = axes.unwrap_or_else(|| (0..starts.len()).collect());
        let steps = self.integers(4)?;
        let mut result = input.clone();
        for (i, &axis) in axes.iter().enumerate() {
            let step = steps.and_then(|steps| steps.get(i)).copied().unwrap_or(1);
            let size = *input.get(axis).ok_or(MALFORMED)? as i64;
            let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
            let start = from_end(*starts.get(i).ok_or(MALFORMED)?);
            let end = from_end(*ends.get(i).ok_or(MALFORMED)?);
            let (span, step) = match step {
                1.. => (end.clamp(0, size) - start.clamp(0, size), step),
                0 => return Err(MALFORMED),
                _ if size == 0 => (0, 1),
                _ => (
                    start.clamp(0, size - 1) - end.clamp(-1, size - 1),
                    step.saturating_neg(),
                ),
            };
            result[axis] = (span.max(0) as usize).div_ceil(step as usize);
        }
        Ok(result)
    }

    fn squeeze(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let axes = self.axes(1, input.len())?;
        let dropped = |axis: usize, size: usize| match &axes {
            Some(axes) => axes.contains(&axis),
            None => size == 1,
        };
        let kept = input
            .iter()
            .enumerate()
            .filter(|&(axis, &size)| !dropped(axis, size));
        Ok(kept.map(|(_, &size)| size).collect())
    }

    fn unsqueeze(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let count = match self.node.ints("axes") {
            Some(axes) => axes.len(),
            None => self.integers(1)?.ok_or(COMPUTED)?.len(),
        };
        let rank = input.len() + count;
        if rank > MOST_AXES {
            return Err(TOO_LARGE);
        }
        let axes = self.axes(1, rank)?.ok_or(MALFORMED)?;
        let mut sizes = input.iter().copied();
        let result = (0..rank).map(|axis| match axes.contains(&axis) {
            true => Some(1),
            false => sizes.next(),
        });
        result.collect::<Option<Shape>>().ok_or(MALFORMED)
    }

    fn transpose(&self) -> Result<Shape, &'static str> {
        let input = self.input(0)?;
        let Some(axes) = self.node.ints("perm") else {
            return Ok(input.iter().rev().copied().collect());
        };
        axes.iter()
            .map(|&axis| Ok(input[place(axis, input.len())?]))
            .collect()
    }
}

/// Returns `true` for an operator whose output has the shape of its first input.
fn keeps_shape(operator: &str) -> bool {
    matches!(
        operator,
        "Abs"
            | "BatchNormalization"
            | "Cast"
            | "Celu"
            | "Clip"
            | "DequantizeLinear"
            | "Dropout"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Gelu"
            | "GroupNormalization"
            | "HardSigmoid"
            | "HardSwish"
            | "Identity"
            | "InstanceNormalization"
            | "LRN"
            | "LayerNormalization"
            | "LeakyRelu"
            | "Log"
            | "LpNormalization"
            | "Mish"
            | "Neg"
            | "PRelu"
            | "QuantizeLinear"
            | "Reciprocal"
            | "Relu"
            | "Selu"
            | "Sigmoid"
            | "Softmax"
            | "Softplus"
            | "Softsign"
            | "Sqrt"
            | "Swish"
            | "Tanh"
            | "ThresholdedRelu"
    )
}

/// Returns the index of `axis`, which counts from the end if negative.
fn place(axis: i64, rank: usize) -> Result<usize, &'static str> {
    let place = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(place)
        .ok()
        .filter(|&place| place < rank)
        .ok_or(MALFORMED)
}

fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, &'static str> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing {
            1
        } else {
            shape[axis - missing]
        }
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (1, other) | (other, 1) => Ok(other),
            (left, right) if left == right => Ok(left),
            _ => Err(MALFORMED),
        })
        .collect()
}
