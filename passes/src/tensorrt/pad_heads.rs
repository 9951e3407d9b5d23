//! Pad the heads of attention to a width that the target's kernel takes.
//!
//! ```text
//! Given    y = W₂·f(attention(W_q·x + b_q, W_k·x' + b_k, W_v·x' + b_v)) + b₂       heads of width d, values of width e
//! Result   the same with D ≥ d, e columns per head: zero rows in W_q, W_k, W_v and their biases, zero columns in W₂
//! ```
//!
//! One product may make several of the operands, split behind it; f is any elementwise function of one value, or none.
//!
//! Exact    a zero column adds 0 to every score and makes a result column of zeros, which zero columns of W₂ do not
//!          read, as long as f(0) is a number.
//!
//! TensorRT fuses heads of one width that is a multiple of 8 and at least 16: FasterViT-4 has 49, LeViT 16 with values of 32. Heads of 20 it
//! pads itself, by four kernels an attention (TensorRT-RTX 1.7.1).

use crate::algebra::Linear;
use crate::note::{Note, Reason};
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::op::AttentionLayout;
use vitc_ir::{Builder, Built, Copier, Graph, Node, NodeId, Op, PadMode, Shape, UnaryKind, Uses, Value};

/// Equal stretches of an axis, and how long each becomes.
#[derive(Clone, Copy)]
struct Stretches {
    count: usize,
    wide: usize,
}

/// What happens to a node.
#[derive(Clone, Copy)]
enum Padding {
    /// Rows of a linear layer.
    Rows(Stretches),
    /// Columns of a linear layer.
    Columns(Stretches),
    /// Parts of a split, each this long.
    Parts(usize),
}

/// The pass.
pub(crate) const PASS: Pass = Pass::only("pad_heads", |t| t.fusing().is_some(), run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Some(fusing) = context.target.fusing() else { return Ok(Rewritten::unchanged(graph)) };
    let uses = graph.uses();
    let mut padded: HashMap<NodeId, Vec<Padding>> = HashMap::new();
    let (mut count, mut notes) = (0, Vec::new());
    for (id, node) in graph.run_time_nodes() {
        let Op::Attention { heads, layout: AttentionLayout::Tokens, talking: false, .. } = node.op else { continue };
        let [d, e] = [0, 2].map(|operand| graph.shape(node.inputs[operand]).dim(2) / heads);
        let wide = fusing.width(d.max(e));
        if [d, e] == [wide; 2] {
            continue;
        }
        let Some(paddings) = around(graph, &uses, id, heads, wide).filter(|_| wide <= fusing.widest) else {
            notes.push(Note::Stayed { node: node.path.clone(), why: Reason::HeadWidths([d, e]) });
            continue;
        };
        // A layer that reads one attention and is read by the next is padded on both sides.
        paddings.into_iter().for_each(|(node, padding)| padded.entry(node).or_default().push(padding));
        count += 1;
    }
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        match padded.get(&id) {
            Some(paddings) => apply(&mut copy, id, node, paddings)?,
            None => copy.node(id).map(drop)?,
        }
    }
    Ok(Rewritten { graph: copy.finish()?, count, notes })
}

/// What is padded around an attention: the layers that only it reads and the one that reads it.
fn around(graph: &Graph, uses: &Uses, id: NodeId, heads: usize, wide: usize) -> Option<Vec<(NodeId, Padding)>> {
    let operands = &graph.node(id).inputs[..3];
    let linear = |node: NodeId| graph.node(node).op == Op::Linear && Linear::of(graph, node).is_some();
    let mut found = Vec::new();
    for &x in operands {
        if !uses.once(x) {
            return None;
        }
        let (made, node) = (x.node, graph.producer(x));
        if found.iter().any(|&(other, _)| other == made) {
            continue;
        }
        match &node.op {
            Op::Linear if linear(made) => found.push((made, Padding::Rows(Stretches { count: heads, wide }))),
            Op::Split { axis: 2, sizes } => {
                let whole = (0..sizes.len() as u32).all(|index| operands.contains(&Value { node: made, index }));
                let even = sizes.iter().all(|size| size == &sizes[0]);
                let source = node.inputs[0];
                if !(whole && even && uses.once(source) && linear(source.node)) {
                    return None;
                }
                found.push((made, Padding::Parts(heads * wide)));
                found.push((source.node, Padding::Rows(Stretches { count: sizes.len() * heads, wide })));
            }
            _ => return None,
        }
    }
    found.push((reader(graph, uses, id)?, Padding::Columns(Stretches { count: heads, wide })));
    Some(found)
}

/// The linear layer that alone reads an attention, at once or behind elementwise functions.
fn reader(graph: &Graph, uses: &Uses, attention: NodeId) -> Option<NodeId> {
    let mut id = attention;
    loop {
        let next = uses.readers(id.into()).first().filter(|u| u.slot == 0 && uses.once(id.into()))?.node;
        match &graph.node(next).op {
            Op::Linear => return Linear::of(graph, next).map(|_| next),
            // The logarithm alone is not a number at 0.
            Op::Unary(kind) if *kind != UnaryKind::Log => id = next,
            _ => return None,
        }
    }
}

/// A node padded.
fn apply(copy: &mut Copier, id: NodeId, node: &Node, paddings: &[Padding]) -> Built<()> {
    let (mut inputs, mut op) = (copy.inputs(id)?, node.op.clone());
    let mut net = Builder::within(&mut copy.new, &node.path);
    for &padding in paddings {
        match padding {
            Padding::Rows(stretches) => {
                for x in &mut inputs[1..] {
                    *x = pad(&mut net, *x, 0, stretches)?;
                }
            }
            Padding::Columns(stretches) => inputs[1] = pad(&mut net, inputs[1], 1, stretches)?,
            Padding::Parts(size) => op = Op::Split { axis: 2, sizes: vec![size; node.types.len()] },
        }
    }
    let y = net.push("", op, &inputs)?;
    (0..node.types.len() as u32).for_each(|index| copy.set(Value { node: id, index }, Value { index, ..y }));
    Ok(())
}

/// Zeros behind each of equal stretches of `axis`.
fn pad(net: &mut Builder, x: Value, axis: usize, Stretches { count, wide }: Stretches) -> Built {
    let mut dims = net.fixed(x)?;
    let d = dims[axis] / count;
    if d == wide {
        return Ok(x);
    }
    dims.splice(axis..=axis, [count, d]);
    let view = net.reshape("heads", x, Shape::fixed(&dims))?;
    let mut after = vec![0; dims.len()];
    after[axis + 1] = wide - d;
    let padded =
        net.push("heads_padded", Op::Pad { before: vec![0; dims.len()], after, mode: PadMode::ZERO }, &[view])?;
    dims.splice(axis..axis + 2, [count * wide]);
    net.reshape("padded", padded, Shape::fixed(&dims))
}
