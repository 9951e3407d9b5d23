//! Where the numbers of a graph's constants come from.

use crate::id::Value;
use crate::weights::Weights;
use std::collections::HashMap;
use std::sync::Arc;

/// Elements of constants of one graph, not rounded, row-major.
pub type Computed = HashMap<Value, Arc<Vec<f64>>>;

/// Trained tensors, and constants of the same graph that were computed before and need not be computed again.
#[derive(Clone, Copy)]
pub struct Numbers<'a> {
    /// The tensors.
    pub weights: &'a dyn Weights,
    /// The constants, if there are any.
    pub computed: Option<&'a Computed>,
}

impl<'a> From<&'a dyn Weights> for Numbers<'a> {
    fn from(weights: &'a dyn Weights) -> Numbers<'a> {
        Numbers { weights, computed: None }
    }
}

impl<'a, W: Weights> From<&'a W> for Numbers<'a> {
    fn from(weights: &'a W) -> Numbers<'a> {
        Numbers { weights, computed: None }
    }
}
