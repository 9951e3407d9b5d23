//! Questions about infinity, and about what is no number.
//!
//! An infinite constant stands in the graph as a large number ([`LARGE`]), whatever small number is added to it. So what is infinite in the file is beyond
//! half of that number in the graph, and what asks for the one gets the other. What layers compute and no infinite constant went
//! into is never infinite; of an input it is not known.

use super::super::super::tensor::Elem;
use super::super::call::Call;
use super::super::cx::{Cx, Infinity, LARGE};
use super::super::known::{Known, Num};
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::{float, opposite};
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Op, UnaryKind, Value};

/// `IsNaN` and `IsInf`.
pub(super) fn asked(cx: &mut Cx, c: &Call<'_>) -> Done {
    let nan = c.op() == "IsNaN";
    let sides = if nan { [false; 2] } else { [c.int("detect_positive", 1)? != 0, c.int("detect_negative", 1)? != 0] };
    if let Some((data, dims)) = cx.known(c.needed(0)?).and_then(|k| Some((k.reals()?, k.dims.clone()))) {
        let [above, below] = sides;
        let holds = |x: f64| if nan { x.is_nan() } else { x.is_infinite() && (x > 0.0 && above || x < 0.0 && below) };
        let data = data.into_iter().map(|x| Num::int(i64::from(holds(x)))).collect();
        return Ok(vec![Val::known(Known::new(Elem::Bool, dims, data))]);
    }
    if !nan {
        return Err("looks for infinities at run time".into());
    }
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    Ok(vec![hidden_rows(cx, c, x)?])
}

/// A comparison with infinity; `None` if neither side is known to be infinite.
pub(super) fn compared(cx: &mut Cx, c: &Call<'_>, [x, y]: [&Val; 2]) -> Done<Option<Val>> {
    let (value, sign, turned) = match (infinite(cx, x), infinite(cx, y)) {
        (None, Some(sign)) => (x, sign, false),
        (Some(sign), None) => (y, sign, true),
        _ => return Ok(None),
    };
    // `x < +∞` is `x ≠ +∞`, and from the other side `+∞ > x`.
    let up = (sign > 0.0) != turned;
    let equal = match (c.op(), up) {
        ("Equal", _) | ("GreaterOrEqual", true) | ("LessOrEqual", false) => true,
        ("Less", true) | ("Greater", false) => false,
        _ => return Err("compares with infinity, which has one answer".into()),
    };
    let x = float(cx, value, &c.at("x"))?;
    let path = if equal { c.path.clone() } else { c.at("infinite") };
    let is = match cx.infinity(x) {
        Infinity::Never => cx.with(BinaryKind::Mul, x, 0.0, &path)?,
        Infinity::Stands => beyond(cx, x, sign, &path)?,
        Infinity::Unknown => return Err("looks for infinities at run time".into()),
    };
    let result = if equal { is } else { opposite(cx, is, &c.path)? };
    Ok(Some(Val::Node(result, Elem::Bool)))
}

/// The sign of a constant all of whose elements are the same infinity.
fn infinite(cx: &Cx, value: &Val) -> Option<f64> {
    let data = cx.known(value)?.reals()?;
    let first = *data.first()?;
    (first.is_infinite() && data.iter().all(|&x| x == first)).then(|| first.signum())
}

/// Whether elements are beyond what stands for an infinity of this sign, as 0 or 1.
fn beyond(cx: &mut Cx, x: Value, sign: f64, path: &str) -> Done<Value> {
    let signed = cx.with(BinaryKind::Mul, x, sign, &format!("{path}.signed"))?;
    let distance = cx.with(BinaryKind::Sub, signed, LARGE / 2.0, &format!("{path}.distance"))?;
    let above = cx.unary(UnaryKind::Sign, distance, &format!("{path}.sign"))?;
    cx.unary(UnaryKind::Relu, above, path)
}

/// Where a softmax is no number: on rows whose scores are all hidden by a mask.
fn hidden_rows(cx: &mut Cx, c: &Call<'_>, x: Value) -> Done<Val> {
    let node = cx.graph.producer(x);
    let (Op::Softmax { axis }, scores) = (&node.op, node.inputs.first().copied()) else {
        return Err("asks at run time for what is no number".into());
    };
    let (axes, shape) = (vec![*axis], cx.graph.shape(x).clone());
    let scores = scores.ok_or("a softmax without scores")?;
    match cx.infinity(scores) {
        Infinity::Never => {
            let never = Known::new(Elem::Bool, vec![], vec![Num::int(0)]);
            let never = cx.spell(&never, &c.at("never"))?;
            return Ok(Val::Node(cx.push(Op::Expand { shape }, &[never], &c.path)?, Elem::Bool));
        }
        Infinity::Stands => {}
        Infinity::Unknown => return Err("asks at run time for what is no number".into()),
    }
    let most = cx.push(Op::Reduce { kind: ReduceKind::Max, axes, keep: true }, &[scores], &c.at("most"))?;
    let hidden = beyond(cx, most, -1.0, &c.at("hidden"))?;
    Ok(Val::Node(cx.push(Op::Expand { shape }, &[hidden], &c.path)?, Elem::Bool))
}
