//! The page as a file: its place is refused early and taken when the page is complete.

use super::{Words, page, written_by_vitc};
use crate::export::{Error, Report, named_place};
use crate::place::{Form, PlaceError, Staging};
use std::path::{Path, PathBuf};

/// A page that is not written yet.
#[derive(Debug)]
pub struct PageFile(Staging);

impl PageFile {
    /// Prepare to write the page about `model` to a file, a folder for the default name, or under the default name in the working folder.
    ///
    /// # Errors
    /// If no page can be there, or something stands there that vitc did not write.
    pub fn begin(output: Option<&Path>, model: &str, force: bool) -> Result<PageFile, Error> {
        let place = named_place(output, &format!("{model}-report.html"), ".html", "a report")?;
        Ok(PageFile(Staging::begin(&place, Form::File, force, written_by_vitc)?))
    }

    /// A folder for an artifact that does not stay.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn scratch(&self) -> Result<PathBuf, PlaceError> {
        self.0.scratch()
    }

    /// Write the page and note in the report where it is.
    ///
    /// # Errors
    /// If it cannot be written, or something else took its place meanwhile.
    pub fn write(self, report: &mut Report, words: &Words<'_>) -> Result<(), PlaceError> {
        report.page = Some(self.0.place().to_path_buf());
        self.0.write(page(report, words).as_bytes())?;
        self.0.commit()
    }
}
