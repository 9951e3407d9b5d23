//! One of the two computations that a check compares.

use super::CheckError;
use crate::model::FileOrigin;
use crate::runner::{Bottleneck, Named, Pick, Program, Request, RunError, Session};
use std::path::Path;
use vitc_ir::{Graph, Weights};

/// A program and which of the two it is.
pub(super) struct Computation<'a> {
    pub(super) program: Program<'a>,
    /// Word for messages.
    side: &'static str,
}

impl<'a> Computation<'a> {
    /// The model by its definition.
    pub(super) fn reference(graph: &Graph, weights: &'a dyn Weights) -> Computation<'a> {
        Computation { program: Program::of_graph(graph, weights), side: "reference" }
    }

    /// A file by itself, if it can be run so.
    pub(super) fn file(file: &'a FileOrigin) -> Option<Computation<'a>> {
        let flat = file.flat.as_ref()?;
        Some(Computation { program: Program::of_flat(flat, &file.inputs), side: "reference" })
    }

    /// The artifact at `path`, or the function of it that is picked.
    pub(super) fn artifact(path: &Path, pick: Pick<'_>) -> Result<Computation<'static>, CheckError> {
        let program = Program::open_function(path, pick).map_err(|e| CheckError::Artifact(e.what))?;
        Ok(Computation { program, side: "artifact" })
    }

    /// Ready to run.
    pub(super) fn load(&self, request: Request<'_>) -> Result<Session, CheckError> {
        self.program.load(request).map_err(|e| self.failed(e))
    }

    /// Run what was loaded, on its inputs in their order.
    pub(super) fn run(&self, session: &Session, inputs: &[Vec<f32>]) -> Result<Vec<Named>, CheckError> {
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        session.run_in_order(&inputs).map_err(|e| self.failed(e))
    }

    /// Places where it can be cut, in order.
    pub(super) fn bottlenecks(&self) -> Result<Vec<Bottleneck>, CheckError> {
        self.program.bottlenecks().map_err(|e| self.failed(e))
    }

    fn failed(&self, error: RunError) -> CheckError {
        CheckError::Run { side: self.side, what: error.what }
    }
}
