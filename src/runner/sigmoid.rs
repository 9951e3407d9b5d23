//! Sigmoids that a model answers with, by their definition.
//!
//! Given    a graph in which a `Sigmoid` is an output, moved or not
//! Result   `Exp(Neg(Softplus(Neg(x))))`, which is 1/(1 + e^−x)
//! Why      tract's sigmoid is a quotient of polynomials that is right to some 10⁻⁸ and stands still beyond ±18. Inside of a model nobody can tell; of a
//!          detector that finds nothing it is all that there is to compare.

use super::half::MOVES;
use std::collections::HashSet;
use tract_onnx::pb;

/// Replace them.
pub(super) fn define(graph: &mut pb::GraphProto) {
    let mut answers: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        let answer = node.output.iter().any(|o| answers.contains(o));
        match node.op_type.as_str() {
            "Sigmoid" if answer && node.domain.is_empty() => nodes.extend(steps(&node).into_iter().rev()),
            op => {
                if answer && (MOVES.contains(&op) || op == "Cast") {
                    answers.extend(node.input.iter().cloned());
                }
                nodes.push(node);
            }
        }
    }
    nodes.reverse();
    graph.node = nodes;
}

/// The steps of one node, in order.
fn steps(node: &pb::NodeProto) -> Vec<pb::NodeProto> {
    let ([x], [y]) = (&node.input[..], &node.output[..]) else { return vec![node.clone()] };
    let part = |word: &str| format!("{y}\u{2}{word}");
    let step = |op: &str, from: String, to: String| pb::NodeProto {
        op_type: op.into(),
        name: format!("{to}\u{2}step"),
        input: vec![from],
        output: vec![to],
        ..Default::default()
    };
    vec![
        step("Neg", x.clone(), part("negative")),
        step("Softplus", part("negative"), part("softplus")),
        step("Neg", part("softplus"), part("logarithm")),
        step("Exp", part("logarithm"), y.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use crate::runner::{Program, Request};
    use vitc_ir::testing::random_weights;

    #[test]
    fn a_sigmoid_at_the_end_does_not_stand_still() {
        let text = "graph g  stage=paper\n%x: f32[1,4] = input\n%p: f32[1,4] = sigmoid(%x)\n%y: f32[4,1] = transpose(%p){perm=[1,0]}\noutputs y=%y";
        let graph = vitc_ir::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let weights = random_weights(0, &graph);
        let session = Program::of_graph(&graph, &weights).load(Request::outputs(1)).unwrap_or_else(|e| panic!("{e}"));
        let xs = [-49.0f32, -20.0, 0.5, 200.0];
        let found = session.run_in_order(&[&xs]).unwrap_or_else(|e| panic!("{e}"));
        for (&x, &p) in xs.iter().zip(&found[0].data) {
            let exact = 1.0 / (1.0 + f64::from(-x).exp());
            assert!((f64::from(p) / exact - 1.0).abs() < 1e-5, "{x}: {p:e} for {exact:e}");
        }
    }
}
