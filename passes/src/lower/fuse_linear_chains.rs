//! Multiply out a convolution or average pool and the 1x1 convolution behind it, where one kernel is cheaper than two.
//!
//! ```text
//! Given    y = W₂·conv(x; W₁, b₁) + b₂        W₂ a dense 1x1 without padding, W₁ dense or one kernel per channel
//! Result   y = conv(x; W₂W₁, W₂b₁ + b₂)       with the stride and padding of W₁
//! Given    y = W₂·average(x) + b₂             average over k×l positions without padding
//! Result   y = conv(x; W₂/kl, b₂)
//! ```
//!
//! Exact    both maps are linear and the second reads one position of the first's result, so the border sees the same
//!          zeros before and after. An average pool with padding does not count it and is no convolution.
//!
//! Done where the target's cost model says so: multiply-accumulates rise (a depthwise kernel becomes dense), a launch
//! and a map that is written and read fall away. The report says by how many.

use crate::algebra::Linear;
use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::cost::{Price, Work};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Generator, Graph, NodeId, Op, Real, Shape, Type, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("fuse_linear_chains", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let price = Price::new(graph, target, options.precision);
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let (mut count, mut more) = (0, 0i64);
    for (id, node) in graph.nodes() {
        let x = node.inputs.first().copied();
        if let Some(x) = x.filter(|&x| uses.once(x))
            && let Some(outer) = pointwise(graph, id)
            && let Some(inner) = Inner::of(&copy.new, copy.get(x)?)
        {
            let [before, after] = inner.work(&copy.new, graph, &outer, id);
            if price.of(&after) < price.of(&before) {
                let (w, b) = (copy.get(outer.w)?, outer.b.map(|b| copy.get(b)).transpose()?);
                let y = multiply(&mut copy.new, Linear { w, b, ..outer }, inner)?;
                copy.set(id.into(), y);
                count += 1;
                more += after.macs as i64 - before.macs as i64;
                continue;
            }
        }
        copy.node(id)?;
    }
    let notes = if count > 0 { vec![Note::MultipliedOut { maps: None, macs: more }] } else { vec![] };
    Ok(Rewritten { graph: copy.finish()?, count, notes })
}

/// A dense 1x1 convolution of stride 1 without padding.
fn pointwise(graph: &Graph, id: NodeId) -> Option<Linear> {
    let linear = Linear::of(graph, id)?;
    let plain = linear.op == Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
    (plain && graph.shape(linear.w).as_fixed()?[2..] == [1, 1]).then_some(linear)
}

/// The first map of a chain, as a convolution.
struct Inner {
    x: Value,
    /// `[M,C,kh,kw]`, or `[C,1,kh,kw]` with a kernel per channel.
    w: Value,
    b: Option<Value>,
    stride: [usize; 2],
    pad: [usize; 4],
    dilation: [usize; 2],
    per_channel: bool,
    /// An average pool multiplies nothing.
    pool: bool,
}

impl Inner {
    fn of(graph: &Graph, value: Value) -> Option<Inner> {
        let node = graph.producer(value);
        let x = *node.inputs.first()?;
        match &node.op {
            Op::Conv { stride, pad, dilation, groups } => {
                let linear = Linear::of(graph, value.node)?;
                let per_channel = *groups == graph.shape(x).dim(1) && linear.outputs(graph) == *groups && *groups > 1;
                let (stride, pad, dilation) = (*stride, *pad, *dilation);
                (per_channel || *groups == 1).then_some(Inner {
                    x,
                    w: linear.w,
                    b: linear.b,
                    stride,
                    pad,
                    dilation,
                    per_channel,
                    pool: false,
                })
            }
            // The kernel is generated when the chain is multiplied out: until then the pool stands for it.
            Op::AvgPool { stride, pad, .. } if *pad == [0; 4] => {
                let (stride, pad, dilation) = (*stride, [0; 4], [1; 2]);
                Some(Inner { x, w: value, b: None, stride, pad, dilation, per_channel: true, pool: true })
            }
            _ => None,
        }
    }

    /// Rows and columns of the kernel.
    fn kernel(&self, graph: &Graph) -> [usize; 2] {
        match graph.op(self.w) {
            Op::AvgPool { kernel, .. } if self.pool => *kernel,
            _ => [graph.shape(self.w).dim(2), graph.shape(self.w).dim(3)],
        }
    }

    /// Work of the chain as it stands and multiplied out.
    fn work(&self, graph: &Graph, old: &Graph, outer: &Linear, id: NodeId) -> [Work; 2] {
        let result = old.shape(id.into());
        let (outputs, positions) = (result.dim(1), result.dim(2) * result.dim(3));
        let (channels, middle) = (graph.shape(self.x).dim(1), old.shape(outer.w).dim(1));
        let taps: usize = self.kernel(graph).iter().product();
        let mut before = Work::convolution(outputs * middle, outputs, positions);
        before += match (self.pool, self.per_channel) {
            (true, _) => Work::movement(middle * positions),
            (_, true) => Work::convolution(middle * taps, middle, positions),
            _ => Work::convolution(middle * channels * taps, middle, positions),
        };
        [before, Work::convolution(outputs * channels * taps, outputs, positions)]
    }
}

fn multiply(graph: &mut Graph, outer: Linear, inner: Inner) -> Built {
    let [kh, kw] = inner.kernel(graph);
    let shape = graph.fixed(outer.w)?;
    let (outputs, middle) = (shape[0], shape[1]);
    let outer = match inner.b {
        Some(b) => {
            let response = outer.response(graph, b)?;
            outer.shifted(graph, response)?
        }
        None => outer,
    };
    let mut net = Builder::within(graph, &outer.path);
    let first = if inner.pool {
        let fill = Generator::Fill { value: Real(1.0 / (kh * kw) as f64) };
        net.generate("average", fill, Type::f32(&[middle, 1, kh, kw]))?
    } else {
        inner.w
    };
    let w = if inner.per_channel {
        let kernels = net.reshape("w_kernels", first, Shape::fixed(&[1, middle, kh, kw]))?;
        net.binary("w", BinaryKind::Mul, outer.w, kernels)?
    } else {
        let inputs = net.dim(first, 1)?;
        let rows = net.reshaped("w_rows", outer.w, &[outputs, middle])?;
        let first = net.reshape("w_first", first, Shape::fixed(&[middle, inputs * kh * kw]))?;
        let product = net.matmul("w_product", rows, first)?;
        net.reshape("w", product, Shape::fixed(&[outputs, inputs, kh, kw]))?
    };
    let op = Op::Conv { stride: inner.stride, pad: inner.pad, dilation: inner.dilation, groups: 1 };
    Linear { op, x: inner.x, w, ..outer }.emit(graph)
}
