//! What the runs of a check found, and how the outputs of one run are compared.

use super::cases::Case;
use super::compare::{compare, softmax};
use super::report::Run;
use super::{CheckError, bounds};
use crate::runner::{Named, Session};
use vitc_ir::DType;

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) runs: Vec<Run>,
    /// The artifact computes in f16.
    pub(super) half: bool,
    /// Operators that ran by their definition.
    pub(super) defined: usize,
    pub(super) notes: Vec<String>,
    /// Batch and inputs, for reference and artifact, of the first failed run of a whole model.
    pub(super) failed: Option<(usize, [Vec<Vec<f32>>; 2])>,
}

impl Findings {
    /// What a loaded artifact says about itself.
    pub(super) fn artifact(&mut self, session: &Session) {
        self.half |= session.is_half();
        self.defined += session.defined();
    }

    /// Compare the outputs of one run; `inner` values are not the model's. Whether all agree.
    pub(super) fn compare(
        &mut self,
        case: &Case,
        wanted: &[Named],
        got: &[Named],
        half: bool,
        inner: bool,
    ) -> Result<bool, CheckError> {
        if wanted.len() != got.len() {
            return Err(CheckError::Interface(format!("it has {} outputs, the model has {}", got.len(), wanted.len())));
        }
        let precision = if half { DType::F16 } else { DType::F32 };
        let mut passed = true;
        for (w, g) in wanted.iter().zip(got) {
            if w.data.len() != g.data.len() {
                let what = format!("{} has shape {:?}, the model's {} has {:?}", g.name, g.shape, w.name, w.shape);
                return Err(CheckError::Interface(what));
            }
            let row = if inner { 0 } else { row_of(w) };
            let comparison = compare(&w.data, &g.data, row);
            let agrees = bounds::agrees(precision, &comparison);
            passed &= agrees;
            self.runs.push(Run {
                input: case.name.clone(),
                synthetic: case.synthetic,
                batch: case.batch,
                output: g.name.clone(),
                allowed: bounds::allowed(precision, comparison.max_reference),
                comparison,
                passed: agrees,
            });
        }
        Ok(passed)
    }
}

/// Length of one image's scores; 0 for maps, which are no scores.
pub(super) fn row_of(value: &Named) -> usize {
    if value.shape.len() == 2 { value.shape[1] } else { 0 }
}

/// What the artifact should answer, from what the model returns.
pub(super) fn as_answered(scores: &[Named], probabilities: bool) -> Vec<Named> {
    let answer = |v: &Named| match probabilities {
        true => Named { data: softmax(&v.data, row_of(v)), ..v.clone() },
        false => v.clone(),
    };
    scores.iter().map(answer).collect()
}
