//! Compute vectors of one element where a target has no scalars.
//!
//! ```text
//! Given    m = reduce(x){all axes}              m = reshape(x) to no axes            m = f(s₁, s₂, …)      f computes each element
//! Result   m = reshape(reduce(x){keep}, [1])    m = reshape(x, [1])                  m = f(s₁[1], s₂[1], …)
//!
//! Given    y = gather(x, i){axis}               i without axes
//! Result   y = reshape(gather(x, i[1]){axis})
//! ```
//!
//! Inputs and outputs keep their shapes: a reshape stands behind the one and in front of the other, which whoever writes the file leaves out.
//!
//! Exact    a vector of one element broadcasts as a scalar does, and holds the same number. Constants stay as they are.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Builder, Built, Copier, Dim, Graph, Node, NodeId, Op, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("lower_scalars", |t| !t.scalars, run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let constant = graph.is_constant(id.into());
        let Some(made) = (!constant).then(|| vector(graph, &mut copy, id, node)).flatten() else {
            copy.node(id)?;
            continue;
        };
        let made = made?;
        copy.set(id.into(), made);
        count += 1;
    }
    for output in &graph.outputs {
        let value = copy.get(output.value)?;
        if graph.shape(output.value).rank() == 0 && copy.new.shape(value).rank() == 1 {
            let path = format!("{}.scalar", output.name);
            let scalar = copy.new.push(Op::Reshape { shape: Shape::default() }, &[value], &path)?;
            copy.set(output.value, scalar.into());
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

fn one() -> Shape {
    Shape(vec![Dim::Fixed(1)])
}

/// What stands for the scalar that a node makes, or for what it makes with scalars; `None` if it stays as it is.
fn vector(graph: &Graph, copy: &mut Copier, id: NodeId, node: &Node) -> Option<Built> {
    let scalar = |v: Value| graph.shape(v).rank() == 0;
    let makes = node.types.len() == 1 && scalar(id.into());
    match &node.op {
        Op::Input if makes => Some(
            copy.node(id)
                .and_then(|input| Builder::within(&mut copy.new, &node.path).reshape("vector", input.into(), one())),
        ),
        Op::Reduce { kind, axes, .. } if makes => {
            let op = Op::Reduce { kind: *kind, axes: axes.clone(), keep: true };
            Some(squeezed(copy, node, op, &one()))
        }
        Op::ArgMax { axis, .. } if makes => Some(squeezed(copy, node, Op::ArgMax { axis: *axis, keep: true }, &one())),
        Op::Reshape { .. } if makes => Some(squeezed(copy, node, Op::Reshape { shape: one() }, &one())),
        Op::Gather { .. } if scalar(node.inputs[1]) => {
            let shape = if makes { one() } else { graph.shape(id.into()).clone() };
            Some(gathered(copy, id, node, &shape))
        }
        _ => None,
    }
}

/// An operator that keeps its axes, and its result under another shape.
fn squeezed(copy: &mut Copier, node: &Node, op: Op, shape: &Shape) -> Built {
    let inputs = node.inputs.iter().map(|&v| copy.get(v)).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut net = Builder::within(&mut copy.new, &node.path);
    let y = net.push("kept", op, &inputs)?;
    if net.ty(y).shape == *shape { Ok(y) } else { net.reshape("", y, shape.clone()) }
}

fn gathered(copy: &mut Copier, id: NodeId, node: &Node, shape: &Shape) -> Built {
    let inputs = copy.inputs(id)?;
    let mut net = Builder::within(&mut copy.new, &node.path);
    let index = match net.ty(inputs[1]).shape.rank() {
        0 => net.reshape("index", inputs[1], one())?,
        _ => inputs[1],
    };
    let y = net.push("taken", node.op.clone(), &[inputs[0], index])?;
    net.reshape("", y, shape.clone())
}
