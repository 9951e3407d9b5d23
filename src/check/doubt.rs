//! Inputs on which nothing can be told: the model itself answers with something else as soon as their last bits change.
//!
//! A signal that is scaled to its own range is such a model: of a constant signal that range is rounding noise. What is compared there says nothing of the
//! artifact, if the error is no larger than what such a change makes. It counts only where other inputs of the same batch agree, and only in f32, where
//! the change is as large as the rounding of sound files ([`super::bounds`]).

use super::cases::Case;
use super::compare::compare;
use super::report::Run;
use crate::runner::Named;

/// The change, as a share of each number.
const LAST_BITS: f32 = 4e-6;

/// A case with every number of its inputs changed a little, up and down in turn; whole numbers may be indices and stay.
pub(super) fn nudged(case: &Case) -> Case {
    let one = |data: &Vec<f32>| match data.iter().all(|x| x.fract() == 0.0) {
        true => data.clone(),
        false => data.iter().enumerate().map(|(i, x)| x * if i % 3 == 0 { 1.0 + LAST_BITS } else { 1.0 - LAST_BITS }).collect(),
    };
    Case {
        name: case.name.clone(),
        synthetic: case.synthetic,
        batch: case.batch,
        reference: case.reference.iter().map(one).collect(),
        candidate: Vec::new(),
    }
}

/// Take back the judgement of one case's runs where the model's own answers to the changed inputs are as far apart. Nothing is taken back of values
/// that are not finite, nor of a class that is another one.
pub(super) fn settle(runs: &mut [Run], wanted: &[Named], moved: &[Named]) {
    for (run, (w, m)) in runs.iter_mut().zip(wanted.iter().zip(moved)) {
        let own = (w.data.len() == m.data.len()).then(|| compare(&w.data, &m.data, 0));
        let found = run.comparison;
        let told = own.is_none_or(|own| !own.finite || own.max_error < found.max_error);
        if !run.passed && found.finite && found.classes_moved == 0 && !told {
            (run.passed, run.undecided) = (true, true);
        }
    }
}
