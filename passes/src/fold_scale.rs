//! Fold factors and summands per channel into the linear node in front of them: LayerScale, averages of heads, constant shifts.
//!
//! ```text
//! Given    y = (W·x + b)∘c   or   (W·x + b)/c       Result   y = (c∘W)·x + c∘b   or   with 1/c
//! Given    y = (W·x + b) + c                        Result   y = W·x + (b + c)
//! Given    y = (c·x)·M                              Result   y = x·(c·M), M a constant matrix and c one number
//! with     c constant, one element per output channel or one in all
//! ```
//!
//! Exact    if nothing else reads the linear node, or the scaled x.

use crate::Rewritten;
use crate::algebra::{Linear, as_vector, repeated};
use vitc_ir::{BinaryKind, Copier, Graph, Net, NodeId, Op, Value};

/// Run the pass.
pub(crate) fn run(graph: &Graph) -> Rewritten {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    let mut notes = Vec::new();
    for (id, node) in graph.nodes() {
        if let (Op::Binary(kind), false) = (&node.op, graph.is_constant(id.into())) {
            let constant = node.inputs.iter().position(|&v| graph.is_constant(v));
            let foldable = match kind {
                BinaryKind::Mul | BinaryKind::Add => constant,
                BinaryKind::Div | BinaryKind::Sub => constant.filter(|&i| i == 1),
                BinaryKind::Max | BinaryKind::Min => None,
            };
            if let Some(at) = foldable {
                let x = node.inputs[1 - at];
                let (new_x, c) = (copy.get(x), copy.get(node.inputs[at]));
                if let Some(linear) = Linear::of(&copy.new, new_x.node) {
                    if uses[x.node.0 as usize][x.index as usize] == 1 {
                        if let Some(y) = fold(&mut copy.new, linear, *kind, c, new_x) {
                            copy.set(id.into(), y);
                            count += 1;
                            continue;
                        }
                    } else {
                        notes.push(format!("{} stays: something else reads {}", node.path, linear.path));
                    }
                }
            }
        }
        if let Some(y) = scaled_matrix(graph, &mut copy, id, &uses) {
            copy.set(id.into(), y);
            count += 1;
            continue;
        }
        copy.node(id);
    }
    Rewritten { graph: copy.finish(), count, notes }
}

/// `x·(c·M)` for a node `(c·x)·M`.
fn scaled_matrix(graph: &Graph, copy: &mut Copier, id: NodeId, uses: &[Vec<usize>]) -> Option<Value> {
    let node = graph.node(id);
    let &[product, matrix] = node.inputs.as_slice() else { return None };
    let factors = graph.producer(product);
    if !matches!(node.op, Op::MatMul { .. })
        || factors.op != Op::Binary(BinaryKind::Mul)
        || !graph.is_constant(matrix)
        || graph.is_constant(product)
        || uses[product.node.0 as usize][product.index as usize] != 1
    {
        return None;
    }
    let at = factors.inputs.iter().position(|&v| graph.is_constant(v) && graph.shape(v).elements() == 1)?;
    let (x, c) = (factors.inputs[1 - at], factors.inputs[at]);
    if graph.shape(x) != graph.shape(product) {
        return None;
    }
    let (x, c, matrix) = (copy.get(x), copy.get(c), copy.get(matrix));
    let c = Net::within(&mut copy.new, &factors.path).reshaped("scalar", c, &[]);
    let mut net = Net::within(&mut copy.new, &node.path);
    let matrix = net.binary("scaled", BinaryKind::Mul, matrix, c);
    Some(net.push("", node.op.clone(), &[x, matrix]))
}

fn fold(graph: &mut Graph, linear: Linear, kind: BinaryKind, c: Value, y: Value) -> Option<Value> {
    let (shape, axis) = (graph.shape(y).clone(), linear.channel_axis(graph));
    let c = as_vector(graph, c, &shape, axis)?;
    let outputs = linear.outputs(graph);
    let path = graph.release_path(y.node);
    let linear = Linear { path: path.clone(), ..linear };
    let linear = match kind {
        BinaryKind::Mul => linear.scaled(graph, c),
        BinaryKind::Div => {
            let mut net = Net::within(graph, &path);
            let one = net.scalar(1.0);
            let inverse = net.binary("inverse", BinaryKind::Div, one, c);
            linear.scaled(graph, inverse)
        }
        BinaryKind::Add => {
            let c = repeated(graph, c, outputs);
            linear.shifted(graph, c)
        }
        BinaryKind::Sub => {
            let c = Net::within(graph, &path).unary("shift", vitc_ir::UnaryKind::Neg, c);
            let c = repeated(graph, c, outputs);
            linear.shifted(graph, c)
        }
        BinaryKind::Max | BinaryKind::Min => return None,
    };
    Some(linear.emit(graph))
}
