//! Let operators on rows read the axes that a reshape joins or cuts, where that saves the reshape.
//!
//! ```text
//! Given    y = reshape(f(reshape(x₁), reshape(x₂), …))     xᵢ [lead…, Cᵢ] seen as [rows…, Cᵢ]; f acts on each row alone, and nothing else reads inside of it
//! Result   y = reshape(f(x₁, x₂, …))                       or f(x₁, x₂, …), if that has the shape already
//! ```
//!
//! So the layers of a perceptron that exporters write on a matrix of rows stay on the tokens, and what knows tokens sees through them.
//!
//! Exact    a reshape that keeps the last axis moves no element into another row, and f does the same to every row.

use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use vitc_ir::{Axis, Builder, Built, Class, Copier, Dim, Graph, Node, NodeId, Op, Shape, Type, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("sink_reshapes", run);

/// Operators between the reshapes that are looked at, at most.
const LARGEST: usize = 32;

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut found: HashMap<NodeId, Region> = HashMap::new();
    let mut moved: HashSet<NodeId> = HashSet::new();
    for (id, _) in graph.run_time_nodes() {
        // What ends where another one begins has its turn when the list is walked again.
        let region = Region::before(graph, &uses, id).filter(|r| r.sources().all(|x| !moved.contains(&x.node)));
        if let Some(region) = region {
            moved.extend(region.inside.keys());
            found.insert(id, region);
        }
    }
    let mut copy = Copier::new(graph, graph.stage);
    for (id, _) in graph.nodes().filter(|(id, _)| !moved.contains(id)) {
        match found.get(&id) {
            Some(region) => {
                let y = region.emit(&mut copy, id)?;
                copy.set(id.into(), y);
            }
            None => {
                copy.node(id)?;
            }
        }
    }
    Ok(Rewritten::new(copy.finish()?, found.len()))
}

/// Operators on rows between reshapes.
struct Region {
    /// All axes but the last, as the sources have them.
    lead: Vec<Dim>,
    /// The same, as the operators see them.
    seen: Vec<Dim>,
    /// The operators in order, for the sources' axes.
    inside: BTreeMap<NodeId, Op>,
    /// What the reshapes give, and what they read.
    leaves: HashMap<Value, Value>,
}

impl Region {
    /// The operators before a reshape, where it pays.
    fn before(graph: &Graph, uses: &Uses, end: NodeId) -> Option<Region> {
        let node = graph.node(end);
        let Op::Reshape { shape } = &node.op else { return None };
        let (&result, seen) = graph.shape(node.inputs[0]).0.split_last()?;
        let (seen, inside, leaves) = (seen.to_vec(), BTreeMap::new(), HashMap::new());
        let mut region = Region { lead: Vec::new(), seen, inside, leaves };
        let mut inside = BTreeSet::new();
        let mut open = vec![node.inputs[0]];
        while let Some(value) = open.pop() {
            if graph.is_constant(value) || region.leaves.contains_key(&value) {
                continue;
            }
            if !region.leaf(graph, value)? {
                let alone = uses.once(value) && inside.len() < LARGEST;
                if !alone || !region.acts_on_rows(graph, value) {
                    return None;
                }
                inside.insert(value.node);
                open.extend(graph.producer(value).inputs.iter());
            }
        }
        region.inside = inside.into_iter().map(|id| Some((id, region.raised(graph, id)?))).collect::<Option<_>>()?;
        let kept = Shape([&region.lead[..], &[result]].concat()) == *shape;
        let fall = region.leaves.keys().filter(|v| uses.once(**v)).count() + usize::from(kept);
        (fall > 0 && !region.inside.is_empty() && !region.lead.is_empty()).then_some(region)
    }

    /// Whether a value is a reshape of rows, which then begins the region; `None` if it cuts them otherwise than another one does.
    fn leaf(&mut self, graph: &Graph, value: Value) -> Option<bool> {
        let node = graph.producer(value);
        let Op::Reshape { .. } = node.op else { return Some(false) };
        let x = node.inputs[0];
        let (last, lead) = graph.shape(x).0.split_last()?;
        let (made, seen) = graph.shape(value).0.split_last()?;
        if self.leaves.is_empty() {
            self.lead = lead.to_vec();
        }
        let same = last == made && seen == self.seen && lead == self.lead && !graph.is_constant(x);
        self.leaves.insert(value, x);
        same.then_some(true)
    }

    /// Whether an operator does the same to each row of its operands, as they stand.
    fn acts_on_rows(&self, graph: &Graph, value: Value) -> bool {
        let node = graph.producer(value);
        let types: Vec<Type> = node.inputs.iter().map(|&v| graph.ty(v).clone()).collect();
        by_row(graph, node, &node.op, &types, &self.seen)
    }

    /// The operator of a node for the sources' axes; `None` if it would not do the same.
    fn raised(&self, graph: &Graph, id: NodeId) -> Option<Op> {
        let node = graph.node(id);
        let last = self.lead.len();
        let op = match &node.op {
            Op::LayerNorm { eps, .. } => Op::LayerNorm { axes: vec![last], eps: *eps },
            Op::Softmax { .. } => Op::Softmax { axis: last },
            op => op.clone(),
        };
        let raised = |&v: &Value| {
            let ty = graph.ty(v).clone();
            if graph.is_constant(v) {
                return Some(ty);
            }
            Some(Type { shape: Shape([&self.lead[..], &[*ty.shape.0.last()?]].concat()), ..ty })
        };
        let types: Vec<Type> = node.inputs.iter().map(raised).collect::<Option<_>>()?;
        by_row(graph, node, &op, &types, &self.lead).then_some(op)
    }

    /// What the region reads when its first reshapes are gone.
    fn sources(&self) -> impl Iterator<Item = Value> + '_ {
        self.leaves.values().copied()
    }

    /// Append the operators and, where it changes anything, the last reshape.
    fn emit(&self, copy: &mut Copier, end: NodeId) -> Built {
        let old = copy.old;
        let mut made: HashMap<Value, Value> = HashMap::new();
        for (&seen, &x) in &self.leaves {
            made.insert(seen, copy.get(x)?);
        }
        for (&id, op) in &self.inside {
            let node = old.node(id);
            let mut inputs = Vec::new();
            for &v in node.inputs.iter() {
                inputs.push(match made.get(&v) {
                    Some(&x) => x,
                    None => copy.constant(v)?,
                });
            }
            let y = copy.new.push(op.clone(), &inputs, &node.path)?;
            made.insert(id.into(), y.into());
        }
        let node = old.node(end);
        let y = made.get(&node.inputs[0]).copied();
        let y = y.ok_or_else(|| old.unfit(node.inputs[0], "is not among the operators on rows".into()))?;
        let shape = &node.types[0].shape;
        if copy.new.shape(y) == shape {
            return Ok(y);
        }
        Builder::within(&mut copy.new, &node.path).reshape("", y, shape.clone())
    }
}

/// Whether `op`, on a node's operands of these types, takes each row alone: run-time operands have the leading axes and keep them in place, no constant
/// differs along one of them, and the result has them too.
fn by_row(graph: &Graph, node: &Node, op: &Op, types: &[Type], lead: &[Dim]) -> bool {
    let class = op.facts().class;
    if !matches!(class, Class::Elementwise | Class::Cast | Class::Contraction | Class::Normalisation) {
        return false;
    }
    let leads = |shape: &Shape| shape.0.split_last().is_some_and(|(_, own)| own == lead);
    let operands: Vec<&Type> = types.iter().collect();
    let fits = vitc_ir::infer::infer(op, &operands).is_ok_and(|made| made.iter().all(|ty| leads(&ty.shape)));
    let constant: Vec<bool> = node.inputs.iter().map(|&v| graph.is_constant(v)).collect();
    if !fits || !types.iter().zip(&constant).all(|(ty, &constant)| constant || leads(&ty.shape)) {
        return false;
    }
    let last = lead.len();
    let shapes: Vec<&Shape> = types.iter().map(|ty| &ty.shape).collect();
    op.axes(&shapes).0.iter().zip(constant).all(|(map, constant)| {
        map.iter().enumerate().all(|(a, axis)| match axis {
            Axis::Kept(to) => *to == last || (!constant && *to == a),
            Axis::Mixed(to) => *to == last,
            Axis::Contracted => constant || a == last,
            Axis::Broadcast(to) => constant || *to == last,
            Axis::Grouped { .. } | Axis::Windowed(_) | Axis::Placed(_) | Axis::Spread(_) => false,
        })
    })
}
