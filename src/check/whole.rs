//! Both computations run as they are, from the model's inputs to its outputs.

use super::cases::Case;
use super::computation::Computation;
use super::outcome::{Findings, as_answered, in_order};
use super::report::Run;
use super::{Check, CheckError, doubt, save};
use crate::runner::{Named, Port, Request, Session};

/// What is said of [`doubt`].
const UNDECIDED: &str = "where nothing is decided the model itself answers as differently, or in half precision by more than is allowed, as soon as the last bits of its input \
                         change";

/// What a run leaves behind, so that the next model has the session's memory.
struct Ran {
    inputs: Vec<Port>,
    half: bool,
    defined: usize,
    /// The outputs, for each case.
    outputs: Vec<Vec<Named>>,
}

impl Check<'_> {
    /// Run and compare one batch's cases.
    pub(super) fn whole(&self, batch: usize, cases: &[Case], findings: &mut Findings) -> Result<(), CheckError> {
        let known = self.file.as_ref().unwrap_or(&self.reference);
        let reference = || run(known, batch, cases, |c| &c.reference);
        let candidate = || run(&self.candidate, batch, cases, |c| &c.candidate);
        let (wanted, got) = if self.budget.together() {
            std::thread::scope(|scope| {
                let other = scope.spawn(candidate);
                let first = reference();
                (first, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        } else {
            (reference(), candidate())
        };
        let (wanted, got) = (wanted?, got?);
        // A file of half precision is its own reference, and rounds too.
        let wanted_half = wanted.half;
        findings.half |= got.half;
        findings.defined = got.defined;
        let mut doubtful = Vec::new();
        let begin = findings.runs.len();
        for (i, (case, (wanted, answers))) in cases.iter().zip(wanted.outputs.iter().zip(&got.outputs)).enumerate() {
            let wanted = &as_answered(wanted, &self.outputs.roles, self.options.answered());
            let answers = &in_order(wanted, answers);
            if let Some(folder) = &self.options.save_io {
                save::save(folder, case, &got.inputs, wanted, &self.outputs.roles, answers)?;
            }
            if !findings.compare(case, &self.outputs, wanted, answers, got.half || wanted_half || self.coded)? {
                doubtful.push(i);
            }
        }
        // Where no input agrees there is nothing to be in doubt about.
        if !doubtful.is_empty() && doubtful.len() < cases.len() {
            let cases = (cases, &doubtful[..]);
            let half = got.half || wanted_half || self.coded;
            self.doubted(known, (batch, half), cases, &wanted.outputs, &mut findings.runs[begin..])?;
            if findings.runs[begin..].iter().any(|run| run.undecided) {
                findings.note(UNDECIDED.into());
            }
        }
        let outputs = got.outputs.first().map_or(0, Vec::len).max(1);
        let failed =
            |i: &&usize| findings.runs[begin..].chunks(outputs).nth(**i).is_some_and(|r| r.iter().any(|r| !r.passed));
        if let (None, Some(&i)) = (&findings.failed, doubtful.iter().find(failed)) {
            findings.failed = Some((batch, [cases[i].reference.clone(), cases[i].candidate.clone()]));
        }
        Ok(())
    }

    /// Ask the reference about the cases that differ, with their last bits changed. `runs` are those of all cases, in order.
    fn doubted(
        &self,
        known: &Computation<'_>,
        (batch, half): (usize, bool),
        (cases, doubtful): (&[Case], &[usize]),
        wanted: &[Vec<Named>],
        runs: &mut [Run],
    ) -> Result<(), CheckError> {
        let synthetic: Vec<usize> = doubtful.iter().copied().filter(|&i| cases[i].synthetic).collect();
        let outputs = runs.len() / cases.len();
        let answered = |outputs: &Vec<Named>| as_answered(outputs, &self.outputs.roles, self.options.answered());
        for i in synthetic {
            let moved = run(known, batch, &doubt::nudged(&cases[i]), |c| &c.reference)?;
            let moved: Vec<Vec<Named>> = moved.outputs.iter().map(answered).collect();
            doubt::settle(&mut runs[i * outputs..][..outputs], half, &answered(&wanted[i]), &moved);
        }
        Ok(())
    }
}

/// Load, run on every case, and forget the session.
fn run(
    computation: &Computation<'_>,
    batch: usize,
    cases: &[Case],
    input: fn(&Case) -> &[Vec<f32>],
) -> Result<Ran, CheckError> {
    let session = computation.load(Request::outputs(batch))?;
    fits(&session, input(&cases[0]))?;
    let outputs = cases.iter().map(|c| computation.run(&session, input(c))).collect::<Result<_, _>>()?;
    Ok(Ran { inputs: session.inputs().to_vec(), half: session.is_half(), defined: session.defined(), outputs })
}

/// Whether a session takes these arrays.
pub(super) fn fits(session: &Session, inputs: &[Vec<f32>]) -> Result<(), CheckError> {
    if session.inputs().len() != inputs.len() {
        let what = format!("it has {} inputs, the model has {}", session.inputs().len(), inputs.len());
        return Err(CheckError::Interface(what));
    }
    let differs = |(port, data): &(&Port, &Vec<f32>)| port.shape.iter().product::<usize>() != data.len();
    match session.inputs().iter().zip(inputs).find(differs) {
        None => Ok(()),
        Some((port, data)) => Err(CheckError::Interface(format!(
            "its input {} has shape {:?}, the model's has {} elements",
            port.name,
            port.shape,
            data.len()
        ))),
    }
}
