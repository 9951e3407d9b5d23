//! Spell operators that a target lacks with ones that it has.
//!
//! ```text
//! Given    gelu(x)?                      Result   x/2·(1 + erf(x/√2)), in the order that runtimes recognise
//! Given    silu(x)                      Result   x·sigmoid(x)
//! Given    linear(x, W, b)?              Result   x·Wᵀ + b as a product and a sum
//! Given    layer_norm(x) on axis a      Result   the axis moved last, normalised there, moved back
//! ```
//!
//! Exact    by definition of each operator.

use crate::algebra::{each, inverse};
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, Op, UnaryKind, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("decompose", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let constant = graph.is_constant(id.into());
        if constant || node.inputs.is_empty() || target.allows(graph, node).is_ok() {
            copy.node(id)?;
            continue;
        }
        let inputs = copy.inputs(id)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let y = match &node.op {
            Op::Unary(UnaryKind::Gelu) => gelu(&mut net, inputs[0])?,
            Op::Unary(UnaryKind::Silu) => {
                let gate = net.unary("sigmoid", UnaryKind::Sigmoid, inputs[0])?;
                net.binary("mul", BinaryKind::Mul, inputs[0], gate)?
            }
            Op::Linear => linear(&mut net, &inputs)?,
            Op::LayerNorm { axes, eps } if axes.len() == 1 => {
                let (axis, rank) = (axes[0], graph.shape(node.inputs[0]).rank());
                let mut there: Vec<usize> = (0..rank).filter(|&a| a != axis).collect();
                there.push(axis);
                let back = inverse(&there);
                let mut operands = inputs.clone();
                operands[0] = net.transpose("channels_last", inputs[0], &there)?;
                let y = net.push("norm", Op::LayerNorm { axes: vec![rank - 1], eps: *eps }, &operands)?;
                net.transpose("channels_first", y, &back)?
            }
            _ => {
                copy.node(id)?;
                continue;
            }
        };
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

fn gelu(net: &mut Builder, x: Value) -> Built {
    let [root, one, half] = each([std::f64::consts::SQRT_2, 1.0, 0.5], |c| net.scalar(c))?;
    let z = net.binary("div", BinaryKind::Div, x, root)?;
    let z = net.unary("erf", UnaryKind::Erf, z)?;
    let z = net.binary("add", BinaryKind::Add, z, one)?;
    let z = net.binary("mul", BinaryKind::Mul, x, z)?;
    net.binary("half", BinaryKind::Mul, z, half)
}

fn linear(net: &mut Builder, inputs: &[Value]) -> Built {
    let w = net.transpose("w", inputs[1], &[1, 0])?;
    Ok(match inputs.get(2) {
        Some(&b) => {
            let y = net.matmul("matmul", inputs[0], w)?;
            net.binary("add", BinaryKind::Add, y, b)?
        }
        None => net.matmul("", inputs[0], w)?,
    })
}
