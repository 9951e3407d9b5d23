//! The trained model itself as the reference.
//!
//! The check's own reference is vitc's reading of the architecture, so what vitc misreads stands on both sides. A program that holds the model as it was
//! trained can close this hole: its answers are compared with those of the artifact, on the inputs of the check.

use super::cases::{batches, cases};
use super::computation::Computation;
use super::npy::Array;
use super::outcome::{Findings, Outputs, as_answered, in_order};
use super::sides::{agreed, judged};
use super::{CheckError, CheckReport, Options, Reference, whole};
use crate::runner::{Named, Pick, Request};
use std::fmt::Debug;
use std::path::Path;
use vitc_ir::Graph;

/// The trained model, as a program holds it.
pub trait Witness: Debug + Send + Sync {
    /// What it answers to these inputs, normalised as it was trained on: an array for each of its outputs, in order.
    ///
    /// # Errors
    /// What went wrong, in words.
    fn answer(&self, inputs: &[Array]) -> Result<Vec<Array>, String>;

    /// It computes in half precision, so that its own rounding is part of the difference.
    fn is_half(&self) -> bool;
}

/// Compare an artifact with the trained model: then only signature, sizes and names of outputs are taken of `model`, no value. Without an artifact,
/// compare the model by its definition: what a quantised artifact was made of.
///
/// # Errors
/// If one of the two cannot be run, or the witness's answers are not of the model's shapes.
pub fn testify(
    model: Reference<'_>,
    artifact: Option<&Path>,
    options: &Options,
    witness: &dyn Witness,
) -> Result<CheckReport, CheckError> {
    let judged = judged(model);
    let model = Reference { graph: &judged, ..model };
    let (candidate, options) = match artifact {
        Some(path) => {
            let function = options.function.as_deref().map_or(Pick::Main, Pick::Named);
            let candidate = Computation::artifact(path, function)?;
            let options = agreed(options, &candidate)?;
            (candidate, options)
        }
        None => (Computation::reference(model.graph, model.weights), plain(options)),
    };
    let roles = model.signature.outputs.iter().map(|port| port.role).collect();
    let outputs = Outputs::of(model.graph, roles, options.probabilities);
    let mut findings = Findings::new();
    for batch in batches(model.graph, &options)? {
        let session = candidate.load(Request::outputs(batch))?;
        let shapes: Vec<Vec<usize>> = model.graph.inputs().map(|(_, node)| node.types[0].shape.at(batch)).collect();
        for case in cases(model, &options, batch) {
            whole::fits(&session, &case.candidate)?;
            let inputs = shapes.iter().zip(&case.reference);
            let inputs: Vec<Array> =
                inputs.map(|(shape, data)| Array { shape: shape.clone(), data: data.clone() }).collect();
            let answers = witness.answer(&inputs).map_err(CheckError::Witness)?;
            let wanted = as_answered(&named(model.graph, answers, batch)?, &outputs.roles, options.probabilities);
            let got = candidate.run(&session, &case.candidate)?;
            findings.half |= session.is_half();
            let half = session.is_half() || witness.is_half();
            findings.compare(&case, &outputs, &wanted, &in_order(&wanted, &got), half)?;
        }
    }
    findings.hold_tiny();
    let Findings { runs, reference_finite, half, mut notes, .. } = findings;
    if artifact.is_none() {
        notes.push("the file is quantised: what is compared with the module is the model before it was".into());
    }
    if !reference_finite {
        notes.push("the module itself answers with values that are not finite".into());
    }
    if witness.is_half() && !half {
        notes.push(
            "the module computes in half precision and the file does not: the bound is that of half precision".into(),
        );
    }
    let precision = if half { "f16" } else { "f32" };
    let passed = runs.iter().all(|r| r.passed);
    Ok(CheckReport { passed, precision, runs, first_difference: None, layers: None, notes, single: None })
}

/// The options of a model that takes and answers what its definition says.
fn plain(options: &Options) -> Options {
    let mut options = Options { probabilities: None, ..options.clone() };
    if let Some(preprocessing) = &mut options.preprocessing {
        preprocessing.normalised_inside = false;
        preprocessing.layout.channels_last = false;
    }
    options
}

/// The answers under the model's names and in its shapes.
fn named(graph: &Graph, answers: Vec<Array>, batch: usize) -> Result<Vec<Named>, CheckError> {
    let wanted: Vec<(&str, Vec<usize>)> =
        graph.outputs.iter().map(|o| (o.name.as_str(), graph.shape(o.value).at(batch))).collect();
    let sides = |shape: &[usize]| shape.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    let same =
        wanted.len() == answers.len() && wanted.iter().zip(&answers).all(|((_, w), a)| sides(w) == sides(&a.shape));
    if !same {
        let shown = answers.iter().map(|a| format!("{:?}", a.shape)).collect::<Vec<_>>().join(", ");
        let asked = wanted.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect::<Vec<_>>().join(", ");
        return Err(CheckError::Witness(format!(
            "the module answers with {shown}, the file with {asked}\n  it can be compared where both return the same"
        )));
    }
    let one =
        |((name, shape), answer): ((&str, Vec<usize>), Array)| Named { name: name.into(), shape, data: answer.data };
    Ok(wanted.into_iter().zip(answers).map(one).collect())
}
