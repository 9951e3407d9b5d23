//! Carry channels through a depthwise convolution instead of joining them behind it.
//!
//! ```text
//! Given    y = [a ; dw([b ; c]; K, k)]             a depthwise convolution that keeps the map, read by nothing else
//! Result   y = dw([a ; b ; c]; [δ ; K], [0 ; k])   δ a kernel with a lone 1 under the output
//! ```
//!
//! Exact    output i of a convolution padded by p reads input i − p + u under tap u, so the tap u = p copies, borders
//!          included.
//!
//! One concatenation instead of two, for a kernel's worth of multiply-accumulates on a's channels: done where the
//! target's cost model says so.

use crate::algebra::{Linear, biases_or_zeros};
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::cost::{Price, Work};
use vitc_ir::{Builder, Built, Copier, Generator, Graph, NodeId, Op, PadMode, Real, Type, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("widen_depthwise", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let price = Price::new(graph, target, options.precision);
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let deep = match node.op {
            Op::Concat { axis: 1 } => node.inputs.iter().position(|&v| uses.once(v) && keeps_its_map(graph, v.node)),
            _ => None,
        };
        let inner = deep.map(|at| graph.node(node.inputs[at].node).inputs[0]);
        let pays = inner.filter(|&x| uses.once(x) && matches!(graph.op(x), Op::Concat { axis: 1 })).is_some_and(|x| {
            let (all, own) = (graph.shape(id.into()), graph.shape(x));
            let kernel = graph.shape(graph.node(node.inputs[deep.unwrap_or(0)].node).inputs[1]);
            let taps = kernel.dim(2) * kernel.dim(3);
            let carried = Work::convolution((all.dim(1) - own.dim(1)) * taps, 0, all.dim(2) * all.dim(3));
            let saved = Work::movement(price.elements(own));
            price.of(&Work { kernels: 0, ..carried }) < price.of(&saved)
        });
        match (deep, pays) {
            (Some(at), true) => {
                let y = widen(&mut copy, id, at)?;
                copy.set(id.into(), y);
                count += 1;
            }
            _ => {
                copy.node(id)?;
            }
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// A depthwise convolution with stride 1 whose result has the size of its operand.
fn keeps_its_map(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op {
        Op::Conv { stride: [1, 1], dilation: [1, 1], groups, .. } => {
            let x = graph.shape(node.inputs[0]);
            groups > 1 && groups == x.dim(1) && &node.types[0].shape == x && Linear::of(graph, id).is_some()
        }
        _ => false,
    }
}

fn widen(copy: &mut Copier, id: NodeId, at: usize) -> Built {
    let node = copy.old.node(id);
    let other = || copy.old.unfit(node.inputs[at], "is no depthwise convolution".into());
    let inner = Linear::of(copy.old, node.inputs[at].node).ok_or_else(other)?;
    let Op::Conv { stride, pad, .. } = inner.op else { return Err(other()) };
    let join = copy.old.producer(inner.x);
    let joined: Vec<Value> = join.inputs.iter().map(|&v| copy.get(v)).collect::<Built<_>>()?;
    let (w, b) = (copy.get(inner.w)?, inner.b.map(|b| copy.get(b)).transpose()?);
    let kernel = copy.new.fixed(w)?;

    let (mut values, mut kernels, mut biases) = (Vec::new(), Vec::new(), Vec::new());
    for (i, &input) in node.inputs.iter().enumerate() {
        if i == at {
            values.extend(&joined);
            kernels.push(w);
            biases.push(b);
            continue;
        }
        let value = copy.get(input)?;
        values.push(value);
        let mut net = Builder::within(&mut copy.new, &inner.path);
        let channels = net.dim(value, 1)?;
        let one = net.generate("one", Generator::Fill { value: Real(1.0) }, Type::f32(&[channels, 1, 1, 1]))?;
        let before = vec![0, 0, pad[0], pad[1]];
        let after = vec![0, 0, kernel[2] - 1 - pad[0], kernel[3] - 1 - pad[1]];
        kernels.push(net.push("w_carried", Op::Pad { before, after, mode: PadMode::ZERO }, &[one])?);
        biases.push(None);
    }
    let channels: Vec<usize> = kernels.iter().map(|&k| copy.new.shape(k).dim(0)).collect();
    let x = Builder::within(&mut copy.new, &node.path).concat("", &values, 1)?;
    let mut net = Builder::within(&mut copy.new, &inner.path);
    let w = net.concat("w", &kernels, 0)?;
    let b = if b.is_some() { Some(biases_or_zeros(&mut net, &biases, &channels)?) } else { None };
    let groups = channels.iter().sum();
    // The name stays free for this: the old convolution's copy is read by nothing.
    copy.new.find(&inner.path).map(|old| copy.new.release_path(old));
    Linear { op: Op::Conv { stride, pad, dilation: [1; 2], groups }, x, w, b, path: inner.path }.emit(&mut copy.new)
}
