//! Run equal chains on neighbouring parts of a split as one chain on both, behind which the split moves.
//!
//! ```text
//! Given    a, b, c = split(x);  y = f(a; W_a),  z = f(b; W_b)
//! Result   ab, c = split(x);  y, z = split(f(ab; [W_a ; W_b]))
//! with     f a convolution (g groups become n·g), an elementwise function, a mean over positions, an average pool, or a product
//!          with a gate that a chain makes, per channel or one for all channels of its part
//! ```
//!
//! Exact    no output channel reads another part before or after. A gate for all channels of a part multiplies a view `[B,n,C,H,W]`.
//!
//! Done where a chain begins with a depthwise convolution, and only if it saves more kernels than it needs splits: products stay as they are.
//! With TensorRT, 112 channels on 14x14, two blocks of CAS-ViT took 29 kernels instead of 41, and 31 with dense products of twice the
//! size in the place of grouped ones.

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{BTreeSet, HashMap};
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Builder, Built, Copier, Dim, Graph, NodeId, Op, Shape, Target, Use, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("merge_towers", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let uses = graph.uses();
    let mut bundles = Vec::new();
    for (id, node) in graph.run_time_nodes() {
        if matches!(node.op, Op::Split { axis: 1, .. }) {
            let seed = Towers { graph, uses: &uses, target }.grow(id);
            bundles.extend(seed);
        }
    }
    if bundles.is_empty() {
        return Ok(Rewritten::unchanged(graph));
    }
    let count = bundles.iter().filter(|b| !matches!(graph.op(b.members[0]), Op::Split { .. })).count();
    Ok(Rewritten::new(emit(graph, &bundles)?, count))
}

/// Values that become one, parts of it along the channels.
struct Bundle {
    members: Vec<Value>,
}

struct Towers<'a> {
    graph: &'a Graph,
    uses: &'a Uses,
    target: &'a Target,
}

impl Towers<'_> {
    /// The bundles that start at a split: its parts first, then what follows in order; none if they save nothing.
    fn grow(&self, split: NodeId) -> Vec<Bundle> {
        let Some(parts) = self.parts(split) else { return Vec::new() };
        let n = parts.len();
        let mut bundles = vec![Bundle { members: parts }];
        let mut merged: BTreeSet<NodeId> = BTreeSet::new();
        let mut grown = true;
        while grown {
            grown = false;
            for at in 0..bundles.len() {
                let first = bundles[at].members[0];
                for reader in self.uses.readers(first).iter().map(|r| r.node) {
                    if merged.contains(&reader) {
                        continue;
                    }
                    if let Some(bundle) = self.follow(&bundles, reader) {
                        merged.extend(bundle.members.iter().map(|v| v.node));
                        bundles.push(bundle);
                        grown = true;
                    }
                }
            }
        }
        let read_apart = |b: &&Bundle| {
            let apart =
                |v: Value| self.uses.is_result(v) || self.uses.readers(v).iter().any(|r| !merged.contains(&r.node));
            b.members.iter().any(|&v| apart(v))
        };
        let splits = bundles.iter().filter(read_apart).count();
        let saved = (bundles.len() - 1) * (n - 1);
        if saved > splits { bundles } else { Vec::new() }
    }

    /// The longest run of neighbouring parts of one size, at least two, that equal depthwise convolutions read.
    fn parts(&self, split: NodeId) -> Option<Vec<Value>> {
        let node = self.graph.node(split);
        let depthwise = |index: usize| {
            let value = Value { node: split, index: index as u32 };
            let reader = self.uses.readers(value).iter().find(|r| {
                let channels = self.graph.shape(value).0.get(1).and_then(|d| d.fixed());
                let is = matches!(self.graph.node(r.node).op, Op::Conv { groups, .. } if Some(groups) == channels);
                is && r.slot == 0 && Linear::of(self.graph, r.node).is_some()
            })?;
            let reader = self.graph.node(reader.node);
            Some((reader.op.clone(), self.graph.shape(reader.inputs[1]).clone(), node.types[index].clone()))
        };
        let keys: Vec<_> = (0..node.types.len()).map(depthwise).collect();
        let run = |start: usize| {
            let same = keys[start..].iter().take_while(|k| k.is_some() && **k == keys[start]).count();
            start..start + same
        };
        let longest = (0..keys.len()).map(run).max_by_key(|r| r.len()).filter(|r| r.len() > 1)?;
        Some(longest.map(|index| Value { node: split, index: index as u32 }).collect())
    }

    /// The bundle of what `first` computes from members 0, and its counterparts from the other members.
    fn follow(&self, bundles: &[Bundle], first: NodeId) -> Option<Bundle> {
        let node = self.graph.node(first);
        let run_time: Vec<Value> = node.inputs.iter().copied().filter(|&v| !self.graph.is_constant(v)).collect();
        let home = |v: &Value| bundles.iter().position(|b| b.members[0] == *v);
        let operands: Vec<usize> = run_time.iter().map(home).collect::<Option<_>>()?;
        match &node.op {
            Op::Conv { .. } => Linear::of(self.graph, first).map(drop)?,
            Op::Unary(_) | Op::AvgPool { .. } => {}
            Op::Reduce { kind: ReduceKind::Mean, axes, keep: true } if !axes.contains(&1) => {}
            Op::Binary(BinaryKind::Mul) if operands.len() == 2 && operands[0] != operands[1] => {
                let [a, b] = [0, 1].map(|i| self.graph.shape(node.inputs[i]));
                let one_gate = a.rank() == 4 && b.rank() == 4 && a.0[1] != b.0[1];
                if a.rank() != b.rank() || (one_gate && self.target.rank_limit < 5) {
                    return None;
                }
            }
            _ => return None,
        }
        let n = bundles[0].members.len();
        let members: Vec<Value> = (0..n)
            .map(|i| {
                let wanted: Vec<Value> = operands.iter().map(|&b| bundles[b].members[i]).collect();
                let alike = |r: &&Use| {
                    let other = self.graph.node(r.node);
                    let constants = |n: &vitc_ir::Node| -> Vec<Shape> {
                        let all = n.inputs.iter().filter(|v| self.graph.is_constant(**v));
                        all.map(|&v| self.graph.shape(v).clone()).collect()
                    };
                    let reads = other.inputs.iter().copied().filter(|&v| !self.graph.is_constant(v));
                    other.op == node.op && constants(other) == constants(node) && reads.eq(wanted.iter().copied())
                };
                self.uses.readers(wanted[0]).iter().find(alike).map(|r| r.node.into())
            })
            .collect::<Option<_>>()?;
        let distinct: BTreeSet<&Value> = members.iter().collect();
        (distinct.len() == n).then_some(Bundle { members })
    }
}

/// The graph with every bundle computed as one value, at the place of its first member.
fn emit(graph: &Graph, bundles: &[Bundle]) -> Built<Graph> {
    let mut copy = Copier::new(graph, graph.stage);
    let mut whole: HashMap<Value, Value> = HashMap::new();
    let starts: HashMap<NodeId, &Bundle> = bundles.iter().map(|b| (b.members[0].node, b)).collect();
    for (id, node) in graph.nodes() {
        let Some(bundle) = starts.get(&id) else {
            copy.node(id)?;
            continue;
        };
        let n = bundle.members.len();
        let paths: Vec<&str> = bundle.members.iter().map(|v| graph.producer(*v).path.as_str()).collect();
        let path = tower_path(&paths);
        let y = if let Op::Split { sizes, .. } = &node.op {
            split_off(&mut copy, id, sizes, bundle)?
        } else {
            // Operands by their first member: the bundles of one split are emitted in order.
            let operands: Vec<Value> =
                node.inputs.iter().filter(|v| !graph.is_constant(**v)).map(|v| whole[v]).collect();
            match &node.op {
                Op::Conv { stride, pad, dilation, groups } => {
                    let mut inputs = operands;
                    for slot in 1..node.inputs.len() {
                        let parts: Vec<Value> = bundle
                            .members
                            .iter()
                            .map(|v| copy.constant(graph.producer(*v).inputs[slot]))
                            .collect::<Built<_>>()?;
                        let name = if slot == 1 { "w" } else { "b" };
                        inputs.push(Builder::within(&mut copy.new, &path).concat(name, &parts, 0)?);
                    }
                    let op = Op::Conv { stride: *stride, pad: *pad, dilation: *dilation, groups: n * groups };
                    Builder::within(&mut copy.new, &path).push("", op, &inputs)?
                }
                Op::Binary(BinaryKind::Mul) => product(&mut copy, &path, n, operands)?,
                op => Builder::within(&mut copy.new, &path).push("", op.clone(), &operands)?,
            }
        };
        whole.insert(bundle.members[0], y);
        let size = graph.shape(bundle.members[0]).dim(1);
        let parts = Builder::within(&mut copy.new, &path).split("parts", y, 1, &vec![size; n])?;
        bundle.members.iter().zip(parts).for_each(|(&old, new)| copy.set(old, new));
    }
    copy.finish()
}

/// The members' channels in one part of the split.
fn split_off(copy: &mut Copier, id: NodeId, sizes: &[usize], bundle: &Bundle) -> Built {
    let node = copy.old.node(id);
    let x = copy.get(node.inputs[0])?;
    let (first, n) = (bundle.members[0].index as usize, bundle.members.len());
    if n == sizes.len() {
        return Ok(x);
    }
    let mut merged = sizes.to_vec();
    merged.splice(first..first + n, [sizes[first..first + n].iter().sum()]);
    let parts = Builder::within(&mut copy.new, &node.path).split("", x, 1, &merged)?;
    for (index, &part) in parts.iter().enumerate().filter(|(i, _)| *i != first) {
        let old = if index < first { index } else { index + n - 1 };
        copy.set(Value { node: id, index: old as u32 }, part);
    }
    Ok(parts[first])
}

/// A product; where one operand has fewer channels, each of `n` parts by its own.
fn product(copy: &mut Copier, path: &str, n: usize, operands: Vec<Value>) -> Built {
    let shapes: Vec<Shape> = operands.iter().map(|&v| copy.new.shape(v).clone()).collect();
    let mut net = Builder::within(&mut copy.new, path);
    if shapes[0].0[1] == shapes[1].0[1] {
        return net.binary("", BinaryKind::Mul, operands[0], operands[1]);
    }
    let views: Vec<Value> = operands
        .iter()
        .zip(&shapes)
        .map(|(&v, shape)| {
            let mut dims = shape.0.clone();
            let channels = shape.dim(1) / n;
            dims.splice(1..2, [Dim::Fixed(n), Dim::Fixed(channels)]);
            net.reshape("view", v, Shape(dims))
        })
        .collect::<Built<_>>()?;
    let y = net.binary("product", BinaryKind::Mul, views[0], views[1])?;
    let wider = if shapes[0].dim(1) > shapes[1].dim(1) { &shapes[0] } else { &shapes[1] };
    net.reshape("", y, wider.clone())
}

/// `attn.oper_qk.0.block.0` for `attn.oper_q.0.block.0` and `attn.oper_k.0.block.0`.
fn tower_path(names: &[&str]) -> String {
    let split: Vec<Vec<&str>> = names.iter().map(|n| n.split('.').collect()).collect();
    let differs = (0..split[0].len()).find(|&i| split.iter().any(|s| s.get(i) != Some(&split[0][i])));
    let Some(at) = differs else { return names[0].to_string() };
    let words: Vec<&str> = split.iter().map(|s| s.get(at).copied().unwrap_or_default()).collect();
    let shared = words[0].chars().zip(words[1].chars()).take_while(|(a, b)| a == b).count();
    let shared: String = words[0].chars().take(shared).collect();
    let rest: String = words.iter().map(|w| w.strip_prefix(shared.as_str()).unwrap_or(w)).collect();
    let mut path: Vec<String> = split[0].iter().map(|s| s.to_string()).collect();
    path[at] = format!("{shared}{rest}");
    path.join(".")
}
