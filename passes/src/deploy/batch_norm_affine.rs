//! Spell the BatchNorms that no linear node could take as a product and a sum.
//!
//! ```text
//! Given    y = batch_norm(x; γ, β, μ, σ²)
//! Result   y = s∘x + t,   s = γ/√(σ² + ε),  t = β − μ∘s
//! ```
//!
//! Exact    by definition. The report names each, because it is work that stays in the artifact.

use crate::algebra::batch_norm_affine;
use crate::note::{Note, Reason};
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::{BinaryKind, Builder, Copier, Graph, Op};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("batch_norm_affine", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let mut copy = Copier::new(graph, graph.stage);
    let mut notes = Vec::new();
    for (id, node) in graph.nodes() {
        let Op::BatchNorm { eps } = node.op else {
            copy.node(id)?;
            continue;
        };
        let inputs = copy.inputs(id)?;
        let rank = graph.shape(node.inputs[0]).rank();
        let parameters = [inputs[1], inputs[2], inputs[3], inputs[4]];
        let (s, t) = batch_norm_affine(&mut copy.new, &node.path, eps, parameters)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let (s, t) = (net.along("scale", s, 1, rank)?, net.along("shift", t, 1, rank)?);
        let y = net.binary("mul", BinaryKind::Mul, inputs[0], s)?;
        let y = net.binary("add", BinaryKind::Add, y, t)?;
        copy.set(id.into(), y);
        notes.push(Note::Stayed { node: node.path.clone(), why: Reason::NotAbsorbed });
    }
    Ok(Rewritten { graph: copy.finish()?, count: notes.len(), notes })
}
