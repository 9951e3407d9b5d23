//! Why an export did not happen, and what to do.

use super::report::Report;
use crate::check::{Answered, CheckError, Run};
use crate::decide::DecideError;
use crate::decide::quantize::QuantizeError;
use crate::message;
use crate::message::{Explain, Message, Setting};
use crate::model::ModelError;
use crate::place::{PlaceError, advice};
use std::fmt;
use std::path::{Path, PathBuf};
use vitc_exporters::ExportError;
use vitc_ir::ValidError;
use vitc_passes::PassError;

/// Why an export did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that contradict each other or do not suit the target.
    Usage(Message),
    /// The file of class names does not fit.
    Labels {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what would.
        what: String,
    },
    /// The model cannot be had.
    Model(#[from] ModelError),
    /// A pass made a graph that is none.
    Pass {
        /// Name of the pass, or of all of them for a rule of the target.
        pass: &'static str,
        /// The rule that the graph breaks.
        what: ValidError,
    },
    /// A pass cannot rewrite the graph.
    Rewrite(#[from] PassError),
    /// The exporter refused or could not write.
    Export(#[from] ExportError),
    /// The artifact could not take its place.
    Place(#[from] PlaceError),
    /// The check could not run.
    Uncheckable(#[from] CheckError),
    /// The artifact does not compute what the model computes.
    Check {
        /// What is known about the artifact.
        report: Box<Report>,
        /// Where it was left, if asked for.
        kept: Option<PathBuf>,
    },
}

impl From<DecideError> for Error {
    fn from(error: DecideError) -> Error {
        match error {
            DecideError::Quantize(e) => {
                let setting = match e {
                    QuantizeError::Keep { .. } => Setting::Keep,
                    QuantizeError::Nothing(_) | QuantizeError::Value(_) => Setting::Quantize,
                };
                Error::Usage(message!(setting, ": ", e.to_string()))
            }
            DecideError::Rewrite(error) => error.into(),
            DecideError::Constant(error) => ExportError::from(error).into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl Explain for Error {
    fn message(&self) -> Message {
        match self {
            Error::Usage(message) => message.clone(),
            Error::Labels { path, what } => format!("{}: {what}", path.display()).into(),
            Error::Model(error) => error.message(),
            Error::Pass { pass, what } => format!(
                "{pass} broke the graph: {what}\n  this is a mistake in vitc, not in your model: please report it with the command line"
            )
            .into(),
            Error::Rewrite(error) => error.to_string().into(),
            Error::Export(error) => match error {
                ExportError::Io(io) => message!(error.to_string(), advice(io)),
                _ => error.to_string().into(),
            },
            Error::Place(error) => error.message(),
            Error::Uncheckable(error) => message!(
                format!("the artifact could not be checked: {error}\n  what was in the place before is untouched; "),
                Setting::Check.off(),
                " writes the artifact unchecked",
            ),
            Error::Check { report, kept } => failed(report, kept.as_deref()),
        }
    }
}

/// The message of a failed check.
fn failed(report: &Report, kept: Option<&Path>) -> Message {
    let untouched = if report.artifact.kept { "; what was in the place before is untouched" } else { "" };
    let mut lines = vec![message!("the artifact failed its check", untouched)];
    if let Some(f) = report.fidelity().filter(|f| !f.passed) {
        let line = format!("  {f}");
        lines.push(line.into());
    }
    if let Some(check) = report.check.as_ref().filter(|c| !c.passed) {
        lines.extend(check.to_string().lines().map(|line| format!("  {line}").into()));
        let overflows = |run: &Run| run.comparison.reference_finite && !run.comparison.finite;
        if check.precision == "f16" && check.runs.iter().any(overflows) {
            lines.push(message!(
                "  values pass the end of fp16, 65504; ",
                Setting::Precision.to("fp32"),
                " holds them"
            ));
        }
    }
    if let Some(error) = report.check.as_ref().and_then(|c| c.single) {
        lines.push(message!(
            format!("  in fp32 the same artifact agrees, its largest error {error:.1e} of the largest value: half precision is too coarse here\n  use "),
            Setting::Precision.to("fp32"),
        ));
    }
    if let Some(check) = report.verify.as_ref().filter(|c| !c.passed) {
        lines.push("  against the module:".into());
        lines.extend(check.to_string().lines().map(|line| format!("  {line}").into()));
    }
    let differing = report.expect.iter().flat_map(|e| &e.outputs).filter(|a| !a.passed);
    for Answered { output, outside, comparison: c, .. } in differing {
        let (error, reference) = (c.max_error, c.max_reference);
        let figures = format!("largest error {error:.2e} of {reference:.2e}");
        lines.push(format!("  {outside} values of {output} differ from those expected: {figures}").into());
    }
    if let Some(page) = &report.page {
        lines.push(format!("  the report {} shows where", page.display()).into());
    }
    match kept {
        Some(kept) => lines.push(format!("  the failed artifact is {}", kept.display()).into()),
        None if report.artifact.kept => {
            lines.push(message!("  ", Setting::KeepFailed.on(), " leaves it for inspection"))
        }
        None => {}
    }
    Message::joined(lines, "\n")
}

impl Error {
    /// True if the request is at fault rather than a file or the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::Usage(_) => true,
            Error::Model(e) => e.is_usage(),
            Error::Labels { .. } | Error::Pass { .. } | Error::Export(_) | Error::Place(_) => false,
            Error::Rewrite(_) | Error::Uncheckable(_) | Error::Check { .. } => false,
        }
    }
}
