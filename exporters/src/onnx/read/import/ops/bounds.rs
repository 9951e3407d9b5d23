//! Between which numbers a value lies, where its layers say so.

use super::super::cx::Cx;
use std::collections::HashMap;
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Class, Op, UnaryKind, Value};

/// Most nodes one behind the other that are looked at.
const FAR: usize = 64;

/// What was found of values, so that one that is read often is looked at once.
type Seen = HashMap<Value, Option<[f64; 2]>>;

/// Least and largest number of a value, whatever the inputs are; `None` if nothing bounds it.
pub(super) fn range(cx: &Cx, value: Value) -> Option<[f64; 2]> {
    within(cx, value, FAR, &mut Seen::new())
}

fn within(cx: &Cx, value: Value, far: usize, seen: &mut Seen) -> Option<[f64; 2]> {
    if let Some(&found) = seen.get(&value) {
        return found;
    }
    let found = far.checked_sub(1).and_then(|far| by_operator(cx, value, far, seen));
    seen.insert(value, found);
    found
}

fn by_operator(cx: &Cx, value: Value, far: usize, seen: &mut Seen) -> Option<[f64; 2]> {
    let node = cx.graph.producer(value);
    if let Some(x) = truncated(cx, value) {
        return within(cx, x, far, seen).map(|[a, b]| [a.trunc(), b.trunc()]);
    }
    let mut of = |i: usize| within(cx, node.inputs[i], far, seen);
    match &node.op {
        Op::Literal { values } => {
            let all = values.iter().map(|v| v.0);
            Some([all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max)])
        }
        Op::Input => cx.given.get(&value.node).copied(),
        Op::Generate(vitc_ir::Generator::Fill { value }) => Some([value.0; 2]),
        // The upper bound counts where they cross.
        Op::Clip { lo, hi } => Some([lo.0.min(hi.0), hi.0]),
        Op::Softmax { .. } | Op::Unary(UnaryKind::Sigmoid | UnaryKind::HardSigmoid { .. }) => Some([0.0, 1.0]),
        Op::Unary(UnaryKind::Tanh | UnaryKind::Sign | UnaryKind::Sin | UnaryKind::Cos | UnaryKind::Erf) => {
            Some([-1.0, 1.0])
        }
        Op::Unary(UnaryKind::Relu) => of(0).map(|[a, b]| [a.max(0.0), b.max(0.0)]),
        Op::Unary(UnaryKind::Abs) => of(0).map(|[a, b]| [0.0, a.abs().max(b.abs())]),
        Op::Unary(UnaryKind::Neg) => of(0).map(|[a, b]| [-b, -a]),
        Op::Unary(kind @ (UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round)) => {
            let f = match kind {
                UnaryKind::Floor => f64::floor,
                UnaryKind::Ceil => f64::ceil,
                _ => f64::round_ties_even,
            };
            of(0).map(|[a, b]| [f(a), f(b)])
        }
        Op::Binary(kind) => {
            let ([a, b], [c, d]) = (of(0)?, of(1)?);
            let corners = |f: fn(f64, f64) -> f64| {
                let all = [f(a, c), f(a, d), f(b, c), f(b, d)];
                Some([all.into_iter().fold(f64::INFINITY, f64::min), all.into_iter().fold(f64::NEG_INFINITY, f64::max)])
            };
            match kind {
                BinaryKind::Add => Some([a + c, b + d]),
                BinaryKind::Sub => Some([a - d, b - c]),
                BinaryKind::Mul => corners(|x, y| x * y),
                BinaryKind::Div if c > 0.0 || d < 0.0 => corners(|x, y| x / y),
                BinaryKind::Max => Some([a.max(c), b.max(d)]),
                BinaryKind::Min => Some([a.min(c), b.min(d)]),
                BinaryKind::Quotient if c > 0.0 || d < 0.0 => corners(|x, y| (x / y).trunc()),
                BinaryKind::Div | BinaryKind::Pow | BinaryKind::Quotient => None,
            }
        }
        Op::Select => {
            let ([a, b], [c, d]) = (of(1)?, of(2)?);
            Some([a.min(c), b.max(d)])
        }
        Op::Reduce { kind: ReduceKind::Max | ReduceKind::Min | ReduceKind::Mean, .. } | Op::MaxPool { .. } => of(0),
        Op::Cast { to } if to.is_float() => of(0),
        Op::Concat { .. } => {
            let parts = (0..node.inputs.len()).map(of).collect::<Option<Vec<_>>>()?;
            parts.into_iter().reduce(|[a, b], [c, d]| [a.min(c), b.max(d)])
        }
        op if op.facts().class == Class::Movement && node.inputs.len() == 1 && !matches!(op, Op::Pad { .. }) => of(0),
        _ => None,
    }
}

/// x, of the sign of x times the whole part of its size: how a cast to whole numbers is written out.
fn truncated(cx: &Cx, value: Value) -> Option<Value> {
    let node = cx.graph.producer(value);
    let inputs = (node.op == Op::Binary(BinaryKind::Mul)).then_some(&node.inputs)?;
    let under =
        |v: Value, kind: UnaryKind| (*cx.graph.op(v) == Op::Unary(kind)).then(|| cx.graph.producer(v).inputs[0]);
    let x = under(*inputs.first()?, UnaryKind::Sign)?;
    let size = under(under(*inputs.get(1)?, UnaryKind::Floor)?, UnaryKind::Abs)?;
    (size == x).then_some(x)
}
