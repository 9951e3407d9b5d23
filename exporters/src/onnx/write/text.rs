//! A compact text form of an emitted file, for snapshots and people: what a viewer shows, without the numbers.
//!
//! Invariant: one line per constant and node, in the order of the file; the elements of weights do not appear, those of
//! small integer constants (shapes, axes, indices) do.

use super::plan::Plan;
use crate::ExportError;
use crate::metadata::Metadata;
use crate::onnx::messages::{self as onnx, attribute_kind, data_type, type_of};
use std::collections::HashMap;
use std::fmt::Write;
use vitc_ir::{Graph, Target};

/// The file that [`super::write()`] would make, as text.
///
/// # Errors
/// As [`super::write()`], without those of constants and of writing.
pub fn text(graph: &Graph, target: &Target, metadata: &Metadata) -> Result<String, ExportError> {
    let plan = Plan::new(graph, target, metadata)?;
    let message = &plan.graph;
    let mut out = String::new();
    let opset = plan.model.opset_import.first().map_or(0, |o| o.version);
    line(&mut out, format_args!("onnx {} opset={opset} ir={}", message.name, plan.model.ir_version));
    let types: HashMap<&str, String> =
        message.value_info.iter().chain(&message.output).map(|v| (v.name.as_str(), type_of(v))).collect();
    for input in &message.input {
        line(&mut out, format_args!("input {}: {}", input.name, type_of(input)));
    }
    for tensor in message.initializer.iter().chain(plan.streamed.iter().flat_map(|s| &s.tensors)) {
        line(&mut out, format_args!("const {}: {}{}", tensor.name, tensor_type(tensor), elements(tensor)));
    }
    for node in &message.node {
        let results: Vec<String> = node.output.iter().map(|o| format!("{o}: {}", types[o.as_str()])).collect();
        let operands = node.input.iter().map(|i| if i.is_empty() { "_" } else { i }).collect::<Vec<_>>().join(", ");
        let attributes: Vec<String> = node.attribute.iter().map(attribute).collect();
        let attributes = if attributes.is_empty() { String::new() } else { format!(" {{{}}}", attributes.join(", ")) };
        let name = if node.output.first() == Some(&node.name) { String::new() } else { format!(" @{}", node.name) };
        let op = &node.op_type;
        line(&mut out, format_args!("{} = {op}({operands}){attributes}{name}", results.join(", ")));
    }
    for output in &message.output {
        line(&mut out, format_args!("output {}: {}", output.name, type_of(output)));
    }
    Ok(out)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string does not fail");
}

fn tensor_type(tensor: &onnx::Tensor) -> String {
    let dims: Vec<String> = tensor.dims.iter().map(i64::to_string).collect();
    format!("{}[{}]", data_type::word(tensor.data_type), dims.join(","))
}

fn elements(tensor: &onnx::Tensor) -> String {
    if tensor.data_type != data_type::INT64 || tensor.raw_data.is_empty() {
        return String::new();
    }
    let (values, _) = tensor.raw_data.as_chunks::<8>();
    let values: Vec<String> = values.iter().map(|&v| i64::from_le_bytes(v).to_string()).collect();
    format!(" = [{}]", values.join(","))
}

fn attribute(a: &onnx::Attribute) -> String {
    let value = match a.kind {
        attribute_kind::FLOAT => a.f.unwrap_or_default().to_string(),
        attribute_kind::INT => a.i.unwrap_or_default().to_string(),
        attribute_kind::STRING => String::from_utf8_lossy(a.s.as_deref().unwrap_or_default()).into_owned(),
        attribute_kind::INTS => format!("[{}]", a.ints.iter().map(i64::to_string).collect::<Vec<_>>().join(",")),
        other => format!("kind {other}"),
    };
    format!("{}={value}", a.name)
}
