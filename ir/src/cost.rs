//! Multiply-accumulates of operators and graphs: convolutions, products, attention and transforms as matrix products; nothing else counts.

use crate::graph::{Graph, Node};
use crate::op::{AttentionLayout, Op};

/// Multiply-accumulates of one node for one image.
pub fn macs(graph: &Graph, node: &Node) -> u64 {
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
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => 0,
    }
}

/// Multiply-accumulates of all run-time nodes for one image.
pub fn total_macs(graph: &Graph) -> u64 {
    graph.run_time_nodes().map(|(_, n)| macs(graph, n)).sum()
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
    reads.chain(graph.outputs.iter().map(|o| o.value)).filter(|&v| graph.is_constant(v) && seen.insert(v)).collect()
}
