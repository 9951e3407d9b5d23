//! The second half of the road, and whose fault a failed check in half precision is: the type's, or the file's.

use super::error::Error;
use super::finish::{Destination, complete};
use super::lower::lower;
use super::lowered::Lowered;
use super::observer::Observer;
use super::options::CheckOptions;
use super::report::Report;
use super::request::Request;
use vitc_ir::DType;

/// The second half of the road: from the target graph to the artifact in its place.
///
/// # Errors
/// See [`Error`]. What was in the artifact's place before is there still. Of a failed check in half precision it says whose fault that is.
pub fn finish(
    request: &Request,
    lowered: Lowered,
    destination: Destination<'_>,
    observer: &Observer<'_>,
) -> Result<Report, Error> {
    complete(request, lowered, destination, observer).map_err(|error| judged(request, error))
}

/// The error with what the same artifact in fp32 shows, if a check failed in half precision and that one passes.
fn judged(request: &Request, mut error: Error) -> Error {
    if let Error::Check { report, .. } = &mut error {
        let single = agrees(request, report);
        if let Some(check) = &mut report.check {
            check.single = single;
        }
    }
    error
}

/// The largest relative error of the same artifact in fp32, if the one in half precision answers with finite values that are wrong and that one passes. It
/// stays in a temporary folder; `None` as well where it cannot be had.
fn agrees(request: &Request, report: &Report) -> Option<f64> {
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
    let found = complete(&single, lowered, Destination::Scratch(folder.path()), &|_| ()).ok()?;
    found.check.map(|check| check.worst_relative())
}
