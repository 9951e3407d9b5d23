//! The check: does the artifact compute what the model computes?
//!
//! The reference is the model's graph with the defining expansions of its high-level operators, no pass applied, in f32. The candidate is the
//! artifact as it lies on disk: an ONNX file as it is, a CoreML package through a reader that shares nothing with the writer. Both run in
//! tract on the same inputs and are compared value by value.
//!
//! So a check proves the passes and the exporters. It does not prove that the architecture is the one that was trained: that is what
//! comparing with values from outside ([`against`]) and the golden tests do.
//!
//! Invariants: nothing here looks at how the artifact was made; the reference never passes through `vitc-passes` or an exporter; arithmetic is f32,
//! f16 values are rounded one by one.

pub mod bounds;
mod cases;
mod codes;
pub mod compare;
mod comparison;
mod computation;
mod doubt;
mod error;
mod expected;
mod fidelity;
pub mod inputs;
pub(crate) mod layers;
mod layout;
mod memory;
pub mod npy;
mod options;
mod outcome;
mod outside;
mod pieces;
mod probabilities;
pub mod report;
mod save;
mod sides;
#[cfg(test)]
mod tests;
mod whole;
mod witness;

pub use comparison::Comparison;
pub use error::CheckError;
pub use expected::{Expected, ExpectedFile};
pub use fidelity::{Fidelity, Pictures, fidelity};
pub use inputs::Synthetic;
pub use options::{Effort, Options};
pub use outside::{Answered, Outside, Tolerance, against};
pub use report::{CheckReport, Difference, Layer, LayerError, Layers, Run};
pub use witness::{Witness, testify};

use crate::model::FileOrigin;
use crate::runner::{Bottleneck, Pick, Request};
use crate::signature::Signature;
use cases::{Case, batches, cases, cases_of, is_free};
use computation::Computation;
use inputs::Numbers;
use layers::Trace;
use memory::Budget;
use outcome::{Findings, Outputs};
use sides::{agreed, judged};
use std::path::Path;
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::{Graph, Weights};

/// A model: what the artifact should compute.
#[derive(Clone, Copy)]
pub struct Reference<'a> {
    /// Its graph, on which no pass ran.
    pub graph: &'a Graph,
    /// The roles of its inputs and outputs.
    pub signature: &'a Signature,
    /// Its weights.
    pub weights: &'a dyn Weights,
    /// The file that it was read from, if it was: the reference then, as far as it can be run.
    pub file: Option<&'a FileOrigin>,
}

/// What is compared with what, and how.
struct Check<'a> {
    model: Reference<'a>,
    outputs: Outputs,
    reference: Computation<'a>,
    /// The file that the model was read from, where it can be run: what the artifact is compared with, whole.
    file: Option<Computation<'a>>,
    candidate: Computation<'static>,
    /// Where the reference can be cut, in order.
    bottlenecks: Vec<Bottleneck>,
    options: Options,
    budget: Budget,
    /// The model rounds activations to codes, and the last bits of sums decide which ([`mod@codes`]).
    coded: bool,
    /// What stands for inputs that are neither pictures nor whole numbers.
    numbers: Numbers,
}

/// Check an artifact against its model.
///
/// # Errors
/// If one of the two cannot be read or run, or their interfaces differ.
pub fn check(model: Reference<'_>, artifact: &Path, options: &Options) -> Result<CheckReport, CheckError> {
    let candidate = Computation::artifact(artifact, options.function.as_deref().map_or(Pick::Main, Pick::Named))?;
    let options = agreed(options, &candidate)?;
    let judged = judged(model);
    let model = Reference { graph: &judged, ..model };
    let batches = batches(model.graph, &options)?;
    let reference = Computation::reference(model.graph, model.weights);
    let bottlenecks = reference.bottlenecks()?;
    let largest = batches.iter().copied().max().unwrap_or(1);
    let budget = Budget::new(model.graph, &bottlenecks, largest, options.memory);
    let roles = model.signature.outputs.iter().map(|port| port.role).collect();
    let outputs = Outputs::of(model.graph, roles, options.answered());
    let mut findings = Findings::new();
    let whole = options.effort == Effort::Full && budget.fits();
    let file = file(model, &options, &batches, whole, &mut findings);
    // In pieces each begins with the reference's own values, and where they lie is not looked at.
    let coded = match whole {
        true => codes::tips(model, &reference, &cases(model, &options, batches[0]))?,
        false => codes::rounds(model),
    };
    if coded {
        let why =
            "the model rounds activations, and on these inputs the last bit of a sum decides between two whole numbers";
        findings.notes.push(format!("{why}: the bound is that of fp16"));
    }
    let numbers = Numbers::Around;
    let mut check = Check { model, outputs, reference, file, candidate, bottlenecks, options, budget, coded, numbers };
    let mut findings = check.run(&batches, findings)?;
    // What differs where the model is defined stays a difference.
    let sound = findings.runs.iter().all(|run| run.passed || !run.comparison.reference_finite);
    if !findings.reference_finite && sound && whole && is_free(model) {
        findings = check.narrowed(&batches, findings)?;
    }
    let (full, fits) = (check.options.effort == Effort::Full, check.budget.fits());
    if full && !fits {
        let [need, free] = [check.budget.one, check.budget.available].map(|bytes| bytes >> 20);
        let why = format!("{need} MiB are needed and {free} free");
        let note = format!("checked in pieces, each on the reference's own values, because {why}");
        findings.notes.insert(0, note);
    }
    findings.hold_tiny();
    check.report(findings, batches[0])
}

/// Synthetic inputs of a model as an artifact takes them, at a symbolic batch of 1: for each input the values of each pass.
pub fn synthetic_inputs(model: Reference<'_>, preprocessing: Option<Preprocessing>) -> Vec<Vec<Vec<f32>>> {
    let cases = cases(model, &Options::new(preprocessing), 1);
    let ports = model.graph.inputs().count();
    (0..ports).map(|port| cases.iter().filter_map(|case| case.candidate.get(port).cloned()).collect()).collect()
}

/// The file that a model was read from, if it can be run; what it says of itself goes into the notes.
fn file<'a>(
    model: Reference<'a>,
    options: &Options,
    batches: &[usize],
    whole: bool,
    findings: &mut Findings,
) -> Option<Computation<'a>> {
    let origin = model.file?;
    let unproven = "the import itself is not proven for this file: compare with values of your own";
    if !whole {
        findings.notes.push(format!("reference: the imported graph, in pieces; {unproven}"));
        return None;
    }
    let Some(computation) = Computation::file(origin) else {
        findings.notes.push("reference: the package's own program, read back and computed in fp32".into());
        return None;
    };
    // What runs for one batch may not for another: sizes inside of the file may be those of one.
    let tried = batches.iter().try_for_each(|&batch| {
        let session = computation.load(Request::outputs(batch))?;
        computation.run(&session, &cases(model, options, batch)[0].reference).map(|_| ())
    });
    match tried {
        Ok(()) => {
            findings.notes.push("reference: the file itself, run by tract".into());
            Some(computation)
        }
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default();
            findings
                .notes
                .push(format!("reference: the imported graph, because tract cannot run the file ({why}); {unproven}"));
            None
        }
    }
}

impl Check<'_> {
    fn cases(&self, batch: usize) -> Vec<Case> {
        cases_of(self.numbers, self.model, &self.options, batch)
    }

    /// Run every case of every batch; what was found is added to `findings`.
    fn run(&self, batches: &[usize], mut findings: Findings) -> Result<Findings, CheckError> {
        for &batch in batches {
            let cases = self.cases(batch);
            if self.options.effort == Effort::Full && self.budget.fits() {
                self.whole(batch, &cases, &mut findings)?;
            } else {
                self.pieces(batch, &cases, &mut findings)?;
            }
        }
        Ok(findings)
    }

    /// The same on numbers of a narrower range, if the model's own answers are finite there; else what was found before.
    fn narrowed(&mut self, batches: &[usize], found: Findings) -> Result<Findings, CheckError> {
        for numbers in Numbers::NARROWER {
            self.numbers = numbers;
            let mut again = self.run(batches, Findings { notes: found.notes.clone(), ..Findings::new() })?;
            if again.reference_finite {
                again.notes.push(
                    "on numbers around 0 the model itself answers with values that are not finite: its inputs lie in a narrower range here".into(),
                );
                return Ok(again);
            }
        }
        self.numbers = Numbers::Around;
        Ok(found)
    }

    /// The report: with the place of the first difference if something failed, with every value at `batch` if that was asked for.
    fn report(&self, findings: Findings, batch: usize) -> Result<CheckReport, CheckError> {
        let Findings { runs, reference_finite, half, defined, mut notes, failed } = findings;
        if !reference_finite {
            notes.push(
                "the model itself answers with values that are not finite, so its weights or its range are at fault: nothing is known of the artifact"
                    .into(),
            );
        }
        if defined > 0 {
            notes.push(format!(
                "tract does not know Attention: {defined} nodes ran by their definition in ONNX's operator list"
            ));
        }
        let (kept, together) = (self.budget.keeps_every_value(), self.budget.keep_together());
        let trace = |batch| Trace::new(&self.reference, &self.candidate, batch, together);
        let first_difference = match &failed {
            Some((batch, inputs)) if kept && reference_finite => trace(*batch)?.first_difference(inputs)?,
            _ => None,
        };
        let mut layers = None;
        if self.options.layers && self.options.effort == Effort::Full {
            if kept {
                layers = Some(trace(batch)?.layers(&self.cases(batch))?);
            } else {
                let [need, free] = [self.budget.every, self.budget.available].map(|bytes| bytes >> 20);
                notes.push(format!("no figures per layer: they need {need} MiB, and {free} are free"));
            }
        }
        let precision = if half { "f16" } else { "f32" };
        let passed = runs.iter().all(|r| r.passed);
        Ok(CheckReport { passed, precision, runs, first_difference, layers, notes, single: None })
    }
}
