//! Comparing an artifact with values from outside vitc.

use super::CheckError;
use super::compare::compare;
use super::comparison::Comparison;
use super::computation::Computation;
use super::npy::Array;
use crate::runner::Request;
use serde::Serialize;
use std::path::Path;

/// A comparison with values from outside vitc.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outside {
    /// Every element is within `atol + rtol·|expected|`.
    pub passed: bool,
    /// Elements outside that bound.
    pub outside: usize,
    /// What was found.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// Run an artifact on an input and compare its first output with expected values, element by element: |got − expected| ≤ atol + rtol·|expected|.
///
/// # Errors
/// If the artifact cannot be read or run, or the arrays do not fit it.
pub fn against(artifact: &Path, input: &Array, expected: &Array, atol: f64, rtol: f64) -> Result<Outside, CheckError> {
    let computation = Computation::artifact(artifact)?;
    let session = computation.load(Request::outputs(input.shape.first().copied().unwrap_or(1)))?;
    let [port] = session.inputs() else {
        let what = format!("one array was given, the artifact takes {}", session.inputs().len());
        return Err(CheckError::Input(what));
    };
    if port.shape != input.shape {
        let what = format!("the input has shape {:?}, the artifact takes {:?}", input.shape, port.shape);
        return Err(CheckError::Input(what));
    }
    let mut outputs = computation.run(&session, std::slice::from_ref(&input.data))?.into_iter();
    let Some(got) = outputs.next() else { return Err(CheckError::Interface("it has no output".into())) };
    if got.data.len() != expected.data.len() {
        let what = format!("the expected values have shape {:?}, the artifact answers {:?}", expected.shape, got.shape);
        return Err(CheckError::Input(what));
    }
    // A matrix counts as a row of scores for each image.
    let row = if let [_, row] = got.shape[..] { row } else { 0 };
    let comparison = compare(&expected.data, &got.data, row);
    let within = |(&e, &g): (&f32, &f32)| (f64::from(g) - f64::from(e)).abs() <= atol + rtol * f64::from(e).abs();
    let outside = expected.data.iter().zip(&got.data).filter(|&pair| !within(pair)).count();
    Ok(Outside { passed: outside == 0, outside, comparison })
}
