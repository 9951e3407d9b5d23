//! Operators in ONNX: one match, one node each.
//!
//! Invariant: an operator is spelled by the one ONNX operator that computes it, with its operands in ONNX's order, and
//! every attribute whose default depends on the opset written out. What ONNX says in several nodes was said by a
//! lowering before; here it is an error.

use super::builder::{Builder, Spelling, elem_type};
use vitc_ir::op::{AttentionLayout, BinaryKind, Op, ReduceKind, ResizeMode, SliceAxis, UnaryKind};
use vitc_ir::{DType, Node, Real, Shape};

/// Spell a run-time node; the reason if a lowering should have replaced it.
pub(super) fn spell(b: &mut Builder<'_>, node: &Node) -> Result<Spelling, String> {
    let graph = b.graph;
    let shape = |i: usize| graph.shape(node.inputs[i]);
    let dtype = |i: usize| graph.ty(node.inputs[i]).dtype;
    if let Some(&odd) = node.inputs.iter().find(|&&v| graph.ty(v).dtype.is_float() && graph.ty(v).dtype != dtype(0)) {
        return Err(format!("ONNX takes operands of one element type, found {} and {}", dtype(0), graph.ty(odd)));
    }
    match &node.op {
        Op::Unary(kind) => Ok(Spelling::new(unary(*kind, b.opset)?, b.read_all(&node.inputs))),
        Op::Binary(kind) => {
            let op = match kind {
                BinaryKind::Add => "Add",
                BinaryKind::Sub => "Sub",
                BinaryKind::Mul => "Mul",
                BinaryKind::Div => "Div",
                BinaryKind::Max => "Max",
                BinaryKind::Min => "Min",
            };
            Ok(Spelling::new(op, b.read_all(&node.inputs)))
        }
        Op::Clip { lo, hi } => {
            let mut bound = |v: Real| if v.0.is_infinite() { Ok(String::new()) } else { b.scalar(v, dtype(0)) };
            let bounds = [bound(*lo)?, bound(*hi)?];
            let mut inputs = b.read_all(&node.inputs);
            inputs.extend(bounds);
            if hi.0.is_infinite() {
                inputs.pop();
            }
            Ok(Spelling::new("Clip", inputs))
        }
        Op::Prelu => {
            // ONNX aligns the slope with the last axes: [C] becomes [C,1,1], the same elements under another shape.
            let slope = node.inputs[1];
            let mut dims = vec![1; shape(0).rank() - 1];
            dims[0] = shape(1).elements();
            let name = match graph.is_stored(slope) {
                true => b.read_as(slope, &Shape::fixed(&dims)),
                false if dims.len() == 1 || dims[0] == 1 => b.read(slope),
                false => return Err("a slope that is computed at run time needs its shape [C,1,…] first".into()),
            };
            Ok(Spelling::new("PRelu", vec![b.read(node.inputs[0]), name]))
        }
        Op::Cast { to } => {
            let code = i64::from(elem_type(*to));
            Ok(Spelling::new("Cast", b.read_all(&node.inputs)).int("to", code))
        }

        Op::Conv { stride, pad, groups } => {
            let kernel = [shape(1).dim(2), shape(1).dim(3)];
            let conv = Spelling::new("Conv", b.read_all(&node.inputs));
            let conv = conv.int("group", *groups as i64).ints("kernel_shape", &kernel);
            Ok(conv.ints("pads", pad).ints("strides", stride))
        }
        Op::MatMul { transpose_a: false, transpose_b: false } => Ok(Spelling::new("MatMul", b.read_all(&node.inputs))),
        Op::MatMul { .. } => Err("MatMul does not transpose its operands".into()),
        Op::Linear if shape(0).rank() == 2 => Ok(Spelling::new("Gemm", b.read_all(&node.inputs)).int("transB", 1)),
        Op::Linear => Err(format!("Gemm takes a matrix, found rank {}", shape(0).rank())),

        Op::BatchNorm { eps } => {
            Ok(Spelling::new("BatchNormalization", b.read_all(&node.inputs)).float("epsilon", *eps))
        }
        Op::LayerNorm { axes, eps } => {
            let (x, rank) = (shape(0), shape(0).rank());
            if !axes.iter().copied().eq(rank - axes.len()..rank) {
                return Err(format!("LayerNormalization takes the last axes, found {axes:?} of rank {rank}"));
            }
            let sizes: Vec<usize> = axes.iter().map(|&a| x.dim(a)).collect();
            if let Some(&odd) = node.inputs[1..].iter().find(|&&v| graph.shape(v) != &Shape::fixed(&sizes)) {
                return Err(format!(
                    "LayerNormalization takes scale and bias of shape {sizes:?}, found {}",
                    graph.ty(odd)
                ));
            }
            let mut inputs = b.read_all(&node.inputs);
            if inputs.len() == 1 {
                inputs.push(b.ones(dtype(0), &sizes)); // ONNX requires a scale
            }
            // stash_type 1: statistics in f32, also for f16.
            let norm = Spelling::new("LayerNormalization", inputs).int("axis", -(axes.len() as i64));
            Ok(norm.float("epsilon", *eps).int("stash_type", 1))
        }
        Op::Softmax { axis } => Ok(Spelling::new("Softmax", b.read_all(&node.inputs)).int("axis", *axis as i64)),

        Op::Reduce { axes, .. } if axes.is_empty() => Err("a reduction over no axis is the identity".into()),
        Op::Reduce { kind, axes, keep } => {
            let (op, axes_are_input) = match kind {
                ReduceKind::Sum => ("ReduceSum", true),
                ReduceKind::Mean => ("ReduceMean", b.opset >= 18),
                ReduceKind::Max => ("ReduceMax", b.opset >= 18),
            };
            let mut inputs = b.read_all(&node.inputs);
            if axes_are_input {
                inputs.push(b.ints(axes.iter().copied()));
            }
            let reduce = Spelling::new(op, inputs).int("keepdims", i64::from(*keep));
            Ok(if axes_are_input { reduce } else { reduce.ints("axes", axes) })
        }
        Op::AvgPool { kernel, stride, pad } => {
            let pool = Spelling::new("AveragePool", b.read_all(&node.inputs)).int("count_include_pad", 0);
            Ok(pool.ints("kernel_shape", kernel).ints("pads", pad).ints("strides", stride))
        }

        Op::Reshape { shape } => {
            let inputs = vec![b.read(node.inputs[0]), b.shape(shape)];
            Ok(Spelling::new("Reshape", inputs))
        }
        Op::Transpose { perm } => Ok(Spelling::new("Transpose", b.read_all(&node.inputs)).ints("perm", perm)),
        Op::Sum => Ok(Spelling::new("Sum", b.read_all(&node.inputs))),
        Op::Concat { axis } => Ok(Spelling::new("Concat", b.read_all(&node.inputs)).int("axis", *axis as i64)),
        Op::Split { axis, sizes } => {
            let inputs = vec![b.read(node.inputs[0]), b.ints(sizes.iter().copied())];
            Ok(Spelling::new("Split", inputs).int("axis", *axis as i64))
        }
        Op::Slice { cuts } => {
            let mut list = |f: fn(&SliceAxis) -> usize| b.ints(cuts.iter().map(f));
            let mut operands = vec![list(|c| c.start), list(|c| c.stop), list(|c| c.axis)];
            if cuts.iter().any(|c| c.step != 1) {
                operands.push(list(|c| c.step));
            }
            operands.insert(0, b.read(node.inputs[0]));
            Ok(Spelling::new("Slice", operands))
        }
        Op::Pad { before, after } => {
            let inputs = vec![b.read(node.inputs[0]), b.ints(before.iter().chain(after).copied())];
            Ok(Spelling::new("Pad", inputs).string("mode", "constant"))
        }
        Op::Gather { axis, .. } => Ok(Spelling::new("Gather", b.read_all(&node.inputs)).int("axis", *axis as i64)),
        Op::Expand { shape: to } => {
            let from = shape(0);
            let own = |i: usize| (i + from.rank()).checked_sub(to.rank()).map(|i| from.0[i]);
            // Broadcasting goes both ways: a size of 1 leaves the operand's own, whatever it is.
            let sizes = to.0.iter().enumerate().map(|(i, &d)| if own(i) == Some(d) { Some(1) } else { d.fixed() });
            let sizes: Option<Vec<usize>> = sizes.collect();
            let sizes = sizes.ok_or_else(|| format!("Expand to {to} needs shape arithmetic"))?;
            let inputs = vec![b.read(node.inputs[0]), b.ints(sizes.into_iter())];
            Ok(Spelling::new("Expand", inputs))
        }
        Op::Resize { mode, size } => resize(b, node, *mode, *size),
        Op::Attention { scale, layout: AttentionLayout::Heads, talking: false, .. } => {
            if b.opset < 23 {
                return Err(format!("Attention exists from opset 23, this is {}", b.opset));
            }
            let attention = Spelling::new("Attention", b.read_all(&node.inputs)).float("scale", *scale);
            // Softmax in f32, also for f16.
            let float = i64::from(elem_type(DType::F32));
            Ok(if dtype(0) == DType::F16 { attention.int("softmax_precision", float) } else { attention })
        }

        Op::Keep => Err("it is read through, not an operation".into()),
        Op::Input
        | Op::Weight { .. }
        | Op::Literal { .. }
        | Op::Generate(_)
        | Op::Attention { .. }
        | Op::Rfft2 { .. }
        | Op::Irfft2 { .. }
        | Op::Dct2
        | Op::Idct2
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => Err("a lowering spells it in other operators".into()),
    }
}

fn unary(kind: UnaryKind, opset: u32) -> Result<&'static str, String> {
    Ok(match kind {
        UnaryKind::Relu => "Relu",
        UnaryKind::Gelu if opset >= 20 => "Gelu",
        UnaryKind::Gelu => return Err(format!("Gelu exists from opset 20, this is {opset}")),
        UnaryKind::Silu => return Err("Swish exists from opset 24".into()),
        UnaryKind::Sigmoid => "Sigmoid",
        UnaryKind::Tanh => "Tanh",
        UnaryKind::Erf => "Erf",
        UnaryKind::Sqrt => "Sqrt",
        UnaryKind::Exp => "Exp",
        UnaryKind::Abs => "Abs",
        UnaryKind::Neg => "Neg",
    })
}

/// Scales where they are exact in f32, since TensorRT builds them best and they leave the batch alone; sizes else.
/// Readers divide by a rounded scale: between samples that moves the weights by an ulp, but at the edge of a nearest
/// sample it takes the neighbour (14 to 2 in ONNX Runtime 1.31), so nearest needs an exact one.
fn resize(b: &mut Builder<'_>, node: &Node, mode: ResizeMode, size: [usize; 2]) -> Result<Spelling, String> {
    let x = b.graph.shape(node.inputs[0]).clone();
    let scale = |i: usize| {
        let scale = size[i] as f32 / x.dim(2 + i) as f32;
        (f64::from(scale) * x.dim(2 + i) as f64 == size[i] as f64).then_some(scale)
    };
    if mode == ResizeMode::Nearest && (scale(0).is_none() || scale(1).is_none()) {
        return Err(format!("nearest from {x} to {size:?} has a ratio that f32 rounds; a gather per axis is exact"));
    }
    let mut inputs = vec![b.read(node.inputs[0]), String::new()];
    let mut axes = None;
    match (scale(0), scale(1), x.0[0].fixed()) {
        (Some(h), Some(w), _) => inputs.push(b.floats(&[1.0, 1.0, h, w])),
        (_, _, Some(batch)) => inputs.extend([String::new(), b.ints([batch, x.dim(1), size[0], size[1]])]),
        _ if b.opset >= 18 => {
            axes = Some([2, 3]);
            inputs.extend([String::new(), b.ints(size)]);
        }
        _ => return Err(format!("a resize from {x} to {size:?} with a symbolic batch needs opset 18")),
    }
    let mut resize = Spelling::new("Resize", inputs);
    if let Some(axes) = axes {
        resize = resize.ints("axes", &axes);
    }
    Ok(match mode {
        ResizeMode::Nearest => resize
            .string("coordinate_transformation_mode", "asymmetric")
            .string("mode", "nearest")
            .string("nearest_mode", "floor"),
        ResizeMode::Bilinear => resize.string("coordinate_transformation_mode", "half_pixel").string("mode", "linear"),
    })
}
