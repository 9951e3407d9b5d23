//! Spell transposed convolutions where the target has only some of them.
//!
//! ```text
//! Given    y = conv_transpose(x; w, b)      stride s, padding p, o more at the end, dilation d
//! Result   holes     w' = w with zeros in its holes, dilation 1
//!          borders   z = conv_transpose(x; w), the whole map; y = z without p at each side, with o − p zeros at the end if that is more, and then + b
//! ```
//!
//! Exact    a weight in a hole adds nothing, and the rows beyond the whole map hold the bias alone.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::op::SliceAxis;
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, Op, PadMode, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_transposed", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Op::ConvTranspose { stride, pad, output_pad, dilation, groups } = node.op else {
            copy.node(id)?;
            continue;
        };
        let dense = target.transposed_dilation || stride == [1; 2] || dilation == [1; 2];
        let whole = target.transposed_pad || (pad == [0; 4] && output_pad == [0; 2]);
        if dense && whole || graph.is_constant(id.into()) {
            copy.node(id)?;
            continue;
        }
        let mut inputs = copy.inputs(id)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let mut dilation = dilation;
        if !dense {
            inputs[1] = filled(&mut net, inputs[1], dilation)?;
            dilation = [1; 2];
        }
        // Without the holes fewer rows may be added.
        let whole = whole && (0..2).all(|i| output_pad[i] < stride[i].max(dilation[i]));
        let op = |pad, output_pad| Op::ConvTranspose { stride, pad, output_pad, dilation, groups };
        let y = if whole {
            net.push("", op(pad, output_pad), &inputs)?
        } else {
            let bias = inputs.get(2).copied();
            let z = net.push("whole", op([0; 4], [0; 2]), &inputs[..2])?;
            borders(&mut net, z, bias, pad, output_pad)?
        };
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// `[…,kh,kw]` as `[…,(kh−1)·d+1,(kw−1)·d+1]`: each element with the zeros behind it, the last ones cut off.
fn filled(net: &mut Builder, w: Value, dilation: [usize; 2]) -> Built {
    let [c, o, h, v] =
        <[usize; 4]>::try_from(net.fixed(w)?).map_err(|_| net.graph().unfit(w, "is no kernel".into()))?;
    let view = net.reshape("w_apart", w, Shape::fixed(&[c * o, h, 1, v, 1]))?;
    let after = vec![0, 0, dilation[0] - 1, 0, dilation[1] - 1];
    let holes = net.push("w_holes", Op::Pad { before: vec![0; 5], after, mode: PadMode::ZERO }, &[view])?;
    let all = net.reshape("w_long", holes, Shape::fixed(&[c, o, h * dilation[0], v * dilation[1]]))?;
    let cut = |axis: usize, n: usize, d: usize| SliceAxis { axis, start: 0, stop: (n - 1) * d + 1, step: 1 };
    net.push("w", Op::Slice { cuts: vec![cut(2, h, dilation[0]), cut(3, v, dilation[1])] }, &[all])
}

/// The result out of the whole map, whose bias is still to come.
fn borders(net: &mut Builder, z: Value, bias: Option<Value>, pad: [usize; 4], more: [usize; 2]) -> Built {
    let mut y = z;
    let mut cuts = Vec::new();
    let mut after = vec![0; 4];
    for i in 0..2 {
        let whole = net.dim(z, 2 + i)?;
        let (start, stop) = (pad[i], whole - pad[2 + i].saturating_sub(more[i]));
        if (start, stop) != (0, whole) {
            cuts.push(SliceAxis { axis: 2 + i, start, stop, step: 1 });
        }
        after[2 + i] = more[i].saturating_sub(pad[2 + i]);
    }
    let grows = after.iter().any(|&n| n > 0);
    if !cuts.is_empty() {
        y = net.push(if bias.is_none() && !grows { "" } else { "cut" }, Op::Slice { cuts }, &[y])?;
    }
    if grows {
        let op = Op::Pad { before: vec![0; 4], after, mode: PadMode::ZERO };
        y = net.push(if bias.is_none() { "" } else { "grown" }, op, &[y])?;
    }
    match bias {
        None => Ok(y),
        Some(bias) => {
            let channels = net.dim(y, 1)?;
            let bias = net.reshape("bias", bias, Shape::fixed(&[channels, 1, 1]))?;
            net.binary("", BinaryKind::Add, y, bias)
        }
    }
}
