//! Rows of weights must stay in the range of the weights.
//!
//! Biases in the null direction of LayerNorm move every row of a weight matrix by a number, which is exact in real arithmetic but costs digits where
//! that number is larger than the weights themselves. The pass says what it moved; how far is seen here, on the constants that the evaluator computes.

use std::sync::Arc;
use vitc_ir::eval::{self, Computed, EvalError};
use vitc_ir::op::{ReduceKind, SliceAxis};
use vitc_ir::{Graph, Op, UnaryKind, Value, Weights};
use vitc_passes::{Note, PassReport, RowShift};

/// Largest shift of a layer's rows, as a fraction of its largest weight: at 1 a sum of products loses at most one bit.
pub(super) const BOUND: f64 = 1.0;

/// Rows of a layer that are looked at first.
const SAMPLE: usize = 64;

/// A layer whose rows were moved.
pub(super) struct Layer {
    /// Its path.
    pub(super) path: String,
    /// By what.
    shift: Arc<Vec<f64>>,
    /// The rows before.
    rows: Value,
    /// How far, at most.
    moved: f64,
    /// That as a fraction of the largest weight, or an upper bound of it within [`BOUND`].
    pub(super) share: f64,
}

/// The layer whose rows moved furthest.
pub(super) fn furthest(layers: &[Layer]) -> Option<&Layer> {
    layers.iter().max_by(|a, b| a.share.total_cmp(&b.share))
}

/// What the passes say about rows that they moved.
pub(super) fn shifts(passes: &[PassReport]) -> impl Iterator<Item = &RowShift> {
    passes.iter().flat_map(|p| &p.notes).filter_map(|note| match note {
        Note::RowShift(shift) => Some(shift),
        _ => None,
    })
}

/// The layers whose rows were moved, and how far.
///
/// # Errors
/// If a weight is missing.
pub(super) fn measure(graph: &Graph, passes: &[PassReport], weights: &dyn Weights) -> Result<Vec<Layer>, EvalError> {
    let find = |path: &str| graph.find(path).map(Value::from);
    let found: Vec<(&RowShift, Value, Value)> =
        shifts(passes).filter_map(|of| Some((of, find(&of.shift)?, find(&of.rows)?))).collect();
    let values: Vec<Value> = found.iter().map(|&(_, shift, _)| shift).collect();
    let layer = |((of, _, rows), shift): ((&RowShift, Value, Value), Arc<Vec<f64>>)| {
        let moved = largest(&shift);
        Layer { path: of.layer.clone(), shift, rows, moved, share: 0.0 }
    };
    let constants = eval::constants(graph, weights, &values)?;
    let mut layers: Vec<Layer> = found.into_iter().zip(constants).map(layer).collect();
    // The largest weight of some rows is a lower bound, and mostly enough.
    compare(graph, weights, layers.iter_mut(), SAMPLE)?;
    compare(graph, weights, layers.iter_mut().filter(|l| l.share > BOUND), usize::MAX)?;
    Ok(layers)
}

/// How far the rows move as a fraction of the largest weight in a layer's first `rows` rows.
fn compare<'l>(
    graph: &Graph,
    weights: &dyn Weights,
    layers: impl Iterator<Item = &'l mut Layer>,
    rows: usize,
) -> Result<(), EvalError> {
    let layers: Vec<&mut Layer> = layers.collect();
    if layers.is_empty() {
        return Ok(());
    }
    let mut looked = graph.clone();
    let mut values = Vec::new();
    for layer in &layers {
        let mut push = |op: Op, x: Value| {
            let failed = |e: vitc_ir::ShapeError| EvalError::Operator { path: layer.path.clone(), what: e.to_string() };
            looked.push(op, &[x], "range").map(Value::from).map_err(failed)
        };
        let stop = graph.shape(layer.rows).0[0].at(1).min(rows);
        let some = push(Op::Slice { cuts: vec![SliceAxis { axis: 0, start: 0, stop, step: 1 }] }, layer.rows)?;
        let magnitudes = push(Op::Unary(UnaryKind::Abs), some)?;
        values.push(push(Op::Reduce { kind: ReduceKind::Max, axes: vec![1], keep: false }, magnitudes)?);
    }
    for (layer, rows) in layers.into_iter().zip(eval::constants(&looked, weights, &values)?) {
        layer.share = if layer.moved == 0.0 { 0.0 } else { layer.moved / largest(&rows) };
    }
    Ok(())
}

/// What was computed to measure layers, as far as a graph that these passes made moves the same rows.
pub(super) fn computed(graph: &Graph, passes: &[PassReport], layers: &[Layer]) -> Computed {
    let known = |of: &RowShift| {
        let layer = layers.iter().find(|l| l.path == of.layer)?;
        Some((Value::from(graph.find(&of.shift)?), Arc::clone(&layer.shift)))
    };
    shifts(passes).filter_map(known).collect()
}

/// The largest magnitude. What is not finite is found where it is written.
fn largest(elements: &[f64]) -> f64 {
    elements.iter().fold(0.0, |largest, x| x.abs().max(largest))
}
