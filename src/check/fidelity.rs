//! How far a quantised artifact is from its model on pictures: signal to noise of all outputs, and the share of pictures that keep their class.

use super::computation::Computation;
use super::outcome::{as_answered, in_order};
use super::{CheckError, Options, Reference, agreed};
use crate::runner::{Pick, Request};
use crate::signature::{OutputRole, Over};
use serde::Serialize;
use std::path::Path;

/// What pictures show of a quantised artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fidelity {
    /// Pictures.
    pub pictures: usize,
    /// `10·log10(Σy²/Σ(y − ŷ)²)` over all outputs and pictures, in dB.
    pub snr: f64,
    /// Share of pictures whose most probable class is the model's; absent for outputs without classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Least signal to noise that passes.
    pub least_snr: f64,
    /// Least share that passes.
    pub least_agreement: f64,
    /// Whether both are reached.
    pub passed: bool,
}

/// The pictures, pass by pass at the artifact's own batch.
#[derive(Debug, Clone, Copy)]
pub struct Pictures<'a> {
    /// As the model takes them.
    pub model: &'a [Vec<f32>],
    /// As the artifact takes them.
    pub artifact: &'a [Vec<f32>],
    /// How many there are; the last pass may be filled up.
    pub count: usize,
}

/// Run both on the pictures.
///
/// # Errors
/// If one of them cannot be run, or their outputs differ in number or size.
pub fn fidelity(
    model: Reference<'_>,
    artifact: &Path,
    pictures: Pictures<'_>,
    options: &Options,
    [least_snr, least_agreement]: [f64; 2],
) -> Result<Fidelity, CheckError> {
    let roles: Vec<OutputRole> = model.signature.outputs.iter().map(|port| port.role).collect();
    let (reference, candidate) =
        (Computation::reference(model.graph, model.weights), Computation::artifact(artifact, Pick::Main)?);
    let answered = agreed(options, &candidate)?.answered();
    let wanted = reference.load(Request::outputs(1))?;
    let found = candidate.load(Request::outputs(1))?;
    let (mut signal, mut noise, mut kept, mut rows) = (0.0, 0.0, 0, 0);
    for (own, given) in pictures.model.iter().zip(pictures.artifact) {
        let y = as_answered(&reference.run(&wanted, std::slice::from_ref(own))?, &roles, answered);
        let answers = candidate.run(&found, std::slice::from_ref(given))?;
        let answers = in_order(&y, &answers);
        if y.len() != answers.len() || y.iter().zip(&answers).any(|(a, b)| a.data.len() != b.data.len()) {
            return Err(CheckError::Interface("its outputs are not the model's".into()));
        }
        for (i, (a, b)) in y.iter().zip(&answers).enumerate() {
            for (&a, &b) in a.data.iter().zip(&b.data) {
                signal += f64::from(a).powi(2);
                noise += (f64::from(a) - f64::from(b)).powi(2);
            }
            let (
                Some(
                    OutputRole::Scores { over: Over::Rows, classes }
                    | OutputRole::Probabilities { over: Over::Rows, classes },
                ),
                true,
            ) = (roles.get(i), i == 0)
            else {
                continue;
            };
            let left = pictures.count - rows.min(pictures.count);
            for (a, b) in a.data.chunks_exact(*classes).zip(b.data.chunks_exact(*classes)).take(left) {
                rows += 1;
                kept += usize::from(best(a) == best(b));
            }
        }
    }
    let snr = 10.0 * (signal / noise.max(1e-300)).log10();
    let agreement = (rows > 0).then(|| kept as f64 / rows as f64);
    // What is not a number passes no bound.
    let passed = snr >= least_snr && agreement.is_none_or(|share| share >= least_agreement);
    Ok(Fidelity { pictures: pictures.count, snr, agreement, least_snr, least_agreement, passed })
}

fn best(scores: &[f32]) -> usize {
    let better = |best: usize, i: usize| if scores[i].total_cmp(&scores[best]).is_gt() { i } else { best };
    (0..scores.len()).fold(0, better)
}
