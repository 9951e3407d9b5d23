//! Two streams of values over the calibration pictures, node by node: what the model computes, and what it computes with what is quantised so far.
//!
//! Values are held in f32, one array for each pass, until their last reader; what both streams share is held once.

use crate::decide::step::{BATCH, Step, Units};
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::EvalError;
use vitc_ir::{Graph, NodeId, Op, Value};

/// The streams.
pub(super) struct Streams<'a> {
    graph: &'a Graph,
    exact: HashMap<Value, Units>,
    quantised: HashMap<Value, Units>,
    readers: HashMap<Value, usize>,
}

impl<'a> Streams<'a> {
    /// Before the first node; `inputs` are what the graph's one input takes, pass by pass.
    pub(super) fn new(graph: &'a Graph, inputs: &Units) -> Self {
        let mut readers: HashMap<Value, usize> = HashMap::new();
        for (_, node) in graph.run_time_nodes() {
            node.inputs.iter().for_each(|&v| *readers.entry(graph.stored(v)).or_default() += 1);
        }
        let exact: HashMap<Value, Units> = graph.inputs().map(|(id, _)| (id.into(), Arc::clone(inputs))).collect();
        Streams { graph, quantised: exact.clone(), exact, readers }
    }

    /// Sizes of a value in a pass.
    pub(super) fn dims(&self, value: Value) -> Vec<usize> {
        self.graph.shape(value).at(BATCH)
    }

    /// A value as the quantised model has it.
    pub(super) fn quantised(&self, value: Value) -> Option<Units> {
        self.quantised.get(&self.graph.stored(value)).cloned()
    }

    /// A value as the model has it, and as the quantised model does.
    pub(super) fn both(&self, value: Value) -> Option<[&Units; 2]> {
        let value = self.graph.stored(value);
        Some([self.exact.get(&value)?, self.quantised.get(&value)?])
    }

    /// What the exact stream has at a node.
    pub(super) fn exact_results(&self, id: NodeId, step: &Step<'_>) -> Result<Vec<Units>, EvalError> {
        step.run(&self.operands(&self.exact, id, None))
    }

    /// What the quantised stream has at a node, another value apart that it reads at an operand.
    pub(super) fn quantised_results(
        &self,
        id: NodeId,
        step: &Step<'_>,
        other: Option<(usize, &Units)>,
    ) -> Result<Vec<Units>, EvalError> {
        step.run(&self.operands(&self.quantised, id, other))
    }

    /// Whether both streams have the same values in front of a node.
    pub(super) fn is_shared(&self, id: NodeId) -> bool {
        let same = |v: Value| match (self.exact.get(&v), self.quantised.get(&v)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.graph.node(id).inputs.iter().all(|&v| same(self.graph.stored(v)))
    }

    fn operands(&self, from: &HashMap<Value, Units>, id: NodeId, other: Option<(usize, &Units)>) -> Vec<Option<Units>> {
        let operand = |(slot, &v): (usize, &Value)| match other {
            Some((at, units)) if at == slot => Some(Arc::clone(units)),
            _ => from.get(&self.graph.stored(v)).cloned(),
        };
        self.graph.node(id).inputs.iter().enumerate().map(operand).collect()
    }

    /// Go past a node, with its results in both streams.
    pub(super) fn advance(&mut self, id: NodeId, exact: Vec<Units>, quantised: Vec<Units>) {
        for (index, (a, b)) in exact.into_iter().zip(quantised).enumerate() {
            let value = Value { node: id, index: index as u32 };
            if self.readers.contains_key(&value) || self.is_result(value) {
                self.exact.insert(value, a);
                self.quantised.insert(value, b);
            }
        }
        for &v in self.graph.node(id).inputs.iter() {
            let v = self.graph.stored(v);
            let Some(left) = self.readers.get_mut(&v) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 && !self.is_result(v) {
                self.exact.remove(&v);
                self.quantised.remove(&v);
            }
        }
    }

    fn is_result(&self, value: Value) -> bool {
        self.graph.outputs.iter().any(|o| self.graph.stored(o.value) == value)
    }
}

/// Bytes that a pass needs in both streams where most values are held at once, with what a layer computes beside them.
pub(super) fn peak(graph: &Graph) -> usize {
    let size = |v: Value| 4 * graph.shape(v).at(BATCH).iter().product::<usize>();
    let reads = graph.run_time_nodes().flat_map(|(id, node)| node.inputs.iter().map(move |&v| (graph.stored(v), id)));
    let last: HashMap<Value, NodeId> = reads.collect();
    let (mut held, mut peak) = (0, 0);
    for (id, node) in graph.run_time_nodes().filter(|(_, n)| n.op != Op::Keep) {
        let results = (0..node.types.len() as u32).map(|index| Value { node: id, index });
        held += results.filter(|v| last.contains_key(v)).map(size).sum::<usize>();
        let read: usize = node.inputs.iter().filter(|v| !graph.is_stored(**v)).map(|&v| size(v)).sum();
        peak = peak.max(2 * held + read);
        let mut done: Vec<Value> =
            node.inputs.iter().map(|&v| graph.stored(v)).filter(|v| last.get(v) == Some(&id)).collect();
        done.sort_unstable();
        done.dedup();
        held -= done.into_iter().filter(|&v| !graph.is_constant(v)).map(size).sum::<usize>().min(held);
    }
    peak
}

/// Whether an operator is gone through at all.
pub(super) fn runs(op: &Op) -> bool {
    *op != Op::Keep && *op != Op::Input
}
