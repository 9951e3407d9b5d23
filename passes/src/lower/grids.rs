//! Spell maps that are read at the places of a grid where the target has no operator for it.
//!
//! ```text
//! Given    grid_sample(x, grid)       x [n,C,H,W], grid [n,h,w,2]
//! Result   a gather for each element beside a place, weighted and summed
//! ```
//!
//! Exact    by definition. Where n depends on the batch the operator stays, and the target refuses it.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::expand::grid_sample;
use vitc_ir::{Builder, Copier, Graph, Op};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_grids", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let &Op::GridSample { kernel, outside, corners } = &node.op else {
            copy.node(id)?;
            continue;
        };
        let counted = graph.shape(node.inputs[0]).0[0].fixed().is_some();
        if graph.is_constant(id.into()) || !counted || context.target.allows(graph, node).is_ok() {
            copy.node(id)?;
            continue;
        }
        let inputs = copy.inputs(id)?;
        let net = &mut Builder::within(&mut copy.new, &node.path);
        let y = grid_sample(net, [inputs[0], inputs[1]], kernel, outside, corners)?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}
