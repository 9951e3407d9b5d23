//! Layers on the scores of an attention: they mix heads, and belong to the attention.
//!
//! Between such a layer, the softmax and a product of two values stand nothing but layers, sums, factors and moves. A classifier in front of a softmax has no such
//! product on its way.

use std::collections::HashSet;
use vitc_ir::facts::Class;
use vitc_ir::{BinaryKind, Graph, Node, NodeId, Op, Uses, Value};

/// The layers that mix heads.
pub(super) fn mixes_of_heads(graph: &Graph) -> HashSet<NodeId> {
    let uses = graph.uses();
    let softmaxes = graph.run_time_nodes().filter(|(_, n)| matches!(n.op, Op::Softmax { .. }));
    softmaxes
        .flat_map(|(id, node)| [mixes_before(graph, &uses, node), mixes_behind(graph, &uses, id)])
        .flatten()
        .collect()
}

/// What stands between a product and a softmax behind it; nothing where there is no product.
fn mixes_before(graph: &Graph, uses: &Uses, softmax: &Node) -> Vec<NodeId> {
    let (mut found, mut value) = (Vec::new(), softmax.inputs[0]);
    while uses.count(value) == 1 {
        let node = graph.producer(value);
        if is_product(graph, node) {
            return found;
        }
        let Some(next) = carried(graph, node) else { break };
        found.extend(mixes(graph, node).then_some(value.node));
        value = next;
    }
    Vec::new()
}

/// What stands between a softmax and a product behind it; nothing where there is no product.
fn mixes_behind(graph: &Graph, uses: &Uses, softmax: NodeId) -> Vec<NodeId> {
    let (mut found, mut value) = (Vec::new(), Value::from(softmax));
    while let [reader] = uses.readers(value) {
        let node = graph.node(reader.node);
        if is_product(graph, node) {
            return found;
        }
        if carried(graph, node).is_none() || node.types.len() != 1 {
            break;
        }
        found.extend(mixes(graph, node).then_some(reader.node));
        value = reader.node.into();
    }
    Vec::new()
}

/// The one run-time operand of a layer, a move, or a sum or product with constants.
fn carried(graph: &Graph, node: &Node) -> Option<Value> {
    let near = match node.op.facts().class {
        Class::Contraction | Class::Movement => true,
        Class::Elementwise => matches!(node.op, Op::Sum | Op::Binary(BinaryKind::Add | BinaryKind::Mul)),
        _ => false,
    };
    match &run_time_operands(graph, node)[..] {
        &[value] if near => Some(value),
        _ => None,
    }
}

fn run_time_operands(graph: &Graph, node: &Node) -> Vec<Value> {
    node.inputs.iter().copied().filter(|&v| !graph.is_stored(v)).collect()
}

/// A product of two values.
fn is_product(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::MatMul { .. }) && run_time_operands(graph, node).len() == 2
}

/// A layer.
fn mixes(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Conv { .. } | Op::Linear => true,
        Op::MatMul { .. } => !is_product(graph, node),
        _ => false,
    }
}
