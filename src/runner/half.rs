//! Widening: how an artifact of f16 values is run in f32.
//!
//! Given    a model in which values are FLOAT16
//! Result   the same model in FLOAT, where each value that was FLOAT16 passes through a cast to FLOAT16 and back
//! Why      each value is rounded as the artifact stores it while sums accumulate in f32, as tensor cores do; overflow becomes infinite and is
//!          found. Values that were FLOAT (islands, a float interface) stay as they are. tract's own f16 kernels accumulate in f16
//!          and model no hardware.
//!
//! Operators that only move elements pass a rounded value on and get no casts. Element types follow from operands by ONNX' own rules, so files
//! without `value_info` are widened too.

use std::collections::HashSet;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

/// Operators whose results are elements of their operands or zero.
pub(super) const MOVES: [&str; 18] = [
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "Identity",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Operators whose results do not have the element type of their operands.
const OTHER_TYPE: [&str; 8] = ["ArgMax", "ArgMin", "Equal", "Greater", "Less", "QuantizeLinear", "Shape", "Size"];

/// Widen a graph in place; whether there was anything to widen.
pub(super) fn widen(graph: &mut pb::GraphProto) -> bool {
    let half = DataType::Float16 as i32;
    let mut halves: HashSet<String> = HashSet::new();
    let mut nodes = Vec::with_capacity(graph.node.len());

    // Constants are rounded already: one cast up, which tract folds.
    for tensor in graph.initializer.iter_mut().filter(|t| t.data_type == half) {
        let name = tensor.name.clone();
        tensor.name = stored(&name);
        nodes.push(cast(&tensor.name, &name, DataType::Float));
        halves.insert(name);
    }
    for info in graph.input.iter_mut() {
        if let Some(elem) = element_type(info)
            && *elem == half
        {
            *elem = DataType::Float as i32;
            let name = std::mem::take(&mut info.name);
            info.name = wide(&name);
            nodes.extend(round(&name));
            halves.insert(name);
        }
    }
    for info in graph.output.iter_mut() {
        if let Some(elem) = element_type(info)
            && *elem == half
        {
            *elem = DataType::Float as i32;
        }
    }
    for mut node in std::mem::take(&mut graph.node) {
        if !is_half(&node, &halves) {
            nodes.push(node);
            continue;
        }
        // Where a search finds what it finds is a whole number.
        let floats = if node.op_type == "TopK" { 1 } else { node.output.len() };
        let results: Vec<String> = node.output.iter().take(floats).filter(|o| !o.is_empty()).cloned().collect();
        halves.extend(results.iter().cloned());
        match node.op_type.as_str() {
            // The cast that makes a value FLOAT16 rounds it: what lacks is the way back.
            "Cast" | "Constant" | "ConstantOfShape" => {
                node.output[0] = stored(&results[0]);
                nodes.push(node);
                nodes.push(cast(&stored(&results[0]), &results[0], DataType::Float));
            }
            op if MOVES.contains(&op) => nodes.push(node),
            _ => {
                for name in node.output.iter_mut().take(floats).filter(|o| !o.is_empty()) {
                    *name = wide(name);
                }
                nodes.push(node);
                nodes.extend(results.iter().flat_map(|name| round(name)));
            }
        }
    }
    graph.node = nodes;
    !halves.is_empty()
}

/// Whether a node's results are FLOAT16 in the file.
fn is_half(node: &pb::NodeProto, halves: &HashSet<String>) -> bool {
    let half = DataType::Float16 as i32;
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let tensor = |name: &str| attribute(name).and_then(|a| a.t.as_ref()).is_some_and(|t| t.data_type == half);
    match node.op_type.as_str() {
        "Cast" => attribute("to").is_some_and(|a| a.i == half as i64),
        "Constant" | "ConstantOfShape" => tensor("value"),
        // The scale's type.
        "DequantizeLinear" => node.input.get(1).is_some_and(|v| halves.contains(v)),
        "Where" => node.input.get(1).is_some_and(|v| halves.contains(v)),
        op if OTHER_TYPE.contains(&op) => false,
        _ => node.input.first().is_some_and(|v| halves.contains(v)),
    }
}

fn element_type(info: &mut pb::ValueInfoProto) -> Option<&mut i32> {
    let pb::type_proto::Value::TensorType(tensor) = info.r#type.as_mut()?.value.as_mut()?;
    Some(&mut tensor.elem_type)
}

/// Name of a value before it is rounded. The suffixes cannot meet a name of the file: `\u{1}` does not occur in printable names.
fn wide(name: &str) -> String {
    format!("{name}\u{1}wide")
}

/// Name of a value as FLOAT16.
fn stored(name: &str) -> String {
    format!("{name}\u{1}f16")
}

/// The pair of casts that makes `name` out of its unrounded form.
fn round(name: &str) -> [pb::NodeProto; 2] {
    [cast(&wide(name), &stored(name), DataType::Float16), cast(&stored(name), name, DataType::Float)]
}

fn cast(from: &str, to: &str, element: DataType) -> pb::NodeProto {
    let to_type = pb::AttributeProto {
        name: "to".into(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i: element as i64,
        ..Default::default()
    };
    pb::NodeProto {
        op_type: "Cast".into(),
        name: format!("{to}\u{1}cast"),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: vec![to_type],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::session::{Request, load};

    fn value(name: &str, element: DataType, dims: &[i64]) -> pb::ValueInfoProto {
        let dim = |&d: &i64| pb::tensor_shape_proto::Dimension {
            value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(d)),
            ..Default::default()
        };
        let shape = pb::TensorShapeProto { dim: dims.iter().map(dim).collect() };
        let tensor = pb::type_proto::Tensor { elem_type: element as i32, shape: Some(shape) };
        let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
        pb::ValueInfoProto { name: name.into(), r#type: Some(ty), ..Default::default() }
    }

    fn node(op: &str, input: &[&str], output: &str) -> pb::NodeProto {
        pb::NodeProto {
            op_type: op.into(),
            name: output.into(),
            input: input.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn constant(name: &str, values: &[f32]) -> pb::TensorProto {
        pb::TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: DataType::Float16 as i32,
            raw_data: values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
            ..Default::default()
        }
    }

    /// Run a model of the given nodes on `[1,n]`, declared with element type `element` at its interface.
    fn run(element: DataType, nodes: Vec<pb::NodeProto>, constants: Vec<pb::TensorProto>, x: &[f32]) -> Vec<f32> {
        let last = nodes.last().expect("a node").output[0].clone();
        let graph = pb::GraphProto {
            name: "test".into(),
            input: vec![value("x", element, &[1, x.len() as i64])],
            output: vec![value(&last, element, &[1, x.len() as i64])],
            node: nodes,
            initializer: constants,
            ..Default::default()
        };
        let opset_import = vec![pb::OperatorSetIdProto { version: 17, ..Default::default() }];
        let model = pb::ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() };
        let session = load(model, None, Request::outputs(1)).expect("loads");
        session.run(&[("x", x)]).expect("runs").remove(0).data
    }

    #[test]
    fn values_are_rounded_and_overflow_is_infinite() {
        let third = half::f16::from_f32(1.0 / 3.0).to_f32();
        // The input is rounded where it is declared f16, and so is each result: 300·300 exceeds 65504.
        let y = run(DataType::Float16, vec![node("Mul", &["x", "x"], "y")], vec![], &[1.0 / 3.0, 300.0, 1.0]);
        assert_eq!(y, [half::f16::from_f32(third * third).to_f32(), f32::INFINITY, 1.0]);
    }

    /// The indices of a search are computed with as whole numbers.
    #[test]
    fn indices_are_not_rounded() {
        let whole = |name: &str, n: i64| pb::TensorProto {
            name: name.into(),
            dims: vec![1],
            data_type: DataType::Int64 as i32,
            raw_data: n.to_le_bytes().to_vec(),
            ..Default::default()
        };
        let mut search = node("TopK", &["x", "k"], "v");
        search.output.push("i".into());
        let back = pb::NodeProto { name: "y".into(), ..cast("moved", "y", DataType::Float16) };
        let nodes = vec![search, node("Add", &["i", "two"], "moved"), back];
        assert_eq!(
            run(DataType::Float16, nodes, vec![whole("k", 3), whole("two", 2)], &[0.5, 3.0, 1.0]),
            [3.0, 4.0, 2.0]
        );
    }

    #[test]
    fn overflow_inside_is_not_undone() {
        let nodes = vec![node("Mul", &["x", "big"], "m"), node("Div", &["m", "big"], "y")];
        let y = run(DataType::Float16, nodes, vec![constant("big", &[600.0])], &[1.0, 200.0]);
        assert_eq!(y, [1.0, f32::INFINITY]);
    }

    #[test]
    fn a_float_interface_and_islands_are_not_rounded() {
        let down = pb::NodeProto { name: "h".into(), ..cast("x", "h", DataType::Float16) };
        let up = pb::NodeProto { name: "w".into(), ..cast("h", "w", DataType::Float) };
        let nodes = vec![down, up, node("Mul", &["w", "w"], "s"), node("Sqrt", &["s"], "y")];
        // 300² overflows f16 but the island is f32.
        let y = run(DataType::Float, nodes, vec![], &[300.0, 1.0 / 3.0]);
        let third = half::f16::from_f32(1.0 / 3.0).to_f32();
        assert_eq!(y, [300.0, third]);
    }

    #[test]
    fn pairs_of_casts_survive_the_optimiser_beside_every_movement() {
        // A reshape lets tract move a cast across it; the rounding must stay.
        let nodes = vec![
            node("Mul", &["x", "k"], "m"),
            node("Identity", &["m"], "i"),
            node("Relu", &["i"], "r"),
            node("Add", &["r", "k"], "y"),
        ];
        let y = run(DataType::Float16, nodes, vec![constant("k", &[1.0 / 3.0])], &[1.0, 2.0, 70000.0]);
        let f = |v: f32| half::f16::from_f32(v).to_f32();
        let third = f(1.0 / 3.0);
        assert_eq!(y, [f(third + third), f(f(2.0 * third) + third), f32::INFINITY]);
    }
}
