//! One node with its constants, to be run on many passes: by itself in tract, and what tract does not take in the evaluator.

use super::units::Units;
use crate::runner::{Alone, RunError};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::{Graph, NodeId, Value, Weights};

/// Constants that a node reads, by operand.
pub(super) type Constants = HashMap<usize, Arc<Vec<f64>>>;

/// The constants that a node reads, by operand.
///
/// # Errors
/// If a weight is missing.
pub(super) fn constants(graph: &Graph, weights: &dyn Weights, id: NodeId) -> Result<Constants, EvalError> {
    let stored = graph.node(id).inputs.iter().map(|&v| graph.stored(v)).enumerate();
    let (slots, values): (Vec<usize>, Vec<Value>) = stored.filter(|(_, v)| graph.is_constant(*v)).unzip();
    Ok(slots.into_iter().zip(eval::constants(graph, weights, &values)?).collect())
}

/// A node, ready to run.
pub(in crate::decide) struct Step<'a> {
    graph: &'a Graph,
    id: NodeId,
    constants: Constants,
    alone: Option<Alone>,
    largest: f64,
}

/// What a symbolic batch is taken as.
pub(super) const BATCH: usize = 1;

impl<'a> Step<'a> {
    /// A node with these constants.
    pub(in crate::decide) fn new(graph: &'a Graph, id: NodeId, constants: Constants) -> Step<'a> {
        let alone = Alone::of(graph, id, &constants, BATCH).ok();
        let largest = constants.values().flat_map(|c| c.iter()).fold(0.0, |m: f64, &x| m.max(x.abs()));
        Step { graph, id, constants, alone, largest }
    }

    /// A node with the constants that the graph gives it, which only tract holds where it takes the node.
    ///
    /// # Errors
    /// If a weight is missing.
    pub(in crate::decide) fn stored(
        graph: &'a Graph,
        id: NodeId,
        weights: &dyn Weights,
    ) -> Result<Step<'a>, EvalError> {
        match Alone::stored(graph, id, weights, BATCH) {
            Ok((alone, largest)) => Ok(Step { graph, id, constants: Constants::new(), alone: Some(alone), largest }),
            Err(_) => Ok(Step::new(graph, id, constants(graph, weights, id)?)),
        }
    }

    /// The largest magnitude of its constants.
    pub(in crate::decide) fn largest_constant(&self) -> f64 {
        self.largest
    }

    /// The constants that it was made with.
    pub(super) fn constants(&self) -> &Constants {
        &self.constants
    }

    /// The results in every pass, from its operands that are not constant.
    pub(in crate::decide) fn run(&self, operands: &[Option<Units>]) -> Result<Vec<Units>, EvalError> {
        let node = self.graph.node(self.id);
        let passes = operands.iter().flatten().map(|units| units.len()).max().unwrap_or(0);
        let pass = |unit: usize| match &self.alone {
            Some(alone) => {
                let given = |slot: usize| operands[slot].as_ref().map(|units| units[unit].as_slice());
                let what = |e: RunError| EvalError::Operator { path: node.path.clone(), what: e.what };
                Ok(alone.run(given).map_err(what)?.into_iter().map(Arc::new).collect())
            }
            None => self.evaluated(operands, unit),
        };
        let passes: Vec<Vec<Arc<Vec<f32>>>> =
            (0..passes).into_par_iter().map(pass).collect::<Result<_, EvalError>>()?;
        let units = |index: usize| Arc::new(passes.iter().map(|p| Arc::clone(&p[index])).collect());
        Ok((0..node.types.len()).map(units).collect())
    }

    /// One pass in the evaluator.
    fn evaluated(&self, operands: &[Option<Units>], unit: usize) -> Result<Vec<Arc<Vec<f32>>>, EvalError> {
        let operand = |(slot, units): (usize, &Option<Units>)| match (self.constants.get(&slot), units) {
            (Some(constant), _) => Ok(Arc::clone(constant)),
            (None, Some(units)) => Ok(Arc::new(units[unit].iter().map(|&x| f64::from(x)).collect())),
            (None, None) => Err(EvalError::NotConstant { path: self.graph.node(self.id).path.clone() }),
        };
        let operands: Vec<Arc<Vec<f64>>> = operands.iter().enumerate().map(operand).collect::<Result<_, _>>()?;
        let results = eval::apply(self.graph, self.id, &operands, BATCH)?;
        Ok(results.into_iter().map(|r| Arc::new(r.iter().map(|&x| x as f32).collect())).collect())
    }
}
