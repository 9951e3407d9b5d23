//! Rewrites whose result must stay in the range of the weights: lowered, looked at, and lowered again without those that do not.
//!
//! A pass never reads values, so this decision is made here, on the constants that the evaluator computes. One pass asks for it: biases in the null
//! direction of LayerNorm move every row of a weight matrix by a number, which is exact in real arithmetic but costs digits where that number
//! is larger than the weights themselves.

use super::computed::Computed;
use super::error::Error;
use std::collections::HashSet;
use vitc_exporters::ExportError;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::op::{ReduceKind, SliceAxis};
use vitc_ir::{Graph, Op, Target, UnaryKind, Value, Weights};
use vitc_passes::{Context, Decisions, LowerOptions, Note, Observer, PassReport, RowShift};

/// Largest shift of a layer's rows, as a fraction of its largest weight: at 1 a sum of products loses at most one bit.
const ROW_SHIFT: f64 = 1.0;

/// Rows of a layer that are looked at first.
const SAMPLE: usize = 64;

/// A lowered graph, what each pass did, and what the user should know.
pub(super) struct Gated {
    pub(super) graph: Graph,
    pub(super) passes: Vec<PassReport>,
    pub(super) notice: Option<String>,
    pub(super) computed: Computed,
}

/// Lower, within the range of the weights, observed.
///
/// # Errors
/// If a weight is missing, or a pass cannot rewrite the graph.
pub(super) fn lower(
    deploy: &Graph,
    target: &Target,
    options: &LowerOptions,
    weights: &dyn Weights,
    observer: &mut Observer<'_>,
) -> Result<Gated, Error> {
    let mut context = Context::new(target, options);
    let (mut graph, mut passes) = vitc_passes::lower_observed(deploy, &context, observer)?;
    let (layers, mut computed) = moved_layers(&graph, &passes, weights).map_err(ExportError::from)?;
    let (staying, mut moving): (Vec<Layer>, Vec<Layer>) = layers.into_iter().partition(|l| l.share > ROW_SHIFT);
    let mut notice = None;
    if let Some(worst) = furthest(&staying) {
        context.decisions = Decisions { biases_that_stay: staying.iter().map(|l| l.of.layer.clone()).collect() };
        (graph, passes) = vitc_passes::lower_observed(deploy, &context, observer)?;
        // A layer beside one that stays, behind the same norm, stays too.
        let (left, layers): (HashSet<&str>, HashSet<&str>) =
            shifts(&passes).map(|s| (s.shift.as_str(), s.layer.as_str())).unzip();
        computed.retain(|path, _| left.contains(path.as_str()));
        moving.retain(|l| layers.contains(l.of.layer.as_str()));
        let those = match staying.len() {
            1 => "the bias of a layer behind LayerNorm stays an operator of its own".into(),
            n => format!("the biases of {n} layers behind LayerNorm stay operators of their own"),
        };
        notice = Some(format!(
            "{those}: the null direction would move the rows of {} by {:.1} times its largest weight",
            worst.of.layer, worst.share
        ));
    }
    let report = passes.iter_mut().find(|p| p.pass == "null_direction");
    if let (Some(most), Some(report)) = (furthest(&moving), report) {
        let (layer, most) = (most.of.layer.clone(), most.share);
        report.notes.push(Note::RowsMoved { layer, most, bound: ROW_SHIFT });
    }
    Ok(Gated { graph, passes, notice, computed })
}

/// A layer whose rows were moved.
struct Layer {
    of: RowShift,
    /// The rows before.
    rows: Value,
    /// How far, at most.
    moved: f64,
    /// That as a fraction of the largest weight, or an upper bound of it within [`ROW_SHIFT`].
    share: f64,
}

fn furthest(layers: &[Layer]) -> Option<&Layer> {
    layers.iter().max_by(|a, b| a.share.total_cmp(&b.share))
}

/// What the passes say about rows that they moved.
fn shifts(passes: &[PassReport]) -> impl Iterator<Item = &RowShift> {
    passes.iter().flat_map(|p| &p.notes).filter_map(|note| match note {
        Note::RowShift(shift) => Some(shift),
        _ => None,
    })
}

/// The layers whose rows were moved, and by what.
fn moved_layers(
    graph: &Graph,
    passes: &[PassReport],
    weights: &dyn Weights,
) -> Result<(Vec<Layer>, Computed), EvalError> {
    let found = |of: &RowShift| -> Option<(RowShift, Value, Value)> {
        let [shift, rows] = [&of.shift, &of.rows].map(|path| graph.find(path).map(Value::from));
        Some((of.clone(), shift?, rows?))
    };
    let found: Vec<(RowShift, Value, Value)> = shifts(passes).filter_map(found).collect();
    let values: Vec<Value> = found.iter().map(|&(_, shift, _)| shift).collect();
    let (mut layers, mut computed) = (Vec::new(), Computed::new());
    for ((of, _, rows), shift) in found.into_iter().zip(eval::constants(graph, weights, &values)?) {
        computed.insert(of.shift.clone(), shift.clone());
        layers.push(Layer { of, rows, moved: largest(&shift), share: 0.0 });
    }
    // The largest weight of some rows is a lower bound, and mostly enough.
    measure(graph, weights, layers.iter_mut(), SAMPLE)?;
    measure(graph, weights, layers.iter_mut().filter(|l| l.share > ROW_SHIFT), usize::MAX)?;
    Ok((layers, computed))
}

/// How far the rows move as a fraction of the largest weight in a layer's first `rows` rows.
fn measure<'l>(
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
    let mut push = |op: Op, x: Value| -> Value {
        looked.push(op, &[x], "range").unwrap_or_else(|e| panic!("rows are a matrix: {e}")).into()
    };
    let mut largest_of_rows = |layer: &Layer| {
        let stop = graph.shape(layer.rows).dim(0).min(rows);
        let some = push(Op::Slice { cuts: vec![SliceAxis { axis: 0, start: 0, stop, step: 1 }] }, layer.rows);
        let magnitudes = push(Op::Unary(UnaryKind::Abs), some);
        push(Op::Reduce { kind: ReduceKind::Max, axes: vec![1], keep: false }, magnitudes)
    };
    let values: Vec<Value> = layers.iter().map(|l| largest_of_rows(l)).collect();
    for (layer, rows) in layers.into_iter().zip(eval::constants(&looked, weights, &values)?) {
        layer.share = if layer.moved == 0.0 { 0.0 } else { layer.moved / largest(&rows) };
    }
    Ok(())
}

/// The largest magnitude. What is not finite is found where it is written.
fn largest(elements: &[f64]) -> f64 {
    elements.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::seeded::SeededWeights;
    use crate::arch::{self, BuildOptions};
    use vitc_ir::{DType, Stored, WeightError};

    /// Seeded weights with the biases of one layer multiplied.
    struct Hostile {
        weights: SeededWeights,
        factor: f32,
    }

    impl Weights for Hostile {
        fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
            let stored = self.weights.weight(key, elements)?;
            if key != "levels.3.blocks.1.attn.qkv.bias" {
                return Ok(stored);
            }
            let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]) * self.factor;
            let bytes: Vec<u8> = stored.bytes.chunks_exact(4).flat_map(|b| number(b).to_le_bytes()).collect();
            Ok(Stored { dtype: stored.dtype, bytes: bytes.into() })
        }
    }

    #[test]
    fn a_bias_that_would_drown_the_weights_stays() {
        let backbone = arch::find("fastervit-0-any-res").expect("is a model");
        let options = BuildOptions { resolution: [64; 2], ..BuildOptions::new(backbone) };
        let paper = options.build().expect("builds").graph;
        let (deploy, _) = vitc_passes::deploy(&paper).expect("deploys");
        let options = LowerOptions::new(DType::F32, DType::F32);
        for target in [Target::onnx(20), Target::tensorrt(17)] {
            let gated = |factor: f32| {
                let weights = Hostile { weights: SeededWeights::new(&paper, 0), factor };
                lower(&deploy, &target, &options, &weights, &mut |_, _| ()).expect("lowers")
            };
            let count =
                |g: &Gated| g.passes.iter().filter(|p| p.pass == "null_direction").map(|p| p.count).sum::<usize>();
            let paths = |g: &Gated| -> Vec<String> {
                let there = |s: &&RowShift| g.graph.find(&s.shift).is_some() && g.graph.find(&s.rows).is_some();
                shifts(&g.passes).filter(there).map(|s| s.layer.clone()).collect()
            };
            let kept = gated(1.0);
            assert!(count(&kept) > 0 && kept.notice.is_none(), "{}", target.name());
            assert_eq!(paths(&kept).len(), count(&kept));
            assert!(
                kept.passes
                    .iter()
                    .any(|p| p.notes.iter().any(|n| n.to_string().starts_with("rows move by at most 0.")))
            );
            let refused = gated(1e4);
            let mut others = paths(&kept);
            others.retain(|path| path != "levels.3.blocks.1.attn.qkv");
            assert_eq!((paths(&refused), count(&refused)), (others.clone(), count(&kept) - 1), "{}", target.name());
            assert_eq!(refused.computed.len(), others.len());
            let notice = refused.notice.expect("the user is told");
            assert!(
                notice.contains("the bias of a layer") && notice.contains("levels.3.blocks.1.attn.qkv"),
                "{notice}"
            );
        }
    }
}
