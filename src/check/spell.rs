//! Spelling a graph in operators that ONNX has, for the reference and for packages read back.
//!
//! Invariants: written from the operators' formulas and independent of `vitc-passes`, so that a mistake there cannot hide here. Nothing is
//! folded. The last operation of a spelling keeps the node's path. Where a node has f16 values its parts are computed in f32 and the result is
//! rounded once, as the node itself would. The symbolic batch becomes a number.

use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Copier, DType, Graph, Node, Op, Real, Shape, Stage, Target, Type, UnaryKind, Value};

/// Opset of the models that are made for the check: the first with `Gelu`.
pub(super) fn target() -> Target {
    Target::onnx(20)
}

/// `graph` at a batch of `batch`, without the operators that ONNX lacks. High-level operators were expanded before.
pub(super) fn spell(graph: &Graph, batch: usize) -> Graph {
    let mut copy = Copier::new(graph, Stage::Target);
    for (id, node) in graph.nodes() {
        if graph.is_constant(id.into()) {
            copy.node(id);
            continue;
        }
        let inputs = copy.inputs(id);
        let mut parts = Parts { graph: &mut copy.new, path: &node.path };
        let value = match &node.op {
            Op::Input => {
                let ty = Type::new(node.types[0].dtype, Shape::fixed(&node.types[0].shape.at(batch)));
                let leaf = parts.graph.push_leaf(Op::Input, ty, &node.path);
                leaf.unwrap_or_else(|e| panic!("an input of plain numbers is legal: {e}"))
            }
            Op::Reshape { shape } => parts.last(Op::Reshape { shape: Shape::fixed(&shape.at(batch)) }, &inputs),
            Op::Expand { shape } => parts.last(Op::Expand { shape: Shape::fixed(&shape.at(batch)) }, &inputs),
            Op::Unary(UnaryKind::Silu) => parts.in_f32(node, &inputs, silu),
            Op::Linear => parts.in_f32(node, &inputs, linear),
            Op::LayerNorm { axes, eps } => parts.in_f32(node, &inputs, |p, x| layer_norm(p, x, axes, *eps)),
            Op::MatMul { transpose_a, transpose_b } if *transpose_a || *transpose_b => {
                let a = if *transpose_a { parts.swap("a", inputs[0]) } else { inputs[0] };
                let b = if *transpose_b { parts.swap("b", inputs[1]) } else { inputs[1] };
                parts.last(Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b])
            }
            _ => {
                copy.node(id);
                continue;
            }
        };
        copy.set(id.into(), value);
    }
    copy.finish()
}

/// Pushes the parts of one node's spelling under its path.
struct Parts<'a> {
    graph: &'a mut Graph,
    path: &'a str,
}

impl Parts<'_> {
    /// A part, named by its operator.
    fn push(&mut self, op: Op, inputs: &[Value]) -> Value {
        let path = format!("{}.spelled.{}", self.path, op.word());
        self.graph
            .push(op, inputs, &path)
            .unwrap_or_else(|e| panic!("the node's own shapes fit its formula: {e}"))
            .into()
    }

    /// The part that is the node's result.
    fn last(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.graph
            .push(op, inputs, self.path)
            .unwrap_or_else(|e| panic!("the node's own shapes fit its formula: {e}"))
            .into()
    }

    fn binary(&mut self, kind: BinaryKind, a: Value, b: Value) -> Value {
        self.push(Op::Binary(kind), &[a, b])
    }

    /// The last two axes exchanged.
    fn swap(&mut self, name: &str, x: Value) -> Value {
        let rank = self.graph.shape(x).rank();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        let path = format!("{}.spelled.{name}", self.path);
        let node = self.graph.push(Op::Transpose { perm }, &[x], &path);
        node.unwrap_or_else(|e| panic!("a permutation of every axis fits: {e}")).into()
    }

    /// Run `formula` on f32 operands; its result becomes the node's, rounded if that is f16.
    fn in_f32(
        &mut self,
        node: &Node,
        inputs: &[Value],
        formula: impl FnOnce(&mut Self, &[Value]) -> (Op, Vec<Value>),
    ) -> Value {
        if node.types[0].dtype != DType::F16 {
            let (op, operands) = formula(self, inputs);
            return self.last(op, &operands);
        }
        let widened: Vec<Value> = inputs.iter().map(|&x| self.push(Op::Cast { to: DType::F32 }, &[x])).collect();
        let (op, operands) = formula(self, &widened);
        let result = self.push(op, &operands);
        self.last(Op::Cast { to: DType::F16 }, &[result])
    }
}

/// x·σ(x).
fn silu(p: &mut Parts<'_>, inputs: &[Value]) -> (Op, Vec<Value>) {
    let gate = p.push(Op::Unary(UnaryKind::Sigmoid), &inputs[..1]);
    (Op::Binary(BinaryKind::Mul), vec![inputs[0], gate])
}

/// x·Wᵀ + b.
fn linear(p: &mut Parts<'_>, inputs: &[Value]) -> (Op, Vec<Value>) {
    let w = p.swap("w", inputs[1]);
    let product = Op::MatMul { transpose_a: false, transpose_b: false };
    match inputs.get(2) {
        None => (product, vec![inputs[0], w]),
        Some(&bias) => {
            let y = p.push(product, &[inputs[0], w]);
            (Op::Binary(BinaryKind::Add), vec![y, bias])
        }
    }
}

/// (x − mean)/√(var + ε)·scale + bias, the variance as the mean of squares of x − mean.
fn layer_norm(p: &mut Parts<'_>, inputs: &[Value], axes: &[usize], eps: Real) -> (Op, Vec<Value>) {
    let x = inputs[0];
    let mean_over = Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep: true };
    let mean = p.push(mean_over.clone(), &[x]);
    let centred = p.binary(BinaryKind::Sub, x, mean);
    let square = p.binary(BinaryKind::Mul, centred, centred);
    let variance = p.push(mean_over, &[square]);
    let eps_path = format!("{}.spelled.eps", p.path);
    let eps = p.graph.push_leaf(Op::Literal { values: vec![eps] }, Type::f32(&[]), &eps_path);
    let eps = eps.unwrap_or_else(|e| panic!("a scalar is a literal: {e}"));
    let shifted = p.binary(BinaryKind::Add, variance, eps);
    let deviation = p.push(Op::Unary(UnaryKind::Sqrt), &[shifted]);
    let [scale, bias] = inputs[1..] else {
        return (Op::Binary(BinaryKind::Div), vec![centred, deviation]);
    };
    let normal = p.binary(BinaryKind::Div, centred, deviation);
    let mut along = |v: Value| {
        let mut dims = vec![1; p.graph.shape(x).rank()];
        for (i, &axis) in axes.iter().enumerate() {
            dims[axis] = p.graph.shape(v).dim(i);
        }
        p.push(Op::Reshape { shape: Shape::fixed(&dims) }, &[v])
    };
    let (scale, bias) = (along(scale), along(bias));
    let scaled = p.binary(BinaryKind::Mul, normal, scale);
    (Op::Binary(BinaryKind::Add), vec![scaled, bias])
}
