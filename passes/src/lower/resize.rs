//! Spell resizes in forms that the target has.
//!
//! ```text
//! Given    resize(x)                  x [B,C,n,n'], result [B,C,m,m']
//! Result   the form of the target that reads the same samples, if it has one
//!          else, if the kernel is the nearest sample, a gather along each axis that changes
//!          else R·x·Cᵀ with the constant matrices of both axes, the cheaper product first
//! ```
//!
//! Exact    forms are compared by what they read of each sample; a resize is defined by its matrices.

use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::op::Kernel;
use vitc_ir::{
    Builder, Built, Copier, DType, Generator, Graph, Node, Op, Real, Sampling, Shape, Type, Value, resample,
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
            None if matches!(sampling.kernel, Kernel::Nearest(_)) => resize.gathers(&mut net, x)?,
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

    /// The sample of each result is the matrix times the samples' numbers.
    fn gathers(&self, net: &mut Builder, x: Value) -> Built {
        let mut y = x;
        let changed = self.changed();
        for (at, &i) in changed.iter().enumerate() {
            let side = ["rows", "columns"][i];
            let [n, m] = [self.map[i], self.size[i]];
            let matrix = net.generate(format!("{side}.weights"), self.matrix(i), Type::f32(&[m, n]))?;
            let numbers = net.generate(format!("{side}.numbers"), Generator::Iota { axis: 0 }, Type::f32(&[n, 1]))?;
            let taken = net.matmul(format!("{side}.taken"), matrix, numbers)?;
            let taken = net.reshape(format!("{side}.list"), taken, Shape::fixed(&[m]))?;
            let index = net.push(format!("{side}.index"), Op::Cast { to: DType::I32 }, &[taken])?;
            let name = if at + 1 == changed.len() { "" } else { side };
            y = net.push(name, Op::Gather { axis: 2 + i }, &[y, index])?;
        }
        Ok(y)
    }

    /// The axes on which results are not the samples themselves.
    fn changed(&self) -> Vec<usize> {
        let identity = |i: usize| {
            let taps = resample::taps(&self.sampling, self.map[i], self.size[i], self.scale.map(|s| s[i].0));
            let same = |(i, taps): (usize, &resample::Taps)| taps[..] == [(i, 1.0)];
            self.map[i] == self.size[i] && taps.iter().enumerate().all(same)
        };
        (0..2).filter(|&i| !identity(i)).collect()
    }

    fn matrix(&self, i: usize) -> Generator {
        Generator::Resample { sampling: self.sampling, scale: self.scale.map(|s| s[i]) }
    }

    /// Rows by a product with a constant on the left, columns by one on the right.
    fn products(&self, net: &mut Builder, x: Value) -> Built {
        let dtype = net.ty(x).dtype;
        let [[n, w], [m, v]] = [self.map, self.size];
        let rows_first = m * n * w + m * w * v <= n * w * v + m * n * v;
        let mut moves = self.changed();
        if !rows_first {
            moves.reverse();
        }
        let mut y = x;
        for (at, &i) in moves.iter().enumerate() {
            let side = ["rows", "columns"][i];
            let ty = Type::new(dtype, Shape::fixed(&[self.size[i], self.map[i]]));
            let matrix = net.generate(format!("{side}.weights"), self.matrix(i), ty)?;
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
