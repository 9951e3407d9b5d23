//! Spell resizes in forms that the target has.
//!
//! ```text
//! Given    resize(x)                  x [B,C,n,n'], result [B,C,m,m']
//! Result   the form of the target that reads the same samples, if it has one
//!          else, if result i is sample ⌊i·n/m⌋ on both axes, a gather along each axis that changes
//!          else R·x·Cᵀ with the constant matrices of both axes, the cheaper product first
//! ```
//!
//! Exact    forms are compared by what they read of each sample, up to 10⁻⁶; a resize is defined by its matrices.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{
    BinaryKind, Builder, Built, Copier, DType, Generator, Graph, Node, Op, Real, Sampling, Shape, Type, Value, resample,
};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_resize", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let Some(resize) = Resize::of(graph, node).filter(|_| !graph.is_constant(id.into())) else {
            copy.node(id)?;
            continue;
        };
        if target.allows(graph, node).is_ok() {
            copy.node(id)?;
            continue;
        }
        let x = copy.get(node.inputs[0])?;
        let Resize { sampling, size, scale, .. } = resize;
        let form = target.resize_form(graph.shape(node.inputs[0]), &sampling, size, scale);
        let mut net = Builder::within(&mut copy.new, &node.path);
        let y = match form {
            Some(sampling) => net.push("", Op::Resize { sampling, size, scale: None }, &[x])?,
            None if resize.is_nearest() => resize.gathers(&mut net, x)?,
            None => resize.products(&mut net, x)?,
        };
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// A resize of a map of plain sizes.
struct Resize {
    map: [usize; 2],
    sampling: Sampling,
    size: [usize; 2],
    scale: Option<[Real; 2]>,
}

impl Resize {
    fn of(graph: &Graph, node: &Node) -> Option<Resize> {
        let &Op::Resize { sampling, size, scale } = &node.op else { return None };
        let shape = graph.shape(node.inputs[0]);
        let map = [shape.0.get(2)?.fixed()?, shape.0.get(3)?.fixed()?];
        Some(Resize { map, sampling, size, scale })
    }

    /// Whether result i is sample ⌊i·n/m⌋ on both axes.
    fn is_nearest(&self) -> bool {
        (0..2).all(|i| {
            let taps = |sampling: &Sampling, scale| resample::taps(sampling, self.map[i], self.size[i], scale);
            taps(&self.sampling, self.scale.map(|s| s[i].0)) == taps(&Sampling::NEAREST, None)
        })
    }

    /// Indices ⌊i·n/m⌋ are a quotient of constant integers.
    fn gathers(&self, net: &mut Builder, x: Value) -> Built {
        let mut y = x;
        let changed: Vec<usize> = (0..2).filter(|&i| self.map[i] != self.size[i]).collect();
        for (at, &i) in changed.iter().enumerate() {
            let side = ["rows", "columns"][i];
            let ty = |dims: &[usize]| Type::new(DType::I32, Shape::fixed(dims));
            let count = net.generate(format!("{side}.count"), Generator::Iota { axis: 0 }, ty(&[self.size[i]]))?;
            let [n, m] = [self.map[i], self.size[i]].map(|v| v as f64);
            let (n, m) = (net.scalar_of(n, DType::I32)?, net.scalar_of(m, DType::I32)?);
            let scaled = net.binary(format!("{side}.scaled"), BinaryKind::Mul, count, n)?;
            let index = net.binary(format!("{side}.index"), BinaryKind::Div, scaled, m)?;
            let name = if at + 1 == changed.len() { "" } else { side };
            y = net.push(name, Op::Gather { axis: 2 + i }, &[y, index])?;
        }
        Ok(y)
    }

    /// Rows by a product with a constant on the left, columns by one on the right.
    fn products(&self, net: &mut Builder, x: Value) -> Built {
        let dtype = net.ty(x).dtype;
        let [[n, w], [m, v]] = [self.map, self.size];
        let identity = |i: usize| {
            let taps = resample::taps(&self.sampling, self.map[i], self.size[i], self.scale.map(|s| s[i].0));
            let same = |(i, taps): (usize, &resample::Taps)| taps[..] == [(i, 1.0)];
            self.map[i] == self.size[i] && taps.iter().enumerate().all(same)
        };
        let rows_first = m * n * w + m * w * v <= n * w * v + m * n * v;
        let order = if rows_first { [0, 1] } else { [1, 0] };
        let moves: Vec<usize> = order.into_iter().filter(|&i| !identity(i)).collect();
        let mut y = x;
        for (at, &i) in moves.iter().enumerate() {
            let side = ["rows", "columns"][i];
            let generator = Generator::Resample { sampling: self.sampling, scale: self.scale.map(|s| s[i]) };
            let ty = Type::new(dtype, Shape::fixed(&[self.size[i], self.map[i]]));
            let matrix = net.generate(format!("{side}.weights"), generator, ty)?;
            let name = if at + 1 == moves.len() { "" } else { side };
            y = match i {
                0 => net.matmul(name, matrix, y)?,
                _ => {
                    let columns = net.transpose("columns.transposed", matrix, &[1, 0])?;
                    net.matmul(name, y, columns)?
                }
            };
        }
        Ok(y)
    }
}
