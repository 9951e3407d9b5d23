//! From a value back through movements to what they move.

use super::View;
use crate::pattern::number::number;
use vitc_ir::{BinaryKind, Graph, NodeId, Op, Uses, Value};

/// Movements that are looked through at most.
const LONGEST: usize = 32;

/// A value as a movement of a source, times a number.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    pub(crate) view: View,
    /// The number.
    pub(crate) factor: f64,
    /// The nodes between, from the source on; the last one makes the value.
    pub(crate) nodes: Vec<NodeId>,
}

/// What is looked through besides reshapes and transposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// Nothing.
    Permutations,
    /// Products with a number.
    Scaled,
    /// These, and parts and copies.
    Parts,
}

impl Trail {
    /// The longest trail to a value; `None` if not even the value itself can be counted.
    pub(crate) fn to(graph: &Graph, value: Value, through: Through) -> Option<Trail> {
        let mut path = Vec::new();
        let mut at = value;
        while path.len() < LONGEST && !graph.is_constant(at) {
            let Some(next) = step(graph, at, through) else { break };
            path.push((at, next.1));
            at = next.0;
        }
        let mut trail = Trail { view: View::identity(graph, at)?, factor: 1.0, nodes: Vec::new() };
        for (made, factor) in path.into_iter().rev() {
            let view = match factor {
                Some(_) => Some(trail.view.clone()),
                None => trail.view.through(graph, made),
            };
            match view {
                Some(view) => {
                    trail.view = view;
                    trail.factor *= factor.unwrap_or(1.0);
                    trail.nodes.push(made.node);
                }
                None => trail = Trail { view: View::identity(graph, made)?, factor: 1.0, nodes: Vec::new() },
            }
        }
        Some(trail)
    }

    /// What of a trail of movements lies behind its node number `at`, as a trail from there.
    pub(crate) fn behind(&self, graph: &Graph, at: usize) -> Option<Trail> {
        let nodes = self.nodes.get(at + 1..)?.to_vec();
        let source = View::identity(graph, self.nodes[at].into())?;
        let view = nodes.iter().try_fold(source, |view, &id| view.through(graph, id.into()))?;
        Some(Trail { view, factor: 1.0, nodes })
    }
}

/// The trail to a node that ends a chain of reshapes and transposes: it is one, and something else reads it.
pub(crate) fn ending(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Trail> {
    let is_move = |id: NodeId| matches!(graph.node(id).op, Op::Reshape { .. } | Op::Transpose { .. });
    let value = Value::from(id);
    let last = uses.is_result(value) || uses.readers(value).iter().any(|r| !is_move(r.node));
    if graph.is_constant(value) || !is_move(id) || !last {
        return None;
    }
    Trail::to(graph, value, Through::Permutations)
}

/// What a node moves, or multiplies with a number.
fn step(graph: &Graph, value: Value, through: Through) -> Option<(Value, Option<f64>)> {
    let node = graph.producer(value);
    let &x = node.inputs.first()?;
    match node.op {
        Op::Reshape { .. } | Op::Transpose { .. } => Some((x, None)),
        Op::Slice { .. } | Op::Split { .. } | Op::Expand { .. } if through == Through::Parts => Some((x, None)),
        Op::Binary(_) if through != Through::Permutations => scaled(graph, value).map(|(x, factor)| (x, Some(factor))),
        _ => None,
    }
}

/// A product with a number, or a quotient by one, of the operand's type.
pub(crate) fn scaled(graph: &Graph, value: Value) -> Option<(Value, f64)> {
    let node = graph.producer(value);
    let &[a, b] = &node.inputs[..] else { return None };
    let (x, factor) = match node.op {
        Op::Binary(BinaryKind::Mul) => match (number(graph, a), number(graph, b)) {
            (_, Some(factor)) => (a, factor),
            (Some(factor), _) => (b, factor),
            _ => return None,
        },
        Op::Binary(BinaryKind::Div) => (a, 1.0 / number(graph, b)?),
        _ => return None,
    };
    (graph.ty(x) == graph.ty(value) && factor.is_finite()).then_some((x, factor))
}
