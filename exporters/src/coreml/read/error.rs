//! Why a package cannot be read.

use std::path::PathBuf;

/// Why a package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file of the package cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The package is damaged or not an ML Program.
    #[error("{file}: {what}")]
    Invalid {
        /// The file of the package.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// An operation is damaged, or one that vitc neither writes nor reads.
    #[error("model.mlmodel: {operation} ({kind}): {what}")]
    Operation {
        /// Name of the operation.
        operation: String,
        /// Its operator.
        kind: String,
        /// What is wrong.
        what: String,
    },
}

/// A damaged file of the package.
pub(super) fn invalid(file: &'static str, what: impl Into<String>) -> ReadError {
    ReadError::Invalid { file, what: what.into() }
}
