//! Whole numbers and truths that are computed when the model runs.
//!
//! The graph computes one integer, of 32 bits. A truth is a float, 0 or 1, until something chooses by it; codes and pixels are floats too, which hold
//! them exactly.

use super::super::super::tensor::Elem;
use super::super::cx::Cx;
use super::super::known::{self, Known, Num};
use super::super::moves::Cut;
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;
use super::padding::surrounded;
use vitc_ir::{BinaryKind, DType, Op, Value, is_natural};

/// Most nodes that are looked at behind an index.
const FAR: usize = 64;

/// Whether numbers of this type are computed as 32-bit integers.
pub(super) fn is_wide(elem: Elem) -> bool {
    matches!(elem, Elem::Int(32 | 64) | Elem::Uint(32))
}

/// Whole numbers as 32-bit integers of the graph.
pub(super) fn integer(cx: &mut Cx, value: &Val, path: &str) -> Done<Value> {
    let elem = cx.elem(value)?;
    if elem.is_float() {
        return Err(format!("takes {} where whole numbers are due", elem.word()).into());
    }
    let v = cx.value(value, path)?;
    match cx.graph.ty(v).dtype {
        DType::I32 => Ok(v),
        _ => cx.push(Op::Cast { to: DType::I32 }, &[v], &format!("{path}.integer")),
    }
}

/// Numbers that are all below this and not negative, if that can be told from where they come from.
pub(super) fn below(cx: &Cx, value: Value) -> Option<usize> {
    let (mut stack, mut seen, mut bound) = (vec![value], 0, 0);
    while let Some(v) = stack.pop() {
        seen += 1;
        let node = cx.graph.producer(v);
        let size = |axis: usize| cx.graph.shape(node.inputs[0]).0.get(axis).and_then(|d| d.fixed());
        match &node.op {
            Op::ArgMax { axis, .. } => bound = bound.max(size(*axis)?),
            Op::TopK { axis, .. } if v.index == 1 => bound = bound.max(size(*axis)?),
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Split { .. } | Op::Expand { .. } => {
                stack.push(node.inputs[0])
            }
            Op::Gather { .. } if !cx.graph.is_constant(node.inputs[0]) => stack.push(node.inputs[0]),
            Op::Concat { .. } => stack.extend(node.inputs.iter()),
            _ => return None,
        }
        if seen > FAR {
            return None;
        }
    }
    Some(bound)
}

/// Indices that may count from the end, from the start.
pub(super) fn from_start(cx: &mut Cx, index: Value, size: usize, path: &str) -> Done<Value> {
    if below(cx, index).is_some() {
        return Ok(index);
    }
    let at = |name: &str| format!("{path}.{name}");
    // index + size·min(max(−index, 0), 1).
    let zero = number(cx, 0, &at("zero"))?;
    let turned = cx.binary(BinaryKind::Sub, zero, index, &at("turned"))?;
    let behind = cx.binary(BinaryKind::Max, turned, zero, &at("behind"))?;
    let one = number(cx, 1, &at("one"))?;
    let negative = cx.binary(BinaryKind::Min, behind, one, &at("negative"))?;
    let size = number(cx, size, &at("size"))?;
    let shift = cx.binary(BinaryKind::Mul, negative, size, &at("shift"))?;
    cx.binary(BinaryKind::Add, index, shift, &at("from_start"))
}

/// A 32-bit integer.
pub(super) fn number(cx: &mut Cx, n: usize, path: &str) -> Done<Value> {
    cx.spell(&Known::new(Elem::Int(32), vec![], vec![Num::int(n as i64)]), path)
}

/// A truth as 0 or 1.
pub(super) fn truth(cx: &mut Cx, value: &Val, path: &str) -> Done<Value> {
    if let Some(k) = cx.known(value) {
        let k = k.map(Elem::F32, |n| known::cast(n, Elem::F32))?;
        return cx.spell(&k, path);
    }
    match value {
        Val::Node(v, Elem::Bool) if cx.graph.ty(*v).dtype == DType::Bool => {
            cx.push(Op::Cast { to: DType::F32 }, &[*v], &format!("{path}.number"))
        }
        Val::Node(v, Elem::Bool) => Ok(*v),
        _ => Err("decides by what is no truth".into()),
    }
}

/// Sums, differences, products, extremes, quotients and remainders of whole numbers.
pub(super) fn arithmetic(cx: &mut Cx, x: &Val, y: &Val, op: &str, path: &str) -> Done<Val> {
    let elem = cx.elem(x)?;
    if !is_wide(elem) {
        return Err(format!("computes with {} at run time", elem.word()).into());
    }
    let a = integer(cx, x, &format!("{path}.a"))?;
    let kind = match op {
        "Add" => BinaryKind::Add,
        "Sub" => BinaryKind::Sub,
        "Mul" => BinaryKind::Mul,
        "Max" => BinaryKind::Max,
        "Min" => BinaryKind::Min,
        _ => return quotient(cx, a, y, op, elem, path),
    };
    let b = integer(cx, y, &format!("{path}.b"))?;
    Ok(Val::Node(cx.binary(kind, a, b, path)?, elem))
}

/// A function of each whole number that has whole numbers as its results.
pub(super) fn function(cx: &mut Cx, value: &Val, op: &str, path: &str) -> Done<Val> {
    let elem = cx.elem(value)?;
    let x = integer(cx, value, path)?;
    let at = |name: &str| format!("{path}.{name}");
    let zero = number(cx, 0, &at("zero"))?;
    let y = match op {
        "Relu" => cx.binary(BinaryKind::Max, x, zero, path)?,
        "Neg" => cx.binary(BinaryKind::Sub, zero, x, path)?,
        "Abs" => {
            let turned = cx.binary(BinaryKind::Sub, zero, x, &at("turned"))?;
            cx.binary(BinaryKind::Max, x, turned, path)?
        }
        "Sign" => sign(cx, x, path)?,
        _ => return Err(format!("computes with {} at run time", elem.word()).into()),
    };
    Ok(Val::Node(y, elem))
}

/// Whole numbers along an axis, which stays with one element, taken together in pairs: not every format reduces integers, and halves hold few of them.
pub(super) fn reduced(cx: &mut Cx, kind: BinaryKind, x: Value, axis: usize, path: &str) -> Done<Value> {
    let mut size = cx.size(cx.shape(x)[axis])?;
    let (mut x, mut left) = (x, Vec::new());
    while size > 1 {
        let half = size / 2;
        let part = |cx: &mut Cx, start: usize, count: usize, name: &str| {
            let cut = Cut { axis, start, step: 1, count };
            let part = cx.cut(&Val::Node(x, Elem::Int(32)), &[cut], &format!("{path}.{name}{size}"))?;
            cx.value(&part, path)
        };
        let (a, b) = (part(cx, 0, half, "first")?, part(cx, half, half, "second")?);
        if size % 2 == 1 {
            left.push(part(cx, size - 1, 1, "last")?);
        }
        x = cx.binary(kind, a, b, &format!("{path}.of{size}"))?;
        size = half;
    }
    for (i, rest) in left.into_iter().enumerate() {
        x = cx.binary(kind, x, rest, &format!("{path}.rest{i}"))?;
    }
    Ok(x)
}

/// Running sums of whole numbers along an axis: to each its neighbour is added, to each sum of two the one in front of it, and so on.
pub(super) fn running_sum(
    cx: &mut Cx,
    value: &Val,
    axis: usize,
    [exclusive, reverse]: [bool; 2],
    path: &str,
) -> Done<Val> {
    let elem = cx.elem(value)?;
    let (size, rank) = (cx.size(cx.dims(value)?[axis])?, cx.dims(value)?.len());
    // Moved by so many places; zeros follow.
    let moved = |cx: &mut Cx, y: &Val, by: usize, path: &str| {
        let start = if reverse { by } else { 0 };
        let rest = cx.cut(y, &[Cut { axis, start, step: 1, count: size - by }], &format!("{path}.rest"))?;
        let mut border = [vec![0; rank], vec![0; rank]];
        border[usize::from(reverse)][axis] = by;
        surrounded(cx, &rest, Num::int(0), &border[0], &border[1], &format!("{path}.moved"))
    };
    let mut y = Val::Node(integer(cx, value, path)?, elem);
    let mut by = 1;
    while by < size {
        let path = format!("{path}.by{by}");
        let other = moved(cx, &y, by, &path)?;
        y = arithmetic(cx, &y, &other, "Add", &path)?;
        by *= 2;
    }
    if exclusive { moved(cx, &y, 1, &format!("{path}.exclusive")) } else { Ok(y) }
}

/// 0 where a whole number is the largest along an axis, or the least, else −1: what halves hold, too.
pub(super) fn foremost(cx: &mut Cx, x: Value, axis: usize, largest: bool, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let kind = if largest { BinaryKind::Max } else { BinaryKind::Min };
    let best = reduced(cx, kind, x, axis, &at("best"))?;
    let (a, b) = if largest { (x, best) } else { (best, x) };
    let behind = cx.binary(BinaryKind::Sub, a, b, &at("behind"))?;
    let least = cx.spell(&Known::new(Elem::Int(32), vec![], vec![Num::int(-1)]), &at("least"))?;
    let behind = cx.binary(BinaryKind::Max, behind, least, &at("other"))?;
    cx.push(Op::Cast { to: DType::F32 }, &[behind], &at("number"))
}

/// Quotients, rounded towards zero, and remainders: with the dividend's sign (`Fmod`), or the divisor's.
fn quotient(cx: &mut Cx, a: Value, by: &Val, op: &str, elem: Elem, path: &str) -> Done<Val> {
    let divisor = cx.known(by).map(|k| k.ints().ok_or("divides by the batch: give the batch a number")).transpose()?;
    if divisor.as_ref().is_some_and(|all| all.contains(&0)) {
        return Err("divides by zero".into());
    }
    let one = cx.known(by).and_then(|k| k.scalar()).and_then(Num::plain).filter(|&d| d > 0);
    if let (Some(by), Some(bound)) = (one, below(cx, a)) {
        return looked_up(cx, a, by, bound, op, elem, path);
    }
    let at = |name: &str| format!("{path}.{name}");
    let b = integer(cx, by, &at("b"))?;
    if op == "Div" {
        return Ok(Val::Node(cx.binary(BinaryKind::Quotient, a, b, path)?, elem));
    }
    let quotient = cx.binary(BinaryKind::Quotient, a, b, &at("quotient"))?;
    let part = cx.binary(BinaryKind::Mul, b, quotient, &at("part"))?;
    if op == "Fmod" || is_natural(&cx.graph, a) && divisor.is_some_and(|all| all.iter().all(|&d| d > 0)) {
        return Ok(Val::Node(cx.binary(BinaryKind::Sub, a, part, path)?, elem));
    }
    // One divisor more where the remainder has the other sign.
    let rest = cx.binary(BinaryKind::Sub, a, part, &at("rest"))?;
    let signs = [sign(cx, rest, &at("rest.sign"))?, sign(cx, b, &at("b.sign"))?];
    let agree = cx.binary(BinaryKind::Mul, signs[0], signs[1], &at("agree"))?;
    let zero = number(cx, 0, &at("zero"))?;
    let against = cx.binary(BinaryKind::Sub, zero, agree, &at("against"))?;
    let apart = cx.binary(BinaryKind::Max, against, zero, &at("apart"))?;
    let more = cx.binary(BinaryKind::Mul, apart, b, &at("more"))?;
    Ok(Val::Node(cx.binary(BinaryKind::Add, rest, more, path)?, elem))
}

/// Quotients and remainders of indices below a bound: a table, which halves hold too.
fn looked_up(cx: &mut Cx, index: Value, by: i64, bound: usize, op: &str, elem: Elem, path: &str) -> Done<Val> {
    places::count(&[bound]).ok_or("is too large")?;
    let one = |i: usize| Num::int(if op == "Div" { i as i64 / by } else { i as i64 % by });
    let table = Known::new(Elem::Int(32), vec![bound], (0..bound).map(one).collect());
    let table = cx.spell(&table, &format!("{path}.table"))?;
    Ok(Val::Node(cx.push(Op::Gather { axis: 0 }, &[table, index], path)?, elem))
}

/// −1, 0 or 1.
fn sign(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let one = number(cx, 1, &at("one"))?;
    let least = cx.spell(&Known::new(Elem::Int(32), vec![], vec![Num::int(-1)]), &at("least"))?;
    let above = cx.binary(BinaryKind::Min, x, one, &at("above"))?;
    cx.binary(BinaryKind::Max, above, least, path)
}
