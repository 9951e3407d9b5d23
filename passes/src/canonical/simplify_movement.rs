//! Say chains of reshapes and transposes with as few of them as make the same movement.
//!
//! ```text
//! Given    y = m₁(m₂(…(x)))            reshapes and transposes that nothing else reads
//! Result   y = reshape(transpose(reshape(x)))      or fewer, if that is fewer
//! ```
//!
//! Exact    movements are compared as index arithmetic ([`crate::view`]).

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::emit::Plan;
use crate::view::trail::ending;
use vitc_ir::{Builder, Copier, Graph, NodeId, Op, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("simplify_movement", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if let Some((source, plan)) = shorter(graph, &uses, id) {
            let x = copy.get(source)?;
            let y = plan.emit(&mut Builder::within(&mut copy.new, &node.path), x)?;
            copy.set(id.into(), y);
            count += 1;
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// A way to the value in fewer nodes than fall away.
fn shorter(graph: &Graph, uses: &Uses, id: NodeId) -> Option<(Value, Plan)> {
    let value = Value::from(id);
    let trail = ending(graph, uses, id)?;
    // From the end on: what only this value needs.
    let alone = |at: &NodeId| *at == id || uses.once(Value::from(*at));
    let falling = trail.nodes.iter().rev().take_while(|at| alone(at)).count();
    let shared = trail.nodes.len().checked_sub(falling + 1).and_then(|at| trail.behind(graph, at));
    let result = graph.shape(value);
    let ways = [Some(trail), shared].into_iter().flatten().map(|way| way.view);
    let plans = ways.filter_map(|view| Some((view.source, Plan::of(graph, &view, result)?)));
    let best = plans.min_by_key(|(_, plan)| plan.nodes)?;
    // A result of the model is computed, even if it is an input again.
    let is_input_itself = best.1.nodes == 0 && *graph.op(graph.stored(best.0)) == Op::Input;
    (best.1.nodes < falling && !is_input_itself).then_some(best)
}
