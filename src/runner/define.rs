//! Operators that tract does not know, by their definition in ONNX.
//!
//! Given    a file's `Attention` (opset 23) on `[B,H,N,d]`: q, k, v, mask?
//! Result   `Softmax(MatMul(√s·q, √s·kᵀ) + mask)·v`, every step as the operator's own function body in ONNX' operator list has it
//! Exact    it is the definition: s is the attribute `scale`; with `softmax_precision` the softmax runs in that element type.
//!
//! What a file holds beside that (three dimensions, a cache, causal masks, soft caps) vitc does not write, and the check refuses it.

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

/// Replace every `Attention` of a graph; how many there were.
///
/// # Errors
/// If one has operands or attributes beyond what vitc writes.
pub(super) fn define(graph: &mut pb::GraphProto) -> Result<usize, String> {
    let mut count = 0;
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        if !node.domain.is_empty() || node.op_type != "Attention" {
            nodes.push(node);
            continue;
        }
        count += 1;
        let (steps, root) = attention(&node, graph).map_err(|what| format!("Attention {}: {what}", node.name))?;
        nodes.extend(steps);
        graph.initializer.push(root);
    }
    graph.node = nodes;
    Ok(count)
}

/// The steps of one node, and √s as a constant of its element type.
fn attention(node: &pb::NodeProto, graph: &pb::GraphProto) -> Result<(Vec<pb::NodeProto>, pb::TensorProto), String> {
    let [q, k, v, mask @ ..] = &node.input[..] else { return Err("has less than three operands".into()) };
    if let Some(other) = node.attribute.iter().find(|a| !matches!(a.name.as_str(), "scale" | "softmax_precision")) {
        return Err(format!("the check does not know its {}", other.name));
    }
    let ([] | [_], [y]) = (mask, &node.output[..]) else {
        return Err("the check does not know it with a cache".into());
    };
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let scale = attribute("scale").ok_or("does not say its scale")?.f;
    let info = graph.value_info.iter().chain(&graph.output).find(|i| i.name == *y).and_then(|i| i.r#type.as_ref());
    let Some(pb::type_proto::Value::TensorType(ty)) = info.and_then(|t| t.value.as_ref()) else {
        return Err("the file does not declare its type".into());
    };
    let (single, half) = (DataType::Float as i32, DataType::Float16 as i32);
    let root = scale.sqrt();
    let raw_data = match ty.elem_type {
        t if t == single => root.to_le_bytes().to_vec(),
        t if t == half => half::f16::from_f32(root).to_le_bytes().to_vec(),
        other => return Err(format!("the check does not know element type {other}")),
    };

    let part = |name: &str| format!("{y}\u{2}{name}");
    let attributes = |name: &str, ints: &[i64]| pb::AttributeProto {
        name: name.into(),
        r#type: if ints.len() == 1 { AttributeType::Int } else { AttributeType::Ints } as i32,
        i: ints[0],
        ints: if ints.len() == 1 { Vec::new() } else { ints.to_vec() },
        ..Default::default()
    };
    let mut steps: Vec<pb::NodeProto> = Vec::new();
    let mut step = |op: &str, input: &[&str], output: &str, attribute: Option<pb::AttributeProto>| {
        steps.push(pb::NodeProto {
            op_type: op.into(),
            name: format!("{output}\u{2}step"),
            input: input.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            attribute: attribute.into_iter().collect(),
            ..Default::default()
        });
        output.to_string()
    };
    let constant = pb::TensorProto { name: part("root"), data_type: ty.elem_type, raw_data, ..Default::default() };
    let root = &constant.name;
    let q = step("Mul", &[q, root], &part("q"), None);
    let k = step("Transpose", &[k], &part("columns"), Some(attributes("perm", &[0, 1, 3, 2])));
    let k = step("Mul", &[&k, root], &part("k"), None);
    let mut scores = step("MatMul", &[&q, &k], &part("scores"), None);
    if let [mask] = mask {
        scores = step("Add", &[&scores, mask], &part("masked"), None);
    }
    let precision = attribute("softmax_precision").map(|a| a.i).filter(|&to| to != i64::from(ty.elem_type));
    if let Some(to) = precision {
        scores = step("Cast", &[&scores], &part("wide"), Some(attributes("to", &[to])));
    }
    let mut weights = step("Softmax", &[&scores], &part("weights"), Some(attributes("axis", &[3])));
    if precision.is_some() {
        weights = step("Cast", &[&weights], &part("stored"), Some(attributes("to", &[i64::from(ty.elem_type)])));
    }
    step("MatMul", &[&weights, v], y, None);
    Ok((steps, constant))
}

#[cfg(test)]
mod tests {
    use super::define;
    use tract_onnx::pb;

    /// What the file means beyond what vitc writes is refused, and a node of that name in another domain is left alone.
    #[test]
    fn what_is_not_known_is_refused() {
        let node = |inputs: usize, attributes: &[&str]| pb::NodeProto {
            op_type: "Attention".into(),
            name: "a".into(),
            input: (0..inputs).map(|i| i.to_string()).collect(),
            output: vec!["y".into()],
            attribute: attributes
                .iter()
                .map(|a| pb::AttributeProto { name: a.to_string(), ..Default::default() })
                .collect(),
            ..Default::default()
        };
        let of = |node: pb::NodeProto| pb::GraphProto { node: vec![node], ..Default::default() };
        for (inputs, attributes, what) in [
            (2, vec!["scale"], "less than three operands"),
            (5, vec!["scale"], "a cache"),
            (4, vec!["scale", "is_causal"], "is_causal"),
            (4, vec![], "its scale"),
            (4, vec!["scale"], "declare its type"),
        ] {
            let error = define(&mut of(node(inputs, &attributes))).expect_err("is refused");
            assert!(error.starts_with("Attention a: ") && error.contains(what), "{error}");
        }
        let foreign = pb::NodeProto { domain: "com.microsoft".into(), ..node(2, &[]) };
        assert_eq!(define(&mut of(foreign)), Ok(0));
    }
}
