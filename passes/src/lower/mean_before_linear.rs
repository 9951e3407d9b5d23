//! Take the mean before a linear layer instead of behind it.
//!
//! ```text
//! Given    mean(r + (W·h + b))            over positions; nothing else reads the sum or the product
//! Result   mean(r) + (W·mean(h) + b)
//! ```
//!
//! Exact    a mean commutes with an affine map, because its weights sum to one, and with a sum.
//!
//! The layer then sees one position instead of all, for one operator more, the second mean. Only where it is one operator behind the mean and a
//! product and a sum in front: a convolution stays, because runtimes compute the sum in its kernel. In f16 each mean would bring two casts, so there
//! it stays as well.

use crate::algebra::{Linear, each};
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Builder, Copier, DType, Graph, NodeId, Op, Target, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("mean_before_linear", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let site = (options.precision == DType::F32).then(|| site(graph, &uses, target, id)).flatten();
        let Some((rest, product, linear)) = site else {
            copy.node(id)?;
            continue;
        };
        let (w, b) = (copy.constant(linear.w)?, linear.b.map(|b| copy.constant(b)).transpose()?);
        let [rest, hidden, replaced] = each([rest, linear.x, product], |v| copy.get(v))?;
        copy.new.release_path(replaced.node);
        let mut net = Builder::within(&mut copy.new, &node.path);
        let rest = net.push("rest", node.op.clone(), &[rest])?;
        let hidden = net.push("hidden", node.op.clone(), &[hidden])?;
        let y = Linear { x: hidden, w, b, ..linear }.emit(&mut copy.new)?;
        let y = Builder::within(&mut copy.new, &node.path).binary("", BinaryKind::Add, rest, y)?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The other summand and the layer's result of a mean that can be taken first.
fn site(graph: &Graph, uses: &Uses, target: &Target, id: NodeId) -> Option<(Value, Value, Linear)> {
    let node = graph.node(id);
    let Op::Reduce { kind: ReduceKind::Mean, axes, keep: false } = &node.op else { return None };
    let sum = node.inputs[0];
    let rank = graph.shape(sum).rank();
    let saves = rank > target.linear_rank && rank - axes.len() <= target.linear_rank && !axes.contains(&(rank - 1));
    if !saves || !uses.once(sum) || *graph.op(sum) != Op::Binary(BinaryKind::Add) {
        return None;
    }
    let [x, y] = graph.producer(sum).inputs[..] else { return None };
    [(x, y), (y, x)].into_iter().find_map(|(rest, product)| {
        let linear = Linear::of(graph, product.node).filter(|l| l.op == Op::Linear && l.b.is_some())?;
        (uses.once(product) && graph.ty(rest) == graph.ty(sum)).then_some((rest, product, linear))
    })
}
