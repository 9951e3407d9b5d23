//! Move biases forward to where they cost nothing, and drop those that softmax does not see.
//!
//! ```text
//! Given    y = W₂·f(W₁·x + b₁) + b₂      Result   y = W₂·f(W₁·x) + (b₂ + W₂·b₁)
//! with     f nothing, an average (pool or mean over positions), attention weights applied to values, or a chain
//! Given    attention(q, W·x + b, v)      Result   attention(q, W·x, v)
//! and with x + c, one constant element per channel, in the place of W₁·x + b₁
//! ```
//!
//! Exact    an average of a constant is the constant (padding is not counted), and each row of attention weights sums
//!          to one, without talking heads, whose second mix changes the sums. W₂ must not read padding, or the border
//!          would see 0 where it must see b₁. A constant on the keys adds `q·b` to all scores of a query, and softmax
//!          does not see what scores have in common; the heads' first mix keeps that.
//!
//! Applied when every reader takes the bias, so that it disappears. The parts of a split projection are taken one by one.

use crate::algebra::{Linear, as_vector, is_vector};
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::op::{AttentionLayout, ReduceKind};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Generator, Graph, NodeId, Op, Real, Type, Use, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("move_biases", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let flow = Flow::new(graph);
    let mut copy = Copier::new(graph, graph.stage);
    // What arrives at a linear node, per input channel, in the new graph.
    let mut arriving: HashMap<NodeId, Vec<Value>> = HashMap::new();
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some(linear) = Linear::of(graph, id) else {
            match flow.summand(id) {
                Some(summand) => {
                    let shift = summand.drop(&mut copy, id)?;
                    summand.readers.iter().for_each(|&r| arriving.entry(r).or_default().push(shift));
                    count += 1;
                }
                None => drop(copy.node(id)?),
            }
            continue;
        };
        let arrived = arriving.remove(&id).unwrap_or_default();
        let parts = flow.parts(id, &linear);
        let leaves = (linear.b.is_some() || !arrived.is_empty()) && parts.iter().any(|p| p.fate != Fate::Stays);
        if arrived.is_empty() && !leaves {
            copy.node(id)?;
            continue;
        }
        let (x, w, b) = (copy.get(linear.x)?, copy.get(linear.w)?, linear.b.map(|b| copy.get(b)).transpose()?);
        let mut linear = Linear { x, w, b, ..linear };
        for shift in arrived {
            let response = linear.response(&mut copy.new, shift)?;
            linear = linear.shifted(&mut copy.new, response)?;
        }
        if let Some(b) = linear.b.filter(|_| leaves) {
            linear.b = None;
            let mut net = Builder::within(&mut copy.new, &node.path);
            let mut kept = Vec::new();
            for part in &parts {
                let rows = part.start..part.start + part.size;
                let whole = parts.len() == 1;
                let mut own = || if whole { Ok(b) } else { net.slice("b_part", b, 0, rows.clone()) };
                match &part.fate {
                    Fate::Stays => kept.push(own()?),
                    Fate::Moves(readers) => {
                        let shift = own()?;
                        readers.iter().for_each(|&r| arriving.entry(r).or_default().push(shift));
                    }
                    Fate::Drops => {}
                }
                if part.fate != Fate::Stays {
                    let zero = Generator::Fill { value: Real(0.0) };
                    kept.push(net.generate("b_moved", zero, Type::f32(&[part.size]))?);
                    count += 1;
                }
            }
            if parts.iter().any(|p| p.fate == Fate::Stays) {
                linear.b = Some(net.concat("b_kept", &kept, 0)?);
            }
        }
        let y = linear.emit(&mut copy.new)?;
        copy.set(id.into(), y);
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// What becomes of the bias of some output channels.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Stays,
    /// Into the biases of these nodes.
    Moves(Vec<NodeId>),
    Drops,
}

/// Consecutive output channels of a linear node.
struct Part {
    start: usize,
    size: usize,
    fate: Fate,
}

/// A constant per channel that something adds, and which moves on from there or is not seen.
struct Summand {
    x: Value,
    c: Value,
    axis: usize,
    /// The nodes that take it.
    readers: Vec<NodeId>,
}

impl Summand {
    /// Put x in the place of the sum `id`; the constant as a vector of the new graph.
    fn drop(&self, copy: &mut Copier, id: NodeId) -> Built {
        let (x, c) = (copy.get(self.x)?, copy.get(self.c)?);
        copy.set(id.into(), x);
        let shift = as_vector(&mut copy.new, c, copy.old.shape(self.x), self.axis)?;
        shift.ok_or_else(|| copy.old.unfit(self.c, "is no vector along the channels".into()))
    }
}

/// Nodes that a bias passes on its way at most.
const FARTHEST: usize = 16;

/// Where an attention's operands and result have their channels.
fn channel_axis(layout: AttentionLayout) -> usize {
    match layout {
        AttentionLayout::Channels => 1,
        AttentionLayout::Tokens => 2,
        AttentionLayout::Heads => 3,
    }
}

/// Who reads what.
struct Flow<'a> {
    graph: &'a Graph,
    uses: Uses,
}

impl<'a> Flow<'a> {
    fn new(graph: &'a Graph) -> Self {
        Flow { graph, uses: graph.uses() }
    }

    /// The readers of a value; none of a result that the model returns, which keeps its bias.
    fn readers(&self, value: Value) -> &[Use] {
        if self.uses.is_result(value) { &[] } else { self.uses.readers(value) }
    }

    /// The output channels of a linear node by fate: those of a split that alone reads it one by one.
    fn parts(&self, id: NodeId, linear: &Linear) -> Vec<Part> {
        let value = Value::from(id);
        let axis = linear.channel_axis(self.graph);
        if let &[Use { node: split, slot: 0 }] = self.readers(value)
            && let Op::Split { axis: cut, sizes } = &self.graph.node(split).op
            && *cut == axis
        {
            let mut start = 0;
            let parts = sizes.iter().zip(0..).map(|(&size, index)| {
                let moved = linear.b.is_some_and(|b| is_zero(self.graph, b, start));
                let fate = if moved { Fate::Stays } else { self.fate(Value { node: split, index }, axis, FARTHEST) };
                start += size;
                Part { start: start - size, size, fate }
            });
            return parts.collect();
        }
        vec![Part { start: 0, size: linear.outputs(self.graph), fate: self.fate(value, axis, FARTHEST) }]
    }

    /// What can become of a constant per channel, channels on `axis`, in `value`, if at most so many nodes lie between.
    fn fate(&self, value: Value, axis: usize, farthest: usize) -> Fate {
        let readers = self.readers(value);
        let Some(farthest) = farthest.checked_sub(1) else { return Fate::Stays };
        let mut takers = Vec::new();
        for &Use { node: reader, slot } in readers {
            match self.step(reader, slot, axis, farthest) {
                Fate::Stays => return Fate::Stays,
                Fate::Moves(nodes) => takers.extend(nodes),
                Fate::Drops => {}
            }
        }
        match (readers.is_empty(), takers.is_empty()) {
            (true, _) => Fate::Stays,
            (_, true) => Fate::Drops,
            _ => Fate::Moves(takers),
        }
    }

    /// What a sum with a constant per channel adds, where that does not stay.
    fn summand(&self, id: NodeId) -> Option<Summand> {
        let node = self.graph.node(id);
        let Op::Binary(BinaryKind::Add) = node.op else { return None };
        let at = node.inputs.iter().position(|&v| self.graph.is_constant(v))?;
        let (x, c) = (node.inputs[1 - at], node.inputs[at]);
        let shape = self.graph.shape(x);
        if self.graph.is_constant(x) || self.graph.ty(x) != &node.types[0] || self.graph.shape(c).elements() < 2 {
            return None;
        }
        let axis = (0..shape.rank()).find(|&axis| is_vector(self.graph, c, shape, axis))?;
        match self.fate(id.into(), axis, FARTHEST) {
            Fate::Stays => None,
            Fate::Moves(readers) => Some(Summand { x, c, axis, readers }),
            Fate::Drops => Some(Summand { x, c, axis, readers: Vec::new() }),
        }
    }

    fn step(&self, reader: NodeId, slot: usize, axis: usize, farthest: usize) -> Fate {
        let node = self.graph.node(reader);
        let through = |axis: usize| self.fate(reader.into(), axis, farthest);
        match &node.op {
            Op::Conv { .. } | Op::Linear if slot == 0 => match Linear::of(self.graph, reader) {
                Some(l) if l.is_unpadded() && self.channels(&l) == axis => Fate::Moves(vec![reader]),
                _ => Fate::Stays,
            },
            Op::AvgPool { .. } if axis == 1 => through(axis),
            Op::Reduce { kind: ReduceKind::Mean, axes, keep } if !axes.contains(&axis) => {
                let gone = if *keep { 0 } else { axes.iter().filter(|&&a| a < axis).count() };
                through(axis - gone)
            }
            Op::Attention { layout, .. } if slot == 1 && axis == channel_axis(*layout) => Fate::Drops,
            Op::Attention { layout, talking: false, .. } if slot == 2 && axis == channel_axis(*layout) => through(axis),
            _ => Fate::Stays,
        }
    }

    /// Axis of a linear node's input channels.
    fn channels(&self, linear: &Linear) -> usize {
        match linear.op {
            Op::Conv { .. } => 1,
            _ => self.graph.shape(linear.x).rank() - 1,
        }
    }
}

/// Whether this pass left zeros in the bias `b` from `start` on.
fn is_zero(graph: &Graph, b: Value, start: usize) -> bool {
    let mut at = 0;
    matches!(graph.op(b), Op::Concat { .. })
        && graph.producer(b).inputs.iter().any(|&part| {
            at += graph.shape(part).dim(0);
            let zero = *graph.op(part) == Op::Generate(Generator::Fill { value: Real(0.0) });
            zero && at - graph.shape(part).dim(0) == start
        })
}
