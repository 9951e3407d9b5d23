//! Keep a pad in front of a max pool out of the runtime's hands, which makes the pool's own padding of it: that of the smallest number.
//!
//! ```text
//! Given    y = max_pool(pad(x))       n zeros around the map, the pool's own padding p, windows without holes
//! Result   z = max_pool(x)            padding p + n, and that is y where x is at least 0, as behind a relu
//!          y = max(z, m)              m is 0 where a window reaches one of the n elements, else the smallest number
//! else     y by slices               windows with holes, or windows that lie beside the map
//! ```
//!
//! Exact    the largest of a window is the larger of the largest on the map and 0, if the window holds one. Every window of z has an element of the
//!          map.

use crate::lower::Windows;
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{
    BinaryKind, Builder, Built, Copier, DType, Generator, Graph, Node, Op, PadMode, Real, Shape, Type, UnaryKind, Value,
};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("pool_padding", |target| !target.pad_before_pool, run);

fn run(graph: &Graph, context: &Context) -> Result {
    // Below all that the element type holds.
    let least = if context.options.precision == DType::F16 { -65504.0 } else { f64::from(f32::MIN) };
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some(pool) = Pool::of(graph, node).filter(|_| !graph.is_constant(id.into())) else {
            copy.node(id)?;
            continue;
        };
        let (padded, x) = (copy.get(node.inputs[0])?, copy.get(pool.x)?);
        let mut net = Builder::within(&mut copy.new, &node.path);
        let y = match pool.joined(graph) {
            Some(pad) => pool.corrected(&mut net, x, pad, least)?,
            None => {
                let Pool { kernel, stride, pad, dilation, .. } = pool;
                Windows { kernel, stride, pad, dilation }.largest(&mut net, padded)?
            }
        };
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// A pool over a map with zeros around it.
struct Pool {
    /// The map.
    x: Value,
    /// No element of the map is below 0.
    positive: bool,
    /// How many of them at top, left, bottom, right; none where other axes have some too.
    around: Option<[usize; 4]>,
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 4],
    dilation: [usize; 2],
    /// Height, width of the result.
    size: [usize; 2],
}

impl Pool {
    fn of(graph: &Graph, node: &Node) -> Option<Pool> {
        let Op::MaxPool { kernel, stride, pad, dilation } = node.op else { return None };
        let front = graph.producer(graph.stored(node.inputs[0]));
        let Op::Pad { before, after, mode: PadMode::Constant(Real(0.0)) } = &front.op else { return None };
        let plain = [0, 1].iter().all(|&a| before[a] + after[a] == 0);
        let around = plain.then(|| [before[2], before[3], after[2], after[3]]);
        let size = [2, 3].map(|a| node.types[0].shape.dim(a));
        let (x, positive) = (front.inputs[0], is_positive(graph, front.inputs[0]));
        Some(Pool { x, positive, around, kernel, stride, pad, dilation, size })
    }

    /// Padding of a pool over the map itself that has the same windows, if each of them has an element of the map.
    fn joined(&self, graph: &Graph) -> Option<[usize; 4]> {
        let around = self.around?;
        let pad: [usize; 4] = std::array::from_fn(|i| self.pad[i] + around[i]);
        let op = Op::MaxPool { kernel: self.kernel, stride: self.stride, pad, dilation: [1; 2] };
        let fits = vitc_ir::infer::infer(&op, &[graph.ty(self.x)]).is_ok();
        (self.dilation == [1; 2] && fits).then_some(pad)
    }

    fn corrected(&self, net: &mut Builder, x: Value, pad: [usize; 4], least: f64) -> Built {
        let op = Op::MaxPool { kernel: self.kernel, stride: self.stride, pad, dilation: [1; 2] };
        if self.positive {
            return net.push("", op, &[x]);
        }
        let z = net.push("map", op, &[x])?;
        let dtype = net.ty(x).dtype;
        // Windows from either end that reach a zero.
        let mut reach = [0; 4];
        for i in 0..2 {
            let around = self.around.unwrap_or_default();
            let map = net.dim(x, 2 + i)?;
            let first = |at: &usize| around[i] > 0 && at * self.stride[i] < pad[i];
            let last = |at: &usize| around[2 + i] > 0 && at * self.stride[i] + self.kernel[i] > pad[i] + map;
            reach[i] = (0..self.size[i]).filter(first).count();
            reach[2 + i] = (reach[i]..self.size[i]).filter(last).count();
        }
        let inner = [0, 1].map(|i| self.size[i] - reach[i] - reach[2 + i]);
        let border = match inner.contains(&0) {
            true => net.scalar_of(0.0, dtype)?,
            false => {
                let least = Generator::Fill { value: Real(least) };
                let ty = Type::new(dtype, Shape::fixed(&[1, 1, inner[0], inner[1]]));
                let least = net.generate("least", least, ty)?;
                let (before, after) = (vec![0, 0, reach[0], reach[1]], vec![0, 0, reach[2], reach[3]]);
                net.push("border", Op::Pad { before, after, mode: PadMode::ZERO }, &[least])?
            }
        };
        net.binary("", BinaryKind::Max, z, border)
    }
}

/// Whether a value is a function that has no result below 0.
fn is_positive(graph: &Graph, x: Value) -> bool {
    match graph.op(graph.stored(x)) {
        Op::Clip { lo, .. } => lo.0 >= 0.0,
        Op::Unary(kind) => matches!(
            kind,
            UnaryKind::Relu
                | UnaryKind::Sigmoid
                | UnaryKind::Exp
                | UnaryKind::Abs
                | UnaryKind::Sqrt
                | UnaryKind::Softplus
                | UnaryKind::HardSigmoid { .. }
        ),
        _ => false,
    }
}
