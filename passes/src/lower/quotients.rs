//! Say a quotient of integers by quotients of their sizes, where a target rounds quotients down.
//!
//! ```text
//! Given    y = quotient(a, b)                      a or b may be negative
//! Result   y = quotient(|a|, |b|)·sign(a)·sign(b)   |x| = max(x, 0 − x), sign(x) = max(min(x, 1), −1); of what is never negative, x itself and no sign
//! ```
//!
//! Exact    the quotient's size is that of the sizes, rounded down, and its sign that of the signs' product; b is not 0.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{BinaryKind, Builder, Built, Copier, DType, Graph, Op, Value, is_natural};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("lower_quotients", |t| t.quotients_round_down, run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let natural = [0, 1].map(|i| node.inputs.get(i).is_some_and(|&v| is_natural(graph, v)));
        if node.op != Op::Binary(BinaryKind::Quotient) || natural == [true; 2] || graph.is_constant(id.into()) {
            copy.node(id)?;
            continue;
        }
        let inputs = copy.inputs(id)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let (mut sizes, mut signs) = (inputs.clone(), Vec::new());
        for (i, name) in ["a", "b"].into_iter().enumerate().filter(|(i, _)| !natural[*i]) {
            sizes[i] = size(&mut net, inputs[i], name)?;
            signs.push(sign(&mut net, inputs[i], name)?);
        }
        let mut y = net.binary("quotient", BinaryKind::Quotient, sizes[0], sizes[1])?;
        if let [a, b] = signs[..] {
            y = net.binary("signed", BinaryKind::Mul, y, a)?;
            signs = vec![b];
        }
        let y = net.binary("", BinaryKind::Mul, y, signs[0])?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// |x|.
fn size(net: &mut Builder<'_>, x: Value, name: &str) -> Built<Value> {
    let zero = net.scalar_of(0.0, DType::I32)?;
    let turned = net.binary(format!("{name}.turned"), BinaryKind::Sub, zero, x)?;
    net.binary(format!("{name}.size"), BinaryKind::Max, x, turned)
}

/// −1, 0 or 1.
fn sign(net: &mut Builder<'_>, x: Value, name: &str) -> Built<Value> {
    let one = net.scalar_of(1.0, DType::I32)?;
    let least = net.scalar_of(-1.0, DType::I32)?;
    let above = net.binary(format!("{name}.above"), BinaryKind::Min, x, one)?;
    net.binary(format!("{name}.sign"), BinaryKind::Max, above, least)
}
