//! What each layer loses by itself: the model as it is, but for that layer.

use super::streams::runs;
use super::units::moved;
use super::walk::{Effect, Job};
use crate::decide::step::{BATCH, Step, Units};
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::EvalError;
use vitc_ir::{NodeId, Value};

/// Passes that are looked at.
const PASSES: usize = 48;

/// Bytes of values that are held at once: where a pass has more of them, fewer passes are looked at.
const BYTES: usize = 1 << 30;

/// `|y − ŷ|²/|y|²` of the output where it is most, with each of these effects alone, in the order of `effects`.
///
/// # Errors
/// If a value cannot be computed.
pub(super) fn losses(job: &Job<'_>, pictures: &Units, effects: &[(NodeId, &Effect)]) -> Result<Vec<f64>, EvalError> {
    let exact = Exact::of(job, pictures)?;
    let one = |(at, (id, effect)): (usize, &(NodeId, &Effect))| {
        (job.told)(&format!("measuring what each layer loses: {} of {}", at + 1, effects.len()));
        exact.loss(job, *id, effect)
    };
    effects.iter().enumerate().map(one).collect()
}

/// Every value of the model.
struct Exact<'a> {
    /// Nodes in order.
    steps: Vec<(NodeId, Step<'a>)>,
    values: HashMap<Value, Units>,
}

impl<'a> Exact<'a> {
    fn of(job: &Job<'a>, pictures: &Units) -> Result<Exact<'a>, EvalError> {
        let graph = job.graph;
        let sizes =
            graph.run_time_nodes().flat_map(|(_, n)| &n.types).map(|t| 4 * t.shape.at(BATCH).iter().product::<usize>());
        let passes = (BYTES / sizes.sum::<usize>().max(1)).clamp(1, PASSES).min(pictures.len());
        let chosen: Units = Arc::new((0..passes).map(|i| Arc::clone(&pictures[i * pictures.len() / passes])).collect());
        let mut values: HashMap<Value, Units> =
            graph.inputs().map(|(id, _)| (id.into(), Arc::clone(&chosen))).collect();
        let mut steps = Vec::new();
        for (id, node) in graph.run_time_nodes().filter(|(_, n)| runs(&n.op)) {
            let step = Step::new(graph, id, job.constants(id)?);
            let operands: Vec<Option<Units>> =
                node.inputs.iter().map(|&v| values.get(&graph.stored(v)).cloned()).collect();
            for (index, result) in step.run(&operands)?.into_iter().enumerate() {
                values.insert(Value { node: id, index: index as u32 }, result);
            }
            steps.push((id, step));
        }
        Ok(Exact { steps, values })
    }

    fn loss(&self, job: &Job<'_>, id: NodeId, effect: &Effect) -> Result<f64, EvalError> {
        let (graph, mut changed) = (job.graph, HashMap::<Value, Units>::new());
        let Some(start) = self.steps.iter().position(|(at, _)| *at == id) else { return Ok(0.0) };
        for (at, step) in &self.steps[start..] {
            let node = graph.node(*at);
            let stored: Vec<Value> = node.inputs.iter().map(|&v| graph.stored(v)).collect();
            let operand = |v: &Value| changed.get(v).or_else(|| self.values.get(v)).cloned();
            let mut operands: Vec<Option<Units>> = stored.iter().map(operand).collect();
            let results = if *at == id {
                for (slot, units) in operands.iter_mut().enumerate() {
                    if let (Some(input), Some(x)) = (&effect.input, &units) {
                        *units = Some(input.read(x, &graph.shape(stored[slot]).at(BATCH)));
                    }
                }
                let mut results = Step::new(graph, id, effect.constants.clone()).run(&operands)?;
                if let (Some((axis, by)), [y]) = (&effect.added, &mut results[..]) {
                    *y = moved(y, &graph.shape(id.into()).at(BATCH), *axis, by);
                }
                results
            } else if stored.iter().any(|v| changed.contains_key(v)) {
                step.run(&operands)?
            } else {
                continue;
            };
            for (index, result) in results.into_iter().enumerate() {
                changed.insert(Value { node: *at, index: index as u32 }, result);
            }
        }
        let mut most = 0.0f64;
        for output in &graph.outputs {
            let (mut signal, mut noise) = (0.0, 0.0);
            let value = graph.stored(output.value);
            let Some(exact) = self.values.get(&value) else { continue };
            let found = changed.get(&value).unwrap_or(exact);
            for (a, b) in exact.iter().zip(found.iter()).flat_map(|(a, b)| a.iter().zip(b.iter())) {
                signal += f64::from(*a).powi(2);
                noise += (f64::from(*a) - f64::from(*b)).powi(2);
            }
            let share = noise / f64::max(signal, 1e-300);
            most = if share.is_nan() { f64::INFINITY } else { most.max(share) };
        }
        Ok(most)
    }
}
