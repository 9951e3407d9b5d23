//! Spell norms over channels and positions together, whose scale and shift have one element per channel.
//!
//! ```text
//! Given    y = γ∘norm(x) + β         x [B,C,H,W], mean and variance over C, H and W, γ and β [C,1,1]
//! Result   full       the same with γ and β repeated to [C,H,W]: one node, 2·C·H·W stored elements
//!          affine     norm(x)∘γ + β, three nodes
//!          moments    (x − m)/√(q − m² + ε)∘γ + β,  m and q the means of x and x², over channels first and both at once over positions
//! ```
//!
//! Exact    as formulas. The moments lose about (mean/std)²·2⁻²⁴ in f32; the precision pass keeps them in f32.
//!
//! The target's data names the form. Full ones are taken from the smallest map up while their elements stay below the target's share of the
//! model's weights; the others become affine.

use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashSet;
use vitc_ir::op::ReduceKind;
use vitc_ir::target::NormForm;
use vitc_ir::{
    BinaryKind, Builder, Built, Copier, Graph, Node, NodeId, Op, Real, Shape, Target, UnaryKind, Value, cost,
};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_norms", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let sites: Vec<NodeId> = graph.run_time_nodes().filter(|(_, n)| is_joint(graph, n)).map(|(id, _)| id).collect();
    let full = affordable(graph, target, &sites);
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        let (Op::LayerNorm { axes, eps }, true) = (&node.op, sites.contains(&id)) else {
            copy.node(id)?;
            continue;
        };
        let inputs = copy.inputs(id)?;
        let shape = graph.shape(id.into()).clone();
        let mut net = Builder::within(&mut copy.new, &node.path);
        let norm = Norm { axes, eps: *eps, affine: inputs.get(1).zip(inputs.get(2)).map(|(&s, &t)| [s, t]) };
        let moments = matches!(target.joint_norm, NormForm::Moments) && *axes == [1, 2, 3];
        let y = if moments {
            norm.moments(&mut net, inputs[0])?
        } else if full.contains(&id) {
            norm.full(&mut net, inputs[0], &shape)?
        } else {
            norm.affine(&mut net, inputs[0])?
        };
        copy.set(id.into(), y);
    }
    Ok(Rewritten::new(copy.finish()?, sites.len()))
}

/// A norm over several axes without scale, or with one that broadcasts.
fn is_joint(graph: &Graph, node: &Node) -> bool {
    let Op::LayerNorm { axes, .. } = &node.op else { return false };
    let sizes: Vec<_> = axes.iter().map(|&a| graph.shape(node.inputs[0]).0[a]).collect();
    axes.len() > 1 && (node.inputs.len() == 1 || graph.shape(node.inputs[1]).0 != sizes)
}

/// The norms whose scale and shift may be stored in full.
fn affordable(graph: &Graph, target: &Target, sites: &[NodeId]) -> HashSet<NodeId> {
    let NormForm::Full { share } = target.joint_norm else { return HashSet::new() };
    let elements = |id: NodeId| {
        let node = graph.node(id);
        let Op::LayerNorm { axes, .. } = &node.op else { return 0 };
        2 * axes.iter().map(|&a| graph.shape(node.inputs[0]).dim(a) as u64).product::<u64>()
    };
    let mut sized: Vec<(u64, NodeId)> =
        sites.iter().filter(|&&id| graph.node(id).inputs.len() > 1).map(|&id| (elements(id), id)).collect();
    sized.sort();
    let budget = cost::parameters(graph) as f64 * share;
    let mut total = 0;
    let within = |(n, _): &(u64, NodeId)| {
        total += n;
        total as f64 <= budget
    };
    sized.into_iter().take_while(within).map(|(_, id)| id).collect()
}

/// A norm's parameters.
struct Norm<'a> {
    axes: &'a [usize],
    eps: Real,
    /// Scale and shift, one dimension per axis.
    affine: Option<[Value; 2]>,
}

impl Norm<'_> {
    fn push(&self, net: &mut Builder, name: &str, inputs: &[Value]) -> Built {
        net.push(name, Op::LayerNorm { axes: self.axes.to_vec(), eps: self.eps }, inputs)
    }

    fn full(&self, net: &mut Builder, x: Value, shape: &Shape) -> Built {
        let sizes: Vec<usize> = self.axes.iter().map(|&a| shape.dim(a)).collect();
        let Some([scale, shift]) = self.affine else { return self.push(net, "", &[x]) };
        let mut repeat = |name, v| net.push(name, Op::Expand { shape: Shape::fixed(&sizes) }, &[v]);
        let inputs = [x, repeat("scale", scale)?, repeat("shift", shift)?];
        self.push(net, "", &inputs)
    }

    fn affine(&self, net: &mut Builder, x: Value) -> Built {
        let Some(_) = self.affine else { return self.push(net, "", &[x]) };
        let y = self.push(net, "norm", &[x])?;
        self.scaled(net, y)
    }

    /// Scale and shift of a normalised value.
    fn scaled(&self, net: &mut Builder, y: Value) -> Built {
        let Some([scale, shift]) = self.affine else { return Ok(y) };
        // Dimensions line up with the axes, which need not be the last ones.
        let rank = net.ty(y).shape.rank();
        let mut placed = |v: Value| -> Built {
            let dims = net.fixed(v)?;
            let mut all = vec![1; rank];
            for (&axis, d) in self.axes.iter().zip(dims) {
                all[axis] = d;
            }
            let front = all.iter().take_while(|&&d| d == 1).count().min(rank - self.axes.len());
            net.reshaped("along", v, &all[front..])
        };
        let (scale, shift) = (placed(scale)?, placed(shift)?);
        let y = net.binary("mul", BinaryKind::Mul, y, scale)?;
        net.binary("add", BinaryKind::Add, y, shift)
    }

    fn moments(&self, net: &mut Builder, x: Value) -> Built {
        let mean = |net: &mut Builder, name: &str, x: Value, axes: &[usize]| -> Built {
            net.push(name, Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep: true }, &[x])
        };
        let first = mean(net, "mean.channels", x, &[1])?;
        let square = net.binary("square", BinaryKind::Mul, x, x)?;
        let second = mean(net, "square.channels", square, &[1])?;
        let both = net.concat("moments.channels", &[first, second], 1)?;
        let both = mean(net, "moments", both, &[2, 3])?;
        let parts = net.split("moments.split", both, 1, &[1, 1])?;
        let squared = net.binary("mean.squared", BinaryKind::Mul, parts[0], parts[0])?;
        let variance = net.binary("variance", BinaryKind::Sub, parts[1], squared)?;
        let eps = net.scalar(self.eps.0)?;
        let variance = net.binary("variance.eps", BinaryKind::Add, variance, eps)?;
        let std = net.unary("std", UnaryKind::Sqrt, variance)?;
        let centred = net.binary("centred", BinaryKind::Sub, x, parts[0])?;
        let y = net.binary("div", BinaryKind::Div, centred, std)?;
        self.scaled(net, y)
    }
}
