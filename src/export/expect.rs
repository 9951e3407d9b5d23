//! Values from outside vitc that an artifact must reproduce.

use crate::check::{self, CheckError, Outside, npy};
use std::path::{Path, PathBuf};
use vitc_ir::DType;

/// What another implementation answers to an input.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// A `.npy` file with the input, as the artifact takes it.
    pub input: PathBuf,
    /// A `.npy` file with the first output.
    pub expected: PathBuf,
    /// Absolute tolerance; `None` for the check's own bound.
    pub atol: Option<f64>,
    /// Relative tolerance.
    pub rtol: f64,
}

impl Expectation {
    /// Run an artifact of this precision on the input and compare.
    ///
    /// # Errors
    /// If a file cannot be read, or does not fit the artifact.
    pub fn compare(&self, artifact: &Path, precision: DType) -> Result<Outside, CheckError> {
        let (input, expected) = (npy::read(&self.input)?, npy::read(&self.expected)?);
        let largest = expected.data.iter().fold(0f64, |m, &v| m.max(f64::from(v).abs()));
        let atol = self.atol.unwrap_or_else(|| check::bounds::allowed(precision, largest));
        check::against(artifact, &input, &expected, atol, self.rtol)
    }
}
