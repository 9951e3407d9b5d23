//! Keep channels behind positions in the stretches around norms over channels.
//!
//! ```text
//! Given    x [B,c…,s…], channels in front of positions: norms over channels, 1x1 convolutions, elementwise operators, sums, products of
//!          positions or channels with constants, means over all positions
//! Result   the same operators on [B,s…,c…]; a 1x1 convolution is a linear layer, a product of positions one from the left
//! ```
//!
//! Why: a norm over channels on `[B,C,H,W]` is two transposes and a norm on the last axis. Where channels stay last between norms, the transposes
//! stand at the ends of the stretch only, and a transform of positions writes whole rows of channels, which need no padding where the number
//! of positions is odd (DSM-T in TensorRT: 170 kernels become 157).
//!
//! Exact    each operator says the same on permuted axes.
//!
//! A stretch is what norms reach through operators that can be said so. Its cost is what is moved on the way in and out, priced by the
//! target's cost model, and two moves for each norm outside; a node is left out where that is not dearer (a convolution holds its bias), and a
//! stretch that saves nothing is left as it is. Only where the target's data says that linear layers run as fast as 1x1 convolutions.

use crate::algebra::{Linear, inverse};
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{BTreeSet, HashMap, HashSet};
use vitc_ir::cost::{Price, Work};
use vitc_ir::{Builder, Built, Copier, Dim, Graph, NodeId, Op, Shape, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("channels_last", |t| t.channels_last, run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let stretches = Stretches::of(graph, Price::new(graph, target, options.precision));
    let members = stretches.chosen();
    let mut emitter =
        Emitter { copy: Copier::new(graph, graph.stage), channels: &stretches.channels, last: HashMap::new() };
    for (id, node) in graph.nodes() {
        if members.contains(&id) {
            emitter.member(id)?;
        } else {
            node.inputs.iter().try_for_each(|&x| emitter.first(x))?;
            emitter.copy.node(id)?;
        }
    }
    graph.outputs.iter().try_for_each(|o| emitter.first(o.value))?;
    Ok(Rewritten::new(emitter.copy.finish()?, members.len()))
}

/// What can be said with channels last, and what that costs.
struct Stretches<'a> {
    graph: &'a Graph,
    price: Price,
    /// Values that may lie so, with their number of channel axes, which follow the batch.
    channels: HashMap<Value, usize>,
    /// Nodes that may be said so.
    nodes: BTreeSet<NodeId>,
    uses: Uses,
}

impl<'a> Stretches<'a> {
    fn of(graph: &'a Graph, price: Price) -> Self {
        let mut all = Stretches { graph, price, channels: HashMap::new(), nodes: BTreeSet::new(), uses: graph.uses() };
        let mut open: Vec<(NodeId, Value, usize)> = Vec::new();
        for (id, node) in graph.run_time_nodes() {
            if is_norm(graph, id) {
                open.push((id, node.inputs[0], 1));
            }
        }
        open.reverse();
        while let Some((id, anchor, k)) = open.pop() {
            let Some(roles) = roles(graph, id, anchor, k, &all.channels) else { continue };
            if roles.iter().any(|(v, k)| all.channels.get(v).is_some_and(|known| known != k)) || !all.nodes.insert(id) {
                continue;
            }
            for (value, k) in roles {
                all.channels.insert(value, k);
                // Of one position every order is a view: convolutions stay.
                if is_view(graph.shape(value), k) {
                    continue;
                }
                let neighbours = all.uses.readers(value).iter().map(|r| r.node).chain([value.node]);
                let next = neighbours.filter(|n| !all.nodes.contains(n) && graph.node(*n).op != Op::Input);
                open.extend(next.map(|n| (n, value, k)));
            }
        }
        all
    }

    /// The nodes to be said with channels last.
    fn chosen(&self) -> HashSet<NodeId> {
        let mut chosen = HashSet::new();
        for stretch in self.connected() {
            let apart = self.cost(&stretch, &HashSet::new());
            let mut members: HashSet<NodeId> = stretch.iter().copied().collect();
            let mut best = self.cost(&stretch, &members);
            loop {
                let before = members.len();
                for id in &stretch {
                    if members.remove(id) {
                        let cost = self.cost(&stretch, &members);
                        if cost <= best {
                            best = cost;
                        } else {
                            members.insert(*id);
                        }
                    }
                }
                if members.len() == before {
                    break;
                }
            }
            if best < apart {
                chosen.extend(members);
            }
        }
        chosen
    }

    /// Nodes that share values.
    fn connected(&self) -> Vec<Vec<NodeId>> {
        let mut left = self.nodes.clone();
        let mut stretches = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut stretch, mut open) = (vec![first], vec![first]);
            while let Some(id) = open.pop() {
                for value in self.values(id) {
                    for next in self.uses.readers(value).iter().map(|r| r.node).chain([value.node]) {
                        if left.remove(&next) {
                            stretch.push(next);
                            open.push(next);
                        }
                    }
                }
            }
            stretch.sort();
            stretches.push(stretch);
        }
        stretches
    }

    /// Operands and result of a node, without constants.
    fn values(&self, id: NodeId) -> impl Iterator<Item = Value> {
        let inputs = self.graph.node(id).inputs.iter().copied();
        inputs.filter(|&v| !self.graph.is_constant(v)).chain([id.into()])
    }

    /// What moving costs if `members` of a stretch have their channels last.
    fn cost(&self, stretch: &[NodeId], members: &HashSet<NodeId>) -> f64 {
        let mut work = Work::default();
        let mut seen = HashSet::new();
        for &id in stretch {
            if is_norm(self.graph, id) && !members.contains(&id) {
                let there = Work::movement(self.price.elements(self.graph.shape(id.into())));
                let back = there;
                work += there;
                work += back;
            }
            for value in self.values(id).filter(|v| seen.insert(*v)) {
                let reads = |inside: bool| self.uses.readers(value).iter().any(|r| members.contains(&r.node) == inside);
                let made = members.contains(&value.node);
                let result = self.uses.is_result(value);
                let moved = if made { reads(false) || result } else { reads(true) };
                if moved && !is_view(self.graph.shape(value), self.channels[&value]) {
                    work += Work::movement(self.price.elements(self.graph.shape(value)));
                }
            }
        }
        self.price.of(&work)
    }
}

/// A norm over the channels of a map, its scale and shift constant.
fn is_norm(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(&node.op, Op::LayerNorm { axes, .. } if axes[..] == [1])
        && node.types[0].shape.rank() > 2
        && node.inputs[1..].iter().all(|&v| graph.is_constant(v))
}

/// The axes of `[B,c…,s…]` in the order `[B,s…,c…]`.
fn to_last(rank: usize, channels: usize) -> Vec<usize> {
    [0].into_iter().chain(1 + channels..rank).chain(1..=channels).collect()
}

/// Whether channels or positions have one element, so that their order is the same.
fn is_view(shape: &Shape, channels: usize) -> bool {
    let count = |dims: &[Dim]| dims.iter().map(|d| d.at(1)).product::<usize>();
    count(&shape.0[1..=channels]) == 1 || count(&shape.0[1 + channels..]) == 1
}

/// The values of a node with their numbers of channel axes, if `anchor` has `k`; `None` if the node cannot be said so.
fn roles(
    graph: &Graph,
    id: NodeId,
    anchor: Value,
    k: usize,
    known: &HashMap<Value, usize>,
) -> Option<Vec<(Value, usize)>> {
    let node = graph.node(id);
    let (y, x) = (Value::from(id), *node.inputs.first()?);
    let (shape, rank) = (graph.shape(y), graph.shape(y).rank());
    let both = |x: Value| (k < rank).then(|| vec![(x, k), (y, k)]);
    match &node.op {
        Op::Unary(_) | Op::Clip { .. } | Op::Cast { .. } => both(x),
        Op::Binary(_) => {
            let read: Vec<Value> = node.inputs.iter().copied().filter(|&v| !graph.is_constant(v)).collect();
            let alike = read.iter().all(|&v| graph.shape(v).rank() == rank && graph.shape(v).0[0] == shape.0[0]);
            let constants = node.inputs.iter().filter(|v| graph.is_constant(**v));
            let fit = constants.into_iter().all(|&v| graph.shape(v).rank() < rank || graph.shape(v).0[0] == 1.into());
            (alike && fit && k < rank).then(|| read.into_iter().chain([y]).map(|v| (v, k)).collect())
        }
        Op::LayerNorm { .. } => (is_norm(graph, id) && k == 1).then(|| both(x))?,
        Op::Conv { stride: [1, 1], pad: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } => {
            let linear = Linear::of(graph, id)?;
            (k == 1 && graph.shape(linear.w).0[2..] == Shape::fixed(&[1, 1]).0).then(|| both(x))?
        }
        Op::Reduce { axes, keep, .. } => {
            let from = graph.shape(x);
            let positions: Vec<usize> = (1 + k..from.rank()).collect();
            (anchor == x && *axes == positions && (*keep || rank == 1 + k)).then(|| both(x))?
        }
        Op::Reshape { .. } => {
            let from = graph.shape(x);
            let (here, there, other) = if anchor == x { (from, shape, y) } else { (shape, from, x) };
            let count = |shape: &Shape, k: usize| shape.0[1..=k].iter().map(|d| d.at(1)).product::<usize>();
            let fits = |j: &usize| count(there, *j) == count(here, k);
            let all: Vec<usize> = (1..there.rank()).filter(fits).collect();
            let j = known.get(&other).filter(|j| all.contains(j)).or(all.first()).copied()?;
            (from.0[0] == shape.0[0]).then(|| vec![(anchor, k), (other, j)])
        }
        Op::MatMul { transpose_a: false, transpose_b: false } => {
            let constant = node.inputs.iter().position(|&v| graph.is_constant(v))?;
            let matrix = graph.shape(node.inputs[constant]).rank() == 2;
            let x = node.inputs[1 - constant];
            // Of a product from the left the channels are contracted if there is one axis of positions.
            let fits = graph.shape(x).rank() == rank
                && if constant == 1 { k < rank - 1 } else { k < rank - 2 || (k, rank) == (1, 3) };
            (matrix && fits).then(|| both(x))?
        }
        _ => None,
    }
}

struct Emitter<'a> {
    copy: Copier<'a>,
    channels: &'a HashMap<Value, usize>,
    /// Old values as they lie with channels last in the new graph.
    last: HashMap<Value, Value>,
}

impl Emitter<'_> {
    /// An old value with channels last.
    fn last(&mut self, old: Value) -> Built {
        if let Some(&held) = self.last.get(&old) {
            return Ok(held);
        }
        let x = self.copy.get(old)?;
        let name = format!("{}.channels_last", self.copy.old.value_name(old));
        let perm = to_last(self.copy.old.shape(old).rank(), self.channels[&old]);
        let y = permuted(&mut self.copy.new, &name, x, &perm)?;
        self.last.insert(old, y);
        Ok(y)
    }

    /// Make an old value available as the architecture has it.
    fn first(&mut self, old: Value) -> Built<()> {
        let Some(&held) = self.last.get(&old) else { return Ok(()) };
        if self.copy.is_done(old.node) {
            return Ok(());
        }
        let name = format!("{}.channels_first", self.copy.old.value_name(old));
        let perm = to_last(self.copy.old.shape(old).rank(), self.channels[&old]);
        let back = inverse(&perm);
        let y = permuted(&mut self.copy.new, &name, held, &back)?;
        self.copy.set(old, y);
        Ok(())
    }

    /// A constant that broadcasts to values of `rank` with `k` channel axes, brought to their order.
    fn constant(&mut self, old: Value, rank: usize, k: usize) -> Built {
        let c = self.copy.constant(old)?;
        let dims = self.copy.new.fixed(c)?;
        let path = self.copy.old.value_name(old);
        if dims.iter().all(|&d| d == 1) {
            return Ok(c);
        }
        let whole: Vec<usize> = std::iter::repeat_n(1, rank - dims.len()).chain(dims).collect();
        let c = Builder::within(&mut self.copy.new, &path).reshaped("whole", c, &whole)?;
        permuted(&mut self.copy.new, &format!("{path}.channels_last"), c, &to_last(rank, k))
    }

    /// Say one node with channels last.
    fn member(&mut self, id: NodeId) -> Built<()> {
        let old = self.copy.old;
        let node = old.node(id);
        let y = Value::from(id);
        let (k, rank) = (self.channels[&y], old.shape(y).rank());
        let at = node.inputs.iter().position(|&v| !old.is_constant(v)).unwrap_or(0);
        let x = node.inputs[at];
        let result = match &node.op {
            Op::Binary(_) => {
                let inputs: Vec<Value> = node
                    .inputs
                    .iter()
                    .map(|&v| if old.is_constant(v) { self.constant(v, rank, k) } else { self.last(v) })
                    .collect::<Built<_>>()?;
                self.push(id, node.op.clone(), &inputs)?
            }
            Op::LayerNorm { eps, .. } => {
                let inputs = self.with_constants(id, x)?;
                self.push(id, Op::LayerNorm { axes: vec![rank - 1], eps: *eps }, &inputs)?
            }
            Op::Conv { .. } => {
                let mut inputs = self.with_constants(id, x)?;
                let dims = self.copy.new.fixed(inputs[1])?;
                let mut net = Builder::within(&mut self.copy.new, &node.path);
                inputs[1] = net.reshaped("w_rows", inputs[1], &dims[..2])?;
                self.push(id, Op::Linear, &inputs)?
            }
            Op::Reduce { kind, keep, .. } => {
                let positions = old.shape(x).rank() - k;
                let x = self.last(x)?;
                let op = Op::Reduce { kind: *kind, axes: (1..positions).collect(), keep: *keep };
                self.push(id, op, &[x])?
            }
            Op::Reshape { shape } => {
                let x = self.last(x)?;
                let perm = to_last(rank, k);
                let shape = Shape(perm.iter().map(|&a| shape.0[a]).collect());
                self.push(id, Op::Reshape { shape }, &[x])?
            }
            Op::MatMul { .. } => self.product(id, x, at == 0)?,
            op => {
                let x = self.last(x)?;
                self.push(id, op.clone(), &[x])?
            }
        };
        self.last.insert(y, result);
        Ok(())
    }

    fn push(&mut self, id: NodeId, op: Op, inputs: &[Value]) -> Built {
        Builder::within(&mut self.copy.new, &self.copy.old.node(id).path).push("", op, inputs)
    }

    /// The operand with channels last, and the node's constants.
    fn with_constants(&mut self, id: NodeId, x: Value) -> Built<Vec<Value>> {
        let constants = self.copy.old.node(id).inputs[1..].iter();
        let constants: Vec<Value> = constants.map(|&v| self.copy.constant(v)).collect::<Built<_>>()?;
        Ok([self.last(x)?].into_iter().chain(constants).collect())
    }

    /// `x·M` over the last position, or `M·x` over the one before it or over the channels.
    fn product(&mut self, id: NodeId, x: Value, from_right: bool) -> Built {
        let old = self.copy.old;
        let node = old.node(id);
        let (k, shape) = (self.channels[&id.into()], old.shape(id.into()));
        let rank = shape.rank();
        let matrix = self.copy.constant(node.inputs[usize::from(from_right)])?;
        let held = self.last(x)?;
        if !from_right && k == rank - 2 {
            return self.push(id, Op::Linear, &[held, matrix]);
        }
        let perm = to_last(rank, k);
        let result = Shape(perm.iter().map(|&a| shape.0[a]).collect());
        let mut net = Builder::within(&mut self.copy.new, &node.path);
        let from = net.ty(held).shape.clone();
        // The axis that is contracted, and everything behind it as one.
        let axis = if from_right { rank - 1 - k } else { rank - 2 - k };
        let rows = |shape: &Shape| {
            let behind = shape.0[axis + 1..].iter().map(|d| d.at(1)).product::<usize>();
            Shape(shape.0[..=axis].iter().copied().chain([behind.into()]).collect())
        };
        let matrix = if from_right { transposed(&mut net, matrix)? } else { matrix };
        let rows = rows(&from);
        let flat = if rows == from { held } else { net.reshape("positions", held, rows)? };
        let viewed = Shape(result.0[..=axis].to_vec()).rank() + 1 != rank;
        let y = net.matmul(if viewed { "product" } else { "" }, matrix, flat)?;
        Ok(if viewed { net.reshape("", y, result)? } else { y })
    }
}

/// A constant matrix transposed, without a transpose of a transpose.
fn transposed(net: &mut Builder, m: Value) -> Built {
    let producer = net.graph().producer(m);
    Ok(match &producer.op {
        Op::Transpose { perm } if perm[..] == [1, 0] => producer.inputs[0],
        _ => net.transpose("transposed", m, &[1, 0])?,
    })
}

/// Axes permuted: a reshape if only axes of one element change their places, nothing if none does.
fn permuted(graph: &mut Graph, name: &str, x: Value, perm: &[usize]) -> Built {
    if perm.is_sorted() {
        return Ok(x);
    }
    let shape = graph.shape(x).clone();
    let moved = Shape(perm.iter().map(|&a| shape.0[a]).collect());
    let kept: Vec<usize> = perm.iter().copied().filter(|&a| shape.0[a] != Dim::Fixed(1)).collect();
    let mut net = Builder::within(graph, name);
    Ok(if kept.is_sorted() { net.reshape("", x, moved)? } else { net.transpose("", x, perm)? })
}
