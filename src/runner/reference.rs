//! A file's own graph, flat and with every size known, in the types that tract decodes: the file is its own reference.
//!
//! What tract answers wrongly is not run: [`distrusted`].

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
use vitc_exporters::onnx::{Attribute, Flat, FlatNode, PortInfo, PortSize, Tensor};

/// A flat graph with the batch taken as `batch`.
///
/// # Errors
/// If it holds what tract cannot run, or runs wrongly.
pub(super) fn proto(flat: &Flat, inputs: &[PortInfo], batch: usize) -> Result<pb::ModelProto, String> {
    if let Some((node, why)) = flat.nodes.iter().find_map(|n| Some((n, distrusted(n)?))) {
        return Err(format!("{} {}: {why}", node.operator(), node.name));
    }
    if let Some(node) = flat.nodes.iter().find(|n| matches!(n.op.as_str(), "ReduceMax" | "ReduceMin"))
        && holds_infinity(flat)
    {
        return Err(format!("{} {}: tract begins at the last finite number", node.operator(), node.name));
    }
    let mut versions: Vec<(String, i64)> = Vec::new();
    for node in &flat.nodes {
        match versions.iter().find(|(d, _)| *d == node.domain) {
            Some((_, version)) if *version != node.version() => {
                return Err("its functions use several versions of one operator set".into());
            }
            Some(_) => {}
            None => versions.push((node.domain.clone(), node.version())),
        }
    }
    let node = flat.nodes.iter().map(node_of).collect::<Result<_, _>>()?;
    let initializer = flat.constants.iter().map(|(name, t)| tensor_of(name, t)).collect::<Result<_, _>>()?;
    let opset_import =
        versions.into_iter().map(|(domain, version)| pb::OperatorSetIdProto { domain, version }).collect();
    let graph = pb::GraphProto {
        name: "reference".into(),
        node,
        initializer,
        input: inputs.iter().map(|p| port_of(p, batch)).collect(),
        output: flat
            .outputs
            .iter()
            .map(|p| pb::ValueInfoProto { name: p.name.clone(), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    Ok(pb::ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() })
}

/// Why tract's answer to a node is not believed, if it is not. Measured against ONNX Runtime, version 0.23.9.
fn distrusted(node: &FlatNode) -> Option<&'static str> {
    let has = |name: &str| node.attributes.iter().any(|(n, _)| n == name);
    match node.op.as_str() {
        // Numbers as the file has them differ from ONNX Runtime's in these forms.
        "LSTM" | "GRU" | "RNN" if has("activations") || has("clip") || has("layout") => {
            Some("tract computes with the usual functions and the usual layout")
        }
        "LSTM" | "GRU" | "RNN" if node.inputs.get(4).is_some_and(|n| !n.is_empty()) => Some("tract reads no lengths"),
        "LSTM" | "GRU" | "RNN" if says(node, "direction", &["reverse"]) => Some("tract runs forwards"),
        "GridSample" if says(node, "mode", &["cubic", "bicubic"]) => Some("tract reads other elements at the border"),
        "Pad" if says(node, "mode", &["edge", "reflect"]) && node.inputs.get(2).is_some_and(|n| !n.is_empty()) => {
            Some("tract fills with the number that is given, which counts for constant borders only")
        }
        "BatchNormalization"
            if node.attributes.iter().any(|a| matches!(a, (n, Attribute::Int(1)) if n == "training_mode")) =>
        {
            Some("tract normalises by the statistics that are given")
        }
        "QuantizeLinear" if has("output_dtype") => Some("tract makes bytes without a sign"),
        "Celu" | "GlobalLpPool" => Some("tract computes another function"),
        "ReduceLogSumExp" => Some("tract takes exponentials that overflow"),
        "Swish" if has("alpha") => Some("tract takes alpha as 1"),
        "SpaceToDepth" if says(node, "mode", &["CRD"]) => Some("tract orders the channels otherwise"),
        "ConvTranspose" if has("output_shape") => Some("tract pads otherwise"),
        "Resize" if node.version() < 11 => Some("tract takes the rule of later versions"),
        _ => None,
    }
}

/// Whether a constant of the file, as masks are, has an infinite element.
fn holds_infinity(flat: &Flat) -> bool {
    let attributes = flat.nodes.iter().flat_map(|n| &n.attributes);
    let inside = attributes.filter_map(|(_, a)| if let Attribute::Tensor(t) = a { Some(t) } else { None });
    let infinite = |t: &Tensor| {
        let floats = t.elem.is_float() && t.dims.iter().product::<usize>() <= 1 << 20;
        floats && t.floats().is_some_and(|all| all.iter().any(|x| x.is_infinite()))
    };
    flat.constants.values().chain(inside).any(|t| infinite(t))
}

/// Whether an attribute is one of these words.
fn says(node: &FlatNode, name: &str, words: &[&str]) -> bool {
    node.attributes.iter().any(|(n, a)| n == name && matches!(a, Attribute::Text(t) if words.contains(&t.as_str())))
}

fn node_of(node: &FlatNode) -> Result<pb::NodeProto, String> {
    let attribute = node
        .attributes
        .iter()
        .map(|(name, a)| attribute_of(name, a).map_err(|what| format!("{} {}: {what}", node.operator(), node.name)));
    Ok(pb::NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        domain: node.domain.clone(),
        attribute: attribute.collect::<Result<_, _>>()?,
        ..Default::default()
    })
}

fn attribute_of(name: &str, attribute: &Attribute) -> Result<pb::AttributeProto, String> {
    let mut proto = pb::AttributeProto { name: name.into(), ..Default::default() };
    let kind = match attribute {
        Attribute::Float(f) => {
            proto.f = *f;
            AttributeType::Float
        }
        Attribute::Int(i) => {
            proto.i = *i;
            AttributeType::Int
        }
        Attribute::Text(s) => {
            proto.s = s.as_bytes().to_vec();
            AttributeType::String
        }
        Attribute::Tensor(t) => {
            proto.t = Some(tensor_of("", t)?);
            AttributeType::Tensor
        }
        Attribute::Floats(list) => {
            proto.floats.clone_from(list);
            AttributeType::Floats
        }
        Attribute::Ints(list) => {
            proto.ints.clone_from(list);
            AttributeType::Ints
        }
        Attribute::Texts(list) => {
            proto.strings = list.iter().map(|s| s.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
        Attribute::Graph(_) => return Err("holds a graph".into()),
        Attribute::Reference(_) | Attribute::Other => {
            return Err(format!("has an attribute {name} that is not handed on"));
        }
    };
    proto.r#type = kind as i32;
    Ok(proto)
}

fn tensor_of(name: &str, tensor: &Tensor) -> Result<pb::TensorProto, String> {
    let bytes = tensor.bytes().ok_or_else(|| format!("constant {name} lies in a data file"))?;
    Ok(pb::TensorProto {
        name: name.into(),
        dims: tensor.dims.iter().map(|&d| d as i64).collect(),
        data_type: tensor.elem.code(),
        raw_data: bytes.to_vec(),
        ..Default::default()
    })
}

fn port_of(port: &PortInfo, batch: usize) -> pb::ValueInfoProto {
    let size = |size: &PortSize| match size {
        PortSize::Fixed(n) => *n,
        PortSize::Symbol(_) => batch,
    };
    let dim = |s: &PortSize| Dimension { value: Some(DimValue(size(s) as i64)), ..Default::default() };
    let shape = port.dims.as_ref().map(|dims| pb::TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = pb::type_proto::Tensor { elem_type: port.elem.map_or(1, |e| e.code()), shape };
    let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: port.name.clone(), r#type: Some(ty), ..Default::default() }
}
