//! Reductions.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axes, axis};
use super::super::cx::Cx;
use super::super::known::{self, Known, Num, Unknown};
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::{float, ordered};
use super::whole;
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Op, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2"
        | "ReduceSumSquare" | "ReduceLogSum" | "ReduceLogSumExp" => reduce,
        "ArgMax" | "ArgMin" => arg,
        _ => return None,
    })
}

/// The reduced axes, or `None` if nothing is reduced.
fn reduced(cx: &mut Cx, c: &Call<'_>, rank: usize) -> Done<Option<Vec<usize>>> {
    let since = if c.op() == "ReduceSum" { 13 } else { 18 };
    let said = match c.version >= since {
        true if c.input(1).is_absent() => None,
        true => Some(cx.ints(c.input(1), "axes")?),
        false => c.ints("axes")?,
    };
    match said.filter(|list| !list.is_empty()) {
        Some(list) => Ok(Some(axes(&list, rank)?)),
        None if c.version >= since && c.int("noop_with_empty_axes", 0)? != 0 => Ok(None),
        None => Ok(Some((0..rank).collect())),
    }
}

fn reduce(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let (rank, keep) = (cx.dims(&value)?.len(), c.int("keepdims", 1)? != 0);
    let axes = match reduced(cx, c, rank)? {
        Some(axes) => axes,
        None if counts_alone(c.op()) => Vec::new(),
        None => return Ok(vec![value]),
    };
    if let Some(k) = cx.known(&value)
        && let Some(result) = fold(c.op(), &k, &axes, keep)
    {
        return Ok(vec![Val::known(result?)]);
    }
    let elem = cx.elem(&value)?;
    if whole::is_wide(elem) {
        return Ok(vec![Val::Node(of_integers(cx, c, &value, &axes, keep)?, elem)]);
    }
    let x = float(cx, &value, &c.at("x"))?;
    Ok(vec![Val::Node(spell(cx, c.op(), x, axes, keep, &c.path)?, elem)])
}

/// A reduction of whole numbers.
fn of_integers(cx: &mut Cx, c: &Call<'_>, value: &Val, axes: &[usize], keep: bool) -> Done<Value> {
    let kind = match c.op() {
        "ReduceSum" => BinaryKind::Add,
        "ReduceMax" => BinaryKind::Max,
        "ReduceMin" => BinaryKind::Min,
        _ => return Err("takes means, products or powers of whole numbers at run time".into()),
    };
    let mut x = whole::integer(cx, value, &c.at("x"))?;
    for &axis in axes {
        x = whole::reduced(cx, kind, x, axis, &c.at(&format!("axis{axis}")))?;
    }
    let dims = cx.shape(x).into_iter().enumerate().filter(|(i, _)| keep || !axes.contains(i)).map(|(_, d)| d).collect();
    cx.reshape(x, dims, &c.path)
}

/// Whether a reduction of one element is another number than that element.
fn counts_alone(op: &str) -> bool {
    matches!(op, "ReduceL1" | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSum")
}

/// A reduction by those that the graph has.
pub(super) fn spell(cx: &mut Cx, op: &str, x: Value, axes: Vec<usize>, keep: bool, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    for &axis in &axes {
        cx.size(cx.graph.shape(x).0[axis])?;
    }
    let of = |cx: &mut Cx, kind, x, keep, path: &str| match axes.is_empty() {
        true => Ok(x),
        false => cx.push(Op::Reduce { kind, axes: axes.clone(), keep }, &[x], path),
    };
    if axes.is_empty() && !counts_alone(op) {
        return Ok(x);
    }
    match op {
        "ReduceSum" => of(cx, ReduceKind::Sum, x, keep, path),
        "ReduceMean" => of(cx, ReduceKind::Mean, x, keep, path),
        "ReduceMax" => of(cx, ReduceKind::Max, x, keep, path),
        "ReduceMin" => of(cx, ReduceKind::Min, x, keep, path),
        "ReduceProd" => of(cx, ReduceKind::Prod, x, keep, path),
        "ReduceL1" => {
            let size = cx.unary(UnaryKind::Abs, x, &at("size"))?;
            of(cx, ReduceKind::Sum, size, keep, path)
        }
        "ReduceSumSquare" => {
            let square = cx.binary(BinaryKind::Mul, x, x, &at("square"))?;
            of(cx, ReduceKind::Sum, square, keep, path)
        }
        "ReduceL2" => {
            let square = cx.binary(BinaryKind::Mul, x, x, &at("square"))?;
            let sum = of(cx, ReduceKind::Sum, square, keep, &at("sum"))?;
            cx.unary(UnaryKind::Sqrt, sum, path)
        }
        "ReduceLogSum" => {
            let sum = of(cx, ReduceKind::Sum, x, keep, &at("sum"))?;
            cx.unary(UnaryKind::Log, sum, path)
        }
        _ => {
            let most = of(cx, ReduceKind::Max, x, true, &at("most"))?;
            let less = cx.binary(BinaryKind::Sub, x, most, &at("less"))?;
            let exp = cx.unary(UnaryKind::Exp, less, &at("exp"))?;
            let sum = of(cx, ReduceKind::Sum, exp, true, &at("sum"))?;
            let log = cx.unary(UnaryKind::Log, sum, &at("log"))?;
            let y = cx.binary(BinaryKind::Add, log, most, path)?;
            let dims = cx.shape(y);
            let kept =
                dims.into_iter().enumerate().filter(|(i, _)| keep || !axes.contains(i)).map(|(_, d)| d).collect();
            cx.reshape(y, kept, &at("dropped"))
        }
    }
}

/// A reduction of known numbers, if it is one that shapes are computed with.
fn fold(op: &str, k: &Known, axes: &[usize], keep: bool) -> Option<Result<Known, Unknown>> {
    let name = match op {
        "ReduceSum" | "ReduceMean" => "Add",
        "ReduceProd" => "Mul",
        "ReduceMax" => "Max",
        "ReduceMin" => "Min",
        _ => return None,
    };
    let rest: Vec<usize> = (0..k.dims.len()).filter(|a| !axes.contains(a)).collect();
    let perm: Vec<usize> = rest.iter().chain(axes).copied().collect();
    let (_, index) = places::transpose(&k.dims, &perm)?;
    let width: usize = axes.iter().map(|&a| k.dims[a]).product();
    (width > 0).then_some(())?;
    let row = |row: &[usize]| {
        let numbers = row.iter().map(|&i| Ok(k.data[i]));
        let total = numbers
            .reduce(|x: Result<Num, Unknown>, y| known::binary(name, x?, y?, k.elem).unwrap_or(Err(Unknown::Range)));
        let total = total.unwrap_or(Err(Unknown::Range))?;
        match op {
            "ReduceMean" => known::binary(
                "Div",
                total,
                if k.elem.is_float() { Num::float(width as f64) } else { Num::int(width as i64) },
                k.elem,
            )
            .unwrap_or(Err(Unknown::Range)),
            _ => Ok(total),
        }
    };
    let data: Result<Vec<Num>, Unknown> = index.chunks(width).map(row).collect();
    let dims =
        (0..k.dims.len()).filter(|a| keep || !axes.contains(a)).map(|a| if axes.contains(&a) { 1 } else { k.dims[a] });
    Some(data.map(|data| Known::new(k.elem, dims.collect(), data)))
}

fn arg(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let axis = axis(c.int("axis", 0)?, dims.len())?;
    cx.size(dims[axis])?;
    let keep = c.int("keepdims", 1)? != 0;
    let largest = c.op() == "ArgMax";
    let x = if whole::is_wide(cx.elem(&value)?) {
        let x = whole::integer(cx, &value, &c.at("x"))?;
        whole::foremost(cx, x, axis, largest, &c.at("foremost"))?
    } else {
        let x = ordered(cx, &value, &c.at("x"))?;
        if largest { x } else { cx.unary(UnaryKind::Neg, x, &c.at("negated"))? }
    };
    let size = cx.size(dims[axis])?;
    if c.int("select_last_index", 0)? == 0 || size == 1 {
        let index = cx.push(Op::ArgMax { axis, keep }, &[x], &c.path)?;
        return Ok(vec![Val::Node(index, Elem::Int(64))]);
    }
    // The last of equal ones is the first from the end.
    places::count(&[size]).ok_or("searches a value that is too large")?;
    let backwards: Vec<usize> = (0..size).rev().collect();
    let turned = cx.taken(&Val::Node(x, Elem::F32), axis, &backwards, &[size], &c.at("turned"))?;
    let turned = float(cx, &turned, &c.at("turned"))?;
    let index = cx.push(Op::ArgMax { axis, keep }, &[turned], &c.at("index"))?;
    let end = Known::new(Elem::Int(32), vec![], vec![Num::int(size as i64 - 1)]);
    let end = cx.spell(&end, &c.at("end"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Sub, end, index, &c.path)?, Elem::Int(64))])
}
