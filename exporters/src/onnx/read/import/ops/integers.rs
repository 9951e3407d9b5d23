//! Products of codes: what quantising tools write instead of pairs around activations, by its definition on floats.
//!
//! A code is a float that holds a whole number, so sums of products are exact up to 2^24 and rounded as any other fp32 sum beyond.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use super::quantised::{self, whole};
use super::recurrent::{self, Cell, Layer};
use super::{products, reduce};
use vitc_ir::{BinaryKind, Dim, Op, Real, UnaryKind, Value};

/// Sums beyond this are rounded in fp32.
const EXACT: f64 = 16_777_216.0;
/// The least positive fp32: no scale is zero, whatever is measured.
const LEAST: f64 = 1.175_494_4e-38;

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "ConvInteger" => conv,
        "MatMulInteger" => matmul,
        "DynamicQuantizeLinear" => dynamic,
        "QLinearConv" => linear_conv,
        "QLinearMatMul" => linear_matmul,
        _ => return None,
    })
}

/// The same of ONNX Runtime's own set.
pub(super) fn find_contrib(op: &str) -> Option<Read> {
    Some(match op {
        "DynamicQuantizeMatMul" => dynamic_matmul,
        "MatMulIntegerToFloat" => matmul_to_float,
        "DynamicQuantizeLSTM" => dynamic_lstm,
        "QLinearAdd" | "QLinearMul" => linear_binary,
        "QLinearSigmoid" | "QLinearLeakyRelu" => linear_function,
        "QLinearGlobalAveragePool" => linear_pool,
        "QLinearConcat" => linear_concat,
        "QGemm" => linear_gemm,
        _ => return None,
    })
}

/// Codes less their zero point, which stands along `along` if there is one for each index.
fn centred(cx: &mut Cx, codes: &Val, zero: &Val, along: usize, path: &str) -> Done<Value> {
    let x = whole(cx, codes, path)?;
    if zero.is_absent() {
        return Ok(x);
    }
    let idle = cx.known(zero).and_then(|k| k.reals()).is_some_and(|z| z.iter().all(|&z| z == 0.0));
    if idle {
        return Ok(x);
    }
    let rank = cx.shape(x).len();
    let zero = spread(cx, zero, rank, along, &format!("{path}.zero"))?;
    let zero = whole(cx, &zero, &format!("{path}.zero"))?;
    cx.binary(BinaryKind::Sub, x, zero, &format!("{path}.centred"))
}

/// One number, or one for each index of an axis, as it broadcasts against a value of this rank.
fn spread(cx: &mut Cx, value: &Val, rank: usize, along: usize, path: &str) -> Done<Val> {
    match cx.fixed(value)?[..] {
        // What is measured is a vector of one.
        [1] if cx.known(value).is_none() => Ok(value.clone()),
        [] | [1] => {
            let behind = if let Val::Node(v, elem) = value { cx.vector_behind(*v).map(|v| (v, *elem)) } else { None };
            match behind {
                Some((vector, elem)) => Ok(Val::Node(vector, elem)),
                None => cx.reshaped(value, &[], path),
            }
        }
        [n] if along < rank => {
            let shape: Vec<Dim> = (0..rank).map(|i| Dim::Fixed(if i == along { n } else { 1 })).collect();
            cx.reshaped(value, &shape, path)
        }
        ref dims => Err(format!("has scales or zero points {dims:?}").into()),
    }
}

/// `(codes − zero)·scale`.
fn real(cx: &mut Cx, [codes, scale, zero]: [&Val; 3], along: usize, path: &str) -> Done<Value> {
    let x = centred(cx, codes, zero, along, path)?;
    let rank = cx.shape(x).len();
    let scale = spread(cx, scale, rank, along, &format!("{path}.scale"))?;
    let scale = float(cx, &scale, &format!("{path}.scale"))?;
    cx.binary(BinaryKind::Mul, x, scale, &format!("{path}.real"))
}

/// `round(y/scale) + zero` within the codes of the zero point's type.
fn coded(cx: &mut Cx, y: Value, scale: &Val, zero: &Val, path: &str) -> Done<Val> {
    let elem = if zero.is_absent() { Elem::Uint(8) } else { cx.elem(zero)? };
    let scale = spread(cx, scale, 0, 0, &format!("{path}.scale"))?;
    let zero = if zero.is_absent() { None } else { Some(spread(cx, zero, 0, 0, &format!("{path}.zero"))?) };
    quantised::codes(cx, y, &scale, zero.as_ref(), elem, path)
}

/// Sums that are not exact are said to be.
fn sums(cx: &mut Cx, depth: usize) {
    if depth as f64 * 255.0 * 255.0 > EXACT {
        cx.note("sums of integer products are computed in fp32, rounded beyond 2^24".into());
    }
}

fn conv(cx: &mut Cx, c: &Call<'_>) -> Done {
    let x = centred(cx, c.needed(0)?, c.input(2), 1, &c.at("x"))?;
    let w = centred(cx, c.needed(1)?, c.input(3), 0, &c.at("w"))?;
    sums(cx, cx.sizes(w)?.iter().skip(1).product());
    Ok(vec![Val::Node(products::convolution(cx, c, x, w, None)?, Elem::Int(32))])
}

/// The operands of a product without their zero points: those of the left one by row, of the right one by column.
fn factors(cx: &mut Cx, c: &Call<'_>, zeros: [usize; 2]) -> Done<[Value; 2]> {
    let ranks = [cx.dims(c.needed(0)?)?.len(), cx.dims(c.needed(1)?)?.len()];
    let a = centred(cx, c.needed(0)?, c.input(zeros[0]), ranks[0].saturating_sub(2), &c.at("a"))?;
    let b = centred(cx, c.needed(1)?, c.input(zeros[1]), ranks[1].saturating_sub(1), &c.at("b"))?;
    if let Some(&depth) = cx.shape(a).last() {
        sums(cx, cx.size(depth)?);
    }
    Ok([a, b])
}

fn matmul(cx: &mut Cx, c: &Call<'_>) -> Done {
    let [a, b] = factors(cx, c, [2, 3])?;
    Ok(vec![Val::Node(products::product(cx, a, b, &c.path)?, Elem::Int(32))])
}

/// Codes, scale and zero point of a value whose range is measured when the model runs.
struct Measured {
    codes: Value,
    scale: Value,
    zero: Value,
}

/// The range with zero in it, in 255 steps.
fn measured(cx: &mut Cx, x: Value, path: &str) -> Done<Measured> {
    let at = |name: &str| format!("{path}.{name}");
    let axes: Vec<usize> = (0..cx.shape(x).len()).collect();
    // Vectors of one: phones have no scalars.
    let one = |cx: &mut Cx, y: Value, name: &str| cx.reshape(y, vec![Dim::Fixed(1)], &at(name));
    let most = reduce::spell(cx, "ReduceMax", x, axes.clone(), true, &at("most"))?;
    let most = one(cx, most, "most.one")?;
    let least = reduce::spell(cx, "ReduceMin", x, axes, true, &at("least"))?;
    let least = one(cx, least, "least.one")?;
    let most = cx.with(BinaryKind::Max, most, 0.0, &at("top"))?;
    let least = cx.with(BinaryKind::Min, least, 0.0, &at("bottom"))?;
    let range = cx.binary(BinaryKind::Sub, most, least, &at("range"))?;
    let scale = cx.with(BinaryKind::Div, range, 255.0, &at("step"))?;
    let scale = cx.with(BinaryKind::Max, scale, LEAST, &at("scale"))?;
    let zero = cx.binary(BinaryKind::Div, least, scale, &at("offset"))?;
    let zero = cx.unary(UnaryKind::Neg, zero, &at("offset.up"))?;
    let zero = cx.unary(UnaryKind::Round, zero, &at("offset.whole"))?;
    let byte = Op::Clip { lo: Real(0.0), hi: Real(255.0) };
    let zero = cx.push(byte.clone(), &[zero], &at("zero"))?;
    let steps = cx.binary(BinaryKind::Div, x, scale, &at("steps"))?;
    let steps = cx.unary(UnaryKind::Round, steps, &at("round"))?;
    let shifted = cx.binary(BinaryKind::Add, steps, zero, &at("shifted"))?;
    let codes = cx.push(byte, &[shifted], path)?;
    Ok(Measured { codes, scale, zero })
}

/// What is left of a value once its range was measured: `(codes − zero)·scale`.
fn through_codes(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let Measured { codes, scale, zero } = measured(cx, x, &format!("{path}.codes"))?;
    let centred = cx.binary(BinaryKind::Sub, codes, zero, &format!("{path}.centred"))?;
    cx.binary(BinaryKind::Mul, centred, scale, path)
}

fn dynamic(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let Measured { codes, scale, zero } = measured(cx, x, &c.path)?;
    let scale = cx.reshape(scale, Vec::new(), &c.at("scale.scalar"))?;
    let zero = cx.reshape(zero, Vec::new(), &c.at("zero.scalar"))?;
    let byte = Elem::Uint(8);
    Ok(vec![Val::Node(codes, byte), Val::Node(scale, elem), Val::Node(zero, byte)])
}

fn linear_conv(cx: &mut Cx, c: &Call<'_>) -> Done {
    let x = real(cx, [c.needed(0)?, c.needed(1)?, c.input(2)], 1, &c.at("x"))?;
    let w = real(cx, [c.needed(3)?, c.needed(4)?, c.input(5)], 0, &c.at("w"))?;
    // A bias counts in products of both scales.
    let bias = match c.input(8) {
        Val::Absent => None,
        codes => {
            let steps = whole(cx, codes, &c.at("bias"))?;
            let by_input = spread(cx, c.needed(1)?, 1, 0, &c.at("bias.x"))?;
            let by_input = float(cx, &by_input, &c.at("bias.x"))?;
            let by_weight = spread(cx, c.needed(4)?, 1, 0, &c.at("bias.w"))?;
            let by_weight = float(cx, &by_weight, &c.at("bias.w"))?;
            let scale = cx.binary(BinaryKind::Mul, by_input, by_weight, &c.at("bias.scale"))?;
            Some(cx.binary(BinaryKind::Mul, steps, scale, &c.at("bias.real"))?)
        }
    };
    let y = products::convolution(cx, c, x, w, bias)?;
    Ok(vec![coded(cx, y, c.needed(6)?, c.input(7), &c.at("out"))?])
}

fn linear_matmul(cx: &mut Cx, c: &Call<'_>) -> Done {
    let ranks = [cx.dims(c.needed(0)?)?.len(), cx.dims(c.needed(3)?)?.len()];
    let a = real(cx, [c.needed(0)?, c.needed(1)?, c.input(2)], ranks[0].saturating_sub(2), &c.at("a"))?;
    let b = real(cx, [c.needed(3)?, c.needed(4)?, c.input(5)], ranks[1].saturating_sub(1), &c.at("b"))?;
    let y = products::product(cx, a, b, &c.path)?;
    Ok(vec![coded(cx, y, c.needed(6)?, c.input(7), &c.at("out"))?])
}

fn linear_gemm(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.int("transA", 0)? != 0 || c.float("alpha", 1.0)? != 1.0 {
        return Err("turns or scales its first operand".into());
    }
    let turned = c.int("transB", 0)? != 0;
    let a = real(cx, [c.needed(0)?, c.needed(1)?, c.input(2)], 0, &c.at("a"))?;
    let b = real(cx, [c.needed(3)?, c.needed(4)?, c.input(5)], usize::from(!turned), &c.at("b"))?;
    let mut y = cx.product([a, b], [false, turned], &c.path)?;
    if !c.input(6).is_absent() {
        let steps = whole(cx, c.input(6), &c.at("bias"))?;
        let left = spread(cx, c.needed(1)?, 0, 0, &c.at("bias.a"))?;
        let left = float(cx, &left, &c.at("bias.a"))?;
        let right = spread(cx, c.needed(4)?, 1, 0, &c.at("bias.b"))?;
        let right = float(cx, &right, &c.at("bias.b"))?;
        let scale = cx.binary(BinaryKind::Mul, left, right, &c.at("bias.scale"))?;
        let bias = cx.binary(BinaryKind::Mul, steps, scale, &c.at("bias.real"))?;
        y = cx.binary(BinaryKind::Add, y, bias, &c.at("sum"))?;
    }
    match c.input(7) {
        Val::Absent => Ok(vec![Val::Node(y, Elem::F32)]),
        scale => Ok(vec![coded(cx, y, scale, c.input(8), &c.at("out"))?]),
    }
}

fn linear_binary(cx: &mut Cx, c: &Call<'_>) -> Done {
    let a = real(cx, [c.needed(0)?, c.needed(1)?, c.input(2)], 0, &c.at("a"))?;
    let b = real(cx, [c.needed(3)?, c.needed(4)?, c.input(5)], 0, &c.at("b"))?;
    let kind = if c.op() == "QLinearAdd" { BinaryKind::Add } else { BinaryKind::Mul };
    let y = cx.binary(kind, a, b, &c.path)?;
    Ok(vec![coded(cx, y, c.needed(6)?, c.input(7), &c.at("out"))?])
}

fn linear_function(cx: &mut Cx, c: &Call<'_>) -> Done {
    let x = real(cx, [c.needed(0)?, c.needed(1)?, c.input(2)], 0, &c.at("x"))?;
    let kind = match c.op() {
        "QLinearSigmoid" => UnaryKind::Sigmoid,
        _ => UnaryKind::LeakyRelu { slope: Real(c.float("alpha", 0.01)?) },
    };
    let y = cx.unary(kind, x, &c.path)?;
    Ok(vec![coded(cx, y, c.needed(3)?, c.input(4), &c.at("out"))?])
}

fn linear_pool(cx: &mut Cx, c: &Call<'_>) -> Done {
    let x = real(cx, [c.needed(0)?, c.needed(1)?, c.input(2)], 0, &c.at("x"))?;
    let rank = cx.shape(x).len();
    if rank < 3 {
        return Err(format!("pools a value of rank {rank}").into());
    }
    let axes = if c.int("channels_last", 0)? != 0 { (1..rank - 1).collect() } else { (2..rank).collect() };
    let y = reduce::spell(cx, "ReduceMean", x, axes, true, &c.path)?;
    Ok(vec![coded(cx, y, c.needed(3)?, c.input(4), &c.at("out"))?])
}

fn linear_concat(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mut parts = Vec::new();
    for (i, triple) in c.inputs.get(2..).unwrap_or_default().chunks(3).enumerate() {
        let [codes, scale, zero] = triple else { return Err("has a part without a scale or a zero point".into()) };
        parts.push(Val::Node(real(cx, [codes, scale, zero], 0, &c.at(&format!("x{i}")))?, Elem::F32));
    }
    let rank = cx.dims(parts.first().ok_or("joins nothing")?)?.len();
    let joined = cx.joined(&parts, axis(c.int("axis", 0)?, rank)?, &c.path)?;
    let y = float(cx, &joined, &c.at("joined"))?;
    Ok(vec![coded(cx, y, c.needed(0)?, c.input(1), &c.at("out"))?])
}

fn matmul_to_float(cx: &mut Cx, c: &Call<'_>) -> Done {
    let [a, b] = factors(cx, c, [4, 5])?;
    let y = products::product(cx, a, b, &c.path)?;
    let rank = cx.shape(y).len();
    scaled(cx, c, y, [(2, rank.saturating_sub(2)), (3, rank.saturating_sub(1))], 6)
}

/// A product times the scales in these operands, along these axes, and a bias.
fn scaled(cx: &mut Cx, c: &Call<'_>, mut y: Value, scales: [(usize, usize); 2], bias: usize) -> Done {
    let rank = cx.shape(y).len();
    for (slot, along) in scales {
        let path = c.at(&format!("scale{slot}"));
        let scale = spread(cx, c.needed(slot)?, rank, along, &path)?;
        let scale = float(cx, &scale, &path)?;
        y = cx.binary(BinaryKind::Mul, y, scale, &c.at(&format!("scaled{slot}")))?;
    }
    if !c.input(bias).is_absent() {
        y = products::add(cx, y, c.input(bias), &c.at("biased"))?;
    }
    Ok(vec![Val::Node(y, Elem::F32)])
}

fn dynamic_matmul(cx: &mut Cx, c: &Call<'_>) -> Done {
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let a = through_codes(cx, x, &c.at("a"))?;
    let rank = cx.dims(c.needed(1)?)?.len();
    let b = real(cx, [c.needed(1)?, c.needed(2)?, c.input(3)], rank.saturating_sub(1), &c.at("b"))?;
    let mut y = products::product(cx, a, b, &c.path)?;
    if !c.input(4).is_absent() {
        y = products::add(cx, y, c.input(4), &c.at("biased"))?;
    }
    Ok(vec![Val::Node(y, Elem::F32)])
}

/// An LSTM whose weights are codes `[directions,in,4·h]` and whose products measure their left operands: the sequence once, the state at each step.
fn dynamic_lstm(cx: &mut Cx, c: &Call<'_>) -> Done {
    let layer = Layer::of(c, Cell::Lstm)?;
    if !c.input(7).is_absent() {
        return Err("looks at its cells through peepholes".into());
    }
    // The runtime measures the states of the rows that fall to one of its threads: of several rows nothing is defined.
    let rows = cx.dims(c.needed(0)?)?.get(usize::from(!layer.batch_first)).copied();
    if rows.is_some_and(|rows| rows != Dim::Fixed(1)) {
        return Err("measures states of a batch of more than 1, which depends on the threads it runs on".into());
    }
    let mut weights = Vec::new();
    for (slot, scale, name) in [(1, 8, "w"), (2, 10, "r")] {
        let codes = c.needed(slot)?;
        // One scale for each direction, or one for each of its columns.
        let along = |cx: &mut Cx, value: &Val, name: &str| {
            let dims = cx.fixed(value)?;
            let shape: Vec<Dim> = match dims[..] {
                [d] => [d, 1, 1].map(Dim::Fixed).to_vec(),
                [d, n] => [d, 1, n].map(Dim::Fixed).to_vec(),
                _ => return Err(format!("has scales {dims:?}").into()),
            };
            cx.reshaped(value, &shape, &c.at(name))
        };
        let zero = match c.input(scale + 1) {
            Val::Absent => Val::Absent,
            zero => along(cx, zero, &format!("{name}.zero"))?,
        };
        let scale = along(cx, c.needed(scale)?, &format!("{name}.scale"))?;
        let mut real = whole(cx, codes, &c.at(name))?;
        if !zero.is_absent() {
            let zero = whole(cx, &zero, &c.at(&format!("{name}.zero")))?;
            real = cx.binary(BinaryKind::Sub, real, zero, &c.at(&format!("{name}.centred")))?;
        }
        let scale = float(cx, &scale, &c.at(&format!("{name}.scale")))?;
        let real = cx.binary(BinaryKind::Mul, real, scale, &c.at(&format!("{name}.real")))?;
        weights.push(recurrent::upright(cx, &Val::Node(real, Elem::F32), &c.at(&format!("{name}.rows")))?);
    }
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let x = Val::Node(through_codes(cx, x, &c.at("sequence"))?, Elem::F32);
    let weights = [weights.remove(0), weights.remove(0), c.input(3).clone()];
    recurrent::run(cx, c, &x, &layer, &weights, &mut |cx, state, w, path| {
        let state = through_codes(cx, state, &format!("{path}.state"))?;
        cx.push(Op::Linear, &[state, w], path)
    })
}
