//! Which nodes of a graph that computes in half precision do so in single precision: those at values near the largest number of fp16.
//!
//! The range of every value is measured on inputs: own ones, calibration pictures, or what vitc makes. Nothing is guessed from operators' names, and what is
//! not seen on the inputs is not known: the inputs are named beside the result.

use super::values::{self, RangeInputs};
use std::collections::BTreeMap;
use vitc_ir::eval::EvalError;
use vitc_ir::{Graph, Value, Weights};

/// The largest number of fp16.
pub(super) const LARGEST: f64 = 65504.0;

/// Room for other inputs than those that were seen: values up to a quarter of the largest number stay in fp16.
const ROOM: f64 = 4.0;

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What it was measured on.
    pub on: String,
    /// The largest magnitude of a value, and the path of its node.
    pub most: (f64, String),
    /// Nodes that compute in single precision, with the largest magnitude of what they read or give.
    pub nodes: BTreeMap<String, f64>,
}

/// Measure a graph in single precision, node by node.
///
/// # Errors
/// If a weight is missing, or a node cannot be computed.
pub(super) fn measure(graph: &Graph, weights: &dyn Weights, inputs: RangeInputs) -> Result<Measured, EvalError> {
    let mut seen: BTreeMap<Value, f64> = BTreeMap::new();
    let mut measured = Measured { on: inputs.on, most: (0.0, String::new()), nodes: BTreeMap::new() };
    values::walk(graph, weights, inputs.inputs, |id, step, results| {
        let node = graph.node(id);
        let mut most: f64 = 0.0;
        for (index, units) in results.iter().enumerate() {
            let largest = values::largest(units);
            seen.insert(Value { node: id, index: index as u32 }, largest);
            most = most.max(largest);
        }
        if most > measured.most.0 {
            measured.most = (most, node.path.clone());
        }
        // Reading a large value takes the type that holds it, and so does a large constant.
        let read = node.inputs.iter().filter_map(|v| seen.get(&graph.stored(*v)).copied());
        let held = step.largest_constant() / ROOM;
        let most = read.fold(most.max(held), f64::max);
        if most > LARGEST / ROOM {
            measured.nodes.insert(node.path.clone(), most);
        }
    })?;
    Ok(measured)
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Measured { on, most: (most, at), nodes } = self;
        let named: Vec<String> = nodes.iter().take(4).map(|(path, x)| format!("{path} ({x:.3e})")).collect();
        let others = nodes.len().saturating_sub(named.len());
        match nodes.len() {
            0 => write!(f, "no value comes near the end of fp16: the largest is {most:.3e}, at {at}, measured on {on}"),
            n => {
                let more = if others > 0 { format!(" and {others} more") } else { String::new() };
                let verb = if n == 1 { "node computes" } else { "nodes compute" };
                write!(
                    f,
                    "{n} {verb} in fp32, because values there come near or beyond the end of fp16, measured on {on}: {}{more}",
                    named.join(", ")
                )
            }
        }
    }
}
