//! Fold BatchNorms into the linear nodes beside them.
//!
//! ```text
//! Given    y = batch_norm(W·x + b; γ, β, μ, σ²)          Result   y = (s∘W)·x + (b∘s + t)
//! Given    y = W·batch_norm(x; γ, β, μ, σ²) + b          Result   y = (W·diag(s))·x + (b + W·t)
//! Given    y = mean(batch_norm(x; γ, β, μ, σ²))          Result   y = batch_norm(mean(x); γ, β, μ, σ²)
//! with     s = γ/√(σ² + ε),  t = β − μ∘s
//! ```
//!
//! Exact    The first always, if nothing else reads the linear node. The second where no output reads padding: a padded convolution would see t
//!          at the border where it must see 0. It is applied when it removes the BatchNorm, so every reader must take it. The
//!          third because a mean over positions commutes with an affine map per channel. Through it the last BatchNorm reaches the classifier.

use crate::algebra::{Linear, batch_norm_affine};
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Copier, Graph, NodeId, Op, Value, op::ReduceKind};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("fold_batch_norm", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    // Every reader of the value takes a per-channel affine into its weights.
    let absorbed = |v: Value| !uses.is_result(v) && uses.readers(v).iter().all(|r| absorbs(graph, r.node, v));
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        match &node.op {
            Op::BatchNorm { eps } => {
                let inputs = copy.inputs(id)?;
                let producer = Linear::of(&copy.new, inputs[0].node);
                if let Some(linear) = producer.filter(|_| uses.once(node.inputs[0])) {
                    let parameters = [inputs[1], inputs[2], inputs[3], inputs[4]];
                    let (s, t) = batch_norm_affine(&mut copy.new, &node.path, *eps, parameters)?;
                    let path = copy.new.release_path(inputs[0].node);
                    let linear = Linear { path, ..linear };
                    let y = linear.scaled(&mut copy.new, s)?.shifted(&mut copy.new, t)?.emit(&mut copy.new)?;
                    copy.set(id.into(), y);
                    count += 1;
                    continue;
                }
            }
            Op::Reduce { kind: ReduceKind::Mean, axes, .. } if !axes.contains(&1) && uses.once(node.inputs[0]) => {
                let norm = copy.new.producer(copy.get(node.inputs[0])?).clone();
                if matches!(norm.op, Op::BatchNorm { .. }) && absorbed(id.into()) {
                    let path = copy.new.release_path(copy.get(node.inputs[0])?.node);
                    let mean = copy.new.push(node.op.clone(), &norm.inputs[..1], &node.path)?;
                    let mut inputs = norm.inputs.to_vec();
                    inputs[0] = mean.into();
                    let y = copy.new.push(norm.op.clone(), &inputs, &path)?;
                    copy.set(id.into(), y.into());
                    count += 1;
                    continue;
                }
            }
            Op::Conv { .. } | Op::Linear if absorbed(node.inputs[0]) => {
                let inputs = copy.inputs(id)?;
                let norm = copy.new.producer(inputs[0]).clone();
                if let (Op::BatchNorm { eps }, true) = (&norm.op, absorbs(graph, id, node.inputs[0])) {
                    let x = norm.inputs[0];
                    let parameters = [norm.inputs[1], norm.inputs[2], norm.inputs[3], norm.inputs[4]];
                    let (s, t) = batch_norm_affine(&mut copy.new, &norm.path, *eps, parameters)?;
                    let (w, b) = (inputs[1], inputs.get(2).copied());
                    let linear = Linear { op: node.op.clone(), x, w, b, path: node.path.clone() };
                    let response = linear.response(&mut copy.new, t)?;
                    let linear = linear.with_scaled_inputs(&mut copy.new, s)?.shifted(&mut copy.new, response)?;
                    let y = linear.emit(&mut copy.new)?;
                    copy.set(id.into(), y);
                    count += 1;
                    continue;
                }
            }
            _ => {}
        }
        copy.node(id)?;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// Whether reader `id` can take a per-channel (axis 1) affine of its operand `value` into its weights.
fn absorbs(graph: &Graph, id: NodeId, value: Value) -> bool {
    let node = graph.node(id);
    let constant_weights =
        node.inputs.first() == Some(&value) && node.inputs[1..].iter().all(|&v| graph.is_constant(v));
    match &node.op {
        Op::Conv { pad, .. } => constant_weights && *pad == [0; 4],
        Op::Linear => constant_weights && graph.shape(value).rank() == 2,
        _ => false,
    }
}
