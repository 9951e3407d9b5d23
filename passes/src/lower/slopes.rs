//! Take the slope of each channel on maps, where a target has it there alone.
//!
//! ```text
//! Given    y = prelu(x[B,C,…], s[C])                          x no map of rows and columns
//! Result   y = reshape(prelu(reshape(x, [B,C,n,m]), s))       all that lies behind the channels as rows and columns
//! ```
//!
//! Exact    the elements of a channel stay together, in their order.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Builder, Copier, Dim, Graph, Op, Shape};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("lower_slopes", |t| t.slopes_on_maps, run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let shape = graph.shape(id.into());
        if node.op != Op::Prelu || shape.rank() == 4 || graph.is_constant(id.into()) {
            copy.node(id)?;
            continue;
        }
        let Some(map) = map(shape) else {
            copy.node(id)?;
            continue;
        };
        let inputs = copy.inputs(id)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let x = net.reshape("map", inputs[0], map)?;
        let y = net.push("slope", Op::Prelu, &[x, inputs[1]])?;
        let y = net.reshape("", y, shape.clone())?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// `[B,C,…]` as a map; `None` if it has no channels, or positions that are not known.
fn map(shape: &Shape) -> Option<Shape> {
    let (front, behind) = shape.0.split_at_checked(2)?;
    let sizes = behind.iter().map(|d| d.fixed()).collect::<Option<Vec<usize>>>()?;
    let (&columns, rows) = sizes.split_last().unwrap_or((&1, &[]));
    Some(Shape([front, &[Dim::Fixed(rows.iter().product()), Dim::Fixed(columns)]].concat()))
}
