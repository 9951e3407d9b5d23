//! How far a quantised artifact is from its model: signal to noise of all outputs, and the share of pictures that keep their class.
//!
//! Pictures show it. Where there are none, the check's synthetic inputs are a coarse look that finds a wrong artifact and says little of the loss.

use super::cases::cases;
use super::computation::Computation;
use super::outcome::{Findings, as_answered, in_order};
use super::{CheckError, Options, Reference, agreed, file};
use crate::numbers::{best, decibels};
use crate::runner::{Pick, Request, Session};
use crate::signature::{OutputRole, Over};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What runs show of a quantised artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fidelity {
    /// Pictures; 0 if synthetic inputs stood for them.
    pub pictures: usize,
    /// `10·log10(Σy²/Σ(y − ŷ)²)` over all pictures, in dB, of the output where it is least; absent if all outputs are classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snr: Option<f64>,
    /// Which output that is, of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_at: Option<String>,
    /// Share of pictures whose most probable class is the model's, or of pixels; absent for outputs without classes, and without pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Least signal to noise that passes.
    pub least_snr: f64,
    /// Least share that passes.
    pub least_agreement: f64,
    /// Whether both are reached.
    pub passed: bool,
    /// What it was compared with, where that is not the model's own graph.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(snr) = self.snr {
            let at = self.least_at.as_ref().map_or(String::new(), |name| format!(" at {name}"));
            write!(f, "{snr:.1} dB signal to noise{at} (at least {:.0}), ", self.least_snr)?;
        }
        if let Some(share) = self.agreement {
            write!(f, "{:.1} % of the classes kept (at least {:.0} %), ", 100.0 * share, 100.0 * self.least_agreement)?;
        }
        match self.pictures {
            0 => write!(f, "on synthetic inputs: a coarse look, pictures show the loss"),
            n => write!(f, "on {n} pictures"),
        }
    }
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

/// Run both on the pictures, or without any on the check's synthetic inputs.
///
/// # Errors
/// If one of them cannot be run, or their outputs differ in number or size.
pub fn fidelity(
    model: Reference<'_>,
    artifact: &Path,
    pictures: Option<Pictures<'_>>,
    options: &Options,
    [least_snr, least_agreement]: [f64; 2],
) -> Result<Fidelity, CheckError> {
    let candidate = Computation::artifact(artifact, Pick::Main)?;
    let options = agreed(options, &candidate)?;
    let mut findings = Findings::new();
    let reference = file(model, &options, &[1], true, &mut findings)
        .unwrap_or_else(|| Computation::reference(model.graph, model.weights));
    let pair = Pair {
        wanted: (&reference, reference.load(Request::outputs(1))?),
        found: (&candidate, candidate.load(Request::outputs(1))?),
        roles: model.signature.outputs.iter().map(|port| port.role).collect(),
        options: &options,
    };
    let seen: Vec<Seen> = match pictures {
        Some(p) => {
            let passes = p.model.par_iter().zip(p.artifact);
            let one = |(own, given)| pair.run([std::slice::from_ref(own), std::slice::from_ref(given)]);
            passes.map(one).collect::<Result<_, _>>()?
        }
        None => {
            let cases = cases(model, &options, 1);
            cases.iter().map(|case| pair.run([&case.reference, &case.candidate])).collect::<Result<_, _>>()?
        }
    };
    let worst = worst(&seen);
    if pictures.is_none() && worst.is_none() {
        return Err(CheckError::Input("it answers with classes only, which nothing but pictures can judge".into()));
    }
    let snr = worst.map(|(_, snr)| snr);
    let several = seen.iter().any(|s| s.values.iter().flatten().count() > 1);
    let least_at = worst.filter(|_| several).and_then(|(i, _)| Some(model.signature.outputs.get(i)?.name.clone()));
    let count = pictures.map_or(0, |p| p.count);
    let rows = seen.iter().flat_map(|s| &s.rows).take(count);
    let kept = seen.iter().flat_map(|s| &s.pixels).chain(rows).collect::<Vec<_>>();
    let agreement = (!kept.is_empty()).then(|| kept.iter().filter(|&&&k| k).count() as f64 / kept.len() as f64);
    // What is not a number passes no bound.
    let passed = snr.is_none_or(|snr| snr >= least_snr) && agreement.is_none_or(|share| share >= least_agreement);
    Ok(Fidelity {
        pictures: count,
        snr,
        least_at,
        agreement,
        least_snr,
        least_agreement,
        passed,
        notes: findings.notes,
    })
}

/// The output of the least signal to noise over all passes, and that in dB. A small output beside a large one counts as much.
fn worst(seen: &[Seen]) -> Option<(usize, f64)> {
    let outputs = seen.iter().map(|s| s.values.len()).max().unwrap_or(0);
    // In order, so that the sums are the same every time.
    let sums = |i: usize| {
        let mut of = seen.iter().filter_map(|s| *s.values.get(i)?).peekable();
        of.peek()?;
        Some(of.fold([0.0; 2], |[signal, noise], one| [signal + one[0], noise + one[1]]))
    };
    let levels = (0..outputs).filter_map(|i| Some((i, decibels(sums(i)?))));
    // What is not a number is the worst.
    levels.reduce(|worst, next| if next.1 >= worst.1 || worst.1.is_nan() { worst } else { next })
}

/// Both computations, ready.
struct Pair<'a> {
    wanted: (&'a Computation<'a>, Session),
    found: (&'a Computation<'a>, Session),
    roles: Vec<OutputRole>,
    options: &'a Options,
}

impl Pair<'_> {
    /// One pass of both on the inputs that each takes.
    fn run(&self, [own, given]: [&[Vec<f32>]; 2]) -> Result<Seen, CheckError> {
        let y = self.wanted.0.run(&self.wanted.1, own)?;
        let y = as_answered(&y, &self.roles, self.options.answered());
        let answers = self.found.0.run(&self.found.1, given)?;
        let answers = in_order(&y, &answers);
        if y.len() != answers.len() || y.iter().zip(&answers).any(|(a, b)| a.data.len() != b.data.len()) {
            return Err(CheckError::Interface("its outputs are not the model's".into()));
        }
        let mut seen = Seen::default();
        for (i, (a, b)) in y.iter().zip(&answers).enumerate() {
            match self.roles.get(i) {
                Some(OutputRole::Classes { .. }) => {
                    seen.pixels.extend(a.data.iter().zip(&b.data).map(|(a, b)| a == b));
                    continue;
                }
                Some(
                    OutputRole::Scores { over: Over::Rows, classes }
                    | OutputRole::Probabilities { over: Over::Rows, classes },
                ) if i == 0 => {
                    let rows = a.data.chunks_exact((*classes).max(1)).zip(b.data.chunks_exact((*classes).max(1)));
                    seen.rows.extend(rows.map(|(a, b)| best(a) == best(b)));
                }
                _ => {}
            }
            let sums = a.data.iter().zip(&b.data).fold([0.0; 2], |[signal, noise], (&a, &b)| {
                [signal + f64::from(a).powi(2), noise + (f64::from(a) - f64::from(b)).powi(2)]
            });
            seen.values.resize(i, None);
            seen.values.push(Some(sums));
        }
        Ok(seen)
    }
}

/// What one pass shows.
#[derive(Default)]
struct Seen {
    /// Of each output that holds values: sum of their squares, and of the squares of what they are off by.
    values: Vec<Option<[f64; 2]>>,
    /// Whether each row keeps its class.
    rows: Vec<bool>,
    /// Whether each pixel keeps its class.
    pixels: Vec<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_output_judges_however_small_it_is() {
        let pass = |large: f64, small: f64| Seen {
            values: vec![None, Some([1e6, large]), Some([1.0, small])],
            ..Seen::default()
        };
        let level = |seen: &[Seen]| worst(seen).map(|(i, snr)| (i, snr.round()));
        assert_eq!(level(&[pass(1.0, 0.1), pass(1.0, 0.1)]), Some((2, 10.0)));
        assert_eq!(level(&[pass(1e5, 0.0), pass(1e5, 0.0)]), Some((1, 10.0)));
        assert!(worst(&[pass(1.0, 0.1), pass(f64::NAN, 0.1)]).is_some_and(|(i, snr)| i == 1 && snr.is_nan()));
        assert_eq!(level(&[Seen { values: vec![Some([0.0, 0.0])], ..Seen::default() }]), Some((0, 3000.0)));
        assert!(worst(&[Seen::default()]).is_none());
    }
}
