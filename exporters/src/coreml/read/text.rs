//! A program as text: one operation per line, its constants in place. For people and snapshots; no numbers of trained
//! weights.
//!
//! ```text
//! main(image: fp32[1,3,224,224]) CoreML5
//! stem_conv1: fp16[1,16,112,112] = conv(x=image_cast, weight=stem_w:fp16[16,3,3,3], pad=[1,1,1,1], …)
//! return logits
//! ```

use super::error::ReadError;
use super::files;
use crate::coreml::messages::{
    Argument, Block, DataType, Model, NamedValueType, Operation, TensorType, Value, ValueType, binding, dimension,
    model, tensor_value, value, value_type,
};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

/// The program of a package as text.
///
/// # Errors
/// If the manifest or the model file cannot be read.
pub fn text(package: &Path) -> Result<String, ReadError> {
    files::model(package).map(|m| print(&m))
}

/// The program of a model as text; empty for another kind of model.
pub fn print(model: &Model) -> String {
    let mut out = String::new();
    let Some(model::Kind::Program(program)) = &model.kind else { return out };
    for (name, function) in &program.functions {
        let inputs: Vec<String> = function.inputs.iter().map(named).collect();
        for (opset, block) in &function.block_specializations {
            let _ = writeln!(out, "{name}({}) {opset}", inputs.join(", "));
            print_block(&mut out, block);
        }
    }
    out
}

fn print_block(out: &mut String, block: &Block) {
    let constants: HashMap<&str, &Value> = (block.operations.iter())
        .filter(|o| o.r#type == "const")
        .filter_map(|o| Some((o.outputs.first()?.name.as_str(), o.attributes.get("val")?)))
        .collect();
    for operation in block.operations.iter().filter(|o| o.r#type != "const") {
        print_operation(out, operation, &constants);
    }
    let _ = writeln!(out, "return {}", block.outputs.join(", "));
}

fn print_operation(out: &mut String, operation: &Operation, constants: &HashMap<&str, &Value>) {
    let results: Vec<String> = operation.outputs.iter().map(named).collect();
    // Values that flow first, then weights, then parameters; each group by name.
    let mut inputs: Vec<(u8, String)> = Vec::new();
    for (input, argument) in &operation.inputs {
        let (rank, bound) = print_argument(argument, constants);
        inputs.push((rank, format!("{input}={bound}")));
    }
    inputs.sort();
    let inputs: Vec<String> = inputs.into_iter().map(|(_, text)| text).collect();
    let _ = writeln!(out, "{} = {}({})", results.join(", "), operation.r#type, inputs.join(", "));
}

fn print_argument(argument: &Argument, constants: &HashMap<&str, &Value>) -> (u8, String) {
    let mut rank = 0;
    let mut bound = Vec::new();
    for binding in &argument.arguments {
        bound.push(match &binding.kind {
            Some(binding::Kind::Name(name)) => match constants.get(name.as_str()) {
                Some(value) => match parameter(value) {
                    Some(text) => {
                        rank = rank.max(2);
                        text
                    }
                    None => {
                        rank = rank.max(1);
                        format!("{name}:{}", print_type(value.r#type.as_ref()))
                    }
                },
                None => name.clone(),
            },
            Some(binding::Kind::Value(value)) => {
                rank = rank.max(2);
                print_type(value.r#type.as_ref())
            }
            None => "?".to_string(),
        });
    }
    let text = if bound.len() == 1 { bound.remove(0) } else { format!("({})", bound.join(", ")) };
    (rank, text)
}

/// A parameter's value. `None` for what may be a weight: float arrays, and anything long.
fn parameter(value: &Value) -> Option<String> {
    let Some(value::Kind::Immediate(immediate)) = &value.kind else { return None };
    let Some(value::immediate::Kind::Tensor(tensor)) = &immediate.kind else { return None };
    let scalar = matches!(
        value.r#type.as_ref().and_then(|t| t.kind.as_ref()),
        Some(value_type::Kind::Tensor(TensorType { rank: 0, .. }))
    );
    let list = |items: Vec<String>| match (scalar, items.len()) {
        (true, 1) => Some(items.into_iter().collect()),
        (_, n) if n <= 16 => Some(format!("[{}]", items.join(","))),
        _ => None,
    };
    match tensor.kind.as_ref()? {
        tensor_value::Kind::Floats(f) if scalar => list(f.values.iter().map(f32::to_string).collect()),
        tensor_value::Kind::Bytes(b) if scalar => {
            let half = half::f16::from_le_bytes(b.values.as_slice().try_into().ok()?);
            Some(half.to_string())
        }
        tensor_value::Kind::Ints(i) => list(i.values.iter().map(i32::to_string).collect()),
        tensor_value::Kind::Bools(b) => list(b.values.iter().map(bool::to_string).collect()),
        tensor_value::Kind::Strings(s) => list(s.values.iter().map(|s| format!("{s:?}")).collect()),
        tensor_value::Kind::Floats(_)
        | tensor_value::Kind::Bytes(_)
        | tensor_value::Kind::LongInts(_)
        | tensor_value::Kind::Doubles(_) => None,
    }
}

fn named(value: &NamedValueType) -> String {
    format!("{}: {}", value.name, print_type(value.r#type.as_ref()))
}

fn print_type(ty: Option<&ValueType>) -> String {
    match ty.and_then(|t| t.kind.as_ref()) {
        Some(value_type::Kind::Tensor(t)) => {
            let size = |d: &crate::coreml::messages::Dimension| match d.kind {
                Some(dimension::Kind::Constant(c)) => c.size.to_string(),
                Some(dimension::Kind::Unknown(_)) | None => "?".to_string(),
            };
            let dims: Vec<String> = t.dimensions.iter().map(size).collect();
            format!("{}[{}]", element(t.data_type), dims.join(","))
        }
        Some(value_type::Kind::List(l)) => {
            let length = match l.length.as_ref().and_then(|d| d.kind) {
                Some(dimension::Kind::Constant(c)) => c.size.to_string(),
                Some(dimension::Kind::Unknown(_)) | None => "?".to_string(),
            };
            format!("list[{},{length}]", print_type(l.r#type.as_ref()))
        }
        Some(value_type::Kind::Dictionary(d)) => {
            format!("dict[{},{}]", print_type(d.key_type.as_ref()), print_type(d.value_type.as_ref()))
        }
        None => "?".to_string(),
    }
}

fn element(data_type: i32) -> &'static str {
    match DataType::try_from(data_type) {
        Ok(DataType::Bool) => "bool",
        Ok(DataType::String) => "string",
        Ok(DataType::Float16) => "fp16",
        Ok(DataType::Float32) => "fp32",
        Ok(DataType::Float64) => "fp64",
        Ok(DataType::Int32) => "int32",
        Ok(DataType::Int64) => "int64",
        Ok(DataType::Int8) => "int8",
        Ok(DataType::Uint8) => "uint8",
        Ok(DataType::Int4) => "int4",
        Ok(DataType::Uint32) => "uint32",
        Ok(DataType::Uint1) => "uint1",
        Ok(DataType::Uint2) => "uint2",
        Ok(DataType::Uint3) => "uint3",
        Ok(DataType::Uint4) => "uint4",
        Ok(DataType::Uint6) => "uint6",
        Ok(DataType::Unused) | Err(_) => "?",
    }
}
