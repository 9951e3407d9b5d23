//! What the runs of a check found, and how the outputs of one run are compared.

use super::cases::Case;
use super::compare::{compare, compare_boxes, compare_classes, compare_pixels, sigmoid, softmax_over};
use super::comparison::Comparison;
use super::probabilities::{Probabilities, ROUNDING, probabilities};
use super::report::Run;
use super::{CheckError, bounds};
use crate::numbers::magnitude;
use crate::runner::Named;
use crate::signature::{Likelihood, OutputRole, Over};
use std::collections::BTreeMap;
use vitc_ir::{DType, Graph};

/// What the outputs of a model hold.
#[derive(Default)]
pub(super) struct Outputs {
    pub(super) roles: Vec<OutputRole>,
    probabilities: Vec<Option<Probabilities>>,
}

impl Outputs {
    /// Of the reference's graph; its scores are `answered` as probabilities.
    pub(super) fn of(graph: &Graph, roles: Vec<OutputRole>, answered: Option<Likelihood>) -> Outputs {
        let probabilities = probabilities(graph, &roles, answered);
        Outputs { roles, probabilities }
    }
}

/// What was found so far.
pub(super) struct Findings {
    pub(super) runs: Vec<Run>,
    /// Every value of the reference was finite.
    pub(super) reference_finite: bool,
    /// The artifact computes in f16.
    pub(super) half: bool,
    /// Operators that ran by their definition.
    pub(super) defined: usize,
    pub(super) notes: Vec<String>,
    /// Batch and inputs, for reference and artifact, of the first failed run of a whole model.
    pub(super) failed: Option<(usize, [Vec<Vec<f32>>; 2])>,
}

impl Findings {
    /// Nothing yet.
    pub(super) fn new() -> Findings {
        let (runs, notes) = (Vec::new(), Vec::new());
        Findings { runs, reference_finite: true, half: false, defined: 0, notes, failed: None }
    }

    /// Compare the outputs of one run, each by its role. Whether all agree.
    pub(super) fn compare(
        &mut self,
        case: &Case,
        outputs: &Outputs,
        wanted: &[Named],
        got: &[&Named],
        half: bool,
    ) -> Result<bool, CheckError> {
        if wanted.len() != got.len() {
            return Err(CheckError::Interface(format!("it has {} outputs, the model has {}", got.len(), wanted.len())));
        }
        let precision = if half { DType::F16 } else { DType::F32 };
        let mut passed = true;
        for (i, (w, g)) in wanted.iter().zip(got).enumerate() {
            let role = outputs.roles.get(i).copied().unwrap_or(OutputRole::Tensor);
            let expected =
                if let OutputRole::Classes { classes } = role { g.data.len() * classes } else { g.data.len() };
            if w.data.len() != expected {
                let what = format!("{} has shape {:?}, the model's {} has {:?}", g.name, g.shape, w.name, w.shape);
                return Err(CheckError::Interface(what));
            }
            let probabilities = outputs.probabilities.get(i).copied().flatten().filter(|_| half);
            let (comparison, allowed, agrees) = by_role(role, probabilities, precision, w, g);
            passed &= agrees;
            if agrees && comparison.max_error > bounds::allowed(precision, comparison.max_reference) {
                self.note(format!("{} answers with probabilities: in half precision they may be what scores within the bound make of them", g.name));
            }
            self.reference_finite &= comparison.reference_finite;
            self.runs.push(Run {
                function: String::new(),
                input: case.name.clone(),
                synthetic: case.synthetic,
                batch: case.batch,
                output: g.name.clone(),
                allowed,
                floor: bounds::floor(precision).max(if probabilities.is_some() { ROUNDING } else { 0.0 }),
                comparison,
                passed: agrees,
                undecided: false,
            });
        }
        Ok(passed)
    }

    /// Say something once.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Hold outputs that are so small in every run that no bound told anything to a share of their largest value.
    pub(super) fn hold_tiny(&mut self) {
        let mut outputs: BTreeMap<String, Option<f64>> = BTreeMap::new();
        for run in &self.runs {
            let largest = run.comparison.max_reference;
            let known = outputs.entry(run.output.clone()).or_insert(Some(0.0));
            *known = known.filter(|_| bounds::is_blind(run.floor, largest)).map(|l| l.max(largest));
        }
        for (output, largest) in outputs.into_iter().filter_map(|(output, largest)| Some((output, largest?))) {
            let allowed = bounds::allowed_of_tiny(largest);
            for run in self.runs.iter_mut().filter(|run| run.output == output) {
                run.passed &= run.comparison.max_error <= allowed;
                run.allowed = allowed;
            }
            let (percent, largest) = (100.0 * bounds::F16, magnitude(largest));
            self.notes.push(format!(
                "{output} is at most {largest} on these inputs, too little for the usual bound: it is held to {percent:.0} % of that"
            ));
        }
    }
}

/// The outputs in the order in which the model has them: by name where both have the same names, else as they come.
pub(super) fn in_order<'a>(wanted: &[Named], got: &'a [Named]) -> Vec<&'a Named> {
    let named: Option<Vec<&Named>> = wanted.iter().map(|w| got.iter().find(|g| g.name == w.name)).collect();
    named.filter(|_| wanted.len() == got.len()).unwrap_or_else(|| got.iter().collect())
}

/// Compare one output as what it holds: what was found, the largest error allowed, and whether it agrees.
fn by_role(
    role: OutputRole,
    probabilities: Option<Probabilities>,
    precision: DType,
    wanted: &Named,
    got: &Named,
) -> (Comparison, f64, bool) {
    let (w, g) = (&wanted.data, &got.data);
    let usual = |comparison: &Comparison| bounds::allowed(precision, comparison.max_reference);
    if let OutputRole::Classes { classes } = role {
        let positions = wanted.shape.iter().skip(2).product();
        let comparison = compare_classes(w, g, [classes, positions], precision);
        return (comparison, usual(&comparison), bounds::agrees_in_classes(precision, &comparison));
    }
    let (comparison, pixels) = match (role, classes(role, wanted)) {
        (_, Some([classes, 1])) => (compare(w, g, classes), false),
        (_, Some(map)) => (compare_pixels(w, g, map, precision), true),
        (OutputRole::Boxes, None) => (compare_boxes(w, g, wanted.shape.last().copied().unwrap_or(1)), false),
        _ => (compare(w, g, 0), false),
    };
    let usual = usual(&comparison);
    let allowed = match probabilities {
        Some(probabilities) if comparison.finite => probabilities.allowed(wanted, g, usual),
        _ => usual,
    };
    let moved = if pixels { bounds::pixels_moved(precision, &comparison) } else { 0 };
    (comparison, allowed, bounds::agrees_within(allowed, moved, &comparison))
}

/// Classes, and positions that are classified in an image, of an output that holds them along axis 1.
fn classes(role: OutputRole, value: &Named) -> Option<[usize; 2]> {
    let over = match role {
        OutputRole::Scores { over, .. } | OutputRole::Probabilities { over, .. } => over,
        OutputRole::Features
        | OutputRole::Map { .. }
        | OutputRole::Classes { .. }
        | OutputRole::Boxes
        | OutputRole::Picture { .. }
        | OutputRole::Tensor => return None,
    };
    match (over, &value.shape[..]) {
        (Over::Rows, &[_, classes]) => Some([classes, 1]),
        (Over::Pixels, [_, classes, map @ ..]) => Some([*classes, map.iter().product()]),
        (Over::Rows | Over::Pixels | Over::Boxes, _) => None,
    }
}

/// What the artifact should answer, from what the model returns: probabilities for its scores, if it answers with those.
pub(super) fn as_answered(outputs: &[Named], roles: &[OutputRole], probabilities: Option<Likelihood>) -> Vec<Named> {
    let answer = |(i, v): (usize, &Named)| {
        let role = roles.get(i).copied().unwrap_or(OutputRole::Tensor);
        let likelihood = probabilities.filter(|_| matches!(role, OutputRole::Scores { .. }));
        match (classes(role, v), likelihood) {
            (Some(classes), Some(Likelihood::OneOf)) => Named { data: softmax_over(&v.data, classes), ..v.clone() },
            (Some(_), Some(Likelihood::EachOf)) => {
                Named { data: v.data.iter().map(|&x| sigmoid(x)).collect(), ..v.clone() }
            }
            (None, _) | (_, None) => v.clone(),
        }
    };
    outputs.iter().enumerate().map(answer).collect()
}
