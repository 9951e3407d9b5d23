//! Random valid graphs: any operator with any attributes and operands that its shape rule takes, not only what papers draw.
//!
//! Operators are proposed, the shape rules decide. What is proposed fits most of the time: operands of a wanted type are taken from what is
//! there, computed from it, or made as weights, as other constants and as arithmetic on them. So every operand may be a constant, computed from
//! constants or computed at run time, the batch may stand on any axis, once, or a multiple of it, and a value may have any number of readers.

mod movement;
mod operands;
mod operators;
mod phrases;
mod spelled;

use super::Rng;
use crate::facts::Class;
use crate::graph::{Graph, Output};
use crate::id::Value;
use crate::op::{Op, UnaryKind};
use crate::stage::Stage;
use crate::ty::{DType, Dim, Shape, Type};

/// Values with more elements than this, at a batch of 2, are not computed with further.
const LARGEST: usize = 1024;

/// Most dimensions of a value that is proposed.
const RANK: usize = 6;

/// A valid paper graph of at most some thirty proposed operators, with up to three inputs and four outputs. The seed decides everything.
pub fn any_graph(seed: u64) -> Graph {
    let mut maker = Maker::new(seed);
    for _ in 0..maker.rng.range(1, 3) {
        maker.input();
    }
    let most = if maker.rng.chance(20) { 32 } else { 10 };
    let steps = maker.rng.range(1, most);
    for _ in 0..steps {
        maker.step();
    }
    maker.finish()
}

/// A valid paper graph of an attention as some exporter may spell it. The seed decides everything.
pub fn spelled_attention(seed: u64) -> Graph {
    let mut seeds = Rng::new(seed);
    loop {
        let mut maker = Maker::new(seeds.bits());
        maker.half = false;
        maker.input();
        if let Some(y) = spelled::attention(&mut maker) {
            maker.pool = vec![y];
            return maker.finish();
        }
    }
}

/// A graph in the making.
struct Maker {
    graph: Graph,
    rng: Rng,
    /// Values that operators are applied to, small ones only.
    pool: Vec<Value>,
    /// First dimension of inputs.
    batch: Dim,
    /// Some values are f16.
    half: bool,
    /// Number of weights' keys.
    keys: usize,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        let mut rng = Rng::new(seed ^ 0x0a11_9a55);
        let batch = match rng.below(10) {
            0..=5 => Dim::Batch(1),
            6 => Dim::Batch(rng.range(2, 3)),
            _ => Dim::Fixed(rng.range(1, 2)),
        };
        let half = rng.chance(15);
        Maker { graph: Graph::new(format!("any-{seed}"), Stage::Paper), rng, pool: Vec::new(), batch, half, keys: 0 }
    }

    /// A size: small, often 1, even or odd.
    fn size(&mut self) -> usize {
        self.rng.pick(&[1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8])
    }

    fn dtype(&mut self) -> DType {
        if self.half && self.rng.chance(40) { DType::F16 } else { DType::F32 }
    }

    /// An input, most often an image, sometimes without the batch.
    fn input(&mut self) {
        let rank = if self.rng.chance(60) { 4 } else { self.rng.range(0, RANK) };
        let mut dims: Vec<Dim> = (0..rank).map(|_| Dim::Fixed(self.size())).collect();
        if rank > 0 && self.rng.chance(85) {
            dims[0] = self.batch;
        }
        let ty = Type::new(self.dtype(), Shape(dims));
        if ty.shape.at(2).iter().product::<usize>() <= LARGEST {
            let path = format!("in{}", self.pool.len());
            self.pool.extend(self.graph.push_leaf(Op::Input, ty, &path));
        }
    }

    /// Propose operators until one fits.
    fn step(&mut self) {
        for _ in 0..20 {
            let Some(node) = self.propose() else { continue };
            for index in 0..self.graph.node(node.node).types.len() as u32 {
                self.keep(Value { index, ..node });
            }
            return;
        }
    }

    /// Let further operators read a value if it is small enough.
    fn keep(&mut self, value: Value) {
        if self.small(value) && !self.pool.contains(&value) {
            self.pool.push(value);
        }
    }

    fn small(&self, value: Value) -> bool {
        let shape = self.graph.shape(value);
        shape.rank() <= RANK && shape.at(2).iter().product::<usize>() <= LARGEST
    }

    /// Append a node under a path like those of architectures; `None` if its operands do not fit.
    fn push(&mut self, op: Op, inputs: &[Value]) -> Option<Value> {
        if inputs.iter().any(|&v| !self.small(v)) {
            return None;
        }
        let first = inputs.first().map(|&v| self.graph.ty(v).dtype);
        let mixed = inputs.iter().any(|&v| Some(self.graph.ty(v).dtype) != first);
        let class = op.facts().class;
        if mixed && !matches!(class, Class::Sampling | Class::Quantisation) {
            return None;
        }
        // Quotients of integers are constants.
        let counts = first.is_some_and(|dtype| !dtype.is_float()) && !op.facts().integers;
        let decodes = matches!(class, Class::Cast | Class::Quantisation);
        if counts && !decodes && inputs.iter().any(|&v| !self.graph.is_constant(v)) {
            return None;
        }
        let path = format!("b{}.{}", self.graph.len() / 8, op.word());
        self.graph.push(op, inputs, &path).ok().map(Value::from)
    }

    /// Some of the last values, or any others, as outputs.
    fn finish(mut self) -> Graph {
        if self.outputs().is_empty() {
            if self.graph.inputs().next().is_none() {
                let ty = Type::new(DType::F32, Shape(vec![self.batch]));
                self.pool.extend(self.graph.push_leaf(Op::Input, ty, "image"));
            }
            let x = self.graph.inputs().next().map(|(id, _)| Value::from(id));
            let y = x.and_then(|x| self.push(Op::Unary(UnaryKind::Relu), &[x]));
            self.pool.extend(y);
        }
        let candidates = self.outputs();
        let mut outputs: Vec<Value> = candidates.last().copied().into_iter().collect();
        for _ in 0..self.rng.pick(&[0, 0, 1, 3]) {
            outputs.push(self.rng.pick(&candidates));
        }
        for (i, value) in outputs.into_iter().enumerate() {
            self.graph.outputs.push(Output { name: format!("out{i}"), value });
        }
        self.graph.pruned()
    }

    /// Values that may be outputs: floats and indices computed from an input.
    fn outputs(&self) -> Vec<Value> {
        let mut follows = vec![false; self.graph.len()];
        for (id, node) in self.graph.nodes() {
            follows[id.0 as usize] = node.op == Op::Input || node.inputs.iter().any(|v| follows[v.node.0 as usize]);
        }
        let computed = |v: &Value| follows[v.node.0 as usize] && *self.graph.op(self.graph.stored(*v)) != Op::Input;
        self.pool.iter().copied().filter(computed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::valid::validate;
    use std::collections::HashSet;

    #[test]
    fn graphs_are_valid_and_have_every_operator() {
        let mut words = HashSet::new();
        let mut ranks = HashSet::new();
        for seed in 0..4000 {
            let graph = any_graph(seed);
            validate(&graph, None).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{graph}"));
            words.extend(graph.nodes().map(|(_, n)| n.op.word()));
            ranks.extend(graph.run_time_nodes().map(|(_, n)| n.types[0].shape.rank()));
        }
        assert_eq!(ranks, (0..=RANK).collect());
        let missing: Vec<&str> = Op::WORDS.iter().copied().filter(|w| !words.contains(w)).collect();
        assert!(missing.is_empty(), "no graph has {missing:?}");
    }

    #[test]
    fn the_seed_decides_everything() {
        for seed in 0..20 {
            assert_eq!(any_graph(seed).to_string(), any_graph(seed).to_string());
        }
    }
}
