//! The one cost model: what a computation asks of a machine, and what that takes on a target.
//!
//! Everything is counted for one batch item. Time is `MACs / rate + kernels × launch + small products × small + bytes / bandwidth`, with the
//! constants in the target's data; of several batch items all but kernels and weights, which are launched and read once, is multiplied by their
//! number, in one place and so on both sides of every comparison. Multiply-accumulates are those of convolutions, products, attention and transforms as matrix products; bytes are results written and weights read.

use crate::graph::{Graph, Node};
use crate::op::{AttentionLayout, Op};
use crate::target::{Cost, Target};
use crate::ty::{DType, Dim, Shape};
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
        Price { cost: target.cost, bytes: precision.bytes(), held, items }
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
    let shape = |i: usize| graph.shape(node.inputs[i]);
    let out = |i: usize| node.types[i].shape.elements() as u64;
    match &node.op {
        Op::Conv { .. } => out(0) * (shape(1).elements() / shape(1).dim(0)) as u64,
        Op::MatMul { transpose_a, .. } => {
            let a = shape(0);
            let contracted = a.rank() - if *transpose_a { 2 } else { 1 };
            out(0) * a.0[contracted].at(1) as u64
        }
        Op::Linear => out(0) * shape(1).dim(1) as u64,
        Op::Attention { heads, layout, talking, .. } => {
            let channel = match layout {
                AttentionLayout::Channels => 1,
                AttentionLayout::Tokens => 2,
                AttentionLayout::Heads => 3,
            };
            let per_head = if *layout == AttentionLayout::Heads { *heads } else { 1 };
            let channels = |i: usize| shape(i).dim(channel) * per_head;
            let tokens = |i: usize| (shape(i).elements() / (channels(i) * shape(i).0[0].at(1))) as u64;
            let batch = shape(0).0[0].at(1) as u64;
            let scores = batch * tokens(0) * tokens(1);
            let mixes = if *talking { 2 * (heads * heads) as u64 } else { 0 };
            scores * (channels(0) as u64 + channels(2) as u64 + mixes)
        }
        Op::Rfft2 { .. } => {
            let s = shape(0);
            let (h, w) = (s.dim(s.rank() - 2) as u64, s.dim(s.rank() - 1) as u64);
            let k = w / 2 + 1;
            (s.elements() as u64 / (h * w)) * (2 * h * w * k + 4 * h * h * k)
        }
        Op::Irfft2 { width, .. } => {
            let s = &node.types[0].shape;
            let (h, w) = (s.dim(s.rank() - 2) as u64, *width as u64);
            let k = w / 2 + 1;
            (s.elements() as u64 / (h * w)) * (2 * h * w * k + 4 * h * h * k)
        }
        Op::Dct2 | Op::Idct2 => {
            let s = shape(0);
            let (h, w) = (s.dim(s.rank() - 2) as u64, s.dim(s.rank() - 1) as u64);
            s.elements() as u64 * (h + w)
        }
        Op::Input
        | Op::Weight { .. }
        | Op::Literal { .. }
        | Op::Generate(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Sum
        | Op::Clip { .. }
        | Op::Prelu
        | Op::Cast { .. }
        | Op::BatchNorm { .. }
        | Op::LayerNorm { .. }
        | Op::Softmax { .. }
        | Op::Reduce { .. }
        | Op::AvgPool { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Split { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::Expand { .. }
        | Op::Resize { .. }
        | Op::Keep
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => 0,
    }
}

/// Elements of the float constants that run-time nodes read: the parameters of the graph as it stands.
pub fn parameters(graph: &Graph) -> u64 {
    emitted_constants(graph)
        .iter()
        .map(|&v| graph.ty(v))
        .filter(|t| t.dtype.is_float())
        .map(|t| t.shape.elements() as u64)
        .sum()
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
pub fn emitted_constants(graph: &Graph) -> Vec<crate::id::Value> {
    let mut seen = std::collections::HashSet::new();
    let reads = graph.run_time_nodes().flat_map(|(_, n)| n.inputs.iter().copied());
    let reads = reads.chain(graph.outputs.iter().map(|o| o.value)).map(|v| graph.stored(v));
    reads.filter(|&v| graph.is_constant(v) && seen.insert(v)).collect()
}
