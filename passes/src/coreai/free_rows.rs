//! Give the rows of a product the axes that they come with, or those that they leave with.
//!
//! ```text
//! Given    y = reshape(reshape(x)·B)       B constant [K,N]; x is […,K]
//! Result   y = reshape(x·B)
//! Given    y = reshape(reshape(x)·B)       y is […,N]
//! Result   y = reshape(x)·B
//! ```
//!
//! Exact    each row is multiplied by itself; how the rows are counted is nothing to the product.
//!
//! One reshape fewer. The dialect's product takes any axes in front of the last two.

use crate::pass::{Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::target::Format;
use vitc_ir::{Builder, Copier, Graph, NodeId, Op, Shape, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass =
    Pass::only("free_rows", |t| matches!(t.format, Format::CoreAi { .. }), |graph, _| run(graph));

/// What a product's rows become.
enum Rows {
    /// Those of what is behind its operand's reshape.
    Incoming,
    /// Those of the reshape that alone reads it.
    Outgoing(NodeId),
}

fn run(graph: &Graph) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    // What a reshape behind a product is already.
    let mut made: HashMap<NodeId, Value> = HashMap::new();
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if let Some(&y) = made.get(&id) {
            copy.set(id.into(), y);
            continue;
        }
        let Some(rows) = rows(graph, &uses, id) else {
            copy.node(id)?;
            continue;
        };
        let source = copy.get(graph.producer(node.inputs[0]).inputs[0])?;
        let b = copy.constant(node.inputs[1])?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let y = match rows {
            Rows::Incoming => {
                let y = net.push("", node.op.clone(), &[source, b])?;
                net.reshape("rows", y, node.types[0].shape.clone())?
            }
            Rows::Outgoing(reader) => {
                let mut shape = graph.shape(reader.into()).clone();
                if let (Some(last), Some(inner)) = (shape.0.last_mut(), graph.shape(node.inputs[1]).0.first()) {
                    *last = *inner;
                }
                let x = if net.ty(source).shape == shape { source } else { net.reshape("rows", source, shape)? };
                let y = net.push("", node.op.clone(), &[x, b])?;
                made.insert(reader, y);
                y
            }
        };
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The rows that save a reshape, if a node is a product of a reshape's with a constant and stands in front of reshapes.
fn rows(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Rows> {
    let (node, value) = (graph.node(id), Value::from(id));
    let plain = node.op == Op::MatMul { transpose_a: false, transpose_b: false };
    if !plain || !graph.is_constant(node.inputs[1]) || graph.shape(node.inputs[1]).rank() != 2 {
        return None;
    }
    let reshape = |v: Value| matches!(graph.op(v), Op::Reshape { .. }) && !graph.is_constant(v);
    let readers = uses.readers(value);
    let into_reshapes = readers.iter().all(|u| reshape(u.node.into())) && !uses.is_result(value);
    if !reshape(node.inputs[0]) || !uses.once(node.inputs[0]) || !into_reshapes {
        return None;
    }
    let source = graph.producer(node.inputs[0]).inputs[0];
    let last = |s: &Shape| if s.rank() < 2 { None } else { s.0.last().and_then(|d| d.fixed()) };
    let [inner, outer] = [0, 1].map(|i| graph.shape(node.inputs[1]).0[i].fixed());
    if last(graph.shape(source)) == inner {
        return Some(Rows::Incoming);
    }
    match readers {
        [only] if last(graph.shape(only.node.into())) == outer => Some(Rows::Outgoing(only.node)),
        _ => None,
    }
}
