//! Bottlenecks of a graph.

use super::bottleneck::{Bottleneck, Step, search};
use vitc_ir::{BinaryKind, Graph, Op, Value};

/// Places where a graph can be cut, in order.
pub(in crate::runner) fn of_graph(graph: &Graph) -> Vec<Bottleneck> {
    let steps = graph.run_time_nodes().map(|(id, node)| Step {
        outputs: (0..node.types.len() as u32)
            .map(|index| (graph.value_name(Value { node: id, index }), node.types[index as usize].shape.elements() * 4))
            .collect(),
        inputs: node.inputs.iter().filter(|&&v| !graph.is_stored(v)).map(|&v| graph.value_name(v)).collect(),
        sum: (node.op == Op::Binary(BinaryKind::Add) && node.inputs.iter().all(|&v| !graph.is_constant(v)))
            .then(|| node.types[0].shape.0.iter().map(|d| d.fixed()).collect()),
    });
    let steps: Vec<Step> = steps.collect();
    let inputs: Vec<_> = graph.inputs().map(|(_, n)| (n.path.clone(), n.types[0].shape.elements() * 4)).collect();
    let results: Vec<String> = graph.outputs.iter().map(|o| graph.value_name(o.value)).collect();
    search(&steps, &inputs, &results)
}
