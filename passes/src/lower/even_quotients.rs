//! Divide both sides of a quotient by as much as their sums are long, so that f16 holds them: attention without a softmax.
//!
//! ```text
//! Given    y = m(q·(k·v)) / (m'(q·(k·v)) + e)            or with two products; m, m' move, cut and sum
//! Result   y = m(q'·(k'·v)) / (m'(q'·(k'·v)) + e·c)      q' = q/2ⁱ, k' = k/2ʲ, c = 1/2ⁱ⁺ʲ, 2ⁱ and 2ʲ about eight times as many as the products sum
//! ```
//!
//! Sums over all tokens of what no softmax bounds pass 65504 soon, while their quotient is a mean. Eight times, because three values are multiplied: factors of a
//! hundred stay below the end of f16, and of a hundredth above where it loses digits.
//!
//! Exact    numerator and denominator are each proportional to q and to k, and a power of two changes no digit. Only where f16 is computed, and nothing else
//!          reads what changes.

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::pattern::number::number;
use std::collections::{BTreeSet, HashMap};
use vitc_ir::facts::Slots;
use vitc_ir::{BinaryKind, Builder, Class, Copier, DType, Graph, NodeId, Op, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("even_quotients", run);

/// Nodes between a factor and its quotient at most.
const LARGEST: u32 = 256;

/// Movements between a product and the factor that both sides have at most.
const FARTHEST: usize = 6;

fn run(graph: &Graph, context: &Context) -> Result {
    if context.options.precision != DType::F16 {
        return Ok(Rewritten::unchanged(graph));
    }
    let uses = graph.uses();
    let quotients: Vec<Quotient> =
        graph.run_time_nodes().filter_map(|(id, _)| Quotient::at(graph, id)?.evened(graph, &uses)).collect();
    let by_reader: HashMap<NodeId, &Quotient> =
        quotients.iter().flat_map(|q| q.inside.iter().map(move |&id| (id, q))).collect();
    let mut copy = Copier::new(graph, graph.stage);
    let mut made: HashMap<(NodeId, Value), Value> = HashMap::new();
    for (id, node) in graph.nodes() {
        let Some(quotient) = by_reader.get(&id) else {
            copy.node(id)?;
            continue;
        };
        let mut inputs = copy.inputs(id)?;
        for (x, &old) in inputs.iter_mut().zip(node.inputs.iter()) {
            let mut net = Builder::within(&mut copy.new, graph.value_name(old));
            if let Some(&factor) = quotient.factors.get(&old) {
                *x = match made.get(&(quotient.id, old)) {
                    Some(&value) => value,
                    None => {
                        let by = net.scalar(factor)?;
                        net.binary("even", BinaryKind::Mul, *x, by)?
                    }
                };
                made.insert((quotient.id, old), *x);
            } else if quotient.least == Some((id, old)) {
                let e = number(graph, old).unwrap_or_default() * quotient.factors.values().product::<f64>();
                *x = net.scalar(e)?;
            }
        }
        let new = copy.new.push(node.op.clone(), &inputs, &node.path)?;
        for index in 0..node.types.len() as u32 {
            copy.set(Value { node: id, index }, Value { node: new, index });
        }
    }
    Ok(Rewritten::new(copy.finish()?, quotients.len()))
}

/// A quotient of two sums of products.
struct Quotient {
    id: NodeId,
    above: Value,
    below: Value,
    /// The sum with a number that keeps the denominator from zero, and the number.
    least: Option<(NodeId, Value)>,
    /// What is divided on both sides, and by what it is multiplied.
    factors: HashMap<Value, f64>,
    /// The nodes that are proportional to one of them, and the sum.
    inside: BTreeSet<NodeId>,
}

impl Quotient {
    /// The quotient that a node is.
    fn at(graph: &Graph, id: NodeId) -> Option<Quotient> {
        let node = graph.node(id);
        let (Op::Binary(BinaryKind::Div), &[above, whole]) = (&node.op, &node.inputs[..]) else { return None };
        let run_time = |v: Value| !graph.is_constant(v) && graph.ty(v).dtype == DType::F32;
        let same_type = |x: Value| graph.ty(x) == graph.ty(whole);
        let sum = graph.producer(whole);
        let (below, least) = match (&sum.op, &sum.inputs[..]) {
            (Op::Binary(BinaryKind::Add | BinaryKind::Max), &[x, e]) if number(graph, e).is_some() && same_type(x) => {
                (x, Some(e))
            }
            (Op::Binary(BinaryKind::Add | BinaryKind::Max), &[e, x]) if number(graph, e).is_some() && same_type(x) => {
                (x, Some(e))
            }
            _ => (whole, None),
        };
        let least = least.map(|e| (whole.node, e));
        let (factors, inside) = (HashMap::new(), BTreeSet::new());
        (run_time(above) && run_time(below)).then_some(Quotient { id, above, below, least, factors, inside })
    }

    /// The same with a factor for each product under it; `None` if there are not two at least that have one.
    fn evened(mut self, graph: &Graph, uses: &Uses) -> Option<Quotient> {
        for product in products(graph, self.above) {
            let node = graph.node(product);
            let Op::MatMul { transpose_a, .. } = node.op else { continue };
            let shape = graph.shape(node.inputs[0]);
            let summed = shape.0[shape.rank() - if transpose_a { 2 } else { 1 }].fixed();
            let Some(length) = summed.filter(|&n| n > 1) else { continue };
            let found = node.inputs.iter().find_map(|&v| {
                let candidates = std::iter::successors(Some(v), |&v| moved(graph, v)).take(FARTHEST);
                candidates.filter(|v| !self.factors.contains_key(v)).find_map(|v| Some((v, self.cone(graph, uses, v)?)))
            });
            if let Some((factor, inside)) = found {
                self.factors.insert(factor, 0.5f64.powi((8.0 * length as f64).log2().round() as i32));
                self.inside.extend(inside);
            }
        }
        self.inside.extend(self.least.map(|(sum, _)| sum));
        (self.factors.len() > 1).then_some(self)
    }

    /// The nodes through which both sides are proportional to a value, if that is all that reads them.
    fn cone(&self, graph: &Graph, uses: &Uses, factor: Value) -> Option<BTreeSet<NodeId>> {
        let first = factor.node.0 + 1;
        if graph.is_constant(factor) || self.id.0.checked_sub(first)? > LARGEST {
            return None;
        }
        let mut degrees: HashMap<NodeId, Option<u32>> = HashMap::new();
        let degree = |degrees: &HashMap<NodeId, Option<u32>>, v: Value| match v == factor {
            true => Some(1),
            false => degrees.get(&v.node).copied().unwrap_or(Some(0)),
        };
        for id in (first..self.id.0).map(NodeId) {
            let own: Vec<Option<u32>> = graph.node(id).inputs.iter().map(|&v| degree(&degrees, v)).collect();
            if own.iter().any(|d| *d != Some(0)) {
                degrees.insert(id, own.into_iter().collect::<Option<Vec<_>>>().and_then(|own| power(graph, id, &own)));
            }
        }
        if degree(&degrees, self.above) != Some(1) || degree(&degrees, self.below) != Some(1) {
            return None;
        }
        let mut inside = BTreeSet::new();
        let mut open = vec![self.above, self.below];
        while let Some(value) = open.pop() {
            if value != factor && degree(&degrees, value) == Some(1) && inside.insert(value.node) {
                open.extend(graph.node(value.node).inputs.iter());
            }
        }
        let sum = self.least.map_or(self.id, |(sum, _)| sum);
        let alone = |value: Value| {
            let readers = uses.readers(value);
            !uses.is_result(value)
                && readers.iter().all(|r| inside.contains(&r.node) || r.node == self.id || r.node == sum)
        };
        let values = |&id: &NodeId| (0..graph.node(id).types.len() as u32).map(move |index| Value { node: id, index });
        let sum_alone = self.least.is_none_or(|(sum, _)| uses.once(sum.into()));
        (sum_alone && !inside.is_empty() && inside.iter().flat_map(values).all(alone)).then_some(inside)
    }
}

/// The products under a value, through movements and products.
fn products(graph: &Graph, value: Value) -> Vec<NodeId> {
    let (mut found, mut open) = (Vec::new(), vec![value]);
    while let Some(value) = open.pop() {
        if let Some(x) = moved(graph, value) {
            open.push(x);
        } else if let Op::MatMul { .. } = graph.op(value)
            && found.len() < FARTHEST
            && !found.contains(&value.node)
        {
            found.push(value.node);
            open.extend(graph.producer(value).inputs.iter());
        }
    }
    found
}

/// What a value is a movement of.
fn moved(graph: &Graph, value: Value) -> Option<Value> {
    (moves(graph.op(value)) && !graph.is_constant(value)).then(|| graph.producer(value).inputs[0])
}

/// Whether an operator only lays one operand's elements out, and puts nothing between them.
fn moves(op: &Op) -> bool {
    let facts = op.facts();
    facts.class == Class::Movement && facts.operands == (1..=1) && facts.shift.contains(0)
}

/// To which power of a factor a node's results are proportional, whose operands are to these powers; `None` if they are not.
fn power(graph: &Graph, id: NodeId, own: &[u32]) -> Option<u32> {
    let sets = graph.op(id.into()).facts().factor;
    let alike = |set: Slots| {
        let mut powers = (0..own.len()).filter(|&slot| set.contains(slot)).map(|slot| own[slot]);
        let first = powers.next().unwrap_or(0);
        powers.all(|p| p == first).then_some(first)
    };
    let held = |slot: usize| own[slot] == 0 || sets.iter().any(|set| set.contains(slot));
    let sum = alike(sets[0])?.checked_add(alike(sets[1])?)?;
    (0..own.len()).all(held).then_some(sum)
}
