//! Reshapes and transposes that put the rows of tokens into another order: `[k·B, n, C]` seen as `[l·B, m, C]`.

use crate::lower::row_order::Digits;
use crate::view::count::{Count, product};
use crate::view::trail::{Through, Trail};
use crate::view::{Digit, by_stride, joined};
use std::collections::{HashMap, HashSet};
use vitc_ir::{Dim, Graph, NodeId, Op, Uses, Value};

/// A chain of movements that keeps channels.
#[derive(Debug, Clone)]
pub(crate) struct RowMove {
    pub(crate) source: Value,
    /// In order; the last one makes the result, the others are read in the chain alone.
    pub(crate) nodes: Vec<NodeId>,
    /// Rows of the result in order, counted in rows of the source.
    rows: Vec<Digit>,
}

/// The chains of a graph by their last nodes, and the nodes inside of them.
pub(crate) fn row_moves(graph: &Graph) -> (HashMap<NodeId, RowMove>, HashSet<NodeId>) {
    let uses = graph.uses();
    let found = graph.run_time_nodes().filter_map(|(id, _)| Some((id, RowMove::ending(graph, &uses, id)?)));
    let moves: HashMap<NodeId, RowMove> = found.collect();
    let inside = moves.values().flat_map(|m| m.nodes.split_last().map_or(&[][..], |(_, inside)| inside));
    let inside = inside.copied().collect();
    (moves, inside)
}

fn moves(graph: &Graph, value: Value) -> bool {
    matches!(graph.op(value), Op::Reshape { .. } | Op::Transpose { .. }) && !graph.is_constant(value)
}

impl RowMove {
    /// The chain that a node ends, if rows change places in it.
    fn ending(graph: &Graph, uses: &Uses, id: NodeId) -> Option<RowMove> {
        let goes_on = |v: Value| uses.once(v) && uses.readers(v).iter().all(|r| moves(graph, r.node.into()));
        if !moves(graph, id.into()) || goes_on(id.into()) {
            return None;
        }
        let trail = Trail::to(graph, id.into(), Through::Permutations)?;
        let inner = trail.nodes.split_last().map_or(&[][..], |(_, inner)| inner);
        let begin = inner.iter().rposition(|&n| !uses.once(n.into()));
        let Trail { view, nodes, .. } = begin.map_or(Some(trail.clone()), |at| trail.behind(graph, at))?;
        let source = view.source;
        let (&[_, Dim::Fixed(_), Dim::Fixed(c)], [sets, tokens, channels]) =
            (&graph.shape(source).0[..], &view.axes[..])
        else {
            return None;
        };
        let width = Count::fixed(c);
        if *channels != joined([Digit { size: width, stride: Count::ONE }]) || !view.is_permutation(graph) {
            return None;
        }
        let by_row = |d: &Digit| Some(Digit { stride: d.stride.over(width)?, ..*d });
        let rows: Vec<Digit> = sets.iter().chain(tokens).map(by_row).collect::<Option<_>>()?;
        let rows = joined(rows);
        (rows != by_stride(&rows)).then_some(RowMove { source, nodes, rows })
    }

    /// What becomes of the rows of one image; `None` if images change places too.
    pub(crate) fn within(&self, batch: Dim) -> Option<Digits> {
        let batch = Count::from(batch);
        let mut rows = self.rows.clone();
        if batch != Count::ONE {
            let all = product(rows.iter().map(|d| d.size))?;
            let first = rows.first_mut()?;
            if first.size.times(first.stride) != Some(all) {
                return None;
            }
            first.size = first.size.over(batch)?;
        }
        let rows = joined(rows);
        let sorted = by_stride(&rows);
        let dims: Vec<usize> = rows.iter().map(|d| d.size.plain()).collect::<Option<_>>()?;
        let perm = sorted.iter().map(|s| rows.iter().position(|d| d == s)).collect::<Option<_>>()?;
        Some(Digits { dims, perm })
    }
}
