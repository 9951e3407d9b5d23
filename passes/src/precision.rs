//! Type the graph in f16, with the f32 islands that the target wants.
//!
//! ```text
//! Given    a graph in f32
//! Result   every run-time float value f16, every constant rounded once; inputs and outputs as the interface says, with one cast behind each
//!          input and one in front of each output; softmax and means over positions between casts in f32 where the target's data says so
//! ```
//!
//! Not exact: each value is rounded to 11 bits. The check measures the error against the f32 paper graph and bounds it.

use crate::{LowerOptions, Rewritten};
use vitc_ir::op::ReduceKind;
use vitc_ir::{Copier, DType, Graph, NodeId, Op, Output, Target, Type, Value};

/// Run the pass.
pub(crate) fn run(graph: &Graph, target: &Target, options: &LowerOptions) -> Rewritten {
    if options.precision != DType::F16 {
        return Rewritten { graph: graph.clone(), count: 0, notes: Vec::new() };
    }
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    let mut islands = 0;
    for (id, node) in graph.nodes() {
        if node.op == Op::Input {
            let ty = Type::new(options.interface, node.types[0].shape.clone());
            let input = copy.new.push_leaf(Op::Input, ty, &node.path).unwrap_or_else(|e| panic!("{e}"));
            let half = cast(&mut copy.new, input, DType::F16, &format!("{}.f16", node.path));
            copy.set(id.into(), half);
            count += 1;
        } else if graph.is_constant(id.into()) {
            copy.node(id);
        } else if in_f32(&node.op, target) {
            islands += 1;
            let inputs: Vec<Value> = copy.inputs(id);
            let wide = cast(&mut copy.new, inputs[0], DType::F32, &format!("{}.f32", node.path));
            let y: Value = copy.new.push(node.op.clone(), &[wide], &node.path).unwrap_or_else(|e| panic!("{e}")).into();
            let half = cast(&mut copy.new, y, DType::F16, &format!("{}.f16", node.path));
            copy.set(id.into(), half);
        } else {
            half_node(&mut copy, id);
            count += 1;
        }
    }
    let mut graph = copy;
    let outputs: Vec<Output> = graph.old.outputs.clone();
    let mut results = Vec::new();
    for o in outputs {
        let value = graph.get(o.value);
        let path = format!("{}.{}", o.name, options.interface);
        results.push(Output { name: o.name, value: cast(&mut graph.new, value, options.interface, &path) });
    }
    graph.new.outputs = results;
    let notes = if islands > 0 { vec![format!("{islands} operators run in f32 between casts")] } else { Vec::new() };
    Rewritten { graph: graph.new, count, notes }
}

/// Whether the operator runs in f32: the statistics whose f16 sums would lose the small terms.
fn in_f32(op: &Op, target: &Target) -> bool {
    match op {
        Op::Softmax { .. } => target.softmax_f32,
        Op::Reduce { kind: ReduceKind::Mean, .. } => target.mean_f32,
        _ => false,
    }
}

/// Copy a node with constant operands rounded to f16.
fn half_node(copy: &mut Copier, id: NodeId) {
    let node = copy.old.node(id);
    let inputs: Vec<Value> = copy.inputs(id);
    let inputs: Vec<Value> = inputs
        .into_iter()
        .map(|v| {
            let float = copy.new.ty(v).dtype == DType::F32 && copy.new.is_constant(v);
            let path = format!("{}.f16", copy.new.value_name(v));
            if float { cast(&mut copy.new, v, DType::F16, &path) } else { v }
        })
        .collect();
    let new = copy.new.push(node.op.clone(), &inputs, &node.path).unwrap_or_else(|e| panic!("{e}"));
    for index in 0..node.types.len() as u32 {
        copy.set(Value { node: id, index }, Value { node: new, index });
    }
}

/// `value` in element type `to`, without a node if it has it.
fn cast(graph: &mut Graph, value: Value, to: DType, path: &str) -> Value {
    if graph.ty(value).dtype == to {
        return value;
    }
    graph.push(Op::Cast { to }, &[value], path).unwrap_or_else(|e| panic!("{e}")).into()
}
