//! How large the whole numbers of an input may be where they are indices: what they name has to be there.

use std::collections::{HashMap, HashSet};
use vitc_ir::{BinaryKind, Class, Graph, Node, NodeId, Op, Value, Weights};

/// Constants with more elements are not looked at.
const LIMIT: usize = 1 << 24;

/// Least and largest number of a value, if they can be told.
type Range = Option<[f64; 2]>;

/// The most for which everything is there that numbers from 0 to below it index, if they index anything: at least 1.
pub(super) fn below(graph: &Graph, weights: &dyn Weights, input: usize) -> Option<u32> {
    let (first, _) = graph.inputs().nth(input)?;
    let way = Way::of(graph, weights, first);
    let most = way.tables.iter().map(|&(_, rows)| rows).max()?;
    // What fits for one number fits for all that are smaller.
    let (mut fits, mut over) = (1, u32::try_from(most).ok()?.saturating_add(1));
    while over - fits > 1 {
        let middle = fits + (over - fits) / 2;
        if way.holds(middle) {
            fits = middle;
        } else {
            over = middle;
        }
    }
    Some(fits)
}

/// Whether an input of whole numbers counts as truths alone: what is taken off one, or chosen or multiplied by, once it was moved about.
pub(super) fn are_truths(graph: &Graph, input: usize) -> bool {
    let Some((first, _)) = graph.inputs().nth(input) else { return false };
    let mut moved = HashSet::from([Value::from(first)]);
    let mut read = false;
    for (id, node) in graph.run_time_nodes() {
        let at = |i: usize| node.inputs.get(i).is_some_and(|v| moved.contains(v));
        if !(0..node.inputs.len()).any(at) {
            continue;
        }
        let constant = |i: usize| graph.is_constant(node.inputs[i]);
        match &node.op {
            Op::Cast { .. } => drop(moved.insert(id.into())),
            op if op.facts().class == Class::Movement => drop(moved.insert(id.into())),
            Op::Binary(BinaryKind::Sub) if constant(0) => read = true,
            Op::Binary(BinaryKind::Mul) if !constant(0) && !constant(1) => read = true,
            Op::Select if at(0) => read = true,
            // How many there are.
            Op::Reduce { .. } => {}
            _ => return false,
        }
    }
    read
}

/// What is computed of an input's whole numbers.
struct Way<'a> {
    graph: &'a Graph,
    /// Nodes that compute whole numbers of them, in order.
    nodes: Vec<(NodeId, &'a Node)>,
    /// Indices of lookups among these, and the rows that are there.
    tables: Vec<(Value, usize)>,
    /// Ranges of constants that are computed with.
    constants: HashMap<Value, Range>,
}

impl<'a> Way<'a> {
    fn of(graph: &'a Graph, weights: &dyn Weights, input: NodeId) -> Way<'a> {
        let mut way = Way { graph, nodes: Vec::new(), tables: Vec::new(), constants: HashMap::new() };
        let mut reached = HashSet::from([input]);
        for (id, node) in graph.run_time_nodes() {
            if let (Op::Gather { axis }, Some(index)) = (&node.op, node.inputs.get(1))
                && reached.contains(&index.node)
                && let Some(rows) = graph.shape(node.inputs[0]).0.get(*axis).and_then(|d| d.fixed())
            {
                way.tables.push((*index, rows));
            }
            let whole = node.types.iter().any(|t| !t.dtype.is_float());
            if whole && node.inputs.iter().any(|v| reached.contains(&v.node)) {
                reached.insert(id);
                way.nodes.push((id, node));
                for &v in node.inputs.iter().filter(|&&v| graph.is_constant(v)) {
                    way.constants.entry(v).or_insert_with(|| held(graph, weights, v));
                }
            }
        }
        way
    }

    /// Whether all indices are there if all inputs of whole numbers are below this.
    fn holds(&self, below: u32) -> bool {
        let given = Some([0.0, f64::from(below - 1)]);
        let mut ranges: HashMap<NodeId, Range> = HashMap::new();
        let inputs = self.graph.inputs().filter(|(_, node)| !node.types[0].dtype.is_float());
        ranges.extend(inputs.map(|(id, _)| (id, given)));
        for (id, node) in &self.nodes {
            let of = |v: &Value| match self.constants.get(v) {
                Some(range) => *range,
                None => ranges.get(&v.node).copied().flatten(),
            };
            let range = computed(node, &node.inputs.iter().map(of).collect::<Vec<_>>());
            ranges.insert(*id, range);
        }
        let there = |&(index, rows): &(Value, usize)| match ranges.get(&index.node).copied().flatten() {
            Some([least, most]) => least >= 0.0 && most < rows as f64,
            None => true,
        };
        self.tables.iter().all(there)
    }
}

/// The range of a constant.
fn held(graph: &Graph, weights: &dyn Weights, value: Value) -> Range {
    if graph.shape(value).elements() > LIMIT {
        return None;
    }
    let data = vitc_ir::eval::constant(graph, weights, value).ok()?;
    let wide = |[least, most]: [f64; 2], &x: &f64| [least.min(x), most.max(x)];
    Some(data.iter().fold([f64::INFINITY, f64::NEG_INFINITY], wide))
}

/// The range of what a node computes of operands in these ranges.
fn computed(node: &Node, operands: &[Range]) -> Range {
    let all = |ranges: &[Range]| -> Range {
        let known: Vec<[f64; 2]> = ranges.iter().copied().collect::<Option<_>>()?;
        known.into_iter().reduce(|[a, b], [c, d]| [a.min(c), b.max(d)])
    };
    let class = node.op.facts().class;
    if let Op::Binary(kind) = node.op {
        let &[Some([a, b]), Some([c, d])] = operands else { return None };
        return match kind {
            BinaryKind::Add => Some([a + c, b + d]),
            BinaryKind::Sub => Some([a - d, b - c]),
            BinaryKind::Mul => {
                let corners = [a * c, a * d, b * c, b * d];
                all(&corners.map(|x| Some([x, x])))
            }
            BinaryKind::Max => Some([a.max(c), b.max(d)]),
            BinaryKind::Min => Some([a.min(c), b.min(d)]),
            BinaryKind::Quotient if c > 0.0 || d < 0.0 => {
                let corners = [a / c, a / d, b / c, b / d];
                all(&corners.map(|x| Some([x.trunc(), x.trunc()])))
            }
            BinaryKind::Quotient | BinaryKind::Div | BinaryKind::Pow => None,
        };
    }
    if let Op::Gather { .. } = node.op {
        return *operands.first()?;
    }
    if let Op::Select = node.op {
        return all(operands.get(1..)?);
    }
    // What stands between moved numbers may be anything.
    let moved = matches!(class, Class::Movement | Class::Cast) && !matches!(node.op, Op::Pad { .. });
    if moved { all(operands) } else { None }
}

#[cfg(test)]
mod tests {
    use super::below;
    use vitc_exporters::onnx::FileWeights;

    /// Indices that are shifted, scaled and made positive fit what is looked up; what indexes nothing has no bound.
    #[test]
    fn indices_stay_in_their_tables() {
        let rows = [
            ("%y: f32[3,2] = gather(%t, %x){axis=0}", Some(7)),
            ("%a: i32[3] = add(%x, literal[2,2,2]:i32[3])\n%y: f32[3,2] = gather(%t, %a){axis=0}", Some(5)),
            (
                "%a: i32[3] = mul(%x, literal[2,2,2]:i32[3])\n%b: i32[3] = add(%a, literal[0,1,1]:i32[3])\n%y: f32[3,2] = gather(%t, %b){axis=0}",
                Some(3),
            ),
            ("%a: i32[3] = add(%x, literal[9,9,9]:i32[3])\n%y: f32[3,2] = gather(%t, %a){axis=0}", Some(1)),
            ("%y: i32[3] = add(%x, %x)", None),
        ];
        for (body, wanted) in rows {
            let text = format!("graph g  stage=target\n%x: i32[3] = input\n%t: f32[7,2] = input\n{body}\noutputs y=%y");
            let graph = vitc_ir::parse(&text).expect(body);
            assert_eq!(below(&graph, &FileWeights::default(), 0), wanted, "{body}");
        }
    }
}
