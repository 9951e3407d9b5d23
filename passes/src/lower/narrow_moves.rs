//! Say movements through more axes than the target holds as two movements through fewer.
//!
//! ```text
//! Given    y = reshape(transpose(reshape(x)))      between them more axes than the target's values have
//! Result   y = the same in two transposes, axes that stay together joined to one: first two neighbouring groups of axes change places, then the rest
//! ```
//!
//! Exact    movements are compared as index arithmetic ([`crate::view`]).

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::count::product;
use crate::view::trail::{Through, Trail};
use crate::view::{Digit, by_stride, joined};
use vitc_ir::{Builder, Built, Copier, Graph, NodeId, Op, Shape, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("narrow_moves", |t| t.rank_limit < usize::MAX, run);

fn run(graph: &Graph, context: &Context) -> Result {
    let limit = context.target.rank_limit;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let plan = if graph.is_constant(id.into()) { None } else { narrowed(graph, id, limit) };
        if let Some((source, steps)) = plan {
            let mut x = copy.get(source)?;
            let mut net = Builder::within(&mut copy.new, &node.path);
            for step in &steps {
                x = step.emit(&mut net, x)?;
            }
            let y = if net.ty(x).shape == node.types[0].shape {
                x
            } else {
                net.reshape("", x, node.types[0].shape.clone())?
            };
            copy.set(id.into(), y);
            count += 1;
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// One transpose of a value seen with these axes.
struct Step {
    view: Shape,
    perm: Vec<usize>,
}

impl Step {
    /// The axes of digits in the order of the source, those that stay together joined; `None` if there are more than the limit, or nothing moves.
    fn of(source: &[Digit], order: &[Digit], limit: usize) -> Option<Step> {
        let sorted = groups(source, order);
        let result = groups(order, source);
        let sizes: Option<Vec<_>> = sorted.iter().map(|g| product(g.iter().map(|d| d.size))?.dim()).collect();
        let perm: Option<Vec<usize>> = result.iter().map(|g| sorted.iter().position(|s| s == g)).collect();
        let step = Step { view: Shape(sizes?), perm: perm? };
        (step.view.rank() <= limit).then_some(step)
    }

    fn emit(&self, net: &mut Builder, x: Value) -> Built {
        let x = if net.ty(x).shape == self.view { x } else { net.reshape("view", x, self.view.clone())? };
        net.transpose("moved", x, &self.perm)
    }
}

/// The digits of one order in groups that lie together in another order too.
fn groups(digits: &[Digit], other: &[Digit]) -> Vec<Vec<Digit>> {
    let mut groups: Vec<Vec<Digit>> = Vec::new();
    for &digit in digits {
        let follows = |last: &Digit| other.windows(2).any(|pair| pair == [*last, digit]);
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(follows) => group.push(digit),
            _ => groups.push(vec![digit]),
        }
    }
    groups
}

/// The end of a chain of movements one of which has too many axes: where it begins, and what makes it.
fn narrowed(graph: &Graph, id: NodeId, limit: usize) -> Option<(Value, Vec<Step>)> {
    let wide = |id: NodeId| graph.node(id).types[0].shape.rank() > limit;
    if !matches!(graph.node(id).op, Op::Reshape { .. } | Op::Transpose { .. }) || wide(id) {
        return None;
    }
    let trail = Trail::to(graph, id.into(), Through::Permutations)?;
    // The shortest end of the chain that has the wide part inside.
    let first = trail.nodes.iter().rposition(|&n| wide(n))?;
    let begin = trail.nodes[..=first].iter().rposition(|&n| !wide(n));
    let view = begin.map_or(Some(trail.clone()), |at| trail.behind(graph, at))?.view;
    let source = view.source;
    let order = joined(view.axes.iter().flatten().copied());
    let sorted = by_stride(&order);
    if !view.is_permutation(graph) || graph.shape(source).rank() > limit {
        return None;
    }
    if order == sorted {
        return Some((source, Vec::new()));
    }
    if let Some(step) = Step::of(&sorted, &order, limit) {
        return Some((source, vec![step]));
    }
    // Two neighbouring groups change places; what remains must be narrow enough.
    let n = sorted.len();
    let mut best: Option<Vec<Step>> = None;
    for from in 0..n {
        for at in from + 1..n {
            for to in at + 1..=n {
                let between = [&sorted[..from], &sorted[at..to], &sorted[from..at], &sorted[to..]].concat();
                let steps = Step::of(&sorted, &between, limit).zip(Step::of(&between, &order, limit));
                let Some((first, second)) = steps else { continue };
                let axes = |steps: &[Step]| steps.iter().map(|s| s.view.rank()).sum::<usize>();
                let steps = vec![first, second];
                if best.as_ref().is_none_or(|best| axes(&steps) < axes(best)) {
                    best = Some(steps);
                }
            }
        }
    }
    Some((source, best?))
}
