//! The values of a graph on some inputs, node by node, in single precision.

use super::step::{Step, Units};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
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

/// Compute every node on the values of each pass of each input, and show its results.
///
/// # Errors
/// If a weight is missing, or a node cannot be computed.
pub(super) fn walk(
    graph: &Graph,
    weights: &dyn Weights,
    inputs: Vec<Vec<Vec<f32>>>,
    mut show: impl FnMut(NodeId, &Step<'_>, &[Units]),
) -> Result<(), EvalError> {
    let mut values = Values::new(graph, inputs);
    let steps = graph.run_time_nodes().filter(|(_, node)| node.op != Op::Keep);
    std::thread::scope(|scope| {
        // The next node is made ready while one runs: with large weights that takes as long.
        let (ready, made) = sync_channel(0);
        scope.spawn(move || {
            for (id, _) in steps {
                if ready.send((id, Step::stored(graph, id, weights))).is_err() {
                    break;
                }
            }
        });
        for (id, step) in made {
            let step = step?;
            let results = step.run(&values.operands(id))?;
            show(id, &step, &results);
            values.advance(id, results);
        }
        Ok(())
    })
}

/// The largest magnitude in any pass.
pub(super) fn largest(units: &Units) -> f64 {
    units.iter().flat_map(|unit| unit.iter()).fold(0.0, |m: f64, &x| m.max(f64::from(x.abs())))
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
