//! Say slices that share an axis out among them as one split.
//!
//! ```text
//! Given    a = x[..s],  b = x[s..t],  c = x[t..]        on one axis, in any order, each once or several times
//! Result   a, b, c = split(x)
//! ```
//!
//! Exact    by definition.

use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{BTreeMap, HashMap};
use vitc_ir::op::SliceAxis;
use vitc_ir::{Builder, Copier, Graph, NodeId, Op, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("join_slices", run);

/// Slices of one axis of a value: by where they begin, where they end and which they are.
type Parts = BTreeMap<usize, (usize, Vec<NodeId>)>;

fn run(graph: &Graph, _: &Context) -> Result {
    let mut by_axis: HashMap<(Value, usize), Option<Parts>> = HashMap::new();
    for (id, node) in graph.run_time_nodes() {
        let Op::Slice { cuts } = &node.op else { continue };
        let [SliceAxis { axis, start, stop, step: 1 }] = cuts[..] else { continue };
        let parts = by_axis.entry((node.inputs[0], axis)).or_insert_with(|| Some(Parts::new()));
        let known = parts.as_mut().map(|parts| parts.entry(start).or_insert((stop, Vec::new())));
        match known {
            Some(part) if part.0 == stop => part.1.push(id),
            _ => *parts = None,
        }
    }
    // By the first slice of each group: where its axis is cut.
    let mut groups: HashMap<NodeId, (usize, Parts)> = HashMap::new();
    for ((x, axis), parts) in by_axis {
        let Some(parts) = parts.filter(|parts| parts.len() > 1 && shares_out(graph, x, axis, parts)) else { continue };
        if let Some(&first) = parts.values().flat_map(|(_, ids)| ids).min() {
            groups.insert(first, (axis, parts));
        }
    }
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        if let Some((axis, parts)) = groups.get(&id) {
            let x = copy.get(node.inputs[0])?;
            let sizes: Vec<usize> = parts.iter().map(|(start, (stop, _))| stop - start).collect();
            let path = format!("{}.split", node.path);
            let made = Builder::within(&mut copy.new, path).split("", x, *axis, &sizes)?;
            for ((_, ids), value) in parts.values().zip(made) {
                ids.iter().for_each(|&id| copy.set(id.into(), value));
            }
        }
        copy.node(id)?;
    }
    Ok(Rewritten::new(copy.finish()?, groups.len()))
}

/// Whether every element of the axis is in one of the parts, and in one alone.
fn shares_out(graph: &Graph, x: Value, axis: usize, parts: &Parts) -> bool {
    let mut end = 0;
    let follows = parts.iter().all(|(&start, &(stop, _))| std::mem::replace(&mut end, stop) == start);
    follows && graph.shape(x).0[axis].fixed() == Some(end)
}
