//! Movements of values: one implementation each, for arrays that are known and for values of the graph.

use super::super::tensor::Elem;
use super::cx::Cx;
use super::known::{Known, Num};
use super::places;
use super::refusal::{Done, Refusal};
use super::value::Val;
use vitc_ir::op::SliceAxis;
use vitc_ir::{DType, Dim, Op, Shape, Value};

/// Elements of one axis that are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) axis: usize,
    pub(super) start: usize,
    /// Not 0; backwards if negative.
    pub(super) step: isize,
    pub(super) count: usize,
}

const LARGE: &str = "is too large";

/// Fails for an axis that a value of this rank does not have.
fn exists(axis: usize, rank: usize) -> Done<()> {
    if axis < rank { Ok(()) } else { Err(format!("has an operand of rank {rank}, and needs its axis {axis}").into()) }
}

impl Cut {
    /// Fails where it takes what these sizes do not have.
    fn fits(&self, dims: &[Dim]) -> Done<()> {
        exists(self.axis, dims.len())?;
        let last = isize::try_from(self.count.saturating_sub(1)).ok().and_then(|n| n.checked_mul(self.step));
        let last = last.and_then(|n| n.checked_add_unsigned(self.start)).and_then(|n| usize::try_from(n).ok());
        let inside = match dims[self.axis] {
            _ if self.count == 0 => true,
            Dim::Fixed(size) => self.start < size && last.is_some_and(|l| l < size),
            Dim::Batch(_) => last.is_some(),
        };
        let Cut { axis, start, step, count } = *self;
        if inside && step != 0 {
            return Ok(());
        }
        Err(format!("takes {count} elements from {start} in steps of {step} of axis {axis}, which is {}", dims[axis])
            .into())
    }
}

impl Cx {
    /// The same elements under another shape.
    pub(super) fn reshaped(&mut self, value: &Val, dims: &[Dim], path: &str) -> Done<Val> {
        if let Some(known) = self.known(value) {
            let fixed = dims.iter().map(|&d| self.size(d)).collect::<Done<Vec<_>>>()?;
            if fixed.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(known.data.len()) {
                return Err(format!("{} elements do not fit {fixed:?}", known.data.len()).into());
            }
            return Ok(Val::known(Known::new(known.elem, fixed, known.data.clone())));
        }
        let elem = self.elem(value)?;
        let mut x = self.value(value, &format!("{path}.x"))?;
        if let Some((source, digits, perm)) = self.few_digits(x) {
            let apart = self.reshape(source, digits, &format!("{path}.apart"))?;
            x = self.push(Op::Transpose { perm }, &[apart], &format!("{path}.moved"))?;
        }
        Ok(Val::Node(self.reshape(x, dims.to_vec(), path)?, elem))
    }

    /// What a permutation of reshaped axes permutes, with axes that stay neighbours in their order as one axis: windows and pixel shuffles pass through six
    /// axes in files, and phones take five. `None` if that makes no fewer.
    fn few_digits(&self, moved: Value) -> Option<(Value, Vec<Dim>, Vec<usize>)> {
        let Op::Transpose { perm } = self.graph.op(moved) else { return None };
        let apart = self.graph.producer(moved).inputs[0];
        let Op::Reshape { shape } = self.graph.op(apart) else { return None };
        if perm.len() <= 5 || self.graph.is_constant(apart) {
            return None;
        }
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for &axis in perm {
            match runs.last_mut() {
                Some(run) if run.end == axis => run.end += 1,
                _ => runs.push(axis..axis + 1),
            }
        }
        let mut sorted = runs.clone();
        sorted.sort_by_key(|run| run.start);
        let product = |run: &std::ops::Range<usize>| {
            shape.0[run.clone()].iter().try_fold(Dim::Fixed(1), |n, &d| match (n, d) {
                (n, Dim::Fixed(d)) => Some(n.times(d)),
                (Dim::Fixed(n), d) => Some(d.times(n)),
                _ => None,
            })
        };
        let digits = sorted.iter().map(product).collect::<Option<Vec<_>>>()?;
        let order = runs.iter().map(|run| sorted.iter().position(|s| s == run)).collect::<Option<Vec<_>>>()?;
        (runs.len() < perm.len()).then(|| (self.graph.producer(apart).inputs[0], digits, order))
    }

    /// Axes permuted.
    pub(super) fn transposed(&mut self, value: &Val, perm: &[usize], path: &str) -> Done<Val> {
        let rank = self.dims(value)?.len();
        if perm.len() != rank || !(0..rank).all(|axis| perm.contains(&axis)) {
            return Err(format!("permutes an operand of rank {rank} by {perm:?}").into());
        }
        if let Some(known) = self.known(value) {
            let (dims, index) = places::transpose(&known.dims, perm).ok_or(LARGE)?;
            return Ok(Val::known(known.at(dims, &index)));
        }
        let elem = self.elem(value)?;
        let x = self.value(value, &format!("{path}.x"))?;
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(Val::Node(x, elem));
        }
        Ok(Val::Node(self.push(Op::Transpose { perm: perm.to_vec() }, &[x], path)?, elem))
    }

    /// Parts of axes, each axis once.
    pub(super) fn cut(&mut self, value: &Val, cuts: &[Cut], path: &str) -> Done<Val> {
        let dims = self.dims(value)?;
        cuts.iter().try_for_each(|c| c.fits(&dims))?;
        if let Some(known) = self.known(value) {
            let mut all: Vec<(isize, isize, usize)> = known.dims.iter().map(|&d| (0, 1, d)).collect();
            cuts.iter().for_each(|c| all[c.axis] = (c.start as isize, c.step, c.count));
            let (dims, index) = places::cut(&known.dims, &all).ok_or(LARGE)?;
            return Ok(Val::known(known.at(dims, &index)));
        }
        let elem = self.elem(value)?;
        if cuts.iter().any(|c| c.count == 0) {
            // Lists that grow begin so.
            let mut left = self.fixed(value)?;
            cuts.iter().for_each(|c| left[c.axis] = c.count);
            return Ok(Val::known(Known::new(elem, left, Vec::new())));
        }
        let mut x = self.value(value, &format!("{path}.x"))?;
        let mut forward: Vec<SliceAxis> = Vec::new();
        for c in cuts.iter().filter(|c| c.step > 0) {
            let step = c.step as usize;
            let stop = c.start + (c.count - 1) * step + 1;
            let whole = self.graph.shape(x).0[c.axis] == Dim::Fixed(c.count) && step == 1;
            if !whole {
                forward.push(SliceAxis {
                    axis: c.axis,
                    start: c.start,
                    stop,
                    step: if c.count == 1 { 1 } else { step },
                });
            }
        }
        forward.sort_by_key(|c| c.axis);
        if !forward.is_empty() {
            x = self.push(Op::Slice { cuts: forward }, &[x], path)?;
        }
        for c in cuts.iter().filter(|c| c.step < 0) {
            let index: Vec<usize> = (0..c.count).map(|i| (c.start as isize + c.step * i as isize) as usize).collect();
            x = self.gathered(x, c.axis, &index, &[c.count], path)?;
        }
        Ok(Val::Node(x, elem))
    }

    /// Taken at indices that are known; the axis is replaced by their shape.
    pub(super) fn taken(
        &mut self,
        value: &Val,
        axis: usize,
        index: &[usize],
        shape: &[usize],
        path: &str,
    ) -> Done<Val> {
        exists(axis, self.dims(value)?.len())?;
        if let Some(known) = self.known(value) {
            let (dims, places) =
                places::gather(&known.dims, axis, index, shape).ok_or("takes an element that is not there")?;
            return Ok(Val::known(known.at(dims, &places)));
        }
        let elem = self.elem(value)?;
        let x = self.value(value, &format!("{path}.x"))?;
        let size = self.size(self.graph.shape(x).0[axis])?;
        if let Some(&i) = index.iter().find(|&&i| i >= size) {
            return Err(format!("takes element {i} of {size}").into());
        }
        let run = index.windows(2).all(|w| w[1] == w[0] + 1);
        if !run || index.is_empty() {
            return Ok(Val::Node(self.gathered(x, axis, index, shape, path)?, elem));
        }
        let mut part = x;
        if index.len() < size {
            let cuts = vec![SliceAxis { axis, start: index[0], stop: index[0] + index.len(), step: 1 }];
            part = self.push(
                Op::Slice { cuts },
                &[x],
                &if shape.len() == 1 { path.to_string() } else { format!("{path}.slice") },
            )?;
        }
        let dims = self.shape(x);
        let shape = shape.iter().map(|&d| Dim::Fixed(d));
        let dims = dims[..axis].iter().copied().chain(shape).chain(dims[axis + 1..].iter().copied()).collect();
        Ok(Val::Node(self.reshape(part, dims, path)?, elem))
    }

    /// A gather with constant indices.
    fn gathered(&mut self, x: Value, axis: usize, index: &[usize], shape: &[usize], path: &str) -> Done<Value> {
        let data = index.iter().map(|&i| Num::int(i as i64)).collect();
        let mut dims = self.shape(x);
        if dims.len() + shape.len() > 6 && shape.len() > 1 {
            // Phones take five axes.
            dims.splice(axis..=axis, shape.iter().map(|&d| Dim::Fixed(d)));
            let row = self.gathered(x, axis, index, &[index.len()], &format!("{path}.row"))?;
            return self.reshape(row, dims, path);
        }
        let indices = Known::new(Elem::Int(32), shape.to_vec(), data);
        let indices = self.spell(&indices, &format!("{path}.indices"))?;
        self.push(Op::Gather { axis }, &[x, indices], path)
    }

    /// Values one behind the other; those without elements vanish.
    pub(super) fn joined(&mut self, values: &[Val], axis: usize, path: &str) -> Done<Val> {
        for value in values {
            exists(axis, self.dims(value)?.len())?;
        }
        let known: Option<Vec<_>> = values.iter().map(|v| self.known(v)).collect();
        if let Some(known) = known {
            return join_known(&known, axis);
        }
        let mut parts = Vec::new();
        for (i, value) in values.iter().enumerate() {
            if !self.dims(value)?.contains(&Dim::Fixed(0)) {
                parts.push((self.value(value, &format!("{path}.part{i}"))?, self.elem(value)?));
            }
        }
        let elem = parts.first().map(|p| p.1).ok_or("joins nothing")?;
        let mut parts: Vec<Value> = parts.into_iter().map(|p| p.0).collect();
        // Truths and codes that are computed are floats; constants and what was given are not.
        let floats = parts.iter().any(|&v| self.graph.ty(v).dtype == DType::F32);
        for (i, part) in parts.iter_mut().enumerate().filter(|_| floats) {
            if self.graph.ty(*part).dtype != DType::F32 {
                *part = self.push(Op::Cast { to: DType::F32 }, &[*part], &format!("{path}.number{i}"))?;
            }
        }
        if let [one] = parts[..] {
            return Ok(Val::Node(one, elem));
        }
        if let Some(joined) = self.beside_constants(&parts, axis, path)? {
            return Ok(Val::Node(joined, elem));
        }
        Ok(Val::Node(self.push(Op::Concat { axis }, &parts, path)?, elem))
    }

    /// Constants that are repeated for each item of an open batch (class tokens), in front of or behind the rest: the rest gets zeros around it and a table
    /// is added, since no target can repeat something so often without computing shapes.
    fn beside_constants(&mut self, parts: &[Value], axis: usize, path: &str) -> Done<Option<Value>> {
        let repeated = |cx: &Cx, v: Value| match cx.graph.op(v) {
            Op::Expand { .. } if cx.graph.shape(v).has_batch() => {
                let inner = cx.graph.producer(v).inputs[0];
                cx.graph.is_constant(inner).then_some(inner)
            }
            _ => None,
        };
        let inner: Vec<Option<Value>> = parts.iter().map(|&v| repeated(self, v)).collect();
        let front = inner.iter().take_while(|i| i.is_some()).count();
        let back = inner.iter().skip(front).rev().take_while(|i| i.is_some()).count();
        let middle = front..parts.len() - back;
        if front + back == 0 || middle.is_empty() || inner[middle.clone()].iter().any(Option::is_some) {
            return Ok(None);
        }
        let rest = match parts[middle.clone()] {
            [one] => one,
            ref several => self.push(Op::Concat { axis }, several, &format!("{path}.rest"))?,
        };
        // The table: the constants where they stand, zeros where the rest stands, once for the whole batch.
        let plain = |d: &Dim| d.fixed().unwrap_or(1);
        let mut table = Vec::new();
        for (i, &part) in parts.iter().enumerate() {
            let dims: Vec<usize> = self.graph.shape(part).0.iter().map(plain).collect();
            table.push(match inner[i] {
                Some(constant) => {
                    let own = self.sizes(constant)?;
                    let mut wide = vec![Dim::Fixed(1); dims.len() - own.len().min(dims.len())];
                    wide.extend(own.iter().map(|&d| Dim::Fixed(d)));
                    let x = self.reshape(constant, wide, &format!("{path}.token{i}"))?;
                    let shape = Shape::fixed(&dims);
                    if *self.graph.shape(x) == shape {
                        x
                    } else {
                        self.push(Op::Expand { shape }, &[x], &format!("{path}.token{i}.all"))?
                    }
                }
                None => {
                    let fill = Op::Generate(vitc_ir::Generator::Fill { value: vitc_ir::Real(0.0) });
                    self.graph.push_leaf(fill, vitc_ir::Type::f32(&dims), &format!("{path}.zeros{i}"))?
                }
            });
        }
        let width = |cx: &Cx, range: std::ops::Range<usize>| {
            parts[range].iter().map(|&p| cx.size(cx.graph.shape(p).0[axis])).sum::<Done<usize>>()
        };
        let rank = self.graph.shape(rest).rank();
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        before[axis] = width(self, 0..front)?;
        after[axis] = width(self, middle.end..parts.len())?;
        let table = self.push(Op::Concat { axis }, &table, &format!("{path}.table"))?;
        let mode = vitc_ir::op::PadMode::ZERO;
        let padded = self.push(Op::Pad { before, after, mode }, &[rest], &format!("{path}.padded"))?;
        Ok(Some(self.binary(vitc_ir::BinaryKind::Add, padded, table, path)?))
    }

    /// Broadcast both ways: a 1 in the shape keeps the value's dimension.
    pub(super) fn expanded(&mut self, value: &Val, dims: &[Dim], path: &str) -> Done<Val> {
        let own = self.dims(value)?;
        let shape = vitc_ir::infer::broadcast(&Shape(own.clone()), &Shape(dims.to_vec()));
        let shape = shape.ok_or_else(|| Refusal::new(self.contradiction(&own, dims)))?;
        if let (Some(known), Some(fixed)) = (self.known(value), shape.as_fixed())
            && (!known.elem.is_float() || fixed.iter().product::<usize>() <= 64)
        {
            return Ok(Val::known(known.expanded(&fixed).ok_or(LARGE)?));
        }
        let elem = self.elem(value)?;
        let x = self.value(value, &format!("{path}.x"))?;
        if shape.elements() > 1 << 28 && self.graph.is_constant(x) {
            return Err("makes a constant of more than 2^28 elements".into());
        }
        if *self.graph.shape(x) == shape {
            return Ok(Val::Node(x, elem));
        }
        Ok(Val::Node(self.push(Op::Expand { shape }, &[x], path)?, elem))
    }

    /// Why shapes do not broadcast: a number where the batch should be says more.
    pub(super) fn contradiction(&self, a: &[Dim], b: &[Dim]) -> String {
        let (a, b) = (Shape(a.to_vec()), Shape(b.to_vec()));
        match a.has_batch() != b.has_batch() {
            true => format!("{a} and {b} do not fit: the file fixes the batch there; give the batch that number"),
            false => format!("{a} and {b} do not fit"),
        }
    }
}

fn join_known(parts: &[std::sync::Arc<Known>], axis: usize) -> Done<Val> {
    let Some(first) = parts.iter().find(|p| !p.data.is_empty()).or(parts.first()) else {
        return Err("joins nothing".into());
    };
    let live: Vec<&Known> = parts.iter().filter(|p| !p.data.is_empty()).map(|p| &**p).collect();
    let mut dims = first.dims.clone();
    if axis >= dims.len() {
        return Err(format!("axis {axis} does not exist").into());
    }
    dims[axis] = live.iter().map(|p| p.dims.get(axis).copied().unwrap_or(0)).sum();
    let fits = |p: &&Known| p.dims.len() == dims.len() && (0..dims.len()).all(|i| i == axis || p.dims[i] == dims[i]);
    if !live.iter().all(fits) {
        return Err("joins arrays that differ along other axes too".into());
    }
    let before: usize = dims[..axis].iter().product();
    let mut data = Vec::new();
    for row in 0..before {
        for part in &live {
            let width = part.data.len() / before.max(1);
            data.extend_from_slice(&part.data[row * width..(row + 1) * width]);
        }
    }
    Ok(Val::known(Known::new(first.elem, dims, data)))
}
