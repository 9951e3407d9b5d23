//! Quantised values: what the system decodes when it loads the program, and pairs around activations.

use super::call::{Call, Decoded};
use super::values::graph_type;
use vitc_ir::{DType, Op, Shape, Value};

/// A code at 0 stands for the number 0 in all that is read.
fn no_shift(call: &mut Call<'_, '_>, input: &str) -> Result<(), String> {
    match call.has(input) && call.zeros(input)? {
        false if call.has(input) => Err(format!("a {input} that is not 0 is not read")),
        _ => Ok(()),
    }
}

pub(super) fn quantize(call: &mut Call<'_, '_>) -> Decoded {
    no_shift(call, "zero_point")?;
    let to = match call.word("output_dtype")? {
        "int8" => DType::I8,
        "uint8" => DType::U8,
        other => return Err(format!("to {other} is not read")),
    };
    Ok((Op::Quantize { to }, vec![call.value("input")?, call.value("scale")?]))
}

pub(super) fn dequantize(call: &mut Call<'_, '_>) -> Decoded {
    no_shift(call, "zero_point")?;
    Ok((Op::Dequantize, vec![call.value("input")?, call.value("scale")?]))
}

/// A constant that stands in place in the operation.
fn attribute(call: &mut Call<'_, '_>, name: &str) -> Result<Value, String> {
    let operation = call.operation;
    let value = operation.attributes.get(name).ok_or_else(|| format!("the attribute {name} is missing"))?;
    let own = operation.outputs.first().map(|o| o.name.as_str()).unwrap_or_default();
    call.body.in_place(value, &format!("{own}.{name}"))
}

/// An attribute that is one whole number.
fn number(call: &mut Call<'_, '_>, name: &str) -> Result<usize, String> {
    let value = attribute(call, name)?;
    match call.body.graph.op(value) {
        Op::Literal { values } if values.len() == 1 && values[0].0 >= 0.0 => Ok(values[0].0 as usize),
        _ => Err(format!("the attribute {name} is not a number that is read")),
    }
}

pub(super) fn affine(call: &mut Call<'_, '_>) -> Decoded {
    let (codes, scale) = (attribute(call, "quantized_data")?, attribute(call, "scale")?);
    let zero = attribute(call, "zero_point")?;
    if !matches!(call.body.graph.op(zero), Op::Literal { values } if values.iter().all(|v| v.0 == 0.0)) {
        return Err("a zero_point that is not 0 is not read".into());
    }
    let axis = number(call, "axis")?;
    let graph = &mut *call.body.graph;
    let rank = graph.shape(codes).rank();
    let scale = match graph.shape(scale).0[..] {
        [] => scale,
        [size] if axis < rank => {
            let mut dims = vec![vitc_ir::Dim::Fixed(1); rank];
            dims[axis] = size;
            let path = format!("{}.spread", graph.value_name(scale));
            let shaped = graph.push(Op::Reshape { shape: Shape(dims) }, &[scale], &path);
            shaped.map_err(|e| e.to_string())?.into()
        }
        _ => return Err(format!("a scale {} along axis {axis} is not read", graph.ty(scale))),
    };
    Ok((Op::Dequantize, vec![call.body.keep(codes)?, scale]))
}

pub(super) fn blocks(call: &mut Call<'_, '_>) -> Decoded {
    no_shift(call, "offset")?;
    let (codes, scale) = (call.value("data")?, call.value("scale")?);
    Ok((Op::Dequantize, vec![call.body.keep(codes)?, scale]))
}

pub(super) fn lookup(call: &mut Call<'_, '_>) -> Decoded {
    let [output] = call.operation.outputs.as_slice() else { return Err("has not one result".into()) };
    let shape = graph_type(output.r#type.as_ref())?.shape;
    let flat = call.operation.attributes.contains_key("lut");
    let (codes, table) = match flat {
        true => (attribute(call, "indices")?, attribute(call, "lut")?),
        false => (call.value("indices")?, call.value("lut")?),
    };
    let graph = &mut *call.body.graph;
    let sizes = graph.shape(table).at(1);
    // Parts, then as many entries as codes can name, one number each.
    let (parts, entries) = match (flat, &sizes[..]) {
        (true, &[entries]) => (1, entries),
        (false, &[parts, ref ones @ .., entries, 1])
            if ones.len() + 1 == shape.rank() && ones.iter().all(|&n| n == 1) =>
        {
            (parts, entries)
        }
        _ => return Err(format!("a table of shape {sizes:?} is not read")),
    };
    let Some(bits) = (1..=8).find(|&bits| 1 << bits == entries) else {
        return Err(format!("a table of {entries} entries is not read"));
    };
    let bytes = graph.shape(codes).elements();
    let path = format!("{}.bytes", graph.value_name(codes));
    let codes = match graph.shape(codes).rank() {
        1 => codes,
        _ => graph
            .push(Op::Reshape { shape: Shape::fixed(&[bytes]) }, &[codes], &path)
            .map_err(|e| e.to_string())?
            .into(),
    };
    let path = format!("{}.rows", graph.value_name(table));
    let rows = Op::Reshape { shape: Shape::fixed(&[parts, entries]) };
    let table = graph.push(rows, &[table], &path).map_err(|e| e.to_string())?.into();
    let table = call.body.keep(table)?;
    Ok((Op::Lookup { bits, shape }, vec![call.body.keep(codes)?, table]))
}
