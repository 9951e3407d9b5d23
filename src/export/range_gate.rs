//! Passes whose result must stay in the range of the weights: lowered, looked at, and lowered again without them where it does not.
//!
//! A pass never reads values, so this decision is made here, on the constants that the evaluator computes. One pass asks for it: biases in the null
//! direction of LayerNorm move every row of a weight matrix by a number, which is exact in real arithmetic but costs digits where that number
//! is larger than the weights themselves.

use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::op::{ReduceKind, SliceAxis};
use vitc_ir::{Graph, Op, Stored, Target, UnaryKind, Value, WeightError, Weights};
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

/// Constants of a graph by the path of their node: what was computed for a decision need not be computed again to be written.
pub type Computed = HashMap<String, Arc<Vec<f64>>>;

/// Weights with what is computed from them.
pub(super) struct WithComputed<'a> {
    pub(super) weights: &'a dyn Weights,
    pub(super) computed: &'a Computed,
}

impl Weights for WithComputed<'_> {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        self.weights.weight(key, elements)
    }

    fn computed(&self, path: &str) -> Option<&Arc<Vec<f64>>> {
        self.computed.get(path)
    }
}

/// Lower, within the range of the weights, before a witness.
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
    let (graph, mut passes) = vitc_passes::lower_before(deploy, target, options, witness);
    let mut computed = Computed::new();
    let Some((path, share)) = largest_shift(&graph, weights, &mut computed)? else {
        return Ok(Gated { graph, passes, notice: None, computed });
    };
    if share > ROW_SHIFT {
        let options = LowerOptions { null_direction: false, ..options.clone() };
        let (graph, passes) = vitc_passes::lower_before(deploy, target, &options, witness);
        let notice = format!(
            "biases behind LayerNorm stay operators of their own: in the null direction they would move the rows of {path} by {share:.1} times \
             its largest weight"
        );
        return Ok(Gated { graph, passes, notice: Some(notice), computed: Computed::new() });
    }
    if let Some(report) = passes.iter_mut().find(|p| p.pass == "null_direction") {
        report.notes.push(format!(
            "rows move by at most {share:.2} of the layer's largest weight ({path}); the bound is {ROW_SHIFT}"
        ));
    }
    Ok(Gated { graph, passes, notice: None, computed })
}

/// The layer whose rows move most, and by how much of its largest weight at most. The shifts go to `computed`.
fn largest_shift(
    graph: &Graph,
    weights: &dyn Weights,
    computed: &mut Computed,
) -> Result<Option<(String, f64)>, EvalError> {
    let mut layers = vitc_passes::row_shifts(graph);
    let values: Vec<Value> = layers.iter().map(|l| l.shift).collect();
    let shifts = eval::constants(graph, weights, &values)?;
    let mut moved: Vec<f64> = shifts.iter().map(|shift| largest(shift)).collect();
    computed.extend(values.into_iter().map(|v| graph.producer(v).path.clone()).zip(shifts));
    // The largest weight of some rows is a lower bound, and mostly enough.
    let mut shares = shares(graph, weights, &layers, &moved, SAMPLE)?;
    if shares.iter().any(|&share| share > ROW_SHIFT) {
        (layers, moved) =
            layers.into_iter().zip(moved).zip(shares).filter(|(_, s)| *s > ROW_SHIFT).map(|(l, _)| l).unzip();
        shares = self::shares(graph, weights, &layers, &moved, usize::MAX)?;
    }
    Ok(layers.into_iter().map(|l| l.path).zip(shares).max_by(|a, b| a.1.total_cmp(&b.1)))
}

/// How far the rows of each layer move, as a fraction of the largest weight in its first `rows` rows.
fn shares(
    graph: &Graph,
    weights: &dyn Weights,
    layers: &[RowShift],
    moved: &[f64],
    rows: usize,
) -> Result<Vec<f64>, EvalError> {
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
    let values: Vec<Value> = layers.iter().map(&mut largest_of_rows).collect();
    let share = |(&moved, rows): (&f64, Arc<Vec<f64>>)| if moved == 0.0 { 0.0 } else { moved / largest(&rows) };
    Ok(moved.iter().zip(eval::constants(&looked, weights, &values)?).map(share).collect())
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
    use vitc_ir::DType;

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
        let (family, variant) = arch::find("fastervit-0-any-res").expect("is a model");
        let options = BuildOptions { resolution: [64; 2], ..BuildOptions::new(variant) };
        let paper = (family.build)(&options).expect("builds");
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
            assert_eq!(count(&refused), 0, "{}", target.name);
            let notice = refused.notice.expect("the user is told");
            assert!(notice.contains("levels.3.blocks.1.attn.qkv"), "{notice}");
        }
    }
}
