//! Two streams of values over the calibration pictures, node by node: what the model computes, and what it computes with what is quantised so far.
//!
//! Values are held in f32, one array for each pass, until their last reader; what both streams share is held once. A node runs by itself in tract, and what
//! tract does not take in the evaluator.

use super::sample::Stream;
use crate::runner::{Alone, RunError};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::{Graph, NodeId, Op, Value, Weights};

/// A value in every pass.
pub(in crate::decide) type Units = Arc<Vec<Arc<Vec<f32>>>>;

/// Constants that a node reads, by operand.
pub(in crate::decide) type Constants = HashMap<usize, Arc<Vec<f64>>>;

/// What a node of the quantised stream reads instead: other constants, and another value at an operand.
pub(in crate::decide) type Changed<'c> = (&'c Constants, Option<(usize, &'c Units)>);

/// The streams.
pub(in crate::decide) struct Streams<'a> {
    graph: &'a Graph,
    weights: &'a dyn Weights,
    /// What a symbolic batch is taken as.
    batch: usize,
    exact: HashMap<Value, Units>,
    quantised: HashMap<Value, Units>,
    readers: HashMap<Value, usize>,
}

impl<'a> Streams<'a> {
    /// Before the first node; `inputs` are what the graph's one input takes, pass by pass.
    pub(super) fn new(graph: &'a Graph, weights: &'a dyn Weights, inputs: Vec<Vec<f32>>) -> Self {
        Streams::of_ports(graph, weights, vec![inputs])
    }

    /// The same with several inputs.
    pub(in crate::decide) fn of_ports(graph: &'a Graph, weights: &'a dyn Weights, ports: Vec<Vec<Vec<f32>>>) -> Self {
        let mut readers: HashMap<Value, usize> = HashMap::new();
        for (_, node) in graph.run_time_nodes() {
            node.inputs.iter().for_each(|&v| *readers.entry(graph.stored(v)).or_default() += 1);
        }
        let units = |port: Vec<Vec<f32>>| -> Units { Arc::new(port.into_iter().map(Arc::new).collect()) };
        let first = graph.inputs().zip(ports).map(|((id, _), port)| (Value::from(id), units(port)));
        let exact: HashMap<Value, Units> = first.collect();
        Streams { graph, weights, batch: 1, quantised: exact.clone(), exact, readers }
    }

    /// Sizes of a value in a pass.
    pub(super) fn dims(&self, value: Value) -> Vec<usize> {
        self.graph.shape(value).at(self.batch)
    }

    /// A value as the quantised model has it.
    pub(super) fn quantised(&self, value: Value) -> Option<Units> {
        self.quantised.get(&self.graph.stored(value)).cloned()
    }

    /// The constants that a node reads, by operand.
    pub(in crate::decide) fn constants(&self, id: NodeId) -> Result<Constants, EvalError> {
        let node = self.graph.node(id);
        let stored = |&v: &Value| self.graph.stored(v);
        let slots: Vec<(usize, Value)> =
            node.inputs.iter().map(stored).enumerate().filter(|(_, v)| self.graph.is_constant(*v)).collect();
        let values: Vec<Value> = slots.iter().map(|(_, v)| *v).collect();
        let constants = eval::constants(self.graph, self.weights, &values)?;
        Ok(slots.into_iter().map(|(slot, _)| slot).zip(constants).collect())
    }

    /// What a node gives, its operand `changed` apart, in each pass.
    fn apply(
        &self,
        id: NodeId,
        from: &HashMap<Value, Units>,
        constants: &Constants,
        changed: Option<(usize, &Units)>,
    ) -> Result<Vec<Units>, EvalError> {
        let node = self.graph.node(id);
        let operand = |(slot, &v): (usize, &Value)| match changed {
            Some((at, units)) if at == slot => Some(Arc::clone(units)),
            _ => from.get(&self.graph.stored(v)).cloned(),
        };
        let operands: Vec<Option<Units>> = node.inputs.iter().enumerate().map(operand).collect();
        let passes = operands.iter().flatten().map(|units| units.len()).max().unwrap_or(0);
        let alone = Alone::of(self.graph, id, constants, self.batch).ok();
        let pass = |unit: usize| match &alone {
            Some(alone) => {
                let given = |slot: usize| operands[slot].as_ref().map(|units| units[unit].as_slice());
                let what = |e: RunError| EvalError::Operator { path: node.path.clone(), what: e.what };
                Ok(alone.run(given).map_err(what)?.into_iter().map(Arc::new).collect())
            }
            None => self.evaluated(id, constants, &operands, unit),
        };
        let passes: Vec<Vec<Arc<Vec<f32>>>> =
            (0..passes).into_par_iter().map(pass).collect::<Result<_, EvalError>>()?;
        let units = |index: usize| Arc::new(passes.iter().map(|p| Arc::clone(&p[index])).collect());
        Ok((0..node.types.len()).map(units).collect())
    }

    /// One pass of a node in the evaluator.
    fn evaluated(
        &self,
        id: NodeId,
        constants: &Constants,
        operands: &[Option<Units>],
        unit: usize,
    ) -> Result<Vec<Arc<Vec<f32>>>, EvalError> {
        let operand = |(slot, units): (usize, &Option<Units>)| match (constants.get(&slot), units) {
            (Some(constant), _) => Ok(Arc::clone(constant)),
            (None, Some(units)) => Ok(Arc::new(units[unit].iter().map(|&x| f64::from(x)).collect())),
            (None, None) => Err(EvalError::NotConstant { path: self.graph.node(id).path.clone() }),
        };
        let operands: Vec<Arc<Vec<f64>>> = operands.iter().enumerate().map(operand).collect::<Result<_, _>>()?;
        let results = eval::apply(self.graph, id, &operands, self.batch)?;
        Ok(results.into_iter().map(|r| Arc::new(r.iter().map(|&x| x as f32).collect())).collect())
    }

    /// What the exact stream has at a node.
    pub(in crate::decide) fn exact_results(&self, id: NodeId, constants: &Constants) -> Result<Vec<Units>, EvalError> {
        self.apply(id, &self.exact, constants, None)
    }

    /// Go through a node with both streams: the exact results, and for the quantised stream other constants or another operand, if there are any.
    pub(in crate::decide) fn advance(
        &mut self,
        id: NodeId,
        exact: Vec<Units>,
        quantised: Option<Changed<'_>>,
    ) -> Result<(), EvalError> {
        let node = self.graph.node(id);
        let same = |v: &Value| match (self.exact.get(v), self.quantised.get(v)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let shared = node.inputs.iter().map(|&v| self.graph.stored(v)).all(|v| same(&v));
        let results = match quantised {
            Some((constants, changed)) => self.apply(id, &self.quantised, constants, changed)?,
            None if shared => exact.clone(),
            None => self.apply(id, &self.quantised, &self.constants(id)?, None)?,
        };
        for (index, (a, b)) in exact.into_iter().zip(results).enumerate() {
            let value = Value { node: id, index: index as u32 };
            let used = self.readers.contains_key(&value)
                || self.graph.outputs.iter().any(|o| self.graph.stored(o.value) == value);
            if used {
                self.exact.insert(value, a);
                self.quantised.insert(value, b);
            }
        }
        for &v in node.inputs.iter() {
            let v = self.graph.stored(v);
            let Some(left) = self.readers.get_mut(&v) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 && self.graph.outputs.iter().all(|o| self.graph.stored(o.value) != v) {
                self.exact.remove(&v);
                self.quantised.remove(&v);
            }
        }
        Ok(())
    }
}

impl Streams<'_> {
    /// Add a number per channel to a value of the quantised stream.
    pub(super) fn add(&mut self, value: Value, dims: &[usize], axis: usize, bias: &[f64]) {
        let Some(units) = self.quantised.get(&value) else { return };
        let inner = dims[axis + 1..].iter().product::<usize>().max(1);
        let sum = |unit: &Arc<Vec<f32>>| {
            let mut moved = unit.to_vec();
            for (block, &b) in moved.chunks_mut(inner).zip(bias.iter().cycle()) {
                block.iter_mut().for_each(|y| *y = (f64::from(*y) + b) as f32);
            }
            Arc::new(moved)
        };
        let moved: Units = Arc::new(units.par_iter().map(sum).collect());
        self.quantised.insert(value, moved);
    }
}

/// A value as samples are taken from it.
pub(super) fn stream<'u>(dims: &'u [usize], units: &'u Units) -> Stream<'u> {
    Stream { dims, units }
}

/// Whether an operator is gone through at all.
pub(super) fn runs(op: &Op) -> bool {
    *op != Op::Keep && *op != Op::Input
}
