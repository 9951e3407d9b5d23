//! Cutting a model at bottlenecks, so that a large one is checked piece by piece.
//!
//! A bottleneck is a value that every later node sees the input through: nothing else that depends on the input is alive when it has been
//! computed. Only sums are taken (the residual streams of blocks), because passes move affine factors across other values. The algorithm is
//! the same for a graph and for a file; a piece of either is what lies between two bottlenecks.

use super::tract::Piece;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;
use vitc_ir::{BinaryKind, Copier, Graph, Op, Output, Type, Value};

/// A value through which everything passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bottleneck {
    /// Its name.
    pub(super) name: String,
    /// Its dimensions; `None` for one that depends on the batch.
    pub(super) dims: Vec<Option<usize>>,
    /// Largest number of bytes of f32 values alive at once before it, for a batch of one; 0 where the file does not tell.
    pub(super) peak: usize,
}

/// One step of a model as the search sees it.
struct Step {
    /// Results with their bytes.
    outputs: Vec<(String, usize)>,
    /// Operands that depend on the input.
    inputs: Vec<String>,
    /// Dimensions of the result if it may be a bottleneck.
    sum: Option<Vec<Option<usize>>>,
}

/// Bottlenecks in order; the last entry, without a name, carries the peak of what follows.
fn search(steps: &[Step], input: (String, usize), results: &[String]) -> Vec<Bottleneck> {
    let mut last_use: HashMap<&str, usize> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        last_use.extend(step.inputs.iter().map(|name| (name.as_str(), i)));
    }
    last_use.extend(results.iter().map(|name| (name.as_str(), steps.len())));
    let mut alive: HashMap<&str, usize> = HashMap::from([(input.0.as_str(), input.1)]);
    let (mut peak, mut found) = (0, Vec::new());
    for (i, step) in steps.iter().enumerate() {
        alive.extend(step.outputs.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
        peak = peak.max(alive.values().sum());
        alive.retain(|name, _| last_use.get(name).is_some_and(|&last| last > i));
        if let Some(dims) = &step.sum
            && alive.len() == 1
            && alive.contains_key(step.outputs[0].0.as_str())
        {
            found.push(Bottleneck { name: step.outputs[0].0.clone(), dims: dims.clone(), peak });
            peak = 0;
        }
    }
    found.push(Bottleneck { name: String::new(), dims: Vec::new(), peak });
    found
}

/// Bottlenecks of a graph with one input.
pub(super) fn of_graph(graph: &Graph) -> Vec<Bottleneck> {
    let steps = graph.run_time_nodes().map(|(id, node)| Step {
        outputs: (0..node.types.len() as u32)
            .map(|index| (graph.value_name(Value { node: id, index }), node.types[index as usize].shape.elements() * 4))
            .collect(),
        inputs: node.inputs.iter().filter(|&&v| !graph.is_constant(v)).map(|&v| graph.value_name(v)).collect(),
        sum: (node.op == Op::Binary(BinaryKind::Add) && node.inputs.iter().all(|&v| !graph.is_constant(v)))
            .then(|| node.types[0].shape.0.iter().map(|d| d.fixed()).collect()),
    });
    let steps: Vec<Step> = steps.collect();
    let input = graph.inputs().next().map(|(_, n)| (n.path.clone(), n.types[0].shape.elements() * 4));
    let results: Vec<String> = graph.outputs.iter().map(|o| graph.value_name(o.value)).collect();
    search(&steps, input.unwrap_or_default(), &results)
}

/// Bottlenecks of a file whose types are known.
pub(super) fn of_file(graph: &pb::GraphProto) -> Vec<Bottleneck> {
    let mut runs: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    let typed: HashMap<&str, _> = graph.value_info.iter().map(|i| (i.name.as_str(), dims(i))).collect();
    let mut steps = Vec::new();
    for node in &graph.node {
        let inputs: Vec<String> = node.input.iter().filter(|i| runs.contains(i.as_str())).cloned().collect();
        if inputs.is_empty() {
            continue;
        }
        runs.extend(node.output.iter().map(String::as_str));
        // A bias may be among the summands.
        let residual = matches!(node.op_type.as_str(), "Add" | "Sum") && inputs.len() > 1;
        let sum = residual.then(|| typed.get(node.output[0].as_str()).cloned()).flatten();
        steps.push(Step { outputs: node.output.iter().map(|o| (o.clone(), 0)).collect(), inputs, sum });
    }
    let input = graph.input.first().map(|i| (i.name.clone(), 0));
    let results: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    search(&steps, input.unwrap_or_default(), &results)
}

/// Dimensions that a file declares.
fn dims(info: &pb::ValueInfoProto) -> Vec<Option<usize>> {
    use pb::tensor_shape_proto::dimension::Value::DimValue;
    let Some(pb::type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Vec::new();
    };
    let dim = |d: &pb::tensor_shape_proto::Dimension| match d.value {
        Some(DimValue(n)) => usize::try_from(n).ok(),
        _ => None,
    };
    tensor.shape.iter().flat_map(|s| &s.dim).map(dim).collect()
}

/// The part of a graph that computes `piece`; constants included, the start an input.
pub(super) fn piece_of_graph(graph: &Graph, piece: &Piece) -> Graph {
    let mut copy = Copier::new(graph, graph.stage);
    let named = |name: &str| graph.find(name).map(Value::from);
    let start = piece.from.as_ref().and_then(|(name, _)| named(name));
    let end = piece.to.as_deref().and_then(named);
    let results: Vec<Output> = match (end, &piece.to) {
        (Some(value), Some(name)) => vec![Output { name: name.clone(), value }],
        _ => graph.outputs.clone(),
    };
    let mut wanted: HashSet<u32> = HashSet::new();
    let mut stack: Vec<Value> = results.iter().map(|o| o.value).collect();
    while let Some(v) = stack.pop() {
        if wanted.insert(v.node.0) && Some(v) != start {
            stack.extend(graph.producer(v).inputs.iter());
        }
    }
    for (id, node) in graph.nodes().filter(|(id, _)| wanted.contains(&id.0)) {
        if start == Some(id.into()) {
            let ty = Type::new(node.types[0].dtype, node.types[0].shape.clone());
            let input = copy.new.push_leaf(Op::Input, ty, &node.path);
            copy.set(id.into(), input.unwrap_or_else(|e| panic!("a residual stream has the batch first: {e}")));
        } else {
            copy.node(id);
        }
    }
    let outputs = results.into_iter().map(|o| Output { value: copy.get(o.value), name: o.name }).collect();
    let mut part = copy.new;
    part.outputs = outputs;
    part
}

/// Reduce a file's graph to what computes `piece`.
pub(super) fn piece_of_file(graph: &mut pb::GraphProto, piece: &Piece) -> Result<(), String> {
    let info = |name: &str| {
        let found = graph.value_info.iter().find(|i| i.name == name).cloned();
        found.ok_or_else(|| format!("the file does not declare the type of {name}"))
    };
    let input = piece.from.as_ref().map(|(name, shape)| info(name).map(|i| with_shape(i, shape))).transpose()?;
    let output = piece.to.as_deref().map(info).transpose()?;
    if let Some(output) = output {
        graph.output = vec![output];
    }
    let producer: HashMap<&str, usize> =
        graph.node.iter().enumerate().flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i))).collect();
    let start = input.as_ref().map(|i| i.name.as_str());
    let (mut nodes, mut names) = (HashSet::new(), HashSet::new());
    let mut stack: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    while let Some(name) = stack.pop() {
        if !names.insert(name.to_string()) || Some(name) == start {
            continue;
        }
        if let Some(&i) = producer.get(name)
            && nodes.insert(i)
        {
            stack.extend(graph.node[i].input.iter().map(String::as_str));
        }
    }
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        nodes.contains(&(index - 1))
    });
    graph.initializer.retain(|t| names.contains(&t.name));
    if let Some(input) = input {
        graph.input = vec![input];
    }
    Ok(())
}

/// The same declaration with a shape of plain numbers.
fn with_shape(mut info: pb::ValueInfoProto, dims: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension};
    if let Some(pb::type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        let dim = |&d: &usize| Dimension { value: Some(dimension::Value::DimValue(d as i64)), ..Default::default() };
        tensor.shape = Some(pb::TensorShapeProto { dim: dims.iter().map(dim).collect() });
    }
    info
}
