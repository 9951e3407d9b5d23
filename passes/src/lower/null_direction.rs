//! Carry the biases of linear layers in the null direction of the LayerNorm in front of them.
//!
//! ```text
//! Given    y = W·(γ∘u + β) + b          u = (x − mean)/√(var + ε) over C channels
//! Result   y = W'·(u + t)               t the same constant in all channels
//! with     Wg = W·diag(γ),  b' = b + W·β,  W' = Wg + ((b'/t − rowsum(Wg))/C)·1ᵀ
//! ```
//!
//! Exact    Σ_c u_c = 0 whatever ε is, so a multiple of the all-ones row added to a row of W does not change W·u; and
//!          every row of W' sums to b'/t, so W'·t = b'. The norm must normalise exactly the axis that the layers
//!          contract, and only such layers may read it.
//!
//! Why: the sum behind the product disappears. TensorRT then merges queries, keys and values into one product that its
//! attention kernel reads in place (FasterViT-0: 193 kernels become 142). In f16 a small t rounds u + t as finely as u,
//! and a large one keeps the shift of the rows small: 1/16 costs 3 % more error than biases that stay, 1 costs 35 %.
//! Whether the shift stays in the range of the weights is for the caller to judge, who may read them; layers where it does not are an option.

use crate::algebra::each;
use crate::note::{Note, RowShift};
use crate::pass::{Context, LowerOptions, Pass, Result, Rewritten};
use vitc_ir::{
    BinaryKind, Builder, Built, Copier, DType, Generator, Graph, NodeId, Op, Real, Shape, Target, Type, Use, Uses,
    Value,
};

/// t: a power of two, so that `b'/t` is exact.
const SHIFT: f64 = 1.0 / 16.0;

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("null_direction", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let uses = graph.uses();
    let wanted = |id: NodeId| {
        let Op::LayerNorm { axes, .. } = &graph.node(id).op else { return false };
        let rank = graph.shape(id.into()).rank();
        let readers = uses.readers(id.into());
        rank > target.linear_rank
            && axes[..] == [rank - 1]
            && graph.node(id).inputs.len() == 3
            && !uses.is_result(id.into())
            && !readers.is_empty()
            && readers.iter().all(|r| {
                let stays = context.decisions.biases_that_stay.contains(&graph.node(r.node).path);
                !stays && takes_shift(graph, *r) && worthwhile(graph, r.node, &uses, target, options)
            })
    };
    let mut copy = Copier::new(graph, graph.stage);
    let mut notes = Vec::new();
    for (id, node) in graph.nodes() {
        let norm = node.inputs.first().filter(|x| node.op == Op::Linear && wanted(x.node));
        if let Some(norm) = norm {
            notes.push(Note::RowShift(shift_rows(&mut copy, id, norm.node)?));
        } else if matches!(node.op, Op::LayerNorm { .. }) && wanted(id) {
            let inputs = copy.inputs(id)?;
            let c = Shape::fixed(&[graph.shape(node.inputs[1]).elements()]);
            let mut net = Builder::within(&mut copy.new, &node.path);
            let mut fill = |name: &str, value: f64| -> Built {
                net.generate(name, Generator::Fill { value: Real(value) }, Type::new(DType::F32, c.clone()))
            };
            let (one, shift) = (fill("one", 1.0)?, fill("shift", SHIFT)?);
            let y = net.push("", node.op.clone(), &[inputs[0], one, shift])?;
            copy.set(id.into(), y);
        } else {
            copy.node(id)?;
        }
    }
    Ok(Rewritten { graph: copy.finish()?, count: notes.len(), notes })
}

/// Whether `reader` is a linear layer with constant weights on the norm's result.
fn takes_shift(graph: &Graph, reader: Use) -> bool {
    let node = graph.node(reader.node);
    node.op == Op::Linear && reader.slot == 0 && node.inputs[1..].iter().all(|&v| graph.is_constant(v))
}

/// Where the bias would be an operator of its own. A sum that TensorRT computes in the product's kernel is left,
/// because it rounds better.
fn worthwhile(graph: &Graph, linear: NodeId, uses: &Uses, target: &Target, options: &LowerOptions) -> bool {
    if !target.bias_rides_on_product {
        return options.precision == DType::F32;
    }
    let attends =
        |value: Value| uses.readers(value).iter().any(|r| matches!(graph.node(r.node).op, Op::Attention { .. }));
    let parts = |&Use { node, .. }: &Use| match &graph.node(node).op {
        Op::Split { sizes, .. } => (0..sizes.len() as u32).any(|index| attends(Value { node, index })),
        _ => false,
    };
    attends(linear.into()) || uses.readers(linear.into()).iter().any(parts)
}

/// Say the layer without bias, its rows moved, on what the norm now gives.
fn shift_rows(copy: &mut Copier, id: NodeId, norm: NodeId) -> Built<RowShift> {
    let (old, node) = (copy.old, copy.old.node(id));
    let [gamma, beta] = each([1, 2], |i| copy.constant(old.node(norm).inputs[i]))?;
    let weights: Vec<Value> = node.inputs[1..].iter().map(|&v| copy.constant(v)).collect::<Built<_>>()?;
    let (w, bias) = (weights[0], weights.get(1).copied());
    let x = copy.get(node.inputs[0])?;
    let shape = copy.new.fixed(w)?;
    let (rows, c) = (shape[0], shape[1]);
    let mut net = Builder::within(&mut copy.new, &node.path);
    let gamma = net.push("gamma", Op::Expand { shape: Shape::fixed(&[c]) }, &[gamma])?;
    let beta = net.push("beta", Op::Expand { shape: Shape::fixed(&[c]) }, &[beta])?;
    let scaled = net.binary("scaled", BinaryKind::Mul, w, gamma)?;
    // What the rows lack to the sum (W·β + b)/t: W·(β/t − γ) + b/t, one look at W.
    let shift = net.scalar(SHIFT)?;
    let lack = net.binary("lack", BinaryKind::Div, beta, shift)?;
    let lack = net.binary("lack", BinaryKind::Sub, lack, gamma)?;
    let lack = net.reshape("lack", lack, Shape::fixed(&[c, 1]))?;
    let mut missing = net.matmul("missing", w, lack)?;
    if let Some(b) = bias {
        let b = net.reshape("b", b, Shape::fixed(&[rows, 1]))?;
        let b = net.binary("b", BinaryKind::Div, b, shift)?;
        missing = net.at("missing").binary("add", BinaryKind::Add, missing, b)?;
    }
    let channels = net.scalar(c as f64)?;
    let by_row = net.binary("row_shift", BinaryKind::Div, missing, channels)?;
    let w = net.binary("w", BinaryKind::Add, scaled, by_row)?;
    let y = net.push("", Op::Linear, &[x, w])?;
    copy.set(id.into(), y);
    let path = |v: Value| copy.new.producer(v).path.clone();
    Ok(RowShift { layer: node.path.clone(), shift: path(by_row), rows: path(scaled) })
}
