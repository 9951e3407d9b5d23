//! The data flow through operators that stand one below the other: every value runs down in a lane of its own from where it is made to
//! where it is read last, so nothing crosses a name and any number of operators can be followed.

use super::chart::px;
use super::html::{Element, el};
use super::kind;
use std::collections::{BTreeMap, HashMap};
use vitc_ir::{Graph, NodeId, Value};

/// Height of a row, as in the style sheet.
pub(super) const ROW: f64 = 24.0;

/// Room for all lanes, which move together where there are many.
const ROOM: f64 = 132.0;

/// A value's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lane {
    lane: usize,
    /// The row that makes it; `None` if it comes from outside.
    from: Option<usize>,
    /// The last row that reads it; the number of rows if something outside reads it.
    until: usize,
}

/// Where everything stands.
#[derive(Debug)]
struct Layout {
    values: BTreeMap<Value, Lane>,
    /// Lane of each row's own dot.
    dots: Vec<usize>,
    /// Number of lanes.
    width: usize,
}

/// A drawing beside rows of `nodes`. `leaves` tells whether something besides these nodes reads a value.
pub(super) fn lanes(graph: &Graph, nodes: &[NodeId], leaves: &dyn Fn(Value) -> bool) -> Element {
    let layout = layout(graph, nodes, leaves);
    let pitch = (ROOM / layout.width as f64).min(12.0);
    let x = |lane: usize| 7.0 + pitch * lane as f64;
    let y = |row: usize| ROW * (row as f64 + 0.5);
    let (width, height) = (x(layout.width - 1) + 7.0, ROW * nodes.len() as f64);
    let mut svg = el("svg").class("lanes").attr("width", px(width)).attr("height", px(height));
    svg = svg.attr("viewBox", format!("0 0 {} {}", px(width), px(height)));
    let mut readers: BTreeMap<Value, Vec<usize>> = BTreeMap::new();
    for (row, &id) in nodes.iter().enumerate() {
        for v in graph.node(id).inputs.iter().filter(|v| layout.values.contains_key(v)) {
            readers.entry(*v).or_default().push(row);
        }
    }
    for (value, lane) in &layout.values {
        let at = x(lane.lane);
        let mut path = match lane.from {
            None => format!("M{} 0", px(at)),
            Some(row) if layout.dots[row] == lane.lane => format!("M{} {}", px(at), px(y(row))),
            Some(row) => bend([x(layout.dots[row]), y(row)], [at, y(row) + ROW / 2.0]),
        };
        let rows = readers.get(value).map_or(&[][..], Vec::as_slice);
        match rows.last() {
            _ if lane.until == nodes.len() => path.push_str(&format!("V{}", px(height))),
            Some(&last) => path.push_str(&format!("V{}", px(y(last) - ROW / 2.0))),
            None => continue,
        }
        for &row in rows {
            path.push_str(&bend([at, y(row) - ROW / 2.0], [x(layout.dots[row]), y(row)]));
        }
        svg = svg.add(el("path").attr("d", path));
    }
    svg.all(nodes.iter().enumerate().map(|(row, &id)| {
        let circle = el("circle").attr("cx", px(x(layout.dots[row]))).attr("cy", px(y(row))).attr("r", "4");
        circle.class(kind(&graph.node(id).op))
    }))
}

/// From one point to another, leaving and arriving downwards.
fn bend([x, y]: [f64; 2], [to_x, to_y]: [f64; 2]) -> String {
    let middle = (y + to_y) / 2.0;
    format!("M{} {}C{} {} {} {} {} {}", px(x), px(y), px(x), px(middle), px(to_x), px(middle), px(to_x), px(to_y))
}

fn layout(graph: &Graph, nodes: &[NodeId], leaves: &dyn Fn(Value) -> bool) -> Layout {
    let row_of: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(row, &id)| (id, row)).collect();
    let mut until: HashMap<Value, usize> = HashMap::new();
    let mut outside: Vec<Value> = Vec::new();
    for (row, &id) in nodes.iter().enumerate() {
        for &v in graph.node(id).inputs.iter().filter(|&&v| !graph.is_stored(v)) {
            if until.insert(v, row).is_none() && !row_of.contains_key(&v.node) {
                outside.push(v);
            }
        }
    }
    // What each lane is taken until; rows count from 1, so that 0 is free from the start.
    let mut taken: Vec<usize> = Vec::new();
    let free = |taken: &mut Vec<usize>, row: usize| {
        taken.iter().position(|&t| t <= row).unwrap_or_else(|| {
            taken.push(0);
            taken.len() - 1
        })
    };
    let mut values: BTreeMap<Value, Lane> = BTreeMap::new();
    for v in outside {
        let lane = free(&mut taken, 0);
        taken[lane] = until[&v] + 1;
        values.insert(v, Lane { lane, from: None, until: until[&v] });
    }
    let mut dots = Vec::with_capacity(nodes.len());
    for (row, &id) in nodes.iter().enumerate() {
        let node = graph.node(id);
        // A chain stays in its lane: the result takes over that of the first operand that nothing reads later.
        let ended = node.inputs.iter().filter_map(|v| values.get(v)).find(|l| l.until == row).map(|l| l.lane);
        let mut dot = None;
        for index in 0..node.types.len() as u32 {
            let v = Value { node: id, index };
            let last = if leaves(v) { Some(nodes.len()) } else { until.get(&v).copied() };
            let lane = ended.filter(|_| dot.is_none()).unwrap_or_else(|| free(&mut taken, row + 1));
            dot = dot.or(Some(lane));
            if let Some(last) = last {
                taken[lane] = last + 1;
                values.insert(v, Lane { lane, from: Some(row), until: last });
            }
        }
        dots.push(dot.expect("every node has a result"));
    }
    Layout { values, dots, width: taken.len().max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x → a → b → sum(b, x), where x comes from outside and the sum leaves.
    #[test]
    fn a_skip_runs_beside_its_block() {
        let text = "graph g  stage=target\n%x: f32[1,4] = input\n%a: f32[1,4] = relu(%x)\n%b: f32[1,4] = abs(%a)\n\
                    %sum: f32[1,4] = add(%b, %x)\noutputs y=%sum\n";
        let graph = vitc_ir::parse(text).expect("parses");
        let nodes: Vec<NodeId> = graph.run_time_nodes().map(|(id, _)| id).collect();
        let leaves = |v: Value| v.node == nodes[2];
        let found = layout(&graph, &nodes, &leaves);
        assert_eq!((found.width, found.dots.as_slice()), (2, &[1, 1, 1][..]));
        let x = graph.inputs().next().expect("has an input").0;
        assert_eq!(found.values[&x.into()], Lane { lane: 0, from: None, until: 2 });
        assert_eq!(found.values[&nodes[2].into()], Lane { lane: 1, from: Some(2), until: 3 });
    }

    /// No lane is taken twice at once, whatever the graph.
    #[test]
    fn lanes_never_meet() {
        for seed in 0..40 {
            let graph = vitc_ir::testing::random_graph(seed, Default::default());
            let nodes: Vec<NodeId> = graph.run_time_nodes().map(|(id, _)| id).collect();
            let leaves = |v: Value| graph.outputs.iter().any(|o| o.value == v);
            let found = layout(&graph, &nodes, &leaves);
            let all: Vec<&Lane> = found.values.values().collect();
            for (i, a) in all.iter().enumerate() {
                let start = |l: &Lane| l.from.map_or(0, |row| row + 1);
                for b in &all[i + 1..] {
                    let apart = a.until < start(b) || b.until < start(a);
                    assert!(a.lane != b.lane || apart, "seed {seed}: {a:?} {b:?}");
                }
            }
        }
    }
}
