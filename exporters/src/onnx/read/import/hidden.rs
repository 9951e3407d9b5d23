//! Masks in front of a softmax: numbers beyond what half precision holds hide a score as well as the largest half does.

use super::cx::LARGE;
use super::places::LIMIT;
use super::weights::FileWeights;
use std::collections::BTreeSet;
use vitc_ir::{BinaryKind, Built, Class, Copier, DType, Graph, NodeId, Op, Real, Value, eval};

/// Constants that are added to the scores of a softmax, kept within half precision where they are beyond it; how many there are. One that hides a whole
/// row stays: what that gives depends on its numbers.
///
/// # Errors
/// If the graph does not take a clip, which every float does.
pub(super) fn bound(graph: Graph, weights: &FileWeights) -> Built<(Graph, usize)> {
    let scores = graph.run_time_nodes().filter(|(_, n)| matches!(n.op, Op::Softmax { .. })).map(|(_, n)| n.inputs[0]);
    let added = scores.flat_map(|value| added(&graph, value));
    let masks: BTreeSet<(NodeId, usize)> = added.filter(|&(sum, slot)| hides(&graph, weights, sum, slot)).collect();
    if masks.is_empty() {
        return Ok((graph, 0));
    }
    let mut copy = Copier::new(&graph, graph.stage);
    for (id, node) in graph.nodes() {
        let slot = (0..node.inputs.len()).find(|&slot| masks.contains(&(id, slot)));
        let Some(slot) = slot else {
            copy.node(id)?;
            continue;
        };
        let mut inputs = copy.inputs(id)?;
        let range = Op::Clip { lo: Real(-LARGE), hi: Real(LARGE) };
        inputs[slot] = copy.new.push(range, &[inputs[slot]], &format!("{}.mask", node.path))?.into();
        let sum = copy.new.push(node.op.clone(), &inputs, &node.path)?;
        copy.set(id.into(), sum.into());
    }
    Ok((copy.finish()?, masks.len()))
}

/// Sums of one run-time value on the way to another, with the operand that is constant.
fn added(graph: &Graph, value: Value) -> Vec<(NodeId, usize)> {
    let (mut found, mut at) = (Vec::new(), value);
    loop {
        let node = graph.producer(at);
        at = match (&node.op, &node.inputs[..]) {
            (Op::Binary(BinaryKind::Add), &[x, c]) if graph.is_constant(c) => {
                found.push((at.node, 1));
                x
            }
            (Op::Binary(BinaryKind::Add), &[c, x]) if graph.is_constant(c) => {
                found.push((at.node, 0));
                x
            }
            (op, &[x]) if op.facts().class == Class::Movement && !graph.is_constant(x) => x,
            _ => return found,
        };
    }
}

/// Whether a constant operand is a mask beyond half precision that leaves something to be seen in each of its rows.
fn hides(graph: &Graph, weights: &FileWeights, sum: NodeId, slot: usize) -> bool {
    let constant = graph.node(sum).inputs[slot];
    let ty = graph.ty(constant);
    let row = ty.shape.0.last().and_then(|d| d.fixed()).filter(|&n| n > 1);
    let (Some(row), true) = (row, ty.dtype == DType::F32 && ty.shape.elements() <= LIMIT) else { return false };
    let Ok(numbers) = eval::constant(graph, weights, constant) else { return false };
    let numbers: Vec<f64> = numbers.into_iter().collect();
    let within = |x: &f64| x.abs() <= LARGE;
    !numbers.iter().all(within) && numbers.chunks(row).all(|row| row.iter().any(within))
}
