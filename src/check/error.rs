//! Why a check could not be made.

use super::npy::NpyError;

/// A check could not be made. A check that was made and failed is a [`CheckReport`](super::CheckReport).
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The artifact cannot be read.
    #[error("cannot read the artifact: {0}")]
    Artifact(String),
    /// tract could not load or run one of the two.
    #[error("cannot run the {side}: {what}")]
    Run {
        /// `reference` or `artifact`.
        side: &'static str,
        /// What went wrong.
        what: String,
    },
    /// Artifact and model differ in their inputs or outputs.
    #[error("the artifact's interface is not the model's: {0}")]
    Interface(String),
    /// The user's array does not fit.
    #[error("{0}")]
    Input(String),
    /// The trained model could not be asked.
    #[error("the module could not be compared: {0}")]
    Witness(String),
    /// A `.npy` file could not be read or written.
    #[error(transparent)]
    Npy(#[from] NpyError),
}
