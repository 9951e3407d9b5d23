//! Let operators between transpositions of maps work on the axes as they lie around them.
//!
//! ```text
//! Given    transpose(f(transpose(x₁){perm=p}, transpose(x₂){perm=p}, …)){perm=p⁻¹}     p moves channels behind positions, or in front of them
//! Result   f′(x₁, x₂, …)                                                                f on the axes of x; constants are transposed
//! ```
//!
//! Files of frameworks that keep channels last have convolutions between two transpositions each, and all else on maps whose channels are last. f is any
//! number of operators that know axes by name only: elementwise ones, borders, joins, cuts, sums over axes. Those that hang together are one stretch, which moves if
//! fewer transpositions are left: one at each value that comes in otherwise, one at each that is read so outside.
//!
//! Exact    each operator says the same on permuted axes.

use crate::algebra::inverse;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{BTreeMap, HashMap, HashSet};
use vitc_ir::op::SliceAxis;
use vitc_ir::{Builder, Built, Class, Copier, Dim, Graph, Node, NodeId, Op, Shape, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("channels_between", run);

/// Channels behind positions, and in front of them.
const MOVES: [[usize; 4]; 2] = [[0, 2, 3, 1], [0, 3, 1, 2]];

fn run(graph: &Graph, _: &Context) -> Result {
    for perm in MOVES {
        let members = Stretches::of(graph, &perm).chosen();
        if !members.is_empty() {
            return moved(graph, &perm, &members);
        }
    }
    Ok(Rewritten::unchanged(graph))
}

/// A transposition by this permutation, and what it reads.
fn transposed(graph: &Graph, value: Value, perm: &[usize]) -> Option<Value> {
    let node = graph.producer(value);
    let by = matches!(&node.op, Op::Transpose { perm: own } if own[..] == *perm);
    (by && !graph.is_constant(value)).then(|| node.inputs[0])
}

/// What an operator is on the axes that `perm` takes its own from; `None` if it is not the same.
fn said(node: &Node, perm: &[usize]) -> Option<Op> {
    let mapped = |axes: &[usize]| {
        let mut axes: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
        axes.sort_unstable();
        axes
    };
    // What is left of the axes must lie in one order on both sides.
    let ordered = |gone: &[usize]| (0..perm.len()).filter(|a| !gone.contains(a)).map(|a| perm[a]).is_sorted();
    Some(match &node.op {
        Op::Prelu => return None,
        op if matches!(op.facts().class, Class::Elementwise | Class::Cast) => op.clone(),
        Op::Pad { before, after, mode } => {
            let back = inverse(perm);
            let [before, after] = [before, after].map(|list| back.iter().map(|&a| list[a]).collect());
            Op::Pad { before, after, mode: *mode }
        }
        Op::Reduce { kind, axes, keep } if *keep || ordered(axes) => {
            Op::Reduce { kind: *kind, axes: mapped(axes), keep: *keep }
        }
        Op::ArgMax { axis, keep } if *keep || ordered(&[*axis]) => Op::ArgMax { axis: perm[*axis], keep: *keep },
        Op::Softmax { axis } => Op::Softmax { axis: perm[*axis] },
        Op::Concat { axis } => Op::Concat { axis: perm[*axis] },
        Op::Split { axis, sizes } => Op::Split { axis: perm[*axis], sizes: sizes.clone() },
        Op::Slice { cuts } => {
            let mut cuts: Vec<SliceAxis> = cuts.iter().map(|c| SliceAxis { axis: perm[c.axis], ..*c }).collect();
            cuts.sort_by_key(|c| c.axis);
            Op::Slice { cuts }
        }
        _ => return None,
    })
}

/// Operators that may move, in parts that hang together.
struct Stretches<'a> {
    graph: &'a Graph,
    perm: &'a [usize],
    uses: Uses,
    /// The part of each operator, by a name that may stand for another part's.
    part: BTreeMap<NodeId, usize>,
    /// What a part's name stands for.
    same: Vec<usize>,
    /// The part that reads a value.
    reads: HashMap<Value, usize>,
}

impl<'a> Stretches<'a> {
    fn of(graph: &'a Graph, perm: &'a [usize]) -> Self {
        let (part, same, reads) = (BTreeMap::new(), Vec::new(), HashMap::new());
        let mut all = Stretches { graph, perm, uses: graph.uses(), part, same, reads };
        for (id, node) in graph.run_time_nodes() {
            let reached: Vec<Value> = node.inputs.iter().copied().filter(|&v| all.lies_so(v)).collect();
            if !reached.is_empty() && node.inputs.iter().all(|&v| all.fits(v)) && said(node, perm).is_some() {
                all.join(id, &reached);
            }
        }
        all
    }

    /// Whether a value has the axes, or is a constant that broadcasts to them.
    fn fits(&self, value: Value) -> bool {
        let rank = self.graph.shape(value).rank();
        rank == self.perm.len() || self.graph.is_constant(value) && rank < self.perm.len()
    }

    /// Whether a value is transposed, or made of such in a part.
    fn lies_so(&self, value: Value) -> bool {
        let made = self.part.contains_key(&value.node) && self.graph.shape(value).rank() == self.perm.len();
        made || transposed(self.graph, value, self.perm).is_some()
    }

    /// An operator joins the parts of what it reads.
    fn join(&mut self, id: NodeId, reached: &[Value]) {
        let own = self.same.len();
        self.same.push(own);
        self.part.insert(id, own);
        for &value in reached {
            let before = self.part.get(&value.node).or(self.reads.get(&value)).copied();
            if let Some(before) = before {
                let root = self.root(before);
                self.same[root] = self.root(own);
            }
            self.reads.insert(value, own);
        }
    }

    fn root(&self, mut part: usize) -> usize {
        while self.same[part] != part {
            part = self.same[part];
        }
        part
    }

    /// The operators of the parts that leave fewer transpositions, as they are then.
    fn chosen(&self) -> BTreeMap<NodeId, Op> {
        let mut left = vec![0i64; self.same.len()];
        let mut seen: HashSet<(usize, Value)> = HashSet::new();
        for (&id, &part) in &self.part {
            let (root, node) = (self.root(part), self.graph.node(id));
            for &value in node.inputs.iter().filter(|&&v| !self.graph.is_constant(v)) {
                if seen.insert((root, value)) {
                    left[root] += self.at_entry(value);
                }
            }
            let results = (0..node.types.len() as u32).map(|index| Value { node: id, index });
            left[root] += results.filter(|&v| self.lies_so(v)).map(|v| self.at_exit(v)).sum::<i64>();
        }
        let fewer = self.part.iter().filter(|(_, part)| left[self.root(**part)] < 0);
        fewer.filter_map(|(&id, _)| Some((id, said(self.graph.node(id), self.perm)?))).collect()
    }

    /// Transpositions that come in where a part reads a value.
    fn at_entry(&self, value: Value) -> i64 {
        if self.part.contains_key(&value.node) && self.lies_so(value) {
            return 0;
        }
        if transposed(self.graph, value, self.perm).is_none() {
            return 1;
        }
        let outside =
            self.uses.is_result(value) || self.uses.readers(value).iter().any(|r| !self.part.contains_key(&r.node));
        if outside { 0 } else { -1 }
    }

    /// Transpositions that come in behind a result of a part.
    fn at_exit(&self, value: Value) -> i64 {
        let back = inverse(self.perm);
        let outside = || self.uses.readers(value).iter().filter(|r| !self.part.contains_key(&r.node));
        let undone = outside().filter(|r| transposed(self.graph, r.node.into(), &back).is_some()).count();
        let read = self.uses.is_result(value) || outside().count() > undone;
        i64::from(read) - undone as i64
    }
}

/// The graph with `members` on the other axes.
fn moved(graph: &Graph, perm: &[usize], members: &BTreeMap<NodeId, Op>) -> Result {
    let (copy, uses, back) = (Copier::new(graph, graph.stage), graph.uses(), inverse(perm));
    let mut writer = Writer { copy, perm, back, values: HashMap::new() };
    for (id, node) in graph.nodes() {
        if let Some(op) = members.get(&id) {
            writer.member(id, node, op.clone())?;
            let results = (0..node.types.len() as u32).map(|index| Value { node: id, index });
            for value in results.filter(|&v| graph.shape(v).rank() == perm.len()) {
                let undone = |at: NodeId| transposed(graph, at.into(), &writer.back).is_some();
                let outside = uses.readers(value).iter().any(|r| !members.contains_key(&r.node) && !undone(r.node));
                if outside || uses.is_result(value) {
                    writer.outside(value)?;
                }
            }
            continue;
        }
        let undone = transposed(graph, id.into(), &writer.back).and_then(|x| writer.values.get(&x)).copied();
        let read_inside =
            |v: Value| !uses.is_result(v) && uses.readers(v).iter().all(|r| members.contains_key(&r.node));
        if let Some(x) = undone.filter(|_| members.contains_key(&node.inputs[0].node)) {
            writer.copy.set(id.into(), x);
        } else if !(transposed(graph, id.into(), perm).is_some() && uses.count(id.into()) > 0 && read_inside(id.into()))
        {
            writer.copy.node(id)?;
        }
    }
    Ok(Rewritten::new(writer.copy.finish()?, members.len()))
}

struct Writer<'a> {
    copy: Copier<'a>,
    perm: &'a [usize],
    /// Its inverse.
    back: Vec<usize>,
    /// Old values on the other axes.
    values: HashMap<Value, Value>,
}

impl Writer<'_> {
    fn member(&mut self, id: NodeId, node: &Node, op: Op) -> Built<()> {
        let inputs = node.inputs.iter().map(|&v| self.operand(v)).collect::<Built<Vec<_>>>()?;
        let new = self.copy.new.push(op, &inputs, &node.path)?;
        for (index, ty) in (0u32..).zip(&node.types) {
            let (old, new) = (Value { node: id, index }, Value { node: new, index });
            if ty.shape.rank() == self.perm.len() {
                self.values.insert(old, new);
            } else {
                self.copy.set(old, new);
            }
        }
        Ok(())
    }

    /// An operand on the other axes.
    fn operand(&mut self, old: Value) -> Built {
        if let Some(&new) = self.values.get(&old) {
            return Ok(new);
        }
        let graph = self.copy.old;
        let new = if graph.is_constant(old) {
            self.constant(old)?
        } else if let Some(source) = transposed(graph, old, self.perm) {
            self.copy.get(source)?
        } else {
            let x = self.copy.get(old)?;
            Builder::within(&mut self.copy.new, graph.value_name(old)).transpose("moved", x, &self.back)?
        };
        self.values.insert(old, new);
        Ok(new)
    }

    /// A constant that broadcasts to the other axes.
    fn constant(&mut self, old: Value) -> Built {
        let (graph, x) = (self.copy.old, self.copy.constant(old)?);
        let own = &graph.shape(old).0;
        if own.iter().all(|d| *d == Dim::Fixed(1)) {
            return Ok(x);
        }
        let dims = [&vec![Dim::Fixed(1); self.perm.len() - own.len()][..], own].concat();
        let mut net = Builder::within(&mut self.copy.new, graph.value_name(old));
        let moved: Vec<Dim> = self.back.iter().map(|&a| dims[a]).collect();
        if dims.iter().filter(|d| **d != Dim::Fixed(1)).count() > 1 {
            let x = net.reshape("whole", x, Shape(dims))?;
            return net.transpose("moved", x, &self.back);
        }
        // What was written with fewer axes broadcasts; what has them all may be joined.
        let ones = moved.iter().take_while(|d| **d == Dim::Fixed(1)).count().min(self.perm.len() - own.len());
        net.reshape("moved", x, Shape(moved[ones..].to_vec()))
    }

    /// A result on its own axes, for those who read it so.
    fn outside(&mut self, old: Value) -> Built<()> {
        let x = self.values[&old];
        let graph = self.copy.old;
        let y = Builder::within(&mut self.copy.new, graph.value_name(old)).transpose("back", x, self.perm)?;
        self.copy.set(old, y);
        Ok(())
    }
}
