//! Each operator in MIL: one match, no wildcard. Nothing is written here; [`spell`] only says which operation with
//! which parameters.
//!
//! Invariants: one node becomes one operation wherever MIL has it. Every input with a default is listed. Floating-point
//! parameters have the element type of the operand, which systems before iOS 17 insist on.

mod codes;

use super::mil::{Mil, Operand, Param, Reader, dims, dtype_word, int, ints, stored};
use crate::ExportError;
use crate::coreml::Interface;
use vitc_ir::op::{AttentionLayout, DepthOrder, GridKernel, Outside, PadMode, ReduceKind, Sampling, SliceAxis};
use vitc_ir::{BinaryKind, DType, Graph, Node, Op, Real, Shape, Type, UnaryKind, Value};

/// The operations that compute `node` for iOS `ios`, in order; the last one has the node's results.
///
/// # Errors
/// Why MIL cannot say it.
pub(super) fn spell(graph: &Graph, node: &Node, ios: u32) -> Result<Vec<Mil>, String> {
    if let Some(t) = node.types.iter().find(|t| t.shape.rank() == 0 || t.shape.rank() > 5) {
        return Err(format!("values have 1 to 5 dimensions, found {t}"));
    }
    if let Some(t) = node.inputs.iter().map(|&v| graph.ty(v)).find(|t| t.shape.rank() > 5) {
        return Err(format!("values have at most 5 dimensions, found {t}"));
    }
    let Some(&x) = node.inputs.first() else { return Err("it is a leaf, not an operation".into()) };
    let n = Reader { graph, node, x };
    let one = match &node.op {
        Op::Unary(UnaryKind::HardSwish) => return Err(LOWERED.into()),
        Op::Unary(kind) => unary(&n, *kind),
        Op::Binary(kind) => binary(&n, *kind),
        Op::Clip { lo, hi } => clip(|op| n.on_x(op), n.dtype(0), *lo, *hi)?,
        Op::Select => Mil::of("select").value("cond", x).value("a", node.inputs[1]).value("b", node.inputs[2]),
        Op::Prelu => prelu(&n)?,
        Op::Cast { to } => n.on_x("cast").param("dtype", Param::Str(dtype_word(*to))),
        Op::Conv { stride, pad, dilation, groups } => conv(&n, stride, pad, dilation, *groups)?,
        Op::ConvTranspose { stride, pad: [0, 0, 0, 0], output_pad: [0, 0], dilation, groups } => {
            conv_transpose(&n, stride, dilation, *groups)?
        }
        Op::ConvTranspose { .. } => return Err(LOWERED.into()),
        Op::MatMul { transpose_a, transpose_b } => (n.on_x("matmul").value("y", node.inputs[1]))
            .param("transpose_x", Param::Bool(*transpose_a))
            .param("transpose_y", Param::Bool(*transpose_b)),
        Op::Linear => linear(&n)?,
        Op::Attention { scale, layout: AttentionLayout::Heads, talking: false, bias, .. } => {
            attention(&n, *scale, *bias)?
        }
        Op::BatchNorm { eps } => batch_norm(&n, *eps)?,
        Op::LayerNorm { axes, eps } => layer_norm(&n, axes, *eps)?,
        Op::Softmax { axis } => n.on_x("softmax").param("axis", Param::Int(int(*axis)?)),
        Op::Reduce { axes, .. } if axes.is_empty() => n.on_x("identity"),
        Op::Reduce { kind, axes, keep } => reduce(&n, *kind, axes, *keep)?,
        Op::AvgPool { kernel, stride, pad } => {
            pool(&n, "avg_pool", kernel, stride, pad)?.param("exclude_padding_from_average", Param::Bool(true))
        }
        Op::MaxPool { kernel, stride, pad, dilation: [1, 1] } => pool(&n, "max_pool", kernel, stride, pad)?,
        Op::MaxPool { .. } => return Err("max_pool has no dilation".into()),
        Op::ArgMax { axis, keep } => {
            n.on_x("reduce_argmax").param("axis", Param::Int(int(*axis)?)).param("keep_dims", Param::Bool(*keep))
        }
        Op::TopK { axis, k, largest } => top_k(&n, [*axis, *k], *largest, ios)?,
        Op::Reshape { shape } => n.on_x("reshape").param("shape", dims(shape)?),
        Op::Transpose { perm } => n.on_x("transpose").param("perm", ints(perm.iter().copied())?),
        Op::Concat { .. } if node.inputs.len() == 1 => n.on_x("identity"),
        Op::Concat { axis } => concat(&n, *axis)?,
        Op::Split { sizes, .. } if sizes.len() == 1 => n.on_x("identity"),
        Op::Split { axis, sizes } => {
            let split = n.on_x("split").param("split_sizes", ints(sizes.iter().copied())?);
            split.param("axis", Param::Int(int(*axis)?))
        }
        Op::Slice { cuts } => slice(&n, cuts)?,
        Op::Pad { before, after, mode } => pad(&n, before, after, *mode)?,
        Op::DepthToSpace { block, order: DepthOrder::Crd } => {
            n.on_x("pixel_shuffle").param("upscale_factor", Param::Int(int(*block)?))
        }
        Op::DepthToSpace { block, order: DepthOrder::Dcr } => {
            n.on_x("depth_to_space").param("block_size", Param::Int(int(*block)?))
        }
        Op::SpaceToDepth { block } => n.on_x("space_to_depth").param("block_size", Param::Int(int(*block)?)),
        Op::Gather { axis } => gather(&n, *axis, ios)?,
        Op::Expand { shape } => return expand(x, graph.ty(x), shape),
        Op::Resize { sampling, size, scale: None } => resize(&n, sampling, *size, ios)?,
        Op::Resize { scale: Some(_), .. } => return Err(LOWERED.into()),
        Op::GridSample { kernel: GridKernel::Linear, outside, corners } => grid_sample(&n, *outside, *corners),
        Op::GridSample { .. } => return Err(LOWERED.into()),
        Op::Quantize { to } => codes::quantize(&n, *to),
        Op::Dequantize => codes::dequantize(&n)?,
        Op::Lookup { bits, shape } => codes::lookup(&n, *bits, shape, ios)?,
        Op::Keep => return Err("it is read through, not an operation".into()),
        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => {
            return Err("it is a leaf, not an operation".into());
        }
        Op::Sum | Op::Attention { .. } => return Err(LOWERED.into()),
        Op::Rfft2 { .. } | Op::Irfft2 { .. } | Op::Dct2 | Op::Idct2 => return Err(LOWERED.into()),
        Op::WindowPartition { .. } | Op::WindowMerge { .. } => return Err(LOWERED.into()),
    };
    Ok(vec![one])
}

/// Why MIL has no word for an operator.
const LOWERED: &str = "a lowering replaces it before this point";

fn concat(n: &Reader, axis: usize) -> Result<Mil, String> {
    let mut concat = Mil::of("concat");
    concat.inputs.push(("values", Operand::Values(n.node.inputs.to_vec())));
    Ok(concat.param("axis", Param::Int(int(axis)?)).param("interleave", Param::Bool(false)))
}

fn unary(n: &Reader, kind: UnaryKind) -> Mil {
    match kind {
        UnaryKind::Relu => n.on_x("relu"),
        UnaryKind::Gelu => n.on_x("gelu").param("mode", Param::Str("EXACT")),
        UnaryKind::Silu => n.on_x("silu"),
        UnaryKind::HardSwish => n.on_x("hard_swish"),
        UnaryKind::Sigmoid => n.on_x("sigmoid"),
        UnaryKind::Tanh => n.on_x("tanh"),
        UnaryKind::Erf => n.on_x("erf"),
        UnaryKind::Sqrt => n.on_x("sqrt"),
        UnaryKind::Exp => n.on_x("exp"),
        UnaryKind::Abs => n.on_x("abs"),
        UnaryKind::Neg => n.on_x("mul").param("y", Param::Float(n.dtype(0), -1.0)),
        // Without its epsilon, which moves what lies near 0.
        UnaryKind::Log => n.on_x("log").param("epsilon", Param::Float(n.dtype(0), 0.0)),
        UnaryKind::Sin => n.on_x("sin"),
        UnaryKind::Cos => n.on_x("cos"),
        UnaryKind::Floor => n.on_x("floor"),
        UnaryKind::Ceil => n.on_x("ceil"),
        UnaryKind::Round => n.on_x("round"),
        UnaryKind::Sign => n.on_x("sign"),
        UnaryKind::Softplus => n.on_x("softplus"),
        UnaryKind::GeluTanh => n.on_x("gelu").param("mode", Param::Str("TANH_APPROXIMATION")),
        UnaryKind::Elu { alpha } => n.on_x("elu").param("alpha", Param::Float(n.dtype(0), alpha.0)),
        UnaryKind::LeakyRelu { slope } => n.on_x("leaky_relu").param("alpha", Param::Float(n.dtype(0), slope.0)),
        UnaryKind::HardSigmoid { alpha, beta } => (n.on_x("sigmoid_hard"))
            .param("alpha", Param::Float(n.dtype(0), alpha.0))
            .param("beta", Param::Float(n.dtype(0), beta.0)),
    }
}

fn binary(n: &Reader, kind: BinaryKind) -> Mil {
    let op = match kind {
        BinaryKind::Add => "add",
        BinaryKind::Sub => "sub",
        BinaryKind::Mul => "mul",
        BinaryKind::Div => "real_div",
        BinaryKind::Max => "maximum",
        BinaryKind::Min => "minimum",
        BinaryKind::Pow => "pow",
        BinaryKind::Quotient => "floor_div",
    };
    n.on_x(op).value("y", n.node.inputs[1])
}

fn prelu(n: &Reader) -> Result<Mil, String> {
    n.constant(1, "the slope")?;
    if n.shape(0).rank() != 4 || n.shape(1).0[0] != n.shape(0).0[1] {
        return Err(format!("prelu takes x [B,C,H,W] and one slope per channel, found {}", n.shape(1)));
    }
    Ok(n.on_x("prelu").value("alpha", n.node.inputs[1]))
}

fn conv(
    n: &Reader,
    stride: &[usize; 2],
    [top, left, bottom, right]: &[usize; 4],
    dilation: &[usize; 2],
    groups: usize,
) -> Result<Mil, String> {
    if *dilation != [1; 2] {
        n.constant(1, "the weight of a convolution with dilations")?;
    }
    let mut conv = n.on_x("conv").value("weight", n.node.inputs[1]);
    if let Some(&bias) = n.node.inputs.get(2) {
        conv = conv.value("bias", bias);
        if !n.graph.is_stored(bias) {
            conv = conv.since(17, "a bias that is computed at run time");
        }
    }
    Ok(conv
        .param("strides", ints(*stride)?)
        .param("pad_type", Param::Str("custom"))
        .param("pad", ints([*top, *bottom, *left, *right])?)
        .param("dilations", ints(*dilation)?)
        .param("groups", Param::Int(int(groups)?)))
}

/// The whole result: what is cut off and added is beside it.
fn conv_transpose(n: &Reader, stride: &[usize; 2], dilation: &[usize; 2], groups: usize) -> Result<Mil, String> {
    n.constant(1, "the weight of a transposed convolution")?;
    let mut conv = n.on_x("conv_transpose").value("weight", n.node.inputs[1]);
    if let Some(&bias) = n.node.inputs.get(2) {
        n.constant(2, "the bias of a transposed convolution")?;
        conv = conv.value("bias", bias);
    }
    Ok(conv
        .param("strides", ints(*stride)?)
        .param("pad_type", Param::Str("valid"))
        .param("pad", ints([0; 4])?)
        .param("dilations", ints(*dilation)?)
        .param("groups", Param::Int(int(groups)?)))
}

fn linear(n: &Reader) -> Result<Mil, String> {
    (1..n.node.inputs.len()).try_for_each(|slot| n.constant(slot, "weight and bias"))?;
    if n.shape(0).rank() > 3 {
        return Err(format!("linear takes values of rank 3 at most, found {}", n.shape(0)));
    }
    let linear = n.on_x("linear").value("weight", n.node.inputs[1]);
    Ok(match n.node.inputs.get(2) {
        Some(&bias) => linear.value("bias", bias),
        // Optional by the documentation, but older systems reject files that leave a default out.
        None => linear.param("bias", Param::Zeros(n.dtype(0), n.shape(1).dim(0))),
    })
}

fn attention(n: &Reader, scale: Real, bias: bool) -> Result<Mil, String> {
    let fixed = (n.shape(0).dim(3) as f64).powf(-0.5);
    if (scale.0 / fixed - 1.0).abs() > 1e-12 {
        return Err(format!("scaled_dot_product_attention has the factor {fixed}, found {scale}"));
    }
    let mut attention = Mil::of("scaled_dot_product_attention").since(18, "the operator for attention");
    for (name, &value) in ["query", "key", "value"].into_iter().zip(n.node.inputs.iter()) {
        attention = attention.value(name, value);
    }
    Ok(if bias { attention.value("attn_mask", n.node.inputs[3]) } else { attention })
}

fn batch_norm(n: &Reader, eps: Real) -> Result<Mil, String> {
    if !(3..=5).contains(&n.shape(0).rank()) {
        return Err(format!("batch_norm takes x [B,C,…] of rank 3 to 5, found {}", n.shape(0)));
    }
    let mut norm = n.on_x("batch_norm");
    for (slot, input) in [(3, "mean"), (4, "variance"), (1, "gamma"), (2, "beta")] {
        n.constant(slot, input)?;
        norm = norm.value(input, n.node.inputs[slot]);
    }
    Ok(norm.param("epsilon", Param::Float(n.dtype(0), eps.0)))
}

fn layer_norm(n: &Reader, axes: &[usize], eps: Real) -> Result<Mil, String> {
    let mut norm = n.on_x("layer_norm").param("axes", ints(axes.iter().copied())?);
    if n.node.inputs.len() == 3 {
        let full = Shape(axes.iter().map(|&a| n.shape(0).0[a]).collect());
        for slot in [1, 2] {
            n.constant(slot, "scale and bias")?;
            if *n.shape(slot) != full {
                return Err(format!("scale and bias have the shape {full} of the axes, found {}", n.shape(slot)));
            }
        }
        norm = norm.value("gamma", n.node.inputs[1]).value("beta", n.node.inputs[2]);
    }
    // An epsilon that half precision rounds to nothing would divide by zero on constant input.
    let vanishes = n.dtype(0) == DType::F16 && eps.0 != 0.0 && stored(DType::F16, eps.0) == 0.0;
    Ok(match vanishes {
        false => norm.param("epsilon", Param::Float(n.dtype(0), eps.0)),
        true => norm
            .param("epsilon", Param::Float(DType::F32, eps.0))
            .since(17, "an epsilon too small for fp16, which is fp32 beside fp16 values"),
    })
}

fn reduce(n: &Reader, kind: ReduceKind, axes: &[usize], keep: bool) -> Result<Mil, String> {
    let op = match kind {
        ReduceKind::Sum => "reduce_sum",
        ReduceKind::Mean => "reduce_mean",
        ReduceKind::Max => "reduce_max",
        ReduceKind::Min => "reduce_min",
        ReduceKind::Prod => "reduce_prod",
        ReduceKind::L2 => "reduce_l2_norm",
    };
    Ok(n.on_x(op).param("axes", ints(axes.iter().copied())?).param("keep_dims", Param::Bool(keep)))
}

/// Elements and indices, in order.
fn top_k(n: &Reader, [axis, k]: [usize; 2], largest: bool, ios: u32) -> Result<Mil, String> {
    let mut found = n.on_x("topk").param("k", Param::Int(int(k)?)).param("axis", Param::Int(int(axis)?));
    found = found.param("ascending", Param::Bool(!largest));
    if ios >= 16 {
        found = found.param("sort", Param::Bool(true)).param("return_indices", Param::Bool(true));
    }
    if ios >= 17 {
        found = found.param("output_indices_dtype", Param::Str("int32"));
    }
    Ok(found)
}

/// A pool without rounding up.
fn pool(
    n: &Reader,
    op: &'static str,
    kernel: &[usize; 2],
    stride: &[usize; 2],
    [top, left, bottom, right]: &[usize; 4],
) -> Result<Mil, String> {
    Ok(n.on_x(op)
        .param("kernel_sizes", ints(*kernel)?)
        .param("strides", ints(*stride)?)
        .param("pad_type", Param::Str("custom"))
        .param("pad", ints([*top, *bottom, *left, *right])?)
        .param("ceil_mode", Param::Bool(false)))
}

fn slice(n: &Reader, cuts: &[SliceAxis]) -> Result<Mil, String> {
    let mut end = n.shape(0).as_fixed().ok_or("the shape depends on the batch")?;
    let (mut begin, mut stride) = (vec![0; end.len()], vec![1; end.len()]);
    for cut in cuts {
        (begin[cut.axis], end[cut.axis], stride[cut.axis]) = (cut.start, cut.stop, cut.step);
    }
    let none = Param::Bools(vec![false; end.len()]);
    Ok(n.on_x("slice_by_index")
        .param("begin", ints(begin)?)
        .param("end", ints(end)?)
        .param("stride", ints(stride)?)
        .param("begin_mask", none.clone())
        .param("end_mask", none.clone())
        .param("squeeze_mask", none))
}

/// Pairs before, after from the first axis on that is padded.
fn pad(n: &Reader, before: &[usize], after: &[usize], mode: PadMode) -> Result<Mil, String> {
    if !n.dtype(0).is_float() {
        return Err("pad takes floats".into());
    }
    let Some(first) = before.iter().zip(after).position(|(&b, &a)| b + a > 0) else { return Ok(n.on_x("identity")) };
    let pairs = before.iter().zip(after).skip(first).flat_map(|(&b, &a)| [b, a]);
    // The smallest number stands for less than any.
    let largest = if n.dtype(0) == DType::F16 { 65504.0 } else { f64::from(f32::MAX) };
    let (word, value) = match mode {
        PadMode::Constant(value) => ("constant", value.0.clamp(-largest, largest)),
        PadMode::Reflect => ("reflect", 0.0),
        PadMode::Edge => ("replicate", 0.0),
    };
    Ok(n.on_x("pad")
        .param("pad", ints(pairs)?)
        .param("mode", Param::Str(word))
        .param("constant_val", Param::Float(n.dtype(0), value)))
}

fn gather(n: &Reader, axis: usize, ios: u32) -> Result<Mil, String> {
    let mut gather = n.on_x("gather").value("indices", n.node.inputs[1]).param("axis", Param::Int(int(axis)?));
    if ios >= 16 {
        gather = gather.param("batch_dims", Param::Int(0));
    }
    if ios >= 17 {
        gather = gather.param("validate_indices", Param::Bool(false));
    }
    Ok(gather)
}

fn grid_sample(n: &Reader, outside: Outside, corners: bool) -> Mil {
    let padding = match outside {
        Outside::Zeros => "constant",
        Outside::Border => "border",
        // The border's elements stand once, or twice where the mirror is at their edges.
        Outside::Mirror if corners => "reflection",
        Outside::Mirror => "symmetric",
    };
    let sample = n.on_x("resample").value("coordinates", n.node.inputs[1]);
    let sample = if n.dtype(1) == DType::F16 { sample.since(16, "places in half precision") } else { sample };
    sample
        .param("sampling_mode", Param::Str("bilinear"))
        .param("padding_mode", Param::Str(padding))
        .param("padding_value", Param::Float(n.dtype(0), 0.0))
        .param("coordinates_mode", Param::Str("normalized_minus_one_to_one"))
        .param("align_corners", Param::Bool(corners))
}

/// `clip` has two finite bounds in ascending order; one bound is `maximum` or `minimum`.
fn clip(on_x: impl Fn(&'static str) -> Mil, dtype: DType, lo: Real, hi: Real) -> Result<Mil, String> {
    let (lo, hi) = (stored(dtype, lo.0), stored(dtype, hi.0));
    let bound = |b| Param::Float(dtype, b);
    match (lo.is_finite(), hi.is_finite()) {
        (true, true) if lo < hi => Ok(on_x("clip").param("alpha", bound(lo)).param("beta", bound(hi))),
        (true, false) if hi > 0.0 => Ok(on_x("maximum").param("y", bound(lo))),
        (false, true) if lo < 0.0 => Ok(on_x("minimum").param("y", bound(hi))),
        (false, false) if lo < 0.0 && hi > 0.0 => Ok(on_x("identity")),
        _ => Err(format!("clip takes an interval, found {lo}..{hi}")),
    }
}

/// `tile` repeats axes; axes that broadcasting adds in front come from a reshape.
fn expand(x: Value, from: &Type, to: &Shape) -> Result<Vec<Mil>, String> {
    let old = from.shape.as_fixed().ok_or("the shape depends on the batch")?;
    let new = to.as_fixed().ok_or("the shape depends on the batch")?;
    let mut padded = vec![1; new.len() - old.len()];
    padded.extend(&old);
    let reps = ints(new.iter().zip(&padded).map(|(n, o)| n / o))?;
    let mut steps = Vec::new();
    let mut tile = Mil::of("tile");
    if padded.len() == old.len() {
        tile = tile.value("x", x);
    } else {
        let mut step = Mil::new("reshape", x).param("shape", ints(padded.iter().copied())?);
        step.step = Some(Type::new(from.dtype, Shape::fixed(&padded)));
        steps.push(step);
        tile.inputs.push(("x", Operand::Previous));
    }
    steps.push(tile.param("reps", reps));
    Ok(steps)
}

/// Whole factors are `upsample_*`; everything else is `resize_*`.
fn resize(n: &Reader, sampling: &Sampling, to: [usize; 2], ios: u32) -> Result<Mil, String> {
    let from = [n.shape(0).dim(2), n.shape(0).dim(3)];
    let whole = (0..2).all(|i| to[i].is_multiple_of(from[i]));
    let factor = |i: usize| Param::Float(DType::F32, (to[i] / from[i]) as f64);
    let scaled = |op| n.on_x(op).param("scale_factor_height", factor(0)).param("scale_factor_width", factor(1));
    let (height, width) = (Param::Int(int(to[0])?), Param::Int(int(to[1])?));
    let sized = |op| n.on_x(op).param("target_size_height", height.clone()).param("target_size_width", width.clone());
    let between = |mode| sized("resize_bilinear").param("sampling_mode", Param::Str(mode));
    Ok(match *sampling {
        Sampling::NEAREST if whole => scaled("upsample_nearest_neighbor"),
        Sampling::NEAREST => sized("resize_nearest_neighbor"),
        Sampling::LINEAR if whole => {
            let up = scaled("upsample_bilinear").param("align_corners", Param::Bool(false));
            // Before iOS 16 the flag does not exist, and half-pixel centres follow from align_corners = false.
            if ios >= 16 { up.param("half_pixel_centers", Param::Bool(true)) } else { up }
        }
        Sampling::LINEAR => between("UNALIGN_CORNERS"),
        Sampling::LINEAR_CORNERS => between("STRICT_ALIGN_CORNERS"),
        Sampling::LINEAR_ASYMMETRIC => between("DEFAULT"),
        _ => return Err(LOWERED.into()),
    })
}

/// The error of a node that [`spell`] cannot say.
pub(super) fn not_lowered(node: &Node, why: String) -> ExportError {
    ExportError::NotLowered { op: node.op.word(), path: node.path.clone(), why }
}

/// Lowest iOS version that can hold a graph with this interface, and what asks for it (empty for 15, the first with ML
/// Programs).
///
/// # Errors
/// If a node has no spelling in any version.
pub fn minimum_ios(graph: &Graph, interface: &Interface) -> Result<(u32, String), ExportError> {
    let mut least = (15, String::new());
    let mut need = |ios: u32, why: String| {
        if ios > least.0 {
            least = (ios, why);
        }
    };
    for (_, node) in graph.inputs().filter(|(_, n)| n.types[0].dtype == DType::F16) {
        need(16, format!("the fp16 input {}", node.path));
    }
    let array_outputs = if interface.labels.is_some() { &[] } else { graph.outputs.as_slice() };
    for output in array_outputs.iter().filter(|o| graph.ty(o.value).dtype == DType::F16) {
        need(16, format!("the fp16 output {}", output.name));
    }
    for (_, node) in graph.run_time_nodes() {
        for mil in spell(graph, node, 26).map_err(|why| not_lowered(node, why))? {
            let (ios, what) = mil.since;
            need(ios, format!("{} at {}: {what}", mil.op, node.path));
        }
    }
    Ok(least)
}
