//! Remove movement that other movement undoes.
//!
//! ```text
//! Given    transpose(transpose(x; p); q)        Result   transpose(x; p∘q), or x if that is the identity
//! Given    reshape(reshape(x))                  Result   reshape(x), or x if the shape is x's
//! Given    split of the whole axis, concat of one, expand to the same shape        Result   x
//! ```
//!
//! Exact    by definition: elements keep their order or are put back.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Copier, Graph, Op};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("cancel_movement", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if graph.is_constant(id.into()) || node.inputs.is_empty() {
            copy.node(id)?;
            continue;
        }
        let mut x = copy.get(node.inputs[0])?;
        let inner = copy.new.producer(x).clone();
        let op = match (&node.op, &inner.op) {
            (Op::Transpose { perm }, Op::Transpose { perm: first }) => {
                x = inner.inputs[0];
                Op::Transpose { perm: perm.iter().map(|&p| first[p]).collect() }
            }
            (Op::Reshape { .. }, Op::Reshape { .. }) => {
                x = inner.inputs[0];
                node.op.clone()
            }
            (op, _) => op.clone(),
        };
        let shape = copy.new.shape(x);
        let nothing = match &op {
            Op::Transpose { perm } => perm.iter().enumerate().all(|(i, &p)| i == p),
            Op::Reshape { shape: to } | Op::Expand { shape: to } => to == shape,
            Op::Split { sizes, .. } => sizes.len() == 1,
            Op::Concat { .. } => node.inputs.len() == 1,
            _ => false,
        };
        if nothing {
            copy.set(id.into(), x);
            count += 1;
        } else if op != node.op || x != copy.get(node.inputs[0])? {
            let y = copy.new.push(op, &[x], &node.path)?;
            copy.set(id.into(), y.into());
            count += 1;
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}
