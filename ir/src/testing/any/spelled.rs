//! Attention as exporters spell it: packed or not, parts of one layer or of any value, heads cut in any order, a bias of any shape.

use super::Maker;
use crate::id::Value;
use crate::op::{BinaryKind, Op, SliceAxis};
use crate::ty::{DType, Dim, Shape};

/// `softmax(s·q·kᵀ + bias)·v`, most often over tokens of one layer, and merged to tokens again.
pub(super) fn attention(maker: &mut Maker) -> Option<Value> {
    let x = maker.tokens()?;
    let (sets, n) = (maker.graph.shape(x).0[0], maker.graph.shape(x).0[1]);
    let [h, d] = [maker.rng.range(1, 3), maker.rng.range(1, 3)];
    let packed = maker.layer(x, 3 * h * d)?;
    let by_head = maker.rng.chance(40);
    let dims =
        if by_head { vec![sets, n, h.into(), 3.into(), d.into()] } else { vec![sets, n, 3.into(), h.into(), d.into()] };
    let view = maker.push(Op::Reshape { shape: Shape(dims) }, &[packed])?;
    let mut parts = Vec::new();
    for at in 0..3 {
        // One in ten reads what another operand reads.
        let at = if maker.rng.chance(10) { 0 } else { at };
        parts.push(operand(maker, view, [if by_head { 3 } else { 2 }, at])?);
    }
    let [q, k, v] = parts[..] else { return None };
    let q = scaled(maker, q)?;
    let mut scores = maker.push(Op::MatMul { transpose_a: false, transpose_b: true }, &[q, k])?;
    if maker.rng.chance(50) {
        scores = scaled(maker, scores)?;
    }
    if maker.rng.chance(60) {
        let sizes: Vec<usize> = maker.graph.shape(scores).0.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let from = maker.rng.below(sizes.len());
        let dims: Vec<usize> = sizes[from..].iter().map(|&n| if maker.rng.chance(30) { 1 } else { n }).collect();
        let bias = maker.constant(&dims)?;
        let kind = maker.rng.pick(&[BinaryKind::Add, BinaryKind::Sub]);
        scores = maker.push(Op::Binary(kind), &[scores, bias])?;
    }
    let axis = if maker.rng.chance(90) { 3 } else { 2 };
    let weights = maker.push(Op::Softmax { axis }, &[scores])?;
    let y = maker.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[weights, v])?;
    let y = maker.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y])?;
    maker.push(Op::Reshape { shape: Shape(vec![sets, n, Dim::Fixed(h * d)]) }, &[y])
}

/// One of three parts of `[sets, n, …]` on an axis, as `[sets, h, n, d]`.
fn operand(maker: &mut Maker, view: Value, [axis, at]: [usize; 2]) -> Option<Value> {
    let cut = SliceAxis { axis, start: at, stop: at + 1, step: 1 };
    let part = maker.push(Op::Slice { cuts: vec![cut] }, &[view])?;
    let mut dims = maker.graph.shape(part).0.clone();
    dims.remove(axis);
    let part = maker.push(Op::Reshape { shape: Shape(dims) }, &[part])?;
    maker.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[part])
}

/// A value times a number or a constant, in one of two in three cases.
fn scaled(maker: &mut Maker, x: Value) -> Option<Value> {
    if maker.rng.chance(33) {
        return Some(x);
    }
    let kind = maker.rng.pick(&[BinaryKind::Mul, BinaryKind::Div]);
    let number = maker.rng.pick(&[0.5, 2.0, -1.5]);
    let constant =
        maker.graph.push_leaf(Op::literal(&[number]), crate::ty::Type::new(DType::F32, Shape::default()), "s");
    maker.push(Op::Binary(kind), &[x, constant.ok()?])
}
