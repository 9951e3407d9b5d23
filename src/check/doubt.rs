//! Inputs on which nothing can be told: the model itself answers with something else as soon as their last bits change.
//!
//! A signal that is scaled to its own range is such a model: of a constant signal that range is rounding noise. What is compared there says nothing of the
//! artifact, if the error is no larger than what such a change makes. It counts only where other inputs of the same batch agree. In f32 the change is as large
//! as the rounding of sound files ([`super::bounds`]). In half precision it is a hundred times smaller than one rounding: an input on which it already moves the
//! answer by all that is allowed judges no file of that precision. Such are a map without any contrast that norms divide by its deviation, and noise to some
//! nets of random weights.

use super::cases::Case;
use super::compare::compare;
use super::report::Run;
use crate::runner::Named;

/// The change, as a share of each number.
const LAST_BITS: f32 = 4e-6;

/// How many changes are tried: what one of them makes is chance.
const CHANGES: usize = 3;

/// A case with every number of its inputs changed a little, up and down in several rhythms; whole numbers may be indices and stay.
pub(super) fn nudged(case: &Case) -> [Case; CHANGES] {
    std::array::from_fn(|change| changed(case, change + 2))
}

/// The numbers at every `rhythm`th place go up, the others down.
fn changed(case: &Case, rhythm: usize) -> Case {
    let factor = |i: usize| if i.is_multiple_of(rhythm) { 1.0 + LAST_BITS } else { 1.0 - LAST_BITS };
    let one = |data: &Vec<f32>| match data.iter().all(|x| x.fract() == 0.0) {
        true => data.clone(),
        false => data.iter().enumerate().map(|(i, x)| x * factor(i)).collect(),
    };
    Case {
        name: case.name.clone(),
        synthetic: case.synthetic,
        batch: case.batch,
        reference: case.reference.iter().map(one).collect(),
        candidate: Vec::new(),
    }
}

/// Take back the judgement of one case's runs where the model's own answers to one of the changed inputs are as far off. Nothing is taken back of
/// values that are not finite, nor of a class that is another one. In half precision it is enough that they are as far off as is allowed.
pub(super) fn settle(runs: &mut [Run], half: bool, wanted: &[Named], moved: &[Vec<Named>]) {
    for (i, (run, w)) in runs.iter_mut().zip(wanted).enumerate() {
        let found = run.comparison;
        let far = if half { found.max_error.min(run.allowed) } else { found.max_error };
        let as_far = |m: &Named| {
            let own = (w.data.len() == m.data.len()).then(|| compare(&w.data, &m.data, 0));
            own.is_some_and(|own| own.finite && own.max_error >= far)
        };
        let untold = moved.iter().filter_map(|outputs| outputs.get(i)).any(as_far);
        if !run.passed && found.finite && found.classes_moved == 0 && untold {
            (run.passed, run.undecided) = (true, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::bounds;
    use vitc_ir::DType;

    fn named(data: Vec<f32>) -> Vec<Named> {
        vec![Named { name: "y".into(), shape: vec![1, data.len()], data }]
    }

    /// The run of an artifact that answers `got` where 1 and 2 are due, as rows of scores or not.
    fn judged(got: [f32; 2], scores: bool) -> Run {
        let comparison = compare(&[1.0, 2.0], &got, if scores { 2 } else { 0 });
        Run {
            function: String::new(),
            input: "x".into(),
            synthetic: true,
            batch: 1,
            output: "y".into(),
            allowed: bounds::allowed(DType::F32, comparison.max_reference),
            floor: bounds::floor(DType::F32),
            passed: bounds::agrees(DType::F32, &comparison),
            comparison,
            undecided: false,
        }
    }

    #[test]
    fn only_what_the_models_own_last_bits_explain_is_undecided() {
        let settled_in = |half: bool, got: [f32; 2], moved: Vec<f32>| {
            let mut runs = [judged(got, false)];
            settle(&mut runs, half, &named(vec![1.0, 2.0]), &[named(vec![1.0, 2.0]), named(moved)]);
            (runs[0].passed, runs[0].undecided)
        };
        let settled = |got, moved| settled_in(false, got, moved);
        assert_eq!(settled([1.01, 2.0], vec![1.0, 2.02]), (true, true));
        assert_eq!(settled([1.01, 2.0], vec![1.0, 2.001]), (false, false));
        assert_eq!(settled([1.0, 2.0], vec![1.0, 2.02]), (true, false), "what agrees is decided");
        assert_eq!(settled([f32::NAN, 2.0], vec![1.0, 9.0]), (false, false));
        assert_eq!(settled([1.01, 2.0], vec![f32::NAN, 2.0]), (false, false));
        assert_eq!(settled([1.01, 2.0], vec![1.0]), (false, false));
        // What is allowed here is a ten thousandth of 2.
        assert_eq!(settled_in(true, [1.01, 2.0], vec![1.0, 2.001]), (true, true));
        assert_eq!(settled_in(true, [1.01, 2.0], vec![1.0, 2.0001]), (false, false));
    }

    #[test]
    fn whole_numbers_stay() {
        let reference = vec![vec![0.5, -0.25], vec![1.0, 7.0]];
        let case = Case { name: "n".into(), synthetic: true, batch: 1, reference, candidate: Vec::new() };
        let [floats, whole] = &nudged(&case)[0].reference[..] else { panic!("two inputs") };
        assert_eq!(whole[..], [1.0, 7.0]);
        assert!(floats.iter().zip([0.5f32, -0.25]).all(|(a, b)| *a != b && (a / b - 1.0).abs() < 1e-5));
    }
}
