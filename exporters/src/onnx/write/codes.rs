//! Quantised values: `QuantizeLinear` and `DequantizeLinear`, zero points 0.

use super::builder::{Builder, Spelling};
use vitc_ir::{DType, Node, Real, Shape, Value};

/// A pair's scale has the values' type, f16 from opset 19 on.
fn scale_type(b: &Builder<'_>, scale: Value) -> Result<(), String> {
    match b.graph.ty(scale).dtype {
        DType::F16 if b.opset < 19 => Err(format!("scales in fp16 exist from opset 19, this is {}", b.opset)),
        _ => Ok(()),
    }
}

pub(super) fn quantize(b: &mut Builder<'_>, node: &Node, to: DType) -> Result<Spelling, String> {
    scale_type(b, node.inputs[1])?;
    let zero = b.scalar(Real(0.0), to)?;
    let mut inputs = b.read_all(&node.inputs);
    inputs.push(zero);
    Ok(Spelling::new("QuantizeLinear", inputs))
}

/// One scale, or one for each index of an axis.
pub(super) fn dequantize(b: &mut Builder<'_>, node: &Node) -> Result<Spelling, String> {
    let (graph, [codes, scale]) = (b.graph, [node.inputs[0], node.inputs[1]]);
    scale_type(b, scale)?;
    let wide: Vec<usize> = (0..graph.shape(scale).rank()).filter(|&a| graph.shape(scale).0[a].at(1) > 1).collect();
    let per_index = |a: usize| graph.shape(scale).0[a] == graph.shape(codes).0[a];
    let (axis, shape) = match wide[..] {
        [] => (None, Shape::default()),
        [a] if per_index(a) => (Some(a), Shape(vec![graph.shape(scale).0[a]])),
        _ => return Err(format!("DequantizeLinear takes one scale or one per index, found {}", graph.shape(scale))),
    };
    let scale = match graph.is_stored(scale) {
        true => b.read_as(scale, &shape),
        false => return Err("DequantizeLinear's scale is a constant".into()),
    };
    let mut inputs = vec![b.read(codes), scale];
    // Said for codes that are computed: ONNX Runtime repeats the pair behind moves, and takes a pair that says nothing for one of unsigned codes.
    if axis.is_none() && !graph.is_constant(codes) {
        inputs.push(b.scalar(Real(0.0), graph.ty(codes).dtype)?);
    }
    let node = Spelling::new("DequantizeLinear", inputs);
    match axis {
        None => Ok(node),
        Some(_) if b.opset < 13 => Err(format!("a scale per index exists from opset 13, this is {}", b.opset)),
        Some(axis) => Ok(node.int("axis", axis as i64)),
    }
}
