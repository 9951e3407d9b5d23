//! Say movements through more axes than the target holds as several movements through fewer.
//!
//! ```text
//! Given    y = reshape(transpose(reshape(x)))      between them more axes than the target's values have
//! Result   y = the same in two transposes, or as many as it takes, axes that stay together joined to one: first two neighbouring groups of axes change
//!              places, then the rest
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

/// Most digits of a movement for which more than one transpose is looked for.
const LARGEST: usize = 16;

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
    Some((source, steps(sorted, &order, limit)?))
}

/// Transposes of few axes that bring digits into another order.
fn steps(mut at: Vec<Digit>, order: &[Digit], limit: usize) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    loop {
        if let Some(last) = Step::of(&at, order, limit) {
            steps.push(last);
            return Some(steps);
        }
        if at.len() > LARGEST || steps.len() > LARGEST {
            return None;
        }
        if let Some([first, second]) = two(&at, order, limit) {
            steps.extend([first, second]);
            return Some(steps);
        }
        // What leaves the fewest groups to move: there is always a way to fewer.
        let next = swaps(&at).min_by_key(|next| groups(next, order).len())?;
        steps.push(Step::of(&at, &next, limit)?);
        at = next;
    }
}

/// Two steps, the first of which lets two neighbouring groups change places, through the fewest axes.
fn two(at: &[Digit], order: &[Digit], limit: usize) -> Option<[Step; 2]> {
    let ways = swaps(at).filter_map(|between| {
        let (first, second) = (Step::of(at, &between, limit)?, Step::of(&between, order, limit)?);
        Some([first, second])
    });
    ways.min_by_key(|steps| steps.iter().map(|s| s.view.rank()).sum::<usize>())
}

/// The digits with two neighbouring groups of them in each other's place, in every way.
fn swaps(digits: &[Digit]) -> impl Iterator<Item = Vec<Digit>> {
    let n = digits.len();
    let ends = (0..n).flat_map(move |from| (from + 1..n).map(move |at| (from, at)));
    let ends = ends.flat_map(move |(from, at)| (at + 1..=n).map(move |to| [from, at, to]));
    ends.map(|[from, at, to]| [&digits[..from], &digits[at..to], &digits[from..at], &digits[to..]].concat())
}
