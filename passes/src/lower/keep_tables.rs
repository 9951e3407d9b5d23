//! Large tables stay tables: what is gathered from one runs in the artifact instead of being stored.
//!
//! ```text
//! Given    y = x + transpose(gather(T, index), 2 0 1)      T constant, [offsets, heads]; index [N, N]
//! Result   y = x + gather(keep(transpose(T)), index)       T stored, one index for all tables of its size
//! ```
//!
//! Exact    the same elements; moving the table's axes moves those of what is gathered from it.
//!
//! A position bias has as many elements as pairs of tokens, its table as many as offsets: for windows of 48x48 positions 340 MB against
//! 0.6 MB and an index of 21 MB that all blocks share. The option says which stay; [`FoldTables::Auto`] keeps those whose bias exceeds both
//! [`LARGE`] and [`RATIO`] times table and index. Only movement and elementwise arithmetic may follow; what computes more with the result
//! (a mix of heads) is folded.

use crate::note::Note;
use crate::pass::{Context, FoldTables, Pass, Result, Rewritten};
use vitc_ir::{Builder, Class, Copier, Graph, NodeId, Op};

/// Bytes below which a result is stored.
const LARGE: usize = 8 << 20;

/// A result is stored up to so many times its inputs.
const RATIO: usize = 8;

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("keep_tables", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let options = &context.options;
    let follows = only_moved(graph);
    let stays = |id: NodeId| {
        let node = graph.node(id);
        let Op::Gather { .. } = node.op else { return false };
        let [x, index] = [0, 1].map(|i| graph.shape(node.inputs[i]).elements());
        let width = options.precision.bytes_of(1);
        let bytes = node.types[0].shape.elements() * width;
        let table = node.types[0].dtype.is_float() && node.types[0].shape.elements() > x;
        let wanted = match options.fold_tables {
            FoldTables::Always => false,
            FoldTables::Never => true,
            FoldTables::Auto => bytes > LARGE && bytes > RATIO * (x * width + index * 4),
        };
        graph.is_constant(id.into()) && table && wanted && follows[id.0 as usize]
    };
    let mut copy = Copier::new(graph, graph.stage);
    let (mut count, mut saved) = (0, 0);
    for (id, node) in graph.nodes() {
        let source = node.inputs.first().map(|x| x.node);
        if let Op::Gather { axis, .. } = node.op
            && stays(id)
        {
            let inputs = copy.inputs(id)?;
            let mut net = Builder::within(&mut copy.new, &node.path);
            let table = net.push("kept", Op::Keep, &inputs[..1])?;
            let y = net.push("", Op::Gather { axis }, &[table, inputs[1]])?;
            copy.set(id.into(), y);
            count += 1;
            saved += options.precision.bytes_of(node.types[0].shape.elements());
        } else if let (Op::Transpose { perm }, Some(gather)) = (&node.op, source.filter(|&s| stays(s)))
            && let Some((perm, axis)) = of_the_table(graph, gather, perm)
        {
            let inputs = copy.inputs(gather)?;
            let mut net = Builder::within(&mut copy.new, &node.path);
            let table = net.transpose("table", inputs[0], &perm)?;
            let table = net.push("kept", Op::Keep, &[table])?;
            let y = net.push("", Op::Gather { axis }, &[table, inputs[1]])?;
            copy.set(id.into(), y);
        } else {
            copy.node(id)?;
        }
    }
    let notes = if count > 0 { vec![Note::TablesKept { biases: count, bytes: saved }] } else { Vec::new() };
    Ok(Rewritten { graph: copy.finish()?, count, notes })
}

/// Nodes behind which, up to the run-time nodes that read them, elements are only moved or combined one by one.
fn only_moved(graph: &Graph) -> Vec<bool> {
    let mut moved = vec![true; graph.len()];
    for (id, node) in graph.nodes().collect::<Vec<_>>().into_iter().rev() {
        let facts = node.op.facts();
        let combined = facts.class == Class::Elementwise && *facts.operands.start() > 1;
        let simple = combined || facts.class == Class::Movement || matches!(node.op, Op::Gather { .. });
        let reader = facts.class == Class::Attention;
        let simple = if graph.is_constant(id.into()) { simple && moved[id.0 as usize] } else { simple || reader };
        if !simple {
            node.inputs.iter().for_each(|v| moved[v.node.0 as usize] = false);
        }
    }
    moved
}

/// The permutation of the table's axes, and the axis that is gathered then, if `perm` of a gather's result moves the gathered axes as one.
fn of_the_table(graph: &Graph, gather: NodeId, perm: &[usize]) -> Option<(Vec<usize>, usize)> {
    let node = graph.node(gather);
    let Op::Gather { axis, .. } = node.op else { return None };
    let count = graph.shape(node.inputs[1]).rank();
    let at = perm.iter().position(|&a| a == axis).filter(|_| count > 0)?;
    if (0..count).any(|i| perm.get(at + i) != Some(&(axis + i))) {
        return None;
    }
    let moved = perm.iter().filter(|&&a| a <= axis || a >= axis + count);
    Some((moved.map(|&a| if a <= axis { a } else { a + 1 - count }).collect(), at))
}
