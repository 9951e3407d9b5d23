//! Elements put around a value, or cut off it.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::{Cx, HUGE, LARGE};
use super::super::known::{Known, Num};
use super::super::moves::Cut;
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use super::whole;
use vitc_ir::op::PadMode;
use vitc_ir::{DType, Op, Real};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "Pad" { Some(pad) } else { None }
}

fn pad(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let rank = cx.dims(&value)?.len();
    let (at, pads) = listed(cx, c, rank)?;
    let filler = match c.version >= 11 {
        true if c.input(2).is_absent() => 0.0,
        true => cx.reals(c.input(2), "value")?.first().copied().unwrap_or(0.0),
        false => c.float("value", 0.0)?,
    };
    let mode = match c.text("mode", "constant")? {
        "constant" => PadMode::Constant(Real(filler)),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => return wrapped(cx, &value, &at, &pads, &c.path),
        other => return Err(format!("pads in mode {other:?}").into()),
    };
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (i, &axis) in at.iter().enumerate() {
        [before[axis], after[axis]] = [pads[i], pads[at.len() + i]].map(|n| usize::try_from(n.max(0)).unwrap_or(0));
        if before[axis].max(after[axis]) >= 1 << 31 {
            return Err("pads more than 2^31 elements".into());
        }
    }
    let inner = cropped(cx, &value, &at, &pads, &c.at("crop"))?;
    if before.iter().chain(&after).all(|&n| n == 0) {
        return Ok(vec![inner]);
    }
    if let (Some(k), PadMode::Constant(filler)) = (cx.known(&inner), mode) {
        let one = if k.elem.is_float() { Num::float(filler.0) } else { Num::int(filler.0 as i64) };
        return Ok(vec![surrounded(cx, &inner, one, &before, &after, &c.path)?]);
    }
    padded(cx, c, &inner, before, after, mode)
}

/// The axes that are padded, and how many elements before each of them, then behind.
fn listed(cx: &mut Cx, c: &Call<'_>, rank: usize) -> Done<(Vec<usize>, Vec<i64>)> {
    let pads = match c.version >= 11 {
        true => cx.ints(c.needed(1)?, "pads")?,
        false => c.ints(if c.version < 2 { "paddings" } else { "pads" })?.ok_or("has no pads")?,
    };
    let at = match c.input(3) {
        listed if c.version >= 18 && !listed.is_absent() => {
            let list = cx.ints(listed, "axes")?;
            list.iter().map(|&a| axis(a, rank)).collect::<Done<Vec<_>>>()?
        }
        _ => (0..rank).collect(),
    };
    if pads.len() != 2 * at.len() {
        return Err(format!("{} pads do not fit {} axes", pads.len(), at.len()).into());
    }
    Ok((at, pads))
}

/// What negative pads leave.
fn cropped(cx: &mut Cx, value: &Val, at: &[usize], pads: &[i64], path: &str) -> Done<Val> {
    let (dims, mut cuts) = (cx.dims(value)?, Vec::new());
    for (i, &axis) in at.iter().enumerate() {
        let (first, last) = (pads[i], pads[at.len() + i]);
        if first < 0 || last < 0 {
            let size = cx.size(dims[axis])?;
            let (start, end) = (first.min(0).unsigned_abs() as usize, last.min(0).unsigned_abs() as usize);
            let count = size.checked_sub(start).and_then(|n| n.checked_sub(end)).ok_or("crops more than there is")?;
            cuts.push(Cut { axis, start, step: 1, count });
        }
    }
    cx.cut(value, &cuts, path)
}

/// Elements around a value that is computed. Truths and codes that are computed are floats.
fn padded(cx: &mut Cx, c: &Call<'_>, inner: &Val, before: Vec<usize>, after: Vec<usize>, mode: PadMode) -> Done {
    let elem = cx.elem(inner)?;
    let x = match inner {
        _ if elem == Elem::Bool => whole::truth(cx, inner, &c.at("x"))?,
        Val::Node(v, _) if elem.is_int() && cx.graph.ty(*v).dtype == DType::F32 => *v,
        _ if whole::is_wide(elem) => return Ok(vec![padded_whole(cx, inner, [&before, &after], mode, &c.path)?]),
        _ => float(cx, inner, &c.at("x"))?,
    };
    let mode = match mode {
        PadMode::Constant(Real(x)) if x.abs() > HUGE => PadMode::Constant(Real(x.clamp(-LARGE, LARGE))),
        PadMode::Constant(Real(x)) if elem == Elem::Bool => PadMode::Constant(Real(f64::from(u8::from(x != 0.0)))),
        mode => mode,
    };
    Ok(vec![Val::Node(cx.push(Op::Pad { before, after, mode }, &[x], &c.path)?, elem)])
}

/// Whole numbers with others around: not every format pads integers, but each joins and takes them.
fn padded_whole(cx: &mut Cx, value: &Val, [before, after]: [&[usize]; 2], mode: PadMode, path: &str) -> Done<Val> {
    let elem = cx.elem(value)?;
    let value = Val::Node(whole::integer(cx, value, &format!("{path}.x"))?, elem);
    if let PadMode::Constant(filler) = mode {
        return surrounded(cx, &value, Num::int(filler.0 as i64), before, after, path);
    }
    let mut value = value;
    for axis in (0..before.len()).filter(|&a| before[a] + after[a] > 0) {
        let size = cx.size(cx.dims(&value)?[axis])?;
        let last = size.checked_sub(1).ok_or("mirrors an axis without elements")?;
        if mode == PadMode::Reflect && before[axis].max(after[axis]) > last {
            return Err(format!("mirrors more elements than axis {axis} has").into());
        }
        let one = |i: usize| match (mode, i) {
            (PadMode::Reflect, i) if i < before[axis] => before[axis] - i,
            (PadMode::Reflect, i) if i - before[axis] > last => 2 * last + before[axis] - i,
            (_, i) => i.saturating_sub(before[axis]).min(last),
        };
        let count = places::count(&[before[axis] + size + after[axis]]).ok_or("is too large")?;
        let index: Vec<usize> = (0..count).map(one).collect();
        value = cx.taken(&value, axis, &index, &[count], &format!("{path}.axis{axis}"))?;
    }
    Ok(value)
}

/// A value with one number around: joined, or padded where the batch is open and nothing can be repeated for each of its items.
pub(super) fn surrounded(
    cx: &mut Cx,
    value: &Val,
    one: Num,
    before: &[usize],
    after: &[usize],
    path: &str,
) -> Done<Val> {
    let (elem, dims) = (cx.elem(value)?, cx.dims(value)?);
    if let (Some(filler), true) = (one.real(), dims.iter().any(|d| d.fixed().is_none())) {
        let x = cx.value(value, &format!("{path}.x"))?;
        let mode = PadMode::Constant(Real(filler));
        let op = Op::Pad { before: before.to_vec(), after: after.to_vec(), mode };
        return Ok(Val::Node(cx.push(op, &[x], path)?, elem));
    }
    let mut value = value.clone();
    for axis in (0..before.len()).filter(|&a| before[a] + after[a] > 0) {
        let dims = cx.fixed(&value)?;
        let border = |count: usize| {
            let mut dims = dims.clone();
            dims[axis] = count;
            let count = places::count(&dims).ok_or("is too large")?;
            Ok::<_, Refusal>(Val::known(Known::new(elem, dims, vec![one; count])))
        };
        let mut parts = Vec::new();
        if before[axis] > 0 {
            parts.push(border(before[axis])?);
        }
        parts.push(value);
        if after[axis] > 0 {
            parts.push(border(after[axis])?);
        }
        value = cx.joined(&parts, axis, &format!("{path}.axis{axis}"))?;
    }
    Ok(value)
}

/// Around the edge and in again on the other side.
fn wrapped(cx: &mut Cx, value: &Val, at: &[usize], pads: &[i64], path: &str) -> Done {
    let mut value = value.clone();
    for (i, &axis) in at.iter().enumerate() {
        let size = cx.fixed(&value)?[axis];
        let [first, last] = [pads[i], pads[at.len() + i]].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if first > size || last > size {
            return Err("wraps around more than once".into());
        }
        let head = cx.cut(&value, &[Cut { axis, start: size - first, step: 1, count: first }], path);
        let tail = cx.cut(&value, &[Cut { axis, start: 0, step: 1, count: last }], path);
        let parts: Vec<Val> = match (first, last) {
            (0, 0) => continue,
            (0, _) => vec![value, tail?],
            (_, 0) => vec![head?, value],
            _ => vec![head?, value, tail?],
        };
        value = cx.joined(&parts, axis, path)?;
    }
    Ok(vec![value])
}
