//! Operators of ONNX Runtime that its optimiser writes into files.

use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::{float, gated};
use super::{attention, integers, norms, products, quantised};
use vitc_ir::{BinaryKind, Op, Real, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Gelu" | "FastGelu" | "BiasGelu" | "QuickGelu" => gelu,
        "FusedConv" => conv,
        "FusedMatMul" => matmul,
        "SkipLayerNormalization" => skip_layer,
        "SimplifiedLayerNormalization" => simplified,
        "LayerNormalization" => return norms::find("LayerNormalization"),
        "DequantizeLinear" | "QuantizeLinear" => return quantised::find(op),
        other => return integers::find_contrib(other).or_else(|| attention::find_contrib(other)),
    })
}

fn gelu(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let mut x = float(cx, c.needed(0)?, &c.at("x"))?;
    if !c.input(1).is_absent() {
        x = products::add(cx, x, c.input(1), &c.at("biased"))?;
    }
    let y = match c.op() {
        "FastGelu" => cx.unary(UnaryKind::GeluTanh, x, &c.path)?,
        "QuickGelu" => gated(cx, x, c.float("alpha", 1.702)?, &c.path)?,
        _ => cx.unary(UnaryKind::Gelu, x, &c.path)?,
    };
    Ok(vec![Val::Node(y, elem)])
}

/// The function behind a fused product.
fn activated(cx: &mut Cx, c: &Call<'_>, x: Value) -> Done<Value> {
    let parameters = c.floats("activation_params")?.unwrap_or_default();
    let parameter = |i: usize, default: f32| f64::from(parameters.get(i).copied().unwrap_or(default));
    let path = c.at("act");
    match c.text("activation", "")? {
        "" => Ok(x),
        "Relu" => cx.unary(UnaryKind::Relu, x, &path),
        "Tanh" => cx.unary(UnaryKind::Tanh, x, &path),
        "Sigmoid" => cx.unary(UnaryKind::Sigmoid, x, &path),
        "LeakyRelu" => cx.unary(UnaryKind::LeakyRelu { slope: Real(parameter(0, 0.01)) }, x, &path),
        "HardSigmoid" => {
            cx.unary(UnaryKind::HardSigmoid { alpha: Real(parameter(0, 0.2)), beta: Real(parameter(1, 0.5)) }, x, &path)
        }
        "Clip" if parameter(0, -1.0) < parameter(1, 1.0) => {
            cx.push(Op::Clip { lo: Real(parameter(0, -1.0)), hi: Real(parameter(1, 1.0)) }, &[x], &path)
        }
        other => Err(format!("fuses the function {other:?}").into()),
    }
}

fn conv(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let (x, w) = (float(cx, c.needed(0)?, &c.at("x"))?, float(cx, c.needed(1)?, &c.at("weight"))?);
    let bias = if c.input(2).is_absent() { None } else { Some(float(cx, c.input(2), &c.at("bias"))?) };
    let mut y = products::convolution(cx, c, x, w, bias)?;
    if !c.input(3).is_absent() {
        y = products::add(cx, y, c.input(3), &c.at("sum"))?;
    }
    Ok(vec![Val::Node(activated(cx, c, y)?, elem)])
}

fn matmul(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.int("transBatchA", 0)? != 0 || c.int("transBatchB", 0)? != 0 {
        return Err("moves the batch".into());
    }
    let elem = cx.elem(c.needed(0)?)?;
    let (a, b) = (float(cx, c.needed(0)?, &c.at("a"))?, float(cx, c.needed(1)?, &c.at("b"))?);
    let op = Op::MatMul { transpose_a: c.int("transA", 0)? != 0, transpose_b: c.int("transB", 0)? != 0 };
    let alpha = c.float("alpha", 1.0)?;
    let y = cx.push(op, &[a, b], &c.path)?;
    Ok(vec![Val::Node(if alpha == 1.0 { y } else { cx.with(BinaryKind::Mul, y, alpha, &c.at("scaled"))? }, elem)])
}

fn skip_layer(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.wants(1) || c.wants(2) {
        return Err("returns its mean or variance".into());
    }
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let mut sum = products::add(cx, x, c.needed(1)?, &c.at("sum"))?;
    if !c.input(4).is_absent() {
        sum = products::add(cx, sum, c.input(4), &c.at("biased"))?;
    }
    let last = cx.shape(sum).len() - 1;
    // The operator's own default is smaller than that of the standard one.
    let y = norms::layer_norm(cx, sum, last, c.input(2), c.input(3), c.float("epsilon", 1e-12)?, &c.path)?;
    let absent = Val::Missing("its mean and variance are not computed".into());
    Ok(vec![Val::Node(y, elem), absent.clone(), absent, Val::Node(sum, elem)])
}

fn simplified(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let from = axis(c.int("axis", -1)?, cx.shape(x).len())?;
    Ok(vec![Val::Node(norms::rms_norm(cx, x, from, c.input(1), c.float("epsilon", 1e-5)?, &c.path)?, elem)])
}
