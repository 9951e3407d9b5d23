//! Elements found and taken when the model runs.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::{opposite, ordered};
use super::whole::{from_start, integer, is_wide, number};
use vitc_ir::{BinaryKind, DType, Dim, Op, Real, Shape, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "TopK" { Some(top_k) } else { None }
}

fn top_k(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let at = axis(c.int("axis", -1)?, dims.len())?;
    let k = match c.version >= 10 {
        true => cx.ints(c.needed(1)?, "number of elements")?.first().copied().unwrap_or(0),
        false => c.int("k", 0)?,
    };
    let k = usize::try_from(k).ok().filter(|&k| k > 0).ok_or("finds no element")?;
    let elem = cx.elem(&value)?;
    let x = if is_wide(elem) { integer(cx, &value, &c.at("x"))? } else { ordered(cx, &value, &c.at("x"))? };
    let largest = c.int("largest", 1)? != 0;
    let node = cx.push(Op::TopK { axis: at, k, largest }, &[x], &c.path)?.node;
    Ok(vec![Val::Node(node.into(), elem), Val::Node(Value { node, index: 1 }, Elem::Int(64))])
}

/// A value and indices, as the graph takes them: indices count from the start.
fn operands(cx: &mut Cx, c: &Call<'_>, size: usize) -> Done<[Value; 2]> {
    let x = cx.value(c.needed(0)?, &c.at("x"))?;
    let index = integer(cx, c.needed(1)?, &c.at("index"))?;
    Ok([x, from_start(cx, index, size, &c.path)?])
}

/// Taken along an axis at indices that are computed.
pub(super) fn gather(cx: &mut Cx, c: &Call<'_>, axis: usize) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let size = cx.size(cx.dims(c.needed(0)?)?[axis])?;
    let [x, index] = operands(cx, c, size)?;
    let y = cx.push(Op::Gather { axis }, &[x, index], &c.path)?;
    Ok(vec![Val::Node(y, elem)])
}

/// Row-major places of the other coordinates of each element of `shape`, in a value of size `dims`.
fn places_of_others(shape: &[usize], dims: &[usize], axis: usize) -> Done<Vec<Num>> {
    let (own, strides) = (places::strides(shape), places::strides(dims));
    let total = places::count(shape).ok_or("is too large")?;
    let at = |i: usize| {
        let others = (0..shape.len()).filter(|&a| a != axis);
        others.map(|a| (i / own[a].max(1) as usize % shape[a]) * strides[a] as usize).sum::<usize>()
    };
    Ok((0..total).map(|i| Num::int(at(i) as i64)).collect())
}

/// For each index, the element that it and its own coordinates name: taken out of one row of all elements.
pub(super) fn gather_elements(cx: &mut Cx, c: &Call<'_>, axis: usize) -> Done {
    let (dims, shape) = (cx.fixed(c.needed(0)?)?, cx.fixed(c.needed(1)?)?);
    if shape.len() != dims.len() || (0..dims.len()).any(|i| i != axis && shape[i] > dims[i]) {
        return Err(format!("indices {shape:?} do not fit {dims:?}").into());
    }
    let elem = cx.elem(c.needed(0)?)?;
    let [x, index] = operands(cx, c, dims[axis])?;
    // The axis last of all: its index is the only one that is computed.
    let stride = number(cx, places::strides(&dims)[axis] as usize, &c.at("stride"))?;
    let along = cx.binary(BinaryKind::Mul, index, stride, &c.at("along"))?;
    let others = Known::new(Elem::Int(32), shape.clone(), places_of_others(&shape, &dims, axis)?);
    let others = cx.spell(&others, &c.at("others"))?;
    let place = cx.binary(BinaryKind::Add, along, others, &c.at("place"))?;
    let row = cx.reshape(x, vec![Dim::Fixed(dims.iter().product())], &c.at("row"))?;
    Ok(vec![Val::Node(cx.push(Op::Gather { axis: 0 }, &[row, place], &c.path)?, elem)])
}

/// Sizes of the leading axes that tuples of indices of this shape name, `batch` of them in step with the indices' own, and the axes behind them, which
/// may be the batch.
pub(super) fn leading(cx: &Cx, value: &Val, shape: &[usize], batch: usize) -> Done<(Vec<usize>, Vec<Dim>)> {
    let mut dims = cx.dims(value)?;
    let (&width, lead) = shape.split_last().ok_or("its indices are a scalar")?;
    let named = batch.checked_add(width).filter(|&n| width > 0 && n <= dims.len() && batch <= lead.len());
    let in_step = |&n: &usize| lead[..n - width].iter().zip(&dims).all(|(&size, &d)| d == Dim::Fixed(size));
    let Some(named) = named.filter(in_step) else {
        return Err(format!("indices {shape:?} do not fit {}", Shape(dims)).into());
    };
    let rest = dims.split_off(named);
    Ok((dims.into_iter().map(|d| cx.size(d)).collect::<Done<_>>()?, rest))
}

/// For each tuple of indices, what it names.
pub(super) fn gather_nd(cx: &mut Cx, c: &Call<'_>, batch: usize) -> Done {
    let shape = cx.fixed(c.needed(1)?)?;
    let (dims, rest) = leading(cx, c.needed(0)?, &shape, batch)?;
    let elem = cx.elem(c.needed(0)?)?;
    let x = cx.value(c.needed(0)?, &c.at("x"))?;
    let place = tuple_places(cx, c, &shape, &dims, batch)?;
    let rows = [&[Dim::Fixed(dims.iter().product())], &rest[..]].concat();
    let table = cx.reshape(x, rows, &c.at("rows"))?;
    Ok(vec![Val::Node(cx.push(Op::Gather { axis: 0 }, &[table, place], &c.path)?, elem)])
}

/// For each tuple of computed indices, of shape `shape`, which it names of all slices along the [`leading`] axes `dims`.
pub(super) fn tuple_places(cx: &mut Cx, c: &Call<'_>, shape: &[usize], dims: &[usize], batch: usize) -> Done<Value> {
    let (width, lead) = (dims.len() - batch, &shape[..shape.len() - 1]);
    let index = integer(cx, c.needed(1)?, &c.at("index"))?;
    let parts = if width == 1 { vec![index] } else { cx.split(index, lead.len(), vec![1; width], &c.at("parts"))? };
    let strides = places::strides(dims);
    let own: Vec<Dim> = lead.iter().map(|&d| Dim::Fixed(d)).collect();
    let mut place: Option<Value> = None;
    for (k, part) in parts.into_iter().enumerate() {
        let path = c.at(&format!("part{k}"));
        let part = cx.reshape(part, own.clone(), &path)?;
        let part = from_start(cx, part, dims[batch + k], &path)?;
        let stride = number(cx, strides[batch + k] as usize, &format!("{path}.stride"))?;
        let part = cx.binary(BinaryKind::Mul, part, stride, &format!("{path}.along"))?;
        place = Some(match place {
            Some(sum) => cx.binary(BinaryKind::Add, sum, part, &format!("{path}.sum"))?,
            None => part,
        });
    }
    let mut place = place.ok_or("has tuples of no index")?;
    if batch > 0 {
        let total = places::count(lead).ok_or("is too large")?;
        let each: usize = lead[batch..].iter().product();
        let step = strides[batch - 1] as usize;
        let first = (0..total).map(|i| Num::int((i / each.max(1) * step) as i64)).collect();
        let first = cx.spell(&Known::new(Elem::Int(32), lead.to_vec(), first), &c.at("items"))?;
        place = cx.binary(BinaryKind::Add, place, first, &c.at("place"))?;
    }
    Ok(place)
}

/// `off`, and `on` where an axis counts the index that is computed.
pub(super) fn one_hot(cx: &mut Cx, c: &Call<'_>, depth: usize, [off, on]: [f64; 2], elem: Elem) -> Done {
    let mut dims = cx.dims(c.needed(0)?)?;
    let at = axis(c.int("axis", -1)?, dims.len() + 1)?;
    let index = integer(cx, c.needed(0)?, &c.at("index"))?;
    let index = from_start(cx, index, depth, &c.path)?;
    dims.insert(at, Dim::Fixed(1));
    let index = cx.reshape(index, dims, &c.at("apart"))?;
    Ok(vec![Val::Node(counted(cx, index, at, depth, [off, on], &c.path)?, elem)])
}

/// `off`, and `on` where axis `at`, of size 1 in an index, counts that index up to `depth`.
pub(super) fn counted(
    cx: &mut Cx,
    index: Value,
    at: usize,
    depth: usize,
    [off, on]: [f64; 2],
    path: &str,
) -> Done<Value> {
    places::count(&[depth]).ok_or("is too large")?;
    let own = |name: &str| format!("{path}.{name}");
    let mut shape = vec![1; cx.shape(index).len()];
    shape[at] = depth;
    let count = Known::new(Elem::Int(32), shape, (0..depth).map(|i| Num::int(i as i64)).collect());
    let count = cx.spell(&count, &own("count"))?;
    let apart = others(cx, index, count, path)?;
    let y = cx.with(BinaryKind::Mul, apart, off - on, &own("step"))?;
    cx.with(BinaryKind::Add, y, on, path)
}

/// 0 where two integers are the same, else 1.
fn others(cx: &mut Cx, a: Value, b: Value, path: &str) -> Done<Value> {
    let own = |name: &str| format!("{path}.{name}");
    let apart = cx.binary(BinaryKind::Sub, a, b, &own("distance"))?;
    let apart = cx.push(Op::Cast { to: DType::F32 }, &[apart], &own("number"))?;
    let apart = cx.unary(UnaryKind::Abs, apart, &own("size"))?;
    cx.push(Op::Clip { lo: Real(0.0), hi: Real(1.0) }, &[apart], &own("other"))
}

/// 1 where two integers are the same, else 0.
pub(super) fn is_same(cx: &mut Cx, a: Value, b: Value, path: &str) -> Done<Value> {
    let other = others(cx, a, b, path)?;
    opposite(cx, other, path)
}
