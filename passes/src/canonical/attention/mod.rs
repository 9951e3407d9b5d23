//! Recover attention from products around a softmax, however its operands are moved.
//!
//! ```text
//! Given    o = softmax(s·q·kᵀ + bias)·v      q, k, v views of one value or several: packed or not, split, sliced, gathered, in any order of axes;
//!                                            s on q, on k, on both or on the scores; bias constant; heads mixed before and behind the softmax or not
//! Result   o = view(attention(q', k', v', bias))
//! ```
//!
//! q', k' and v' are what the views begin at: rows of the linear layer that makes them, of a packed one the rows of each, where nothing else reads it.
//! Where all three are maps `[B,C,…]` the layout is channels; where they can be had as tokens `[B,N,C]` it is tokens; else the heads stay as the file cuts them.
//!
//! Exact    movements are compared as index arithmetic ([`crate::view`]); a number passes through products. The rows of a linear layer are independent, and
//!          it acts on each token alone, so tokens may be moved before it.

mod bias;
mod operand;
mod scores;

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::count::{Count, product};
use crate::view::emit::Plan;
use crate::view::places::Place;
use crate::view::trail::Through;
use crate::view::{Digit, View, strides};
use bias::Bias;
use operand::{Operand, Supply, align};
use scores::{Factor, Mix, Scores};
use std::collections::{HashMap, HashSet};
use vitc_ir::op::AttentionLayout;
use vitc_ir::{Builder, Built, Copier, Dim, Generator, Graph, NodeId, Op, Real, Shape, Type, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_attention", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let found: HashMap<NodeId, Found> = graph
        .run_time_nodes()
        .filter_map(|(id, _)| Found::at(graph, &uses, id))
        .map(|found| (found.scores.result, found))
        .collect();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, _) in graph.nodes() {
        // What does not fit after all stays as it is.
        match found.get(&id).map(|found| found.emit(&mut copy)) {
            Some(Ok(value)) => {
                copy.set(id.into(), value);
                count += 1;
            }
            Some(Err(_)) | None => {
                copy.node(id)?;
            }
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// An attention of the graph.
struct Found {
    scores: Scores,
    heads: usize,
    scale: f64,
    bias: Option<Bias>,
    inputs: Inputs,
    /// The result as a view of what the attention gives.
    back: Back,
}

/// Where q, k and v come from.
enum Inputs {
    /// Sources in a layout.
    Sources(AttentionLayout, Box<[(Operand, Supply); 3]>),
    /// The operands of the products, heads cut.
    Cut(Box<[Plan; 3]>),
}

/// How the attention's result becomes the product's.
struct Back {
    /// Digits of each axis of the product's result.
    axes: Vec<Vec<Digit>>,
    result: Shape,
}

impl Found {
    fn at(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Found> {
        let scores = Scores::around(graph, uses, id)?;
        match from_sources(graph, uses, &scores) {
            // Heads that are no channels of the source are cut already.
            Some(found) if found.heads == 1 && graph.shape(scores.scores).rank() == 4 => {
                as_cut(graph, &scores).or(Some(found))
            }
            Some(found) => Some(found),
            None => as_cut(graph, &scores),
        }
    }

    fn emit(&self, copy: &mut Copier) -> Built {
        let Scores { q, k, v, mixes, result, .. } = &self.scores;
        let path = copy.old.node(*result).path.clone();
        let (layout, mut inputs) = match &self.inputs {
            Inputs::Sources(layout, parts) => {
                let mut made = Vec::new();
                for ((operand, supply), name) in parts.iter().zip(["q", "k", "v"]) {
                    made.push(supply.emit(copy, operand, name)?);
                }
                (*layout, made)
            }
            Inputs::Cut(plans) => {
                let mut made = Vec::new();
                for ((plan, factor), name) in plans.iter().zip([q, k, v]).zip(["q", "k", "v"]) {
                    let x = copy.get(factor.value)?;
                    made.push(plan.emit(&mut Builder::within(&mut copy.new, format!("{path}.{name}")), x)?);
                }
                (AttentionLayout::Heads, made)
            }
        };
        if let Some(bias) = &self.bias {
            inputs.push(bias.emit(copy, &path)?);
        }
        let talking = mixes.iter().any(Option::is_some);
        if talking {
            for (mix, name) in mixes.iter().zip(["mix1", "mix2"]) {
                inputs.extend(mixed(copy, *mix, self.heads, &format!("{path}.{name}"))?);
            }
        }
        let (heads, scale, bias) = (self.heads, Real(self.scale), self.bias.is_some());
        let op = Op::Attention { heads, scale, layout, bias, talking };
        let mut net = Builder::within(&mut copy.new, &path);
        let y = net.push("attention", op, &inputs)?;
        let view = View { source: y, axes: self.back.axes.clone(), offset: Vec::new() };
        let plan = Plan::of(&copy.new, &view, &self.back.result);
        let plan = plan.ok_or_else(|| copy.new.unfit(y, "is no permutation of the product".into()))?;
        plan.emit(&mut Builder::within(&mut copy.new, &path), y)
    }
}

/// With sources in the layout of channels or tokens.
fn from_sources(graph: &Graph, uses: &Uses, scores: &Scores) -> Option<Found> {
    let factors = [scores.q, scores.k, scores.v];
    let (mut operands, exclusive) = operands(graph, uses, scores, factors)?;
    align(&mut operands)?;
    let [q, k, v] = &operands;
    let mut leading = q.lead.iter().flatten().zip(k.lead.iter().flatten()).zip(v.lead.iter().flatten());
    let alike = leading.all(|((a, b), c)| {
        let head = a.axis == q.axis;
        head == (b.axis == k.axis) && head == (c.axis == v.axis)
    });
    if !alike || v.factor != 1.0 {
        return None;
    }
    let heads = product(q.heads().iter().map(|p| p.size))?.plain()?;
    let supplies = |layout: AttentionLayout| {
        let supply = |operand: &Operand, exclusive: bool| match layout {
            AttentionLayout::Channels => operand.as_channels(graph, exclusive),
            _ => operand.as_tokens(graph, exclusive),
        };
        let [a, b, c] = &operands;
        Some([supply(a, exclusive[0])?, supply(b, exclusive[1])?, supply(c, exclusive[2])?])
    };
    let layouts = [AttentionLayout::Channels, AttentionLayout::Tokens];
    let (layout, [a, b, c]) = layouts.into_iter().find_map(|layout| Some((layout, supplies(layout)?)))?;
    let bias = Bias::of(graph, scores, q)?;
    let back = back(graph, scores, &operands, layout)?;
    let scale = scores.scale * q.factor * k.factor;
    let [q, k, v] = operands;
    let parts = Box::new([(q, a), (k, b), (v, c)]);
    let found = Found { scores: scores.clone(), heads, scale, bias, inputs: Inputs::Sources(layout, parts), back };
    (fits_mixes(graph, scores, &found) && scale.is_finite() && scale != 0.0).then_some(found)
}

/// The operands as views of their sources, and whose sources nothing else reads. A packed layer that something else reads is not cut up: then its
/// parts are the sources.
fn operands(graph: &Graph, uses: &Uses, scores: &Scores, factors: [Factor; 3]) -> Option<([Operand; 3], [bool; 3])> {
    let through = |through: [Through; 3]| -> Option<[Operand; 3]> {
        let [q, k, v] = factors;
        let [a, b, c] = through;
        Some([Operand::of(graph, q, a)?, Operand::of(graph, k, b)?, Operand::of(graph, v, c)?])
    };
    let exclusive = |operands: &[Operand; 3]| {
        let mut known: HashSet<NodeId> = operands.iter().flat_map(|o| o.nodes.iter().copied()).collect();
        known.extend([scores.scores.node, scores.result]);
        [0, 1, 2].map(|i| operands[i].is_exclusive(graph, uses, &known))
    };
    if let Some(parts) = through([Through::Parts, Through::Parts, Through::Parts]) {
        let alone = exclusive(&parts);
        if alone == [true; 3] {
            return Some((parts, alone));
        }
    }
    let whole = through([Through::Scaled, Through::Scaled, Through::Permutations])?;
    let alone = exclusive(&whole);
    Some((whole, alone))
}

/// Whether mixes of heads are of this attention's heads, which are the whole second axis of its scores.
fn fits_mixes(graph: &Graph, scores: &Scores, found: &Found) -> bool {
    let shape = graph.shape(scores.scores);
    let heads = Dim::Fixed(found.heads);
    scores.mixes.iter().all(Option::is_none) || shape.rank() == 4 && shape.0[1] == heads && found.heads_second()
}

impl Found {
    /// Whether the second axis of the scores is the heads and nothing else.
    fn heads_second(&self) -> bool {
        match &self.inputs {
            Inputs::Sources(_, parts) => {
                let lead = &parts[0].0.lead;
                let axis = parts[0].0.axis;
                lead[0].iter().all(|p| p.axis != axis) && lead[1].iter().all(|p| p.axis == axis)
            }
            Inputs::Cut(_) => true,
        }
    }
}

/// The product's result as a view of an attention in a layout with sources.
fn back(graph: &Graph, scores: &Scores, [q, _, v]: &[Operand; 3], layout: AttentionLayout) -> Option<Back> {
    let own = |source: Value, tokens: &[Place]| {
        let (sets, channels) = (q.sets()?, Dim::Fixed(v.width()?));
        let tail = &graph.shape(source).0;
        Some(Shape(match layout {
            AttentionLayout::Channels => [&[sets, channels], &tail[2..]].concat(),
            _ => vec![sets, product(tokens.iter().map(|p| p.size))?.dim()?, channels],
        }))
    };
    let shape = own(q.source, &q.tokens)?;
    let axis = if layout == AttentionLayout::Channels { 1 } else { 2 };
    let strides = strides(&shape)?;
    let all = |axes: std::ops::Range<usize>| strides[axes].to_vec();
    let queries = if axis == 1 { all(2..shape.rank()) } else { all(1..2) };
    // Heads and sets in the order of the leading axes, from the innermost on.
    let width = product(v.channels.iter().map(|p| p.size))?;
    let (mut head, mut set) = (strides[axis].stride.times(width)?, strides[0].stride);
    let channels = vec![Digit { size: width, stride: strides[axis].stride }];
    let mut lead: Vec<Vec<Digit>> = Vec::new();
    for digits in q.lead.iter().rev() {
        let mut made = Vec::new();
        for place in digits.iter().rev() {
            let next = if place.axis == q.axis { &mut head } else { &mut set };
            made.push(Digit { size: place.size, stride: *next });
            *next = next.times(place.size)?;
        }
        made.reverse();
        lead.push(made);
    }
    lead.reverse();
    lead.extend(if scores.transposed { [channels, queries] } else { [queries, channels] });
    let axes = lead.into_iter().map(crate::view::joined).collect();
    Some(Back { axes, result: graph.shape(scores.result.into()).clone() })
}

/// With the heads as the products have them: `[sets, heads, …]`, or one head.
fn as_cut(graph: &Graph, scores: &Scores) -> Option<Found> {
    let shape = graph.shape(scores.scores);
    let (heads, sets, lead) = match shape.rank() {
        3 => (1, shape.0[0], 1),
        4 => (shape.0[1].fixed()?, shape.0[0], 2),
        _ => return None,
    };
    let cut = |factor: Factor| {
        let view = View::identity(graph, factor.value)?;
        let dims = &graph.shape(factor.value).0;
        let (mut tail, mut order) = (dims[lead..].to_vec(), view.axes.clone());
        if factor.tokens_last {
            tail.swap(0, 1);
            let at = order.len() - 2;
            order.swap(at, at + 1);
        }
        let result = Shape([vec![sets, Dim::Fixed(heads)], tail].concat());
        let view = View { axes: order, ..view };
        Plan::of(graph, &view, &result)
    };
    let plans = [cut(scores.q)?, cut(scores.k)?, cut(scores.v)?];
    let bias = Bias::of_cut(graph, scores, lead)?;
    // The attention gives [sets, heads, Nq, d].
    let result = graph.shape(scores.result.into()).clone();
    let at = result.rank() - 2;
    let (mut queries, mut width) = (Count::from(result.0[at]), Count::from(result.0[at + 1]));
    if scores.transposed {
        std::mem::swap(&mut queries, &mut width);
    }
    let [heads_of, sets_of] = [Count::fixed(heads), Count::from(sets)];
    let digit = |size: Count, stride: Count| crate::view::joined([Digit { size, stride }]);
    let per_head = queries.times(width)?;
    let mut axes = vec![digit(sets_of, per_head.times(heads_of)?)];
    if lead == 2 {
        axes.push(digit(heads_of, per_head));
    }
    let (rows, columns) = (digit(queries, width), digit(width, Count::ONE));
    axes.extend(if scores.transposed { [columns, rows] } else { [rows, columns] });
    let back = Back { axes, result };
    let found =
        Found { scores: scores.clone(), heads, scale: scores.scale, bias, inputs: Inputs::Cut(Box::new(plans)), back };
    fits_mixes(graph, scores, &found).then_some(found)
}

/// The operands of one mix of heads: `[H,H]` and, of the first, a bias that the second has too; nothing mixed is the unit matrix.
fn mixed(copy: &mut Copier, mix: Option<Mix>, heads: usize, path: &str) -> Built<[Value; 2]> {
    let w = mix.map(|m| copy.constant(m.w)).transpose()?;
    let b = mix.and_then(|m| m.b).map(|b| copy.constant(b)).transpose()?;
    let mut net = Builder::within(&mut copy.new, path);
    let w = match w {
        Some(w) => net.reshaped("w", w, &[heads, heads])?,
        None => net.generate("w", Generator::Eye, Type::f32(&[heads, heads]))?,
    };
    let b = match b {
        Some(b) => b,
        None => net.fill("b", 0.0, &[heads])?,
    };
    Ok([w, b])
}
