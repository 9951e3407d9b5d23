//! Multiply out the 1x1 convolutions in front of a concatenation that a 1x1 convolution reads.
//!
//! ```text
//! Given    y = W·concat(x, P·z + p) + b          P and W 1x1 without padding, W = [W_x, W_z] by columns
//! Result   y = [W_x, W_z·P]·concat(x, z) + (b + W_z·p)
//! ```
//!
//! Exact    a product with a concatenation is the sum of the products. Done where nothing else reads P·z or the concatenation and P has no fewer
//!          rows than columns, so that the product shrinks with it.

use crate::Rewritten;
use crate::algebra::Linear;
use vitc_ir::{BinaryKind, Copier, Graph, Net, NodeId, Op, Shape, Value};

/// Run the pass.
pub(crate) fn run(graph: &Graph) -> Rewritten {
    let uses = graph.uses();
    let once = |v: Value| uses[v.node.0 as usize][v.index as usize] == 1;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, _) in graph.nodes() {
        let outer = pointwise(graph, id).filter(|l| once(l.x));
        let concat = outer.as_ref().map(|l| graph.producer(l.x)).filter(|n| n.op == Op::Concat { axis: 1 });
        let (Some(outer), Some(concat)) = (outer, concat) else {
            copy.node(id);
            continue;
        };
        let folds = |&v: &Value| {
            let inner = if once(v) { pointwise(graph, v.node) } else { None };
            inner.is_some_and(|l| graph.shape(l.w).dim(1) <= l.outputs(graph))
        };
        let folded: Vec<bool> = concat.inputs.iter().map(folds).collect();
        if !folded.contains(&true) {
            copy.node(id);
            continue;
        }
        let operands: Vec<Value> = concat.inputs.iter().map(|&v| copy.get(v)).collect();
        let inputs = copy.inputs(id);
        let outer = Linear { w: inputs[1], b: inputs.get(2).copied(), ..outer };
        let y = multiply(&mut copy.new, outer, &concat.path, &operands, &folded);
        copy.set(id.into(), y);
        count += folded.iter().filter(|&&f| f).count();
    }
    Rewritten { graph: copy.finish(), count, notes: Vec::new() }
}

/// The dense 1x1 convolution that a node is.
fn pointwise(graph: &Graph, id: NodeId) -> Option<Linear> {
    let linear = Linear::of(graph, id).filter(|l| l.op == Op::Conv { stride: [1; 2], pad: [0; 4], groups: 1 })?;
    (graph.shape(linear.w).as_fixed()?[2..] == [1, 1]).then_some(linear)
}

fn multiply(graph: &mut Graph, outer: Linear, concat: &str, operands: &[Value], folded: &[bool]) -> Value {
    let rows = outer.outputs(graph);
    let (mut joined, mut columns, mut bias) = (Vec::new(), Vec::new(), outer.b);
    let mut start = 0;
    for (&operand, &fold) in operands.iter().zip(folded) {
        let channels = graph.shape(operand).dim(1);
        let w = Net::within(graph, &outer.path).slice("w_part", outer.w, 1, start..start + channels);
        start += channels;
        let inner = if fold { pointwise(graph, operand.node) } else { None };
        let Some(inner) = inner else {
            joined.push(operand);
            columns.push(w);
            continue;
        };
        if let Some(b) = inner.b {
            let part = Linear { w, b: None, ..outer.clone() };
            let response = part.response(graph, b);
            bias = Some(match bias {
                Some(b) => Net::within(graph, &outer.path).binary("b", BinaryKind::Add, b, response),
                None => response,
            });
        }
        let inputs = graph.shape(inner.w).dim(1);
        let mut net = Net::within(graph, &outer.path);
        let left = net.reshaped("w_rows", w, &[rows, channels]);
        let right = net.reshaped("w_inner", inner.w, &[channels, inputs]);
        let w = net.matmul("w_product", left, right);
        columns.push(net.reshape("w_product", w, Shape::fixed(&[rows, inputs, 1, 1])));
        joined.push(inner.x);
    }
    let w = Net::within(graph, &outer.path).concat("w", &columns, 1);
    let x = Net::within(graph, concat).concat("", &joined, 1);
    Linear { x, w, b: bias, ..outer }.emit(graph)
}
