//! Decodes operations, one after the other, into nodes.

use super::body::{Body, Bound};
use super::call::{Call, Decoded};
use super::codes;
use super::decode;
use super::error::ReadError;
use super::foreign;
use super::values::{graph_type, is_text, text, texts, volume};
use crate::coreml::messages::{self, binding, value_type};
use vitc_ir::op::{AttentionLayout, DepthOrder, GridKernel, Outside, PadMode, ReduceKind, Sampling, SliceAxis};
use vitc_ir::{BinaryKind, DType, Op, Real, Shape, Type, UnaryKind, Value};

/// Read an operation into the body.
///
/// # Errors
/// What in it is damaged, or not read.
pub(super) fn decode(body: &mut Body<'_>, operation: &messages::Operation) -> Result<(), ReadError> {
    let name = operation.attributes.get("name").and_then(|v| text(v).ok());
    let first = operation.outputs.first().map(|o| o.name.clone()).unwrap_or_default();
    bind(body, operation).map_err(|what| ReadError::Operation {
        operation: name.unwrap_or(first),
        kind: operation.r#type.clone(),
        what,
    })
}

fn bind(body: &mut Body<'_>, operation: &messages::Operation) -> Result<(), String> {
    if !operation.blocks.is_empty() {
        return Err("nested blocks are not read".into());
    }
    if !body.strict
        && let Some(bound) = decode::constant(body, operation)
    {
        return bound;
    }
    match operation.r#type.as_str() {
        "const" => body.constant(operation),
        "classify" => classify(body, operation),
        "identity" => identity(body, operation),
        _ => {
            let mut call = Call::new(body, operation);
            let (op, inputs) = node(&mut call)?;
            call.all_asked()?;
            body.push(op, &inputs, &operation.outputs)
        }
    }
}

fn identity(body: &mut Body<'_>, operation: &messages::Operation) -> Result<(), String> {
    let x = Call::new(body, operation).x()?;
    let [output] = operation.outputs.as_slice() else { return Err("has not one result".into()) };
    if *body.graph.ty(x) != graph_type(output.r#type.as_ref())? {
        return Err("changes the type".into());
    }
    body.bind(&output.name, Bound::Value(x))
}

fn classify(body: &mut Body<'_>, operation: &messages::Operation) -> Result<(), String> {
    let labels = match operation.inputs.get("classes").map(|a| a.arguments.as_slice()) {
        Some([messages::Binding { kind: Some(binding::Kind::Value(v)) }]) => texts(v)?,
        _ => return Err("has no list of classes in place".into()),
    };
    let scores = Call::new(body, operation).value("probabilities")?;
    let ty = body.graph.ty(scores);
    if *ty != Type::f32(&[1, labels.len()]) {
        return Err(format!("{} labels for probabilities {ty}", labels.len()));
    }
    let [label, probabilities] = operation.outputs.as_slice() else { return Err("has not two results".into()) };
    let dictionary = matches!(
        probabilities.r#type.as_ref().and_then(|t| t.kind.as_ref()),
        Some(value_type::Kind::Dictionary(d)) if is_text(d.key_type.as_ref())
    );
    if !is_text(label.r#type.as_ref()) || !dictionary || body.classes.is_some() {
        return Err("its results are not one label and one dictionary".into());
    }
    body.classes = Some(labels);
    body.bind(&label.name, Bound::Class(scores))?;
    body.bind(&probabilities.name, Bound::Class(scores))
}

/// The operator and operands of an operation that is a node of the graph.
fn node(call: &mut Call<'_, '_>) -> Decoded {
    let kind = call.operation.r#type.as_str();
    if let Some(kind) = unary(kind) {
        return Ok((Op::Unary(kind), vec![call.x()?]));
    }
    if let Some(kind) = binary(kind) {
        return Ok((Op::Binary(kind), vec![call.x()?, call.value("y")?]));
    }
    match kind {
        // Other writers round floats with it, and integers that may be negative.
        "floor_div" if call.body.strict => Ok((Op::Binary(BinaryKind::Quotient), vec![call.x()?, call.value("y")?])),
        "log" => log(call),
        "elu" | "leaky_relu" | "sigmoid_hard" => with_parameters(call, kind),
        "gelu" => gelu(call),
        "clip" => clip(call),
        "prelu" => Ok((Op::Prelu, vec![call.x()?, call.value("alpha")?])),
        "select" => Ok((Op::Select, vec![call.value("cond")?, call.value("a")?, call.value("b")?])),
        "topk" => top_k(call),
        "cast" => cast(call),
        "conv" => conv(call),
        "conv_transpose" => conv_transpose(call),
        "matmul" => matmul(call),
        "linear" => linear(call),
        "scaled_dot_product_attention" => attention(call),
        "batch_norm" => batch_norm(call),
        "layer_norm" => layer_norm(call),
        "softmax" => softmax(call),
        "reduce_sum" => reduce(call, ReduceKind::Sum),
        "reduce_mean" => reduce(call, ReduceKind::Mean),
        "reduce_max" => reduce(call, ReduceKind::Max),
        "reduce_min" => reduce(call, ReduceKind::Min),
        "reduce_l2_norm" => reduce(call, ReduceKind::L2),
        "reduce_prod" => reduce(call, ReduceKind::Prod),
        "reduce_argmax" => arg_max(call),
        "max_pool" => max_pool(call),
        "avg_pool" => avg_pool(call),
        "reshape" => reshape(call),
        "transpose" => transpose(call),
        "concat" => concat(call),
        "split" => split(call),
        "slice_by_index" => slice(call),
        "pad" => pad(call),
        "pixel_shuffle" => blocks(call, "upscale_factor", DepthOrder::Crd),
        "depth_to_space" => blocks(call, "block_size", DepthOrder::Dcr),
        "space_to_depth" => space_to_depth(call),
        "gather" => gather(call),
        "tile" => tile(call),
        "upsample_nearest_neighbor" => upsample(call, Sampling::NEAREST),
        "upsample_bilinear" => upsample(call, Sampling::LINEAR),
        "resize_nearest_neighbor" => resize(call, Sampling::NEAREST),
        "resize_bilinear" => {
            let sampling = between(call)?;
            resize(call, sampling)
        }
        "resample" => grid_sample(call),
        "quantize" => codes::quantize(call),
        "dequantize" => codes::dequantize(call),
        "constexpr_affine_dequantize" => codes::affine(call),
        "constexpr_blockwise_shift_scale" => codes::blocks(call),
        "constexpr_lut_to_dense" => codes::lookup(call),
        _ => {
            let foreign = if call.body.strict { None } else { foreign::node(call) };
            foreign.unwrap_or_else(|| Err("vitc does not read this operation".into()))
        }
    }
}

// ---- elementwise ----------------------------------------------------------------------------------------------------

fn unary(kind: &str) -> Option<UnaryKind> {
    Some(match kind {
        "relu" => UnaryKind::Relu,
        "silu" => UnaryKind::Silu,
        "sigmoid" => UnaryKind::Sigmoid,
        "tanh" => UnaryKind::Tanh,
        "erf" => UnaryKind::Erf,
        "sqrt" => UnaryKind::Sqrt,
        "exp" => UnaryKind::Exp,
        "abs" => UnaryKind::Abs,
        "sin" => UnaryKind::Sin,
        "cos" => UnaryKind::Cos,
        "floor" => UnaryKind::Floor,
        "ceil" => UnaryKind::Ceil,
        "round" => UnaryKind::Round,
        "sign" => UnaryKind::Sign,
        "softplus" => UnaryKind::Softplus,
        _ => return None,
    })
}

fn binary(kind: &str) -> Option<BinaryKind> {
    Some(match kind {
        "add" => BinaryKind::Add,
        "sub" => BinaryKind::Sub,
        "mul" => BinaryKind::Mul,
        "real_div" => BinaryKind::Div,
        "maximum" => BinaryKind::Max,
        "minimum" => BinaryKind::Min,
        "pow" => BinaryKind::Pow,
        _ => return None,
    })
}

fn gelu(call: &mut Call<'_, '_>) -> Decoded {
    let kind = match call.word("mode")? {
        "SIGMOID_APPROXIMATION" if !call.body.strict => return foreign::gelu_by_sigmoid(call),
        "EXACT" => UnaryKind::Gelu,
        "TANH_APPROXIMATION" => UnaryKind::GeluTanh,
        other => return Err(format!("mode = {other} is not read")),
    };
    Ok((Op::Unary(kind), vec![call.x()?]))
}

/// The operation adds its epsilon before.
fn log(call: &mut Call<'_, '_>) -> Decoded {
    let eps = call.number("epsilon")?;
    if eps == 0.0 {
        return Ok((Op::Unary(UnaryKind::Log), vec![call.x()?]));
    }
    if call.body.strict {
        return Err("an epsilon is not read".into());
    }
    foreign::shifted_log(call, eps)
}

fn with_parameters(call: &mut Call<'_, '_>, kind: &str) -> Decoded {
    let alpha = Real(call.number("alpha")?);
    let kind = match kind {
        "elu" => UnaryKind::Elu { alpha },
        "leaky_relu" => UnaryKind::LeakyRelu { slope: alpha },
        _ => UnaryKind::HardSigmoid { alpha, beta: Real(call.number("beta")?) },
    };
    Ok((Op::Unary(kind), vec![call.x()?]))
}

fn clip(call: &mut Call<'_, '_>) -> Decoded {
    let op = Op::Clip { lo: Real(call.number("alpha")?), hi: Real(call.number("beta")?) };
    Ok((op, vec![call.x()?]))
}

fn cast(call: &mut Call<'_, '_>) -> Decoded {
    let to = match call.word("dtype")? {
        "fp16" => DType::F16,
        "fp32" => DType::F32,
        "int32" => DType::I32,
        "bool" => DType::Bool,
        other => return Err(format!("to {other} is not read")),
    };
    Ok((Op::Cast { to }, vec![call.x()?]))
}

// ---- products -------------------------------------------------------------------------------------------------------

fn conv(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.map()?;
    let groups = usize::try_from(call.integer("groups")?).map_err(|_| "has negative groups")?;
    let op = Op::Conv {
        stride: call.sizes_of("strides")?,
        pad: call.window_pad()?,
        dilation: call.sizes_of("dilations")?,
        groups,
    };
    with_bias(call, op, x)
}

fn conv_transpose(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.map()?;
    if call.body.strict && call.has("output_shape") {
        return Err("a shape of the result is not read".into());
    }
    // Other writers always give the shape, which the program declares as well: it has to be the one that is computed.
    call.idle(&["output_shape"]);
    let groups = usize::try_from(call.integer("groups")?).map_err(|_| "has negative groups")?;
    let (stride, dilation) = (call.sizes_of("strides")?, call.sizes_of("dilations")?);
    let op = Op::ConvTranspose { stride, pad: call.window_pad()?, output_pad: [0; 2], dilation, groups };
    with_bias(call, op, x)
}

fn matmul(call: &mut Call<'_, '_>) -> Decoded {
    let op = Op::MatMul { transpose_a: call.flag("transpose_x")?, transpose_b: call.flag("transpose_y")? };
    Ok((op, vec![call.x()?, call.value("y")?]))
}

fn linear(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    with_bias(call, Op::Linear, x)
}

/// Operands of a layer: x, its weight, and a bias if there is one.
fn with_bias(call: &mut Call<'_, '_>, op: Op, x: Value) -> Decoded {
    let mut inputs = vec![x, call.value("weight")?];
    if call.has("bias") {
        inputs.push(call.value("bias")?);
    }
    Ok((op, inputs))
}

/// `softmax(query·keyᵀ/√E + attn_mask)·value` on `[B,heads,N,E]`; the mask is a number per head and pair.
fn attention(call: &mut Call<'_, '_>) -> Decoded {
    if call.body.ios < 18 {
        return Err("exists from iOS 18 on".into());
    }
    let mut inputs = vec![call.value("query")?, call.value("key")?, call.value("value")?];
    let [_, heads, _, width] = call.body.graph.shape(inputs[0]).at(1)[..] else {
        return Err(format!("takes a query [B,heads,N,E], found {}", call.body.graph.ty(inputs[0])));
    };
    let bias = call.has("attn_mask");
    if bias {
        inputs.push(call.value("attn_mask")?);
    }
    let scale = Real((width as f64).powf(-0.5));
    Ok((Op::Attention { heads, scale, layout: AttentionLayout::Heads, bias, talking: false }, inputs))
}

// ---- normalisation and reduction ------------------------------------------------------------------------------------

fn batch_norm(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let (gamma, beta) = (foreign::filled(call, "gamma", x, 1.0)?, foreign::filled(call, "beta", x, 0.0)?);
    let (mean, variance) = (call.value("mean")?, call.value("variance")?);
    Ok((Op::BatchNorm { eps: Real(call.number("epsilon")?) }, vec![x, gamma, beta, mean, variance]))
}

fn layer_norm(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let op = Op::LayerNorm { axes: call.axes(call.rank(x))?, eps: Real(call.number("epsilon")?) };
    let mut inputs = vec![x];
    if call.has("gamma") || call.has("beta") {
        if !call.body.strict {
            return foreign::layer_norm(call, op, x);
        }
        inputs.extend([call.value("gamma")?, call.value("beta")?]);
    }
    Ok((op, inputs))
}

fn softmax(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    Ok((Op::Softmax { axis: call.axis(call.rank(x))? }, vec![x]))
}

fn reduce(call: &mut Call<'_, '_>, kind: ReduceKind) -> Decoded {
    let x = call.x()?;
    let axes = call.axes(call.rank(x))?;
    if axes.is_empty() {
        return Err("reduces no axis".into());
    }
    Ok((Op::Reduce { kind, axes, keep: call.flag("keep_dims")? }, vec![x]))
}

fn avg_pool(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.map()?;
    if !call.body.strict && !call.flag("exclude_padding_from_average")? {
        return foreign::counting_pool(call, x);
    }
    call.must("exclude_padding_from_average", true)?;
    call.must("ceil_mode", false)?;
    let (kernel, stride) = (call.sizes_of("kernel_sizes")?, call.sizes_of("strides")?);
    Ok((Op::AvgPool { kernel, stride, pad: call.window_pad()? }, vec![x]))
}

fn max_pool(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.map()?;
    call.must("ceil_mode", false)?;
    let (kernel, stride) = (call.sizes_of("kernel_sizes")?, call.sizes_of("strides")?);
    Ok((Op::MaxPool { kernel, stride, pad: call.window_pad()?, dilation: [1; 2] }, vec![x]))
}

fn arg_max(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    call.idle(&["output_dtype"]);
    Ok((Op::ArgMax { axis: call.axis(call.rank(x))?, keep: call.flag("keep_dims")? }, vec![x]))
}

/// In order, with the indices as its second result.
fn top_k(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    for told in ["sort", "return_indices"] {
        if call.has(told) {
            call.must(told, true)?;
        }
    }
    call.idle(&["output_indices_dtype"]);
    let k = usize::try_from(call.integer("k")?).map_err(|_| "k is negative")?;
    Ok((Op::TopK { axis: call.axis(call.rank(x))?, k, largest: !call.flag("ascending")? }, vec![x]))
}

// ---- movement -------------------------------------------------------------------------------------------------------

fn reshape(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    if !call.body.strict {
        return foreign::reshape(call, x);
    }
    let dims = call.sizes("shape")?;
    volume(&dims)?;
    Ok((Op::Reshape { shape: Shape::fixed(&dims) }, vec![x]))
}

fn transpose(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    Ok((Op::Transpose { perm: call.sizes("perm")? }, vec![x]))
}

fn concat(call: &mut Call<'_, '_>) -> Decoded {
    call.must("interleave", false)?;
    let names = call.names("values")?;
    let values = names.iter().map(|n| call.body.leaf(n)).collect::<Result<Vec<_>, _>>()?;
    let first = *values.first().ok_or("joins nothing")?;
    Ok((Op::Concat { axis: call.axis(call.rank(first))? }, values))
}

fn split(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    if !call.body.strict && !call.has("split_sizes") {
        return foreign::equal_split(call, x);
    }
    Ok((Op::Split { axis: call.axis(call.rank(x))?, sizes: call.sizes("split_sizes")? }, vec![x]))
}

/// `begin`, `end` and `stride` per axis; a set mask means from the start, or to the end.
fn slice(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let dims = call.body.graph.shape(x).at(1);
    if !call.body.strict {
        return foreign::slice(call, x, &dims);
    }
    let (begin, end, stride) = (call.sizes("begin")?, call.sizes("end")?, call.sizes("stride")?);
    if [&begin, &end, &stride].iter().any(|v| v.len() != dims.len()) {
        return Err(format!("cuts {} axes of {}", begin.len(), dims.len()));
    }
    let (from_start, to_end) = (call.mask("begin_mask", dims.len())?, call.mask("end_mask", dims.len())?);
    if call.mask("squeeze_mask", dims.len())?.contains(&true) {
        return Err("squeeze_mask is not read".into());
    }
    let cut = |axis: usize| SliceAxis {
        axis,
        start: if from_start[axis] { 0 } else { begin[axis] },
        stop: if to_end[axis] { dims[axis] } else { end[axis] },
        step: stride[axis],
    };
    let whole = |c: &SliceAxis| c.start == 0 && c.stop == dims[c.axis] && c.step == 1;
    Ok((Op::Slice { cuts: (0..dims.len()).map(cut).filter(|c| !whole(c)).collect() }, vec![x]))
}

/// Pairs before, after for the last axes.
fn pad(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let rank = call.rank(x);
    let mode = match call.word("mode")? {
        "constant" => PadMode::Constant(Real(call.number("constant_val")?)),
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Edge,
        other => return Err(format!("mode = {other} is not read")),
    };
    // A filler beside another mode fills nothing.
    call.idle(&["constant_val"]);
    let pairs = call.sizes("pad")?;
    if !pairs.len().is_multiple_of(2) || pairs.len() / 2 > rank {
        return Err(format!("{} pads for {rank} axes", pairs.len()));
    }
    let mut before = vec![0; rank - pairs.len() / 2];
    let mut after = before.clone();
    before.extend(pairs.iter().step_by(2));
    after.extend(pairs.iter().skip(1).step_by(2));
    Ok((Op::Pad { before, after, mode }, vec![x]))
}

fn blocks(call: &mut Call<'_, '_>, size: &str, order: DepthOrder) -> Decoded {
    let block = usize::try_from(call.integer(size)?).map_err(|_| format!("{size} is negative"))?;
    Ok((Op::DepthToSpace { block, order }, vec![call.map()?]))
}

fn space_to_depth(call: &mut Call<'_, '_>) -> Decoded {
    let block = usize::try_from(call.integer("block_size")?).map_err(|_| "block_size is negative")?;
    Ok((Op::SpaceToDepth { block }, vec![call.map()?]))
}

fn gather(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    if call.body.ios >= 16 && call.integer("batch_dims")? != 0 {
        return Err("batch_dims are not read".into());
    }
    let axis = call.axis(call.rank(x))?;
    call.idle(&["validate_indices"]);
    // A program's tables stay tables here too.
    let table = if call.body.graph.is_constant(x) { call.body.keep(x)? } else { x };
    Ok((Op::Gather { axis }, vec![table, call.value("indices")?]))
}

fn tile(call: &mut Call<'_, '_>) -> Decoded {
    let x = call.x()?;
    let (dims, reps) = (call.body.graph.shape(x).at(1), call.sizes("reps")?);
    if reps.len() != dims.len() || reps.contains(&0) || dims.iter().zip(&reps).any(|(&d, &r)| d != 1 && r != 1) {
        return Err(format!("repeats {reps:?} of {dims:?}: only axes of size 1 are read"));
    }
    let shape: Vec<usize> = dims.iter().zip(&reps).map(|(d, r)| d * r).collect();
    volume(&shape)?;
    Ok((Op::Expand { shape: Shape::fixed(&shape) }, vec![x]))
}

// ---- sampling -------------------------------------------------------------------------------------------------------

/// By a factor, which makes whole sizes. Pixels have centres unless the corners are aligned.
fn upsample(call: &mut Call<'_, '_>, mut sampling: Sampling) -> Decoded {
    let x = call.map()?;
    if sampling == Sampling::LINEAR {
        let corners = call.flag("align_corners")?;
        if call.has("half_pixel_centers") {
            call.must("half_pixel_centers", !corners)?;
        }
        if corners {
            sampling = Sampling::LINEAR_CORNERS;
        }
    }
    let scaled = |axis: usize, input: &str| {
        let size = call.body.graph.shape(x).dim(axis) as f64 * call.number(input)?;
        match size >= 1.0 && size.fract() == 0.0 && size <= f64::from(i32::MAX) {
            true => Ok(size as usize),
            false => Err(format!("{input} makes a size of {size}")),
        }
    };
    let size = [scaled(2, "scale_factor_height")?, scaled(3, "scale_factor_width")?];
    Ok((Op::Resize { sampling, size, scale: None }, vec![x]))
}

/// Where a `resize_bilinear` reads.
fn between(call: &Call<'_, '_>) -> Result<Sampling, String> {
    match call.word("sampling_mode")? {
        "UNALIGN_CORNERS" => Ok(Sampling::LINEAR),
        "STRICT_ALIGN_CORNERS" => Ok(Sampling::LINEAR_CORNERS),
        "DEFAULT" => Ok(Sampling::LINEAR_ASYMMETRIC),
        other => Err(format!("sampling_mode = {other} is not read")),
    }
}

/// To a size.
fn resize(call: &mut Call<'_, '_>, sampling: Sampling) -> Decoded {
    let x = call.map()?;
    let size = |input| usize::try_from(call.integer(input)?).map_err(|_| format!("{input} is negative"));
    let size = [size("target_size_height")?, size("target_size_width")?];
    Ok((Op::Resize { sampling, size, scale: None }, vec![x]))
}

/// At the places of a grid whose −1 and 1 are the map's ends. What a program fills with beside another mode fills nothing.
fn grid_sample(call: &mut Call<'_, '_>) -> Decoded {
    let (x, grid) = (call.map()?, call.value("coordinates")?);
    let (sampling, places) = (call.word("sampling_mode")?, call.word("coordinates_mode")?);
    if (sampling, places) != ("bilinear", "normalized_minus_one_to_one") {
        return Err(format!("sampling_mode = {sampling} with coordinates_mode = {places} is not read"));
    }
    let corners = call.flag("align_corners")?;
    let outside = match (call.word("padding_mode")?, corners) {
        ("constant", _) if call.number("padding_value")? == 0.0 => Outside::Zeros,
        ("border", _) => Outside::Border,
        ("reflection", true) | ("symmetric", false) => Outside::Mirror,
        (other, _) => return Err(format!("padding_mode = {other} with align_corners = {corners} is not read")),
    };
    call.idle(&["padding_value"]);
    Ok((Op::GridSample { kernel: GridKernel::Linear, outside, corners }, vec![x, grid]))
}
