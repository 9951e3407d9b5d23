//! Comparisons, logic and choices.

use super::super::super::tensor::Elem;
use super::super::call::Call;
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::Done;
use super::super::value::Val;
use super::Read;
use super::elementwise::{fits, float, folded};
use vitc_ir::{BinaryKind, Dim};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => compare,
        "Not" => not,
        "IsNaN" | "IsInf" => finite,
        "Where" => choose,
        _ => return None,
    })
}

fn compare(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (x, y) = (c.needed(0)?.clone(), c.needed(1)?.clone());
    match folded(cx, &x, &y, c.op())? {
        Some(known) => Ok(vec![known]),
        None => Err("compares at run time".into()),
    }
}

fn not(cx: &mut Cx, c: &Call<'_>) -> Done {
    let known = cx.known(c.needed(0)?).ok_or("decides at run time")?;
    let turned = known.map(Elem::Bool, |n| super::super::known::unary("Not", n, Elem::Bool).unwrap_or(Ok(n)))?;
    Ok(vec![Val::known(turned)])
}

fn finite(cx: &mut Cx, c: &Call<'_>) -> Done {
    let known = cx.known(c.needed(0)?).and_then(|k| Some((k.reals()?, k.dims.clone())));
    let (data, dims) = known.ok_or("looks for infinities at run time")?;
    let nan = c.op() == "IsNaN";
    let data = data.into_iter().map(|x| Num::int(i64::from(if nan { x.is_nan() } else { x.is_infinite() }))).collect();
    Ok(vec![Val::known(Known::new(Elem::Bool, dims, data))])
}

fn choose(cx: &mut Cx, c: &Call<'_>) -> Done {
    let condition = cx.constant(c.needed(0)?).ok_or("chooses at run time")?;
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
    let mask = |kept: bool| {
        let data = truths.iter().map(|&t| Num::float(f64::from(u8::from((t != 0) == kept)))).collect();
        Known::new(Elem::F32, condition.dims.clone(), data)
    };
    let mut parts = Vec::new();
    for (value, kept, name) in [(&yes, true, "yes"), (&no, false, "no")] {
        let x = float(cx, value, &c.at(name))?;
        let mask = cx.spell(&mask(kept), &c.at(&format!("{name}.mask")))?;
        parts.push(cx.binary(BinaryKind::Mul, x, mask, &c.at(&format!("{name}.part")))?);
    }
    Ok(vec![Val::Node(cx.binary(BinaryKind::Add, parts[0], parts[1], &c.path)?, elem)])
}
