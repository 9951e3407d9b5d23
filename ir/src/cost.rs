//! The one cost model: what a computation asks of a machine, and what that takes on a target.
//!
//! Everything is counted for one batch item. Time is `MACs / rate + kernels × launch + small products × small + bytes / bandwidth`, with the
//! constants in the target's data; of several batch items all but kernels and weights, which are launched and read once, is multiplied by their
//! number, in one place and so on both sides of every comparison. Multiply-accumulates are those of convolutions, products, attention and transforms as matrix products; bytes are results written and weights read.

use crate::facts::Class;
use crate::graph::{Graph, Node};
use crate::id::Value;
use crate::op::{AttentionLayout, Op};
use crate::target::{Cost, Target};
use crate::ty::{DType, Dim, Shape};
use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;

/// What a piece of a graph asks of a machine, for one batch item. A pass that has two exact forms to choose from counts both and takes the cheaper one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Multiply-accumulates.
    pub macs: usize,
    /// Kernels launched.
    pub kernels: usize,
    /// Small products of batched products with one constant on the left: one per map.
    pub small: usize,
    /// Elements of results written.
    pub results: usize,
    /// Elements of weights read.
    pub weights: usize,
}

impl Work {
    /// One dense convolution kernel: `weights` elements applied at each of `positions`, `outputs` channels written.
    pub fn convolution(weights: usize, outputs: usize, positions: usize) -> Work {
        Work { macs: weights * positions, kernels: 1, small: 0, results: outputs * positions, weights }
    }

    /// One kernel that writes `results` elements and multiplies nothing.
    pub fn movement(results: usize) -> Work {
        Work { kernels: 1, results, ..Work::default() }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.macs += other.macs;
        self.kernels += other.kernels;
        self.small += other.small;
        self.results += other.results;
        self.weights += other.weights;
    }
}

/// Batch items that the graph's shapes hold: the first dimension that all its inputs, images `[B,C,H,W]`, share; 1 if it is symbolic, or they are
/// no images.
pub fn batch_items(graph: &Graph) -> usize {
    let mut batches = graph.inputs().map(|(_, n)| match n.types[0].shape.0[..] {
        [Dim::Fixed(n), _, _, _] => n,
        _ => 1,
    });
    let first = batches.next().unwrap_or(1);
    if batches.all(|n| n == first) { first } else { 1 }
}

/// What work costs: on this target, for elements of so many bytes, with so many batch items at once.
#[derive(Debug, Clone, Copy)]
pub struct Price {
    cost: Cost,
    /// Bytes of one element.
    bytes: usize,
    /// Batch items that shapes hold.
    held: usize,
    /// Batch items that run at once.
    items: usize,
}

/// What an open batch counts as where a choice depends on it.
const OPEN_BATCH: usize = 8;

impl Price {
    /// For a graph that computes in this element type.
    pub fn new(graph: &Graph, target: &Target, precision: DType) -> Price {
        let open = graph.inputs().any(|(_, n)| n.types[0].shape.has_batch());
        let held = batch_items(graph);
        let items = if open { OPEN_BATCH } else { held };
        Price { cost: target.cost, bytes: precision.bits() / 8, held, items }
    }

    /// Microseconds.
    pub fn of(&self, work: &Work) -> f64 {
        let Price { cost, bytes, items, .. } = self;
        (work.macs * items) as f64 / cost.rate
            + work.kernels as f64 * cost.launch
            + (work.small * items) as f64 * cost.small
            + ((work.results * items + work.weights) * bytes) as f64 / cost.bandwidth
    }

    /// Batch items that run at once.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Elements of a run-time value of this shape for one batch item.
    pub fn elements(&self, shape: &Shape) -> usize {
        shape.elements() / self.held
    }
}

/// Multiply-accumulates of one node for one batch item.
pub fn macs(graph: &Graph, node: &Node) -> u64 {
    batch_macs(graph, node) / batch_items(graph) as u64
}

/// Multiply-accumulates of all run-time nodes for one batch item.
pub fn total_macs(graph: &Graph) -> u64 {
    graph.run_time_nodes().map(|(_, n)| batch_macs(graph, n)).sum::<u64>() / batch_items(graph) as u64
}

/// Multiply-accumulates of one node for as many batch items as its shapes hold.
fn batch_macs(graph: &Graph, node: &Node) -> u64 {
    let operands: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
    let results = node.types[0].shape.elements() as u64;
    match node.op.facts().class {
        // Each element of the map meets each weight of its group.
        Class::Contraction if matches!(node.op, Op::ConvTranspose { .. }) => {
            let each = operands[1].0[1..].iter().map(|d| d.at(1) as u64).product();
            (operands[0].elements() as u64).saturating_mul(each)
        }
        // Each result is a sum over what of the second operand is contracted.
        Class::Contraction => {
            let sizes =
                node.op.axes(&operands).contracted(1).map(|a| operands[1].0[a].at(1) as u64).collect::<Vec<_>>();
            sizes.into_iter().fold(results, u64::saturating_mul)
        }
        Class::Attention => attention_macs(&node.op, &operands),
        Class::Transform => transform_macs(&node.op, &node.types[0].shape, operands[0]),
        Class::Leaf
        | Class::Elementwise
        | Class::Cast
        | Class::Normalisation
        | Class::Reduction
        | Class::Movement
        | Class::Sampling
        | Class::Quantisation
        | Class::Barrier => 0,
    }
}

/// Scores, values by them, and both mixes of heads that talk.
fn attention_macs(op: &Op, operands: &[&Shape]) -> u64 {
    let Op::Attention { heads, layout, talking, .. } = op else { return 0 };
    let sizes = |slot: usize| operands[slot].0.iter().map(|d| d.at(1) as u64).collect::<Vec<_>>();
    // Batch, channels of all heads, tokens.
    let parts = |slot: usize| match (layout, &sizes(slot)[..]) {
        (AttentionLayout::Channels, [b, c, tokens @ ..]) => [*b, *c, tokens.iter().product()],
        (AttentionLayout::Tokens, &[b, n, c]) => [b, c, n],
        (AttentionLayout::Heads, &[b, h, n, d]) => [b, h * d, n],
        _ => [0; 3],
    };
    let ([batch, channels, queries], [_, values, keys]) = (parts(0), parts(2));
    let mixes = if *talking { 2 * (heads * heads) as u64 } else { 0 };
    (batch * queries).saturating_mul(keys).saturating_mul(channels + values + mixes)
}

/// As products with dense matrices: the half spectrum along W, all of it along H.
fn transform_macs(op: &Op, result: &Shape, operand: &Shape) -> u64 {
    let inverse = matches!(op, Op::Irfft2 { .. });
    let map = if inverse { result } else { operand };
    let sizes: Vec<u64> = map.0.iter().map(|d| d.at(1) as u64).collect();
    let &[.., h, w] = &sizes[..] else { return 0 };
    let maps = map.elements() as u64 / (h * w);
    let columns = w / 2 + 1;
    let each = match op {
        Op::Dct2 | Op::Idct2 => (h * w).saturating_mul(h + w),
        _ => (2 * h * w).saturating_mul(columns).saturating_add((4 * h * h).saturating_mul(columns)),
    };
    maps.saturating_mul(each)
}

/// Elements of the float constants that run-time nodes read: the parameters of the graph as it stands.
pub fn parameters(graph: &Graph) -> u64 {
    let decodes = |node: &Node| node.op.facts().class == Class::Quantisation && graph.is_stored(node.inputs[0]);
    // Codes count as what they stand for, and their scales and tables not at all.
    let (mut beside, mut codes) = (HashSet::new(), HashMap::new());
    for (_, node) in graph.run_time_nodes().filter(|(_, node)| decodes(node)) {
        beside.insert(graph.stored(node.inputs[1]));
        codes.insert(graph.stored(node.inputs[0]), node.types[0].shape.elements() as u64);
    }
    let float = |&v: &Value| graph.ty(v).dtype.is_float() && !beside.contains(&v);
    let floats = emitted_constants(graph).into_iter().filter(float).map(|v| graph.ty(v).shape.elements() as u64);
    floats.sum::<u64>() + codes.values().sum::<u64>()
}

/// Elements of the trained tensors that the graph asks for, as papers count parameters: running statistics are not trained.
pub fn trained_parameters(graph: &Graph) -> u64 {
    graph.weights().filter(|(key, _)| is_trained(key)).map(|(_, t)| t.shape.elements() as u64).sum()
}

/// Whether a weight is trained rather than a running statistic.
pub fn is_trained(key: &str) -> bool {
    !key.ends_with("running_mean") && !key.ends_with("running_var")
}

/// Constant values that run-time nodes (or outputs) read, each once, in order of first use: what an artifact stores.
pub fn emitted_constants(graph: &Graph) -> Vec<Value> {
    let mut seen = HashSet::new();
    let reads = graph.run_time_nodes().flat_map(|(_, n)| n.inputs.iter().copied());
    let reads = reads.chain(graph.outputs.iter().map(|o| o.value)).map(|v| graph.stored(v));
    reads.filter(|&v| graph.is_constant(v) && seen.insert(v)).collect()
}
