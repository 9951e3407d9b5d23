//! Passes whose result must stay in the range of the weights: lowered, looked at, and lowered again without them where it does not.
//!
//! A pass never reads values, so this decision is made here, on the constants that the evaluator computes. One pass asks for it: biases in the null
//! direction of LayerNorm move every row of a weight matrix by a number, which is exact in real arithmetic but costs digits where that number
//! is larger than the weights themselves.

use vitc_exporters::ExportError;
use vitc_ir::eval::{self, StreamError};
use vitc_ir::op::ReduceKind;
use vitc_ir::{Graph, Op, Target, UnaryKind, Value, Weights};
use vitc_passes::{LowerOptions, PassReport};

/// Largest shift of a layer's rows, as a fraction of its largest weight: at 1 a sum of products loses at most one bit.
const ROW_SHIFT: f64 = 1.0;

/// A lowered graph, what each pass did, and what the user should know.
pub(super) struct Gated {
    pub(super) graph: Graph,
    pub(super) passes: Vec<PassReport>,
    pub(super) notice: Option<String>,
}

/// Lower, within the range of the weights.
///
/// # Errors
/// If a weight is missing or not finite.
pub(super) fn lower(
    deploy: &Graph,
    target: &Target,
    options: &LowerOptions,
    weights: &dyn Weights,
) -> Result<Gated, ExportError> {
    let (graph, mut passes) = vitc_passes::lower(deploy, target, options);
    let Some((path, share)) = largest_shift(&graph, weights)? else {
        return Ok(Gated { graph, passes, notice: None });
    };
    if share > ROW_SHIFT {
        let options = LowerOptions { null_direction: false, ..options.clone() };
        let (graph, passes) = vitc_passes::lower(deploy, target, &options);
        let notice = format!(
            "biases behind LayerNorm stay operators of their own: in the null direction they would move the rows of {path} by {share:.1} times \
             its largest weight"
        );
        return Ok(Gated { graph, passes, notice: Some(notice) });
    }
    if let Some(report) = passes.iter_mut().find(|p| p.pass == "null_direction") {
        report.notes.push(format!(
            "rows move by up to {share:.2} of the layer's largest weight ({path}); the bound is {ROW_SHIFT}"
        ));
    }
    Ok(Gated { graph, passes, notice: None })
}

/// The layer whose rows move most, and by how much of its largest weight.
fn largest_shift(graph: &Graph, weights: &dyn Weights) -> Result<Option<(String, f64)>, ExportError> {
    let shifts = vitc_passes::row_shifts(graph);
    // The largest weight of each row, so that no matrix is written out for this.
    let mut looked = graph.clone();
    let mut push = |op: Op, x: Value| looked.push(op, &[x], "range").map(Value::from);
    let mut values = Vec::new();
    for shift in &shifts {
        let row = Op::Reduce { kind: ReduceKind::Max, axes: vec![1], keep: true };
        let rows = push(Op::Unary(UnaryKind::Abs), shift.rows).and_then(|rows| push(row, rows));
        values.extend([shift.shift, rows.unwrap_or_else(|e| panic!("rows are a matrix: {e}"))]);
    }
    let mut ignore = |_: usize, _: &[u8]| Ok::<(), std::convert::Infallible>(());
    let report = eval::stream(&looked, weights, &values, &mut ignore).map_err(|e| match e {
        StreamError::Eval(e) => ExportError::Constant(e),
        StreamError::Sink(never) => match never {},
    })?;
    let share = |pair: &[eval::ConstantStats]| match pair[1].max_before {
        0.0 if pair[0].max_before == 0.0 => 0.0,
        largest => pair[0].max_before / largest,
    };
    let shares = shifts.into_iter().map(|s| s.path).zip(report.constants.chunks(2).map(share));
    Ok(shares.max_by(|a, b| a.1.total_cmp(&b.1)))
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
        let (family, variant) = arch::find("fastervit-0-any-res").expect("is a model");
        let options = BuildOptions { resolution: [64; 2], ..BuildOptions::new(variant) };
        let paper = (family.build)(&options).expect("builds");
        let (deploy, _) = vitc_passes::deploy(&paper);
        let options = LowerOptions::new(DType::F32, DType::F32);
        for target in [Target::onnx(20), Target::tensorrt(17)] {
            let gated = |factor: f32| {
                let weights = Hostile { weights: SeededWeights::new(&paper, 0), factor };
                lower(&deploy, &target, &options, &weights).expect("lowers")
            };
            let count =
                |g: &Gated| g.passes.iter().filter(|p| p.pass == "null_direction").map(|p| p.count).sum::<usize>();
            let kept = gated(1.0);
            assert!(count(&kept) > 0 && kept.notice.is_none(), "{}", target.name);
            assert_eq!(vitc_passes::row_shifts(&kept.graph).len(), count(&kept));
            assert!(kept.passes.iter().any(|p| p.notes.iter().any(|n| n.starts_with("rows move by up to 0."))));
            let refused = gated(1e4);
            assert_eq!(count(&refused), 0, "{}", target.name);
            let notice = refused.notice.expect("the user is told");
            assert!(notice.contains("levels.3.blocks.1.attn.qkv"), "{notice}");
        }
    }
}
