//! Why an export did not happen, and what to do.

use super::Report;
use crate::check::CheckError;
use crate::model::ModelError;
use crate::place::{PlaceError, advice};
use std::path::{Path, PathBuf};
use vitc_exporters::ExportError;
use vitc_ir::ValidError;
use vitc_passes::PassError;

/// Why an export did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that contradict each other or do not suit the target.
    #[error("{0}")]
    Usage(String),
    /// The file of class names does not fit.
    #[error("{}: {what}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what would.
        what: String,
    },
    /// The model cannot be had.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A pass made a graph that is none.
    #[error(
        "{pass} broke the graph: {what}\n  this is a mistake in vitc, not in your model: please report it with the command line"
    )]
    Pass {
        /// Name of the pass, or of all of them for a rule of the target.
        pass: &'static str,
        /// The rule that the graph breaks.
        what: ValidError,
    },
    /// A pass cannot rewrite the graph.
    #[error("{0}")]
    Rewrite(#[from] PassError),
    /// The exporter refused or could not write.
    #[error("{}{}", .0, export_advice(.0))]
    Export(#[from] ExportError),
    /// The artifact could not take its place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The check could not run.
    #[error(
        "the artifact could not be checked: {0}\n  what was in the place before is untouched; --no-check writes the artifact unchecked"
    )]
    Uncheckable(#[from] CheckError),
    /// The artifact does not compute what the model computes.
    #[error("{}", failed(.report, .kept.as_deref()))]
    Check {
        /// What is known about the artifact.
        report: Box<Report>,
        /// Where it was left, if asked for.
        kept: Option<PathBuf>,
    },
}

/// The message of a failed check.
fn failed(report: &Report, kept: Option<&Path>) -> String {
    let mut text = String::from("the artifact failed its check");
    text.push_str(if report.artifact.kept { "; what was in the place before is untouched\n" } else { "\n" });
    if let Some(check) = report.check.as_ref().filter(|c| !c.passed) {
        check.to_string().lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    if let Some(line) = report.expect.as_ref().filter(|e| !e.passed) {
        let c = &line.comparison;
        text.push_str(&format!(
            "  {} values differ from those expected: largest error {:.2e} of {:.2e}\n",
            line.outside, c.max_error, c.max_reference
        ));
    }
    if let Some(page) = &report.page {
        text.push_str(&format!("  the report {} shows where\n", page.display()));
    }
    match kept {
        Some(kept) => text.push_str(&format!("  the failed artifact is {}", kept.display())),
        None if report.artifact.kept => text.push_str("  --keep-failed leaves it for inspection"),
        None => text.truncate(text.trim_end().len()),
    }
    text
}

impl Error {
    /// True if the command line is at fault rather than a file or the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::Usage(_) => true,
            Error::Model(e) => e.is_usage(),
            Error::Labels { .. } | Error::Pass { .. } | Error::Export(_) | Error::Place(_) => false,
            Error::Rewrite(_) | Error::Uncheckable(_) | Error::Check { .. } => false,
        }
    }
}

fn export_advice(error: &ExportError) -> &'static str {
    match error {
        ExportError::Io(e) => advice(e),
        _ => "",
    }
}
