//! Whose fault a failed check in half precision is: the type's, or the file's.

use super::finish::{Destination, finish};
use super::lower::lower;
use super::options::CheckOptions;
use super::report::Report;
use super::request::Request;
use vitc_ir::DType;

/// The largest relative error of the same artifact in fp32, if the one in half precision answers with finite values that are wrong and that one passes. It
/// stays in a temporary folder; `None` as well where it cannot be had.
pub(super) fn agrees(request: &Request, report: &Report) -> Option<f64> {
    let check = report.check.as_ref()?;
    let finite = check.runs.iter().all(|run| run.comparison.finite);
    if report.lowered.precision != DType::F16 || report.lowered.quantised.is_some() || check.passed || !finite {
        return None;
    }
    let mut single = request.clone();
    single.numbers.precision = Some(DType::F32);
    single.interface.dtype = None;
    single.check = CheckOptions { effort: request.check.effort, ..CheckOptions::default() };
    let folder = tempfile::tempdir().ok()?;
    let lowered = lower(&single, &|_| ()).ok()?;
    let found = finish(&single, lowered, Destination::Scratch(folder.path()), &|_| ()).ok()?;
    found.check.map(|check| check.worst_relative())
}
