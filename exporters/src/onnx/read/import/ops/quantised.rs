//! Quantised constants and the pairs around activations, by their definitions on floats.
//!
//! A code that is computed at run time is kept as a float that holds a whole number; only dequantising reads it.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num, rounded};
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::{BinaryKind, Dim, Op, Real, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "DequantizeLinear" => dequantise,
        "QuantizeLinear" => quantise,
        _ => return None,
    })
}

/// A scale or zero point as it broadcasts against a value: one number, one for each index of an axis, or one for each block of an axis.
fn along(cx: &mut Cx, c: &Call<'_>, value: &Val, codes: &Val, name: &str) -> Done<Val> {
    let (dims, rank) = (cx.fixed(value)?, cx.dims(codes)?.len());
    let block = c.int("block_size", 0)?;
    if block != 0 {
        let at = axis(c.int("axis", 1)?, rank)?;
        let block = usize::try_from(block).map_err(|_| Refusal::new("has blocks of a negative size"))?;
        let size = cx.fixed(codes)?[at];
        if dims.len() != rank || dims[at] != size.div_ceil(block) {
            return Err(format!("has a scale {dims:?} for blocks of {block} along axis {at}, which has {size}").into());
        }
        let index: Vec<usize> = (0..size).map(|i| i / block).collect();
        return cx.taken(value, at, &index, &[size], &c.at(name));
    }
    match dims[..] {
        [] | [1] => cx.reshaped(value, &[], &c.at(name)),
        [n] => {
            let at = axis(c.int("axis", 1)?, rank)?;
            let shape: Vec<Dim> = (0..rank).map(|i| Dim::Fixed(if i == at { n } else { 1 })).collect();
            cx.reshaped(value, &shape, &c.at(name))
        }
        _ => Err(format!("has a scale {dims:?}").into()),
    }
}

fn dequantise(cx: &mut Cx, c: &Call<'_>) -> Done {
    let codes = c.needed(0)?.clone();
    let elem = cx.elem(c.needed(1)?)?;
    let scale = along(cx, c, c.needed(1)?, &codes, "scale")?;
    let zero = if c.input(2).is_absent() { None } else { Some(along(cx, c, c.input(2), &codes, "zero")?) };
    let far = match &codes {
        Val::Node(v, _) => !cx.graph.is_constant(*v),
        Val::Tensor(t) => t.len() > places::LIMIT,
        _ => false,
    };
    if far {
        let x = whole(cx, &codes, &c.at("x"))?;
        let scale = float(cx, &scale, &c.at("scale"))?;
        let shifted = match zero {
            Some(zero) => {
                let zero = whole(cx, &zero, &c.at("zero"))?;
                cx.binary(BinaryKind::Sub, x, zero, &c.at("shifted"))?
            }
            None => x,
        };
        return Ok(vec![Val::Node(cx.binary(BinaryKind::Mul, shifted, scale, &c.path)?, elem)]);
    }
    let (q, s) = (
        cx.constant(&codes).ok_or("its codes are too many")?,
        cx.constant(&scale).ok_or_else(|| Refusal::computed("its scale depends on the image"))?,
    );
    let z = match &zero {
        Some(zero) => cx.constant(zero).ok_or_else(|| Refusal::computed("its zero point depends on the image"))?,
        None => std::sync::Arc::new(Known::new(q.elem, vec![], vec![Num::int(0)])),
    };
    let (Some(s), Some(z)) = (s.expanded(&q.dims), z.expanded(&q.dims)) else {
        return Err("its scale does not fit".into());
    };
    let (Some(q), Some(s), Some(z), dims) = (q.reals(), s.reals(), z.reals(), q.dims.clone()) else {
        return Err("its codes are no numbers".into());
    };
    let data = q.iter().zip(&s).zip(&z).map(|((q, s), z)| Num::float(rounded((q - z) * s, elem))).collect();
    Ok(vec![Val::known(Known::new(elem, dims, data))])
}

/// Codes, or what else holds whole numbers, as floats of the graph.
pub(super) fn whole(cx: &mut Cx, value: &Val, path: &str) -> Done<Value> {
    let known = super::shapes::converted(cx, value, Elem::F32, path)?;
    float(cx, &known, path)
}

/// `round(x/s) + z` within the range of the codes, half to even.
fn quantise(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = match (c.input(2), c.int("output_dtype", 0)?) {
        (Val::Absent, 0) => Elem::Uint(8),
        (Val::Absent, code) => Elem::of(i32::try_from(code).unwrap_or(0)),
        (zero, _) => cx.elem(zero)?,
    };
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let scale = along(cx, c, c.needed(1)?, c.needed(0)?, "scale")?;
    let zero = if c.input(2).is_absent() { None } else { Some(along(cx, c, c.input(2), c.needed(0)?, "zero")?) };
    Ok(vec![codes(cx, x, &scale, zero.as_ref(), elem, &c.path)?])
}

/// Codes of a type, with a scale and a zero point that broadcast against the value.
pub(super) fn codes(cx: &mut Cx, x: Value, scale: &Val, zero: Option<&Val>, elem: Elem, path: &str) -> Done<Val> {
    let at = |name: &str| format!("{path}.{name}");
    let [lo, hi] = match elem {
        Elem::Int(2 | 4 | 8 | 16) | Elem::Uint(2 | 4 | 8 | 16) => elem.range(),
        other => return Err(format!("makes codes of {}", other.word()).into()),
    };
    let scale = float(cx, scale, &at("scale"))?;
    let steps = cx.binary(BinaryKind::Div, x, scale, &at("steps"))?;
    let mut code = cx.unary(UnaryKind::Round, steps, &at("round"))?;
    if let Some(zero) = zero {
        let idle = cx.known(zero).and_then(|k| k.reals()).is_some_and(|z| z.iter().all(|&z| z == 0.0));
        if !idle {
            let zero = whole(cx, zero, &at("zero"))?;
            code = cx.binary(BinaryKind::Add, code, zero, &at("shifted"))?;
        }
    }
    Ok(Val::Node(cx.push(Op::Clip { lo: Real(lo), hi: Real(hi) }, &[code], path)?, elem))
}
