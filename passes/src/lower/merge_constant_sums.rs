//! Add a constant per token where a constant is added already.
//!
//! ```text
//! Given    (r + (m + a)) + c                                   Result   r + (m + (a + c))
//! Given    part i of split(r + (m + a)) along axis 0, + c      Result   part i of split(r + (m + (a + pad(c))))
//! ```
//!
//! with a, c constant: the bias of the last linear layer of a block, and the next block's position embedding.
//!
//! Exact    sums associate; the padding of c adds 0 to the other parts. Nothing else may read what changes. The sum in front takes the name of the
//!          sum that it now is; where it is one of parts, it gives up its own.

use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{HashMap, HashSet};
use vitc_ir::{BinaryKind, Builder, Copier, Graph, NodeId, Op, PadMode, Shape, Value};

/// A summand `c`, to be added `before` rows in and with `after` rows behind it.
struct Summand {
    c: Value,
    before: usize,
    after: usize,
}

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("merge_constant_sums", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut moved: HashMap<NodeId, Summand> = HashMap::new();
    let mut gone: HashMap<NodeId, Value> = HashMap::new();
    // The sums of all sites: no two sites share one, or a constant that moved would move again.
    let mut taken: HashSet<NodeId> = HashSet::new();
    for (id, node) in graph.run_time_nodes() {
        let Some((x, c)) = constant_sum(graph, id) else { continue };
        if !uses.once(x) {
            continue;
        }
        let (sum, before, after) = match graph.op(x) {
            Op::Split { axis: 0, sizes } => {
                let part = x.index as usize;
                (graph.producer(x).inputs[0], sizes[..part].iter().sum(), sizes[part + 1..].iter().sum())
            }
            _ => (x, 0, 0),
        };
        // A row of c per token, or one for all where there is nothing to pad.
        let rows =
            graph.shape(c).rank() == node.types[0].shape.rank() && graph.shape(c).0.first() == graph.shape(x).0.first();
        if !(uses.once(sum) && (rows || before + after == 0)) || *graph.op(sum) != Op::Binary(BinaryKind::Add) {
            continue;
        }
        let inner = graph.producer(sum).inputs.iter().map(|v| v.node);
        let Some(inner) = inner.filter(|&i| constant_sum(graph, i).is_some()).find(|&i| uses.once(i.into())) else {
            continue;
        };
        if graph.shape(inner.into()) != graph.shape(sum) || [id, sum.node, inner].iter().any(|n| taken.contains(n)) {
            continue;
        }
        taken.extend([id, sum.node, inner]);
        moved.insert(inner, Summand { c, before, after });
        gone.insert(id, x);
    }
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        if let (Some(Summand { c, before, after }), Some((m, a))) = (moved.get(&id), constant_sum(graph, id)) {
            let (m, a, mut c) = (copy.get(m)?, copy.constant(a)?, copy.constant(*c)?);
            let mut net = Builder::within(&mut copy.new, &node.path);
            let rank = net.ty(c).shape.rank();
            if before + after > 0 {
                let ends = |n: usize| [vec![n], vec![0; rank - 1]].concat();
                c = net.push(
                    "position",
                    Op::Pad { before: ends(*before), after: ends(*after), mode: PadMode::ZERO },
                    &[c],
                )?;
            }
            let all = net.binary("bias_and_position", BinaryKind::Add, a, c)?;
            let y = net.binary("", BinaryKind::Add, m, all)?;
            copy.set(id.into(), y);
        } else if let Some(&x) = gone.get(&id) {
            let split = matches!(graph.op(x), Op::Split { .. });
            let sum = if split { graph.producer(x).inputs[0] } else { x };
            let (x, sum) = (copy.get(x)?, copy.get(sum)?.node);
            if split {
                copy.new.release_path(sum);
            } else {
                copy.new.rename(sum, &node.path);
            }
            copy.set(id.into(), x);
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten::new(copy.finish()?, gone.len()))
}

/// `x + c` with c constant, the result in x's shape.
fn constant_sum(graph: &Graph, id: NodeId) -> Option<(Value, Value)> {
    let node = graph.node(id);
    if node.op != Op::Binary(BinaryKind::Add) || graph.is_constant(id.into()) {
        return None;
    }
    let at = node.inputs.iter().position(|&v| graph.is_constant(v))?;
    let (x, c) = (node.inputs[1 - at], node.inputs[at]);
    let same: &Shape = graph.shape(x);
    (*same == node.types[0].shape).then_some((x, c))
}
