//! Shape rules: the result types of every operator, one match.
//!
//! Every type has at most one batch dimension, dimensions of at least 1 and fewer than 2⁴⁸ elements, so that sizes never overflow. Rules
//! meet operands and attributes of any text, so they report what does not fit and never panic.

use crate::op::{AttentionLayout, Generator, Op, SpectralNorm};
use crate::ty::{DType, Dim, Shape, Type};

/// Operands that do not fit an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {op}: {what}")]
pub struct ShapeError {
    /// Path of the node.
    pub path: String,
    /// The operator's word.
    pub op: &'static str,
    /// What was required and what was found.
    pub what: String,
}

impl ShapeError {
    /// The same error with the node's path filled in.
    pub(crate) fn at(mut self, path: &str) -> Self {
        self.path = path.to_string();
        self
    }
}

/// Check what holds for every type.
fn check_type(ty: &Type) -> Result<(), String> {
    let dims = &ty.shape.0;
    if dims.iter().filter(|d| d.fixed().is_none()).count() > 1 {
        return Err(format!("keeps one batch dimension, found {ty}"));
    }
    match dims.iter().try_fold(1usize, |n, d| n.checked_mul(d.at(1)).filter(|n| (1..1 << 48).contains(n))) {
        Some(_) => Ok(()),
        None => Err(format!("needs dimensions of at least 1 and fewer than 2^48 elements, found {ty}")),
    }
}

/// Check the declared type of a leaf.
pub(crate) fn check_leaf(op: &Op, ty: &Type) -> Result<(), ShapeError> {
    let fail = |what: String| Err(ShapeError { path: String::new(), op: op.word(), what });
    if let Err(what) = check_type(ty) {
        return fail(what);
    }
    let rank = ty.shape.rank();
    if !matches!(op, Op::Input) && ty.shape.has_batch() {
        return fail(format!("a constant of type {ty} depends on the batch"));
    }
    match op {
        Op::Input if ty.shape.0.iter().skip(1).any(|d| d.fixed().is_none()) => {
            fail(format!("the batch stands only first, found {ty}"))
        }
        Op::Input => Ok(()),
        Op::Weight { .. } if ty.dtype != DType::F32 => fail(format!("weights are f32, found {ty}")),
        Op::Weight { .. } => Ok(()),
        Op::Literal { values } if values.len() != ty.shape.elements() || values.len() >= 64 => {
            fail(format!("{} elements for {ty}; literals have fewer than 64", values.len()))
        }
        Op::Literal { .. } => Ok(()),
        Op::Generate(g) => {
            let fixed = ty.shape.as_fixed().unwrap_or_default();
            let fits = match g {
                Generator::Fill { .. } => true,
                Generator::Iota { axis } => *axis < rank,
                Generator::Eye => rank == 2,
                Generator::RelativeIndex { query, key, .. } => {
                    ty.dtype == DType::I32 && fixed == [query[0] * query[1], key[0] * key[1]]
                }
                Generator::DftBasis { n, .. } => rank == 2 && fixed[0] == *n && fixed[1] <= *n,
                Generator::DctBasis { n } => fixed == [*n, *n],
                Generator::BandMask { grid } => rank == 2 && fixed[1] == grid[0] * grid[1],
                Generator::LogCoords { window } => {
                    !window.contains(&0) && fixed == [(2 * window[0] - 1) * (2 * window[1] - 1), 2]
                }
                Generator::GridCoords { side } => fixed == [side * side, 2],
            };
            if fits { Ok(()) } else { fail(format!("does not make a value of type {ty}")) }
        }
        _ => fail("is not a leaf".into()),
    }
}

/// Numpy broadcasting of two shapes.
pub fn broadcast(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| {
        let missing = rank - s.rank();
        if i < missing { Dim::Fixed(1) } else { s.0[i - missing] }
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (Dim::Fixed(1), y) => Some(y),
            (x, Dim::Fixed(1)) => Some(x),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(Shape)
}

/// Output length of a sliding window, or `None` if it does not fit once.
pub fn window_output(input: usize, kernel: usize, stride: usize, before: usize, after: usize) -> Option<usize> {
    (stride > 0 && kernel > 0).then_some(())?;
    Some((input + before + after).checked_sub(kernel)? / stride + 1)
}

/// Result types of `op` applied to operands of the given types.
///
/// # Errors
/// If the operands do not fit; the error's path is empty and the caller fills it in.
pub fn infer(op: &Op, inputs: &[&Type]) -> Result<Vec<Type>, ShapeError> {
    let types = rule(op, inputs).and_then(|types| types.iter().try_for_each(check_type).map(|()| types));
    types.map_err(|what| ShapeError { path: String::new(), op: op.word(), what })
}

fn rule(op: &Op, inputs: &[&Type]) -> Result<Vec<Type>, String> {
    let arity = |lo: usize, hi: usize| {
        if (lo..=hi).contains(&inputs.len()) {
            Ok(())
        } else {
            Err(format!("takes {lo} to {hi} operands, found {}", inputs.len()))
        }
    };
    let same_dtype = || match inputs.iter().find(|t| t.dtype != inputs[0].dtype) {
        Some(t) => Err(format!("operands have one element type, found {} and {}", inputs[0], t)),
        None => Ok(()),
    };
    let like = |shape: Shape| Ok(vec![Type::new(inputs[0].dtype, shape)]);
    let need = |ok: bool, what: &str| {
        if ok {
            Ok(())
        } else {
            let found: Vec<String> = inputs.iter().map(|t| t.to_string()).collect();
            Err(format!("{what}, found {}", found.join(" and ")))
        }
    };
    let rank = |i: usize| inputs[i].shape.rank();
    let dims = |i: usize| &inputs[i].shape.0;
    let plain = |axis: usize| {
        let d = dims(0)[axis];
        d.fixed().ok_or_else(|| format!("needs a plain number on axis {axis}, found {}", inputs[0]))
    };
    match op {
        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => {
            Err("is a leaf and has a declared type".into())
        }
        Op::Keep => {
            arity(1, 1)?;
            like(inputs[0].shape.clone())
        }
        Op::Unary(_) | Op::Clip { .. } => {
            arity(1, 1)?;
            need(inputs[0].dtype.is_float(), "takes a float")?;
            like(inputs[0].shape.clone())
        }
        Op::Binary(_) => {
            arity(2, 2)?;
            same_dtype()?;
            match broadcast(&inputs[0].shape, &inputs[1].shape) {
                Some(shape) => like(shape),
                None => Err(format!("shapes do not broadcast: {} and {}", inputs[0], inputs[1])),
            }
        }
        Op::Sum => {
            arity(2, usize::MAX)?;
            same_dtype()?;
            need(inputs[0].dtype.is_float(), "takes floats")?;
            let mut shape = inputs[0].shape.clone();
            for t in &inputs[1..] {
                shape =
                    broadcast(&shape, &t.shape).ok_or_else(|| format!("shapes do not broadcast: {shape} and {t}"))?;
            }
            like(shape)
        }
        Op::Prelu => {
            arity(2, 2)?;
            same_dtype()?;
            need(
                rank(0) >= 2 && rank(1) == 1 && (dims(1)[0] == dims(0)[1] || dims(1)[0] == Dim::Fixed(1)),
                "takes x [B,C,…] and slope [C]",
            )?;
            like(inputs[0].shape.clone())
        }
        Op::Cast { to } => {
            arity(1, 1)?;
            Ok(vec![Type::new(*to, inputs[0].shape.clone())])
        }
        Op::Conv { stride, pad, groups } => {
            arity(2, 3)?;
            same_dtype()?;
            need(rank(0) == 4 && rank(1) == 4, "takes x [B,C,H,W] and w [O,C/g,kh,kw]")?;
            let (x, w) = (dims(0), inputs[1].shape.as_fixed().ok_or("kernels do not depend on the batch")?);
            let channels = x[1].fixed().ok_or("channels do not depend on the batch")?;
            need(
                *groups > 0 && channels == w[1] * groups && w[0] % groups == 0,
                &format!("with {groups} groups takes w [O·g,C/g,kh,kw]"),
            )?;
            need(
                inputs.len() == 2 || inputs[2].shape == Shape::fixed(&[w[0]]),
                "takes one bias element per output channel",
            )?;
            let (h, wd) = (plain(2)?, plain(3)?);
            let oh = window_output(h, w[2], stride[0], pad[0], pad[2]);
            let ow = window_output(wd, w[3], stride[1], pad[1], pad[3]);
            match (oh, ow) {
                (Some(oh), Some(ow)) => like(Shape::batched(x[0], &[w[0], oh, ow])),
                _ => need(false, "needs a map at least as large as the kernel").map(|()| vec![]),
            }
        }
        Op::MatMul { transpose_a, transpose_b } => {
            arity(2, 2)?;
            same_dtype()?;
            need(rank(0) >= 2 && rank(1) >= 2, "takes operands of rank 2 or more")?;
            let split = |i: usize, t: bool| {
                let d = dims(i);
                let (lead, m) = d.split_at(d.len() - 2);
                let (r, c) = if t { (m[1], m[0]) } else { (m[0], m[1]) };
                (Shape(lead.to_vec()), r, c)
            };
            let (la, m, ka) = split(0, *transpose_a);
            let (lb, kb, n) = split(1, *transpose_b);
            need(ka == kb, "contracts equal dimensions")?;
            let mut lead = broadcast(&la, &lb)
                .ok_or_else(|| format!("leading shapes do not broadcast: {} and {}", inputs[0], inputs[1]))?;
            lead.0.extend([m, n]);
            need(lead.0.iter().filter(|d| d.fixed().is_none()).count() <= 1, "keeps one batch dimension")?;
            like(lead)
        }
        Op::Linear => {
            arity(2, 3)?;
            same_dtype()?;
            need(rank(0) >= 1 && rank(1) == 2, "takes x […,in] and w [out,in]")?;
            need(dims(0)[rank(0) - 1] == dims(1)[1], "contracts equal dimensions")?;
            let out = dims(1)[0];
            need(inputs.len() == 2 || inputs[2].shape.0 == [out], "takes one bias element per output")?;
            let mut shape = inputs[0].shape.clone();
            shape.0[rank(0) - 1] = out;
            like(shape)
        }
        Op::BatchNorm { .. } => {
            arity(5, 5)?;
            need(rank(0) >= 2, "takes x [B,C,…]")?;
            let c = dims(0)[1];
            need(inputs[1..].iter().all(|t| t.shape.0 == [c]), "takes four vectors of one element per channel")?;
            like(inputs[0].shape.clone())
        }
        Op::LayerNorm { axes, .. } => {
            arity(1, 3)?;
            need(inputs.len() != 2, "takes scale and bias together")?;
            need(ascending(axes, rank(0)) && !axes.is_empty(), "normalises ascending axes")?;
            let sizes: Vec<Dim> = axes.iter().map(|&a| dims(0)[a]).collect();
            let fits = |t: &Type| {
                t.shape.rank() == sizes.len()
                    && t.shape.0.iter().zip(&sizes).all(|(d, s)| d == s || *d == Dim::Fixed(1))
            };
            need(inputs[1..].iter().copied().all(fits), "takes scale and bias shaped like the normalised axes, or 1")?;
            like(inputs[0].shape.clone())
        }
        Op::Softmax { axis } => {
            arity(1, 1)?;
            need(*axis < rank(0), "has that axis")?;
            like(inputs[0].shape.clone())
        }
        Op::Reduce { axes, keep, .. } => {
            arity(1, 1)?;
            need(ascending(axes, rank(0)), "reduces ascending axes")?;
            need(axes.iter().all(|&a| dims(0)[a].fixed().is_some()), "does not reduce the batch")?;
            let kept = dims(0).iter().enumerate().filter_map(|(i, &d)| match axes.contains(&i) {
                true => keep.then_some(Dim::Fixed(1)),
                false => Some(d),
            });
            like(Shape(kept.collect()))
        }
        Op::AvgPool { kernel, stride, pad } => {
            arity(1, 1)?;
            need(rank(0) == 4, "takes x [B,C,H,W]")?;
            let (h, w) = (plain(2)?, plain(3)?);
            let oh = window_output(h, kernel[0], stride[0], pad[0], pad[2]);
            let ow = window_output(w, kernel[1], stride[1], pad[1], pad[3]);
            let covered = (0..4).all(|i| pad[i] < kernel[i % 2]);
            match (oh, ow) {
                (Some(oh), Some(ow)) if covered => like(Shape::batched(dims(0)[0], &[plain(1)?, oh, ow])),
                _ => need(false, "needs windows that touch the map").map(|()| vec![]),
            }
        }
        Op::Reshape { shape } => {
            arity(1, 1)?;
            need(
                shape.elements() == inputs[0].shape.elements() && shape.has_batch() == inputs[0].shape.has_batch(),
                &format!("to {shape} keeps the number of elements"),
            )?;
            need(shape.0.iter().filter(|d| d.fixed().is_none()).count() <= 1, "keeps one batch dimension")?;
            like(shape.clone())
        }
        Op::Transpose { perm } => {
            arity(1, 1)?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            need(sorted == (0..rank(0)).collect::<Vec<_>>(), &format!("permutes every axis once by {perm:?}"))?;
            like(Shape(perm.iter().map(|&p| dims(0)[p]).collect()))
        }
        Op::Concat { axis } => {
            arity(1, usize::MAX)?;
            same_dtype()?;
            need(*axis < rank(0), "has that axis")?;
            let mut shape = inputs[0].shape.clone();
            let mut total = 0;
            for t in inputs {
                let mut other = t.shape.clone();
                need(other.rank() == shape.rank(), "joins values of one rank")?;
                total += other.0[*axis].fixed().ok_or("does not join along the batch")?;
                other.0[*axis] = shape.0[*axis];
                need(other == shape, "joins values that differ along its axis only")?;
            }
            shape.0[*axis] = Dim::Fixed(total);
            like(shape)
        }
        Op::Split { axis, sizes } => {
            arity(1, 1)?;
            need(*axis < rank(0), "has that axis")?;
            let size = dims(0)[*axis].fixed().ok_or("does not cut the batch")?;
            need(
                sizes.iter().sum::<usize>() == size && !sizes.contains(&0),
                &format!("into {sizes:?} covers the axis"),
            )?;
            let part = |&s: &usize| {
                let mut shape = inputs[0].shape.clone();
                shape.0[*axis] = Dim::Fixed(s);
                Type::new(inputs[0].dtype, shape)
            };
            Ok(sizes.iter().map(part).collect())
        }
        Op::Slice { cuts } => {
            arity(1, 1)?;
            let axes: Vec<usize> = cuts.iter().map(|c| c.axis).collect();
            need(ascending(&axes, rank(0)), "cuts ascending axes")?;
            let mut shape = inputs[0].shape.clone();
            for c in cuts {
                let size = shape.0[c.axis].fixed().ok_or("does not cut the batch")?;
                need(
                    c.step > 0 && c.start < c.stop && c.stop <= size,
                    &format!("takes {}..{} by {} of axis {}", c.start, c.stop, c.step, c.axis),
                )?;
                shape.0[c.axis] = Dim::Fixed((c.stop - c.start).div_ceil(c.step));
            }
            like(shape)
        }
        Op::Pad { before, after } => {
            arity(1, 1)?;
            need(before.len() == rank(0) && after.len() == rank(0), "pads every axis")?;
            let padded = dims(0).iter().zip(before.iter().zip(after)).map(|(&d, (&b, &a))| match d {
                Dim::Fixed(n) => Ok(Dim::Fixed(n + b + a)),
                d if b + a == 0 => Ok(d),
                _ => Err("does not pad the batch".to_string()),
            });
            like(Shape(padded.collect::<Result<_, _>>()?))
        }
        Op::Gather { axis, .. } => {
            arity(2, 2)?;
            need(inputs[1].dtype == DType::I32 && *axis < rank(0), "takes x and i32 indices")?;
            need(dims(0)[*axis].fixed().is_some(), "does not gather along the batch")?;
            let mut shape = dims(0)[..*axis].to_vec();
            shape.extend(&inputs[1].shape.0);
            shape.extend(&dims(0)[*axis + 1..]);
            like(Shape(shape))
        }
        Op::Expand { shape } => {
            arity(1, 1)?;
            need(broadcast(&inputs[0].shape, shape).as_ref() == Some(shape), &format!("broadcasts to {shape}"))?;
            like(shape.clone())
        }
        Op::Resize { size, .. } => {
            arity(1, 1)?;
            need(rank(0) == 4 && !size.contains(&0), "takes x [B,C,H,W]")?;
            like(Shape::batched(dims(0)[0], &[plain(1)?, size[0], size[1]]))
        }
        Op::Attention { heads, layout, bias, talking, .. } => {
            let count = 3 + usize::from(*bias) + if *talking { 4 } else { 0 };
            arity(count, count)?;
            same_dtype()?;
            let split = |i: usize| -> Option<(Dim, usize, Vec<Dim>)> {
                let d = dims(i);
                match layout {
                    AttentionLayout::Channels if d.len() >= 3 => Some((d[0], d[1].fixed()?, d[2..].to_vec())),
                    AttentionLayout::Tokens if d.len() == 3 => Some((d[0], d[2].fixed()?, vec![d[1]])),
                    AttentionLayout::Heads if d.len() == 4 && d[1] == Dim::Fixed(*heads) => {
                        Some((d[0], d[3].fixed()?.checked_mul(*heads)?, vec![d[2]]))
                    }
                    _ => None,
                }
            };
            let parts = (split(0), split(1), split(2));
            need(
                *heads > 0 && inputs[..3].iter().all(|t| t.shape.0[1..].iter().all(|d| d.fixed().is_some())),
                "takes at least one head and the batch first",
            )?;
            let (Some((bq, cq, tq)), Some((bk, ck, tk)), Some((bv, cv, tv))) = parts else {
                return need(false, "takes q, k, v [B,C,…], [B,N,C] or [B,heads,N,d]").map(|()| vec![]);
            };
            let count = |t: &[Dim]| t.iter().map(|d| d.at(1)).product::<usize>();
            need(
                bq == bk && bk == bv && cq == ck && count(&tk) == count(&tv) && cq % heads == 0 && cv % heads == 0,
                &format!("with {heads} heads takes q and k of equal channels, k and v of equal tokens"),
            )?;
            if *bias {
                let b = inputs[3].shape.as_fixed().ok_or("a bias does not depend on the batch")?;
                need(
                    b.len() == 3 && (b[0] == *heads || b[0] == 1) && b[1..] == [count(&tq), count(&tk)],
                    "takes a bias [heads,Nq,Nk]",
                )?;
            }
            if *talking {
                let at = inputs.len() - 4;
                let (w, b) = (Shape::fixed(&[*heads, *heads]), Shape::fixed(&[*heads]));
                let fits = [&w, &b, &w, &b].iter().zip(&inputs[at..]).all(|(s, t)| **s == t.shape);
                need(fits, "takes talking heads [H,H], [H], [H,H], [H]")?;
            }
            match layout {
                AttentionLayout::Channels => {
                    let mut shape = vec![bq, Dim::Fixed(cv)];
                    shape.extend(tq);
                    like(Shape(shape))
                }
                AttentionLayout::Tokens => like(Shape(vec![bq, tq[0], Dim::Fixed(cv)])),
                AttentionLayout::Heads => like(Shape(vec![bq, Dim::Fixed(*heads), tq[0], Dim::Fixed(cv / heads)])),
            }
        }
        Op::Rfft2 { norm: SpectralNorm::Ortho | SpectralNorm::Backward } => {
            arity(1, 1)?;
            need(rank(0) >= 2, "takes x […,H,W]")?;
            let mut shape = inputs[0].shape.clone();
            let last = shape.rank() - 1;
            plain(last - 1)?;
            shape.0[last] = Dim::Fixed(plain(last)? / 2 + 1);
            let part = Type::new(inputs[0].dtype, shape);
            Ok(vec![part.clone(), part])
        }
        Op::Irfft2 { width, .. } => {
            arity(2, 2)?;
            same_dtype()?;
            need(inputs[0].shape == inputs[1].shape && rank(0) >= 2, "takes two parts […,H,W/2+1]")?;
            plain(rank(0) - 2)?;
            let mut shape = inputs[0].shape.clone();
            let last = shape.rank() - 1;
            need(shape.0[last] == Dim::Fixed(width / 2 + 1), &format!("to width {width} takes W/2+1 columns"))?;
            shape.0[last] = Dim::Fixed(*width);
            like(shape)
        }
        Op::Dct2 | Op::Idct2 => {
            arity(1, 1)?;
            need(rank(0) >= 2, "takes x […,H,W]")?;
            plain(rank(0) - 2).and(plain(rank(0) - 1))?;
            like(inputs[0].shape.clone())
        }
        Op::WindowPartition { window } => {
            arity(1, 1)?;
            need(rank(0) == 4, "takes x [B,C,H,W]")?;
            let (h, w) = (plain(2)?, plain(3)?);
            need(
                !window.contains(&0) && h % window[0] == 0 && w % window[1] == 0,
                &format!("with windows {window:?} takes a map that they divide"),
            )?;
            let windows = (h / window[0]) * (w / window[1]);
            like(Shape(vec![dims(0)[0].times(windows), Dim::Fixed(window[0] * window[1]), dims(0)[1]]))
        }
        Op::WindowMerge { window, map } => {
            arity(1, 1)?;
            let divides = !window.contains(&0) && map[0] % window[0] == 0 && map[1] % window[1] == 0;
            need(rank(0) == 3 && divides, &format!("takes tokens of windows {window:?} that divide the map {map:?}"))?;
            let windows = (map[0] / window[0]) * (map[1] / window[1]);
            need(dims(0)[1] == Dim::Fixed(window[0] * window[1]), &format!("takes windows of {window:?} tokens"))?;
            match dims(0)[0].divided(windows) {
                Some(b) => like(Shape(vec![b, dims(0)[2], Dim::Fixed(map[0]), Dim::Fixed(map[1])])),
                None => need(false, &format!("takes {windows} windows per image")).map(|()| vec![]),
            }
        }
    }
}

fn ascending(axes: &[usize], rank: usize) -> bool {
    axes.windows(2).all(|w| w[0] < w[1]) && axes.last().is_none_or(|&a| a < rank)
}
