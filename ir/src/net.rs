//! The builder: the language that architectures are written in, and passes use for weight arithmetic.
//!
//! A [`Net`] is a place in a graph. `net.at("token_mixer")` is the place one level down; it names nodes and resolves weight keys, so
//! structure, names and weights cannot drift apart: `net.at("fc1").weight("bias", …)` asks for the key `….fc1.bias`.

use crate::graph::{Graph, Stage};
use crate::id::Value;
use crate::op::{AttentionLayout, BinaryKind, Generator, Op, ReduceKind, SliceAxis, UnaryKind};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};
use std::fmt::Display;

/// Geometry of a convolution in the usual case: one stride, padding and kernel for both axes.
#[derive(Debug, Clone, Copy)]
pub struct ConvSpec {
    /// Output channels.
    pub out: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Stride of both axes.
    pub stride: usize,
    /// Zeros on all four sides.
    pub pad: usize,
    /// Channel groups.
    pub groups: usize,
    /// A bias is stored.
    pub bias: bool,
}

impl ConvSpec {
    /// A dense kernel of side `kernel`, stride 1, padding `kernel / 2`, with bias.
    pub fn new(out: usize, kernel: usize) -> Self {
        ConvSpec { out, kernel, stride: 1, pad: kernel / 2, groups: 1, bias: true }
    }

    /// With this stride.
    pub fn stride(self, stride: usize) -> Self {
        ConvSpec { stride, ..self }
    }

    /// With this padding.
    pub fn pad(self, pad: usize) -> Self {
        ConvSpec { pad, ..self }
    }

    /// With this number of groups.
    pub fn groups(self, groups: usize) -> Self {
        ConvSpec { groups, ..self }
    }

    /// One group per output channel.
    pub fn depthwise(self) -> Self {
        ConvSpec { groups: self.out, ..self }
    }

    /// Without bias.
    pub fn no_bias(self) -> Self {
        ConvSpec { bias: false, ..self }
    }
}

/// A place in a growing graph.
///
/// Methods panic when operands do not fit: architectures check their configuration and resolution before they build, so a shape error
/// here is a bug in the caller, and the message names the node.
#[derive(Debug)]
pub struct Net<'g> {
    graph: &'g mut Graph,
    scope: String,
}

impl<'g> Net<'g> {
    /// The root of a graph.
    pub fn new(graph: &'g mut Graph) -> Self {
        Net { graph, scope: String::new() }
    }

    /// The place `scope` of a graph; passes continue at the path of the node they rewrite.
    pub fn within(graph: &'g mut Graph, scope: impl Display) -> Self {
        Net { graph, scope: scope.to_string() }
    }

    /// One level down.
    pub fn at(&mut self, name: impl Display) -> Net<'_> {
        let scope = self.path(name);
        Net { graph: self.graph, scope }
    }

    /// The dotted path of `name` here; the place's own path if `name` is empty.
    pub fn path(&self, name: impl Display) -> String {
        let name = name.to_string();
        match (self.scope.is_empty(), name.is_empty()) {
            (_, true) => self.scope.clone(),
            (true, _) => name,
            _ => format!("{}.{name}", self.scope),
        }
    }

    /// The graph.
    pub fn graph(&mut self) -> &mut Graph {
        self.graph
    }

    /// Type of a value.
    pub fn ty(&self, x: Value) -> &Type {
        self.graph.ty(x)
    }

    /// Size of one axis of a value, which is not the batch.
    pub fn dim(&self, x: Value, axis: usize) -> usize {
        self.graph.shape(x).dim(axis)
    }

    /// The first (batch) dimension of a value.
    pub fn batch(&self, x: Value) -> Dim {
        self.graph.shape(x).0[0]
    }

    /// Append any operator, named `name` here, and return its first output.
    pub fn push(&mut self, name: impl Display, op: Op, inputs: &[Value]) -> Value {
        let path = self.path(name);
        self.graph.push(op, inputs, &path).unwrap_or_else(|e| panic!("{e}")).into()
    }

    fn leaf(&mut self, name: impl Display, op: Op, ty: Type) -> Value {
        let path = self.path(name);
        self.graph.push_leaf(op, ty, &path).unwrap_or_else(|e| panic!("{e}"))
    }

    // ---- leaves ----

    /// An input of the model.
    pub fn input(&mut self, name: &str, ty: Type) -> Value {
        self.leaf(name, Op::Input, ty)
    }

    /// The trained tensor whose key is `name` here.
    pub fn weight(&mut self, name: impl Display, dims: &[usize]) -> Value {
        let key = self.path(name);
        self.graph.push_leaf(Op::Weight { key: key.clone() }, Type::f32(dims), &key).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A small f32 constant written out.
    pub fn literal(&mut self, name: impl Display, dims: &[usize], values: &[f64]) -> Value {
        self.leaf(name, Op::literal(values), Type::f32(dims))
    }

    /// An f32 scalar.
    pub fn scalar(&mut self, value: f64) -> Value {
        self.scalar_of(value, DType::F32)
    }

    /// A scalar of the given element type.
    pub fn scalar_of(&mut self, value: f64, dtype: DType) -> Value {
        let ty = Type::new(dtype, Shape::default());
        self.leaf(format!("const_{}", Real(value)), Op::literal(&[value]), ty)
    }

    /// A constant given by a formula.
    pub fn generate(&mut self, name: impl Display, generator: Generator, ty: Type) -> Value {
        self.leaf(name, Op::Generate(generator), ty)
    }

    // ---- layers with weights ----

    /// Convolution with the weights `weight` and, if the spec says so, `bias` here.
    pub fn conv(&mut self, x: Value, spec: ConvSpec) -> Value {
        let channels = self.dim(x, 1);
        let w = self.weight("weight", &[spec.out, channels / spec.groups, spec.kernel, spec.kernel]);
        let mut inputs = vec![x, w];
        if spec.bias {
            inputs.push(self.weight("bias", &[spec.out]));
        }
        let op = Op::Conv { stride: [spec.stride; 2], pad: [spec.pad; 4], groups: spec.groups };
        self.push("", op, &inputs)
    }

    /// BatchNorm with the weights `weight`, `bias`, `running_mean`, `running_var` here.
    pub fn batch_norm(&mut self, x: Value, eps: f64) -> Value {
        let c = [self.dim(x, 1)];
        let [g, b, m, v] = ["weight", "bias", "running_mean", "running_var"].map(|k| self.weight(k, &c));
        self.push("", Op::BatchNorm { eps: Real(eps) }, &[x, g, b, m, v])
    }

    /// LayerNorm over one axis with the weights `weight` and `bias` here.
    pub fn layer_norm(&mut self, x: Value, axis: usize, eps: f64) -> Value {
        let c = [self.dim(x, axis)];
        let [g, b] = ["weight", "bias"].map(|k| self.weight(k, &c));
        self.push("", Op::LayerNorm { axes: vec![axis], eps: Real(eps) }, &[x, g, b])
    }

    /// `x·Wᵀ + b` with the weights `weight` and, if asked for, `bias` here.
    pub fn linear(&mut self, x: Value, out: usize, bias: bool) -> Value {
        let input = self.dim(x, self.graph.shape(x).rank() - 1);
        let mut inputs = vec![x, self.weight("weight", &[out, input])];
        if bias {
            inputs.push(self.weight("bias", &[out]));
        }
        self.push("", Op::Linear, &inputs)
    }

    // ---- elementwise ----

    /// f(x).
    pub fn unary(&mut self, name: impl Display, kind: UnaryKind, x: Value) -> Value {
        self.push(name, Op::Unary(kind), &[x])
    }

    /// Exact GELU, named `act`.
    pub fn gelu(&mut self, x: Value) -> Value {
        self.unary("act", UnaryKind::Gelu, x)
    }

    /// ReLU, named `act`.
    pub fn relu(&mut self, x: Value) -> Value {
        self.unary("act", UnaryKind::Relu, x)
    }

    /// f(a, b).
    pub fn binary(&mut self, name: impl Display, kind: BinaryKind, a: Value, b: Value) -> Value {
        self.push(name, Op::Binary(kind), &[a, b])
    }

    /// a + b, named `add`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary("add", BinaryKind::Add, a, b)
    }

    /// a − b, named `sub`.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.binary("sub", BinaryKind::Sub, a, b)
    }

    /// a·b, named `mul`.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.binary("mul", BinaryKind::Mul, a, b)
    }

    /// a/b, named `div`.
    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.binary("div", BinaryKind::Div, a, b)
    }

    // ---- products, reductions, movement ----

    /// Matrix product.
    pub fn matmul(&mut self, name: impl Display, a: Value, b: Value) -> Value {
        self.push(name, Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b])
    }

    /// Mean over `axes`, named `mean`.
    pub fn mean(&mut self, x: Value, axes: &[usize], keep: bool) -> Value {
        self.push("mean", Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep }, &[x])
    }

    /// Multi-head attention without talking heads.
    pub fn attention(
        &mut self,
        name: impl Display,
        [q, k, v]: [Value; 3],
        bias: Option<Value>,
        heads: usize,
        scale: f64,
        layout: AttentionLayout,
    ) -> Value {
        let op = Op::Attention { heads, scale: Real(scale), layout, bias: bias.is_some(), talking: false };
        let inputs: Vec<Value> = [q, k, v].into_iter().chain(bias).collect();
        self.push(name, op, &inputs)
    }

    /// The same elements under the shape `first, rest…`.
    pub fn reshape(&mut self, name: impl Display, x: Value, shape: Shape) -> Value {
        self.push(name, Op::Reshape { shape }, &[x])
    }

    /// Axes permuted.
    pub fn transpose(&mut self, name: impl Display, x: Value, perm: &[usize]) -> Value {
        self.push(name, Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// Values joined along `axis`.
    pub fn concat(&mut self, name: impl Display, values: &[Value], axis: usize) -> Value {
        self.push(name, Op::Concat { axis }, values)
    }

    /// A value cut into pieces along `axis`.
    pub fn split(&mut self, name: impl Display, x: Value, axis: usize, sizes: &[usize]) -> Vec<Value> {
        let node = self.push(name, Op::Split { axis, sizes: sizes.to_vec() }, &[x]).node;
        (0..sizes.len() as u32).map(|index| Value { node, index }).collect()
    }

    /// Elements `start..stop` by `step` of one axis.
    pub fn slice(&mut self, name: impl Display, x: Value, axis: usize, range: std::ops::Range<usize>) -> Value {
        let cut = SliceAxis { axis, start: range.start, stop: range.end, step: 1 };
        self.push(name, Op::Slice { cuts: vec![cut] }, &[x])
    }

    /// A vector `[n]` as `[1,…,n,…,1]` of rank `rank`, so that it broadcasts along `axis`.
    pub fn along(&mut self, name: impl Display, x: Value, axis: usize, rank: usize) -> Value {
        let mut dims = vec![1; rank];
        dims[axis] = self.graph.shape(x).elements();
        if self.graph.shape(x) == &Shape::fixed(&dims) {
            return x;
        }
        self.reshape(name, x, Shape::fixed(&dims))
    }

    /// A constant that broadcasting repeats, or `x` itself if it has that shape.
    pub fn reshaped(&mut self, name: impl Display, x: Value, dims: &[usize]) -> Value {
        if self.graph.shape(x) == &Shape::fixed(dims) { x } else { self.reshape(name, x, Shape::fixed(dims)) }
    }
}

/// An empty paper graph, for [`Net::new`].
pub fn paper(name: impl Into<String>) -> Graph {
    Graph::new(name, Stage::Paper)
}
