//! Say two layers on few rows, whose weights no cache holds, as 1x1 convolutions.
//!
//! ```text
//! Given    y = W₂·f(W₁·x + b₁) + b₂        x [n,k,C], n·k fixed; f elementwise; nothing else reads between
//! Result   the same on a map [1,C,n·k,1] with W₁ and W₂ as kernels, moved back behind it
//! ```
//!
//! Exact    a 1x1 convolution is the same product at each position; elements are moved, not computed.
//!
//! Why: with few rows a product waits for its weights, and ONNX Runtime's convolution reads them faster than its matrix product. The moves at both
//! ends ride on the change to the convolution's own layout. How few rows and how large weights is the target's data.

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Builder, Built, Copier, DType, Graph, NodeId, Op, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("linear_to_conv", |t| t.streamed_weights.is_some(), run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let Some((most_rows, least_bytes)) = target.streamed_weights.filter(|_| options.precision == DType::F32) else {
        return Ok(Rewritten::unchanged(graph));
    };
    let uses = graph.uses();
    let layer = |id: NodeId| {
        let large = |l: &Linear| DType::F32.bytes_of(graph.shape(l.w).elements()) >= least_bytes;
        Linear::of(graph, id).filter(|l| l.op == Op::Linear && large(l))
    };
    let site = |id: NodeId| {
        let second = layer(id)?;
        let act = graph.producer(second.x);
        let first = layer(act.inputs.first()?.node)?;
        let rows = graph.shape(first.x).as_fixed()?.split_last()?.1.iter().product::<usize>();
        let alone = uses.once(second.x) && uses.once(act.inputs[0]);
        let fits = matches!(act.op, Op::Unary(_)) && alone && rows <= most_rows;
        (fits && graph.shape(first.x).rank() > target.linear_rank).then_some((first, second, rows))
    };
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some((first, second, rows)) = site(id) else {
            copy.node(id)?;
            continue;
        };
        let act = graph.producer(second.x);
        for old in [act.inputs[0], second.x] {
            let replaced = copy.get(old)?.node;
            copy.new.release_path(replaced);
        }
        let inputs = graph.shape(first.w).dim(1);
        let x = copy.get(first.x)?;
        let mut kernel = |l: &Linear| -> Built<(Value, Option<Value>)> {
            let dims = graph.fixed(l.w)?;
            let (w, b) = (copy.constant(l.w)?, l.b.map(|b| copy.constant(b)).transpose()?);
            let kernel = Shape::fixed(&[dims[0], dims[1], 1, 1]);
            Ok((Builder::within(&mut copy.new, &l.path).reshape("kernel", w, kernel)?, b))
        };
        let ((w1, b1), (w2, b2)) = (kernel(&first)?, kernel(&second)?);
        let mut net = Builder::within(&mut copy.new, &first.path);
        let x = net.reshape("rows", x, Shape::fixed(&[1, rows, 1, inputs]))?;
        let x = net.transpose("map", x, &[0, 3, 1, 2])?;
        let op = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
        let y = Linear { op: op.clone(), x, w: w1, b: b1, path: first.path }.emit(&mut copy.new)?;
        let y = Builder::within(&mut copy.new, &act.path).push("", act.op.clone(), &[y])?;
        let y = Linear { op, x: y, w: w2, b: b2, path: format!("{}.map", node.path) }.emit(&mut copy.new)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let y = net.transpose("rows", y, &[0, 2, 3, 1])?;
        let y = net.reshape("", y, node.types[0].shape.clone())?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}
