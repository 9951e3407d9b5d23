//! Growing a graph, node by node: what passes are written with.
//!
//! A [`Builder`] is a place in a graph. `at("fc1")` is the place one level down; it names nodes, so structure and names cannot drift apart. Operands
//! that do not fit are an error that names the node: a pass meets any graph that validates.

use crate::graph::Graph;
use crate::id::Value;
use crate::infer::ShapeError;
use crate::op::{BinaryKind, Generator, Op, SliceAxis, UnaryKind};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};
use std::fmt::Display;

/// What was built, or what did not fit.
pub type Built<T = Value> = Result<T, ShapeError>;

/// A place in a growing graph.
#[derive(Debug)]
pub struct Builder<'g> {
    graph: &'g mut Graph,
    scope: String,
}

impl<'g> Builder<'g> {
    /// The root of a graph.
    pub fn new(graph: &'g mut Graph) -> Self {
        Builder::within(graph, "")
    }

    /// The place `scope` of a graph; passes continue at the path of the node they rewrite.
    pub fn within(graph: &'g mut Graph, scope: impl Display) -> Self {
        Builder { graph, scope: scope.to_string() }
    }

    /// One level down.
    pub fn at(&mut self, name: impl Display) -> Builder<'_> {
        let scope = self.path(name);
        Builder { graph: self.graph, scope }
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

    /// Size of one axis of a value.
    ///
    /// # Errors
    /// If the value has no such axis, or it depends on the batch.
    pub fn dim(&self, x: Value, axis: usize) -> Built<usize> {
        let size = self.graph.shape(x).0.get(axis).and_then(|d| d.fixed());
        size.ok_or_else(|| self.graph.unfit(x, format!("axis {axis} of {} is no plain number", self.graph.ty(x))))
    }

    /// The first (batch) dimension of a value.
    ///
    /// # Errors
    /// If the value is a scalar.
    pub fn batch(&self, x: Value) -> Built<Dim> {
        let first = self.graph.shape(x).0.first().copied();
        first.ok_or_else(|| self.graph.unfit(x, "a scalar has no batch".into()))
    }

    /// The sizes of a constant.
    ///
    /// # Errors
    /// If one depends on the batch.
    pub fn fixed(&self, x: Value) -> Built<Vec<usize>> {
        self.graph.fixed(x)
    }

    /// Append any operator, named `name` here, and return its first output.
    ///
    /// # Errors
    /// If the operands do not fit it, as for all methods below.
    pub fn push(&mut self, name: impl Display, op: Op, inputs: &[Value]) -> Built {
        let path = self.path(name);
        Ok(self.graph.push(op, inputs, &path)?.into())
    }

    /// A leaf of this type.
    ///
    /// # Errors
    /// If it cannot have it.
    pub fn leaf(&mut self, name: impl Display, op: Op, ty: Type) -> Built {
        let path = self.path(name);
        self.graph.push_leaf(op, ty, &path)
    }

    /// An f32 scalar.
    ///
    /// # Errors
    /// None: every number is a scalar.
    pub fn scalar(&mut self, value: f64) -> Built {
        self.scalar_of(value, DType::F32)
    }

    /// A scalar of the given element type.
    ///
    /// # Errors
    /// None: every number is a scalar.
    pub fn scalar_of(&mut self, value: f64, dtype: DType) -> Built {
        let ty = Type::new(dtype, Shape::default());
        self.leaf(format!("const_{}", Real(value)), Op::literal(&[value]), ty)
    }

    /// A constant given by a formula.
    ///
    /// # Errors
    /// If the formula does not make that type.
    pub fn generate(&mut self, name: impl Display, generator: Generator, ty: Type) -> Built {
        self.leaf(name, Op::Generate(generator), ty)
    }

    /// A constant `[…]` of one number.
    ///
    /// # Errors
    /// If there are too many elements.
    pub fn fill(&mut self, name: impl Display, value: f64, dims: &[usize]) -> Built {
        self.generate(name, Generator::Fill { value: Real(value) }, Type::f32(dims))
    }

    /// f(x).
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn unary(&mut self, name: impl Display, kind: UnaryKind, x: Value) -> Built {
        self.push(name, Op::Unary(kind), &[x])
    }

    /// f(a, b).
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn binary(&mut self, name: impl Display, kind: BinaryKind, a: Value, b: Value) -> Built {
        self.push(name, Op::Binary(kind), &[a, b])
    }

    /// Matrix product.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn matmul(&mut self, name: impl Display, a: Value, b: Value) -> Built {
        self.push(name, Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b])
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn reshape(&mut self, name: impl Display, x: Value, shape: Shape) -> Built {
        self.push(name, Op::Reshape { shape }, &[x])
    }

    /// `x` under this shape, or itself if it has it.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn reshaped(&mut self, name: impl Display, x: Value, dims: &[usize]) -> Built {
        if self.graph.shape(x) == &Shape::fixed(dims) { Ok(x) } else { self.reshape(name, x, Shape::fixed(dims)) }
    }

    /// A vector `[n]` as `[1,…,n,…,1]` of rank `rank`, so that it broadcasts along `axis`.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn along(&mut self, name: impl Display, x: Value, axis: usize, rank: usize) -> Built {
        let elements = self.graph.shape(x).elements();
        let dims: Vec<usize> = (0..rank).map(|i| if i == axis { elements } else { 1 }).collect();
        self.reshaped(name, x, &dims)
    }

    /// Broadcast to a shape.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn expand(&mut self, name: impl Display, x: Value, shape: Shape) -> Built {
        self.push(name, Op::Expand { shape }, &[x])
    }

    /// Axes permuted.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn transpose(&mut self, name: impl Display, x: Value, perm: &[usize]) -> Built {
        self.push(name, Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// Values joined along `axis`.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn concat(&mut self, name: impl Display, values: &[Value], axis: usize) -> Built {
        self.push(name, Op::Concat { axis }, values)
    }

    /// A value cut into pieces along `axis`.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn split(&mut self, name: impl Display, x: Value, axis: usize, sizes: &[usize]) -> Built<Vec<Value>> {
        let node = self.push(name, Op::Split { axis, sizes: sizes.to_vec() }, &[x])?.node;
        Ok((0..sizes.len() as u32).map(|index| Value { node, index }).collect())
    }

    /// Elements `start..stop` of one axis.
    ///
    /// # Errors
    /// See [`Builder::push`].
    pub fn slice(&mut self, name: impl Display, x: Value, axis: usize, range: std::ops::Range<usize>) -> Built {
        let cut = SliceAxis { axis, start: range.start, stop: range.end, step: 1 };
        self.push(name, Op::Slice { cuts: vec![cut] }, &[x])
    }
}
