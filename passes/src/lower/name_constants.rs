//! Name the constants that an artifact stores after the node that reads them, as PyTorch names parameters.
//!
//! ```text
//! Given    %blocks.0.mlp.fc1.w_3 read as the kernel of %blocks.0.mlp.fc1
//! Result   the same constant under the name blocks.0.mlp.fc1.weight
//! ```
//!
//! Exact    names carry no meaning. A constant with several readers is named after the first.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Graph, NodeId, Op, cost};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("name_constants", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut graph = graph.clone();
    let stored: std::collections::HashSet<NodeId> = cost::emitted_constants(&graph).iter().map(|v| v.node).collect();
    let mut wanted: Vec<(NodeId, String)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (_, node) in graph.run_time_nodes() {
        for (i, input) in node.inputs.iter().map(|&v| graph.stored(v)).enumerate() {
            if !stored.contains(&input.node)
                || matches!(graph.op(input), Op::Literal { .. })
                || !seen.insert(input.node)
            {
                continue;
            }
            let role = match (&node.op, i) {
                (Op::Conv { .. } | Op::Linear | Op::LayerNorm { .. } | Op::Prelu | Op::MatMul { .. }, 1) => "weight",
                (Op::Conv { .. } | Op::Linear | Op::LayerNorm { .. }, 2) => "bias",
                (Op::Gather { .. }, 1) => "indices",
                _ => "constant",
            };
            wanted.push((input.node, format!("{}.{role}", node.path)));
        }
    }
    let mut count = 0;
    for (id, name) in wanted {
        if graph.node(id).path == name {
            continue;
        }
        // A stored tensor that is only an ingredient gives its name to what is made of it.
        if let Some(ingredient) = graph.find(&name).filter(|i| !stored.contains(i)) {
            graph.rename(ingredient, &format!("{name}.stored"));
        }
        graph.rename(id, &name);
        count += 1;
    }
    Ok(Rewritten::new(graph, count))
}
