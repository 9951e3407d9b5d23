//! The road with a page about it.

use super::artifact_args::request;
use super::progress::Progress;
use super::{Caller, Failure};
use crate::export::{self, Destination, Error, Report, RequestBuilder};
use crate::report::PageFile;
use std::path::PathBuf;

/// A page about an export.
#[derive(Debug)]
pub(super) struct PageArgs {
    /// Where it goes: a file, a folder for the default name, or `None` for the default name in the working folder.
    pub(super) place: Option<PathBuf>,
    /// Replace what vitc did not write.
    pub(super) force: bool,
    /// The page is all that is wanted: the artifact is written and checked, and then removed.
    pub(super) only: bool,
}

/// Walk the road, and write the page if one is wanted: about an artifact that failed its check too, because it shows where.
pub(super) fn export(
    mut builder: RequestBuilder,
    page: Option<PageArgs>,
    progress: &Progress,
    caller: &Caller<'_>,
) -> Result<Report, Failure> {
    let failed = |error: Error| Failure::of(error, caller);
    let observer = |event: export::Event<'_>| progress.watch(event);
    builder.check.layers = page.is_some();
    let request = request(builder)?;
    let Some(args) = page else { return export::export(&request, &observer).map_err(failed) };
    let lowered = export::lower(&request, &observer).map_err(failed)?;
    let file = PageFile::begin(args.place.as_deref(), &lowered.model.name, args.force).map_err(failed)?;
    let scratch = args.only.then(|| file.scratch()).transpose().map_err(|e| failed(e.into()))?;
    let destination = scratch.as_deref().map_or(Destination::Place, Destination::Scratch);
    let mut outcome = export::finish(&request, lowered, destination, &observer);
    let about = match &mut outcome {
        Ok(report) => Some(report),
        Err(Error::Check { report, .. }) => Some(&mut **report),
        Err(_) => None,
    };
    if let Some(report) = about {
        progress.step("writing the report");
        file.write(report, &caller.words).map_err(|e| failed(e.into()))?;
    }
    outcome.map_err(failed)
}
