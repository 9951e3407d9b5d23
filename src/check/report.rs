//! What a check found: data for `--json` and the HTML report, and a table for people.

use super::comparison::Comparison;
use crate::numbers::{figure, worse};
use serde::Serialize;
use std::fmt;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Everything agrees.
    pub passed: bool,
    /// `f32` or `f16`: what the artifact computes in, which decides the bound.
    pub precision: &'static str,
    /// One line per input, batch and output (and piece, if the model was cut).
    pub runs: Vec<Run>,
    /// Where the difference appears, if something failed and it could be found.
    pub first_difference: Option<Difference>,
    /// Every value inside, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// What the reader should know about how the check ran.
    pub notes: Vec<String>,
    /// Largest error of the same artifact in fp32, as a fraction of the largest reference value, if this one failed in half precision and that one passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single: Option<f64>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Name of the function, if the artifact has several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub function: String,
    /// Name of the input.
    pub input: String,
    /// vitc made the input.
    pub synthetic: bool,
    /// Images at once.
    pub batch: usize,
    /// Name of the compared value.
    pub output: String,
    /// Largest error allowed.
    pub allowed: f64,
    /// What of it is allowed however small the values are.
    #[serde(skip)]
    pub floor: f64,
    /// What was found.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The values agree, or nothing can be told of them.
    pub passed: bool,
    /// The values differ by no more than the model's own answers do when the last bits of the input change: nothing can be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
}

impl Run {
    /// Its input, behind the function if there are several.
    pub fn of(&self) -> String {
        if self.function.is_empty() { self.input.clone() } else { format!("{} {}", self.function, self.input) }
    }
}

/// The first value at which reference and artifact part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The last value by name, in order, that agrees; absent if none does.
    pub after: Option<String>,
    /// The first from which on nothing agrees.
    pub at: String,
    /// Largest error there.
    #[serde(serialize_with = "figure")]
    pub max_error: f64,
    /// Largest reference value there.
    pub max_reference: f64,
}

/// What a model holds inside while it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layers {
    /// Names of the inputs that were run.
    pub inputs: Vec<String>,
    /// Every float value of the artifact, in order.
    pub values: Vec<Layer>,
}

/// One value of the artifact, over all inputs that were run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Its name in the artifact.
    pub name: String,
    /// Largest |x|; not finite if an element is not.
    #[serde(serialize_with = "figure")]
    pub max: f64,
    /// How far it is from the reference's value of that name, if both mean the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LayerError>,
    /// The reference's value of that name means something else: a pass moved a factor, a bias or a branch across it. It differs by more than the
    /// bound while values behind it agree.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
}

/// Distance of one value from the reference's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LayerError {
    /// Largest error.
    #[serde(serialize_with = "figure")]
    pub max_error: f64,
    /// Largest reference value.
    pub max_reference: f64,
}

impl CheckReport {
    /// What the checks of an artifact's functions found, as one report; `None` of none.
    pub fn of_functions(found: Vec<(String, CheckReport)>) -> Option<CheckReport> {
        let several = found.len() > 1;
        found.into_iter().map(|(name, report)| if several { report.named(&name) } else { report }).reduce(
            |mut all, one| {
                all.passed &= one.passed;
                all.runs.extend(one.runs);
                all.first_difference = all.first_difference.or(one.first_difference);
                all.layers = all.layers.or(one.layers);
                all.notes.extend(one.notes);
                all
            },
        )
    }

    /// The report with the function's name wherever it speaks.
    fn named(mut self, function: &str) -> CheckReport {
        self.runs.iter_mut().for_each(|run| run.function = function.to_string());
        self.notes.iter_mut().for_each(|note| *note = format!("{function}: {note}"));
        if let Some(difference) = &mut self.first_difference {
            difference.at = format!("{} of {function}", difference.at);
        }
        self
    }

    /// Largest error as a fraction of the largest reference value, over all runs.
    pub fn worst_relative(&self) -> f64 {
        let relative = |c: &Comparison| if c.max_error == 0.0 { 0.0 } else { c.max_error / c.max_reference };
        self.runs.iter().map(|r| relative(&r.comparison)).fold(0.0, worse)
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: Vec<String> = self.runs.iter().map(Run::of).collect();
        let width = inputs.iter().map(String::len).max().unwrap_or(0).max("input".len());
        let output = self.runs.iter().map(|r| r.output.len()).max().unwrap_or(0).max("value".len());
        writeln!(
            f,
            "{:width$}  batch  {:output$}  {:>9}  {:>9}  {:>9}  {:>9}  class",
            "input", "value", "max error", "allowed", "max |ref|", "margin"
        )?;
        for (run, input) in self.runs.iter().zip(&inputs) {
            let c = &run.comparison;
            let margin = if c.rows == 0 { String::new() } else { format!("{:.2e}", c.margin) };
            let class = match (c.finite, run.passed) {
                (false, _) if !c.reference_finite => "reference not finite".to_string(),
                (false, _) => "not finite".to_string(),
                _ if run.undecided => "undecided".to_string(),
                (_, true) if c.rows == 0 => String::new(),
                (_, false) if c.rows == 0 => "FAILED".to_string(),
                (_, false) if c.classes_moved == 0 => format!("{}/{} same, FAILED", c.classes_kept, c.rows),
                (_, false) => format!("{}/{} moved, FAILED", c.classes_moved, c.rows),
                _ => format!("{}/{} same", c.classes_kept, c.rows),
            };
            writeln!(
                f,
                "{:width$}  {:5}  {:output$}  {:9.2e}  {:9.2e}  {:9.2e}  {margin:>9}  {class}",
                input, run.batch, run.output, c.max_error, run.allowed, c.max_reference
            )?;
        }
        if let Some(d) = &self.first_difference {
            let after = d.after.as_deref().unwrap_or("the input");
            writeln!(
                f,
                "the difference appears between {after} (agrees) and {} (error {:.2e} of {:.2e})",
                d.at, d.max_error, d.max_reference
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
