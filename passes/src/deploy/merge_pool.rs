//! Merge an average pool into the depthwise convolution in front of it.
//!
//! ```text
//! Given    y = average(conv(x; w, b))      one kernel kh x kw per channel, stride 1; pool ph x pw, stride s, unpadded
//! Result   y = conv(x; w', b)              kernel (kh + ph − 1) x (kw + pw − 1), stride s, padding of w
//! with     w' = Σ shifted w / (ph·pw)
//! ```
//!
//! Exact    both are sums over taps, and the pool reads nothing beyond the convolution's result, so the borders see the
//!          same zeros. Fewer multiply-accumulates whenever the pool strides: `(kh+ph−1)(kw+pw−1)` per result instead
//!          of `kh·kw` per position.

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, Op, PadMode, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("merge_pool", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Op::AvgPool { kernel, stride, pad } = node.op else {
            copy.node(id)?;
            continue;
        };
        let x = node.inputs[0];
        let linear = Linear::of(graph, x.node).filter(|_| uses.once(x) && pad == [0; 4]);
        let merged = linear.and_then(|l| {
            let outputs = l.outputs(graph);
            let Op::Conv { stride: [1, 1], pad, dilation: [1, 1], groups } = l.op else { return None };
            let taps = graph.shape(l.w).as_fixed()?;
            let ([kh, kw], [ph, pw]) = ([taps[2], taps[3]], kernel);
            let macs = |side: [usize; 2], per: usize| side[0] * side[1] * per;
            let map = |v: Value| [graph.shape(v).dim(2), graph.shape(v).dim(3)];
            let cheaper = macs(map(id.into()), (kh + ph - 1) * (kw + pw - 1)) < macs(map(x), kh * kw);
            (groups == outputs && cheaper).then_some((l, pad, groups))
        });
        let Some((linear, pad, groups)) = merged else {
            copy.node(id)?;
            continue;
        };
        let w = copy.constant(linear.w)?;
        let bias = linear.b.map(|b| copy.constant(b)).transpose()?;
        let input = copy.get(linear.x)?;
        let path = copy.old.node(x.node).path.clone();
        let mut net = Builder::within(&mut copy.new, &node.path);
        let w = spread(&mut net, w, kernel)?;
        let new = copy.get(x)?.node;
        copy.new.release_path(new);
        let inputs: Vec<Value> = [input, w].into_iter().chain(bias).collect();
        let op = Op::Conv { stride, pad, dilation: [1; 2], groups };
        let y = copy.new.push(op, &inputs, &path)?;
        copy.set(id.into(), y.into());
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The mean of `w` shifted to every position of the pool: one axis after the other.
fn spread(net: &mut Builder, w: Value, kernel: [usize; 2]) -> Built {
    let mut w = w;
    for (axis, n) in [2, 3].into_iter().zip(kernel) {
        let shifted = |net: &mut Builder, i: usize| {
            let (mut before, mut after) = (vec![0; 4], vec![0; 4]);
            before[axis] = i;
            after[axis] = n - 1 - i;
            net.push("shifted", Op::Pad { before, after, mode: PadMode::ZERO }, &[w])
        };
        let mut sum = shifted(net, 0)?;
        for i in 1..n {
            let next = shifted(net, i)?;
            sum = net.binary("sum", BinaryKind::Add, sum, next)?;
        }
        w = sum;
    }
    let positions = net.scalar((kernel[0] * kernel[1]) as f64)?;
    net.binary("w", BinaryKind::Div, w, positions)
}
