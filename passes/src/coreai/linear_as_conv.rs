//! Say linear layers on one row per image as 1x1 convolutions.
//!
//! ```text
//! Given    y = W·x + b            x [B,C], half precision
//! Result   the same on a map [B,C,1,1] with W as a kernel, behind it [B,O]; a mean over the map in front of it keeps its axes
//! ```
//!
//! Exact    a 1x1 convolution is the same product at each position.
//!
//! Why: the vendor's runtime accumulates a convolution in f32 and a matrix product in f16, and its rules for the Neural Engine ask for 1x1 convolutions
//! anyway. Behind a mean over the map it costs no operation. Layers on tokens stay products: they would turn the tokens to channels first and back.

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashSet;
use vitc_ir::{Builder, Copier, DType, Dim, Graph, NodeId, Op, Shape};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("linear_as_conv", |t| t.conv_accumulates_f32, run);

fn run(graph: &Graph, context: &Context) -> Result {
    if context.options.precision != DType::F16 {
        return Ok(Rewritten::unchanged(graph));
    }
    let uses = graph.uses();
    let layer = |id: NodeId| {
        let rows = |l: &Linear| l.op == Op::Linear && graph.shape(l.x).rank() == 2 && !graph.is_constant(l.x);
        Linear::of(graph, id).filter(rows)
    };
    let reduced = |l: &Linear| matches!(graph.op(l.x), Op::Reduce { keep: false, .. }) && uses.once(l.x);
    let kept: HashSet<NodeId> =
        graph.nodes().filter_map(|(id, _)| layer(id)).filter(reduced).map(|l| l.x.node).collect();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if let (true, Op::Reduce { kind, axes, .. }) = (kept.contains(&id), &node.op) {
            let inputs = copy.inputs(id)?;
            let reduce = Op::Reduce { kind: *kind, axes: axes.clone(), keep: true };
            let mean = copy.new.push(reduce, &inputs, &node.path)?;
            copy.set(id.into(), mean.into());
            continue;
        }
        let Some(layer) = layer(id) else {
            copy.node(id)?;
            continue;
        };
        let [outputs, inputs] = [0, 1].map(|i| graph.shape(layer.w).dim(i));
        let map = Shape(vec![graph.shape(layer.x).0[0], Dim::Fixed(inputs), Dim::Fixed(1), Dim::Fixed(1)]);
        let (x, w) = (copy.get(layer.x)?, copy.constant(layer.w)?);
        let b = layer.b.map(|b| copy.constant(b)).transpose()?;
        let mut net = Builder::within(&mut copy.new, &layer.path);
        let x = if net.ty(x).shape == map { x } else { net.reshape("x", x, map)? };
        let w = net.reshape("kernel", w, Shape::fixed(&[outputs, inputs, 1, 1]))?;
        let op = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
        let y = Linear { op, x, w, b, path: format!("{}.map", layer.path) }.emit(&mut copy.new)?;
        let y = Builder::within(&mut copy.new, &layer.path).reshape("", y, node.types[0].shape.clone())?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}
