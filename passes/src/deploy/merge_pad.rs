//! Merge zeros around a map into the border of the convolution that reads them.
//!
//! ```text
//! Given    y = conv(pad(x){0}; w, b)       zeros before and after rows and columns, none along items and channels
//! Result   y = conv(x; w, b)               its own border and theirs
//! ```
//!
//! Exact    a convolution reads zeros beyond its map. What else reads the padded map still does.
//!
//! Models that came from TensorFlow pad so, because their borders are larger at the end than in front.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Copier, Graph, Node, Op, PadMode, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("merge_pad", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some((op, x)) = merged(graph, node) else {
            copy.node(id)?;
            continue;
        };
        let mut inputs = copy.inputs(id)?;
        inputs[0] = copy.get(x)?;
        let y = copy.new.push(op, &inputs, &node.path)?;
        copy.set(id.into(), y.into());
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The convolution with the border of its operand, and what that operand pads.
fn merged(graph: &Graph, node: &Node) -> Option<(Op, Value)> {
    let Op::Conv { stride, pad: [top, left, bottom, right], dilation, groups } = node.op else { return None };
    let padded = graph.producer(node.inputs[0]);
    let Op::Pad { before, after, mode } = &padded.op else { return None };
    let (&[0, 0, above, before], &[0, 0, below, behind]) = (&before[..], &after[..]) else { return None };
    let pad = [top + above, left + before, bottom + below, right + behind];
    (*mode == PadMode::ZERO).then_some((Op::Conv { stride, pad, dilation, groups }, padded.inputs[0]))
}
