//! Move the scale and shift of a norm over channels and positions into the convolutions that read it.
//!
//! ```text
//! Given    y = W·(γ∘norm(x) + β) + b       norm over C, H and W together, γ and β one element per channel
//! Result   y = (W·diag(γ))·norm(x) + (b + W·β)
//! ```
//!
//! Exact    without padding, if every reader takes them. Norms over one axis keep theirs: every runtime has them in the norm itself.

use crate::algebra::{Linear, as_vector};
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::{Built, Copier, Graph, NodeId, Op, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("fold_norm_affine", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let absorbs = |id: NodeId, v: Value| {
        Linear::of(graph, id)
            .is_some_and(|l| matches!(l.op, Op::Conv { .. }) && l.x == v && l.w != v && l.is_unpadded())
    };
    let mut copy = Copier::new(graph, graph.stage);
    // Norms without their affine: old norm → scale and shift as vectors of the new graph.
    let mut bare: HashMap<Value, [Value; 2]> = HashMap::new();
    for (id, node) in graph.nodes() {
        let v = Value::from(id);
        if let Op::LayerNorm { axes, .. } = &node.op
            && axes.len() > 1
            && axes[0] == 1
            && node.inputs.len() == 3
            && !uses.is_result(v)
            && !uses.readers(v).is_empty()
            && uses.readers(v).iter().all(|r| absorbs(r.node, v))
        {
            let inputs = copy.inputs(id)?;
            let shape = graph.shape(node.inputs[0]);
            let mut vector = |c: Value| -> Built<Option<Value>> {
                Ok(as_vector(&mut copy.new, c, shape, 1)?.filter(|&v| copy.new.shape(v).rank() == 1))
            };
            if let (Some(scale), Some(shift)) = (vector(inputs[1])?, vector(inputs[2])?) {
                let y = copy.new.push(node.op.clone(), &inputs[..1], &node.path)?;
                copy.set(v, y.into());
                bare.insert(v, [scale, shift]);
                continue;
            }
        }
        if let Some(&[scale, shift]) = node.inputs.first().and_then(|x| bare.get(x)) {
            let inputs = copy.inputs(id)?;
            let (x, w, b) = (inputs[0], inputs[1], inputs.get(2).copied());
            let linear = Linear { op: node.op.clone(), x, w, b, path: node.path.clone() };
            let response = linear.response(&mut copy.new, shift)?;
            let linear = linear.with_scaled_inputs(&mut copy.new, scale)?.shifted(&mut copy.new, response)?;
            let y = linear.emit(&mut copy.new)?;
            copy.set(v, y);
            continue;
        }
        copy.node(id)?;
    }
    Ok(Rewritten::new(copy.finish()?, bare.len()))
}
