//! Operations that other writers use and vitc does not: by their definitions in operators of the graph.

use super::call::{Call, Decoded};
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Dim, Op, Real, Shape, Type, UnaryKind, Value};

/// The operator and operands of an operation; `None` if it is not read here either.
pub(super) fn node(call: &mut Call<'_, '_>) -> Option<Decoded> {
    let kind = call.operation.r#type.clone();
    Some(match kind.as_str() {
        "square" => square(call),
        "rsqrt" | "inverse" => inverse(call, &kind),
        "relu6" => call.x().map(|x| (Op::Clip { lo: Real(0.0), hi: Real(6.0) }, vec![x])),
        "threshold" => threshold(call),
        "linear_activation" => scaled(call),
        "softsign" => softsign(call),
        "instance_norm" => instance_norm(call),
        "expand_dims" | "squeeze" | "flatten2d" => declared(call),
        "stack" => stack(call),
        "slice_by_size" => slice_by_size(call),
        "reduce_sum_square" | "reduce_l1_norm" | "reduce_log_sum_exp" => reduced(call, &kind),
        "pixel_unshuffle" => unshuffle(call),
        _ => return None,
    })
}

/// A node beside the operation's own, under its first result's name.
fn inner(call: &mut Call<'_, '_>, name: &str, op: Op, inputs: &[Value]) -> Result<Value, String> {
    let first = call.operation.outputs.first().ok_or("has no result")?;
    // A dot stands in no name of a program, so these paths are free.
    let path = format!("{}.{name}", first.name);
    Ok(call.body.graph.push(op, inputs, &path).map_err(|e| e.to_string())?.into())
}

fn binary(call: &mut Call<'_, '_>, name: &str, kind: BinaryKind, a: Value, b: Value) -> Result<Value, String> {
    inner(call, name, Op::Binary(kind), &[a, b])
}

/// A number of a value's element type.
fn number(call: &mut Call<'_, '_>, name: &str, like: Value, x: f64) -> Result<Value, String> {
    let first = call.operation.outputs.first().ok_or("has no result")?;
    let path = format!("{}.{name}", first.name);
    let ty = Type::new(call.body.graph.ty(like).dtype, Shape::default());
    call.body.graph.push_leaf(Op::literal(&[x]), ty, &path).map_err(|e| e.to_string())
}

fn square(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    Ok((Op::Binary(BinaryKind::Mul), vec![x, x]))
}

/// 1/√(x + ε) or 1/(x + ε).
fn inverse(call: &mut Call<'_, '_>, kind: &str) -> Decoded {
    let (mut x, eps) = (call.x()?, call.number("epsilon")?);
    if eps != 0.0 {
        let eps = number(call, "epsilon", x, eps)?;
        x = binary(call, "shifted", BinaryKind::Add, x, eps)?;
    }
    if kind == "rsqrt" {
        x = inner(call, "root", Op::Unary(UnaryKind::Sqrt), &[x])?;
    }
    let one = number(call, "one", x, 1.0)?;
    Ok((Op::Binary(BinaryKind::Div), vec![one, x]))
}

/// max(x, α).
fn threshold(call: &mut Call<'_, '_>) -> Decoded {
    let (x, alpha) = (call.x()?, call.number("alpha")?);
    Ok((Op::Binary(BinaryKind::Max), vec![x, number(call, "alpha", x, alpha)?]))
}

/// α·x + β.
fn scaled(call: &mut Call<'_, '_>) -> Decoded {
    let (x, alpha, beta) = (call.x()?, call.number("alpha")?, call.number("beta")?);
    let alpha = number(call, "alpha", x, alpha)?;
    let y = binary(call, "scaled", BinaryKind::Mul, x, alpha)?;
    Ok((Op::Binary(BinaryKind::Add), vec![y, number(call, "beta", x, beta)?]))
}

/// x/(1 + |x|).
fn softsign(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let size = inner(call, "size", Op::Unary(UnaryKind::Abs), &[x])?;
    let one = number(call, "one", x, 1.0)?;
    let divisor = binary(call, "divisor", BinaryKind::Add, size, one)?;
    Ok((Op::Binary(BinaryKind::Div), vec![x, divisor]))
}

/// A vector of one number for each channel, where the operation leaves it out.
pub(super) fn filled(call: &mut Call<'_, '_>, input: &str, like: Value, x: f64) -> Result<Value, String> {
    if call.has(input) {
        return call.value(input);
    }
    let channels = call.body.graph.shape(like).at(1).get(1).copied().ok_or("has no channels")?;
    let first = call.operation.outputs.first().ok_or("has no result")?;
    let path = format!("{}.{input}", first.name);
    let ty = Type::new(call.body.graph.ty(like).dtype, Shape::fixed(&[channels]));
    let fill = Op::Generate(vitc_ir::Generator::Fill { value: Real(x) });
    call.body.graph.push_leaf(fill, ty, &path).map_err(|e| e.to_string())
}

/// Each channel's map normalised, then scaled and shifted.
fn instance_norm(call: &mut Call<'_, '_>) -> Decoded {
    let (x, eps) = (call.x()?, Real(call.number("epsilon")?));
    let rank = call.rank(x);
    if rank < 3 {
        return Err(format!("normalises a value of rank {rank}"));
    }
    let norm = Op::LayerNorm { axes: (2..rank).collect(), eps };
    if !call.has("gamma") && !call.has("beta") {
        return Ok((norm, vec![x]));
    }
    let y = inner(call, "normalised", norm, &[x])?;
    let mut vectors = Vec::new();
    for (input, idle) in [("gamma", 1.0), ("beta", 0.0)] {
        let vector = filled(call, input, x, idle)?;
        let mut shape = vec![Dim::Fixed(1); rank - 1];
        shape[0] = *call.body.graph.shape(vector).0.first().ok_or("has a scalar for each channel")?;
        vectors.push(inner(call, &format!("{input}.map"), Op::Reshape { shape: Shape(shape) }, &[vector])?);
    }
    let scaled = binary(call, "scaled", BinaryKind::Mul, y, vectors[0])?;
    Ok((Op::Binary(BinaryKind::Add), vec![scaled, vectors[1]]))
}

/// The same elements under the shape that the program declares for them.
fn declared(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    call.idle(&["axes", "axis"]);
    let first = call.operation.outputs.first().ok_or("has no result")?;
    let ty = super::values::graph_type(first.r#type.as_ref())?;
    Ok((Op::Reshape { shape: ty.shape }, vec![x]))
}

fn stack(call: &mut Call<'_, '_>) -> Decoded {
    let names = call.names("values")?;
    let mut parts = Vec::new();
    let mut axis = 0;
    for (i, name) in names.iter().enumerate() {
        let x = call.body.leaf(name)?;
        axis = call.axis(call.rank(x) + 1)?;
        let mut shape = call.body.graph.shape(x).clone();
        shape.0.insert(axis, Dim::Fixed(1));
        parts.push(inner(call, &format!("part{i}"), Op::Reshape { shape }, &[x])?);
    }
    Ok((Op::Concat { axis }, parts))
}

fn slice_by_size(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let dims = call.body.graph.shape(x).at(1);
    let (begin, size) = (call.sizes("begin")?, call.whole("size")?);
    if begin.len() != dims.len() || size.len() != dims.len() {
        return Err(format!("cuts {} axes of {}", begin.len(), dims.len()));
    }
    let cut = |axis: usize| {
        let count = if size[axis] == -1 { dims[axis].saturating_sub(begin[axis]) } else { size[axis].max(0) as usize };
        vitc_ir::op::SliceAxis { axis, start: begin[axis], stop: begin[axis].saturating_add(count), step: 1 }
    };
    let cuts = (0..dims.len()).map(cut).filter(|c| c.start != 0 || c.stop != dims[c.axis]).collect();
    Ok((Op::Slice { cuts }, vec![x]))
}

fn reduced(call: &mut Call<'_, '_>, kind: &str) -> Decoded {
    let x = call.x()?;
    let (axes, keep) = (call.axes(call.rank(x))?, call.flag("keep_dims")?);
    let sum = |keep| Op::Reduce { kind: ReduceKind::Sum, axes: axes.clone(), keep };
    Ok(match kind {
        "reduce_l1_norm" => (sum(keep), vec![inner(call, "size", Op::Unary(UnaryKind::Abs), &[x])?]),
        "reduce_sum_square" => (sum(keep), vec![binary(call, "square", BinaryKind::Mul, x, x)?]),
        // The largest is taken out, so that no exponential overflows.
        _ if keep => {
            let most = Op::Reduce { kind: ReduceKind::Max, axes: axes.clone(), keep: true };
            let most = inner(call, "most", most, &[x])?;
            let less = binary(call, "less", BinaryKind::Sub, x, most)?;
            let exp = inner(call, "exp", Op::Unary(UnaryKind::Exp), &[less])?;
            let total = inner(call, "sum", sum(true), &[exp])?;
            let log = inner(call, "log", Op::Unary(UnaryKind::Log), &[total])?;
            (Op::Binary(BinaryKind::Add), vec![log, most])
        }
        _ => return Err("drops the axes that it sums over".into()),
    })
}

/// The inverse of `pixel_shuffle`: positions inside of blocks become a channel's last digits.
fn unshuffle(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.map()?;
    let r = usize::try_from(call.integer("downscale_factor")?).ok().filter(|&r| r > 0).ok_or("has no factor")?;
    let [b, c, h, w] = call.body.graph.shape(x).at(1)[..] else { return Err("takes a map".into()) };
    if !h.is_multiple_of(r) || !w.is_multiple_of(r) {
        return Err(format!("cuts {h}x{w} into blocks of {r}"));
    }
    // Channels i, j, c come out of blocks; c, i, j are due.
    let blocks = inner(call, "blocks", Op::SpaceToDepth { block: r }, &[x])?;
    let apart = Shape::fixed(&[b, r * r, c, (h / r) * (w / r)]);
    let apart = inner(call, "apart", Op::Reshape { shape: apart }, &[blocks])?;
    let turned = inner(call, "turned", Op::Transpose { perm: vec![0, 2, 1, 3] }, &[apart])?;
    let shape = Shape::fixed(&[b, c * r * r, h / r, w / r]);
    Ok((Op::Reshape { shape }, vec![turned]))
}

/// x·σ(1.702·x).
pub(super) fn gelu_by_sigmoid(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let factor = number(call, "factor", x, 1.702)?;
    let scaled = binary(call, "scaled", BinaryKind::Mul, x, factor)?;
    let gate = inner(call, "gate", Op::Unary(UnaryKind::Sigmoid), &[scaled])?;
    Ok((Op::Binary(BinaryKind::Mul), vec![x, gate]))
}

/// ln(x + ε).
pub(super) fn shifted_log(call: &mut Call<'_, '_>, eps: f64) -> Decoded {
    let x = call.x()?;
    // The least epsilon is there for 0 alone, and no number of the program's own type.
    if eps < 1e-30 {
        return Ok((Op::Unary(UnaryKind::Log), vec![x]));
    }
    let eps = number(call, "epsilon", x, eps)?;
    Ok((Op::Unary(UnaryKind::Log), vec![binary(call, "shifted", BinaryKind::Add, x, eps)?]))
}

/// The declared shape, which `shape` has to agree with where it says numbers: 0 keeps a size, −1 stands for the rest.
pub(super) fn reshape(call: &mut Call<'_, '_>, x: Value) -> Decoded {
    let (said, old) = (call.whole("shape")?, call.body.graph.shape(x).at(1));
    let (op, inputs) = declared(call)?;
    let Op::Reshape { shape } = &op else { return Ok((op, inputs)) };
    let agrees = |(i, (&said, dim)): (usize, (&i32, usize))| match said {
        -1 => true,
        0 => old.get(i) == Some(&dim),
        said => usize::try_from(said) == Ok(dim),
    };
    let open = said.iter().filter(|&&s| s == -1).count();
    let fits = said.len() == shape.rank() && open <= 1 && said.iter().zip(shape.at(1)).enumerate().all(agrees);
    if fits { Ok((op, inputs)) } else { Err(format!("reshapes to {said:?} and declares {shape}")) }
}

/// A scale or a shift alone.
pub(super) fn layer_norm(call: &mut Call<'_, '_>, op: Op, x: Value) -> Decoded {
    let Op::LayerNorm { axes, .. } = &op else { return Err("is no norm".into()) };
    let sizes: Vec<usize> = axes.iter().map(|&a| call.body.graph.shape(x).at(1)[a]).collect();
    let mut inputs = vec![x];
    for (input, idle) in [("gamma", 1.0), ("beta", 0.0)] {
        if call.has(input) {
            inputs.push(call.value(input)?);
            continue;
        }
        let first = call.operation.outputs.first().ok_or("has no result")?;
        let path = format!("{}.{input}", first.name);
        let ty = Type::new(call.body.graph.ty(x).dtype, Shape::fixed(&sizes));
        let fill = Op::Generate(vitc_ir::Generator::Fill { value: Real(idle) });
        inputs.push(call.body.graph.push_leaf(fill, ty, &path).map_err(|e| e.to_string())?);
    }
    Ok((op, inputs))
}

/// Bounds that may count from the end, masks for bounds that are left open, and axes that vanish.
pub(super) fn slice(call: &mut Call<'_, '_>, x: Value, dims: &[usize]) -> Decoded {
    let rank = dims.len();
    let (begin, end) = (call.whole("begin")?, call.whole("end")?);
    let stride = if call.has("stride") { call.sizes("stride")? } else { vec![1; rank] };
    if begin.len() != rank || end.len() != rank || stride.len() != rank {
        return Err(format!("cuts {} axes of {rank}", begin.len()));
    }
    let (open, to_end) = (call.mask("begin_mask", rank)?, call.mask("end_mask", rank)?);
    let vanishes = call.mask("squeeze_mask", rank)?;
    let bound = |at: i32, size: usize| {
        let from_start = if at < 0 { i64::from(at) + size as i64 } else { i64::from(at) };
        from_start.clamp(0, size as i64) as usize
    };
    let cut = |axis: usize| {
        let start = if open[axis] { 0 } else { bound(begin[axis], dims[axis]) };
        let stop = match (vanishes[axis], to_end[axis]) {
            (true, _) => start + 1,
            (false, true) => dims[axis],
            (false, false) => bound(end[axis], dims[axis]),
        };
        vitc_ir::op::SliceAxis { axis, start, stop, step: stride[axis] }
    };
    let cuts: Vec<_> = (0..rank).map(cut).filter(|c| (c.start, c.stop, c.step) != (0, dims[c.axis], 1)).collect();
    if !vanishes.contains(&true) {
        return Ok((Op::Slice { cuts }, vec![x]));
    }
    let part = inner(call, "part", Op::Slice { cuts }, &[x])?;
    let shape = call.body.graph.shape(part).clone();
    let kept = shape.0.iter().enumerate().filter(|(i, _)| !vanishes[*i]).map(|(_, &d)| d).collect();
    Ok((Op::Reshape { shape: Shape(kept) }, vec![part]))
}

/// So many equal parts.
pub(super) fn equal_split(call: &mut Call<'_, '_>, x: Value) -> Decoded {
    let axis = call.axis(call.rank(x))?;
    let count = usize::try_from(call.integer("num_splits")?).ok().filter(|&n| n > 0).ok_or("has no parts")?;
    let size = call.body.graph.shape(x).at(1)[axis];
    if !size.is_multiple_of(count) || count > size || count != call.operation.outputs.len() {
        return Err(format!("cuts {size} into {count} equal parts"));
    }
    Ok((Op::Split { axis, sizes: vec![size / count; count] }, vec![x]))
}

/// A mean over windows whose padding counts as zeros of the map.
pub(super) fn counting_pool(call: &mut Call<'_, '_>, x: Value) -> Decoded {
    call.must("ceil_mode", false)?;
    let (kernel, stride, pad) = (call.sizes_of("kernel_sizes")?, call.sizes_of("strides")?, call.window_pad()?);
    let [top, left, bottom, right] = pad;
    let padded = match pad {
        [0, 0, 0, 0] => x,
        _ => {
            let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom, right]);
            inner(call, "border", Op::Pad { before, after, mode: vitc_ir::op::PadMode::ZERO }, &[x])?
        }
    };
    Ok((Op::AvgPool { kernel, stride, pad: [0; 4] }, vec![padded]))
}
