//! Say elementwise arithmetic between reshapes on one last axis instead of several.
//!
//! ```text
//! Given    y = reshape(f(reshape(a), reshape(b)))      f on […,H,W]; a is […,H·W]; each operand has all of H and W or neither
//! Result   the same with f on […,H·W]
//! ```
//!
//! Exact    an elementwise operator does not ask which axis an element stands on.
//!
//! The operator then lies on the axis on which the product in front of it left its rows, so that [`super::free_rows`] finds nothing to turn between them.

use crate::pass::{Pass, Result, Rewritten};
use vitc_ir::target::Format;
use vitc_ir::{Builder, Copier, Dim, Graph, NodeId, Op, Shape, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass =
    Pass::only("join_axes", |t| matches!(t.format, Format::CoreAi { .. }), |graph, _| run(graph));

fn run(graph: &Graph) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some(joined) = joined(graph, &uses, id) else {
            copy.node(id)?;
            continue;
        };
        let mut operands = Vec::new();
        for (i, &operand) in node.inputs.iter().enumerate() {
            let shape = with_joined(graph.shape(operand), joined);
            let source = copy.get(graph.producer(operand).inputs[0])?;
            operands.push(Builder::within(&mut copy.new, &node.path).reshape(format!("joined{i}"), source, shape)?);
        }
        let y = copy.new.push(node.op.clone(), &operands, &node.path)?;
        let shape = node.types[0].shape.clone();
        let y = Builder::within(&mut copy.new, &node.path).reshape("axes", y.into(), shape)?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// How many last axes of an elementwise operator can be one, which is the last axis of what an operand was before its reshape.
fn joined(graph: &Graph, uses: &Uses, id: NodeId) -> Option<usize> {
    let (node, value) = (graph.node(id), Value::from(id));
    let reshape = |v: Value| matches!(graph.op(v), Op::Reshape { .. });
    let read_by_reshapes = uses.readers(value).iter().all(|u| reshape(u.node.into())) && !uses.is_result(value);
    if !matches!(node.op, Op::Binary(_)) || graph.is_constant(value) || !read_by_reshapes {
        return None;
    }
    let shape = graph.shape(value);
    let fits =
        |&v: &Value| reshape(v) && uses.once(v) && !graph.is_constant(v) && graph.shape(v).rank() == shape.rank();
    if !node.inputs.iter().all(fits) {
        return None;
    }
    let lasts: Vec<usize> = node.inputs.iter().filter_map(|&v| last(graph, graph.producer(v).inputs[0])).collect();
    let whole = |v: Value, count: usize| {
        let (own, all) = (tail(graph.shape(v), count), tail(shape, count));
        own == all || own.iter().all(|d| *d == Dim::Fixed(1))
    };
    (2..=shape.rank()).find(|&count| {
        let size: Option<usize> = tail(shape, count).iter().map(|d| d.fixed()).product();
        size.is_some_and(|s| lasts.contains(&s)) && node.inputs.iter().all(|&v| whole(v, count))
    })
}

/// Size of the last axis.
fn last(graph: &Graph, value: Value) -> Option<usize> {
    graph.shape(value).0.last()?.fixed()
}

fn tail(shape: &Shape, count: usize) -> &[Dim] {
    &shape.0[shape.rank() - count..]
}

/// A shape whose last axes, all of them fixed, are one.
fn with_joined(shape: &Shape, count: usize) -> Shape {
    let size = tail(shape, count).iter().filter_map(|d| d.fixed()).product();
    let mut dims = shape.0[..shape.rank() - count].to_vec();
    dims.push(Dim::Fixed(size));
    Shape(dims)
}
