//! Move the factor of the attention scores into the projection that makes the queries.
//!
//! ```text
//! Given    attention(q = W·x + b, k, v){scale = c}            Result   attention(q = (c∘W)·x + c∘b, k, v){scale = 1}
//! Given    q = first part of split(W·x + b)                   Result   the rows of that part scaled
//! Given    q = W·x + b,  k = q or average(q)                  Result   √c instead of c, on queries and keys alike
//! ```
//!
//! Exact    scores are linear in q and in k, and an average is linear. The projection must have no other reader, or be
//!          read by a split whose part only the attention reads as its queries.

use crate::algebra::Linear;
use crate::pass::{Pass, Result, Rewritten};
use vitc_ir::op::AttentionLayout;
use vitc_ir::target::AttentionForm;
use vitc_ir::{Builder, Built, Copier, Graph, Op, Real, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("fold_attention_scale", |graph, _| towards(graph, |_| 1.0));

/// The pass that leaves the factor which an operator for attention has by itself.
pub(crate) const FOR_OPERATOR: Pass = Pass::only(
    "attention_operator_scale",
    |t| t.attention == AttentionForm::Operator,
    |graph, _| towards(graph, |width| (width as f64).powf(-0.5)),
);

/// Leave the factor `left`, which may depend on the width of a head's queries, in the attention.
fn towards(graph: &Graph, left: impl Fn(usize) -> f64) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    // Projections that some attention asks to be scaled: old node → (factor, rows).
    let mut wanted = std::collections::HashMap::new();
    let mut unscaled = std::collections::HashSet::new();
    for (id, node) in graph.nodes() {
        let Op::Attention { heads, scale, layout, .. } = node.op else { continue };
        let [q, k] = [node.inputs[0], node.inputs[1]];
        let wanted_factor = left(head_width(graph, q, heads, layout));
        let scale = Real(scale.0 / wanted_factor);
        if scale == Real(1.0) || scale.0.is_nan() || scale.0 <= 0.0 {
            continue;
        }
        // Shared by queries and keys: one reader is this attention, the other its keys or the pool that makes them.
        let pooled = matches!(graph.op(k), Op::AvgPool { .. }) && graph.producer(k).inputs[0] == q && uses.once(k);
        let reads = uses.count(q);
        if reads == 2 && (k == q || pooled) {
            if Linear::of(graph, q.node).is_some() {
                wanted.insert(q.node, (Real(scale.0.sqrt()), None));
                unscaled.insert(id);
            }
            continue;
        }
        if reads != 1 {
            continue;
        }
        let (source, rows) = match graph.op(q) {
            Op::Split { axis, sizes } => {
                let source = graph.producer(q).inputs[0];
                let start: usize = sizes[..q.index as usize].iter().sum();
                let last = graph.shape(source).rank() - 1;
                let channels = match graph.op(source) {
                    Op::Conv { .. } => *axis == 1,
                    _ => *axis == last,
                };
                if !channels || !uses.once(source) {
                    continue;
                }
                (source, Some((start, sizes[q.index as usize])))
            }
            _ => (q, None),
        };
        if Linear::of(graph, source.node).is_some() {
            wanted.insert(source.node, (scale, rows));
            unscaled.insert(id);
        }
    }
    for (id, node) in graph.nodes() {
        let new = copy.node(id)?;
        if let (Some(&(scale, rows)), Some(linear)) = (wanted.get(&id), Linear::of(&copy.new, new)) {
            let outputs = linear.outputs(&copy.new);
            let path = copy.new.release_path(new);
            let factor = factor(&mut copy.new, &path, scale, rows, outputs)?;
            let y = Linear { path, ..linear }.scaled(&mut copy.new, factor)?.emit(&mut copy.new)?;
            copy.set(id.into(), y);
        } else if let (Op::Attention { heads, layout, bias, talking, .. }, true) = (&node.op, unscaled.contains(&id)) {
            let path = copy.new.release_path(new);
            let (heads, layout, bias, talking) = (*heads, *layout, *bias, *talking);
            let scale = Real(left(head_width(graph, node.inputs[0], heads, layout)));
            let op = Op::Attention { heads, scale, layout, bias, talking };
            let inputs = copy.inputs(id)?;
            let y = copy.new.push(op, &inputs, &path)?;
            copy.set(id.into(), y.into());
            count += 1;
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// Width of a head's queries.
fn head_width(graph: &Graph, q: Value, heads: usize, layout: AttentionLayout) -> usize {
    match layout {
        AttentionLayout::Channels => graph.shape(q).dim(1) / heads,
        AttentionLayout::Tokens => graph.shape(q).dim(2) / heads,
        AttentionLayout::Heads => graph.shape(q).dim(3),
    }
}

/// The factor of each output row: `scale` on the rows asked for, 1 elsewhere; a scalar if all rows are.
fn factor(graph: &mut Graph, path: &str, scale: Real, rows: Option<(usize, usize)>, outputs: usize) -> Built {
    let mut net = Builder::within(graph, path);
    let Some((start, count)) = rows else { return net.scalar(scale.0) };
    let mut parts = Vec::new();
    for (value, n) in [(1.0, start), (scale.0, count), (1.0, outputs - start - count)] {
        if n > 0 {
            let scalar = net.scalar(value)?;
            parts.push(net.push("rows", Op::Expand { shape: Shape::fixed(&[n]) }, &[scalar])?);
        }
    }
    net.concat("row_factors", &parts, 0)
}
