//! Who runs a command: a person at a terminal, or a program that links the library.
//!
//! A command is the same for both. What differs is how settings are written in messages, who is told about progress, and that a program may hand over
//! what a command line cannot name: the tensors of a model in its own memory, and that model itself.

use super::words;
use crate::check::Witness;
use crate::checkpoint::Checkpoint;
use crate::export::{Event, RequestBuilder};
use crate::message::Message;
use crate::model::{ModelRequest, TrainedWeights};
use std::sync::Arc;

/// Who is told what happens, on any thread.
pub type Listener<'a> = dyn Fn(Event<'_>) + Sync + 'a;

/// Who runs a command.
pub struct Caller<'a> {
    /// How a message that names settings is written.
    pub words: fn(&Message) -> String,
    /// The trained weights, in place of those that the arguments name.
    pub weights: Option<&'a Checkpoint>,
    /// The trained model itself: an export is compared with it too.
    pub witness: Option<Arc<dyn Witness>>,
    /// Who is told what happens, in place of the terminal.
    pub observer: Option<&'a Listener<'a>>,
}

impl Caller<'_> {
    /// A person at a terminal.
    pub(super) const TERMINAL: Caller<'static> = Caller { words, weights: None, witness: None, observer: None };

    /// What is asked of an export, with the weights and the model that the caller holds.
    pub(super) fn complete(&self, builder: &mut RequestBuilder) {
        self.hand_over(&mut builder.model);
        builder.check.witness = self.witness.clone();
    }

    /// The request, with the weights that the caller holds.
    pub(super) fn hand_over(&self, request: &mut ModelRequest) {
        if let Some(checkpoint) = self.weights {
            request.weights = Some(TrainedWeights::Held(Box::new(checkpoint.clone())));
        }
    }
}
