//! Integers that are never negative, whatever the inputs are.

use crate::graph::Graph;
use crate::id::Value;
use crate::op::{BinaryKind, Generator, Op};

/// Most nodes that are looked at behind a value.
const FAR: usize = 64;

/// Whether the graph shows that no element of an integer value is negative.
pub fn is_natural(graph: &Graph, value: Value) -> bool {
    shown(graph, value, &mut 0)
}

/// The same; `seen` counts the nodes that were looked at, so that no graph makes this long or deep.
fn shown(graph: &Graph, value: Value, seen: &mut usize) -> bool {
    *seen += 1;
    if *seen > FAR {
        return false;
    }
    let inputs = &graph.producer(value).inputs;
    match graph.op(value) {
        Op::Literal { values } => values.iter().all(|x| x.0 >= 0.0),
        Op::Generate(Generator::Fill { value }) => value.0 >= 0.0,
        Op::ArgMax { .. } => true,
        Op::TopK { .. } => value.index == 1,
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Split { .. } | Op::Expand { .. } => {
            shown(graph, inputs[0], seen)
        }
        Op::Binary(BinaryKind::Max) => {
            is_size(graph, inputs) || shown(graph, inputs[0], seen) || shown(graph, inputs[1], seen)
        }
        Op::Binary(BinaryKind::Min | BinaryKind::Quotient) => {
            shown(graph, inputs[0], seen) && shown(graph, inputs[1], seen)
        }
        _ => false,
    }
}

/// max(x, 0 − x), in either order.
fn is_size(graph: &Graph, pair: &[Value]) -> bool {
    let turned = |x: Value, y: Value| {
        let node = graph.producer(y);
        let zero = |v: Value| match graph.op(v) {
            Op::Literal { values } => values.iter().all(|x| x.0 == 0.0),
            Op::Generate(Generator::Fill { value }) => value.0 == 0.0,
            _ => false,
        };
        node.op == Op::Binary(BinaryKind::Sub) && node.inputs[1] == x && zero(node.inputs[0])
    };
    turned(pair[0], pair[1]) || turned(pair[1], pair[0])
}

#[cfg(test)]
mod tests {
    use super::is_natural;

    #[test]
    fn signs_are_told_from_the_graph() {
        let rows = [
            ("%y: i32[3] = add(%x, %x)", false),
            ("%y: i32[3] = max(%x, literal[0,0,0]:i32[3])", true),
            ("%y: i32[3] = max(%x, literal[0,-1,0]:i32[3])", false),
            ("%n: i32[3] = sub(literal[0,0,0]:i32[3], %x)\n%y: i32[3] = max(%x, %n)", true),
            ("%n: i32[3] = sub(literal[0,1,0]:i32[3], %x)\n%y: i32[3] = max(%x, %n)", false),
            ("%n: i32[3] = sub(%x, literal[0,0,0]:i32[3])\n%y: i32[3] = max(%x, %n)", false),
        ];
        for (body, wanted) in rows {
            let text = format!("graph g  stage=target\n%x: i32[3] = input\n{body}\noutputs y=%y");
            let graph = crate::parse(&text).expect(body);
            assert_eq!(is_natural(&graph, graph.outputs[0].value), wanted, "{body}");
        }
    }
}
