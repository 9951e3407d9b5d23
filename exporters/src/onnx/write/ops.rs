//! Operators in ONNX: one match, one node each.
//!
//! Invariant: an operator is spelled by the one ONNX operator that computes it, with its operands in ONNX's order, and
//! every attribute whose default depends on the opset written out. What ONNX says in several nodes was said by a
//! lowering before; here it is an error.

use super::builder::{Builder, Spelling, elem_type};
use super::codes;
use vitc_ir::op::{
    AttentionLayout, BinaryKind, Coordinates, DepthOrder, GridKernel, Kernel, Op, Outside, PadMode, ReduceKind,
    Rounding, Sampling, SliceAxis, UnaryKind,
};
use vitc_ir::{DType, Graph, Node, Real, Shape, Value};

/// Spell a run-time node; the reason if a lowering should have replaced it.
pub(super) fn spell(b: &mut Builder<'_>, node: &Node) -> Result<Spelling, String> {
    let graph = b.graph;
    let dtype = |v: Value| graph.ty(v).dtype;
    let rank = node.inputs.first().map_or(0, |&x| graph.shape(x).rank());
    one_type(graph, node)?;
    let plain = |b: &mut Builder<'_>, op| Spelling::new(op, b.read_all(&node.inputs));
    Ok(match &node.op {
        Op::Unary(kind) => unary(b, node, *kind)?,
        Op::Binary(BinaryKind::Max | BinaryKind::Min) if b.opset < 12 && !dtype(node.inputs[0]).is_float() => {
            return Err(needs(12, "Max and Min of integers", b));
        }
        Op::Binary(kind) => plain(b, binary(*kind)),
        Op::Sum => plain(b, "Sum"),
        Op::Clip { lo, hi } => clip(b, node, *lo, *hi)?,
        Op::Select => plain(b, "Where"),
        Op::Prelu => prelu(b, node)?,
        Op::Cast { to } => plain(b, "Cast").int("to", i64::from(elem_type(*to))),

        Op::Conv { stride, pad, dilation, groups } => {
            dilated(conv(b, node, "Conv", *groups).ints("pads", pad).ints("strides", stride), dilation)
        }
        Op::ConvTranspose { stride, pad, output_pad, dilation, groups } => {
            let conv = conv(b, node, "ConvTranspose", *groups).ints("output_padding", output_pad);
            dilated(conv.ints("pads", pad).ints("strides", stride), dilation)
        }
        Op::MatMul { transpose_a: false, transpose_b: false } => plain(b, "MatMul"),
        Op::MatMul { .. } => return Err("MatMul does not transpose its operands".into()),
        Op::Linear if rank == 2 => plain(b, "Gemm").int("transB", 1),
        Op::Linear => return Err(format!("Gemm takes a matrix, found rank {rank}")),
        Op::Attention { scale, layout: AttentionLayout::Heads, talking: false, .. } => attention(b, node, *scale)?,

        Op::BatchNorm { eps } => plain(b, "BatchNormalization").float("epsilon", *eps),
        Op::LayerNorm { axes, eps } => layer_norm(b, node, axes, *eps)?,
        Op::Softmax { axis } => softmax(b, node, *axis)?,
        Op::Reduce { kind, axes, keep } => reduce(b, node, *kind, axes, *keep)?,
        Op::AvgPool { kernel, stride, pad } => {
            let pool = plain(b, "AveragePool").int("count_include_pad", 0);
            pool.ints("kernel_shape", kernel).ints("pads", pad).ints("strides", stride)
        }
        Op::MaxPool { kernel, stride, pad, dilation } => {
            let pool = plain(b, "MaxPool").ints("kernel_shape", kernel).ints("pads", pad).ints("strides", stride);
            dilated(pool, dilation)
        }
        Op::ArgMax { axis, keep } => arg_max(b, node, *axis, *keep),

        Op::TopK { axis, k, largest } => top_k(b, node, [*axis, *k], *largest),
        Op::Reshape { shape } => Spelling::new("Reshape", vec![b.read(node.inputs[0]), b.shape(shape)]),
        Op::Transpose { perm } => plain(b, "Transpose").ints("perm", perm),
        Op::Concat { axis } => plain(b, "Concat").int("axis", *axis as i64),
        Op::Split { axis, sizes } => split(b, node, *axis, sizes),
        Op::Slice { cuts } => slice(b, node, cuts),
        Op::Pad { before, after, mode } => pad(b, node, [before, after], *mode)?,
        Op::DepthToSpace { block, order } => {
            plain(b, "DepthToSpace").int("blocksize", *block as i64).string("mode", depth_mode(*order))
        }
        Op::SpaceToDepth { block } => plain(b, "SpaceToDepth").int("blocksize", *block as i64),
        Op::Gather { axis } => plain(b, "Gather").int("axis", *axis as i64),
        Op::Expand { shape } => expand(b, node, shape)?,
        Op::Resize { sampling, size, scale: None } => resize(b, node, sampling, *size)?,
        Op::Resize { scale: Some(_), .. } => return Err("a lowering spells a factor of its own as products".into()),

        Op::GridSample { kernel, outside, corners } => grid_sample(b, node, *kernel, *outside, *corners)?,

        Op::Quantize { to } => codes::quantize(b, node, *to)?,
        Op::Dequantize => codes::dequantize(b, node)?,
        Op::Lookup { .. } => return Err("ONNX has no tables of weights".into()),
        Op::Keep => return Err("it is read through, not an operation".into()),
        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => {
            return Err("it is a leaf, not an operation".into());
        }
        Op::Attention { .. }
        | Op::Rfft2 { .. }
        | Op::Irfft2 { .. }
        | Op::Dct2
        | Op::Idct2
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => return Err("a lowering spells it in other operators".into()),
    })
}

/// Operands have one element type, but for scales, places and choices.
fn one_type(graph: &Graph, node: &Node) -> Result<(), String> {
    let dtype = |v: Value| graph.ty(v).dtype;
    let mixed = matches!(node.op, Op::Dequantize | Op::Select | Op::GridSample { .. });
    let other = |&&v: &&Value| dtype(v).is_float() && dtype(v) != dtype(node.inputs[0]);
    match node.inputs.iter().filter(|_| !mixed).find(other) {
        Some(&odd) => {
            let first = dtype(node.inputs[0]);
            Err(format!("ONNX takes operands of one element type, found {first} and {}", graph.ty(odd)))
        }
        None => Ok(()),
    }
}

fn softmax(b: &mut Builder<'_>, node: &Node, axis: usize) -> Result<Spelling, String> {
    // Before opset 13 the sum goes over all axes from this one on.
    if b.opset < 13 && axis + 1 != b.graph.shape(node.inputs[0]).rank() {
        return Err(needs(13, "Softmax over an inner axis", b));
    }
    Ok(Spelling::new("Softmax", b.read_all(&node.inputs)).int("axis", axis as i64))
}

fn top_k(b: &mut Builder<'_>, node: &Node, [axis, k]: [usize; 2], largest: bool) -> Spelling {
    let inputs = vec![b.read(node.inputs[0]), b.ints([k])];
    Spelling::new("TopK", inputs).int("axis", axis as i64).int("largest", i64::from(largest)).int("sorted", 1)
}

/// The reason why an opset cannot say something that a later one can.
fn needs(opset: u32, what: &str, b: &Builder<'_>) -> String {
    format!("{what} exists from opset {opset}, this is {}", b.opset)
}

fn grid_sample(
    b: &mut Builder<'_>,
    node: &Node,
    kernel: GridKernel,
    outside: Outside,
    corners: bool,
) -> Result<Spelling, String> {
    if b.opset < 16 {
        return Err(needs(16, "GridSample", b));
    }
    let mode = match kernel {
        GridKernel::Nearest => "nearest",
        GridKernel::Linear if b.opset < 20 => "bilinear",
        GridKernel::Linear => "linear",
        GridKernel::Cubic if b.opset < 20 => "bicubic",
        GridKernel::Cubic => "cubic",
    };
    let padding = match outside {
        Outside::Zeros => "zeros",
        Outside::Border => "border",
        Outside::Mirror => "reflection",
    };
    let sample = Spelling::new("GridSample", b.read_all(&node.inputs)).string("mode", mode);
    Ok(sample.string("padding_mode", padding).int("align_corners", i64::from(corners)))
}

fn binary(kind: BinaryKind) -> &'static str {
    match kind {
        BinaryKind::Add => "Add",
        BinaryKind::Sub => "Sub",
        BinaryKind::Mul => "Mul",
        BinaryKind::Div | BinaryKind::Quotient => "Div",
        BinaryKind::Max => "Max",
        BinaryKind::Min => "Min",
        BinaryKind::Pow => "Pow",
    }
}

fn clip(b: &mut Builder<'_>, node: &Node, lo: Real, hi: Real) -> Result<Spelling, String> {
    let dtype = b.graph.ty(node.inputs[0]).dtype;
    // A bound beyond every number of the type bounds nothing.
    let largest = if dtype == DType::F16 { 65504.0 } else { f64::from(f32::MAX) };
    let low = if lo.0 <= -largest { String::new() } else { b.scalar(lo, dtype)? };
    let mut inputs = b.read_all(&node.inputs);
    inputs.push(low);
    if hi.0 < largest {
        inputs.push(b.scalar(hi, dtype)?);
    }
    Ok(Spelling::new("Clip", inputs))
}

/// ONNX aligns the slope with the last axes: `[C]` becomes `[C,1,1]`, the same elements under another shape.
fn prelu(b: &mut Builder<'_>, node: &Node) -> Result<Spelling, String> {
    let (graph, slope) = (b.graph, node.inputs[1]);
    let mut dims = vec![1; graph.shape(node.inputs[0]).rank() - 1];
    dims[0] = graph.shape(slope).elements();
    let name = match graph.is_stored(slope) {
        true => b.read_as(slope, &Shape::fixed(&dims)),
        false if dims.len() == 1 || dims[0] == 1 => b.read(slope),
        false => return Err("a slope that is computed at run time needs its shape [C,1,…] first".into()),
    };
    Ok(Spelling::new("PRelu", vec![b.read(node.inputs[0]), name]))
}

fn attention(b: &mut Builder<'_>, node: &Node, scale: Real) -> Result<Spelling, String> {
    if b.opset < 23 {
        return Err(needs(23, "Attention", b));
    }
    let attention = Spelling::new("Attention", b.read_all(&node.inputs)).float("scale", scale);
    let half = b.graph.ty(node.inputs[0]).dtype == DType::F16;
    // Softmax in f32, also for f16.
    Ok(if half { attention.int("softmax_precision", i64::from(elem_type(DType::F32))) } else { attention })
}

fn layer_norm(b: &mut Builder<'_>, node: &Node, axes: &[usize], eps: Real) -> Result<Spelling, String> {
    let graph = b.graph;
    if b.opset < 17 {
        return Err(needs(17, "LayerNormalization", b));
    }
    let (x, rank) = (graph.shape(node.inputs[0]), graph.shape(node.inputs[0]).rank());
    if !axes.iter().copied().eq(rank - axes.len()..rank) {
        return Err(format!("LayerNormalization takes the last axes, found {axes:?} of rank {rank}"));
    }
    let full = Shape(axes.iter().map(|&a| x.0[a]).collect());
    let sizes = full.as_fixed().ok_or_else(|| format!("LayerNormalization does not take the batch, found {x}"))?;
    if let Some(&odd) = node.inputs[1..].iter().find(|&&v| graph.shape(v) != &full) {
        let found = graph.ty(odd);
        return Err(format!("LayerNormalization takes scale and bias of shape {sizes:?}, found {found}"));
    }
    let mut inputs = b.read_all(&node.inputs);
    if inputs.len() == 1 {
        inputs.push(b.ones(graph.ty(node.inputs[0]).dtype, &sizes)); // ONNX requires a scale
    }
    // stash_type 1: statistics in f32, also for f16.
    let norm = Spelling::new("LayerNormalization", inputs).int("axis", -(axes.len() as i64));
    Ok(norm.float("epsilon", eps).int("stash_type", 1))
}

/// Axes are an attribute, or an operand from the opset on that brought that.
fn reduce(b: &mut Builder<'_>, node: &Node, kind: ReduceKind, axes: &[usize], keep: bool) -> Result<Spelling, String> {
    if axes.is_empty() {
        return Err("a reduction over no axis is the identity".into());
    }
    let (op, axes_are_input) = match kind {
        ReduceKind::Sum => ("ReduceSum", b.opset >= 13),
        ReduceKind::Mean => ("ReduceMean", b.opset >= 18),
        ReduceKind::Max => ("ReduceMax", b.opset >= 18),
        ReduceKind::Min => ("ReduceMin", b.opset >= 18),
        ReduceKind::Prod => ("ReduceProd", b.opset >= 18),
        ReduceKind::L2 => ("ReduceL2", b.opset >= 18),
    };
    let mut inputs = b.read_all(&node.inputs);
    if axes_are_input {
        inputs.push(b.ints(axes.iter().copied()));
    }
    let reduce = Spelling::new(op, inputs).int("keepdims", i64::from(keep));
    Ok(if axes_are_input { reduce } else { reduce.ints("axes", axes) })
}

fn slice(b: &mut Builder<'_>, node: &Node, cuts: &[SliceAxis]) -> Spelling {
    let mut list = |f: fn(&SliceAxis) -> usize| b.ints(cuts.iter().map(f));
    let mut operands = vec![list(|c| c.start), list(|c| c.stop), list(|c| c.axis)];
    if cuts.iter().any(|c| c.step != 1) {
        operands.push(list(|c| c.step));
    }
    operands.insert(0, b.read(node.inputs[0]));
    Spelling::new("Slice", operands)
}

/// Broadcasting goes both ways: a size of 1 leaves the operand's own, whatever it is.
fn expand(b: &mut Builder<'_>, node: &Node, to: &Shape) -> Result<Spelling, String> {
    let from = b.graph.shape(node.inputs[0]);
    let own = |i: usize| (i + from.rank()).checked_sub(to.rank()).map(|i| from.0[i]);
    let sizes = to.0.iter().enumerate().map(|(i, &d)| if own(i) == Some(d) { Some(1) } else { d.fixed() });
    let sizes: Option<Vec<usize>> = sizes.collect();
    let sizes = sizes.ok_or_else(|| format!("Expand to {to} needs shape arithmetic"))?;
    Ok(Spelling::new("Expand", vec![b.read(node.inputs[0]), b.ints(sizes)]))
}

fn unary(b: &mut Builder<'_>, node: &Node, kind: UnaryKind) -> Result<Spelling, String> {
    if matches!(kind, UnaryKind::Gelu | UnaryKind::GeluTanh) && b.opset < 20 {
        return Err(needs(20, "Gelu", b));
    }
    if kind == UnaryKind::HardSwish && b.opset < 14 {
        return Err(needs(14, "HardSwish", b));
    }
    let mut plain = |op| Spelling::new(op, b.read_all(&node.inputs));
    Ok(plain(match kind {
        UnaryKind::Silu => return Err("Swish exists from opset 24".into()),
        UnaryKind::GeluTanh => return Ok(plain("Gelu").string("approximate", "tanh")),
        UnaryKind::Elu { alpha } => return Ok(plain("Elu").float("alpha", alpha)),
        UnaryKind::LeakyRelu { slope } => return Ok(plain("LeakyRelu").float("alpha", slope)),
        UnaryKind::HardSigmoid { alpha, beta } => {
            return Ok(plain("HardSigmoid").float("alpha", alpha).float("beta", beta));
        }
        UnaryKind::HardSwish => "HardSwish",
        UnaryKind::Gelu => "Gelu",
        UnaryKind::Relu => "Relu",
        UnaryKind::Sigmoid => "Sigmoid",
        UnaryKind::Tanh => "Tanh",
        UnaryKind::Erf => "Erf",
        UnaryKind::Sqrt => "Sqrt",
        UnaryKind::Exp => "Exp",
        UnaryKind::Abs => "Abs",
        UnaryKind::Neg => "Neg",
        UnaryKind::Log => "Log",
        UnaryKind::Sin => "Sin",
        UnaryKind::Cos => "Cos",
        UnaryKind::Floor => "Floor",
        UnaryKind::Ceil => "Ceil",
        UnaryKind::Round => "Round",
        UnaryKind::Sign => "Sign",
        UnaryKind::Softplus => "Softplus",
    }))
}

/// A convolution's operands, groups and kernel.
fn conv(b: &mut Builder<'_>, node: &Node, word: &'static str, groups: usize) -> Spelling {
    let w = b.graph.shape(node.inputs[1]);
    Spelling::new(word, b.read_all(&node.inputs))
        .int("group", groups as i64)
        .ints("kernel_shape", &[w.dim(2), w.dim(3)])
}

/// Holes in windows, where there are any.
fn dilated(spelling: Spelling, dilation: &[usize; 2]) -> Spelling {
    if *dilation == [1; 2] { spelling } else { spelling.ints("dilations", dilation) }
}

fn arg_max(b: &mut Builder<'_>, node: &Node, axis: usize, keep: bool) -> Spelling {
    let search = Spelling::new("ArgMax", b.read_all(&node.inputs));
    let search = search.int("axis", axis as i64).int("keepdims", i64::from(keep));
    // The first of equal ones is the default, and before opset 12 the only choice.
    if b.opset >= 12 { search.int("select_last_index", 0) } else { search }
}

fn split(b: &mut Builder<'_>, node: &Node, axis: usize, sizes: &[usize]) -> Spelling {
    let x = b.read(node.inputs[0]);
    if b.opset < 13 {
        return Spelling::new("Split", vec![x]).int("axis", axis as i64).ints("split", sizes);
    }
    let sizes = b.ints(sizes.iter().copied());
    Spelling::new("Split", vec![x, sizes]).int("axis", axis as i64)
}

fn depth_mode(order: DepthOrder) -> &'static str {
    match order {
        DepthOrder::Crd => "CRD",
        DepthOrder::Dcr => "DCR",
    }
}

fn pad(b: &mut Builder<'_>, node: &Node, sides: [&[usize]; 2], mode: PadMode) -> Result<Spelling, String> {
    let mut inputs = vec![b.read(node.inputs[0]), b.ints(sides.concat())];
    let dtype = b.graph.ty(node.inputs[0]).dtype;
    let word = match mode {
        PadMode::Constant(Real(0.0)) => "constant",
        PadMode::Constant(value) => {
            // The smallest number stands for less than any.
            let largest = if dtype == DType::F16 { 65504.0 } else { f64::from(f32::MAX) };
            inputs.push(b.scalar(Real(value.0.clamp(-largest, largest)), dtype)?);
            "constant"
        }
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
    };
    Ok(Spelling::new("Pad", inputs).string("mode", word))
}

/// Scales where they are exact in f32, since TensorRT builds them best and they leave the batch alone; sizes else. Which sizes and forms
/// stay what they are is the target's to say.
fn resize(b: &mut Builder<'_>, node: &Node, sampling: &Sampling, size: [usize; 2]) -> Result<Spelling, String> {
    let x = b.graph.shape(node.inputs[0]).clone();
    let scale = |i: usize| {
        let scale = size[i] as f32 / x.dim(2 + i) as f32;
        (f64::from(scale) * x.dim(2 + i) as f64 == size[i] as f64).then_some(scale)
    };
    if *sampling == Sampling::NEAREST && (scale(0).is_none() || scale(1).is_none()) {
        return Err(format!("nearest from {x} to {size:?} has a ratio that f32 rounds; a gather per axis is exact"));
    }
    // What is not given is an array of no elements before opset 13, an input without a name after.
    let absent = if b.opset < 13 { b.floats(&[]) } else { String::new() };
    let mut inputs = vec![b.read(node.inputs[0]), absent.clone()];
    let mut axes = None;
    match (scale(0), scale(1), x.0[0].fixed()) {
        (Some(h), Some(w), _) => inputs.push(b.floats(&[1.0, 1.0, h, w])),
        (_, _, Some(batch)) => inputs.extend([absent, b.ints([batch, x.dim(1), size[0], size[1]])]),
        _ if b.opset >= 18 => {
            axes = Some([2, 3]);
            inputs.extend([absent, b.ints(size)]);
        }
        _ => return Err(format!("a resize from {x} to {size:?} with a symbolic batch needs opset 18")),
    }
    let mut resize = Spelling::new("Resize", inputs);
    if let Some(axes) = axes {
        resize = resize.ints("axes", &axes);
    }
    let coordinates = match sampling.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
        Coordinates::PytorchHalfPixel | Coordinates::TfHalfPixel | Coordinates::HalfPixelSymmetric => {
            return Err("a lowering spells these coordinates otherwise".into());
        }
    };
    resize = resize.string("coordinate_transformation_mode", coordinates);
    match sampling.kernel {
        Kernel::Nearest(Rounding::Floor) => Ok(resize.string("mode", "nearest").string("nearest_mode", "floor")),
        Kernel::Linear if !sampling.antialias => Ok(resize.string("mode", "linear")),
        Kernel::Linear | Kernel::Nearest(_) | Kernel::Cubic(_) => {
            Err("a lowering spells this kernel as products".into())
        }
    }
}
