//! Fold factors and summands per channel into the linear node beside them: LayerScale, averages of heads, constant shifts, the deviation of
//! pixels.
//!
//! ```text
//! Given    y = (W·x + b)∘c   or   (W·x + b)/c       Result   y = (c∘W)·x + c∘b   or   with 1/c
//! Given    y = (W·x + b) + c                        Result   y = W·x + (b + c)
//! Given    y = W·(c∘x) + b   or   W·(x/c) + b       Result   y = (W·diag(c))·x + b   or with 1/c
//! Given    y = (c·x)·M                              Result   y = x·(c·M), M a constant matrix and c one number
//! with     c constant, one element per channel or one in all
//! ```
//!
//! Exact    if nothing else reads the linear node, or the scaled x. A factor on the input is exact with any padding, because it keeps zeros; a
//!          summand is not, and stays. The factor moves when it disappears: when every reader of the scaled x takes it.

use crate::algebra::{Linear, as_vector, is_vector, repeated};
use crate::note::{Note, Reason};
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, NodeId, Op, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("fold_scale", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let absorbed = absorbed(graph);
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    let mut notes = Vec::new();
    for (id, node) in graph.nodes() {
        if let (Op::Binary(kind), false) = (&node.op, graph.is_constant(id.into())) {
            let constant = node.inputs.iter().position(|&v| graph.is_constant(v));
            let foldable = match kind {
                BinaryKind::Mul | BinaryKind::Add => constant,
                BinaryKind::Div | BinaryKind::Sub => constant.filter(|&i| i == 1),
                BinaryKind::Max | BinaryKind::Min | BinaryKind::Pow | BinaryKind::Quotient => None,
            };
            if let Some(at) = foldable {
                let x = node.inputs[1 - at];
                let (new_x, c) = (copy.get(x)?, copy.get(node.inputs[at])?);
                if let Some(linear) = Linear::of(&copy.new, new_x.node) {
                    if uses.once(x) {
                        if let Some(y) = fold(&mut copy.new, linear, *kind, c, new_x)? {
                            copy.set(id.into(), y);
                            count += 1;
                            continue;
                        }
                    } else {
                        notes.push(Note::Stayed { node: node.path.clone(), why: Reason::ReadElsewhere(linear.path) });
                    }
                }
            }
        }
        if node.inputs.first().is_some_and(|x| absorbed[x.node.0 as usize])
            && let Some(y) = scaled_input(graph, &mut copy, id)?
        {
            copy.set(id.into(), y);
            count += 1;
            continue;
        }
        if let Some(y) = scaled_matrix(graph, &mut copy, id, &uses)? {
            copy.set(id.into(), y);
            count += 1;
            continue;
        }
        copy.node(id)?;
    }
    Ok(Rewritten { graph: copy.finish()?, count, notes })
}

/// The factor on `x` of a node `c∘x` or `x/c`, with its operator.
fn factor(graph: &Graph, node: NodeId) -> Option<(Value, BinaryKind, Value)> {
    let node = graph.node(node);
    let &Op::Binary(kind @ (BinaryKind::Mul | BinaryKind::Div)) = &node.op else { return None };
    let at = node.inputs.iter().position(|&v| graph.is_constant(v))?;
    let (x, c) = (node.inputs[1 - at], node.inputs[at]);
    let scales = !graph.is_constant(x) && (kind == BinaryKind::Mul || at == 1) && graph.ty(x) == &node.types[0];
    scales.then_some((x, kind, c))
}

/// By node: whether it scales its input per channel, and every reader is a linear node that takes the factor.
fn absorbed(graph: &Graph) -> Vec<bool> {
    let mut absorbed: Vec<bool> = (0..graph.len() as u32).map(|i| factor(graph, NodeId(i)).is_some()).collect();
    for (id, node) in graph.nodes() {
        for (slot, v) in node.inputs.iter().enumerate() {
            if !absorbed[v.node.0 as usize] {
                continue;
            }
            let takes = Linear::of(graph, id).filter(|_| slot == 0).is_some_and(|linear| {
                factor(graph, v.node)
                    .is_some_and(|(x, _, c)| is_vector(graph, c, graph.shape(x), linear.channel_axis(graph)))
            });
            absorbed[v.node.0 as usize] = takes;
        }
    }
    graph.outputs.iter().for_each(|o| absorbed[o.value.node.0 as usize] = false);
    absorbed
}

/// `(W·diag(c))·x + b` for a node `W·(c∘x) + b`, unless the factor went elsewhere on the way.
fn scaled_input(graph: &Graph, copy: &mut Copier, id: NodeId) -> Built<Option<Value>> {
    let Some(linear) = Linear::of(graph, id) else { return Ok(None) };
    let Some((x, kind, c)) = factor(&copy.new, copy.get(linear.x)?.node) else { return Ok(None) };
    let (shape, axis) = (graph.shape(linear.x).clone(), linear.channel_axis(graph));
    let (w, b) = (copy.get(linear.w)?, linear.b.map(|b| copy.get(b)).transpose()?);
    let Some(c) = as_vector(&mut copy.new, c, &shape, axis)? else { return Ok(None) };
    let c = if kind == BinaryKind::Div { inverse(&mut copy.new, &linear.path, c)? } else { c };
    let linear = Linear { x, w, b, ..linear }.with_scaled_inputs(&mut copy.new, c)?;
    linear.emit(&mut copy.new).map(Some)
}

/// `1/c`.
fn inverse(graph: &mut Graph, path: &str, c: Value) -> Built {
    let mut net = Builder::within(graph, path);
    let one = net.scalar(1.0)?;
    net.binary("inverse", BinaryKind::Div, one, c)
}

/// `x·(c·M)` for a node `(c·x)·M`.
fn scaled_matrix(graph: &Graph, copy: &mut Copier, id: NodeId, uses: &Uses) -> Built<Option<Value>> {
    let node = graph.node(id);
    let [product, matrix] = node.inputs[..] else { return Ok(None) };
    let factors = graph.producer(product);
    if !matches!(node.op, Op::MatMul { .. })
        || factors.op != Op::Binary(BinaryKind::Mul)
        || !graph.is_constant(matrix)
        || graph.is_constant(product)
        || !uses.once(product)
    {
        return Ok(None);
    }
    let one_number = |&v: &Value| graph.is_constant(v) && graph.shape(v).elements() == 1;
    let Some(at) = factors.inputs.iter().position(one_number) else { return Ok(None) };
    let (x, c) = (factors.inputs[1 - at], factors.inputs[at]);
    if graph.shape(x) != graph.shape(product) {
        return Ok(None);
    }
    let (x, c, matrix) = (copy.get(x)?, copy.get(c)?, copy.get(matrix)?);
    let c = Builder::within(&mut copy.new, &factors.path).reshaped("scalar", c, &[])?;
    let mut net = Builder::within(&mut copy.new, &node.path);
    let matrix = net.binary("scaled", BinaryKind::Mul, matrix, c)?;
    net.push("", node.op.clone(), &[x, matrix]).map(Some)
}

fn fold(graph: &mut Graph, linear: Linear, kind: BinaryKind, c: Value, y: Value) -> Built<Option<Value>> {
    let (shape, axis) = (graph.shape(y).clone(), linear.channel_axis(graph));
    let Some(c) = as_vector(graph, c, &shape, axis)? else { return Ok(None) };
    let outputs = linear.outputs(graph);
    let path = graph.release_path(y.node);
    let linear = Linear { path: path.clone(), ..linear };
    let linear = match kind {
        BinaryKind::Mul => linear.scaled(graph, c)?,
        BinaryKind::Div => {
            let c = inverse(graph, &path, c)?;
            linear.scaled(graph, c)?
        }
        BinaryKind::Add => {
            let c = repeated(graph, c, outputs)?;
            linear.shifted(graph, c)?
        }
        BinaryKind::Sub => {
            let c = Builder::within(graph, &path).unary("shift", vitc_ir::UnaryKind::Neg, c)?;
            let c = repeated(graph, c, outputs)?;
            linear.shifted(graph, c)?
        }
        BinaryKind::Max | BinaryKind::Min | BinaryKind::Pow | BinaryKind::Quotient => return Ok(None),
    };
    linear.emit(graph).map(Some)
}
