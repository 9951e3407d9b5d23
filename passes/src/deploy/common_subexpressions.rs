//! Compute equal expressions once.
//!
//! ```text
//! Given    a = f(x, y),  b = f(x, y)
//! Result   a = f(x, y),  b read as a
//! ```
//!
//! Exact    by definition. Constants need no pass: the graph interns them when they are pushed.

use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::{Copier, Graph, Op, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("common_subexpressions", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut seen = HashMap::new();
    let mut count = 0;
    for (id, node) in graph.nodes() {
        if graph.is_constant(id.into()) || node.op == Op::Input {
            copy.node(id)?;
            continue;
        }
        let key = (node.op.clone(), copy.inputs(id)?);
        if let Some(&first) = seen.get(&key) {
            for index in 0..node.types.len() as u32 {
                copy.set(Value { node: id, index }, Value { node: first, index });
            }
            count += 1;
        } else {
            seen.insert(key, copy.node(id)?);
        }
    }
    Ok(Rewritten::new(copy.finish()?, count))
}
