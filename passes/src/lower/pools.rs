//! Spell pools whose windows have holes where the target has none.
//!
//! ```text
//! Given    y = max_pool(x)            kernel kh x kw, stride s, padding p, dilation d
//! Result   v = pad(x) with the smallest number, if p > 0
//!          r = max over u < kh of rows u·d + i·s of v
//!          y = max over u < kw of columns u·d + j·s of r
//! ```
//!
//! Exact    the largest of a window is the largest of its rows' largest, and padding is never the largest: every window has an element of the map.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::op::SliceAxis;
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, Op, PadMode, Real, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_pools", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Op::MaxPool { kernel, stride, pad, dilation } = node.op else {
            copy.node(id)?;
            continue;
        };
        if dilation == [1; 2] || context.target.dilated_pool || graph.is_constant(id.into()) {
            copy.node(id)?;
            continue;
        }
        let x = copy.get(node.inputs[0])?;
        let y =
            Windows { kernel, stride, pad, dilation }.largest(&mut Builder::within(&mut copy.new, &node.path), x)?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The windows of a pool.
pub(crate) struct Windows {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) pad: [usize; 4],
    pub(crate) dilation: [usize; 2],
}

impl Windows {
    /// The largest element of each window, by slices.
    pub(crate) fn largest(&self, net: &mut Builder, x: Value) -> Built {
        let [top, left, bottom, right] = self.pad;
        let mut y = x;
        if self.pad != [0; 4] {
            let mode = PadMode::Constant(Real(f64::from(f32::MIN)));
            y = net.push(
                "padded",
                Op::Pad { before: vec![0, 0, top, left], after: vec![0, 0, bottom, right], mode },
                &[x],
            )?;
        }
        for (i, side) in ["rows", "columns"].into_iter().enumerate() {
            y = self.along(net, y, i, side)?;
        }
        Ok(y)
    }

    fn along(&self, net: &mut Builder, x: Value, i: usize, side: &str) -> Built {
        let (step, hole, kernel) = (self.stride[i], self.dilation[i], self.kernel[i]);
        let results = (net.dim(x, 2 + i)? - ((kernel - 1) * hole + 1)) / step + 1;
        if (kernel, step) == (1, 1) {
            return Ok(x);
        }
        let mut largest = None;
        for u in 0..kernel {
            let start = u * hole;
            let cut = SliceAxis { axis: 2 + i, start, stop: start + (results - 1) * step + 1, step };
            let part = net.push(format!("{side}.{u}"), Op::Slice { cuts: vec![cut] }, &[x])?;
            largest = Some(match largest {
                None => part,
                Some(so_far) => net.binary(format!("{side}.max"), BinaryKind::Max, so_far, part)?,
            });
        }
        Ok(largest.unwrap_or(x))
    }
}
