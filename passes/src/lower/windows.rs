//! Spell windows of a map as reshapes and transposes.
//!
//! ```text
//! Given    window_partition(x)            x [B,C,H,W], windows h x w
//! Result   view [B,C,R,h,S,w], axes to [B,R,S,h,w,C], view [B·R·S, h·w, C]
//! Given    window_merge(x)                the way back
//! ```
//!
//! Axes of size 1 are left out, so a window that covers the map is one transpose. Where the view still has more axes
//! than the target holds, two moves of lower rank do it: rows of windows first, channels second.
//!
//! Exact    elements are moved, not computed.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Builder, Built, Copier, Dim, Graph, Op, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_windows", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let y = match node.op {
            Op::WindowPartition { window } => {
                let x = copy.get(node.inputs[0])?;
                partition(&mut Builder::within(&mut copy.new, &node.path), x, window, target.rank_limit)?
            }
            Op::WindowMerge { window, map } => {
                let x = copy.get(node.inputs[0])?;
                merge(&mut Builder::within(&mut copy.new, &node.path), x, window, map, target.rank_limit)?
            }
            _ => {
                copy.node(id)?;
                continue;
            }
        };
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

fn partition(net: &mut Builder, x: Value, [h, w]: [usize; 2], rank_limit: usize) -> Built {
    let (batch, c) = (net.batch(x)?, net.dim(x, 1)?);
    let [rows, columns] = [net.dim(x, 2)? / h, net.dim(x, 3)? / w];
    let result = Shape::batched(batch.times(rows * columns), &[h * w, c]);
    let view = Shape::batched(batch, &[c, rows, h, columns, w]);
    if rank(&view) <= rank_limit {
        return moved(net, x, &view, &[0, 2, 4, 3, 5, 1], result);
    }
    let tiled = Shape::batched(batch, &[c, rows * columns, h * w]);
    let x = moved(
        &mut net.at("rows"),
        x,
        &Shape::batched(batch.times(c * rows), &[h, columns, w]),
        &[0, 2, 1, 3],
        tiled.clone(),
    )?;
    moved(net, x, &tiled, &[0, 2, 3, 1], result)
}

fn merge(net: &mut Builder, x: Value, [h, w]: [usize; 2], map: [usize; 2], rank_limit: usize) -> Built {
    let [rows, columns] = [map[0] / h, map[1] / w];
    let (batch, c) = (net.batch(x)?, net.dim(x, 2)?);
    let whole = || net.graph().unfit(x, "windows of a part of an image".into());
    let batch = batch.divided(rows * columns).ok_or_else(whole)?;
    let result = Shape::batched(batch, &[c, map[0], map[1]]);
    let view = Shape::batched(batch, &[rows, columns, h, w, c]);
    if rank(&view) <= rank_limit {
        return moved(net, x, &view, &[0, 5, 1, 3, 2, 4], result);
    }
    let tiled = Shape::batched(batch, &[rows * columns, h * w, c]);
    let by_rows = Shape::batched(batch.times(c * rows), &[columns, h, w]);
    let x = moved(&mut net.at("channels"), x, &tiled, &[0, 3, 1, 2], by_rows.clone())?;
    moved(net, x, &by_rows, &[0, 2, 1, 3], result)
}

/// Axes of a view that hold more than one element.
fn rank(view: &Shape) -> usize {
    view.0.iter().filter(|&&d| d != Dim::Fixed(1)).count()
}

/// `x` seen as `view`, its axes permuted, seen as `result`. Axes of size 1 take no part where that saves a reshape.
pub(crate) fn moved(net: &mut Builder, x: Value, view: &Shape, perm: &[usize], result: Shape) -> Built {
    let kept: Vec<usize> = (0..view.rank()).filter(|&a| view.0[a] != Dim::Fixed(1)).collect();
    let axes: Vec<usize> = perm.iter().filter_map(|p| kept.iter().position(|k| k == p)).collect();
    let dense = Shape(kept.iter().map(|&a| view.0[a]).collect());
    let mut x = x;
    if !axes.is_sorted() {
        let moved = |view: &Shape, axes: &[usize]| Shape(axes.iter().map(|&a| view.0[a]).collect());
        let reshapes = |view: &Shape, axes: &[usize]| {
            usize::from(net.ty(x).shape != *view) + usize::from(moved(view, axes) != result)
        };
        let whole = view.rank() <= result.rank().max(net.ty(x).shape.rank());
        let (view, axes) = match whole && reshapes(view, perm) <= reshapes(&dense, &axes) {
            true => (view.clone(), perm.to_vec()),
            false => (dense, axes),
        };
        if net.ty(x).shape != view {
            x = net.reshape("view", x, view)?;
        }
        x = net.transpose("moved", x, &axes)?;
    }
    Ok(if net.ty(x).shape == result { x } else { net.reshape("result", x, result)? })
}
