//! Checkpoints whose BatchNorms were folded into the convolutions in front of them (timm's `fuse_conv_bn` and the like).
//!
//! Given    batch_norm(conv(x))     and a file that holds the convolution with a bias, and no norm behind any convolution
//! Result   conv(x) with the stored weight and bias
//!
//! It is all or nothing: a file that holds some of these norms lacks the others, and lacking is an error.

use crate::checkpoint::Shapes;
use std::collections::HashSet;
use vitc_ir::{Copier, Graph, NodeId, Op, Value};

/// The same graph for a checkpoint that folded its norms; `None` if this one did not.
pub fn folded(graph: &Graph, stored: &Shapes) -> Option<Graph> {
    let norms: Vec<(NodeId, NodeId)> = graph.nodes().filter_map(|(id, _)| Some((id, behind(graph, id)?))).collect();
    let holds = |value: Value| matches!(&graph.producer(value).op, Op::Weight { key } if stored.contains_key(key));
    let folded = |&(norm, conv): &(NodeId, NodeId)| {
        let absent = graph.node(norm).inputs[1..].iter().all(|&v| !holds(v));
        absent && bias(graph, conv).is_some_and(|key| stored.contains_key(&key))
    };
    if norms.is_empty() || !norms.iter().all(folded) {
        return None;
    }
    let gone: HashSet<NodeId> =
        norms.iter().flat_map(|(norm, _)| &graph.node(*norm).inputs[1..]).map(|v| v.node).collect();
    let mut copier = Copier::new(graph, graph.stage);
    for (id, _) in graph.nodes().filter(|(id, _)| !gone.contains(id)) {
        let Some((_, conv)) = norms.iter().find(|(norm, _)| *norm == id) else {
            copier.node(id).ok()?;
            continue;
        };
        let value = match graph.node(*conv).inputs.len() {
            3 => copier.get((*conv).into()).ok()?,
            _ => biased(graph, &mut copier, *conv)?,
        };
        copier.set(id.into(), value);
    }
    copier.finish().ok()
}

/// The convolution that a BatchNorm reads.
fn behind(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let conv = node.inputs.first()?.node;
    (matches!(node.op, Op::BatchNorm { .. }) && matches!(graph.node(conv).op, Op::Conv { .. })).then_some(conv)
}

/// The key that the convolution's bias has, or would have.
fn bias(graph: &Graph, conv: NodeId) -> Option<String> {
    let weight = graph.producer(*graph.node(conv).inputs.get(1)?);
    let Op::Weight { key } = &weight.op else { return None };
    Some(format!("{}.bias", key.strip_suffix(".weight")?))
}

/// The convolution with a bias beside its weight.
fn biased(graph: &Graph, copier: &mut Copier<'_>, conv: NodeId) -> Option<Value> {
    let (key, node) = (bias(graph, conv)?, graph.node(conv));
    let inputs = copier.inputs(conv).ok()?;
    let width = graph.shape(node.inputs[1]).dim(0);
    let ty = vitc_ir::Type::f32(&[width]);
    let bias = copier.new.push_leaf(Op::Weight { key: key.clone() }, ty, &key).ok()?;
    copier.new.push(node.op.clone(), &[inputs[0], inputs[1], bias], &node.path).ok().map(Into::into)
}
