//! The operations that compute a node.
//!
//! Convolutions have neither padding nor bias in the dialect, products no transposed operands, reductions keep their axes; what an operation of the
//! graph has and the dialect has not stands beside it. Operands that say a shape are constants, and equal ones are one.

use super::builder::{Arithmetic, Builder, Reduction};
use super::composites::Composites;
use super::dialect::OperationName;
use super::program::{DYNAMIC, Element, Elements, Id, Interpolation, Padding, Tensor};
use half::f16;
use std::collections::HashMap;
use vitc_ir::op::{AttentionLayout, DepthOrder, PadMode, ReduceKind, Sampling, SliceAxis};
use vitc_ir::{BinaryKind, DType, Dim, Graph, Node, Op, Real, Shape, UnaryKind, Value, resample};

/// An element type of the graph.
///
/// # Errors
/// If assets that are written here do not hold it.
pub(super) fn element(dtype: DType) -> Result<Element, String> {
    match dtype {
        DType::F32 => Ok(Element::F32),
        DType::F16 => Ok(Element::F16),
        DType::I32 => Ok(Element::I32),
        DType::I8 => Ok(Element::I8),
        DType::I4 => Ok(Element::I4),
        DType::Bool => Ok(Element::Bool),
        DType::I64 | DType::U8 | DType::U4 => Err(format!("{dtype} is not written in a Core AI asset")),
    }
}

/// Sizes of a shape; a multiple of the batch is known when the program runs.
pub(super) fn sizes(shape: &Shape) -> Vec<i64> {
    let size = |d: &Dim| match d {
        Dim::Fixed(n) => *n as i64,
        Dim::Batch(_) => DYNAMIC,
    };
    shape.0.iter().map(size).collect()
}

/// The function that is written: its operations so far, and what stands for the graph's values.
pub(super) struct Body<'a> {
    pub(super) graph: &'a Graph,
    pub(super) builder: Builder,
    pub(super) values: HashMap<Value, Id>,
    /// Where the elements of each constant stand.
    pub(super) elements: &'a HashMap<Value, Elements>,
    pub(super) composites: &'a mut Composites,
}

impl Body<'_> {
    /// Append what computes a node.
    ///
    /// # Errors
    /// Why the dialect cannot say it.
    pub(super) fn node(&mut self, node: &Node, id: vitc_ir::NodeId) -> Result<(), String> {
        if let Some(t) = node.types.iter().find(|t| t.shape.rank() > 5) {
            return Err(format!("the Neural Engine takes at most 5 dimensions, found {t}"));
        }
        self.builder.layer(&node.path);
        let results = self.results(node)?;
        self.builder.layer("");
        for (index, (result, ty)) in results.into_iter().zip(&node.types).enumerate() {
            let expected = Tensor::new(element(ty.dtype)?, &sizes(&ty.shape));
            let found = self.builder.ty(result);
            if *found != expected {
                return Err(format!("comes out as {found:?} instead of {ty}"));
            }
            self.values.insert(Value { node: id, index: index as u32 }, result);
        }
        Ok(())
    }

    /// What stands for an operand: a value that was computed, or a constant.
    pub(super) fn operand(&mut self, value: Value) -> Result<Id, String> {
        let value = self.graph.stored(value);
        match self.values.get(&value) {
            Some(&id) => Ok(id),
            None => self.constant(value, &sizes(self.graph.shape(value))),
        }
    }

    /// A constant in this shape of as many elements.
    fn constant(&mut self, value: Value, dims: &[i64]) -> Result<Id, String> {
        let elements = self.elements.get(&value).ok_or("an operand was not computed")?;
        let ty = Tensor::new(element(self.graph.ty(value).dtype)?, dims);
        match (ty.element, elements) {
            // Truths stand as numbers in the file.
            (Element::Bool, Elements::Inline { bytes, splat }) => {
                let numbers = bytes.iter().flat_map(|&b| i32::from(b).to_le_bytes()).collect();
                let numbers = Elements::Inline { bytes: numbers, splat: *splat };
                let x = self.builder.constant(Tensor::new(Element::I32, dims), numbers);
                Ok(self.builder.cast(x, Element::Bool))
            }
            (Element::Bool, Elements::Resource(_)) => Err("a table of truths is too large for it".into()),
            _ => Ok(self.builder.constant(ty, elements.clone())),
        }
    }

    pub(super) fn is_constant(&self, value: Value) -> bool {
        !self.values.contains_key(&value)
    }

    /// An operand in another shape of as many elements: free for a constant.
    pub(super) fn shaped(&mut self, value: Value, dims: &[i64]) -> Result<Id, String> {
        let value = self.graph.stored(value);
        if self.is_constant(value) {
            return self.constant(value, dims);
        }
        let x = self.operand(value)?;
        Ok(self.builder.reshape(x, dims))
    }

    fn sum(&mut self, mut sum: Id, others: &[Value]) -> Result<Id, String> {
        for &v in others {
            let next = self.operand(v)?;
            sum = self.builder.arithmetic(Arithmetic::Add, sum, next);
        }
        Ok(sum)
    }

    fn pad(&mut self, x: Id, before: &[usize], after: &[usize], mode: PadMode) -> Id {
        let around: Vec<[i64; 2]> = before.iter().zip(after).map(|(&b, &a)| [b as i64, a as i64]).collect();
        let (padding, number) = match mode {
            PadMode::Constant(number) => (Padding::Constant, number.0),
            PadMode::Reflect => (Padding::Reflect, 0.0),
            PadMode::Edge => (Padding::Replicate, 0.0),
        };
        self.builder.pad_with(x, &around, padding, number)
    }

    fn product(&mut self, operands: [Id; 2], turned: [bool; 2]) -> Id {
        let [a, b] = [0, 1].map(|i| self.transposed(operands[i], turned[i]));
        self.builder.matmul(a, b)
    }

    fn place_of_largest(&mut self, x: Id, axis: usize, out: &[i64]) -> Id {
        let index = self.builder.argmax(x, axis);
        self.builder.reshape(index, out)
    }

    fn results(&mut self, node: &Node) -> Result<Vec<Id>, String> {
        let x = match (&node.op, node.inputs.first()) {
            // Its codes have a type of their own.
            (Op::Lookup { bits, shape }, _) => return Ok(vec![self.lookup(node, *bits, shape)?]),
            (Op::TopK { axis, k, largest }, Some(&x)) => {
                let x = self.operand(x)?;
                return Ok(self.builder.top(x, *axis, *k as i64, *largest).to_vec());
            }
            (_, Some(&first)) => self.operand(first)?,
            (_, None) => return Err("it is a leaf, not an operation".into()),
        };
        let out = sizes(&node.types[0].shape);
        let dtype = element(node.types[0].dtype)?;
        let one = match &node.op {
            Op::Unary(kind) => self.unary(*kind, x)?,
            Op::Binary(kind) => {
                let y = self.operand(node.inputs[1])?;
                self.builder.arithmetic(arithmetic(*kind), x, y)
            }
            Op::Sum => self.sum(x, &node.inputs[1..])?,
            Op::Clip { lo, hi } => self.clip(x, *lo, *hi),
            Op::Prelu => self.prelu(x, node)?,
            Op::Cast { to: DType::Bool } => {
                let number = self.within_one(x)?;
                self.builder.cast(number, Element::Bool)
            }
            Op::Cast { .. } => self.builder.cast(x, dtype),
            Op::Select => {
                let (a, b) = (self.operand(node.inputs[1])?, self.operand(node.inputs[2])?);
                self.builder.select(x, a, b)
            }
            Op::Conv { stride, pad, dilation, groups } => self.conv(x, node, [*stride, *dilation], *pad, *groups)?,
            Op::MatMul { transpose_a, transpose_b } => {
                let y = self.operand(node.inputs[1])?;
                self.product([x, y], [*transpose_a, *transpose_b])
            }
            Op::Linear => self.linear(x, node)?,
            Op::LayerNorm { axes, eps } => self.layer_norm(x, node, axes, *eps)?,
            Op::Softmax { axis } => self.builder.softmax(x, *axis),
            Op::Reduce { axes, .. } if axes.is_empty() => x,
            Op::Reduce { kind, axes, .. } => {
                let reduced = self.builder.reduce(reduction(*kind)?, x, axes);
                self.builder.reshape(reduced, &out)
            }
            Op::AvgPool { kernel, stride, pad } => self.average(x, *kernel, *stride, *pad, &out),
            Op::Reshape { .. } => self.builder.reshape(x, &out),
            Op::Transpose { perm } => self.builder.transpose(x, perm),
            Op::Concat { axis } => {
                let values: Vec<Id> = node.inputs.iter().map(|&v| self.operand(v)).collect::<Result<_, _>>()?;
                self.builder.concat(&values, *axis)
            }
            Op::Split { axis, sizes } => {
                let sizes: Vec<i64> = sizes.iter().map(|&s| s as i64).collect();
                return Ok(self.builder.split(x, *axis, &sizes));
            }
            Op::Slice { cuts } => self.slice(x, cuts, &out),
            Op::Pad { before, after, mode } => self.pad(x, before, after, *mode),
            Op::MaxPool { kernel, stride, pad, dilation } => {
                self.max_pool(x, *kernel, [*stride, *dilation], *pad, &out)
            }
            Op::DepthToSpace { block, order } => self.depth_to_space(x, *block as i64, *order),
            Op::SpaceToDepth { block } => self.space_to_depth(x, *block as i64),
            Op::Gather { axis, .. } => self.gather(x, node.inputs[1], *axis)?,
            Op::Expand { .. } => self.expand(x, &out),
            Op::Keep | Op::Lookup { .. } => return Err("it is read through, not an operation".into()),
            Op::Resize { sampling, size, scale: None } => self.resize(x, sampling, *size)?,
            Op::ArgMax { axis, .. } => self.place_of_largest(x, *axis, &out),
            Op::ConvTranspose { stride, pad: [0, 0, 0, 0], output_pad: [0, 0], dilation, groups } => {
                self.conv_transpose(x, node, [*stride, *dilation], *groups)?
            }
            Op::ConvTranspose { .. } => return Err("a lowering replaces its padding before this point".into()),
            Op::TopK { .. } => return Err("it has two results".into()),
            Op::Resize { .. } | Op::GridSample { .. } => return Err(UNKNOWN.into()),
            Op::Attention { scale, layout: AttentionLayout::Heads, talking: false, bias, .. } => {
                self.attention(node, *scale, *bias)?
            }
            Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => {
                return Err("it is a leaf, not an operation".into());
            }
            Op::Quantize { to } => self.quantize(x, node, *to)?,
            Op::Dequantize => self.dequantize(node)?,
            Op::BatchNorm { .. }
            | Op::Attention { .. }
            | Op::Rfft2 { .. }
            | Op::Irfft2 { .. }
            | Op::Dct2
            | Op::Idct2
            | Op::WindowPartition { .. }
            | Op::WindowMerge { .. } => return Err("a lowering replaces it before this point".into()),
        };
        Ok(vec![one])
    }
}

/// Why an operator is not written.
const UNKNOWN: &str = "no spelling in Core AI's operations is known for it";

fn arithmetic(kind: BinaryKind) -> Arithmetic {
    match kind {
        BinaryKind::Add => Arithmetic::Add,
        BinaryKind::Sub => Arithmetic::Sub,
        BinaryKind::Mul => Arithmetic::Mul,
        BinaryKind::Div => Arithmetic::Divide,
        BinaryKind::Max => Arithmetic::Maximum,
        BinaryKind::Min => Arithmetic::Minimum,
        BinaryKind::Pow => Arithmetic::Pow,
        BinaryKind::Quotient => Arithmetic::FloorDivide,
    }
}

fn reduction(kind: ReduceKind) -> Result<Reduction, String> {
    Ok(match kind {
        ReduceKind::Sum => Reduction::Sum,
        ReduceKind::Mean => Reduction::Mean,
        ReduceKind::Max => Reduction::Max,
        ReduceKind::Min => Reduction::Min,
        ReduceKind::Prod => Reduction::Product,
        ReduceKind::L2 => return Err(UNKNOWN.into()),
    })
}

/// Elementwise operators.
impl Body<'_> {
    /// A number of the element type of `like`.
    fn scalar(&mut self, like: Id, value: f64) -> Id {
        let element = self.builder.ty(like).element;
        self.builder.scalar(element, value)
    }

    /// 0 where a number is zero, else 1: a cast to truths reads the lowest bit of whole numbers.
    fn within_one(&mut self, x: Id) -> Result<Id, String> {
        let (zero, one) = (self.scalar(x, 0.0), self.scalar(x, 1.0));
        if self.builder.ty(x).element != Element::I32 {
            let sign = self.unary(UnaryKind::Sign, x)?;
            return self.unary(UnaryKind::Abs, sign);
        }
        let turned = self.builder.arithmetic(Arithmetic::Sub, zero, x);
        let size = self.builder.arithmetic(Arithmetic::Maximum, x, turned);
        Ok(self.builder.arithmetic(Arithmetic::Minimum, size, one))
    }

    fn unary(&mut self, kind: UnaryKind, x: Id) -> Result<Id, String> {
        let name = match kind {
            UnaryKind::Relu => return Ok(self.builder.relu(x)),
            UnaryKind::Gelu => return Ok(self.builder.gelu(x, false)),
            UnaryKind::GeluTanh => return Ok(self.builder.gelu(x, true)),
            UnaryKind::Sigmoid => return Ok(self.builder.sigmoid(x)),
            // The dialect's own silu leaves the Neural Engine for casts.
            UnaryKind::Silu => {
                let gate = self.builder.sigmoid(x);
                return Ok(self.builder.arithmetic(Arithmetic::Mul, x, gate));
            }
            UnaryKind::Neg => {
                let minus = self.scalar(x, -1.0);
                return Ok(self.builder.arithmetic(Arithmetic::Mul, x, minus));
            }
            UnaryKind::Tanh => OperationName::Tanh,
            UnaryKind::Erf => OperationName::Erf,
            UnaryKind::Sqrt => OperationName::Sqrt,
            UnaryKind::Exp => OperationName::Exp,
            UnaryKind::Abs => OperationName::Abs,
            UnaryKind::Log => OperationName::Log,
            UnaryKind::Sin => OperationName::Sin,
            UnaryKind::Cos => OperationName::Cos,
            UnaryKind::Round => OperationName::Round,
            UnaryKind::Softplus => return Ok(self.softplus(x)),
            UnaryKind::Elu { alpha } => return Ok(self.elu(x, alpha)),
            UnaryKind::LeakyRelu { slope } => {
                let slope = self.scalar(x, slope.0);
                return Ok(self.leaky(x, slope));
            }
            UnaryKind::HardSigmoid { alpha, beta } => {
                let [alpha, beta] = [alpha, beta].map(|v| self.scalar(x, v.0));
                let scaled = self.builder.arithmetic(Arithmetic::Mul, x, alpha);
                let shifted = self.builder.arithmetic(Arithmetic::Add, scaled, beta);
                return Ok(self.clip(shifted, Real(0.0), Real(1.0)));
            }
            UnaryKind::Floor => return Ok(self.beside(x, Arithmetic::Sub)),
            UnaryKind::Ceil => return Ok(self.beside(x, Arithmetic::Add)),
            UnaryKind::Sign => return Ok(self.sign(x, -1.0)),
            UnaryKind::HardSwish => return Err("a lowering replaces it before this point".into()),
        };
        Ok(self.builder.unary(name, x))
    }

    /// 1 above 0 and `low` below it, which is −1 or 0. Times a large number, twice, what is above 0 at all is above 1.
    fn sign(&mut self, x: Id, low: f64) -> Id {
        let large = match self.builder.ty(x).element {
            Element::F16 => 2f64.powi(15),
            _ => 2f64.powi(100),
        };
        (0..2).fold(x, |x, _| {
            let large = self.scalar(x, large);
            let scaled = self.builder.arithmetic(Arithmetic::Mul, x, large);
            self.clip(scaled, Real(low), Real(1.0))
        })
    }

    /// The whole number below or above: the nearest one, less or more 1 where that is on the other side.
    fn beside(&mut self, x: Id, step: Arithmetic) -> Id {
        let nearest = self.builder.unary(OperationName::Round, x);
        let (from, to) = if step == Arithmetic::Sub { (nearest, x) } else { (x, nearest) };
        let beyond = self.builder.arithmetic(Arithmetic::Sub, from, to);
        let beyond = self.sign(beyond, 0.0);
        self.builder.arithmetic(step, nearest, beyond)
    }

    fn clip(&mut self, x: Id, lo: Real, hi: Real) -> Id {
        let half = self.builder.ty(x).element == Element::F16;
        let stored = |b: Real| if half { f64::from(f16::from_f64(b.0)) } else { f64::from(b.0 as f32) };
        let bounds = [(Arithmetic::Maximum, stored(lo)), (Arithmetic::Minimum, stored(hi))];
        bounds.into_iter().filter(|(_, bound)| bound.is_finite()).fold(x, |x, (kind, bound)| {
            let bound = self.scalar(x, bound);
            self.builder.arithmetic(kind, x, bound)
        })
    }

    /// `max(x, 0) + slope·min(x, 0)`.
    fn prelu(&mut self, x: Id, node: &Node) -> Result<Id, String> {
        let rank = node.types[0].shape.rank();
        let count = self.graph.shape(node.inputs[1]).elements() as i64;
        let mut dims = vec![1; rank - 1];
        dims[0] = count;
        let slope = self.shaped(node.inputs[1], &dims)?;
        Ok(self.leaky(x, slope))
    }

    /// `max(x, 0) + slope·min(x, 0)`.
    fn leaky(&mut self, x: Id, slope: Id) -> Id {
        let above = self.builder.relu(x);
        let below = self.below(x);
        let below = self.builder.arithmetic(Arithmetic::Mul, below, slope);
        self.builder.arithmetic(Arithmetic::Add, above, below)
    }

    /// `min(x, 0)`.
    fn below(&mut self, x: Id) -> Id {
        let zero = self.scalar(x, 0.0);
        self.builder.arithmetic(Arithmetic::Minimum, x, zero)
    }

    /// `max(x, 0) + α·(e^min(x, 0) − 1)`.
    fn elu(&mut self, x: Id, alpha: Real) -> Id {
        let [one, alpha] = [1.0, alpha.0].map(|v| self.scalar(x, v));
        let above = self.builder.relu(x);
        let below = self.below(x);
        let exp = self.builder.unary(OperationName::Exp, below);
        let below = self.builder.arithmetic(Arithmetic::Sub, exp, one);
        let below = self.builder.arithmetic(Arithmetic::Mul, below, alpha);
        self.builder.arithmetic(Arithmetic::Add, above, below)
    }

    /// `max(x, 0) + ln(1 + e^−|x|)`, which does not overflow.
    fn softplus(&mut self, x: Id) -> Id {
        let [minus, one] = [-1.0, 1.0].map(|v| self.scalar(x, v));
        let above = self.builder.relu(x);
        let size = self.builder.unary(OperationName::Abs, x);
        let size = self.builder.arithmetic(Arithmetic::Mul, size, minus);
        let exp = self.builder.unary(OperationName::Exp, size);
        let sum = self.builder.arithmetic(Arithmetic::Add, exp, one);
        let rest = self.builder.unary(OperationName::Log, sum);
        self.builder.arithmetic(Arithmetic::Add, above, rest)
    }

    /// A product with ones, which broadcasts and keeps every number.
    fn expand(&mut self, x: Id, out: &[i64]) -> Id {
        if self.builder.ty(x).dims == out {
            return x;
        }
        if self.builder.ty(x).element == Element::Bool {
            let number = self.builder.cast(x, Element::I32);
            let number = self.expand(number, out);
            return self.builder.cast(number, Element::Bool);
        }
        let ones: Vec<i64> = out.iter().map(|&d| if d == DYNAMIC { 1 } else { d }).collect();
        let ty = Tensor::new(self.builder.ty(x).element, &ones);
        let ones = self.builder.fill(ty, 1.0);
        self.builder.arithmetic(Arithmetic::Mul, x, ones)
    }
}

/// Products, norms and pools.
impl Body<'_> {
    fn transposed(&mut self, x: Id, flag: bool) -> Id {
        let rank = self.builder.ty(x).rank();
        let mut perm: Vec<usize> = (0..rank).collect();
        if flag {
            perm.swap(rank - 2, rank - 1);
        }
        self.builder.transpose(x, &perm)
    }

    /// `x + b`, one element of b per index of `axis`.
    fn with_bias(&mut self, x: Id, bias: Option<&Value>, axis: usize) -> Result<Id, String> {
        let Some(&bias) = bias else { return Ok(x) };
        let mut dims = vec![1; self.builder.ty(x).rank()];
        dims[axis] = self.graph.shape(bias).elements() as i64;
        let bias = self.shaped(bias, &dims)?;
        Ok(self.builder.arithmetic(Arithmetic::Add, x, bias))
    }

    /// `steps` are stride and dilation.
    fn conv(
        &mut self,
        x: Id,
        node: &Node,
        steps: [[usize; 2]; 2],
        pad: [usize; 4],
        groups: usize,
    ) -> Result<Id, String> {
        let [top, left, bottom, right] = pad.map(|p| p as i64);
        let padded = self.builder.pad(x, &[[0, 0], [0, 0], [top, bottom], [left, right]]);
        let w = self.operand(node.inputs[1])?;
        let out = &node.types[0].shape;
        let size = [2, 3].map(|i| out.dim(i) as i64);
        let y = self.builder.conv2d(padded, w, steps.map(|s| s.map(|s| s as i64)), groups as i64, size);
        self.with_bias(y, node.inputs.get(2), 1)
    }

    /// `steps` are stride and dilation.
    fn conv_transpose(&mut self, x: Id, node: &Node, steps: [[usize; 2]; 2], groups: usize) -> Result<Id, String> {
        let w = self.operand(node.inputs[1])?;
        let out = &node.types[0].shape;
        let size = [2, 3].map(|i| out.dim(i) as i64);
        let y = self.builder.conv_transpose2d(x, w, steps.map(|s| s.map(|s| s as i64)), groups as i64, size);
        self.with_bias(y, node.inputs.get(2), 1)
    }

    /// `x·Wᵀ + b`.
    fn linear(&mut self, x: Id, node: &Node) -> Result<Id, String> {
        let w = self.operand(node.inputs[1])?;
        let w = self.transposed(w, true);
        let y = self.builder.matmul(x, w);
        let last = node.types[0].shape.rank() - 1;
        self.with_bias(y, node.inputs.get(2), last)
    }

    /// The composite `layer_norm` normalises the last axes.
    fn layer_norm(&mut self, x: Id, node: &Node, axes: &[usize], eps: Real) -> Result<Id, String> {
        let rank = node.types[0].shape.rank();
        let ty = self.builder.ty(x).clone();
        if !(rank - axes.len()..rank).eq(axes.iter().copied()) {
            return Err("a norm over inner axes".into());
        }
        let dims: Vec<i64> = axes.iter().map(|&a| ty.dims[a]).collect();
        let affine = Tensor::new(ty.element, &dims);
        let [scale, shift] = [(1, 1.0), (2, 0.0)].map(|(i, neutral)| match node.inputs.get(i) {
            Some(&v) if sizes(self.graph.shape(v)) == dims => self.operand(v),
            Some(_) => Err("scale and bias have the shape of the normalised axes".to_string()),
            None => Ok(self.builder.fill(affine.clone(), neutral)),
        });
        let (scale, shift) = (scale?, shift?);
        let name = self.composites.layer_norm(&ty, axes.len(), eps.0 as f32);
        Ok(self.builder.invoke(&name, &[x, scale, shift], ty))
    }

    /// Sums over windows, divided by how many elements of the map each window has.
    fn average(&mut self, x: Id, kernel: [usize; 2], stride: [usize; 2], pad: [usize; 4], out: &[i64]) -> Id {
        let [top, left, bottom, right] = pad.map(|p| p as i64);
        let ty = self.builder.ty(x).clone();
        let padded = self.builder.pad(x, &[[0, 0], [0, 0], [top, bottom], [left, right]]);
        let (k, s) = (kernel.map(|k| k as i64), stride.map(|s| s as i64));
        let sums = self.builder.sum_pool(padded, k, s, [out[2], out[3]]);
        let inside = |i: i64, axis: usize, before: i64| {
            let start = i * s[axis] - before;
            (start + k[axis]).min(ty.dims[axis + 2]) - start.max(0)
        };
        let counts: Vec<f64> = (0..out[2])
            .flat_map(|i| (0..out[3]).map(move |j| (inside(i, 0, top) * inside(j, 1, left)) as f64))
            .collect();
        let counts = match counts.iter().all(|&c| c == counts[0]) {
            true => self.builder.scalar(ty.element, counts[0]),
            false => self.builder.array(Tensor::new(ty.element, &[1, 1, out[2], out[3]]), &counts),
        };
        self.builder.arithmetic(Arithmetic::Divide, sums, counts)
    }

    /// What pads is below every number of a map: each window has an element of it.
    fn max_pool(&mut self, x: Id, kernel: [usize; 2], steps: [[usize; 2]; 2], pad: [usize; 4], out: &[i64]) -> Id {
        let [top, left, bottom, right] = pad.map(|p| p as i64);
        let lowest = match self.builder.ty(x).element {
            Element::F16 => f64::from(f16::MIN),
            _ => f64::from(f32::MIN),
        };
        let around = [[0, 0], [0, 0], [top, bottom], [left, right]];
        let padded = self.builder.pad_with(x, &around, Padding::Constant, lowest);
        let steps = steps.map(|s| s.map(|s| s as i64));
        self.builder.max_pool(padded, kernel.map(|k| k as i64), steps, [out[2], out[3]])
    }

    /// The composite of systems that fuse attention.
    fn attention(&mut self, node: &Node, scale: Real, bias: bool) -> Result<Id, String> {
        let mut operands: Vec<Id> = node.inputs[..3].iter().map(|&v| self.operand(v)).collect::<Result<_, _>>()?;
        if bias {
            // One for all images, if it has no axis of them.
            let mask = sizes(self.graph.shape(node.inputs[3]));
            let all = if mask.len() == 3 { &[1][..] } else { &[] };
            operands.push(self.shaped(node.inputs[3], &[all, &mask[..]].concat())?);
        }
        let types: Vec<Tensor> = operands.iter().map(|&v| self.builder.ty(v).clone()).collect();
        let result = Tensor::new(types[0].element, &sizes(&node.types[0].shape));
        let name = self.composites.attention(&types, &result, scale.0 as f32);
        Ok(self.builder.invoke(&name, &operands, result))
    }
}

/// Movement.
impl Body<'_> {
    /// Channel `(c·r + i)·r + j` to row i, column j of a block: first the columns, then the rows, on four axes.
    fn depth_to_space(&mut self, x: Id, r: i64, order: DepthOrder) -> Id {
        let dims = self.builder.ty(x).dims.clone();
        let [b, c, h, w] = [dims[0], dims[1] / (r * r), dims[2], dims[3]];
        let several = |n: i64| if b == DYNAMIC { DYNAMIC } else { b * n };
        let mut x = x;
        if order == DepthOrder::Dcr {
            // Blocks stand in front of channels there.
            x = self.builder.reshape(x, &[b, r * r, c, h * w]);
            x = self.builder.transpose(x, &[0, 2, 1, 3]);
        }
        let columns = self.builder.reshape(x, &[several(c * r), r, h, w]);
        let columns = self.builder.transpose(columns, &[0, 2, 3, 1]);
        let rows = self.builder.reshape(columns, &[several(c), r, h, w * r]);
        let rows = self.builder.transpose(rows, &[0, 2, 1, 3]);
        self.builder.reshape(rows, &[b, c, h * r, w * r])
    }

    /// Row i, column j of a block to channel `(i·r + j)·C + c`: the way of `depth_to_space` back.
    fn space_to_depth(&mut self, x: Id, r: i64) -> Id {
        let dims = self.builder.ty(x).dims.clone();
        let [b, c, h, w] = [dims[0], dims[1], dims[2] / r, dims[3] / r];
        let several = |n: i64| if b == DYNAMIC { DYNAMIC } else { b * n };
        let rows = self.builder.reshape(x, &[several(c), h, r, w * r]);
        let rows = self.builder.transpose(rows, &[0, 2, 1, 3]);
        let columns = self.builder.reshape(rows, &[several(c * r), h, w, r]);
        let columns = self.builder.transpose(columns, &[0, 3, 1, 2]);
        let blocks = self.builder.reshape(columns, &[b, c, r * r, h * w]);
        let blocks = self.builder.transpose(blocks, &[0, 2, 1, 3]);
        self.builder.reshape(blocks, &[b, c * r * r, h, w])
    }

    fn slice(&mut self, x: Id, cuts: &[SliceAxis], out: &[i64]) -> Id {
        const OPEN: i64 = i32::MAX as i64;
        let mut ranges = vec![(0, OPEN, 1); out.len()];
        for cut in cuts {
            ranges[cut.axis] = (cut.start as i64, cut.stop as i64, cut.step as i64);
        }
        self.builder.slice(x, &ranges, out)
    }

    /// Rows along the axis, which is brought to the front and back.
    fn gather(&mut self, x: Id, indices: Value, axis: usize) -> Result<Id, String> {
        let at = sizes(self.graph.shape(indices));
        let indices = self.shaped(indices, &[&at[..], &[1]].concat())?;
        let rank = self.builder.ty(x).rank();
        let front: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|&i| i != axis)).collect();
        let rows = self.builder.transpose(x, &front);
        let taken = self.builder.gather_rows(rows, indices);
        // The axes in front of the gathered one follow the indices' axes now.
        let back: Vec<usize> =
            (at.len()..at.len() + axis).chain(0..at.len()).chain(at.len() + axis..at.len() + rank - 1).collect();
        Ok(self.builder.transpose(taken, &back))
    }

    /// A resize names every size, the batch too. Where that is known only at run time, two products with constants read the same samples.
    fn resize_by_products(&mut self, x: Id, sampling: &Sampling, size: [usize; 2]) -> Id {
        let ty = self.builder.ty(x).clone();
        let [rows, columns] = [0, 1].map(|i| samples(sampling, ty.dims[i + 2] as usize, size[i]));
        let turned: Vec<f64> = (0..ty.dims[3] as usize).flat_map(|i| columns.iter().map(move |row| row[i])).collect();
        let right = self.builder.array(Tensor::new(ty.element, &[ty.dims[3], size[1] as i64]), &turned);
        let left = self.builder.array(Tensor::new(ty.element, &[size[0] as i64, ty.dims[2]]), &rows.concat());
        let wide = self.builder.matmul(x, right);
        self.builder.matmul(left, wide)
    }

    fn resize(&mut self, x: Id, sampling: &Sampling, size: [usize; 2]) -> Result<Id, String> {
        let from = self.builder.ty(x).dims.clone();
        if from[0] == DYNAMIC {
            return Ok(self.resize_by_products(x, sampling, size));
        }
        let to = size.map(|s| s as i64);
        match *sampling {
            Sampling::LINEAR => Ok(self.builder.interpolate(x, Interpolation::Linear, to, [0.0; 2])),
            // Rounding finds ⌊i·in/out⌋ where the source lies half a sample lower; the rest decides ties upwards.
            Sampling::NEAREST => {
                let offset = [0, 1].map(|i| 0.5 - 0.5 / from[i + 2] as f64);
                Ok(self.builder.interpolate(x, Interpolation::Nearest, to, offset))
            }
            _ => Err(UNKNOWN.into()),
        }
    }
}

/// Which samples of an axis each result reads, and how much of each.
fn samples(sampling: &Sampling, from: usize, to: usize) -> Vec<Vec<f64>> {
    let row = |taps: resample::Taps| {
        let mut row = vec![0.0; from];
        taps.into_iter().for_each(|(at, weight)| row[at] += weight);
        row
    };
    resample::taps(sampling, from, to, None).into_iter().map(row).collect()
}
