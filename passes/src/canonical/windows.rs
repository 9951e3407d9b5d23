//! Recover windows of a map from reshapes and transposes.
//!
//! ```text
//! Given    y = view of x [B,C,R·h,S·w] as [B·R·S, h·w, C]      windows row by row, positions row by row inside, channels last
//! Result   y = window_partition(x){window=[h,w]}
//! Given    y = view of x [B·R·S, h·w, C] as [B,C,R·h,S·w]      the way back
//! Result   y = window_merge(x){window=[h,w], map=[R·h,S·w]}
//! ```
//!
//! A single window is a transpose and stays one.
//!
//! Exact    movements are compared as index arithmetic ([`crate::view`]).

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::View;
use crate::view::trail::ending;
use vitc_ir::{Copier, Dim, Graph, NodeId, Op, Shape, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_windows", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if let Some((source, op)) = windows(graph, &uses, id) {
            let x = copy.get(source)?;
            let y = copy.new.push(op, &[x], &node.path)?;
            copy.set(id.into(), y.into());
            count += 1;
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The map or tokens that a value moves, and the operator that does it.
fn windows(graph: &Graph, uses: &Uses, id: NodeId) -> Option<(Value, Op)> {
    let value = Value::from(id);
    let trail = ending(graph, uses, id)?;
    // What begins in the middle of a chain is found when the chain is walked from its end.
    let (view, source) = (&trail.view, trail.view.source);
    let (from, to) = (&graph.shape(source).0, &graph.shape(value).0);
    match (&from[..], &to[..]) {
        (&[sets, Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)], &[_, Dim::Fixed(n), Dim::Fixed(width)])
            if width == c =>
        {
            let window = sides(n, [h, w])
                .find(|&window| partition(graph, source, sets, c, [h, w], window).as_ref() == Some(view))?;
            Some((source, Op::WindowPartition { window }))
        }
        (&[_, Dim::Fixed(n), Dim::Fixed(width)], &[sets, Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)])
            if width == c =>
        {
            let window = sides(n, [h, w])
                .find(|&window| merge(graph, source, sets, c, [h, w], window).as_ref() == Some(view))?;
            Some((source, Op::WindowMerge { window, map: [h, w] }))
        }
        _ => None,
    }
}

/// Windows of n positions that share a map out, two at least.
fn sides(n: usize, [height, width]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    let heights = (1..=n.min(height)).filter(move |&h| n.is_multiple_of(h) && height.is_multiple_of(h));
    let windows = heights.map(move |h| [h, n / h]);
    windows.filter(move |&[h, w]| width.is_multiple_of(w) && [h, w] != [height, width])
}

/// The view that a partition is.
fn partition(
    graph: &Graph,
    x: Value,
    sets: Dim,
    c: usize,
    [height, width]: [usize; 2],
    [h, w]: [usize; 2],
) -> Option<View> {
    let [rows, columns] = [height / h, width / w];
    let cut = View::identity(graph, x)?.reshape(&Shape::batched(sets, &[c, rows, h, columns, w]))?;
    cut.permuted(&[0, 2, 4, 3, 5, 1])?.reshape(&Shape::batched(sets.times(rows * columns), &[h * w, c]))
}

/// The view that a merge is.
fn merge(
    graph: &Graph,
    x: Value,
    sets: Dim,
    c: usize,
    [height, width]: [usize; 2],
    [h, w]: [usize; 2],
) -> Option<View> {
    let cut = View::identity(graph, x)?.reshape(&Shape::batched(sets, &[height / h, width / w, h, w, c]))?;
    cut.permuted(&[0, 5, 1, 3, 2, 4])?.reshape(&Shape::batched(sets, &[c, height, width]))
}
