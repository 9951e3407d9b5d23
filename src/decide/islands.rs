//! Which nodes of a graph that computes in half precision do so in single precision: those at values near the largest number of fp16.
//!
//! The range of every value is measured on inputs: own ones, calibration pictures, or what vitc makes. Nothing is guessed from operators' names, and what is
//! not seen on the inputs is not known: the inputs are named beside the result.

use super::quantize::{Step, Units, constants};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use vitc_ir::eval::EvalError;
use vitc_ir::{Graph, NodeId, Op, Value, Weights};

/// Inputs on which ranges are measured.
#[derive(Debug, Clone)]
pub struct RangeInputs {
    /// What they are, as reports say it.
    pub on: String,
    /// For each input of the model, the values of each pass.
    pub inputs: Vec<Vec<Vec<f32>>>,
}

/// The largest number of fp16.
const LARGEST: f64 = 65504.0;

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
    let mut values = Values::new(graph, inputs.inputs);
    let mut seen: BTreeMap<Value, f64> = BTreeMap::new();
    let mut measured = Measured { on: inputs.on, most: (0.0, String::new()), nodes: BTreeMap::new() };
    for (id, node) in graph.run_time_nodes().filter(|(_, node)| node.op != Op::Keep) {
        let step = Step::new(graph, id, constants(graph, weights, id)?);
        let results = step.run(&values.operands(id))?;
        let mut most: f64 = 0.0;
        for (index, units) in results.iter().enumerate() {
            let largest = units.iter().flat_map(|unit| unit.iter()).fold(0.0, |m: f64, &x| m.max(f64::from(x.abs())));
            seen.insert(Value { node: id, index: index as u32 }, largest);
            most = most.max(largest);
        }
        if most > measured.most.0 {
            measured.most = (most, node.path.clone());
        }
        // Reading a large value takes the type that holds it, and so does a large constant.
        let read = node.inputs.iter().filter_map(|v| seen.get(&graph.stored(*v)).copied());
        let held = step.constants().values().flat_map(|c| c.iter()).fold(0.0, |m: f64, &x| m.max(x.abs())) / ROOM;
        let most = read.fold(most.max(held), f64::max);
        if most > LARGEST / ROOM {
            measured.nodes.insert(node.path.clone(), most);
        }
        values.advance(id, results);
    }
    Ok(measured)
}

/// Values until their last reader.
struct Values<'a> {
    graph: &'a Graph,
    values: HashMap<Value, Units>,
    /// Operands that a value still is.
    left: HashMap<Value, usize>,
}

impl<'a> Values<'a> {
    fn new(graph: &'a Graph, ports: Vec<Vec<Vec<f32>>>) -> Values<'a> {
        let units = |port: Vec<Vec<f32>>| -> Units { Arc::new(port.into_iter().map(Arc::new).collect()) };
        let values = graph.inputs().zip(ports).map(|((id, _), port)| (id.into(), units(port))).collect();
        let mut left: HashMap<Value, usize> = HashMap::new();
        for (_, node) in graph.run_time_nodes() {
            node.inputs.iter().for_each(|&v| *left.entry(graph.stored(v)).or_default() += 1);
        }
        Values { graph, values, left }
    }

    fn operands(&self, id: NodeId) -> Vec<Option<Units>> {
        let inputs = self.graph.node(id).inputs.iter();
        inputs.map(|&v| self.values.get(&self.graph.stored(v)).cloned()).collect()
    }

    /// Keep the results that something reads, and let go of what nothing reads any more.
    fn advance(&mut self, id: NodeId, results: Vec<Units>) {
        for (index, units) in results.into_iter().enumerate() {
            let value = Value { node: id, index: index as u32 };
            if self.left.contains_key(&value) {
                self.values.insert(value, units);
            }
        }
        for v in self.graph.node(id).inputs.iter().map(|&v| self.graph.stored(v)) {
            let Some(left) = self.left.get_mut(&v) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.values.remove(&v);
            }
        }
    }
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
