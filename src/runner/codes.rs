//! QuantizeLinear and DequantizeLinear by their definition: tract reads the first of several scales only.
//!
//! Given    a file's `QuantizeLinear` (one scale) and `DequantizeLinear` (one, or one per index of an axis), each with a zero point or none
//! Result   `Min(Max(Round(x/s) + z, lo), hi)` and `(Cast(q) − z)·s`, in f32, s and z laid along their axis
//! Exact    it is the definition; codes are whole numbers, which f32 holds.
//!
//! Runs when f16 values are widened already. Scales of blocks, and codes of other than 8 or 16 bits at run time, are refused.

use std::collections::HashMap;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

/// Replace every pair of a graph.
///
/// # Errors
/// If one is of another form.
pub(super) fn define(graph: &mut pb::GraphProto) -> Result<(), String> {
    let known = |n: &pb::NodeProto| matches!(n.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear");
    if !graph.node.iter().any(known) {
        return Ok(());
    }
    let mut definition = Definition::of(graph);
    for node in std::mem::take(&mut graph.node) {
        let named = |what: String| format!("{} {}: {what}", node.op_type, node.name);
        match node.op_type.as_str() {
            "QuantizeLinear" => definition.quantize(&node).map_err(named)?,
            "DequantizeLinear" => definition.dequantize(&node).map_err(named)?,
            _ => definition.nodes.push(node),
        }
    }
    graph.node = definition.nodes;
    graph.initializer.extend(definition.added);
    Ok(())
}

/// What is known of the file's tensors, and the graph as it grows.
struct Definition {
    /// Sizes and element type of constants. Those of FLOAT16 are named as they were before they were widened.
    constants: HashMap<String, (Vec<i64>, i32)>,
    zeros: HashMap<String, bool>,
    nodes: Vec<pb::NodeProto>,
    added: Vec<pb::TensorProto>,
}

impl Definition {
    fn of(graph: &pb::GraphProto) -> Definition {
        let mut constants = HashMap::new();
        let mut zeros = HashMap::new();
        for tensor in &graph.initializer {
            let name = tensor.name.split('\u{1}').next().unwrap_or_default().to_string();
            zeros.insert(
                name.clone(),
                tensor.int32_data.iter().all(|&x| x == 0) && tensor.raw_data.iter().all(|&b| b == 0),
            );
            constants.insert(name, (tensor.dims.clone(), tensor.data_type));
        }
        Definition { constants, zeros, nodes: Vec::new(), added: Vec::new() }
    }

    /// The zero point, a constant, and its element type; `None` if it is absent or nothing but 0, with the type where there is one.
    fn zero_point(&self, node: &pb::NodeProto) -> Result<(Option<String>, Option<i32>), String> {
        let Some(name) = node.input.get(2).filter(|name| !name.is_empty()) else { return Ok((None, None)) };
        let (_, element) = self.constants.get(name).ok_or("its zero point is no constant")?;
        let idle = self.zeros.get(name).copied().unwrap_or(false);
        Ok(((!idle).then(|| name.clone()), Some(*element)))
    }

    fn step(&mut self, op: &str, input: &[&str], output: &str, attribute: Option<pb::AttributeProto>) {
        self.nodes.push(pb::NodeProto {
            op_type: op.into(),
            name: format!("{output}\u{3}step"),
            input: input.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            attribute: attribute.into_iter().collect(),
            ..Default::default()
        });
    }

    fn number(&mut self, name: String, value: f32) -> String {
        let (data_type, raw_data) = (DataType::Float as i32, value.to_le_bytes().to_vec());
        self.added.push(pb::TensorProto { name: name.clone(), data_type, raw_data, ..Default::default() });
        name
    }

    fn cast(&mut self, x: &str, output: String) -> String {
        let (r#type, i) = (AttributeType::Int as i32, DataType::Float as i64);
        let to = pb::AttributeProto { name: "to".into(), r#type, i, ..Default::default() };
        self.step("Cast", &[x], &output, Some(to));
        output
    }

    fn quantize(&mut self, node: &pb::NodeProto) -> Result<(), String> {
        let ([x, scale, ..], [y]) = (&node.input[..], &node.output[..]) else { return Err("lacks operands".into()) };
        let is_one = |d: &Definition, name: &String| d.constants.get(name).is_some_and(|c| c.0.iter().all(|&d| d == 1));
        let (zero, element) = self.zero_point(node)?;
        if !is_one(self, scale) || zero.as_ref().is_some_and(|zero| !is_one(self, zero)) {
            return Err("the check knows one constant scale and zero point only".into());
        }
        let [lo, hi] = match element {
            Some(t) if t == DataType::Int8 as i32 => [-128.0, 127.0],
            Some(t) if t == DataType::Int16 as i32 => [-32768.0, 32767.0],
            Some(t) if t == DataType::Uint16 as i32 => [0.0, 65535.0],
            Some(t) if t == DataType::Uint8 as i32 => [0.0, 255.0],
            None => [0.0, 255.0],
            Some(_) => return Err("the check knows codes of 8 and 16 bits only".into()),
        };
        let part = |name: &str| format!("{y}\u{3}{name}");
        let (lo, hi) = (self.number(part("lo"), lo), self.number(part("hi"), hi));
        self.step("Div", &[x, scale], &part("steps"), None);
        self.step("Round", &[&part("steps")], &part("whole"), None);
        let mut whole = part("whole");
        if let Some(zero) = zero {
            let zero = self.cast(&zero, part("zero"));
            self.step("Add", &[&whole, &zero], &part("code"), None);
            whole = part("code");
        }
        self.step("Max", &[&whole, &lo], &part("above"), None);
        self.step("Min", &[&part("above"), &hi], y, None);
        Ok(())
    }

    /// Scales or zero points of codes, along the axis that a node names; one alone stays as it is.
    fn laid(&mut self, node: &pb::NodeProto, [q, along]: [&str; 2], name: String) -> Result<String, String> {
        let Some((sizes, _)) = self.constants.get(along).cloned() else {
            return Err("its scale is no constant".into());
        };
        let [size] = sizes[..] else { return Ok(along.into()) };
        let Some((codes, _)) = self.constants.get(q).filter(|_| size != 1) else {
            return if size == 1 { Ok(along.into()) } else { Err("several scales of a value at run time".into()) };
        };
        let rank = codes.len() as i64;
        let axis = attribute(node, "axis").unwrap_or(1);
        let axis = if axis < 0 { axis + rank } else { axis };
        if !(0..rank).contains(&axis) || codes[axis as usize] != size {
            return Err(format!("{sizes:?} scales along axis {axis} of {codes:?}"));
        }
        let raw_data: Vec<u8> = (0..rank).flat_map(|a| if a == axis { size } else { 1 }.to_le_bytes()).collect();
        let (shape, data_type, dims) = (format!("{name}.shape"), DataType::Int64 as i32, vec![rank]);
        self.added.push(pb::TensorProto { name: shape.clone(), data_type, dims, raw_data, ..Default::default() });
        self.step("Reshape", &[along, &shape], &name, None);
        Ok(name)
    }

    fn dequantize(&mut self, node: &pb::NodeProto) -> Result<(), String> {
        let ([q, scale, ..], [y]) = (&node.input[..], &node.output[..]) else { return Err("lacks operands".into()) };
        if attribute(node, "block_size").is_some_and(|size| size != 0) {
            return Err("the check does not know scales of blocks".into());
        }
        let part = |name: &str| format!("{y}\u{3}{name}");
        let (zero, _) = self.zero_point(node)?;
        let scale = self.laid(node, [q, scale], part("laid"))?;
        let mut codes = self.cast(q, part("codes"));
        if let Some(zero) = zero {
            let laid = self.laid(node, [q, &zero], part("laid_zero"))?;
            let zero = self.cast(&laid, part("zero"));
            self.step("Sub", &[&codes, &zero], &part("above_zero"), None);
            codes = part("above_zero");
        }
        self.step("Mul", &[&codes, &scale], y, None);
        Ok(())
    }
}

fn attribute(node: &pb::NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::session::{Request, load};

    fn tensor(name: &str, element: DataType, dims: &[i64], raw_data: Vec<u8>) -> pb::TensorProto {
        pb::TensorProto {
            name: name.into(),
            data_type: element as i32,
            dims: dims.to_vec(),
            raw_data,
            ..Default::default()
        }
    }

    fn floats(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
        tensor(name, DataType::Float, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn info(name: &str, dims: &[i64]) -> pb::ValueInfoProto {
        let dim = |&d: &i64| pb::tensor_shape_proto::Dimension {
            value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(d)),
            ..Default::default()
        };
        let shape = pb::TensorShapeProto { dim: dims.iter().map(dim).collect() };
        let tensor = pb::type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
        let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
        pb::ValueInfoProto { name: name.into(), r#type: Some(ty), ..Default::default() }
    }

    fn node(op: &str, input: &[&str], output: &str, axis: Option<i64>) -> pb::NodeProto {
        let axis = axis.map(|i| {
            let r#type = AttributeType::Int as i32;
            pb::AttributeProto { name: "axis".into(), r#type, i, ..Default::default() }
        });
        pb::NodeProto {
            op_type: op.into(),
            name: output.into(),
            input: input.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            attribute: axis.into_iter().collect(),
            ..Default::default()
        }
    }

    /// `Dequantize(Quantize(x))·Dequantize(w)`, w with a scale for each column.
    fn model(zero: i8) -> pb::ModelProto {
        let graph = pb::GraphProto {
            name: "codes".into(),
            input: vec![info("x", &[1, 2])],
            output: vec![info("y", &[1, 3])],
            node: vec![
                node("QuantizeLinear", &["x", "s", "z"], "q", None),
                node("DequantizeLinear", &["q", "s", "z"], "d", None),
                node("DequantizeLinear", &["w", "ws"], "wd", Some(1)),
                node("MatMul", &["d", "wd"], "y", None),
            ],
            initializer: vec![
                floats("s", &[], &[0.5]),
                tensor("z", DataType::Int8, &[], vec![zero as u8]),
                tensor("w", DataType::Int8, &[2, 3], [1i8, 2, -3, 4, -5, 6].map(|c| c as u8).to_vec()),
                floats("ws", &[3], &[1.0, 10.0, 100.0]),
            ],
            ..Default::default()
        };
        let opset_import = vec![pb::OperatorSetIdProto { version: 13, ..Default::default() }];
        pb::ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }
    }

    #[test]
    fn every_scale_counts_and_ties_go_to_even() {
        let session = load(model(0), None, Request::outputs(1)).expect("loads");
        // 0.75 and 1.25 lie between codes 1 and 2, and 2 and 3: both become 2.
        assert_eq!(session.run(&[("x", &[0.75, 1.25])]).expect("runs")[0].data, [5.0, -30.0, 300.0]);
        // Codes end at 127: 63.5.
        assert_eq!(session.run(&[("x", &[1000.0, 0.0])]).expect("runs")[0].data, [63.5, 1270.0, -19050.0]);
    }

    /// Codes −128 to 127 with a zero point of 3 stand for −65.5 to 62: what is rounded, kept and given back is moved by the zero point.
    #[test]
    fn zero_points_move_the_codes() {
        let session = load(model(3), None, Request::outputs(1)).expect("loads");
        assert_eq!(session.run(&[("x", &[0.75, 1.25])]).expect("runs")[0].data, [5.0, -30.0, 300.0]);
        assert_eq!(session.run(&[("x", &[1000.0, 0.0])]).expect("runs")[0].data, [62.0, 1240.0, -18600.0]);
        assert_eq!(session.run(&[("x", &[-1000.0, 0.0])]).expect("runs")[0].data, [-65.5, -1310.0, 19650.0]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let mut many = model(3);
        if let Some(graph) = &mut many.graph {
            graph.initializer[1].dims = vec![2];
        }
        assert!(load(many, None, Request::outputs(1)).is_err_and(|e| e.what.contains("one constant scale")));
        let mut blocks = model(0);
        if let Some(graph) = &mut blocks.graph {
            let size = pb::AttributeProto { name: "block_size".into(), i: 2, ..Default::default() };
            graph.node[2].attribute.push(size);
        }
        assert!(load(blocks, None, Request::outputs(1)).is_err_and(|e| e.what.contains("blocks")));
    }
}
