//! Numbers in a graph: constants that are one number throughout, as far as the graph itself says so.
//!
//! No weight is read: what depends on one is no number.

use vitc_ir::op::Generator;
use vitc_ir::{BinaryKind, Graph, Op, UnaryKind, Value};

/// How far two numbers may lie apart and be one, relative to the larger: exporters write 1.4142135, 1.41421 and 0.7071067811865475.
pub(crate) const TOLERANCE: f64 = 1e-5;

/// Most nodes that one number is read from.
const LARGEST: usize = 32;

/// Whether two numbers are meant to be one. Nothing but zero is near zero.
pub(crate) fn same(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

/// The number that all elements of a constant are, if it is made of literals alone.
pub(crate) fn number(graph: &Graph, value: Value) -> Option<f64> {
    if !graph.is_constant(value) {
        return None;
    }
    let mut left = LARGEST;
    read(graph, value, &mut left)
}

fn read(graph: &Graph, value: Value, left: &mut usize) -> Option<f64> {
    *left = left.checked_sub(1)?;
    let node = graph.producer(value);
    match &node.op {
        Op::Literal { values } => {
            let first = *values.first()?;
            values.iter().all(|&v| v == first).then_some(first.0)
        }
        Op::Generate(Generator::Fill { value }) => Some(value.0),
        Op::Reshape { .. } | Op::Expand { .. } | Op::Transpose { .. } => read(graph, node.inputs[0], left),
        Op::Unary(kind) => {
            let x = read(graph, node.inputs[0], left)?;
            match kind {
                UnaryKind::Sqrt => Some(x.sqrt()),
                UnaryKind::Neg => Some(-x),
                UnaryKind::Abs => Some(x.abs()),
                _ => None,
            }
        }
        Op::Binary(kind) => {
            let [a, b] = [read(graph, node.inputs[0], left)?, read(graph, node.inputs[1], left)?];
            Some(match kind {
                BinaryKind::Add => a + b,
                BinaryKind::Sub => a - b,
                BinaryKind::Mul => a * b,
                BinaryKind::Div => a / b,
                BinaryKind::Max => a.max(b),
                BinaryKind::Min => a.min(b),
                BinaryKind::Pow => a.powf(b),
                BinaryKind::Quotient => (a / b).trunc(),
            })
        }
        _ => None,
    }
}
