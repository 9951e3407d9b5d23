//! Rewrites whose result must stay in the range of the weights: lowered, looked at, and lowered again without those that do not.
//!
//! A pass never reads values, so this decision is made here, on the constants that the evaluator computes. One pass asks for it: biases in the null
//! direction of LayerNorm move every row of a weight matrix by a number, which is exact in real arithmetic but costs digits where that number
//! is larger than the weights themselves.

use super::Computed;
use std::collections::HashSet;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::op::{ReduceKind, SliceAxis};
use vitc_ir::{Graph, Op, Target, UnaryKind, Value, Weights};
use vitc_passes::{LowerOptions, PassReport, RowShift, Witness};

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

/// Lower, within the range of the weights, with a witness.
///
/// # Errors
/// If a weight is missing.
pub(super) fn lower(
    deploy: &Graph,
    target: &Target,
    options: &LowerOptions,
    weights: &dyn Weights,
    witness: &mut Witness<'_>,
) -> Result<Gated, EvalError> {
    let (mut graph, mut passes) = vitc_passes::lower_witnessed(deploy, target, options, witness);
    let (layers, mut computed) = moved_layers(&graph, weights)?;
    let (staying, mut moving): (Vec<Layer>, Vec<Layer>) = layers.into_iter().partition(|l| l.share > ROW_SHIFT);
    let mut notice = None;
    if let Some(worst) = furthest(&staying) {
        let options =
            LowerOptions { biases_that_stay: staying.iter().map(|l| l.of.path.clone()).collect(), ..options.clone() };
        (graph, passes) = vitc_passes::lower_witnessed(deploy, target, &options, witness);
        // A layer beside one that stays, behind the same norm, stays too.
        let (left, layers): (HashSet<&str>, HashSet<String>) = shifts(&graph).map(|(path, of)| (path, of.path)).unzip();
        computed.retain(|path, _| left.contains(path.as_str()));
        moving.retain(|l| layers.contains(&l.of.path));
        let those = match staying.len() {
            1 => "the bias of a layer behind LayerNorm stays an operator of its own".into(),
            n => format!("the biases of {n} layers behind LayerNorm stay operators of their own"),
        };
        notice = Some(format!(
            "{those}: the null direction would move the rows of {} by {:.1} times its largest weight",
            worst.of.path, worst.share
        ));
    }
    let report = passes.iter_mut().find(|p| p.pass == "null_direction");
    if let (Some(most), Some(report)) = (furthest(&moving), report) {
        report.notes.push(format!(
            "rows move by at most {:.2} of the layer's largest weight ({}); the bound is {ROW_SHIFT}",
            most.share, most.of.path
        ));
    }
    Ok(Gated { graph, passes, notice, computed })
}

/// A layer whose rows were moved.
struct Layer {
    of: RowShift,
    /// How far, at most.
    moved: f64,
    /// That as a fraction of the largest weight, or an upper bound of it within [`ROW_SHIFT`].
    share: f64,
}

fn furthest(layers: &[Layer]) -> Option<&Layer> {
    layers.iter().max_by(|a, b| a.share.total_cmp(&b.share))
}

/// The constants that rows move by, with the paths of their nodes.
fn shifts(graph: &Graph) -> impl Iterator<Item = (&str, RowShift)> {
    vitc_passes::row_shifts(graph).into_iter().map(|layer| (graph.producer(layer.shift).path.as_str(), layer))
}

/// The layers whose rows were moved, and by what.
fn moved_layers(graph: &Graph, weights: &dyn Weights) -> Result<(Vec<Layer>, Computed), EvalError> {
    let values: Vec<Value> = shifts(graph).map(|(_, layer)| layer.shift).collect();
    let (mut layers, mut computed) = (Vec::new(), Computed::new());
    for ((path, of), shift) in shifts(graph).zip(eval::constants(graph, weights, &values)?) {
        layers.push(Layer { of, moved: largest(&shift), share: 0.0 });
        computed.insert(path.to_string(), shift);
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
    let mut largest_of_rows = |layer: &RowShift| {
        let stop = graph.shape(layer.shift).elements().min(rows);
        let some = push(Op::Slice { cuts: vec![SliceAxis { axis: 0, start: 0, stop, step: 1 }] }, layer.rows);
        let magnitudes = push(Op::Unary(UnaryKind::Abs), some);
        push(Op::Reduce { kind: ReduceKind::Max, axes: vec![1], keep: false }, magnitudes)
    };
    let values: Vec<Value> = layers.iter().map(|l| largest_of_rows(&l.of)).collect();
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
        let (deploy, _) = vitc_passes::deploy(&paper);
        let options = LowerOptions::new(DType::F32, DType::F32);
        for target in [Target::onnx(20), Target::tensorrt(17)] {
            let gated = |factor: f32| {
                let weights = Hostile { weights: SeededWeights::new(&paper, 0), factor };
                lower(&deploy, &target, &options, &weights, &mut |_, _| ()).expect("lowers")
            };
            let count =
                |g: &Gated| g.passes.iter().filter(|p| p.pass == "null_direction").map(|p| p.count).sum::<usize>();
            let kept = gated(1.0);
            assert!(count(&kept) > 0 && kept.notice.is_none(), "{}", target.name);
            assert_eq!(vitc_passes::row_shifts(&kept.graph).len(), count(&kept));
            assert!(kept.passes.iter().any(|p| p.notes.iter().any(|n| n.starts_with("rows move by at most 0."))));
            let refused = gated(1e4);
            let paths =
                |g: &Gated| -> Vec<String> { vitc_passes::row_shifts(&g.graph).into_iter().map(|l| l.path).collect() };
            let mut others = paths(&kept);
            others.retain(|path| path != "levels.3.blocks.1.attn.qkv");
            assert_eq!((paths(&refused), count(&refused)), (others.clone(), count(&kept) - 1), "{}", target.name);
            assert_eq!(refused.computed.len(), others.len());
            let notice = refused.notice.expect("the user is told");
            assert!(
                notice.contains("the bias of a layer") && notice.contains("levels.3.blocks.1.attn.qkv"),
                "{notice}"
            );
        }
    }
}
