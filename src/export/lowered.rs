//! A model spelled for a target.

use super::calibrated::Calibration;
use super::format::TargetKind;
use crate::decide::{Decision, QuantisedModel};
use crate::message::Message;
use crate::model::Model;
use crate::signature::{Likelihood, Signature};
use vitc_exporters::coreml::Interface;
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::eval::{Computed, Numbers};
use vitc_ir::{DType, Graph, Target, Weights};
use vitc_passes::PassReport;

/// A model spelled for a target: what the exporter writes.
#[derive(Debug)]
pub struct Lowered {
    /// Name of its function in the artifact.
    pub function: String,
    /// The same model at other sizes: the artifact's further functions. They have no further ones themselves.
    pub others: Vec<Lowered>,
    /// The model: paper graph and weights.
    pub model: Model,
    /// What the artifact takes and returns.
    pub signature: Signature,
    /// What the artifact is for.
    pub kind: TargetKind,
    /// Version of the file format.
    pub version: u32,
    /// The target, every option decided.
    pub target: Target,
    /// What the graph does not say about the interface.
    pub interface: Interface,
    /// How a picture becomes the input, if the model takes one.
    pub preprocessing: Option<Preprocessing>,
    /// Probabilities stand for scores.
    pub probabilities: Option<Likelihood>,
    /// Names of the classes.
    pub labels: Option<Vec<String>>,
    /// The deploy graph.
    pub deploy: Graph,
    /// The target graph.
    pub graph: Graph,
    /// What is known of its constants.
    pub computed: Computed,
    /// What was decided by looking at numbers.
    pub decisions: Vec<Decision>,
    /// What was quantised, if that was asked for.
    pub quantised: Option<QuantisedModel>,
    /// The pictures that it was fitted to, if there were any.
    pub calibration: Option<Calibration>,
    /// What each pass did.
    pub passes: Vec<PassReport>,
    /// Element type of the computation.
    pub precision: DType,
    /// What the user should know.
    pub notices: Vec<Message>,
}

impl Lowered {
    /// The weights: the model's, and over them what was decided.
    pub(super) fn weights(&self) -> Box<dyn Weights + '_> {
        let own = self.model.weights.weights();
        match &self.quantised {
            None => Box::new(own),
            Some(quantised) => Box::new(quantised.decided.tensors.over(own)),
        }
    }

    /// All functions of the artifact, in order.
    pub fn functions(&self) -> impl Iterator<Item = &Lowered> {
        std::iter::once(self).chain(&self.others)
    }

    /// Where the numbers of the target graph's constants come from.
    pub(super) fn numbers(&self) -> Numbers<'_> {
        Numbers { weights: self.model.weights.weights(), computed: Some(&self.computed) }
    }
}
