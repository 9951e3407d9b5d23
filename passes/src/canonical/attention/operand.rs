//! Reads queries, keys and values: of which source they are views, which of its axes hold channels, and in which layouts the source can be given.

use super::scores::Factor;
use crate::algebra::Linear;
use crate::view::count::{Count, product};
use crate::view::emit::Plan;
use crate::view::places::Place;
use crate::view::rows::Rows;
use crate::view::trail::{Through, Trail};
use crate::view::{Digit, View, strides};
use std::collections::HashSet;
use vitc_ir::op::SliceAxis;
use vitc_ir::{Builder, Built, Copier, Dim, Graph, NodeId, Op, Shape, Uses, Value};

/// An operand as a view of its source, its digits by what they count.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) source: Value,
    /// The source's axis of channels.
    pub(super) axis: usize,
    /// By leading axis of the product.
    pub(super) lead: Vec<Vec<Place>>,
    pub(super) tokens: Vec<Place>,
    pub(super) channels: Vec<Place>,
    /// First channel.
    start: usize,
    /// What the operand is multiplied with on the way.
    pub(super) factor: f64,
    /// The nodes between source and product.
    pub(super) nodes: Vec<NodeId>,
}

/// How the source is had in a layout.
#[derive(Debug, Clone)]
pub(super) struct Supply {
    /// How its tokens come to lie: of rows, before their linear layer.
    movement: Option<Plan>,
    channels: Channels,
}

/// Which channels of the source.
#[derive(Debug, Clone)]
enum Channels {
    All,
    /// Rows of the weights of a linear layer.
    Rows(Rows),
    /// From one to before another.
    Range(SliceAxis),
}

impl Operand {
    /// An operand of a product, seen through these nodes.
    pub(super) fn of(graph: &Graph, factor: Factor, through: Through) -> Option<Operand> {
        let trail = Trail::to(graph, factor.value, through)?;
        let places = trail.view.places(graph)?;
        let mut lead = places.axes;
        let (last, first) = (lead.pop()?, lead.pop()?);
        let (tokens, channels) = if factor.tokens_last { (last, first) } else { (first, last) };
        let axis = channels.first()?.axis;
        let moves = |p: &Place| !p.is_copy();
        let apart = channels.iter().all(|p| p.axis == axis && moves(p))
            && tokens.iter().all(|p| p.axis != axis && moves(p))
            && lead.iter().flatten().all(moves);
        let whole = places.starts.iter().enumerate().all(|(at, &start)| at == axis || start == 0);
        let (source, start) = (trail.view.source, places.starts[axis]);
        let (factor, nodes) = (trail.factor, trail.nodes);
        (apart && whole).then_some(Operand { source, axis, lead, tokens, channels, start, factor, nodes })
    }

    /// All leading digits.
    fn leading(&self) -> impl Iterator<Item = &Place> {
        self.lead.iter().flatten()
    }

    /// Digits of the heads, and of what lies before them.
    pub(super) fn heads(&self) -> Vec<Place> {
        self.leading().filter(|p| p.axis == self.axis).copied().collect()
    }

    fn batch(&self) -> Vec<Place> {
        self.leading().filter(|p| p.axis != self.axis).copied().collect()
    }

    /// The number of sets.
    pub(super) fn sets(&self) -> Option<Dim> {
        product(self.batch().iter().map(|p| p.size))?.dim()
    }

    /// The source, or the linear layer that makes it, as `[sets, tokens, channels]`.
    pub(super) fn as_tokens(&self, graph: &Graph, exclusive: bool) -> Option<Supply> {
        let channels = self.rows(graph, exclusive, Op::Linear)?;
        if let Channels::Rows(_) = channels {
            return Some(Supply { movement: self.tokens_of(graph, self.layer_input(graph)?)?, channels });
        }
        let movement = self.tokens_of(graph, self.source)?;
        let linear = Linear::of(graph, self.source.node).filter(|l| exclusive && l.channel_axis(graph) == self.axis);
        // Tokens move before a layer: where it reads what others read, they move once.
        if let (Channels::All, Some(_), Some(linear)) = (&channels, &movement, linear.filter(|l| l.op == Op::Linear)) {
            let rows = Rows::of(linear.outputs(graph), 0, &[self.heads(), self.channels.clone()].concat())?;
            return Some(Supply { movement: self.tokens_of(graph, linear.x)?, channels: Channels::Rows(rows) });
        }
        let channels = match channels {
            Channels::Range(cut) => Channels::Range(SliceAxis { axis: 2, ..cut }),
            other => other,
        };
        Some(Supply { movement, channels })
    }

    /// What the layer that makes the source reads.
    fn layer_input(&self, graph: &Graph) -> Option<Value> {
        graph.producer(self.source).inputs.first().copied()
    }

    /// How a value with the source's tokens, the source or what its layer reads, becomes `[sets, tokens, channels]`: `Some(None)` if it is that already.
    fn tokens_of(&self, graph: &Graph, base: Value) -> Option<Option<Plan>> {
        let (sets, tokens) = (self.sets()?, product(self.tokens.iter().map(|p| p.size))?.dim()?);
        let width = *graph.shape(base).0.get(self.axis)?;
        let own = strides(graph.shape(base))?;
        let digits = |places: &[Place]| {
            let digit = |p: &Place| Some(Digit { size: p.size, stride: own.get(p.axis)?.stride.times(p.stride)? });
            places.iter().map(digit).collect::<Option<Vec<_>>>()
        };
        let axes = vec![digits(&self.batch())?, digits(&self.tokens)?, vec![own[self.axis]]];
        let view = View { source: base, axes, offset: Vec::new() };
        let plan = Plan::of(graph, &view, &Shape(vec![sets, tokens, width]))?;
        Some(Some(plan).filter(|p| p.nodes > 0))
    }

    /// The source, or the convolution that makes it, as `[sets, channels, …]`: nothing is moved.
    pub(super) fn as_channels(&self, graph: &Graph, exclusive: bool) -> Option<Supply> {
        let shape = graph.shape(self.source);
        let own = strides(shape)?;
        if self.axis != 1 || shape.rank() < 3 || shape.0[1..].iter().any(|d| d.fixed().is_none()) {
            return None;
        }
        let covers = |places: &[Place], axes: std::ops::Range<usize>| {
            let digit = |p: &Place| Some(Digit { size: p.size, stride: own[p.axis].stride.times(p.stride)? });
            let found: Option<Vec<Digit>> = places.iter().map(digit).collect();
            found.is_some_and(|found| crate::view::joined(found) == crate::view::joined(own[axes].iter().copied()))
        };
        let whole = covers(&self.batch(), 0..1) && covers(&self.tokens, 2..shape.rank());
        let conv = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
        let channels = self.rows(graph, exclusive, conv).filter(|_| whole)?;
        Some(Supply { movement: None, channels })
    }

    /// Which channels the operand has, head by head; rows of a layer like `layer` only if nothing else reads it.
    fn rows(&self, graph: &Graph, exclusive: bool, layer: Op) -> Option<Channels> {
        let width = graph.shape(self.source).0[self.axis].fixed()?;
        let digits = [self.heads(), self.channels.clone()].concat();
        let rows = Rows::of(width, self.start, &digits)?;
        if rows.is_whole() {
            return Some(Channels::All);
        }
        let linear = Linear::of(graph, self.source.node).filter(|l| {
            let dense = match (&l.op, &layer) {
                (Op::Conv { groups, .. }, Op::Conv { .. }) => *groups == 1,
                (op, layer) => op == layer,
            };
            exclusive && dense && l.channel_axis(graph) == self.axis
        });
        if linear.is_some() {
            return Some(Channels::Rows(rows));
        }
        let range = rows.range()?;
        Some(Channels::Range(SliceAxis { axis: self.axis, start: range.start, stop: range.end, step: 1 }))
    }

    /// Whether the source has no reader but the way to the product, if `known` are all nodes of such ways.
    pub(super) fn is_exclusive(&self, graph: &Graph, uses: &Uses, known: &HashSet<NodeId>) -> bool {
        let inner = self
            .nodes
            .iter()
            .flat_map(|&n| (0..graph.node(n).types.len() as u32).map(move |index| Value { node: n, index }));
        [self.source]
            .into_iter()
            .chain(inner)
            .all(|v| !uses.is_result(v) && uses.readers(v).iter().all(|r| known.contains(&r.node)))
    }

    /// The number of channels of all heads.
    pub(super) fn width(&self) -> Option<usize> {
        product(self.heads().iter().chain(&self.channels).map(|p| p.size))?.plain()
    }
}

impl Supply {
    /// Append what makes the operand, named `name` below its source.
    pub(super) fn emit(&self, copy: &mut Copier, operand: &Operand, name: &str) -> Built {
        let old = copy.old;
        let path = format!("{}.{name}", old.producer(operand.source).path);
        let linear = Linear::of(old, operand.source.node);
        if let (Channels::Rows(rows), Some(linear)) = (&self.channels, linear) {
            let mut x = copy.get(linear.x)?;
            let (w, b) = (copy.constant(linear.w)?, linear.b.map(|b| copy.constant(b)).transpose()?);
            if let Some(plan) = &self.movement {
                x = plan.emit(&mut Builder::within(&mut copy.new, format!("{path}.tokens")), x)?;
            }
            let w = rows.of_constant(&mut Builder::within(&mut copy.new, format!("{path}.w")), w)?;
            let b =
                b.map(|b| rows.of_constant(&mut Builder::within(&mut copy.new, format!("{path}.b")), b)).transpose()?;
            return Linear { x, w, b, path, ..linear }.emit(&mut copy.new);
        }
        let mut x = copy.get(operand.source)?;
        if let Some(plan) = &self.movement {
            x = plan.emit(&mut Builder::within(&mut copy.new, format!("{path}.tokens")), x)?;
        }
        if let Channels::Range(cut) = self.channels {
            x = Builder::within(&mut copy.new, &path).push("part", Op::Slice { cuts: vec![cut] }, &[x])?;
        }
        Ok(x)
    }
}

/// The leading digits of several operands cut to the same sizes, axis by axis; `None` where they do not fit.
pub(super) fn align(operands: &mut [Operand; 3]) -> Option<()> {
    for axis in 0..operands[0].lead.len() {
        let mut left = [0, 1, 2].map(|i| {
            let mut digits = operands[i].lead[axis].clone();
            digits.reverse();
            digits
        });
        let mut aligned: [Vec<Place>; 3] = Default::default();
        while left.iter().any(|l| !l.is_empty()) {
            let heads: Vec<Place> = left.iter().map(|l| l.last().copied()).collect::<Option<_>>()?;
            let size = heads.iter().map(|h| h.size).find(|&s| heads.iter().all(|h| h.size.over(s).is_some()))?;
            for i in 0..3 {
                let whole = left[i].pop()?;
                let inner = whole.size.over(size)?;
                aligned[i].push(Place { size, stride: whole.stride.times(inner)?, ..whole });
                if inner != Count::ONE {
                    left[i].push(Place { size: inner, ..whole });
                }
            }
        }
        for (operand, digits) in operands.iter_mut().zip(aligned) {
            operand.lead[axis] = digits;
        }
    }
    Some(())
}
