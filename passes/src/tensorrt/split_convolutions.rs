//! Compute the parts of a split convolution apart.
//!
//! ```text
//! Given    a, b = split(conv(x; W, c)) along the channels, one group
//! Result   a = conv(x; W_a, c_a),  b = conv(x; W_b, c_b)
//! ```
//!
//! Exact    a row of W makes one channel, and the split cuts between rows.
//!
//! TensorRT copies channels out of a map before another convolution reads them, a kernel for each part; rows of weights are cut while compiling. Not
//! done for parts that only elementwise functions read, which take them where they lie. A convolution more for two copies less is ten kernels of
//! CAS-ViT-XS at any size (SM80, TensorRT-RTX 1.7); but on small maps the parts get streams of their own, whose waits count too: 197 for 167
//! as a classifier at 224, 232 for 202 with Semantic FPN at 256, 206 for 216 and 188 for 250 at 512. So it is done in graphs whose largest such map
//! has as many positions as the target says.

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::{Builder, Built, Copier, Graph, NodeId, Op, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("split_convolutions", |t| t.split_maps.is_some(), run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Some(least) = context.target.split_maps else { return Ok(Rewritten::unchanged(graph)) };
    let uses = graph.uses();
    let found: HashMap<NodeId, Linear> =
        graph.run_time_nodes().filter_map(|(id, _)| Some((id, split(graph, &uses, id)?))).collect();
    let positions = |id: &NodeId| graph.shape(Value::from(*id)).0[2..].iter().map(|d| d.fixed().unwrap_or(1)).product();
    if found.keys().map(positions).max().is_none_or(|largest: usize| largest < least) {
        return Ok(Rewritten::unchanged(graph));
    }
    let whole: Vec<NodeId> = found.keys().map(|&id| graph.node(id).inputs[0].node).collect();
    let mut copy = Copier::new(graph, graph.stage);
    for (id, _) in graph.nodes() {
        match found.get(&id) {
            Some(conv) => apart(&mut copy, id, conv)?,
            None if whole.contains(&id) => {}
            None => copy.node(id).map(drop)?,
        }
    }
    Ok(Rewritten::new(copy.finish()?, found.len()))
}

/// The convolution that this node splits for other convolutions.
fn split(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Linear> {
    let node = graph.node(id);
    let Op::Split { axis: 1, .. } = node.op else { return None };
    let source = node.inputs[0];
    let one_group = matches!(graph.op(source), Op::Conv { groups: 1, .. });
    let conv = Linear::of(graph, source.node).filter(|_| one_group && uses.once(source))?;
    let convolved = |index: usize| {
        let readers = uses.readers(Value { node: id, index: index as u32 }).iter();
        readers.into_iter().any(|r| r.slot == 0 && matches!(graph.node(r.node).op, Op::Conv { .. }))
    };
    (0..node.types.len()).any(convolved).then_some(conv)
}

/// The parts of a split, each a convolution of its own.
fn apart(copy: &mut Copier, id: NodeId, conv: &Linear) -> Built<()> {
    let Op::Split { sizes, .. } = &copy.old.node(id).op else { return Ok(()) };
    let x = copy.get(conv.x)?;
    let mut start = 0;
    for (index, &size) in sizes.iter().enumerate() {
        let rows = start..start + size;
        let mut inputs = vec![x];
        for (name, operand) in [("w", Some(conv.w)), ("b", conv.b)] {
            let Some(operand) = operand else { continue };
            let operand = copy.constant(operand)?;
            let mut net = Builder::within(&mut copy.new, format!("{}.{index}", conv.path));
            inputs.push(net.slice(name, operand, 0, rows.clone())?);
        }
        let mut net = Builder::within(&mut copy.new, format!("{}.{index}", conv.path));
        let part = net.push("", conv.op.clone(), &inputs)?;
        copy.set(Value { node: id, index: index as u32 }, part);
        start += size;
    }
    Ok(())
}
