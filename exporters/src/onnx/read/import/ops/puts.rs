//! Elements put at indices that are computed, one after the other: where an index is met stands the update, elsewhere what stood there.
//!
//! Not every format scatters, and none says which of several updates in one place is the last. Here each is a choice over all places, so the last one
//! stands, and what is chosen nowhere is never computed with.

use super::super::super::tensor::Elem;
use super::super::call::Call;
use super::super::cx::Cx;
use super::super::moves::Cut;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::binary;
use super::whole::{from_start, integer, is_wide};
use super::{lookup, select};
use vitc_ir::{BinaryKind, Dim, Shape};

/// Most updates that are put one after the other.
const MOST: usize = 64;

/// How an update and what stood there become one; `None` puts the update in its place.
pub(super) type Reduction = Option<(BinaryKind, &'static str)>;

/// What a node's attribute says.
pub(super) fn reduction(c: &Call<'_>) -> Done<Reduction> {
    Ok(match c.text("reduction", "none")? {
        "none" => None,
        "add" => Some((BinaryKind::Add, "Add")),
        "mul" => Some((BinaryKind::Mul, "Mul")),
        "max" => Some((BinaryKind::Max, "Max")),
        "min" => Some((BinaryKind::Min, "Min")),
        other => return Err(format!("combines by {other:?}").into()),
    })
}

/// Indices `[…,k,…]` along an axis of `x[…,n,…]`, and an update for each.
pub(super) fn elements(cx: &mut Cx, c: &Call<'_>, axis: usize) -> Done {
    let (value, updates) = (c.needed(0)?.clone(), c.needed(2)?.clone());
    let (dims, shape) = (cx.dims(&value)?, cx.dims(c.needed(1)?)?);
    let fits = shape.len() == dims.len() && (0..dims.len()).all(|a| a == axis || shape[a] == dims[a]);
    if !fits || cx.dims(&updates)? != shape {
        let why = format!("puts {} into {} by indices that are computed", Shape(shape), Shape(dims));
        return Err(Refusal::computed(why));
    }
    let size = cx.size(dims[axis])?;
    let index = integer(cx, c.needed(1)?, &c.at("index"))?;
    let index = Val::Node(from_start(cx, index, size, &c.path)?, Elem::Int(32));
    let count = cx.size(shape[axis])?;
    Ok(vec![put(cx, c, &value, [&index, &updates], axis, count)?])
}

/// Tuples of indices `[…,m]` into the first m axes, and an update of all that lies behind for each.
pub(super) fn slices(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (value, updates) = (c.needed(0)?.clone(), c.needed(2)?.clone());
    let (dims, shape) = (cx.dims(&value)?, cx.fixed(c.needed(1)?)?);
    let (lead, rest) = lookup::leading(cx, &value, &shape, 0)?;
    let place = lookup::tuple_places(cx, c, &shape, &lead, 0)?;
    let count: usize = shape[..shape.len() - 1].iter().product();
    let rows = |n: usize| [&[Dim::Fixed(n)], &rest[..]].concat();
    let own = [shape[..shape.len() - 1].iter().map(|&d| Dim::Fixed(d)).collect(), rest.clone()].concat();
    if cx.dims(&updates)? != own {
        return Err(format!("updates {} do not fit {}", Shape(cx.dims(&updates)?), Shape(own)).into());
    }
    let mut apart = vec![Dim::Fixed(1); 1 + rest.len()];
    apart[0] = Dim::Fixed(count);
    let index = Val::Node(cx.reshape(place, apart, &c.at("places"))?, Elem::Int(32));
    let table = cx.reshaped(&value, &rows(lead.iter().product()), &c.at("rows"))?;
    let updates = cx.reshaped(&updates, &rows(count), &c.at("updates"))?;
    let y = put(cx, c, &table, [&index, &updates], 0, count)?;
    Ok(vec![cx.reshaped(&y, &dims, &c.at("whole"))?])
}

/// `count` updates along an axis, one after the other.
fn put(cx: &mut Cx, c: &Call<'_>, x: &Val, [index, updates]: [&Val; 2], axis: usize, count: usize) -> Done<Val> {
    let (elem, reduction) = (cx.elem(x)?, reduction(c)?);
    if !(elem.is_float() || is_wide(elem) || elem == Elem::Bool && reduction.is_none()) {
        return Err(format!("puts {} where they are computed", elem.word()).into());
    }
    if count > MOST {
        let why = format!("its indices depend on the image, and are {count}: more than {MOST} are not put");
        return Err(Refusal::computed(why));
    }
    let size = cx.size(cx.dims(x)?[axis])?;
    let mut y = x.clone();
    for k in 0..count {
        let path = if k + 1 == count { c.path.clone() } else { c.at(&format!("put{k}")) };
        let cut = [Cut { axis, start: k, step: 1, count: 1 }];
        let place = cx.cut(index, &cut, &format!("{path}.index"))?;
        let place = cx.value(&place, &format!("{path}.index"))?;
        let met = lookup::counted(cx, place, axis, size, [0.0, 1.0], &format!("{path}.met"))?;
        let met = Val::Node(met, Elem::Bool);
        let mut new = cx.cut(updates, &cut, &format!("{path}.update"))?;
        if let Some((kind, name)) = reduction {
            new = binary(cx, &y, &new, name, kind, &format!("{path}.new"))?;
        }
        y = select::select(cx, &path, &met, [&new, &y])?;
    }
    Ok(y)
}

/// Elements of `x[…,n,…]` at computed indices along an axis, the others in step, where the batch is open: one choice for each n.
pub(super) fn taken(cx: &mut Cx, c: &Call<'_>, axis: usize) -> Done {
    let value = c.needed(0)?.clone();
    let (dims, shape) = (cx.dims(&value)?, cx.dims(c.needed(1)?)?);
    if shape.len() != dims.len() || (0..dims.len()).any(|a| a != axis && shape[a] != dims[a]) {
        return Err(format!("indices {} do not fit {}", Shape(shape), Shape(dims)).into());
    }
    let (size, elem) = (cx.size(dims[axis])?, cx.elem(&value)?);
    if size > MOST || !(elem.is_float() || is_wide(elem) || elem == Elem::Bool) {
        return Err(format!("takes one of {size} elements for each item of the batch: give the batch a number").into());
    }
    let index = integer(cx, c.needed(1)?, &c.at("index"))?;
    let index = from_start(cx, index, size, &c.path)?;
    let part = |cx: &mut Cx, n: usize, path: &str| {
        let part = cx.cut(&value, &[Cut { axis, start: n, step: 1, count: 1 }], path)?;
        Ok::<_, Refusal>(part)
    };
    let first = part(cx, 0, &c.at("part0"))?;
    let mut y = cx.expanded(&first, &shape, &c.at("first"))?;
    for n in 1..size {
        let path = if n + 1 == size { c.path.clone() } else { c.at(&format!("of{n}")) };
        let number = super::whole::number(cx, n, &format!("{path}.number"))?;
        let met = lookup::is_same(cx, index, number, &format!("{path}.met"))?;
        let new = part(cx, n, &format!("{path}.part"))?;
        y = select::select(cx, &path, &Val::Node(met, Elem::Bool), [&new, &y])?;
    }
    Ok(vec![y])
}
