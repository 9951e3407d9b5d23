//! Repeat a value for each item of an open batch without computing a shape, which no target does.
//!
//! ```text
//! Given    y = expand(x){shape=[…,k·B,…]}            x has size 1 along the batch, or no such axis
//! Result   y = reshape(x' + zeros[…,B,1,…])          x' = x with an axis of k beside one of size 1; zeros = clip(first elements of an input){0, 0}
//! ```
//!
//! Exact    zeros are zero whatever a picture holds, and nothing changes by adding them.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::op::SliceAxis;
use vitc_ir::{BinaryKind, Builder, Built, Copier, DType, Dim, Graph, Node, Op, Real, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("repeat_items", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let source = graph.inputs().find(|(_, node)| counts_items(&node.types[0].shape)).map(|(id, _)| id);
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let (Some(source), Some(axis)) = (source, repeated(graph, node)) else {
            copy.node(id)?;
            continue;
        };
        let (x, image) = (copy.inputs(id)?[0], copy.node(source)?.into());
        let y = spelled(&mut Builder::within(&mut copy.new, &node.path), x, image, &node.types[0].shape, axis)?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// A first axis that is the batch and no other that is.
fn counts_items(shape: &Shape) -> bool {
    shape.0.first() == Some(&Dim::Batch(1)) && shape.0[1..].iter().all(|d| d.fixed().is_some_and(|n| n > 0))
}

/// The axis along which a node repeats its operand for each item.
fn repeated(graph: &Graph, node: &Node) -> Option<usize> {
    let Op::Expand { shape } = &node.op else { return None };
    let own = graph.shape(node.inputs[0]);
    let missing = shape.rank() - own.rank();
    let new = |i: usize| i < missing || own.0[i - missing] == Dim::Fixed(1);
    let mut batch = (0..shape.rank()).filter(|&i| shape.0[i].fixed().is_none() && new(i));
    // One axis is the batch; where two are, nothing can say so.
    batch.next().filter(|_| batch.next().is_none() && !own.has_batch())
}

fn spelled(net: &mut Builder<'_>, x: Value, image: Value, shape: &Shape, axis: usize) -> Built {
    let Dim::Batch(k) = shape.0[axis] else { return Ok(x) };
    // The batch apart from what repeats within an item.
    let mut apart = vec![Dim::Fixed(1); shape.rank() - net.ty(x).shape.rank()];
    apart.extend(&net.ty(x).shape.0);
    apart.insert(axis, Dim::Fixed(1));
    let mut once = shape.0.clone();
    once.splice(axis..=axis, [1, k].map(Dim::Fixed));
    let x = net.reshape("apart", x, Shape(apart))?;
    let x = if net.ty(x).shape.0 == once { x } else { net.expand("once", x, Shape(once.clone()))? };
    let mut zeros = vec![Dim::Fixed(1); once.len()];
    zeros[axis] = Dim::Batch(1);
    let zeros = zeros_of(net, image, Shape(zeros))?;
    let dtype = net.ty(x).dtype;
    let y = match dtype {
        DType::F32 => net.binary("sum", BinaryKind::Add, x, zeros)?,
        _ => {
            let number = net.push("number", Op::Cast { to: DType::F32 }, &[x])?;
            let sum = net.binary("sum", BinaryKind::Add, number, zeros)?;
            net.push("whole", Op::Cast { to: dtype }, &[sum])?
        }
    };
    net.reshape("", y, shape.clone())
}

/// A zero for each item.
fn zeros_of(net: &mut Builder<'_>, image: Value, shape: Shape) -> Built {
    let rank = net.ty(image).shape.rank();
    let cuts: Vec<SliceAxis> = (1..rank).map(|axis| SliceAxis { axis, start: 0, stop: 1, step: 1 }).collect();
    let mut x = if cuts.is_empty() { image } else { net.push("first", Op::Slice { cuts }, &[image])? };
    if net.ty(x).dtype != DType::F32 {
        x = net.push("item", Op::Cast { to: DType::F32 }, &[x])?;
    }
    let zeros = net.push("zeros", Op::Clip { lo: Real(0.0), hi: Real(0.0) }, &[x])?;
    net.reshape("zeros.items", zeros, shape)
}
