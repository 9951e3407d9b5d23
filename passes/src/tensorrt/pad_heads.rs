//! Pad the heads of attention to a width that the target's kernel takes.
//!
//! ```text
//! Given    y = W₂·attention(split(W₁·x + b₁)) + b₂       heads of width d
//! Result   the same with D ≥ d columns per head: zero rows in W₁ and b₁, zero columns in W₂
//! ```
//!
//! Exact    a zero column adds 0 to every score and makes a result column of zeros, which zero columns of W₂ do not
//!          read. TensorRT fuses heads whose width is a multiple of 8 and at least 16; FasterViT-4 has 49.

use crate::algebra::Linear;
use crate::note::{Note, Reason};
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::op::AttentionLayout;
use vitc_ir::target::FusedAttention;
use vitc_ir::{Builder, Built, Copier, Graph, NodeId, Op, PadMode, Shape, Value};

/// What happens to a linear layer.
#[derive(Clone, Copy)]
enum Padding {
    /// Rows of three operands with so many heads.
    Rows(usize),
    /// Columns of so many heads.
    Columns(usize),
}

/// The pass.
pub(crate) const PASS: Pass = Pass::only("pad_heads", |t| t.fusing().is_some(), run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Some(fusing) = context.target.fusing() else { return Ok(Rewritten::unchanged(graph)) };
    let uses = graph.uses();
    let mut padded: HashMap<NodeId, Padding> = HashMap::new();
    let mut splits: HashMap<NodeId, usize> = HashMap::new();
    let mut notes = Vec::new();
    for (id, node) in graph.run_time_nodes() {
        let Op::Attention { heads, layout: AttentionLayout::Tokens, talking: false, .. } = node.op else { continue };
        let d = graph.shape(node.inputs[0]).dim(2) / heads;
        if fusing.width(d) == d {
            continue;
        }
        let q = node.inputs[0];
        let split = matches!(graph.op(q), Op::Split { axis: 2, sizes } if sizes[..] == [heads * d; 3])
            && (0..3).all(|i| {
                node.inputs[i as usize] == Value { node: q.node, index: i } && uses.once(node.inputs[i as usize])
            });
        let source = graph.producer(q).inputs.first().copied();
        let source = source.filter(|&s| split && uses.once(s) && Linear::of(graph, s.node).is_some());
        let reader = graph.run_time_nodes().find(|(_, n)| n.inputs.first() == Some(&id.into()));
        let reader =
            reader.filter(|(r, n)| n.op == Op::Linear && uses.once(id.into()) && Linear::of(graph, *r).is_some());
        let (Some(source), Some((reader, _))) = (source, reader) else {
            notes.push(Note::Stayed { node: node.path.clone(), why: Reason::HeadWidth(d) });
            continue;
        };
        padded.insert(source.node, Padding::Rows(heads));
        splits.insert(q.node, heads * fusing.width(d));
        padded.insert(reader, Padding::Columns(heads));
    }
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        if let Some(&padding) = padded.get(&id) {
            let mut inputs = copy.inputs(id)?;
            let mut net = Builder::within(&mut copy.new, &node.path);
            match padding {
                Padding::Rows(heads) => {
                    for x in &mut inputs[1..] {
                        *x = pad(&mut net, *x, 0, 3 * heads, fusing)?;
                    }
                }
                Padding::Columns(heads) => inputs[1] = pad(&mut net, inputs[1], 1, heads, fusing)?,
            }
            let y = net.push("", node.op.clone(), &inputs)?;
            copy.set(id.into(), y);
        } else if let Some(&size) = splits.get(&id) {
            let x = copy.get(node.inputs[0])?;
            let parts = Builder::within(&mut copy.new, &node.path).split("", x, 2, &[size; 3])?;
            for (index, part) in parts.into_iter().enumerate() {
                copy.set(Value { node: id, index: index as u32 }, part);
            }
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten { graph: copy.finish()?, count: splits.len(), notes })
}

/// Zeros behind each of `heads` equal stretches of `axis`.
fn pad(net: &mut Builder, x: Value, axis: usize, heads: usize, fusing: &FusedAttention) -> Built {
    let mut dims = net.fixed(x)?;
    let d = dims[axis] / heads;
    let wide = fusing.width(d);
    dims.splice(axis..=axis, [heads, d]);
    let view = net.reshape("heads", x, Shape::fixed(&dims))?;
    let mut after = vec![0; dims.len()];
    after[axis + 1] = wide - d;
    let padded =
        net.push("heads_padded", Op::Pad { before: vec![0; dims.len()], after, mode: PadMode::ZERO }, &[view])?;
    dims.splice(axis..axis + 2, [heads * wide]);
    net.reshape("padded", padded, Shape::fixed(&dims))
}
