//! Comparisons, logic and choices.
//!
//! A truth that is computed at run time is kept as a float, 0 or 1; only logic, choices and casts read it.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::{aligned, fits, float, folded, opposite};
use super::{infinities, quantised, whole};
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, DType, Dim, Op, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => compare,
        "Not" => not,
        "IsNaN" | "IsInf" => infinities::asked,
        "Where" => choose,
        _ => return None,
    })
}

fn compare(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (x, y) = (c.needed(0)?.clone(), aligned(cx, c)?);
    match folded(cx, &x, &y, c.op())? {
        Some(known) => Ok(vec![known]),
        None if matches!(c.op(), "And" | "Or" | "Xor") => {
            fits(cx, &x, &y)?;
            let (a, b) = (whole::truth(cx, &x, &c.at("a"))?, whole::truth(cx, &y, &c.at("b"))?);
            let result = match c.op() {
                "And" => cx.binary(BinaryKind::Mul, a, b, &c.path)?,
                "Or" => cx.binary(BinaryKind::Max, a, b, &c.path)?,
                _ => {
                    let difference = cx.binary(BinaryKind::Sub, a, b, &c.at("difference"))?;
                    cx.unary(UnaryKind::Abs, difference, &c.path)?
                }
            };
            Ok(vec![Val::Node(result, Elem::Bool)])
        }
        None => {
            fits(cx, &x, &y)?;
            if let Some(result) = infinities::compared(cx, c, [&x, &y])? {
                return Ok(vec![result]);
            }
            let elem = cx.elem(&x)?;
            let (a, b) = match elem {
                Elem::Bool => (whole::truth(cx, &x, &c.at("a"))?, whole::truth(cx, &y, &c.at("b"))?),
                _ if whole::is_wide(elem) => (whole::integer(cx, &x, &c.at("a"))?, whole::integer(cx, &y, &c.at("b"))?),
                _ if elem.is_int() => (quantised::whole(cx, &x, &c.at("a"))?, quantised::whole(cx, &y, &c.at("b"))?),
                _ => (float(cx, &x, &c.at("a"))?, float(cx, &y, &c.at("b"))?),
            };
            let mut difference = cx.binary(BinaryKind::Sub, a, b, &c.at("difference"))?;
            if cx.graph.ty(difference).dtype == DType::I32 {
                difference = cx.push(Op::Cast { to: DType::F32 }, &[difference], &c.at("distance"))?;
            }
            Ok(vec![Val::Node(order(cx, c, difference)?, Elem::Bool)])
        }
    }
}

/// Both truths.
pub(super) fn both(cx: &mut Cx, x: &Val, y: &Val, path: &str) -> Done<Val> {
    if let Some(known) = folded(cx, x, y, "And")? {
        return Ok(known);
    }
    fits(cx, x, y)?;
    let (a, b) = (whole::truth(cx, x, &format!("{path}.a"))?, whole::truth(cx, y, &format!("{path}.b"))?);
    Ok(Val::Node(cx.binary(BinaryKind::Mul, a, b, path)?, Elem::Bool))
}

/// What the sign of a difference says, as 0 or 1.
fn order(cx: &mut Cx, c: &Call<'_>, difference: Value) -> Done<Value> {
    let sign = cx.unary(UnaryKind::Sign, difference, &c.at("sign"))?;
    let below = |cx: &mut Cx| {
        let turned = cx.unary(UnaryKind::Neg, sign, &c.at("turned"))?;
        cx.unary(UnaryKind::Relu, turned, &c.at("below"))
    };
    match c.op() {
        "Greater" => cx.unary(UnaryKind::Relu, sign, &c.path),
        "Less" => below(cx),
        "GreaterOrEqual" => {
            let below = below(cx)?;
            opposite(cx, below, &c.path)
        }
        "LessOrEqual" => {
            let above = cx.unary(UnaryKind::Relu, sign, &c.at("above"))?;
            opposite(cx, above, &c.path)
        }
        _ => {
            let apart = cx.unary(UnaryKind::Abs, sign, &c.at("apart"))?;
            opposite(cx, apart, &c.path)
        }
    }
}

/// Most nodes that are looked at behind a choice.
const FAR: usize = 256;

/// Whether a value of finite inputs is finite for sure, but for overflow: what is not chosen is multiplied by zero. Looked through are functions of each
/// element; products, sums and norms of finite values are finite. Roots and divisors are, where what they are of is a square or the like, with a number added.
pub(super) fn is_finite(cx: &Cx, value: Value) -> bool {
    let (mut stack, mut seen) = (vec![value], 0);
    while let Some(v) = stack.pop() {
        let node = cx.graph.producer(v);
        if cx.graph.is_constant(v)
            || !matches!(node.op.facts().class, vitc_ir::Class::Elementwise | vitc_ir::Class::Movement)
        {
            continue;
        }
        seen += 1;
        let safe = match node.op {
            Op::Unary(UnaryKind::Log | UnaryKind::Exp) | Op::Binary(BinaryKind::Pow) => false,
            Op::Unary(UnaryKind::Sqrt) => is_at_least(cx, node.inputs[0], false),
            Op::Binary(BinaryKind::Div) => {
                let divisor = node.inputs[1];
                cx.graph.is_constant(divisor) || is_at_least(cx, divisor, true)
            }
            _ => true,
        };
        if !safe || seen > FAR {
            return false;
        }
        stack.extend(node.inputs.iter());
    }
    true
}

/// Whether a value is never negative, or with `above` never zero either, whatever the inputs are.
fn is_at_least(cx: &Cx, value: Value, above: bool) -> bool {
    proven(cx, value, above, &mut 0)
}

/// The same; `seen` counts the nodes that were looked at, so that no file makes this long or deep.
fn proven(cx: &Cx, value: Value, above: bool, seen: &mut usize) -> bool {
    let mut stack = vec![(value, above)];
    while let Some((v, above)) = stack.pop() {
        *seen += 1;
        if *seen > FAR {
            return false;
        }
        let bound = |x: f64| if above { x > 0.0 } else { x >= 0.0 };
        let node = cx.graph.producer(v);
        let inputs = &node.inputs;
        match &node.op {
            Op::Literal { values } if values.iter().all(|x| bound(x.0)) => {}
            Op::Generate(vitc_ir::Generator::Fill { value }) if bound(value.0) => {}
            Op::Clip { lo, .. } if bound(lo.0) => {}
            Op::Unary(UnaryKind::Abs | UnaryKind::Relu) | Op::Softmax { .. } if !above => {}
            Op::Unary(UnaryKind::Sigmoid | UnaryKind::Exp | UnaryKind::Softplus) if !above => {}
            Op::Binary(BinaryKind::Mul) if inputs[0] == inputs[1] && !above => {}
            Op::Unary(UnaryKind::Sqrt) => stack.push((inputs[0], above)),
            Op::Binary(BinaryKind::Mul | BinaryKind::Div) => stack.extend(inputs.iter().map(|&i| (i, above))),
            Op::Reduce { kind: ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Max, .. }
            | Op::Reshape { .. }
            | Op::Expand { .. }
            | Op::Transpose { .. } => stack.push((inputs[0], above)),
            // One of the two is enough, and a constant is looked at first.
            Op::Binary(kind @ (BinaryKind::Add | BinaryKind::Max)) => {
                let (own, rest) =
                    if cx.graph.is_constant(inputs[1]) { (inputs[1], inputs[0]) } else { (inputs[0], inputs[1]) };
                if !cx.graph.is_constant(own) {
                    stack.extend([(own, above), (rest, above)]);
                } else if proven(cx, own, above, seen) {
                    stack.extend((*kind == BinaryKind::Add).then_some((rest, false)));
                } else {
                    stack.push((rest, above));
                    stack.extend((*kind == BinaryKind::Add).then_some((own, false)));
                }
            }
            _ => return false,
        }
    }
    true
}

fn not(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let Some(known) = cx.known(&value) else {
        let x = whole::truth(cx, &value, &c.at("x"))?;
        return Ok(vec![Val::Node(opposite(cx, x, &c.path)?, Elem::Bool)]);
    };
    let turned = known.map(Elem::Bool, |n| super::super::known::unary("Not", n, Elem::Bool).unwrap_or(Ok(n)))?;
    Ok(vec![Val::known(turned)])
}

/// The operator for it, which never looks at what is not chosen.
pub(super) fn select(cx: &mut Cx, path: &str, condition: &Val, sides: [&Val; 2]) -> Done<Val> {
    let at = |name: &str| format!("{path}.{name}");
    let elem = cx.elem(sides[0])?;
    let condition = match condition {
        Val::Node(v, _) if cx.graph.ty(*v).dtype == DType::Bool => *v,
        Val::Node(v, _) => cx.push(Op::Cast { to: DType::Bool }, &[*v], &at("condition"))?,
        known => cx.value(known, &at("condition"))?,
    };
    let mut pair = Vec::new();
    for (side, name) in sides.into_iter().zip(["yes", "no"]) {
        pair.push(match elem {
            Elem::Bool => {
                let number = whole::truth(cx, side, &at(name))?;
                cx.push(Op::Cast { to: DType::Bool }, &[number], &at(&format!("{name}.truth")))?
            }
            _ if elem.is_float() => float(cx, side, &at(name))?,
            _ => whole::integer(cx, side, &at(name))?,
        });
    }
    Ok(Val::Node(cx.push(Op::Select, &[condition, pair[0], pair[1]], path)?, elem))
}

fn choose(cx: &mut Cx, c: &Call<'_>) -> Done {
    let Some(condition) = cx.constant(c.needed(0)?) else {
        let (value, yes, no) = (c.needed(0)?.clone(), c.needed(1)?.clone(), c.needed(2)?.clone());
        let elem = cx.elem(&yes)?;
        if elem.is_int() || elem == Elem::Bool {
            return Ok(vec![select(cx, &c.path, &value, [&yes, &no])?]);
        }
        let (a, b) = (float(cx, &yes, &c.at("yes"))?, float(cx, &no, &c.at("no"))?);
        if !is_finite(cx, a) || !is_finite(cx, b) {
            return Ok(vec![select(cx, &c.path, &value, [&yes, &no])?]);
        }
        let m = whole::truth(cx, &value, &c.at("condition"))?;
        let rest = opposite(cx, m, &c.at("rest"))?;
        let a = cx.binary(BinaryKind::Mul, a, m, &c.at("yes.part"))?;
        let b = cx.binary(BinaryKind::Mul, b, rest, &c.at("no.part"))?;
        return Ok(vec![Val::Node(cx.binary(BinaryKind::Add, a, b, &c.path)?, elem)]);
    };
    let (yes, no) = (c.needed(1)?.clone(), c.needed(2)?.clone());
    let truths = condition.ints().ok_or("chooses by the batch: give the batch a number")?;
    if let (Some(a), Some(b)) = (cx.known(&yes), cx.known(&no)) {
        let dims = super::super::places::broadcast(&condition.dims, &a.dims)
            .and_then(|d| super::super::places::broadcast(&d, &b.dims));
        let dims = dims.ok_or("its operands do not broadcast")?;
        let all = (condition.expanded(&dims), a.expanded(&dims), b.expanded(&dims));
        let (Some(condition), Some(a), Some(b)) = all else { return Err("its operands do not broadcast".into()) };
        let pick = |i: usize| if condition.data[i] != Num::int(0) { a.data[i] } else { b.data[i] };
        let data = (0..condition.data.len()).map(pick).collect();
        return Ok(vec![Val::known(Known::new(a.elem, dims, data))]);
    }
    let (all, none) = (truths.iter().all(|&t| t != 0), truths.iter().all(|&t| t == 0));
    if all || none {
        let dims: Vec<Dim> = condition.dims.iter().map(|&d| Dim::Fixed(d)).collect();
        let other = cx.dims(if all { &no } else { &yes })?;
        let wide = cx.expanded(if all { &yes } else { &no }, &dims, &c.at("all"))?;
        return Ok(vec![cx.expanded(&wide, &other, &c.path)?]);
    }
    // A constant choice is a sum: what is not chosen times zero.
    fits(cx, &yes, &no)?;
    let elem = cx.elem(&yes)?;
    if elem.is_int() || elem == Elem::Bool {
        return Ok(vec![select(cx, &c.path, &Val::Known(condition), [&yes, &no])?]);
    }
    let mask = |kept: bool| {
        let data = truths.iter().map(|&t| Num::float(f64::from(u8::from((t != 0) == kept)))).collect();
        Known::new(Elem::F32, condition.dims.clone(), data)
    };
    let mut parts = Vec::new();
    for (value, kept, name) in [(&yes, true, "yes"), (&no, false, "no")] {
        let x = float(cx, value, &c.at(name))?;
        if !is_finite(cx, x) {
            return Ok(vec![select(cx, &c.path, &Val::Known(condition), [&yes, &no])?]);
        }
        let mask = cx.spell(&mask(kept), &c.at(&format!("{name}.mask")))?;
        parts.push(cx.binary(BinaryKind::Mul, x, mask, &c.at(&format!("{name}.part")))?);
    }
    Ok(vec![Val::Node(cx.binary(BinaryKind::Add, parts[0], parts[1], &c.path)?, elem)])
}
