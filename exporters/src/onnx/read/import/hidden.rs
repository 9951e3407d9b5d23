//! Masks in front of a softmax: numbers beyond what half precision holds hide a score as well as the largest half does.

use super::cx::LARGE;
use super::weights::FileWeights;
use std::collections::BTreeSet;
use vitc_ir::{BinaryKind, Built, Class, Copier, Graph, NodeId, Op, Real, StoredType, Value, Weights};

/// Constants that are added to the scores of a softmax, kept within half precision where a number that they are made of is beyond it; how many there are.
///
/// # Errors
/// If the graph does not take a clip, which every float does.
pub(super) fn bound(graph: &Graph, weights: &FileWeights) -> Built<(Graph, usize)> {
    let scores = graph.run_time_nodes().filter(|(_, n)| matches!(n.op, Op::Softmax { .. })).map(|(_, n)| n.inputs[0]);
    let mut masks: BTreeSet<(NodeId, usize)> = BTreeSet::new();
    for value in scores {
        masks.extend(added(graph, value).into_iter().filter(|&(sum, slot)| {
            let constant = graph.node(sum).inputs[slot];
            is_float(graph, constant) && is_beyond(graph, weights, constant)
        }));
    }
    if masks.is_empty() {
        return Ok((graph.clone(), 0));
    }
    let mut copy = Copier::new(graph, graph.stage);
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

/// Sums between a value and the product that it comes from, with the operand that is constant.
fn added(graph: &Graph, value: Value) -> Vec<(NodeId, usize)> {
    let (mut found, mut open) = (Vec::new(), vec![value]);
    while let Some(value) = open.pop() {
        let node = graph.producer(value);
        if graph.is_constant(value) || found.len() > 8 {
            continue;
        }
        match (&node.op, &node.inputs[..]) {
            (Op::Binary(BinaryKind::Add), &[a, b]) => {
                for (slot, operand) in [a, b].into_iter().enumerate() {
                    match graph.is_constant(operand) {
                        true => found.push((value.node, slot)),
                        false => open.push(operand),
                    }
                }
            }
            (op, &[x]) if op.facts().class == Class::Movement => open.push(x),
            _ => {}
        }
    }
    found
}

fn is_float(graph: &Graph, value: Value) -> bool {
    graph.ty(value).dtype == vitc_ir::DType::F32
}

/// Whether a number that a constant is made of is beyond half precision.
fn is_beyond(graph: &Graph, weights: &FileWeights, constant: Value) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![constant.node]);
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = graph.node(id);
        let large = match &node.op {
            Op::Literal { values } => values.iter().any(|x| x.0.abs() > LARGE),
            Op::Generate(vitc_ir::Generator::Fill { value }) => value.0.abs() > LARGE,
            Op::Weight { key } => holds_large(weights, key, node.types[0].shape.elements()),
            _ => false,
        };
        if large {
            return true;
        }
        open.extend(node.inputs.iter().map(|v| v.node));
    }
    false
}

fn holds_large(weights: &FileWeights, key: &str, elements: usize) -> bool {
    let Ok(stored) = weights.weight(key, elements) else { return false };
    stored.dtype == StoredType::F32
        && stored
            .bytes
            .chunks_exact(4)
            .filter_map(|b| b.try_into().ok())
            .any(|b| f64::from(f32::from_le_bytes(b).abs()) > LARGE)
}
