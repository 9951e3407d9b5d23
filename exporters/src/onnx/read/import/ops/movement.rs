//! Movements.

use super::super::call::{Call, Read, axes, axis};
use super::super::cx::Cx;
use super::super::known::Num;
use super::super::moves::Cut;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::op::DepthOrder;
use vitc_ir::{Dim, Op, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        "Concat" => concat,
        "Slice" => slice,
        "Split" => split,
        "Expand" => expand,
        "Tile" => tile,
        "DepthToSpace" => depth_to_space,
        "SpaceToDepth" => space_to_depth,
        _ => return None,
    })
}

/// A known number as a dimension.
pub(super) fn dim(n: Num) -> Done<Dim> {
    match n {
        Num::Int { a: 0, c } => usize::try_from(c).map(Dim::Fixed).map_err(|_| Refusal::new(format!("a size is {c}"))),
        Num::Int { a, c: 0 } if a > 0 => Ok(Dim::Batch(a as usize)),
        _ => Err("a size depends on the batch: give the batch a number".into()),
    }
}

/// The product of dimensions as `k` or `k·B`.
fn total(dims: &[Dim]) -> Done<Dim> {
    let one = |n: Dim, d: &Dim| match (n, *d) {
        (n, Dim::Fixed(d)) => checked(n, d),
        (Dim::Fixed(n), d) => checked(d, n),
        _ => None,
    };
    dims.iter().try_fold(Dim::Fixed(1), one).ok_or_else(|| "multiplies the batch with itself".into())
}

fn checked(dim: Dim, by: usize) -> Option<Dim> {
    match dim {
        Dim::Fixed(n) => n.checked_mul(by).map(Dim::Fixed),
        Dim::Batch(k) => k.checked_mul(by).map(Dim::Batch),
    }
}

fn reshape(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let asked = match c.version >= 5 {
        true => cx.numbers(c.needed(1)?, "shape")?,
        false => c.ints("shape")?.unwrap_or_default().into_iter().map(Num::int).collect(),
    };
    let own = cx.dims(&value)?;
    let zeros = c.int("allowzero", 0)? == 0;
    let (mut dims, mut open) = (Vec::new(), None);
    for (i, n) in asked.into_iter().enumerate() {
        dims.push(match n.plain() {
            Some(0) if zeros => *own.get(i).ok_or("its shape copies a dimension that is not there")?,
            Some(-1) if open.is_none() => {
                open = Some(i);
                Dim::Fixed(1)
            }
            Some(-1) => return Err("its shape leaves two sizes open".into()),
            _ => dim(n)?,
        });
    }
    let (have, want) = (total(&own)?, total(&dims)?);
    if let Some(i) = open {
        dims[i] = match (have, want) {
            (_, Dim::Fixed(0) | Dim::Batch(0)) => Dim::Fixed(0),
            (have, Dim::Fixed(n)) => {
                have.divided(n).ok_or_else(|| Refusal::new(format!("{have} elements do not divide by {n}")))?
            }
            (Dim::Batch(k), Dim::Batch(n)) if k % n == 0 => Dim::Fixed(k / n),
            (have, want) => return Err(format!("{have} elements do not divide by {want}").into()),
        };
    } else if have != want {
        return Err(match (have, want) {
            (Dim::Batch(k), Dim::Fixed(n)) if n % k == 0 => {
                format!("the file fixes the batch at {} there: give the batch that number", n / k).into()
            }
            _ => Refusal::new(format!("{have} elements do not fit a shape of {want}")),
        });
    }
    Ok(vec![cx.reshaped(&value, &dims, &c.path)?])
}

fn flatten(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let at = match c.int("axis", 1)? {
        end if end == dims.len() as i64 => dims.len(),
        at => axis(at, dims.len())?,
    };
    let rows = [total(&dims[..at])?, total(&dims[at..])?];
    Ok(vec![cx.reshaped(&value, &rows, &c.path)?])
}

/// Axes as an attribute, or from opset 13 on as an operand.
fn listed(cx: &Cx, c: &Call<'_>) -> Done<Option<Vec<i64>>> {
    match c.version >= 13 {
        true if c.input(1).is_absent() => Ok(None),
        true => cx.ints(c.input(1), "axes").map(Some),
        false => c.ints("axes"),
    }
}

fn squeeze(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let gone = match listed(cx, c)? {
        Some(list) => axes(&list, dims.len())?,
        None => (0..dims.len()).filter(|&i| dims[i] == Dim::Fixed(1)).collect(),
    };
    if let Some(&a) = gone.iter().find(|&&a| dims[a] != Dim::Fixed(1)) {
        return Err(format!("drops axis {a}, whose size is {}", dims[a]).into());
    }
    let kept: Vec<Dim> = (0..dims.len()).filter(|i| !gone.contains(i)).map(|i| dims[i]).collect();
    Ok(vec![cx.reshaped(&value, &kept, &c.path)?])
}

fn unsqueeze(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let list = listed(cx, c)?.ok_or("has no axes")?;
    let new = axes(&list, dims.len() + list.len())?;
    let mut old = dims.into_iter();
    let all = (0..old.len() + new.len()).map(|i| if new.contains(&i) { Some(Dim::Fixed(1)) } else { old.next() });
    let all = all.collect::<Option<Vec<_>>>().ok_or("its axes do not fit")?;
    Ok(vec![cx.reshaped(&value, &all, &c.path)?])
}

fn transpose(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let rank = cx.dims(&value)?.len();
    let perm = match c.ints("perm")? {
        Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<Done<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("its permutation {perm:?} does not fit rank {rank}").into());
    }
    Ok(vec![cx.transposed(&value, &perm, &c.path)?])
}

fn concat(cx: &mut Cx, c: &Call<'_>) -> Done {
    let rank = cx.dims(c.needed(0)?)?.len();
    let along = axis(c.int("axis", if c.version < 4 { 1 } else { 0 })?, rank)?;
    let batch = c.inputs.iter().map(|v| Ok(cx.dims(v)?.get(along).copied())).collect::<Done<Vec<_>>>()?;
    if c.inputs.len() > 1 && batch.iter().any(|d| d.is_some_and(|d| d.fixed().is_none())) {
        return Err("joins along the batch: give the batch a number".into());
    }
    Ok(vec![cx.joined(&c.inputs, along, &c.path)?])
}

fn slice(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let (starts, ends, listed, steps) = match c.version >= 10 {
        true => {
            let list = |slot: usize, what: &str| {
                if c.input(slot).is_absent() { Ok(None) } else { cx.numbers(c.input(slot), what).map(Some) }
            };
            let (starts, ends) = (list(1, "starts")?.ok_or("has no starts")?, list(2, "ends")?.ok_or("has no ends")?);
            (starts, ends, list(3, "axes")?, list(4, "steps")?)
        }
        false => {
            let list =
                |name: &str| Ok::<_, Refusal>(c.ints(name)?.map(|l| l.into_iter().map(Num::int).collect::<Vec<_>>()));
            (list("starts")?.ok_or("has no starts")?, list("ends")?.ok_or("has no ends")?, list("axes")?, None)
        }
    };
    let count = starts.len();
    let listed = listed.unwrap_or_else(|| (0..count as i64).map(Num::int).collect());
    let steps = steps.unwrap_or_else(|| vec![Num::int(1); count]);
    if ends.len() != count || listed.len() != count || steps.len() != count {
        return Err("its starts, ends, axes and steps are not equally many".into());
    }
    let mut cuts: Vec<Cut> = Vec::new();
    for i in 0..count {
        let at = axis(listed[i].plain().ok_or("an axis depends on the batch")?, dims.len())?;
        if cuts.iter().any(|c| c.axis == at) {
            return Err(format!("cuts axis {at} twice").into());
        }
        let step = steps[i].plain().ok_or("a step depends on the batch")?;
        if let Some(cut) = along(dims[at], at, starts[i], ends[i], step)? {
            cuts.push(cut);
        }
    }
    Ok(vec![cx.cut(&value, &cuts, &c.path)?])
}

/// What a slice takes of one axis; `None` for all of it.
fn along(dim: Dim, axis: usize, start: Num, end: Num, step: i64) -> Done<Option<Cut>> {
    let whole = |n: Num, first: bool| match (n, dim) {
        (Num::Int { a: 0, c: 0 }, _) if first => true,
        (Num::Int { a: 0, c }, _) if !first => c >= i64::from(i32::MAX),
        (Num::Int { a, c: 0 }, Dim::Batch(k)) if !first => a == k as i64,
        _ => false,
    };
    let Dim::Fixed(size) = dim else {
        return match step == 1 && whole(start, true) && whole(end, false) {
            true => Ok(None),
            false => Err("cuts the batch: give the batch a number".into()),
        };
    };
    let (Some(start), Some(end)) = (start.plain(), end.plain()) else {
        return Err("its bounds depend on the batch: give the batch a number".into());
    };
    let n = size as i64;
    let count_from = |x: i64| if x < 0 { x.saturating_add(n) } else { x };
    let (start, end) = (count_from(start), count_from(end));
    let (start, span, stride) = match step {
        0 => return Err("has a step of 0".into()),
        1.. => {
            let (start, end) = (start.clamp(0, n), end.clamp(0, n));
            (start, end - start, step)
        }
        _ => {
            let (start, end) = (start.clamp(-1, n - 1), end.clamp(-1, n - 1));
            (start, start - end, step.checked_neg().unwrap_or(i64::MAX))
        }
    };
    let count = if span <= 0 { 0 } else { (span - 1) / stride + 1 };
    let step = if count <= 1 { step.signum() as isize } else { step as isize };
    Ok(Some(Cut { axis, start: start.max(0) as usize, step, count: count as usize }))
}

fn split(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let at = axis(c.int("axis", 0)?, dims.len())?;
    let size = cx.size(dims[at])?;
    let said = match c.version >= 13 {
        true if c.input(1).is_absent() => None,
        true => Some(cx.ints(c.input(1), "sizes")?),
        false => c.ints("split")?,
    };
    let sizes: Vec<usize> = match said {
        Some(list) => list.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect(),
        None => {
            let parts = match c.int("num_outputs", c.node.outputs.len() as i64)? {
                n if n >= 1 && n <= c.node.outputs.len() as i64 => n as usize,
                n => return Err(format!("makes {n} parts").into()),
            };
            let each = size.div_ceil(parts);
            if c.version < 18 && each * parts != size {
                return Err(format!("{parts} equal parts do not divide {size}").into());
            }
            (0..parts).map(|i| size.saturating_sub(i * each).min(each)).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s)) != Some(size) {
        return Err(format!("its parts {sizes:?} are not {size} together").into());
    }
    parts(cx, &value, at, &sizes, &c.path)
}

/// A value cut into parts along an axis.
pub(super) fn parts(cx: &mut Cx, value: &Val, axis: usize, sizes: &[usize], path: &str) -> Done {
    if sizes.len() == 1 {
        return Ok(vec![value.clone()]);
    }
    if cx.known(value).is_none() && !sizes.contains(&0) {
        let elem = cx.elem(value)?;
        let x = cx.value(value, &format!("{path}.x"))?;
        let node = cx.graph.push(Op::Split { axis, sizes: sizes.to_vec() }, &[x], path)?;
        return Ok((0..sizes.len() as u32).map(|index| Val::Node(Value { node, index }, elem)).collect());
    }
    let mut start = 0;
    let mut all = Vec::new();
    for (i, &count) in sizes.iter().enumerate() {
        all.push(cx.cut(value, &[Cut { axis, start, step: 1, count }], &format!("{path}.part{i}"))?);
        start += count;
    }
    Ok(all)
}

fn expand(cx: &mut Cx, c: &Call<'_>) -> Done {
    let dims = cx.numbers(c.needed(1)?, "shape")?.into_iter().map(dim).collect::<Done<Vec<_>>>()?;
    Ok(vec![cx.expanded(c.needed(0)?, &dims, &c.path)?])
}

fn tile(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let times = cx.numbers(c.needed(1)?, "repeats")?;
    let dims = cx.dims(&value)?;
    if times.len() != dims.len() {
        return Err(format!("{} repeats do not fit rank {}", times.len(), dims.len()).into());
    }
    // Each repeated axis gets one in front of it, which is broadcast and merged.
    let (mut apart, mut wide, mut merged) = (Vec::new(), Vec::new(), Vec::new());
    for (&size, n) in dims.iter().zip(times) {
        let n = dim(n)?;
        if n == Dim::Fixed(0) {
            return Err("repeats something no times".into());
        }
        if n != Dim::Fixed(1) && size != Dim::Fixed(1) {
            apart.push(Dim::Fixed(1));
            wide.push(n);
        }
        apart.push(size);
        wide.push(if size == Dim::Fixed(1) { n } else { size });
        merged.push(total(&[size, n])?);
    }
    let apart = cx.reshaped(&value, &apart, &c.at("apart"))?;
    let wide = cx.expanded(&apart, &wide, &c.at("repeated"))?;
    Ok(vec![cx.reshaped(&wide, &merged, &c.path)?])
}

fn depth_to_space(cx: &mut Cx, c: &Call<'_>) -> Done {
    let order = match c.text("mode", "DCR")? {
        "DCR" => DepthOrder::Dcr,
        "CRD" => DepthOrder::Crd,
        other => return Err(format!("moves channels in mode {other:?}").into()),
    };
    let (elem, x) = (cx.elem(c.needed(0)?)?, float(cx, c.needed(0)?, &c.at("x"))?);
    let block = usize::try_from(c.int("blocksize", 0)?).map_err(|_| "has a negative block")?;
    Ok(vec![Val::Node(cx.push(Op::DepthToSpace { block, order }, &[x], &c.path)?, elem)])
}

fn space_to_depth(cx: &mut Cx, c: &Call<'_>) -> Done {
    // The mode is of opset 28.
    let mode = c.text("mode", "DCR")?;
    if mode != "DCR" {
        return Err(format!("moves positions in mode {mode:?}").into());
    }
    let (elem, x) = (cx.elem(c.needed(0)?)?, float(cx, c.needed(0)?, &c.at("x"))?);
    let block = usize::try_from(c.int("blocksize", 0)?).map_err(|_| "has a negative block")?;
    Ok(vec![Val::Node(cx.push(Op::SpaceToDepth { block }, &[x], &c.path)?, elem)])
}
