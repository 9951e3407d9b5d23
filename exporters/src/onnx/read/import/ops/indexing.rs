//! Elements taken and put by index.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::{binary, float};
use super::{lookup, puts, select, whole};
use vitc_ir::{BinaryKind, Dim, Op};

/// Most updates that meet in one place.
const ROUNDS: usize = 64;

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Gather" => gather,
        "GatherElements" => gather_elements,
        "GatherND" => gather_nd,
        "ScatterND" => scatter_nd,
        "ScatterElements" | "Scatter" => scatter_elements,
        "OneHot" => one_hot,
        "Trilu" => triangle,
        "CumSum" => running_sum,
        "NonZero" => where_not_zero,
        "Compress" => compressed,
        _ => return None,
    })
}

/// An index that may count from the end.
fn index(i: i64, size: usize) -> Done<usize> {
    let at = if i < 0 { i.checked_add(size as i64) } else { Some(i) };
    match at.map(usize::try_from) {
        Some(Ok(i)) if i < size => Ok(i),
        _ => Err(format!("takes element {i} of {size}").into()),
    }
}

/// Indices that are known, with their shape.
fn known_indices(cx: &Cx, value: &Val) -> Done<(Vec<i64>, Vec<usize>)> {
    let known = cx.constant(value).ok_or_else(|| Refusal::computed("its indices depend on the image"))?;
    let list = known.ints().ok_or("its indices depend on the batch: give the batch a number")?;
    Ok((list, known.dims.clone()))
}

/// Whether indices are computed when the model runs.
fn is_computed(cx: &Cx, value: &Val) -> bool {
    matches!(value, Val::Node(v, _) if !cx.graph.is_constant(*v))
}

fn gather(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let at = axis(c.int("axis", 0)?, dims.len())?;
    if is_computed(cx, c.needed(1)?) {
        return lookup::gather(cx, c, at);
    }
    let (list, shape) = known_indices(cx, c.needed(1)?)?;
    let size = cx.size(dims[at])?;
    let list = list.into_iter().map(|i| index(i, size)).collect::<Done<Vec<_>>>()?;
    Ok(vec![cx.taken(&value, at, &list, &shape, &c.path)?])
}

/// How many results there are has to be known.
const COUNT: &str = "the number of its results depends on the image";

/// Coordinates of the elements that are not zero, of a constant.
fn where_not_zero(cx: &mut Cx, c: &Call<'_>) -> Done {
    let known = cx.constant(c.needed(0)?).ok_or_else(|| Refusal::computed(COUNT))?;
    let data = known.reals().ok_or("the number of its results depends on the batch: give the batch a number")?;
    let (dims, found) = (&known.dims, (0..data.len()).filter(|&i| data[i] != 0.0).collect::<Vec<_>>());
    if dims.is_empty() {
        return Err("looks for the place of a scalar".into());
    }
    let row = |axis: usize| found.iter().map(move |&i| Num::int(coordinates(i, dims)[axis] as i64));
    let places = (0..dims.len()).flat_map(row).collect();
    Ok(vec![Val::known(Known::new(Elem::Int(64), vec![dims.len(), found.len()], places))])
}

/// The slices of an axis, or the elements of the value as a row, that constant truths choose.
fn compressed(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mut value = c.needed(0)?.clone();
    let truths = cx.constant(c.needed(1)?).ok_or_else(|| Refusal::computed(COUNT))?;
    let truths = truths.ints().ok_or("the number of its results depends on the batch: give the batch a number")?;
    let kept: Vec<usize> = (0..truths.len()).filter(|&i| truths[i] != 0).collect();
    let at = if c.has("axis") {
        axis(c.int("axis", 0)?, cx.dims(&value)?.len())?
    } else {
        let all = cx.fixed(&value)?.iter().product();
        value = cx.reshaped(&value, &[Dim::Fixed(all)], &c.at("row"))?;
        0
    };
    if kept.is_empty() {
        return Err("chooses nothing".into());
    }
    Ok(vec![cx.taken(&value, at, &kept, &[kept.len()], &c.path)?])
}

/// Elements at places of the value as one row, under another shape.
pub(super) fn placed(cx: &mut Cx, value: &Val, places: &[usize], dims: &[usize], path: &str) -> Done<Val> {
    let own = cx.fixed(value)?;
    let row = cx.reshaped(value, &[Dim::Fixed(own.iter().product())], &format!("{path}.row"))?;
    let taken = cx.taken(&row, 0, places, &[places.len()], &format!("{path}.taken"))?;
    cx.reshaped(&taken, &dims.iter().map(|&d| Dim::Fixed(d)).collect::<Vec<_>>(), path)
}

/// Row-major coordinates of element `i` of a shape.
fn coordinates(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for axis in (0..dims.len()).rev() {
        at[axis] = i % dims[axis].max(1);
        i /= dims[axis].max(1);
    }
    at
}

/// The place of coordinates.
fn place(at: &[usize], dims: &[usize]) -> usize {
    at.iter().zip(dims).fold(0, |place, (&i, &d)| place * d + i)
}

fn gather_elements(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let at = axis(c.int("axis", 0)?, cx.dims(&value)?.len())?;
    if is_computed(cx, c.needed(1)?) {
        let open = cx.dims(&value)?.iter().any(|d| d.fixed().is_none());
        return if open { puts::taken(cx, c, at) } else { lookup::gather_elements(cx, c, at) };
    }
    let dims = cx.fixed(&value)?;
    let (list, shape) = known_indices(cx, c.needed(1)?)?;
    let places = element_places(&list, &shape, &dims, at)?;
    Ok(vec![placed(cx, &value, &places, &shape, &c.path)?])
}

/// For each index, the place that it and its own coordinates name.
fn element_places(list: &[i64], shape: &[usize], dims: &[usize], axis: usize) -> Done<Vec<usize>> {
    if shape.len() != dims.len() || (0..dims.len()).any(|i| i != axis && shape[i] > dims[i]) {
        return Err(format!("indices {shape:?} do not fit {dims:?}").into());
    }
    let one = |(i, &k): (usize, &i64)| {
        let mut at = coordinates(i, shape);
        at[axis] = index(k, dims[axis])?;
        Ok(place(&at, dims))
    };
    list.iter().enumerate().map(one).collect()
}

/// For each tuple of indices, which it names of all slices along the [`lookup::leading`] axes `dims`.
fn tuple_places(list: &[i64], shape: &[usize], dims: &[usize], batch: usize) -> Done<Vec<usize>> {
    let lead = &shape[..shape.len() - 1];
    let one = |(i, tuple): (usize, &[i64])| {
        let mut at = coordinates(i, lead)[..batch].to_vec();
        for (k, &t) in tuple.iter().enumerate() {
            at.push(index(t, dims[batch + k])?);
        }
        Ok(place(&at, dims))
    };
    list.chunks(dims.len() - batch).enumerate().map(one).collect()
}

fn gather_nd(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let batch = usize::try_from(c.int("batch_dims", 0)?).map_err(|_| Refusal::new("has negative batch_dims"))?;
    if is_computed(cx, c.needed(1)?) {
        return lookup::gather_nd(cx, c, batch);
    }
    let (list, shape) = known_indices(cx, c.needed(1)?)?;
    let (lead, rest) = lookup::leading(cx, &value, &shape, batch)?;
    let places = tuple_places(&list, &shape, &lead, batch)?;
    let rows = places::count(&lead).ok_or("is too large")?;
    let table = [&[Dim::Fixed(rows)], &rest[..]].concat();
    let table = cx.reshaped(&value, &table, &c.at("rows"))?;
    Ok(vec![cx.taken(&table, 0, &places, &shape[..shape.len() - 1], &c.path)?])
}

/// A value in which elements at constant places are replaced by updates, the last one where several meet, or are combined with all of them.
fn scattered(cx: &mut Cx, c: &Call<'_>, dims: &[usize], targets: &[usize]) -> Done {
    let (value, updates) = (c.needed(0)?.clone(), c.needed(2)?.clone());
    // With what changes nothing.
    let kind = puts::reduction(c)?.map(|(kind, name)| match kind {
        BinaryKind::Add => (kind, name, 0.0),
        BinaryKind::Mul => (kind, name, 1.0),
        _ => (kind, name, f64::INFINITY),
    });
    let total = places::count(dims).ok_or("is too large")?;
    let given = cx.fixed(&updates)?.iter().product::<usize>();
    if given != targets.len() {
        return Err(format!("puts {given} elements into {} places", targets.len()).into());
    }
    let row = cx.reshaped(&value, &[Dim::Fixed(total)], &c.at("row"))?;
    let new = cx.reshaped(&updates, &[Dim::Fixed(given)], &c.at("updates"))?;
    let Some((kind, name, idle)) = kind else {
        let mut source: Vec<usize> = (0..total).collect();
        targets.iter().enumerate().for_each(|(i, &target)| source[target] = total + i);
        let both = cx.joined(&[row, new], 0, &c.at("both"))?;
        return Ok(vec![placed(cx, &both, &source, dims, &c.path)?]);
    };
    // Each round takes at most one update to each place; all others combine with what changes nothing.
    let mut seen = vec![0usize; total];
    let rounds: Vec<usize> = targets.iter().map(|&t| (seen[t], seen[t] += 1).0).collect();
    let count = rounds.iter().max().map_or(0, |r| r + 1);
    if count > ROUNDS {
        return Err(format!("combines more than {ROUNDS} updates in one place").into());
    }
    let elem = cx.elem(&row)?;
    // The largest and least numbers are read at the place itself instead.
    let own = idle.is_infinite();
    let filler = Val::known(Known::new(
        elem,
        vec![1],
        vec![if elem.is_float() { Num::float(idle) } else { Num::int(idle as i64) }],
    ));
    let mut y = row;
    for round in 0..count {
        let path = c.at(&format!("round{round}"));
        let both =
            cx.joined(&[if own { y.clone() } else { filler.clone() }, new.clone()], 0, &format!("{path}.both"))?;
        let first = if own { total } else { 1 };
        let mut source: Vec<usize> = (0..total).map(|i| if own { i } else { 0 }).collect();
        for (i, &target) in targets.iter().enumerate().filter(|(i, _)| rounds[*i] == round) {
            source[target] = first + i;
        }
        let part = cx.taken(&both, 0, &source, &[total], &format!("{path}.part"))?;
        y = binary(cx, &y, &part, name, kind, &path)?;
    }
    let dims: Vec<Dim> = dims.iter().map(|&d| Dim::Fixed(d)).collect();
    Ok(vec![cx.reshaped(&y, &dims, &c.path)?])
}

fn scatter_nd(cx: &mut Cx, c: &Call<'_>) -> Done {
    if is_computed(cx, c.needed(1)?) {
        return puts::slices(cx, c);
    }
    let dims = cx.fixed(c.needed(0)?)?;
    let (list, shape) = known_indices(cx, c.needed(1)?)?;
    let (lead, _) = lookup::leading(cx, c.needed(0)?, &shape, 0)?;
    let first = tuple_places(&list, &shape, &lead, 0)?;
    let inner: usize = dims[lead.len()..].iter().product();
    let targets: Vec<usize> = first.iter().flat_map(|&p| p * inner..(p + 1) * inner).collect();
    scattered(cx, c, &dims, &targets)
}

fn scatter_elements(cx: &mut Cx, c: &Call<'_>) -> Done {
    let at = axis(c.int("axis", 0)?, cx.dims(c.needed(0)?)?.len())?;
    if is_computed(cx, c.needed(1)?) {
        return puts::elements(cx, c, at);
    }
    let dims = cx.fixed(c.needed(0)?)?;
    let (list, shape) = known_indices(cx, c.needed(1)?)?;
    let targets = element_places(&list, &shape, &dims, at)?;
    scattered(cx, c, &dims, &targets)
}

fn one_hot(cx: &mut Cx, c: &Call<'_>) -> Done {
    let depth =
        cx.ints(c.needed(1)?, "depth")?.first().copied().and_then(|d| usize::try_from(d).ok()).ok_or("has no depth")?;
    let values = cx
        .constant(c.needed(2)?)
        .filter(|k| k.data.len() == 2)
        .ok_or_else(|| Refusal::computed("its values depend on the image"))?;
    if is_computed(cx, c.needed(0)?) && depth > 0 {
        let pair = values.reals().ok_or("its values depend on the batch: give the batch a number")?;
        return lookup::one_hot(cx, c, depth, [pair[0], pair[1]], values.elem);
    }
    let (list, shape) = known_indices(cx, c.needed(0)?)?;
    let at = axis(c.int("axis", -1)?, shape.len() + 1)?;
    let dims = [&shape[..at], &[depth], &shape[at..]].concat();
    let total = places::count(&dims).ok_or("is too large")?;
    let one = |i: usize| {
        let mut place_of = coordinates(i, &dims);
        let class = place_of.remove(at) as i64;
        let wanted = list[place(&place_of, &shape)];
        let wanted = if wanted < 0 { wanted.saturating_add(depth as i64) } else { wanted };
        values.data[usize::from(wanted == class)]
    };
    Ok(vec![Val::known(Known::new(values.elem, dims.clone(), (0..total).map(one).collect()))])
}

fn triangle(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let (dims, upper) = (cx.dims(&value)?, c.int("upper", 1)? != 0);
    let k = if c.input(1).is_absent() { 0 } else { cx.ints(c.input(1), "k")?.first().copied().unwrap_or(0) };
    let [.., rows, columns] = dims[..] else { return Err("takes a triangle of other than matrices".into()) };
    let (rows, columns) = (cx.size(rows)?, cx.size(columns)?);
    let kept = |i: usize| {
        let beyond = (i % columns.max(1)) as i128 - (i / columns.max(1)) as i128 - i128::from(k);
        if upper { beyond >= 0 } else { beyond <= 0 }
    };
    if let Some(known) = cx.known(&value) {
        let zero = if known.elem.is_float() { Num::float(0.0) } else { Num::int(0) };
        let area = rows * columns;
        let data = known.data.iter().enumerate().map(|(i, &n)| if kept(i % area.max(1)) { n } else { zero }).collect();
        return Ok(vec![Val::known(Known::new(known.elem, known.dims.clone(), data))]);
    }
    let total = places::count(&[rows, columns]).ok_or("is too large")?;
    let elem = cx.elem(&value)?;
    let plain = elem.is_float() && cx.value(&value, &c.at("x")).is_ok_and(|x| select::is_finite(cx, x));
    if !plain {
        let kept = (0..total).map(|i| Num::int(i64::from(kept(i)))).collect();
        let kept = Val::known(Known::new(Elem::Bool, vec![rows, columns], kept));
        let zero = if elem.is_float() { Num::float(0.0) } else { Num::int(0) };
        let zero = Val::known(Known::new(elem, vec![], vec![zero]));
        return Ok(vec![select::select(cx, &c.path, &kept, [&value, &zero])?]);
    }
    let mask = (0..total).map(|i| Num::float(f64::from(u8::from(kept(i))))).collect();
    let mask = cx.spell(&Known::new(Elem::F32, vec![rows, columns], mask), &c.at("mask"))?;
    let x = float(cx, &value, &c.at("x"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Mul, x, mask, &c.path)?, elem)])
}

/// A running sum is a product with a triangle of ones.
fn running_sum(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let at = cx.ints(c.needed(1)?, "axis")?.first().copied().ok_or("has no axis")?;
    let at = axis(at, dims.len())?;
    let (exclusive, reverse) = (c.int("exclusive", 0)? != 0, c.int("reverse", 0)? != 0);
    let n = cx.size(dims[at])?;
    if n > 1 << 11 {
        return Err("sums more than 2048 elements one behind the other".into());
    }
    // Element j is part of sum i.
    let part = |i: usize, j: usize| if reverse { j > i || j == i && !exclusive } else { j < i || j == i && !exclusive };
    if let Some(known) = cx.known(&value) {
        let one = |i: usize| {
            let mut place_of = coordinates(i, &known.dims);
            let own = place_of[at];
            let mut sum = if known.elem.is_float() { Num::float(0.0) } else { Num::int(0) };
            for j in (0..n).filter(|&j| part(own, j)) {
                place_of[at] = j;
                let next = known.data[place(&place_of, &known.dims)];
                sum = super::super::known::binary("Add", sum, next, known.elem)
                    .unwrap_or(Err(super::super::known::Unknown::Range))?;
            }
            Ok::<_, Refusal>(sum)
        };
        if known.data.len() > 1 << 16 {
            return Err("sums a large constant".into());
        }
        let data = (0..known.data.len()).map(one).collect::<Done<Vec<_>>>()?;
        return Ok(vec![Val::known(Known::new(known.elem, known.dims.clone(), data))]);
    }
    let elem = cx.elem(&value)?;
    if whole::is_wide(elem) {
        return Ok(vec![whole::running_sum(cx, &value, at, [exclusive, reverse], &c.path)?]);
    }
    let x = float(cx, &value, &c.at("x"))?;
    let ones = (0..n * n).map(|k| Num::float(f64::from(u8::from(part(k % n, k / n))))).collect();
    let ones = cx.spell(&Known::new(Elem::F32, vec![n, n], ones), &c.at("ones"))?;
    let last = dims.len() - 1;
    let mut perm: Vec<usize> = (0..dims.len()).collect();
    perm.swap(at, last);
    let turned = if at == last { x } else { cx.push(Op::Transpose { perm: perm.clone() }, &[x], &c.at("turned"))? };
    let product = Op::MatMul { transpose_a: false, transpose_b: false };
    let flat = dims.len() == 1;
    let turned = if flat { cx.reshape(turned, vec![Dim::Fixed(1), Dim::Fixed(n)], &c.at("row"))? } else { turned };
    let y = cx.push(product, &[turned, ones], &c.at("sum"))?;
    let y = if flat { cx.reshape(y, dims, &c.path)? } else { y };
    let y = if at == last { y } else { cx.push(Op::Transpose { perm }, &[y], &c.path)? };
    Ok(vec![Val::Node(y, elem)])
}
