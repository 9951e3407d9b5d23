//! Constants that were computed for a decision and need not be computed again to be written.

use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::{Stored, WeightError, Weights};

/// Elements of constants of one graph, not rounded, by the path of their node.
pub type Computed = HashMap<String, Arc<Vec<f64>>>;

/// Weights with what is computed from them.
pub(super) struct WithComputed<'a> {
    pub(super) weights: &'a dyn Weights,
    pub(super) computed: &'a Computed,
}

impl Weights for WithComputed<'_> {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        self.weights.weight(key, elements)
    }

    fn computed(&self, path: &str) -> Option<&Arc<Vec<f64>>> {
        self.computed.get(path)
    }
}
