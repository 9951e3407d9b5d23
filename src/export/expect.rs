//! Values from outside vitc that an artifact must reproduce.

use crate::check::{self, CheckError, ExpectedFile, Outside, Tolerance, npy};
use std::path::{Path, PathBuf};
use vitc_ir::DType;

/// What another implementation answers to an input.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// A `.npy` file with the input, as the artifact takes it.
    pub input: PathBuf,
    /// Files with every output.
    pub expected: Vec<ExpectedFile>,
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
        let input = npy::read(&self.input)?;
        let mut expected = Vec::new();
        for file in &self.expected {
            expected.extend(file.read()?);
        }
        let tolerance = Tolerance { atol: self.atol, rtol: self.rtol, precision };
        check::against(artifact, &input, &expected, tolerance)
    }
}
