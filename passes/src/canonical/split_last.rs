//! Move a value once and split it then, instead of splitting it and moving each part.
//!
//! ```text
//! Given    aᵢ = m(split(m'(x))ᵢ)      the same reshapes and transposes m of equal parts, which lie behind each other along an axis of the aᵢ
//! Result   aᵢ = split(m"(x))ᵢ         m" moves all parts at once
//! ```
//!
//! So queries, keys and values that a file unpacks by an axis of three cost one movement, also where they are no attention's.
//!
//! Exact    movements are compared as index arithmetic ([`crate::view`]).

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::count::Count;
use crate::view::emit::Plan;
use crate::view::trail::{Through, Trail};
use crate::view::{Digit, View, joined};
use std::collections::HashMap;
use vitc_ir::{Builder, Copier, Dim, Graph, NodeId, Op, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("split_last", run);

/// Movements behind a part at most.
const LONGEST: usize = 8;

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    // What takes the place of the parts, moved.
    let mut made: HashMap<NodeId, Value> = HashMap::new();
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if let Some(&value) = made.get(&id) {
            copy.set(id.into(), value);
            continue;
        }
        if let Some(parts) = Parts::of(graph, &uses, id) {
            let x = copy.get(parts.source)?;
            let mut net = Builder::within(&mut copy.new, &node.path);
            let all = parts.plan.emit(&mut net.at("all"), x)?;
            let values = net.split("", all, parts.axis, &vec![parts.size; parts.ends.len()])?;
            made.extend(parts.ends.iter().copied().zip(values));
            count += 1;
        }
        copy.node(id)?;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// Parts that are moved alike.
struct Parts {
    source: Value,
    /// How all of them are moved at once.
    plan: Plan,
    /// The axis on which they lie behind each other then, and how long each is.
    axis: usize,
    size: usize,
    /// The nodes that make the moved parts, in order.
    ends: Vec<NodeId>,
}

impl Parts {
    /// The parts of a split, where it pays.
    fn of(graph: &Graph, uses: &Uses, split: NodeId) -> Option<Parts> {
        let node = graph.node(split);
        let Op::Split { sizes, .. } = &node.op else { return None };
        if graph.is_constant(split.into()) || sizes.iter().any(|s| *s != sizes[0]) {
            return None;
        }
        let trail = Trail::to(graph, node.inputs[0], Through::Permutations)?;
        let falling = trail.nodes.iter().rev().take_while(|n| uses.once((**n).into())).count();
        let mut at: Vec<Value> = (0..sizes.len() as u32).map(|index| Value { node: split, index }).collect();
        let mut views: Vec<View> = at.iter().map(|&v| trail.view.through(graph, v)).collect::<Option<_>>()?;
        let mut best: Option<(usize, Parts)> = None;
        for steps in 1..=LONGEST {
            let Some(next) = moved_alike(graph, uses, &at) else { break };
            let moved: Option<_> = views.iter().zip(&next).map(|(view, &v)| view.through(graph, v)).collect();
            (views, at) = (moved?, next);
            let Some((view, axis)) = all_at_once(&views) else { continue };
            let mut shape = graph.shape(at[0]).clone();
            let Some(size) = shape.0[axis].fixed() else { continue };
            shape.0[axis] = shape.0[axis].times(sizes.len());
            let Some(plan) = Plan::of(graph, &view, &shape) else { continue };
            let saved = (falling + steps * sizes.len()).checked_sub(plan.nodes);
            let ends = at.iter().map(|v| v.node).collect();
            let better = saved.filter(|&saved| saved > best.as_ref().map_or(0, |(most, _)| *most));
            if let Some(saved) = better {
                best = Some((saved, Parts { source: view.source, plan, axis, size, ends }));
            }
        }
        best.map(|(_, parts)| parts)
    }
}

/// What moves each of several values, if that is the same movement of each and they have no other reader.
fn moved_alike(graph: &Graph, uses: &Uses, values: &[Value]) -> Option<Vec<Value>> {
    let reader = |&v: &Value| match uses.readers(v) {
        [reader] if uses.once(v) => Some(reader.node),
        _ => None,
    };
    let next: Vec<NodeId> = values.iter().map(reader).collect::<Option<_>>()?;
    let op = graph.op(next.first().copied()?.into());
    let movement = matches!(op, Op::Reshape { .. } | Op::Transpose { .. });
    (movement && next.iter().all(|&n| graph.op(n.into()) == op)).then(|| next.into_iter().map(Value::from).collect())
}

/// The view in which parts lie behind each other, and the axis on which they do.
fn all_at_once(parts: &[View]) -> Option<(View, usize)> {
    let [first, second, ..] = parts else { return None };
    let apart = distance(first, second)?;
    let evenly = |pair: &[View]| pair[0].axes == pair[1].axes && distance(&pair[0], &pair[1]) == Some(apart);
    let goes_on = |axis: &Vec<Digit>| axis.first().is_some_and(|d| d.size.times(d.stride) == Some(apart));
    let axis = first.axes.iter().position(goes_on).filter(|_| parts.windows(2).all(evenly))?;
    let mut view = first.clone();
    let all = Digit { size: Count::fixed(parts.len()), stride: apart };
    view.axes[axis] = joined([all].into_iter().chain(first.axes[axis].iter().copied()));
    Some((view, axis))
}

/// How far the second of two equal views begins behind the first.
fn distance(first: &View, second: &View) -> Option<Count> {
    let at = |view: &View, power: usize| view.offset.get(power).copied().unwrap_or(0);
    let powers = first.offset.len().max(second.offset.len());
    let mut found = None;
    for power in 0..powers {
        let by = at(second, power).checked_sub(at(first, power))?;
        if by > 0 && found.replace((by, power)).is_some() {
            return None;
        }
    }
    let (by, power) = found?;
    (0..power).try_fold(Count::fixed(by), |count, _| count.times(Count::from(Dim::Batch(1))))
}
