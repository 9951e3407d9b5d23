//! Bottlenecks and pieces of an ONNX file.

use super::bottleneck::{Bottleneck, Piece, Step, search};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;

/// Bottlenecks of a file whose types are known.
pub(in crate::runner) fn of_file(graph: &pb::GraphProto) -> Vec<Bottleneck> {
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
    let inputs: Vec<_> = graph.input.iter().map(|i| (i.name.clone(), 0)).collect();
    let results: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    search(&steps, &inputs, &results)
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

/// Reduce a file's graph to what computes `piece`.
pub(in crate::runner) fn piece_of_file(graph: &mut pb::GraphProto, piece: &Piece) -> Result<(), String> {
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
