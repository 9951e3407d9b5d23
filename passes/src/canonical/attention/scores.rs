//! Reads what stands around a softmax: queries and keys before it, values behind it, and what is done to the scores between.

use crate::algebra::Linear;
use crate::view::trail::scaled;
use vitc_ir::{BinaryKind, DType, Graph, NodeId, Op, Shape, Uses, Value};

/// Steps between the product and the softmax that are looked through at most.
const LONGEST: usize = 8;

/// One operand of a product: `[lead…, x, y]` with tokens on one of the last two axes and the channels of a head on the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    pub(super) value: Value,
    /// Whether the tokens lie on the last axis.
    pub(super) tokens_last: bool,
}

/// A constant that is added to the scores, times a number.
#[derive(Debug, Clone)]
pub(super) struct Shift {
    pub(super) constant: Value,
    pub(super) times: f64,
    /// The scores' shape where it is added: their leading axes may be cut there.
    pub(super) seen: Shape,
}

/// A mix of the heads: `[H,H]` weights and a bias, as a 1x1 convolution over the heads has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    /// `[H,H,1,1]`
    pub(super) w: Value,
    /// `[H]`
    pub(super) b: Option<Value>,
}

/// Everything around one softmax.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    pub(super) q: Factor,
    pub(super) k: Factor,
    pub(super) v: Factor,
    pub(super) scale: f64,
    /// Constants added behind the scale.
    pub(super) shifts: Vec<Shift>,
    /// Before the softmax, and behind it.
    pub(super) mixes: [Option<Mix>; 2],
    /// The product of queries and keys.
    pub(super) scores: Value,
    /// Whether the keys lie on the scores' last axis: else the queries do.
    pub(super) keys_last: bool,
    /// What the attention gives: `[lead…, Nq, d]`, or `[lead…, d, Nq]` if `transposed`.
    pub(super) result: NodeId,
    pub(super) transposed: bool,
}

impl Scores {
    /// What stands around the softmax `id`; `None` if it is no attention's.
    pub(super) fn around(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Scores> {
        let Op::Softmax { axis } = graph.node(id).op else { return None };
        let ty = graph.ty(id.into());
        let rank = ty.shape.rank();
        if ty.dtype != DType::F32 || rank < 3 || axis + 2 < rank {
            return None;
        }
        let keys_last = axis + 1 == rank;
        let (result, v, transposed, behind) = values(graph, uses, id, keys_last)?;
        let mut at = Below { graph, uses, value: graph.node(id).inputs[0], scale: 1.0, shifts: Vec::new(), mix: None };
        let mut left = LONGEST;
        while !matches!(graph.op(at.value), Op::MatMul { .. }) {
            left = left.checked_sub(1)?;
            at.step()?;
        }
        let scores = at.value;
        if !uses.once(scores) {
            return None;
        }
        let [rows, columns] = factors(graph, scores.node)?;
        let (q, k) = if keys_last { (rows, columns) } else { (columns, rows) };
        let mixes = [at.mix, behind];
        let lead = |v: Value| graph.shape(v).0.get(..rank - 2);
        let same = [q.value, k.value, v.value, result.into()]
            .into_iter()
            .all(|o| graph.shape(o).rank() == rank && lead(o) == lead(scores));
        let (scale, shifts) = (at.scale, at.shifts);
        let whole = graph.shape(scores) == graph.shape(id.into());
        let usable = same && whole && scale.is_finite() && scale != 0.0;
        usable.then_some(Scores { q, k, v, scale, shifts, mixes, scores, keys_last, result, transposed })
    }
}

/// The operands of a product with the axis that is not summed as their tokens.
fn factors(graph: &Graph, id: NodeId) -> Option<[Factor; 2]> {
    let node = graph.node(id);
    let Op::MatMul { transpose_a, transpose_b } = node.op else { return None };
    Some([
        Factor { value: node.inputs[0], tokens_last: transpose_a },
        Factor { value: node.inputs[1], tokens_last: !transpose_b },
    ])
}

/// The product with the values: itself, the values, whether its result has the channels before the queries, and the mix between.
fn values(graph: &Graph, uses: &Uses, id: NodeId, keys_last: bool) -> Option<(NodeId, Factor, bool, Option<Mix>)> {
    let (mut value, mut keys_last, mut behind) = (Value::from(id), keys_last, None);
    for _ in 0..3 {
        let [reader] = uses.readers(value) else { return None };
        if uses.is_result(value) {
            return None;
        }
        let node = graph.node(reader.node);
        match &node.op {
            Op::MatMul { .. } => {
                let [a, b] = factors(graph, reader.node)?;
                // The summed axis of the weights is the keys'; the values' is their tokens'.
                let (summed_last, other) = if reader.slot == 0 { (!a.tokens_last, b) } else { (!b.tokens_last, a) };
                let v = Factor { tokens_last: !other.tokens_last, ..other };
                return (summed_last == keys_last).then_some((reader.node, v, reader.slot == 1, behind));
            }
            Op::Transpose { perm } if swaps_last(perm) => keys_last = !keys_last,
            Op::Conv { .. } if behind.is_none() && reader.slot == 0 => behind = Some(mix(graph, reader.node)?),
            _ => return None,
        }
        value = reader.node.into();
    }
    None
}

/// Whether a permutation swaps the last two axes and nothing else.
fn swaps_last(perm: &[usize]) -> bool {
    let n = perm.len();
    n >= 2 && perm[..n - 2].is_sorted() && perm[n - 2..] == [n - 1, n - 2]
}

/// A 1x1 convolution over heads, of scores `[B,H,…]`.
fn mix(graph: &Graph, id: NodeId) -> Option<Mix> {
    let linear = Linear::of(graph, id)?;
    let plain = linear.op == Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
    let dims = graph.shape(linear.w).as_fixed()?;
    (plain && dims[0] == dims[1] && dims[2..] == [1, 1]).then_some(Mix { w: linear.w, b: linear.b })
}

/// A walk from the softmax down to the scores.
struct Below<'a> {
    graph: &'a Graph,
    uses: &'a Uses,
    value: Value,
    scale: f64,
    shifts: Vec<Shift>,
    mix: Option<Mix>,
}

impl Below<'_> {
    /// One node down.
    fn step(&mut self) -> Option<()> {
        let (graph, node) = (self.graph, self.graph.producer(self.value));
        if !self.uses.once(self.value) {
            return None;
        }
        if let Some((x, factor)) = scaled(graph, self.value) {
            (self.value, self.scale) = (x, self.scale * factor);
            // What is scaled behind the mix is not scaled before it.
            return Some(());
        }
        let (x, constant, times) = match (&node.op, &node.inputs[..]) {
            // Scores of windows, seen by image and window, have a mask for each window.
            (Op::Reshape { .. }, &[x]) if self.mix.is_none() => {
                self.value = x;
                return Some(());
            }
            (Op::Binary(BinaryKind::Add), &[a, b]) if graph.is_constant(b) => (a, b, 1.0),
            (Op::Binary(BinaryKind::Add), &[a, b]) if graph.is_constant(a) => (b, a, 1.0),
            (Op::Binary(BinaryKind::Sub), &[a, b]) if graph.is_constant(b) => (a, b, -1.0),
            (Op::Conv { .. }, &[x, ..]) if self.mix.is_none() && self.shifts.is_empty() && self.scale == 1.0 => {
                self.mix = Some(mix(graph, self.value.node)?);
                self.value = x;
                return Some(());
            }
            _ => return None,
        };
        if graph.ty(x) != graph.ty(self.value) {
            return None;
        }
        let seen = graph.shape(self.value).clone();
        self.shifts.push(Shift { constant, times: times * self.scale, seen });
        self.value = x;
        Some(())
    }
}
