//! Shape rules: the result types of every operator, one match over a rule each, by kind of operator.
//!
//! Every type has at most one batch dimension, dimensions of at least 1 and fewer than 2⁴⁸ elements, so that sizes never overflow. Rules
//! meet operands and attributes of any text, so they report what does not fit and never panic.

use crate::facts::{Class, Elements};
use crate::op::{AttentionLayout, Generator, Op, PadMode, SliceAxis};
use crate::real::Real;
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
        Op::Generate(g) if makes(g, ty) => Ok(()),
        Op::Generate(_) => fail(format!("does not make a value of type {ty}")),
        _ => fail("is not a leaf".into()),
    }
}

/// Whether a generator makes constants of a type, which does not depend on the batch.
fn makes(generator: &Generator, ty: &Type) -> bool {
    let Some(dims) = ty.shape.as_fixed() else { return false };
    let area = |[h, w]: [usize; 2]| h.checked_mul(w);
    match *generator {
        Generator::Fill { .. } => true,
        Generator::Iota { axis } => axis < dims.len(),
        Generator::Eye => dims.len() == 2,
        Generator::RelativeIndex { query, key, step, .. } => {
            // Indices are computed from products of two sides.
            let far = |(&side, &step): (&usize, &usize)| side.checked_mul(step).is_none_or(|n| n >= 1 << 30);
            let large = query.iter().zip(&step).any(far) || key.iter().any(|&side| side >= 1 << 30);
            !large && ty.dtype == DType::I32 && dims.iter().map(|&n| Some(n)).eq([area(query), area(key)])
        }
        Generator::DftBasis { n, .. } => dims.len() == 2 && dims[0] == n && dims[1] <= n,
        Generator::DctBasis { n } => dims == [n, n],
        Generator::Resample { scale, .. } => dims.len() == 2 && scale.is_none_or(|s| is_factor(s.0, dims[1], dims[0])),
        Generator::AdaptiveMean => dims.len() == 2,
        Generator::BandMask { grid } => dims.len() == 2 && Some(dims[1]) == area(grid),
        Generator::LogCoords { window } => {
            let offsets = |side: usize| side.checked_mul(2)?.checked_sub(1);
            let count = offsets(window[0]).zip(offsets(window[1])).and_then(|(h, w)| area([h, w]));
            dims.len() == 2 && Some(dims[0]) == count && dims[1] == 2
        }
        Generator::GridCoords { side } => dims.len() == 2 && Some(dims[0]) == area([side, side]) && dims[1] == 2,
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

/// Whether a resize of `n` elements by this factor has `m`, up to the rounding of f32.
fn is_factor(scale: f64, n: usize, m: usize) -> bool {
    let size = scale * n as f64;
    size.is_finite() && (m as f64) <= size * (1.0 + 1e-6) && size * (1.0 - 1e-6) < (m + 1) as f64
}

/// Elements that a kernel spans, its holes included.
fn span(kernel: usize, dilation: usize) -> Option<usize> {
    (dilation > 0).then_some(())?;
    kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)
}

/// Output length of a sliding window, or `None` if it does not fit once.
pub fn window_output(input: usize, kernel: usize, stride: usize, before: usize, after: usize) -> Option<usize> {
    (stride > 0 && kernel > 0).then_some(())?;
    Some(input.checked_add(before)?.checked_add(after)?.checked_sub(kernel)? / stride + 1)
}

/// Result types of `op` applied to operands of the given types.
///
/// # Errors
/// If the operands do not fit; the error's path is empty and the caller fills it in.
pub fn infer(op: &Op, inputs: &[&Type]) -> Result<Vec<Type>, ShapeError> {
    let types = rule(op, inputs).and_then(|types| types.iter().try_for_each(check_type).map(|()| types));
    types.map_err(|what| ShapeError { path: String::new(), op: op.word(), what })
}

/// What a rule gives: result types, or what does not fit.
type Rule = Result<Vec<Type>, String>;

fn rule(op: &Op, inputs: &[&Type]) -> Rule {
    let x = Operands(inputs);
    x.fit(op)?;
    match op {
        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => {
            Err("is a leaf and has a declared type".into())
        }
        Op::Unary(_) | Op::Clip { .. } | Op::Keep => x.like(inputs[0].shape.clone()),
        Op::Binary(_) | Op::Sum => broadcast_all(x),
        Op::Select => select(x),
        Op::Prelu => prelu(x),
        Op::Cast { to } => Ok(vec![Type::new(*to, inputs[0].shape.clone())]),
        Op::Conv { stride, pad, dilation, groups } => conv(x, stride, pad, dilation, *groups),
        Op::ConvTranspose { stride, pad, output_pad, dilation, groups } => {
            conv_transpose(x, stride, pad, output_pad, dilation, *groups)
        }
        Op::MatMul { transpose_a, transpose_b } => matmul(x, *transpose_a, *transpose_b),
        Op::Linear => linear(x),
        Op::BatchNorm { .. } => batch_norm(x),
        Op::LayerNorm { axes, .. } => layer_norm(x, axes),
        Op::Softmax { axis } => softmax(x, *axis),
        Op::Reduce { axes, keep, .. } => reduce(x, axes, *keep),
        Op::AvgPool { kernel, stride, pad } => avg_pool(x, kernel, stride, pad),
        Op::MaxPool { kernel, stride, pad, dilation } => max_pool(x, kernel, stride, pad, dilation),
        Op::ArgMax { axis, keep } => arg_max(x, *axis, *keep),
        Op::TopK { axis, k, .. } => top_k(x, *axis, *k),
        Op::Reshape { shape } => reshape(x, shape),
        Op::Transpose { perm } => transpose(x, perm),
        Op::Concat { axis } => concat(x, *axis),
        Op::Split { axis, sizes } => split(x, *axis, sizes),
        Op::Slice { cuts } => slice(x, cuts),
        Op::Pad { before, after, mode } => pad(x, before, after, *mode),
        Op::DepthToSpace { block, .. } => depth_to_space(x, *block),
        Op::SpaceToDepth { block } => space_to_depth(x, *block),
        Op::Gather { axis } => gather(x, *axis),
        Op::Expand { shape } => expand(x, shape),
        Op::Resize { size, scale, .. } => resize(x, size, scale.as_ref()),
        Op::GridSample { .. } => grid_sample(x),
        Op::Quantize { to } => quantize(x, *to),
        Op::Dequantize => dequantize(x),
        Op::Lookup { bits, shape } => lookup(x, *bits, shape),
        Op::Attention { heads, layout, bias, talking, .. } => attention(x, *heads, *layout, *bias, *talking),
        Op::Rfft2 { .. } => rfft2(x),
        Op::Irfft2 { width, .. } => irfft2(x, *width),
        Op::Dct2 | Op::Idct2 => dct2(x),
        Op::WindowPartition { window } => window_partition(x, window),
        Op::WindowMerge { window, map } => window_merge(x, window, map),
    }
}

/// The operands' types, as rules read them.
#[derive(Clone, Copy)]
struct Operands<'a>(&'a [&'a Type]);

impl Operands<'_> {
    /// What the operator's facts say of number and element types.
    fn fit(self, op: &Op) -> Result<(), String> {
        let (facts, inputs) = (op.facts(), self.0);
        if facts.class == Class::Leaf {
            return Ok(());
        }
        let (lo, hi) = facts.operands.into_inner();
        if !(lo..=hi).contains(&inputs.len()) {
            return Err(format!("takes {lo} to {hi} operands, found {}", inputs.len()));
        }
        // Norms, gathers, selects and codes have operands of several types: the validator's fourth rule, and their own.
        let one_type = !matches!(facts.class, Class::Normalisation | Class::Sampling | Class::Quantisation);
        if let Some(other) = inputs.iter().find(|t| one_type && t.dtype != inputs[0].dtype) {
            return Err(format!("operands have one element type, found {} and {other}", inputs[0]));
        }
        match facts.elements {
            Elements::Any => Ok(()),
            Elements::Numbers => {
                self.need(inputs[0].dtype.is_float() || inputs[0].dtype == DType::I32, "takes floats or i32")
            }
            Elements::Integers => self.need(inputs[0].dtype == DType::I32, "takes i32"),
            Elements::Floats => self.need(inputs[0].dtype.is_float(), "takes floats"),
        }
    }

    /// The message that `what` is required, and what was found.
    fn misfit(self, what: impl std::fmt::Display) -> String {
        let found: Vec<String> = self.0.iter().map(|t| t.to_string()).collect();
        format!("{what}, found {}", found.join(" and "))
    }

    fn need(self, ok: bool, what: impl std::fmt::Display) -> Result<(), String> {
        if ok { Ok(()) } else { Err(self.misfit(what)) }
    }

    fn rank(self, slot: usize) -> usize {
        self.0[slot].shape.rank()
    }

    fn dims(&self, slot: usize) -> &[Dim] {
        &self.0[slot].shape.0
    }

    /// Size of an axis of operand 0, which is not the batch.
    fn plain(self, axis: usize) -> Result<usize, String> {
        let size = self.dims(0)[axis].fixed();
        size.ok_or_else(|| format!("needs a plain number on axis {axis}, found {}", self.0[0]))
    }

    /// One result of this shape, of the first operand's element type.
    fn like(self, shape: Shape) -> Rule {
        Ok(vec![Type::new(self.0[0].dtype, shape)])
    }

    fn is_map(self) -> Result<(), String> {
        self.need(self.rank(0) == 4, "takes x [B,C,H,W]")
    }
}

fn ascending(axes: &[usize], rank: usize) -> bool {
    axes.windows(2).all(|w| w[0] < w[1]) && axes.last().is_none_or(|&a| a < rank)
}

/// Output height and width of windows of `kernel` over the map that operand 0 is.
fn windows(
    x: Operands,
    kernel: [usize; 2],
    stride: &[usize; 2],
    pad: &[usize; 4],
) -> Result<Option<[usize; 2]>, String> {
    let (h, w) = (x.plain(2)?, x.plain(3)?);
    let height = window_output(h, kernel[0], stride[0], pad[0], pad[2]);
    let width = window_output(w, kernel[1], stride[1], pad[1], pad[3]);
    Ok(height.zip(width).map(|(h, w)| [h, w]))
}

// ---- elementwise ----------------------------------------------------------------------------------------------------

fn broadcast_all(x: Operands) -> Rule {
    let mut shape = x.0[0].shape.clone();
    for (i, t) in x.0.iter().enumerate().skip(1) {
        let so_far = |shape: &Shape| if i == 1 { x.0[0].to_string() } else { shape.to_string() };
        shape = broadcast(&shape, &t.shape)
            .ok_or_else(|| format!("shapes do not broadcast: {} and {t}", so_far(&shape)))?;
    }
    x.like(shape)
}

fn select(x: Operands) -> Rule {
    let types = x.0[0].dtype == DType::Bool && x.0[1].dtype == x.0[2].dtype;
    x.need(types, "takes truths and two values of one element type")?;
    let shape = (x.0[1..].iter()).try_fold(x.0[0].shape.clone(), |shape, t| broadcast(&shape, &t.shape));
    let shape = shape.ok_or_else(|| x.misfit("takes shapes that broadcast"))?;
    Ok(vec![Type::new(x.0[1].dtype, shape)])
}

fn prelu(x: Operands) -> Rule {
    let fits = x.rank(0) >= 2 && x.rank(1) == 1 && (x.dims(1)[0] == x.dims(0)[1] || x.dims(1)[0] == Dim::Fixed(1));
    x.need(fits, "takes x [B,C,…] and slope [C]")?;
    x.like(x.0[0].shape.clone())
}

// ---- products -------------------------------------------------------------------------------------------------------

fn conv(x: Operands, stride: &[usize; 2], pad: &[usize; 4], dilation: &[usize; 2], groups: usize) -> Rule {
    x.need(x.rank(0) == 4 && x.rank(1) == 4, "takes x [B,C,H,W] and w [O,C/g,kh,kw]")?;
    let w = x.0[1].shape.as_fixed().ok_or("kernels do not depend on the batch")?;
    let channels = x.dims(0)[1].fixed().ok_or("channels do not depend on the batch")?;
    let grouped = groups > 0 && w[1].checked_mul(groups) == Some(channels) && w[0].is_multiple_of(groups);
    x.need(grouped, format_args!("with {groups} groups takes w [O·g,C/g,kh,kw]"))?;
    let bias = x.0.get(2).is_none_or(|b| b.shape == Shape::fixed(&[w[0]]));
    x.need(bias, "takes one bias element per output channel")?;
    let sides = span(w[2], dilation[0]).zip(span(w[3], dilation[1])).ok_or("needs a dilation of at least 1")?;
    match windows(x, sides.into(), stride, pad)? {
        Some([h, wd]) => x.like(Shape::batched(x.dims(0)[0], &[w[0], h, wd])),
        None => Err(x.misfit("needs a map at least as large as the kernel")),
    }
}

fn conv_transpose(
    x: Operands,
    stride: &[usize; 2],
    pad: &[usize; 4],
    output_pad: &[usize; 2],
    dilation: &[usize; 2],
    groups: usize,
) -> Rule {
    x.need(x.rank(0) == 4 && x.rank(1) == 4, "takes x [B,C,H,W] and w [C,O/g,kh,kw]")?;
    let w = x.0[1].shape.as_fixed().ok_or("kernels do not depend on the batch")?;
    let channels = x.dims(0)[1].fixed().ok_or("channels do not depend on the batch")?;
    let grouped = groups > 0 && w[0] == channels && channels.is_multiple_of(groups);
    x.need(grouped, format_args!("with {groups} groups takes w [C·g,O/g,kh,kw]"))?;
    let outputs = w[1].saturating_mul(groups);
    x.need(
        x.0.get(2).is_none_or(|b| b.shape == Shape::fixed(&[outputs])),
        "takes one bias element per output channel",
    )?;
    let map = [x.plain(2)?, x.plain(3)?];
    let side = |i: usize| {
        (stride[i] > 0 && output_pad[i] < stride[i].max(dilation[i])).then_some(())?;
        let whole = (map[i] - 1).checked_mul(stride[i])?.checked_add(span(w[2 + i], dilation[i])?)?;
        let size = whole.checked_add(output_pad[i])?.checked_sub(pad[i])?.checked_sub(pad[2 + i])?;
        // Where the whole map is left out there is nothing to cut the rest from.
        (size > 0 && pad[i] < whole && pad[2 + i] < whole).then_some(size)
    };
    match side(0).zip(side(1)) {
        Some((h, w)) => x.like(Shape::batched(x.dims(0)[0], &[outputs, h, w])),
        None => Err(x.misfit("needs strides of at least 1, less at the ends than they are, and a result")),
    }
}

fn matmul(x: Operands, transpose_a: bool, transpose_b: bool) -> Rule {
    x.need(x.rank(0) >= 2 && x.rank(1) >= 2, "takes operands of rank 2 or more")?;
    // Leading axes, rows and columns of an operand.
    let parts = |slot: usize, transposed: bool| {
        let (lead, matrix) = x.dims(slot).split_at(x.rank(slot) - 2);
        let (rows, columns) = if transposed { (matrix[1], matrix[0]) } else { (matrix[0], matrix[1]) };
        (Shape(lead.to_vec()), rows, columns)
    };
    let ((lead_a, m, k), (lead_b, other, n)) = (parts(0, transpose_a), parts(1, transpose_b));
    x.need(k == other, "contracts equal dimensions")?;
    let mut shape = broadcast(&lead_a, &lead_b)
        .ok_or_else(|| format!("leading shapes do not broadcast: {} and {}", x.0[0], x.0[1]))?;
    shape.0.extend([m, n]);
    x.need(shape.0.iter().filter(|d| d.fixed().is_none()).count() <= 1, "keeps one batch dimension")?;
    x.like(shape)
}

fn linear(x: Operands) -> Rule {
    x.need(x.rank(0) >= 1 && x.rank(1) == 2, "takes x […,in] and w [out,in]")?;
    let last = x.rank(0) - 1;
    x.need(x.dims(0)[last] == x.dims(1)[1], "contracts equal dimensions")?;
    let out = x.dims(1)[0];
    x.need(x.0.get(2).is_none_or(|b| b.shape.0 == [out]), "takes one bias element per output")?;
    let mut shape = x.0[0].shape.clone();
    shape.0[last] = out;
    x.like(shape)
}

// ---- normalisation --------------------------------------------------------------------------------------------------

fn batch_norm(x: Operands) -> Rule {
    x.need(x.rank(0) >= 2, "takes x [B,C,…]")?;
    let vectors = x.0[1..].iter().all(|t| t.shape.0 == [x.dims(0)[1]]);
    x.need(vectors, "takes four vectors of one element per channel")?;
    x.like(x.0[0].shape.clone())
}

fn layer_norm(x: Operands, axes: &[usize]) -> Rule {
    x.need(x.0.len() != 2, "takes scale and bias together")?;
    x.need(ascending(axes, x.rank(0)) && !axes.is_empty(), "normalises ascending axes")?;
    axes.iter().try_for_each(|&a| x.plain(a).map(drop))?;
    let fits = |t: &&Type| {
        let along = |(d, &a): (&Dim, &usize)| *d == x.dims(0)[a] || *d == Dim::Fixed(1);
        t.shape.rank() == axes.len() && t.shape.0.iter().zip(axes).all(along)
    };
    x.need(x.0[1..].iter().all(fits), "takes scale and bias shaped like the normalised axes, or 1")?;
    x.like(x.0[0].shape.clone())
}

fn softmax(x: Operands, axis: usize) -> Rule {
    x.need(axis < x.rank(0), "has that axis")?;
    x.like(x.0[0].shape.clone())
}

// ---- reductions -----------------------------------------------------------------------------------------------------

fn reduce(x: Operands, axes: &[usize], keep: bool) -> Rule {
    x.need(ascending(axes, x.rank(0)), "reduces ascending axes")?;
    x.need(axes.iter().all(|&a| x.dims(0)[a].fixed().is_some()), "does not reduce the batch")?;
    let kept = x.dims(0).iter().enumerate().filter_map(|(i, &d)| match axes.contains(&i) {
        true => keep.then_some(Dim::Fixed(1)),
        false => Some(d),
    });
    x.like(Shape(kept.collect()))
}

fn avg_pool(x: Operands, kernel: &[usize; 2], stride: &[usize; 2], pad: &[usize; 4]) -> Rule {
    x.is_map()?;
    let covered = (0..4).all(|i| pad[i] < kernel[i % 2]);
    match windows(x, *kernel, stride, pad)? {
        Some([h, w]) if covered => x.like(Shape::batched(x.dims(0)[0], &[x.plain(1)?, h, w])),
        _ => Err(x.misfit("needs windows that touch the map")),
    }
}

fn max_pool(x: Operands, kernel: &[usize; 2], stride: &[usize; 2], pad: &[usize; 4], dilation: &[usize; 2]) -> Rule {
    x.is_map()?;
    let sides = span(kernel[0], dilation[0]).zip(span(kernel[1], dilation[1]));
    let sides: [usize; 2] = sides.ok_or("needs a kernel and a dilation of at least 1")?.into();
    // A window with holes may lie around a map that is shorter than they are.
    let map = [x.plain(2)?, x.plain(3)?];
    let touches = |i: usize| pad[i] < sides[i % 2] && (kernel[i % 2] == 1 || map[i % 2] >= dilation[i % 2]);
    let covered = (0..4).all(touches);
    match windows(x, sides, stride, pad)? {
        Some([h, w]) if covered => x.like(Shape::batched(x.dims(0)[0], &[x.plain(1)?, h, w])),
        _ => Err(x.misfit("needs windows that touch the map")),
    }
}

fn arg_max(x: Operands, axis: usize, keep: bool) -> Rule {
    x.need(axis < x.rank(0), "has that axis")?;
    let mut shape = x.0[0].shape.clone();
    let size = shape.0[axis].fixed().ok_or("does not search the batch")?;
    x.need(size <= 1 << 24, "searches at most 2^24 elements, whose indices every float holds")?;
    shape.0[axis] = Dim::Fixed(1);
    if !keep {
        shape.0.remove(axis);
    }
    Ok(vec![Type::new(DType::I32, shape)])
}

fn top_k(x: Operands, axis: usize, k: usize) -> Rule {
    x.need(axis < x.rank(0), "has that axis")?;
    let size = x.dims(0)[axis].fixed().ok_or("does not search the batch")?;
    x.need(
        (1..=size).contains(&k) && size <= 1 << 24,
        format_args!("finds {k} of at least as many, and 2^24 at most"),
    )?;
    let mut shape = x.0[0].shape.clone();
    shape.0[axis] = Dim::Fixed(k);
    Ok(vec![Type::new(x.0[0].dtype, shape.clone()), Type::new(DType::I32, shape)])
}

// ---- few bits -------------------------------------------------------------------------------------------------------

fn grid_sample(x: Operands) -> Rule {
    x.is_map()?;
    let &[batch, h, w, Dim::Fixed(2)] = x.dims(1) else { return Err(x.misfit("takes a grid [B,h,w,2]")) };
    x.need(batch == x.dims(0)[0] && x.0[1].dtype.is_float(), "takes a grid of floats for each map")?;
    x.plain(2).and(x.plain(3))?;
    x.like(Shape(vec![batch, x.dims(0)[1], h, w]))
}

fn quantize(x: Operands, to: DType) -> Rule {
    x.need(x.rank(1) == 0 && x.0[1].dtype == x.0[0].dtype, "takes x and one scale of its type")?;
    x.need(matches!(to, DType::I8 | DType::U8), format_args!("gives i8 or u8, not {to}"))?;
    Ok(vec![Type::new(to, x.0[0].shape.clone())])
}

fn dequantize(x: Operands) -> Rule {
    let codes = matches!(x.0[0].dtype, DType::I8 | DType::U8 | DType::I4 | DType::U4);
    x.need(codes && x.0[1].dtype.is_float(), "takes codes of 8 or 4 bits and a scale")?;
    let divides = |(&d, &s): (&Dim, &Dim)| match (d, s) {
        (_, Dim::Fixed(1)) => true,
        (Dim::Fixed(d), Dim::Fixed(s)) => d % s == 0,
        _ => false,
    };
    let fits = x.rank(1) == 0 || x.rank(0) == x.rank(1) && x.dims(0).iter().zip(x.dims(1)).all(divides);
    x.need(fits, "takes a scale of the codes' rank whose sizes divide theirs, or of rank 0")?;
    Ok(vec![Type::new(x.0[1].dtype, x.0[0].shape.clone())])
}

fn lookup(x: Operands, bits: usize, shape: &Shape) -> Rule {
    x.need(matches!(bits, 1 | 2 | 3 | 4 | 6 | 8), format_args!("has no codes of {bits} bits"))?;
    let ty = Type::new(x.0[1].dtype, shape.clone());
    check_type(&ty)?;
    let first = shape.0.first().and_then(|d| d.fixed()).ok_or("has a result of at least one axis that is no batch")?;
    x.need(!shape.has_batch(), "does not depend on the batch")?;
    let bytes = shape.elements().checked_mul(bits).ok_or("is too large")?.div_ceil(8);
    x.need(x.0[0].dtype == DType::U8 && x.0[0].shape == Shape::fixed(&[bytes]), format_args!("takes u8[{bytes}]"))?;
    let table = x.0[1].dtype.is_float() && x.rank(1) == 2 && x.dims(1)[1] == Dim::Fixed(1 << bits);
    let parts = x.dims(1).first().and_then(|d| d.fixed()).unwrap_or(0);
    x.need(table && parts > 0 && first % parts == 0, format_args!("takes a table [parts,{}]", 1 << bits))?;
    Ok(vec![ty])
}

// ---- movement -------------------------------------------------------------------------------------------------------

fn reshape(x: Operands, shape: &Shape) -> Rule {
    check_type(&Type::new(x.0[0].dtype, shape.clone()))?;
    let (old, new) = (&x.0[0].shape, shape);
    let same = new.elements() == old.elements() && new.has_batch() == old.has_batch();
    x.need(same, format_args!("to {shape} keeps the number of elements"))?;
    x.like(shape.clone())
}

fn transpose(x: Operands, perm: &[usize]) -> Rule {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    x.need(sorted.into_iter().eq(0..x.rank(0)), format_args!("permutes every axis once by {perm:?}"))?;
    x.like(Shape(perm.iter().map(|&p| x.dims(0)[p]).collect()))
}

fn concat(x: Operands, axis: usize) -> Rule {
    x.need(axis < x.rank(0), "has that axis")?;
    let mut shape = x.0[0].shape.clone();
    let mut total: usize = 0;
    for t in x.0 {
        let mut other = t.shape.clone();
        x.need(other.rank() == shape.rank(), "joins values of one rank")?;
        let size = other.0[axis].fixed().ok_or("does not join along the batch")?;
        total = total.saturating_add(size);
        other.0[axis] = shape.0[axis];
        x.need(other == shape, "joins values that differ along its axis only")?;
    }
    shape.0[axis] = Dim::Fixed(total);
    x.like(shape)
}

fn split(x: Operands, axis: usize, sizes: &[usize]) -> Rule {
    x.need(axis < x.rank(0), "has that axis")?;
    let size = x.dims(0)[axis].fixed().ok_or("does not cut the batch")?;
    let total = sizes.iter().try_fold(0usize, |sum, &s| sum.checked_add(s));
    x.need(total == Some(size) && !sizes.contains(&0), format_args!("into {sizes:?} covers the axis"))?;
    let part = |&s: &usize| {
        let mut shape = x.0[0].shape.clone();
        shape.0[axis] = Dim::Fixed(s);
        Type::new(x.0[0].dtype, shape)
    };
    Ok(sizes.iter().map(part).collect())
}

fn slice(x: Operands, cuts: &[SliceAxis]) -> Rule {
    let axes: Vec<usize> = cuts.iter().map(|c| c.axis).collect();
    x.need(ascending(&axes, x.rank(0)), "cuts ascending axes")?;
    let mut shape = x.0[0].shape.clone();
    for &SliceAxis { axis, start, stop, step } in cuts {
        let size = shape.0[axis].fixed().ok_or("does not cut the batch")?;
        let inside = step > 0 && start < stop && stop <= size;
        x.need(inside, format_args!("takes {start}..{stop} by {step} of axis {axis}"))?;
        shape.0[axis] = Dim::Fixed((stop - start).div_ceil(step));
    }
    x.like(shape)
}

fn pad(x: Operands, before: &[usize], after: &[usize], mode: PadMode) -> Rule {
    x.need(before.len() == x.rank(0) && after.len() == x.rank(0), "pads every axis")?;
    let padded = |(&d, (&b, &a)): (&Dim, (&usize, &usize))| match d {
        Dim::Batch(_) if (b, a) != (0, 0) => Err("does not pad the batch".to_string()),
        Dim::Batch(_) => Ok(d),
        Dim::Fixed(n) => Ok(Dim::Fixed(n.saturating_add(b).saturating_add(a))),
    };
    let mirrored = |d: &Dim, n: &usize| *n == 0 || mode != PadMode::Reflect || d.fixed().is_some_and(|d| *n < d);
    let fits = x.dims(0).iter().zip(before.iter().zip(after)).all(|(d, (b, a))| mirrored(d, b) && mirrored(d, a));
    x.need(fits, "reflects fewer elements than there are")?;
    let dims = x.dims(0).iter().zip(before.iter().zip(after)).map(padded);
    x.like(Shape(dims.collect::<Result<_, _>>()?))
}

fn expand(x: Operands, shape: &Shape) -> Rule {
    let fits = broadcast(&x.0[0].shape, shape).as_ref() == Some(shape);
    x.need(fits, format_args!("broadcasts to {shape}"))?;
    x.like(shape.clone())
}

fn depth_to_space(x: Operands, block: usize) -> Rule {
    x.is_map()?;
    let [c, h, w] = [x.plain(1)?, x.plain(2)?, x.plain(3)?];
    let area = block.checked_mul(block).filter(|&a| a > 0 && c.is_multiple_of(a));
    let area = area.ok_or_else(|| x.misfit(format_args!("takes channels that {block}·{block} divides")))?;
    x.like(Shape::batched(x.dims(0)[0], &[c / area, h.saturating_mul(block), w.saturating_mul(block)]))
}

fn space_to_depth(x: Operands, block: usize) -> Rule {
    x.is_map()?;
    let [c, h, w] = [x.plain(1)?, x.plain(2)?, x.plain(3)?];
    let divides = block > 0 && h.is_multiple_of(block) && w.is_multiple_of(block);
    x.need(divides, format_args!("takes a map that blocks of {block} divide"))?;
    x.like(Shape::batched(x.dims(0)[0], &[c.saturating_mul(block).saturating_mul(block), h / block, w / block]))
}

fn window_partition(x: Operands, window: &[usize; 2]) -> Rule {
    x.is_map()?;
    let (_, h, w) = (x.plain(1)?, x.plain(2)?, x.plain(3)?);
    let divides = !window.contains(&0) && h.is_multiple_of(window[0]) && w.is_multiple_of(window[1]);
    x.need(divides, format_args!("with windows {window:?} takes a map that they divide"))?;
    let (count, tokens) = ((h / window[0]) * (w / window[1]), window[0] * window[1]);
    x.like(Shape(vec![x.dims(0)[0].times(count), Dim::Fixed(tokens), x.dims(0)[1]]))
}

fn window_merge(x: Operands, window: &[usize; 2], map: &[usize; 2]) -> Rule {
    let divides = !window.contains(&0) && (0..2).all(|i| map[i].is_multiple_of(window[i]));
    let what = format!("takes tokens of windows {window:?} that divide the map {map:?}");
    x.need(x.rank(0) == 3 && divides, what)?;
    x.plain(2)?;
    let tokens = window[0].checked_mul(window[1]).map(Dim::Fixed);
    x.need(Some(x.dims(0)[1]) == tokens, format_args!("takes windows of {window:?} tokens"))?;
    let count = (map[0] / window[0]).checked_mul(map[1] / window[1]);
    let batch = count.and_then(|count| x.dims(0)[0].divided(count));
    let Some(batch) = batch else { return Err(x.misfit(format_args!("takes all windows of each map {map:?}"))) };
    x.like(Shape(vec![batch, x.dims(0)[2], Dim::Fixed(map[0]), Dim::Fixed(map[1])]))
}

// ---- sampling -------------------------------------------------------------------------------------------------------

fn gather(x: Operands, axis: usize) -> Rule {
    x.need(x.0[1].dtype == DType::I32 && axis < x.rank(0), "takes x and i32 indices")?;
    x.need(x.dims(0)[axis].fixed().is_some(), "does not gather along the batch")?;
    x.like(Shape([&x.dims(0)[..axis], x.dims(1), &x.dims(0)[axis + 1..]].concat()))
}

fn resize(x: Operands, size: &[usize; 2], scale: Option<&[Real; 2]>) -> Rule {
    x.need(x.rank(0) == 4 && !size.contains(&0), "takes x [B,C,H,W]")?;
    let map = [x.plain(2)?, x.plain(3)?];
    let fits = scale.is_none_or(|s| (0..2).all(|i| is_factor(s[i].0, map[i], size[i])));
    x.need(fits, format_args!("to {size:?} takes factors that make these sizes"))?;
    x.like(Shape::batched(x.dims(0)[0], &[x.plain(1)?, size[0], size[1]]))
}

// ---- attention ------------------------------------------------------------------------------------------------------

/// Batch, channels of all heads together, and tokens of one operand.
fn attended(dims: &[Dim], heads: usize, layout: AttentionLayout) -> Option<(Dim, usize, Vec<Dim>)> {
    match layout {
        AttentionLayout::Channels if dims.len() >= 3 => Some((dims[0], dims[1].fixed()?, dims[2..].to_vec())),
        AttentionLayout::Tokens if dims.len() == 3 => Some((dims[0], dims[2].fixed()?, vec![dims[1]])),
        AttentionLayout::Heads if dims.len() == 4 && dims[1] == Dim::Fixed(heads) => {
            Some((dims[0], dims[3].fixed()?.checked_mul(heads)?, vec![dims[2]]))
        }
        _ => None,
    }
}

fn attention(x: Operands, heads: usize, layout: AttentionLayout, bias: bool, talking: bool) -> Rule {
    let fixed = |t: &&Type| t.shape.0.iter().skip(1).all(|d| d.fixed().is_some());
    x.need(heads > 0 && x.0[..3].iter().all(fixed), "takes at least one head and the batch first")?;
    let part = |slot| attended(x.dims(slot), heads, layout);
    let (Some((bq, cq, tq)), Some((bk, ck, tk)), Some((bv, cv, tv))) = (part(0), part(1), part(2)) else {
        return Err(x.misfit("takes q, k, v [B,C,…], [B,N,C] or [B,heads,N,d]"));
    };
    let count = |t: &[Dim]| t.iter().map(|d| d.at(1)).product::<usize>();
    let (queries, keys) = (count(&tq), count(&tk));
    let whole = cq.is_multiple_of(heads) && cv.is_multiple_of(heads);
    x.need(
        bq == bk && bk == bv && cq == ck && keys == count(&tv) && whole,
        format_args!("with {heads} heads takes q and k of equal channels, k and v of equal tokens"),
    )?;
    if bias {
        let b = x.0[3].shape.as_fixed().ok_or("a bias does not depend on the batch")?;
        let fits = |h: usize, plane: &[usize]| (h == heads || h == 1) && *plane == [queries, keys];
        let fits = match b[..] {
            [h, ref plane @ ..] if plane.len() == 2 => fits(h, plane),
            // Heads that talk mix the bias of one set.
            [sets, h, ref plane @ ..] => fits(h, plane) && !talking && bq.divided(sets).is_some(),
            _ => false,
        };
        x.need(fits, "takes a bias [heads,Nq,Nk], or one for each of several sets")?;
    }
    if talking {
        let (w, b) = (Shape::fixed(&[heads, heads]), Shape::fixed(&[heads]));
        let fits = [&w, &b, &w, &b].iter().zip(&x.0[x.0.len() - 4..]).all(|(s, t)| **s == t.shape);
        x.need(fits, "takes talking heads [H,H], [H], [H,H], [H]")?;
    }
    x.like(Shape(match layout {
        AttentionLayout::Channels => [vec![bq, Dim::Fixed(cv)], tq].concat(),
        AttentionLayout::Tokens => vec![bq, tq[0], Dim::Fixed(cv)],
        AttentionLayout::Heads => vec![bq, Dim::Fixed(heads), tq[0], Dim::Fixed(cv / heads)],
    }))
}

// ---- transforms -----------------------------------------------------------------------------------------------------

fn rfft2(x: Operands) -> Rule {
    x.need(x.rank(0) >= 2, "takes x […,H,W]")?;
    let last = x.rank(0) - 1;
    x.plain(last - 1)?;
    let mut shape = x.0[0].shape.clone();
    shape.0[last] = Dim::Fixed(x.plain(last)? / 2 + 1);
    let part = Type::new(x.0[0].dtype, shape);
    Ok(vec![part.clone(), part])
}

fn irfft2(x: Operands, width: usize) -> Rule {
    x.need(x.0[0].shape == x.0[1].shape && x.rank(0) >= 2, "takes two parts […,H,W/2+1]")?;
    let last = x.rank(0) - 1;
    x.plain(last - 1)?;
    let mut shape = x.0[0].shape.clone();
    let columns = Dim::Fixed(width / 2 + 1);
    x.need(shape.0[last] == columns, format_args!("to width {width} takes W/2+1 columns"))?;
    shape.0[last] = Dim::Fixed(width);
    x.like(shape)
}

fn dct2(x: Operands) -> Rule {
    x.need(x.rank(0) >= 2, "takes x […,H,W]")?;
    x.plain(x.rank(0) - 2).and(x.plain(x.rank(0) - 1))?;
    x.like(x.0[0].shape.clone())
}
