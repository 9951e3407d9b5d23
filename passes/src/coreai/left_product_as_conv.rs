//! Say products with a constant from the left as 1x1 convolutions, between reshapes.
//!
//! ```text
//! Given    y = reshape(A·reshape(x))      A constant [M,K]; its operand is [B,C,K,W], half precision
//! Result   the same with A as the kernel of a convolution on [B·C,K,1,W]
//! ```
//!
//! Exact    the product sums over the second last axis at each position of the others, and so does a 1x1 convolution over its channels.
//!
//! Why: as for [`super::linear_as_conv`]. Between reshapes it costs no operation; the rows of a spectrum, the longest sums of a transform, lie so.

use crate::algebra::Linear;
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{Builder, Copier, DType, Dim, Graph, NodeId, Op, Shape, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("left_product_as_conv", |t| t.conv_accumulates_f32, run);

fn run(graph: &Graph, context: &Context) -> Result {
    if context.options.precision != DType::F16 {
        return Ok(Rewritten::unchanged(graph));
    }
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some([maps, outputs, inputs, width]) = site(graph, &uses, id) else {
            copy.node(id)?;
            continue;
        };
        let (w, x) = (copy.constant(node.inputs[0])?, copy.get(node.inputs[1])?);
        let mut net = Builder::within(&mut copy.new, &node.path);
        let x = net.reshape("x", x, Shape(vec![maps, inputs, Dim::Fixed(1), width]))?;
        let kernel = Shape(vec![outputs, inputs, Dim::Fixed(1), Dim::Fixed(1)]);
        let w = net.reshape("kernel", w, kernel)?;
        let op = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
        let y = Linear { op, x, w, b: None, path: format!("{}.map", node.path) }.emit(&mut copy.new)?;
        let y = Builder::within(&mut copy.new, &node.path).reshape("", y, node.types[0].shape.clone())?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// Maps, rows of A, columns of A and width, if a node is such a product on maps between reshapes.
fn site(graph: &Graph, uses: &Uses, id: NodeId) -> Option<[Dim; 4]> {
    let (node, value) = (graph.node(id), Value::from(id));
    if node.op != (Op::MatMul { transpose_a: false, transpose_b: false }) || graph.is_constant(value) {
        return None;
    }
    let (a, x) = (node.inputs[0], node.inputs[1]);
    let reshape = |v: Value| matches!(graph.op(v), Op::Reshape { .. }) && !graph.is_constant(v);
    let read_by_reshapes = uses.readers(value).iter().all(|u| reshape(u.node.into())) && !uses.is_result(value);
    let from_reshape = reshape(x) && uses.once(x);
    if !graph.is_constant(a) || graph.shape(a).rank() != 2 || !read_by_reshapes || !from_reshape {
        return None;
    }
    let &[batch, channels, inner, width] = &graph.shape(x).0[..] else { return None };
    let channels = channels.fixed()?;
    let maps = match batch {
        Dim::Fixed(n) => Dim::Fixed(n * channels),
        Dim::Batch(n) => Dim::Batch(n * channels),
    };
    Some([maps, graph.shape(a).0[0], inner, width])
}
