//! One node with its constants, to be run on many passes: by itself in tract, and what tract does not take in the evaluator.

use crate::runner::{Alone, RunError, constant_operands};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::{Graph, NodeId, Weights};

/// A value in every pass: one array for each.
pub(super) type Units = Arc<Vec<Arc<Vec<f32>>>>;

/// Constants that a node reads, by operand.
pub(super) type Constants = HashMap<usize, Arc<Vec<f64>>>;

/// The constants that a node reads, by operand.
///
/// # Errors
/// If a weight is missing.
pub(super) fn constants(graph: &Graph, weights: &dyn Weights, id: NodeId) -> Result<Constants, EvalError> {
    let (slots, values) = constant_operands(graph, id);
    Ok(slots.into_iter().zip(eval::constants(graph, weights, &values)?).collect())
}

/// A node, ready to run.
pub(super) struct Step<'a> {
    graph: &'a Graph,
    id: NodeId,
    constants: Constants,
    alone: Option<Alone>,
    /// The largest magnitude of constants that only tract holds.
    handed_on: f64,
}

/// What a symbolic batch is taken as.
pub(super) const BATCH: usize = 1;

impl<'a> Step<'a> {
    /// A node with these constants.
    pub(super) fn new(graph: &'a Graph, id: NodeId, constants: Constants) -> Step<'a> {
        let alone = Alone::of(graph, id, &constants, BATCH).ok();
        Step { graph, id, constants, alone, handed_on: 0.0 }
    }

    /// A node with the constants that the graph gives it, which only tract holds where it takes the node.
    ///
    /// # Errors
    /// If a weight is missing.
    pub(super) fn stored(graph: &'a Graph, id: NodeId, weights: &dyn Weights) -> Result<Step<'a>, EvalError> {
        match Alone::stored(graph, id, weights, BATCH) {
            Ok((alone, handed_on)) => {
                Ok(Step { graph, id, constants: Constants::new(), alone: Some(alone), handed_on })
            }
            Err(_) => Ok(Step::new(graph, id, constants(graph, weights, id)?)),
        }
    }

    /// The largest magnitude of its constants.
    pub(super) fn largest_constant(&self) -> f64 {
        self.constants.values().flat_map(|c| c.iter()).fold(self.handed_on, |most, x| most.max(x.abs()))
    }

    /// The constants that it was made with.
    pub(super) fn constants(&self) -> &Constants {
        &self.constants
    }

    /// The results in every pass, from its operands that are not constant.
    pub(super) fn run(&self, operands: &[Option<Units>]) -> Result<Vec<Units>, EvalError> {
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
