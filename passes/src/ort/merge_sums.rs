//! Say a sum of sums as one sum.
//!
//! ```text
//! Given    (a + b) + c            one shape, or constants that broadcast to it; nothing else reads a + b
//! Result   sum(a, b, c)
//! ```
//!
//! Exact    sums associate. Only where the target has a sum of several values.
//!
//! So a bias behind a matrix product and the sum with the residual stream are one operator. A sum with a convolution that nothing else reads stays,
//! because runtimes add in the convolution.

use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::{BinaryKind, Built, Copier, Graph, NodeId, Op, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("merge_sums", |t| t.sum, run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let plain = |id: NodeId| {
        let node = graph.node(id);
        let operand = |&v: &Value| {
            let rides = matches!(graph.op(v), Op::Conv { .. }) && uses.once(v);
            (graph.is_constant(v) || graph.ty(v) == &node.types[0]) && !rides
        };
        let floats = node.types[0].dtype.is_float();
        floats && node.op == Op::Binary(BinaryKind::Add) && node.inputs.iter().all(operand)
    };
    // Operands of each sum, those of sums that it alone reads in their place.
    let mut operands: HashMap<NodeId, Vec<Value>> = HashMap::new();
    for (id, node) in graph.run_time_nodes().filter(|(id, _)| plain(*id)) {
        let parts = node.inputs.iter().flat_map(|&v| match operands.get(&v.node) {
            Some(inner) if uses.once(v) => inner.clone(),
            _ => vec![v],
        });
        let parts: Vec<Value> = parts.collect();
        operands.insert(id, parts);
    }
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        match operands.get(&id).filter(|parts| parts.len() > 2) {
            Some(parts) => {
                let parts: Vec<Value> = parts.iter().map(|&v| copy.get(v)).collect::<Built<_>>()?;
                let sum = copy.new.push(Op::Sum, &parts, &node.path)?;
                copy.set(id.into(), sum.into());
                count += 1;
            }
            None => {
                copy.node(id)?;
            }
        }
    }
    // Inner sums that the outer ones replace are dead, and left to the caller's pruning.
    Ok(Rewritten::new(copy.finish()?, count))
}
