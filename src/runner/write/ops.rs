//! Every operator in ONNX: one match.

use super::formulas::{
    avg_pool, batch_norm, clip, elu, gelu, gelu_tanh, hard_sigmoid, hard_swish, layer_norm, leaky_relu, linear, prelu,
    quantize, silu, sum, transposed,
};
use super::parts::Parts;
use super::sample::{conv_transpose, depth_to_space, grid_sample, max_pool, mirror, resize, space_to_depth};
use super::step::Step;
use super::writer::element;
use vitc_ir::op::{BinaryKind, PadMode, ReduceKind, SliceAxis};
use vitc_ir::{DType, Op, UnaryKind};

/// The step that makes result `index` of the node.
pub(super) fn spell(p: &mut Parts<'_, '_>, index: usize) -> Result<Step, String> {
    let node = p.node;
    Ok(match &node.op {
        Op::Unary(kind) => unary(p, *kind),
        Op::Binary(kind) => Step::new(binary(*kind), [p.read(0), p.read(1)]),
        Op::Sum => sum(p),
        Op::Clip { lo, hi } => clip(p, lo.0, hi.0),
        Op::Select => Step::new("Where", [p.read(0), p.read(1), p.read(2)]),
        Op::Prelu => prelu(p),
        Op::Cast { to } => Step::new("Cast", [p.read(0)]).int("to", element(*to) as i64),

        Op::Conv { stride, pad, dilation, groups } => {
            let operands: Vec<String> = (0..node.inputs.len()).map(|i| p.read(i)).collect();
            let conv = Step::new("Conv", operands).ints("strides", stride).ints("pads", pad);
            conv.ints("dilations", dilation).int("group", *groups as i64)
        }
        Op::ConvTranspose { stride, pad, dilation, groups, .. } => conv_transpose(p, *stride, *pad, *dilation, *groups),
        Op::MatMul { transpose_a, transpose_b } => {
            let a = if *transpose_a { transposed(p, 0) } else { p.read(0) };
            let b = if *transpose_b { transposed(p, 1) } else { p.read(1) };
            Step::new("MatMul", [a, b])
        }
        Op::Linear => linear(p),

        Op::BatchNorm { eps } => batch_norm(p, eps.0),
        Op::LayerNorm { axes, eps } => layer_norm(p, axes, eps.0),
        Op::Softmax { axis } => Step::new("Softmax", [p.read(0)]).int("axis", *axis as i64),
        Op::Reduce { kind, axes, keep } => reduce(p, *kind, axes, *keep),
        Op::AvgPool { kernel, stride, pad } => avg_pool(p, *kernel, *stride, *pad),
        Op::MaxPool { kernel, stride, pad, dilation } => max_pool(p, *kernel, *stride, *pad, *dilation),
        Op::ArgMax { axis, keep } => {
            Step::new("ArgMax", [p.read(0)]).int("axis", *axis as i64).int("keepdims", i64::from(*keep))
        }

        Op::TopK { axis, k, largest } => top_k(p, [*axis, *k], *largest).one_of(index, 2),
        Op::Reshape { .. } => {
            let shape = p.integers(p.result(0));
            Step::new("Reshape", [p.read(0), shape])
        }
        Op::Transpose { perm } => Step::new("Transpose", [p.read(0)]).ints("perm", perm),
        Op::Concat { axis } => {
            let operands: Vec<String> = (0..node.inputs.len()).map(|i| p.read(i)).collect();
            Step::new("Concat", operands).int("axis", *axis as i64)
        }
        Op::Split { axis, sizes } => {
            let start = sizes[..index].iter().sum();
            slice(p, &[SliceAxis { axis: *axis, start, stop: start + sizes[index], step: 1 }])
        }
        Op::Slice { cuts } => slice(p, cuts),
        Op::Pad { before, after, mode: PadMode::Constant(value) } => pad(p, before, after, value.0),
        Op::Pad { before, after, mode } => mirror(p, before, after, *mode),
        Op::DepthToSpace { block, order } => depth_to_space(p, *block, *order),
        Op::SpaceToDepth { block } => space_to_depth(p, *block),
        Op::Gather { axis, .. } => Step::new("Gather", [p.read(0), p.read(1)]).int("axis", *axis as i64),
        Op::Expand { .. } => {
            let shape = p.integers(p.result(0));
            Step::new("Expand", [p.read(0), shape])
        }
        Op::Resize { sampling, size, scale } => resize(p, sampling, *size, *scale),

        Op::GridSample { kernel, outside, corners } => grid_sample(p, *kernel, *outside, *corners)?,

        Op::Quantize { to } => quantize(p, *to),
        Op::Dequantize => dequantize(p),
        Op::Lookup { .. } => return Err("looks up codes that are computed at run time".into()),

        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) | Op::Keep => {
            return Err("computes nothing at run time".into());
        }
        Op::Attention { .. }
        | Op::Rfft2 { .. }
        | Op::Irfft2 { .. }
        | Op::Dct2
        | Op::Idct2
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => return Err("stands for its definition, which was not put in its place".into()),
    })
}

fn top_k(p: &mut Parts<'_, '_>, [axis, k]: [usize; 2], largest: bool) -> Step {
    let k = p.integers([k]);
    Step::new("TopK", [p.read(0), k]).int("axis", axis as i64).int("largest", i64::from(largest))
}

fn dequantize(p: &mut Parts<'_, '_>) -> Step {
    let (codes, scale) = (p.read(0), p.wide(1));
    let codes = p.push(Step::new("Cast", [codes]).int("to", element(DType::F32) as i64));
    Step::new("Mul", [codes, scale])
}

fn reduce(p: &mut Parts<'_, '_>, kind: ReduceKind, axes: &[usize], keep: bool) -> Step {
    if kind == ReduceKind::L2 {
        return euclidean_norm(p, axes, keep);
    }
    let x = p.read(0);
    if axes.is_empty() {
        return Step::new("Identity", [x]);
    }
    let step = match kind {
        ReduceKind::Sum | ReduceKind::L2 => {
            let axes = p.integers(axes.iter().copied());
            Step::new("ReduceSum", [x, axes])
        }
        ReduceKind::Mean => Step::new("ReduceMean", [x]).ints("axes", axes),
        ReduceKind::Max => Step::new("ReduceMax", [x]).ints("axes", axes),
        ReduceKind::Min => Step::new("ReduceMin", [x]).ints("axes", axes),
        ReduceKind::Prod => Step::new("ReduceProd", [x]).ints("axes", axes),
    };
    step.int("keepdims", i64::from(keep))
}

/// The root of the sum of squares, which may be too large for half precision.
fn euclidean_norm(p: &mut Parts<'_, '_>, axes: &[usize], keep: bool) -> Step {
    let x = p.wide(0);
    let mut sum = p.push(Step::new("Mul", [x.clone(), x]));
    if !axes.is_empty() {
        let axes = p.integers(axes.iter().copied());
        sum = p.push(Step::new("ReduceSum", [sum, axes]).int("keepdims", i64::from(keep)));
    }
    Step::new("Sqrt", [sum])
}

fn pad(p: &mut Parts<'_, '_>, before: &[usize], after: &[usize], value: f64) -> Step {
    let pads = p.integers(before.iter().chain(after).copied());
    if value == 0.0 {
        return Step::new("Pad", [p.read(0), pads]);
    }
    let (x, value) = match p.is_whole(0) {
        true => (p.read(0), p.integer(value)),
        false => (p.wide(0), p.floats(&[], &[value])),
    };
    Step::new("Pad", [x, pads, value])
}

fn unary(p: &mut Parts<'_, '_>, kind: UnaryKind) -> Step {
    let op = match kind {
        UnaryKind::Gelu => return gelu(p),
        UnaryKind::Silu => return silu(p),
        UnaryKind::Relu => "Relu",
        UnaryKind::Sigmoid => "Sigmoid",
        UnaryKind::Tanh => "Tanh",
        UnaryKind::Erf => "Erf",
        UnaryKind::Sqrt => "Sqrt",
        UnaryKind::Exp => "Exp",
        UnaryKind::Abs => "Abs",
        UnaryKind::Neg => "Neg",
        UnaryKind::GeluTanh => return gelu_tanh(p),
        UnaryKind::HardSwish => return hard_swish(p),
        UnaryKind::Elu { alpha } => return elu(p, alpha.0),
        UnaryKind::LeakyRelu { slope } => return leaky_relu(p, slope.0),
        UnaryKind::HardSigmoid { alpha, beta } => return hard_sigmoid(p, alpha.0, beta.0),
        UnaryKind::Log => "Log",
        UnaryKind::Sin => "Sin",
        UnaryKind::Cos => "Cos",
        UnaryKind::Floor => "Floor",
        UnaryKind::Ceil => "Ceil",
        UnaryKind::Round => "Round",
        UnaryKind::Sign => "Sign",
        UnaryKind::Softplus => "Softplus",
    };
    Step::new(op, [p.read(0)])
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

fn slice(p: &mut Parts<'_, '_>, cuts: &[SliceAxis]) -> Step {
    let starts = p.integers(cuts.iter().map(|c| c.start));
    let ends = p.integers(cuts.iter().map(|c| c.stop));
    let axes = p.integers(cuts.iter().map(|c| c.axis));
    let steps = p.integers(cuts.iter().map(|c| c.step));
    Step::new("Slice", [p.read(0), starts, ends, axes, steps])
}
