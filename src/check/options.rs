//! What a check is asked.

use super::npy::Array;
use crate::signature::Likelihood;
use std::path::PathBuf;
use vitc_exporters::metadata::Preprocessing;

/// How much of a model is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// The whole model on every input.
    #[default]
    Full,
    /// Stem, head, and the first and last block of each stage, each on noise.
    Quick,
}

/// What a check is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the model wants its pixels, and whether the artifact makes them so itself; `None` for pixels in 0..1 as they are.
    pub preprocessing: Option<Preprocessing>,
    /// The artifact answers with probabilities. Packages that classify say so themselves.
    pub probabilities: Option<Likelihood>,
    /// The reference takes and answers what the artifact does: it is a graph of the same wrapping.
    pub like_artifact: bool,
    /// An input of the user, as the artifact takes it, beside the synthetic ones.
    pub input: Option<Array>,
    /// Which function of an artifact with several; `None` for the one that is meant where none is named.
    pub function: Option<String>,
    /// How much is checked.
    pub effort: Effort,
    /// Look at every value inside the model too: its size, and its distance from the reference's.
    pub layers: bool,
    /// Folder for inputs and reference outputs, as `.npy` and raw f32.
    pub save_io: Option<PathBuf>,
    /// Bytes that the check may use; `None` asks the system.
    pub memory: Option<u64>,
}

impl Options {
    /// What becomes of the reference's scores before they are compared.
    pub(super) fn answered(&self) -> Option<Likelihood> {
        self.probabilities.filter(|_| !self.like_artifact)
    }

    /// A full check of an artifact that answers with scores.
    pub fn new(preprocessing: Option<Preprocessing>) -> Self {
        Options {
            preprocessing,
            probabilities: None,
            like_artifact: false,
            input: None,
            function: None,
            effort: Effort::Full,
            layers: false,
            save_io: None,
            memory: None,
        }
    }
}
