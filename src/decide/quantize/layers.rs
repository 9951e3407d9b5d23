//! The layers of a graph that may be held in few bits: sums of products of trained weights with a value.

use super::mixes::mixes_of_heads;
use std::collections::{HashMap, HashSet};
use vitc_ir::eval::{self, EvalError};
use vitc_ir::{BinaryKind, Graph, Node, NodeId, Op, Value, Weights};

/// How a layer reads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Windows of a map.
    Conv {
        /// Rows, columns per output.
        stride: [usize; 2],
        /// Top, left, bottom, right.
        pad: [usize; 4],
        /// Rows, columns between positions of the kernel.
        dilation: [usize; 2],
        /// Kernel height, width.
        kernel: [usize; 2],
    },
    /// The last axis.
    Rows,
    /// The last axis but one: the weights stand on the left.
    Columns,
}

/// Where a layer's bias stands, or could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bias {
    /// Its third operand, if it has one.
    Operand(Option<Value>),
    /// The constant operand of the sum that alone reads it: path, operand, value.
    Sum(String, usize, Value),
    /// Nowhere.
    None,
}

/// A layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) id: NodeId,
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Which operand the weights are.
    pub(super) slot: usize,
    pub(super) weight: Value,
    pub(super) input: Value,
    pub(super) bias: Bias,
    /// Channel groups.
    pub(super) groups: usize,
    /// Outputs of a group.
    pub(super) outputs: usize,
    /// Products in a sum.
    pub(super) terms: usize,
    /// The weights' matrix is stored with a column for each output.
    pub(super) transposed: bool,
    /// Several layers have these weights.
    pub(super) shared: bool,
}

impl Layer {
    /// Whether each output reads one channel.
    pub(super) fn is_depthwise(&self) -> bool {
        matches!(self.kind, Kind::Conv { kernel, .. } if self.groups > 1 && self.terms == kernel[0] * kernel[1])
    }

    /// Whether some outputs read zeros around the map.
    pub(super) fn is_padded(&self) -> bool {
        matches!(self.kind, Kind::Conv { pad, .. } if pad != [0; 4])
    }

    /// Channels of the input that it reads.
    pub(super) fn channels(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => self.groups * self.terms / (kernel[0] * kernel[1]),
            Kind::Rows | Kind::Columns => self.terms,
        }
    }

    /// The channel of the input that term `k` of a sum of group `g` reads.
    pub(super) fn channel(&self, g: usize, k: usize) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => {
                let area = kernel[0] * kernel[1];
                g * (self.terms / area) + k / area
            }
            Kind::Rows | Kind::Columns => k,
        }
    }

    /// Axis of the weights along which outputs stand.
    pub(super) fn output_axis(&self, rank: usize) -> usize {
        match (self.kind, self.transposed) {
            (Kind::Conv { .. }, _) => 0,
            (_, false) => rank - 2,
            (_, true) => rank - 1,
        }
    }

    /// Its weights as rows of terms.
    pub(super) fn weights(&self, graph: &Graph, weights: &dyn Weights) -> Result<Vec<f64>, EvalError> {
        let stored = eval::constants(graph, weights, &[self.weight])?.pop().unwrap_or_default();
        Ok(self.rows(&stored))
    }

    /// Stored weights as rows of terms, one row for each output.
    pub(super) fn rows<T: Copy>(&self, stored: &[T]) -> Vec<T> {
        self.turned(stored, self.terms, self.outputs)
    }

    /// Rows as they are stored.
    pub(super) fn stored<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        self.turned(rows, self.outputs, self.terms)
    }

    fn turned<T: Copy>(&self, from: &[T], height: usize, width: usize) -> Vec<T> {
        match self.transposed {
            false => from.to_vec(),
            true => (0..width).flat_map(|j| (0..height).map(move |i| from[i * width + j])).collect(),
        }
    }
}

/// Every layer, in order. Convolutions on the scores of an attention belong to the attention.
pub(super) fn layers(graph: &Graph) -> Vec<Layer> {
    let (inside, trained) = (mixes_of_heads(graph), trained(graph));
    let mut layers: Vec<Layer> = graph
        .run_time_nodes()
        .filter(|(id, _)| !inside.contains(id))
        .filter_map(|(id, node)| layer(graph, id, node))
        .filter(|layer| trained.contains(&layer.weight.node) && !graph.is_stored(layer.input))
        .collect();
    let mut readers: HashMap<Value, usize> = HashMap::new();
    layers.iter().for_each(|l| *readers.entry(l.weight).or_default() += 1);
    layers.iter_mut().for_each(|l| l.shared = readers[&l.weight] > 1);
    layers
}

fn layer(graph: &Graph, id: NodeId, node: &Node) -> Option<Layer> {
    let sizes =
        |slot: usize| graph.is_constant(node.inputs[slot]).then(|| graph.shape(node.inputs[slot]).as_fixed()).flatten();
    let constant_bias = match node.inputs.get(2) {
        Some(&bias) if graph.is_constant(bias) => Bias::Operand(Some(bias)),
        Some(_) => Bias::None,
        None => Bias::Operand(None),
    };
    let made = |kind, slot: usize, bias, groups: usize, [outputs, terms]: [usize; 2], transposed| Layer {
        id,
        path: node.path.clone(),
        kind,
        slot,
        weight: node.inputs[slot],
        input: node.inputs[1 - slot],
        bias,
        groups,
        outputs,
        terms,
        transposed,
        shared: false,
    };
    // A matrix, with nothing in front of it but axes of one index.
    let matrix = |slot: usize| match &sizes(slot)?[..] {
        [lead @ .., rows, columns] if lead.iter().all(|&n| n == 1) => Some([*rows, *columns]),
        _ => None,
    };
    match &node.op {
        Op::Conv { stride, pad, dilation, groups } => {
            let w = sizes(1)?;
            let kind = Kind::Conv { stride: *stride, pad: *pad, dilation: *dilation, kernel: [w[2], w[3]] };
            Some(made(kind, 1, constant_bias, *groups, [w[0] / groups, w[1] * w[2] * w[3]], false))
        }
        Op::Linear => Some(made(Kind::Rows, 1, constant_bias, 1, matrix(1)?, false)),
        Op::MatMul { transpose_a: false, transpose_b } if matrix(1).is_some() => {
            let [rows, columns] = matrix(1)?;
            let own = if *transpose_b { [rows, columns] } else { [columns, rows] };
            Some(made(Kind::Rows, 1, sum(graph, id, own[0]), 1, own, !transpose_b))
        }
        Op::MatMul { transpose_a, transpose_b: false } => {
            let [rows, columns] = matrix(0)?;
            let own = if *transpose_a { [columns, rows] } else { [rows, columns] };
            Some(made(Kind::Columns, 0, Bias::None, 1, own, *transpose_a))
        }
        _ => None,
    }
}

/// The sum with a vector behind a product.
fn sum(graph: &Graph, id: NodeId, outputs: usize) -> Bias {
    let (uses, y) = (graph.uses(), Value::from(id));
    let [reader] = uses.readers(y) else { return Bias::None };
    let node = graph.node(reader.node);
    if node.op != Op::Binary(BinaryKind::Add) || uses.is_result(y) {
        return Bias::None;
    }
    let slot = 1 - reader.slot;
    let other = graph.shape(node.inputs[slot]);
    let vector = other.elements() == outputs && other.0.last().and_then(|d| d.fixed()) == Some(outputs);
    match graph.is_constant(node.inputs[slot]) && vector && !other.has_batch() {
        true => Bias::Sum(node.path.clone(), slot, node.inputs[slot]),
        false => Bias::None,
    }
}

/// Constants in which something trained is.
fn trained(graph: &Graph) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    for (id, node) in graph.nodes() {
        if matches!(node.op, Op::Weight { .. }) || node.inputs.iter().any(|v| found.contains(&v.node)) {
            found.insert(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attention whose heads are mixed on both sides of the softmax, and a head whose scores a softmax ends.
    #[test]
    fn what_mixes_heads_is_no_layer_and_what_gives_classes_is_one() {
        let text = "graph g  stage=target\n%x: f32[1,2,4,8] = input\n\
            %q: f32[1,2,4,8] = matmul(%x, weight\"q.w\":f32[8,8])\n\
            %s: f32[1,2,4,4] = matmul(%q, %x){transpose_b}\n%t: f32[1,2,4,4] = mul(%s, 0.5)\n\
            %a: f32[1,2,4,4] = conv(%t, weight\"a.w\":f32[2,2,1,1]){stride=1, pad=0}\n\
            %p: f32[1,2,4,4] = softmax(%a){axis=3}\n\
            %b: f32[1,2,4,4] = conv(%p, weight\"b.w\":f32[2,2,1,1]){stride=1, pad=0}\n\
            %v: f32[1,2,4,8] = matmul(%b, %x)\n\
            %h: f32[1,2,4,3] = matmul(%v, weight\"h.w\":f32[8,3])\n%c: f32[1,2,4,3] = add(%h, weight\"h.b\":f32[3])\n\
            %y: f32[1,2,4,3] = softmax(%c){axis=3}\noutputs y=%y";
        let graph = vitc_ir::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let paths: Vec<String> = layers(&graph).into_iter().map(|l| l.path).collect();
        assert_eq!(paths, ["q", "h"]);
    }
}
