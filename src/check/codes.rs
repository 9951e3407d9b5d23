//! Models that round activations to codes: where a value lies between two of them, the last bit of a sum decides, and a whole step differs.
//!
//! Whether that happens on the check's inputs is seen on the model itself: its graph is run once more with everything that it rounds moved by as little as
//! sums differ. Where it then answers otherwise than the bound of fp32 allows, no artifact could be held to that bound.

use super::cases::Case;
use super::computation::Computation;
use super::{CheckError, Reference, bounds};
use crate::runner::{Named, Request};
use vitc_ir::{BinaryKind, Builder, Copier, DType, Graph, Op, ShapeError, UnaryKind};

/// How far what is rounded is moved, as a fraction: some times what sums in f32 lose.
const MOVED: f64 = 4e-6;

/// Whether the model rounds activations, and answers otherwise than fp32's bound allows when these are moved by next to nothing.
///
/// # Errors
/// If it cannot be run.
pub(super) fn tips(model: Reference<'_>, reference: &Computation<'_>, cases: &[Case]) -> Result<bool, CheckError> {
    if !rounds(model) {
        return Ok(false);
    }
    let wanted = answers(reference, cases)?;
    for by in [MOVED, -MOVED] {
        let graph = moved(model.graph, 1.0 + by).map_err(|e| CheckError::Interface(e.to_string()))?;
        let found = answers(&Computation::reference(&graph, model.weights), cases)?;
        if wanted.iter().zip(&found).any(|(a, b)| differs(a, b)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the model rounds what it computes at run time.
pub(super) fn rounds(model: Reference<'_>) -> bool {
    model.graph.run_time_nodes().any(|(_, node)| node.op == Op::Unary(UnaryKind::Round))
}

/// Every output in every case.
fn answers(computation: &Computation<'_>, cases: &[Case]) -> Result<Vec<Named>, CheckError> {
    let Some(first) = cases.first() else { return Ok(Vec::new()) };
    let session = computation.load(Request::outputs(first.batch))?;
    let all = cases.iter().map(|case| computation.run(&session, &case.reference)).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

fn differs(a: &Named, b: &Named) -> bool {
    let largest = a.data.iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
    let allowed = bounds::allowed(DType::F32, largest);
    a.data.iter().zip(&b.data).any(|(a, b)| f64::from((a - b).abs()) > allowed)
}

/// The graph with everything that it rounds at run time times a number.
fn moved(graph: &Graph, factor: f64) -> Result<Graph, ShapeError> {
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        if node.op != Op::Unary(UnaryKind::Round) || graph.is_constant(id.into()) {
            copy.node(id)?;
            continue;
        }
        let x = copy.inputs(id)?[0];
        let dtype = copy.new.ty(x).dtype;
        let mut at = Builder::within(&mut copy.new, &node.path);
        let by = at.scalar_of(factor, dtype)?;
        let x = at.push("moved", Op::Binary(BinaryKind::Mul), &[x, by])?;
        let y = at.push("", node.op.clone(), &[x])?;
        copy.set(id.into(), y);
    }
    copy.finish()
}
