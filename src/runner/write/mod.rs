//! Writing a graph as an ONNX model for tract: the reference of a check, and packages that were read back.
//!
//! Invariants: independent of `vitc-passes` and of the exporters, so that a mistake there cannot hide here; operators are spelled from their formulas in
//! [`vitc_ir::Op`], where it can be with other operators than the exporter takes. Nothing is folded. The last operation of a spelling gives the
//! node's value its name; parts have [`PART`] in theirs. Where a node has f16 values its parts are computed in f32 and the result is rounded once, as the node
//! itself would. The symbolic batch becomes a number. High-level operators were expanded before.

mod formulas;
mod ops;
mod parts;
mod sample;
mod step;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use parts::PART;

use super::cut::Piece;
use parts::Parts;
use std::collections::HashSet;
use step::Step;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use vitc_ir::{Graph, Node, NodeId, Op, Output, Value, Weights};
use writer::Writer;

/// The model that computes `graph`, or a piece of it, at a batch of `batch`.
///
/// # Errors
/// If the graph holds a high-level operator, or a constant cannot be computed.
pub(super) fn write(
    graph: &Graph,
    weights: &dyn Weights,
    batch: usize,
    piece: Option<&Piece>,
) -> Result<pb::ModelProto, String> {
    let named = |name: &str| graph.find(name).map(Value::from).ok_or_else(|| format!("there is no value {name}"));
    let start = piece.and_then(|p| p.from.as_ref()).map(|(name, _)| named(name)).transpose()?;
    let end = piece.and_then(|p| p.to.as_ref());
    let end = end.map(|name| Ok::<_, String>(Output { name: name.clone(), value: named(name)? })).transpose()?;
    let results = end.as_ref().map_or(&graph.outputs[..], std::slice::from_ref);

    let mut writer = Writer::new(graph, batch);
    let wanted = wanted(graph, start, results);
    for (id, node) in graph.nodes() {
        if start == Some(id.into()) || start.is_none() && node.op == Op::Input {
            writer.input(id.into());
        }
    }
    writer.results(results);
    for (id, node) in graph.run_time_nodes().filter(|(id, _)| wanted.contains(id) && start != Some((*id).into())) {
        spell(&mut writer, id, node).map_err(|what| format!("{} ({}): {what}", node.path, node.op.word()))?;
    }
    writer.copies(results);
    writer.finish(weights)
}

/// The nodes that results depend on, back to where the model starts.
fn wanted(graph: &Graph, start: Option<Value>, results: &[Output]) -> HashSet<NodeId> {
    let mut wanted = HashSet::new();
    let mut stack: Vec<Value> = results.iter().map(|o| o.value).collect();
    while let Some(v) = stack.pop() {
        if Some(v) != start && !graph.is_constant(v) && graph.op(v) != &Op::Input && wanted.insert(v.node) {
            stack.extend(graph.producer(v).inputs.iter());
        }
    }
    wanted
}

/// Spell one node, result by result.
fn spell(writer: &mut Writer<'_>, id: NodeId, node: &Node) -> Result<(), String> {
    for index in 0..node.types.len() as u32 {
        let value = Value { node: id, index };
        let name = writer.read(value);
        let mut parts = Parts::new(writer, node);
        let mut step = ops::spell(&mut parts, index as usize)?;
        if parts.is_wide() {
            let result = parts.push(step);
            step = Step::new("Cast", [result]).int("to", DataType::Float16 as i64);
        }
        writer.emit(step, name);
    }
    Ok(())
}
