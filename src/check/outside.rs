//! Comparing an artifact with values from outside vitc.

use super::compare::compare;
use super::comparison::Comparison;
use super::computation::Computation;
use super::expected::{Expected, matched};
use super::npy::Array;
use super::{CheckError, bounds};
use crate::numbers::worse;
use crate::runner::{Named, Pick, Request};
use serde::Serialize;
use std::path::Path;
use vitc_ir::DType;

/// A comparison with values from outside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outside {
    /// Every element of every output is within its bound.
    pub passed: bool,
    /// Elements outside their bound, of all outputs.
    pub outside: usize,
    /// What was found in the output that is farthest off, in proportion to its values.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// Each output, in the artifact's order.
    pub outputs: Vec<Answered>,
}

/// One output and the values that were expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// Its name.
    pub output: String,
    /// Every element is within the bound.
    pub passed: bool,
    /// Elements outside it.
    pub outside: usize,
    /// What was found.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// How far an element may be from what is expected: |got − expected| ≤ atol + rtol·|expected|.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Absolute; `None` for the check's own bound, of each output by its largest value.
    pub atol: Option<f64>,
    /// Relative.
    pub rtol: f64,
    /// What the artifact computes in, which the check's own bound depends on.
    pub precision: DType,
}

/// Run an artifact on an input and compare each of its outputs with expected values, element by element.
///
/// # Errors
/// If the artifact cannot be read or run, or the arrays do not fit it.
pub fn against(
    artifact: &Path,
    input: &Array,
    expected: &[Expected],
    tolerance: Tolerance,
) -> Result<Outside, CheckError> {
    let computation = Computation::artifact(artifact, Pick::Taking(&input.shape))?;
    let session = computation.load(Request::outputs(input.shape.first().copied().unwrap_or(1)))?;
    let [port] = session.inputs() else {
        let what = format!("one array was given, the artifact takes {}", session.inputs().len());
        return Err(CheckError::Input(what));
    };
    if port.shape != input.shape {
        let what = format!("the input has shape {:?}, the artifact takes {:?}", input.shape, port.shape);
        return Err(CheckError::Input(what));
    }
    let got = computation.run(&session, std::slice::from_ref(&input.data))?;
    let arrays = matched(&got, expected).map_err(CheckError::Input)?;
    let outputs = got.iter().zip(arrays).map(|(got, expected)| answered(got, expected, tolerance));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let off = |a: &Answered| match a.comparison.max_error {
        0.0 => 0.0,
        error => error / a.comparison.max_reference,
    };
    let farthest = outputs.iter().reduce(|a, b| if worse(off(a), off(b)) == off(a) { a } else { b });
    let Some(farthest) = farthest else { return Err(CheckError::Interface("it has no output".into())) };
    Ok(Outside {
        passed: outputs.iter().all(|a| a.passed),
        outside: outputs.iter().map(|a| a.outside).sum(),
        comparison: farthest.comparison,
        outputs,
    })
}

/// One output against the values expected of it.
fn answered(got: &Named, expected: &Array, tolerance: Tolerance) -> Result<Answered, CheckError> {
    // Axes of size 1 are no difference: people drop the batch.
    let sides = |shape: &[usize]| shape.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    if sides(&got.shape) != sides(&expected.shape) {
        let (name, shape) = (&got.name, &got.shape);
        let what =
            format!("the values expected of {name} have shape {:?}, the artifact answers {shape:?}", expected.shape);
        return Err(CheckError::Input(what));
    }
    let Tolerance { atol, rtol, precision } = tolerance;
    let largest = expected.data.iter().fold(0f64, |m, &v| m.max(f64::from(v).abs()));
    let atol = atol.unwrap_or_else(|| match bounds::allowed(precision, largest) {
        allowed if bounds::is_blind(allowed, largest) => bounds::allowed_of_tiny(largest),
        allowed => allowed,
    });
    // A matrix counts as a row of scores for each image.
    let row = if let [_, row] = got.shape[..] { row } else { 0 };
    let comparison = compare(&expected.data, &got.data, row);
    let within = |(&e, &g): (&f32, &f32)| (f64::from(g) - f64::from(e)).abs() <= atol + rtol * f64::from(e).abs();
    let outside = expected.data.iter().zip(&got.data).filter(|&pair| !within(pair)).count();
    Ok(Answered { output: got.name.clone(), passed: outside == 0, outside, comparison })
}
