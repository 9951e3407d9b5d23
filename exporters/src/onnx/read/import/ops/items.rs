//! Whole numbers that count the items of an open batch, as PyTorch's exporter makes them where a value is read by its strides.

use super::super::super::tensor::Elem;
use super::super::call::{Call, axes, axis};
use super::super::cx::Cx;
use super::super::known::{self, Known, Num, Unknown};
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::{Items, Val};
use std::sync::Arc;
use vitc_ir::Dim;

/// 0, 1, 2, … up to the batch.
pub(super) fn counted() -> Val {
    let rest = Known::new(Elem::Int(64), vec![1], vec![Num::int(0)]);
    Val::Items(Arc::new(Items { step: Num::int(1), rest }))
}

/// Read a node one of whose operands counts the items, if the result is such a count again or elements that it names.
pub(super) fn apply(cx: &mut Cx, c: &Call<'_>) -> Option<Done> {
    if !c.node.domain.is_empty() || !c.inputs.iter().any(|v| matches!(v, Val::Items(_))) {
        return None;
    }
    Some(match (c.op(), c.input(0), c.input(1)) {
        ("Identity", items, _) => Ok(vec![items.clone()]),
        ("Cast", Val::Items(items), _) => cast(c, items),
        ("Add" | "Mul", Val::Items(items), other) | ("Add" | "Mul", other, Val::Items(items)) => {
            combined(cx, c, items, other)
        }
        ("Unsqueeze", Val::Items(items), _) => unsqueezed(cx, c, items),
        ("Gather", value, Val::Items(items)) => gathered(cx, c, value, items),
        _ => Err("computes with numbers that count the batch: give the batch a number".into()),
    })
}

fn made(step: Num, rest: Known) -> Done {
    Ok(vec![Val::Items(Arc::new(Items { step, rest }))])
}

/// Whole numbers of other widths are the same numbers.
fn cast(c: &Call<'_>, items: &Arc<Items>) -> Done {
    match Elem::of(i32::try_from(c.int("to", 0)?).unwrap_or(0)) {
        Elem::Int(32 | 64) => Ok(vec![Val::Items(items.clone())]),
        _ => Err("counts the batch in other than whole numbers: give the batch a number".into()),
    }
}

/// A sum with known numbers, or a product with one.
fn combined(cx: &Cx, c: &Call<'_>, items: &Items, other: &Val) -> Done {
    let other = cx.constant(other).ok_or_else(|| Refusal::computed("counts from where the image decides"))?;
    let rank = items.rest.dims.len();
    let below = other.dims.len() < rank || other.dims.len() == rank && other.dims[0] == 1;
    if !below || c.op() == "Mul" && other.data.len() != 1 {
        return Err("counts the batch in another way along its items: give the batch a number".into());
    }
    let dims = places::broadcast(&items.rest.dims, &other.dims).ok_or("its operands do not broadcast")?;
    places::count(&dims).ok_or("is too large")?;
    let (Some(own), Some(other)) = (items.rest.expanded(&dims), other.expanded(&dims)) else {
        return Err("its operands do not broadcast".into());
    };
    let of = |a: Num, b: Num| known::binary(c.op(), a, b, Elem::Int(64)).unwrap_or(Err(Unknown::Range));
    let data = own.data.iter().zip(&other.data).map(|(&a, &b)| of(a, b)).collect::<Result<Vec<_>, _>>()?;
    let step = if c.op() == "Mul" { of(items.step, other.data[0])? } else { items.step };
    made(step, Known::new(Elem::Int(64), dims, data))
}

fn unsqueezed(cx: &Cx, c: &Call<'_>, items: &Items) -> Done {
    let list = if c.version >= 13 { cx.ints(c.needed(1)?, "axes")? } else { c.ints("axes")?.ok_or("has no axes")? };
    let mut dims = items.rest.dims.clone();
    let rank = dims.len() + list.len();
    for at in axes(&list, rank)? {
        if at == 0 {
            return Err("moves the batch: give the batch a number".into());
        }
        dims.insert(at, 1);
    }
    made(items.step, Known { dims, ..items.rest.clone() })
}

/// Elements of a value whose first axis holds all items one behind the other: each item's own.
fn gathered(cx: &mut Cx, c: &Call<'_>, value: &Val, items: &Items) -> Done {
    let dims = cx.dims(value)?;
    let others = "takes other items of the batch than its own: give the batch a number";
    let (Some(step), Some(index)) = (items.step.plain(), items.rest.ints()) else { return Err(others.into()) };
    let (Ok(step), 0) = (usize::try_from(step), axis(c.int("axis", 0)?, dims.len())?) else {
        return Err(others.into());
    };
    if dims[0] != Dim::Batch(step) || step == 0 || index.iter().any(|&i| !(0..step as i64).contains(&i)) {
        return Err(others.into());
    }
    let index: Vec<usize> = index.into_iter().map(|i| i as usize).collect();
    let apart: Vec<Dim> = [cx.batch, Dim::Fixed(step)].into_iter().chain(dims[1..].iter().copied()).collect();
    let apart = cx.reshaped(value, &apart, &c.at("items"))?;
    Ok(vec![cx.taken(&apart, 1, &index, &items.rest.dims[1..], &c.path)?])
}
