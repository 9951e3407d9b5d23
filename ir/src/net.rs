//! The language that architectures are written in.
//!
//! A [`Net`] is a [`Builder`] that takes for granted that operands fit, and knows layers with weights: a place in a graph. `net.at("token_mixer")` is the place one level down; it names nodes and resolves weight keys, so
//! structure, names and weights cannot drift apart: `net.at("fc1").weight("bias", …)` asks for the key `….fc1.bias`.

use crate::build::Builder;
use crate::graph::Graph;
use crate::id::Value;
use crate::infer::ShapeError;
use crate::op::{AttentionLayout, BinaryKind, Generator, Op, ReduceKind, Sampling, UnaryKind};
use crate::real::Real;
use crate::stage::Stage;
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
    /// Rows and columns per element of the kernel.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
    /// A bias is stored.
    pub bias: bool,
}

impl ConvSpec {
    /// A dense kernel of side `kernel`, stride 1, padding `kernel / 2`, with bias.
    pub fn new(out: usize, kernel: usize) -> Self {
        ConvSpec { out, kernel, stride: 1, pad: kernel / 2, dilation: 1, groups: 1, bias: true }
    }

    /// With this stride.
    pub fn stride(self, stride: usize) -> Self {
        ConvSpec { stride, ..self }
    }

    /// With this padding.
    pub fn pad(self, pad: usize) -> Self {
        ConvSpec { pad, ..self }
    }

    /// With this distance of the kernel's elements, and the padding that keeps the map: `dilation·(kernel − 1)/2`.
    pub fn dilation(self, dilation: usize) -> Self {
        ConvSpec { dilation, pad: dilation * (self.kernel - 1) / 2, ..self }
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
pub struct Net<'g>(Builder<'g>);

/// What was built.
fn built<T>(result: Result<T, ShapeError>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

impl<'g> Net<'g> {
    /// The root of a graph.
    pub fn new(graph: &'g mut Graph) -> Self {
        Net::within(graph, "")
    }

    /// The place `scope` of a graph.
    pub fn within(graph: &'g mut Graph, scope: impl Display) -> Self {
        Net(Builder::within(graph, scope))
    }

    /// One level down.
    pub fn at(&mut self, name: impl Display) -> Net<'_> {
        Net(self.0.at(name))
    }

    /// The dotted path of `name` here; the place's own path if `name` is empty.
    pub fn path(&self, name: impl Display) -> String {
        self.0.path(name)
    }

    /// The graph.
    pub fn graph(&mut self) -> &mut Graph {
        self.0.graph()
    }

    /// Type of a value.
    pub fn ty(&self, x: Value) -> &Type {
        self.0.ty(x)
    }

    /// Size of one axis of a value, which is not the batch.
    pub fn dim(&self, x: Value, axis: usize) -> usize {
        built(self.0.dim(x, axis))
    }

    /// The first (batch) dimension of a value.
    pub fn batch(&self, x: Value) -> Dim {
        self.ty(x).shape.0[0]
    }

    /// Append any operator, named `name` here, and return its first output.
    pub fn push(&mut self, name: impl Display, op: Op, inputs: &[Value]) -> Value {
        built(self.0.push(name, op, inputs))
    }

    // ---- leaves ----

    /// An input of the model.
    pub fn input(&mut self, name: &str, ty: Type) -> Value {
        built(self.0.leaf(name, Op::Input, ty))
    }

    /// The trained tensor whose key is `name` here.
    pub fn weight(&mut self, name: impl Display, dims: &[usize]) -> Value {
        let key = self.path(&name);
        built(self.0.leaf(name, Op::Weight { key }, Type::f32(dims)))
    }

    /// A small f32 constant written out.
    pub fn literal(&mut self, name: impl Display, dims: &[usize], values: &[f64]) -> Value {
        built(self.0.leaf(name, Op::literal(values), Type::f32(dims)))
    }

    /// An f32 scalar.
    pub fn scalar(&mut self, value: f64) -> Value {
        built(self.0.scalar(value))
    }

    /// A scalar of the given element type.
    pub fn scalar_of(&mut self, value: f64, dtype: DType) -> Value {
        built(self.0.scalar_of(value, dtype))
    }

    /// A constant given by a formula.
    pub fn generate(&mut self, name: impl Display, generator: Generator, ty: Type) -> Value {
        built(self.0.generate(name, generator, ty))
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
        let (stride, dilation) = ([spec.stride; 2], [spec.dilation; 2]);
        let op = Op::Conv { stride, pad: [spec.pad; 4], dilation, groups: spec.groups };
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

    /// GroupNorm with the weights `weight` and `bias` here: each of `groups` groups of channels is normalised over its channels and positions
    /// together, then each channel is scaled and shifted.
    pub fn group_norm(&mut self, x: Value, groups: usize, eps: f64) -> Value {
        let shape = self.ty(x).shape.clone();
        let channels = self.dim(x, 1);
        let each = Shape(shape.0[1..].to_vec()).elements() / groups;
        let y = self.reshape("groups", x, Shape::batched(shape.0[0], &[groups, each]));
        let y = self.push("norm", Op::LayerNorm { axes: vec![2], eps: Real(eps) }, &[y]);
        let rank = shape.rank();
        let y = self.reshape("map", y, shape);
        let [scale, shift] = ["weight", "bias"].map(|key| {
            let vector = self.weight(key, &[channels]);
            let dims: Vec<usize> = std::iter::once(channels).chain(vec![1; rank - 2]).collect();
            self.reshaped(format!("{key}_map"), vector, &dims)
        });
        let y = self.binary("scaled", BinaryKind::Mul, y, scale);
        self.binary("", BinaryKind::Add, y, shift)
    }

    /// `x·Wᵀ + b` with the weights `weight` and, if asked for, `bias` here.
    pub fn linear(&mut self, x: Value, out: usize, bias: bool) -> Value {
        let input = self.dim(x, self.ty(x).shape.rank() - 1);
        let mut inputs = vec![x, self.weight("weight", &[out, input])];
        if bias {
            inputs.push(self.weight("bias", &[out]));
        }
        self.push("", Op::Linear, &inputs)
    }

    // ---- elementwise ----

    /// f(x).
    pub fn unary(&mut self, name: impl Display, kind: UnaryKind, x: Value) -> Value {
        built(self.0.unary(name, kind, x))
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
        built(self.0.binary(name, kind, a, b))
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
        built(self.0.matmul(name, a, b))
    }

    /// Mean over `axes`, named `mean`.
    pub fn mean(&mut self, x: Value, axes: &[usize], keep: bool) -> Value {
        self.push("mean", Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep }, &[x])
    }

    /// `[B,C,H,W]` sampled at another size.
    pub fn resize(&mut self, name: impl Display, x: Value, sampling: Sampling, size: [usize; 2]) -> Value {
        self.push(name, Op::Resize { sampling, size, scale: None }, &[x])
    }

    /// Adaptive average pooling of `[B,C,H,W]` to `size`: a pool where its windows are alike, else two products with constants
    /// ([`Generator::AdaptiveMean`]).
    pub fn adaptive_avg_pool(&mut self, name: impl Display, x: Value, size: [usize; 2]) -> Value {
        let map = [self.dim(x, 2), self.dim(x, 3)];
        if (0..2).all(|i| map[i].is_multiple_of(size[i])) {
            let kernel = [map[0] / size[0], map[1] / size[1]];
            return self.push(name, Op::AvgPool { kernel, stride: kernel, pad: [0; 4] }, &[x]);
        }
        let path = name.to_string();
        let mut bins = |i: usize, side: &str| {
            let ty = Type::f32(&[size[i], map[i]]);
            self.generate(format!("{path}_{side}_bins"), Generator::AdaptiveMean, ty)
        };
        let (rows, columns) = (bins(0, "row"), bins(1, "column"));
        let columns = self.transpose(format!("{path}_column_bins_across"), columns, &[1, 0]);
        let pooled = self.matmul(format!("{path}_rows"), rows, x);
        self.matmul(name, pooled, columns)
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
        built(self.0.reshape(name, x, shape))
    }

    /// Axes permuted.
    pub fn transpose(&mut self, name: impl Display, x: Value, perm: &[usize]) -> Value {
        built(self.0.transpose(name, x, perm))
    }

    /// Values joined along `axis`.
    pub fn concat(&mut self, name: impl Display, values: &[Value], axis: usize) -> Value {
        built(self.0.concat(name, values, axis))
    }

    /// A value cut into pieces along `axis`.
    pub fn split(&mut self, name: impl Display, x: Value, axis: usize, sizes: &[usize]) -> Vec<Value> {
        built(self.0.split(name, x, axis, sizes))
    }

    /// Elements `start..stop` by `step` of one axis.
    pub fn slice(&mut self, name: impl Display, x: Value, axis: usize, range: std::ops::Range<usize>) -> Value {
        built(self.0.slice(name, x, axis, range))
    }

    /// A vector `[n]` as `[1,…,n,…,1]` of rank `rank`, so that it broadcasts along `axis`.
    pub fn along(&mut self, name: impl Display, x: Value, axis: usize, rank: usize) -> Value {
        built(self.0.along(name, x, axis, rank))
    }

    /// `x` under this shape, or itself if it has it.
    pub fn reshaped(&mut self, name: impl Display, x: Value, dims: &[usize]) -> Value {
        built(self.0.reshaped(name, x, dims))
    }
}

/// An empty paper graph, for [`Net::new`].
pub fn paper(name: impl Into<String>) -> Graph {
    Graph::new(name, Stage::Paper)
}
