//! Constants, shapes, and what turns numbers of one type into another.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::known::{self, Known, Num};
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::items;
use super::movement::dim;
use super::whole;
use std::sync::Arc;
use vitc_ir::{BinaryKind, DType, Dim, Op, UnaryKind};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Constant" => constant,
        "Shape" => shape,
        "Size" => size,
        "ConstantOfShape" => filled,
        "Range" => range,
        "Cast" | "CastLike" => cast,
        "EyeLike" => eye,
        _ => return None,
    })
}

fn constant(_: &mut Cx, c: &Call<'_>) -> Done {
    let known = |elem: Elem, dims: Vec<usize>, data: Vec<Num>| Val::known(Known::new(elem, dims, data));
    if let Some(tensor) = c.tensor("value")? {
        return Ok(vec![Val::Tensor(tensor)]);
    }
    let value = if let Some(list) = c.floats("value_floats")? {
        known(Elem::F32, vec![list.len()], list.into_iter().map(|x| Num::float(f64::from(x))).collect())
    } else if let Some(list) = c.ints("value_ints")? {
        known(Elem::Int(64), vec![list.len()], list.into_iter().map(Num::int).collect())
    } else if c.has("value_float") {
        known(Elem::F32, vec![], vec![Num::float(c.float("value_float", 0.0)?)])
    } else if c.has("value_int") {
        known(Elem::Int(64), vec![], vec![Num::int(c.int("value_int", 0)?)])
    } else {
        return Err("holds a text".into());
    };
    Ok(vec![value])
}

fn shape(cx: &mut Cx, c: &Call<'_>) -> Done {
    let dims = cx.dims(c.needed(0)?)?;
    let rank = dims.len() as i64;
    let bound = |n: i64| (if n < 0 { n.saturating_add(rank) } else { n }).clamp(0, rank) as usize;
    let (start, end) = (bound(c.int("start", 0)?), bound(c.int("end", rank)?));
    let part = dims.get(start..end.max(start)).unwrap_or_default();
    Ok(vec![Val::known(Known::row(part.iter().map(|&d| Num::of(d)).collect()))])
}

fn size(cx: &mut Cx, c: &Call<'_>) -> Done {
    let dims = cx.dims(c.needed(0)?)?;
    let product =
        |n: Num, &d: &Dim| known::binary("Mul", n, Num::of(d), Elem::Int(64)).unwrap_or(Err(known::Unknown::Range));
    let total = dims.iter().try_fold(Num::int(1), product)?;
    Ok(vec![Val::known(Known::new(Elem::Int(64), vec![], vec![total]))])
}

fn filled(cx: &mut Cx, c: &Call<'_>) -> Done {
    let dims = cx.numbers(c.needed(0)?, "shape")?.into_iter().map(dim).collect::<Done<Vec<_>>>()?;
    let one = match c.tensor("value")? {
        Some(tensor) => {
            cx.constant(&Val::Tensor(tensor)).filter(|k| k.data.len() == 1).ok_or("fills with other than one number")?
        }
        None => Arc::new(Known::new(Elem::F32, vec![1], vec![Num::float(0.0)])),
    };
    let scalar = Val::known(Known::new(one.elem, vec![], one.data.clone()));
    if dims.contains(&Dim::Fixed(0)) {
        let fixed = dims.iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
        return Ok(vec![Val::known(Known::new(one.elem, fixed, Vec::new()))]);
    }
    Ok(vec![cx.expanded(&scalar, &dims, &c.path)?])
}

fn range(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let bound = |slot: usize| c.needed(slot).map(|v| cx.known(v).and_then(|k| k.scalar()));
    if [bound(0)?, bound(1)?, bound(2)?] == [Some(Num::int(0)), Some(Num::of(Dim::Batch(1))), Some(Num::int(1))] {
        return Ok(vec![items::counted()]);
    }
    let one =
        |slot: usize, what: &str| Ok::<_, Refusal>(cx.reals(c.needed(slot)?, what)?.first().copied().unwrap_or(0.0));
    let (start, limit, step) = (one(0, "start")?, one(1, "limit")?, one(2, "step")?);
    let count = ((limit - start) / step).ceil();
    if !count.is_finite() || count > places::LIMIT as f64 {
        return Err("counts too far".into());
    }
    let number = |i: usize| {
        let x = start + step * i as f64;
        if elem.is_float() { Num::float(known::rounded(x, elem)) } else { Num::int(x as i64) }
    };
    let data: Vec<Num> = (0..count.max(0.0) as usize).map(number).collect();
    Ok(vec![Val::known(Known::new(elem, vec![data.len()], data))])
}

fn cast(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let to = match c.op() {
        "CastLike" => cx.elem(c.needed(1)?)?,
        _ if c.version < 6 => named(c.text("to", "")?)?,
        _ => Elem::of(i32::try_from(c.int("to", 0)?).unwrap_or(0)),
    };
    Ok(vec![converted(cx, &value, to, &c.path)?])
}

/// Numbers in another element type.
pub(super) fn converted(cx: &mut Cx, value: &Val, to: Elem, path: &str) -> Done<Val> {
    let from = cx.elem(value)?;
    if from == to {
        return Ok(value.clone());
    }
    if let Elem::Other(_) = to {
        return Err(format!("makes {} of numbers", to.word()).into());
    }
    let constant = !(from.is_float() && to.is_float());
    if let Some(k) = if constant { cx.constant(value) } else { cx.known(value) } {
        return Ok(Val::known(k.map(to, |n| known::cast(n, to))?));
    }
    match (value, from.is_float(), to.is_float()) {
        // The graph computes all of them in one type.
        (Val::Node(v, _), _, true) => {
            let x = match cx.graph.ty(*v).dtype {
                DType::F32 => *v,
                _ => cx.push(Op::Cast { to: DType::F32 }, &[*v], path)?,
            };
            Ok(Val::Node(x, to))
        }
        // 32-bit integers, whatever the file calls them.
        (Val::Node(v, _), false, false) if cx.graph.ty(*v).dtype == DType::I32 && whole::is_wide(to) => {
            Ok(Val::Node(*v, to))
        }
        (Val::Node(v, _), false, false) if to == Elem::Bool && cx.graph.ty(*v).dtype == DType::I32 => {
            Ok(Val::Node(cx.push(Op::Cast { to: DType::Bool }, &[*v], path)?, to))
        }
        (Val::Node(v, Elem::Bool | Elem::Uint(_) | Elem::Int(_)), false, false) if whole::is_wide(to) => {
            Ok(Val::Node(cx.push(Op::Cast { to: DType::I32 }, &[*v], path)?, to))
        }
        (Val::Node(v, _), true, false) if whole::is_wide(to) => {
            Ok(Val::Node(cx.push(Op::Cast { to: DType::I32 }, &[*v], path)?, to))
        }
        // Codes of large weights stay where they lie.
        (Val::Tensor(t), false, true) if matches!(t.elem, Elem::Int(8) | Elem::Uint(8)) => {
            Ok(Val::Node(cx.codes(t, path)?, to))
        }
        (Val::Tensor(_), true, true) => Ok(Val::Node(cx.value(value, path)?, to)),
        (Val::Node(v, _), true, false) if to == Elem::Bool => {
            let sign = cx.unary(UnaryKind::Sign, *v, &format!("{path}.sign"))?;
            Ok(Val::Node(cx.unary(UnaryKind::Abs, sign, path)?, to))
        }
        // Truths and places are codes of few bits.
        (Val::Node(_, Elem::Bool), false, false) if to.is_int() => Ok(Val::Node(whole::truth(cx, value, path)?, to)),
        (Val::Node(v, _), false, false)
            if to.is_int() && whole::below(cx, *v).is_some_and(|below| below as f64 <= to.range()[1] + 1.0) =>
        {
            Ok(Val::Node(cx.push(Op::Cast { to: DType::F32 }, &[*v], path)?, to))
        }
        // A whole number that nothing but a cast reads stays a float.
        (Val::Node(v, _), true, false) if to.is_int() && to.bits() >= Some(8) => {
            let [least, most] = to.range();
            let fits = |[a, b]: [f64; 2]| a.trunc() >= least && b.trunc() <= most;
            if !super::bounds::range(cx, *v).is_some_and(fits) {
                return Err(format!("makes {} of numbers that may lie beyond it: clip them first", to.word()).into());
            }
            let (sign, size) = (
                cx.unary(UnaryKind::Sign, *v, &format!("{path}.sign"))?,
                cx.unary(UnaryKind::Abs, *v, &format!("{path}.size"))?,
            );
            let whole = cx.unary(UnaryKind::Floor, size, &format!("{path}.whole"))?;
            Ok(Val::Node(cx.binary(BinaryKind::Mul, sign, whole, path)?, to))
        }
        _ => Err(format!("makes {} of {} at run time", to.word(), from.word()).into()),
    }
}

/// Element types as opset 1 spells them.
fn named(word: &str) -> Done<Elem> {
    Ok(match word {
        "FLOAT" => Elem::F32,
        "FLOAT16" => Elem::F16,
        "DOUBLE" => Elem::F64,
        "INT64" => Elem::Int(64),
        "INT32" => Elem::Int(32),
        "INT16" => Elem::Int(16),
        "INT8" => Elem::Int(8),
        "UINT8" => Elem::Uint(8),
        "UINT16" => Elem::Uint(16),
        "BOOL" => Elem::Bool,
        other => return Err(format!("makes {other:?} of numbers").into()),
    })
}

fn eye(cx: &mut Cx, c: &Call<'_>) -> Done {
    let dims = cx.fixed(c.needed(0)?)?;
    let [_, columns] = dims[..] else { return Err("makes a diagonal of other than a matrix".into()) };
    let (k, total) = (c.int("k", 0)?, places::count(&dims).ok_or("is too large")?);
    let elem = match c.has("dtype") {
        true => Elem::of(i32::try_from(c.int("dtype", 1)?).unwrap_or(0)),
        false => cx.elem(c.needed(0)?)?,
    };
    let on = |i: usize| i64::from((i / columns.max(1)) as i64 + k == (i % columns.max(1)) as i64);
    let number = |i: usize| if elem.is_float() { Num::float(on(i) as f64) } else { Num::int(on(i)) };
    Ok(vec![Val::known(Known::new(elem, dims.clone(), (0..total).map(number).collect()))])
}
