//! The reference interpreter: a model's outputs, operator by operator.

use super::constants::{Plan, Root, WIDE_LIMIT};
use super::tensor::Tensor;
use super::{EvalError, array, fixed, kernels, round};
use crate::graph::Graph;
use crate::id::{NodeId, Value};
use crate::op::Op;
use crate::ty::DType;
use crate::weights::Weights;
use ndarray::{ArrayD, ArrayViewD};
use std::collections::HashMap;
use std::sync::Arc;

/// The model's outputs for `inputs`, given in the order of [`Graph::inputs`], with the symbolic batch taken as `batch`.
///
/// # Errors
/// If the inputs do not fit, a weight is missing, or an index is out of range.
pub fn run(
    graph: &Graph,
    weights: &dyn Weights,
    inputs: &[ArrayD<f64>],
    batch: usize,
) -> Result<Vec<ArrayD<f64>>, EvalError> {
    run_observed(graph, weights, inputs, batch, &mut |_, _| {})
}

/// [`run`], which shows every run-time value that the outputs depend on to `observe`, in topological order.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    graph: &Graph,
    weights: &dyn Weights,
    inputs: &[ArrayD<f64>],
    batch: usize,
    observe: &mut dyn FnMut(Value, ArrayViewD<'_, f64>),
) -> Result<Vec<ArrayD<f64>>, EvalError> {
    let arguments = arguments(graph, inputs, batch)?;
    let mut values = Values::new(graph, weights);
    for (id, node) in graph.nodes() {
        if graph.is_constant(id.into()) || !values.live[id.0 as usize] {
            continue;
        }
        let dims: Vec<Vec<usize>> = node.types.iter().map(|t| t.shape.at(batch)).collect();
        let results = if node.op == Op::Input {
            vec![arguments[&id].clone()]
        } else {
            let operands = node.inputs.iter().map(|&v| values.take(v)).collect::<Result<Vec<_>, _>>()?;
            kernels::apply(node, &operands, &dims)
                .map_err(|what| EvalError::Operator { path: node.path.clone(), what })?
        };
        for (index, result) in results.into_iter().enumerate() {
            let value = Value { node: id, index: index as u32 };
            let view = ArrayViewD::from_shape(result.dims.clone(), &result.data);
            observe(value, view.expect("as many elements as the shape has"));
            values.put(value, result);
        }
    }
    let results = graph.outputs.iter().map(|o| values.take(o.value));
    results.map(|t| t.map(|t| array(t.dims, Arc::unwrap_or_clone(t.data)))).collect()
}

/// The inputs by node, their shapes checked.
fn arguments(graph: &Graph, inputs: &[ArrayD<f64>], batch: usize) -> Result<HashMap<NodeId, Tensor>, EvalError> {
    let fail = |what: String| Err(EvalError::Inputs { what });
    let wanted: Vec<_> = graph.inputs().collect();
    if wanted.len() != inputs.len() {
        return fail(format!("{} takes {} inputs, found {}", graph.name, wanted.len(), inputs.len()));
    }
    let mut arguments = HashMap::new();
    for ((id, node), array) in wanted.into_iter().zip(inputs) {
        let dims = node.types[0].shape.at(batch);
        if array.shape() != dims {
            return fail(format!("input {} has shape {dims:?} at batch {batch}, found {:?}", node.path, array.shape()));
        }
        arguments.insert(id, Tensor::new(&dims, array.iter().copied().collect()));
    }
    Ok(arguments)
}

/// Values that somebody still needs.
struct Values<'a> {
    graph: &'a Graph,
    plan: Plan<'a>,
    constants: HashMap<Value, Root>,
    held: HashMap<Value, Tensor>,
    readers: HashMap<Value, usize>,
    live: Vec<bool>,
}

impl<'a> Values<'a> {
    fn new(graph: &'a Graph, weights: &'a dyn Weights) -> Self {
        let mut live = vec![false; graph.len()];
        let mut readers: HashMap<Value, usize> = HashMap::new();
        let mut constants = Vec::new();
        let mut read = |v: Value, live: &mut Vec<bool>| {
            live[v.node.0 as usize] = true;
            let count = readers.entry(v).or_default();
            *count += 1;
            if *count == 1 && graph.is_constant(v) {
                constants.push(v);
            }
        };
        for output in &graph.outputs {
            read(output.value, &mut live);
        }
        for (id, node) in graph.nodes().rev() {
            if live[id.0 as usize] && !graph.is_constant(id.into()) {
                node.inputs.iter().for_each(|&v| read(v, &mut live));
            }
        }
        let (plan, roots) = Plan::new(graph, weights.into(), &constants, WIDE_LIMIT);
        let constants = constants.into_iter().zip(roots).collect();
        Values { graph, plan, constants, held: HashMap::new(), readers, live }
    }

    /// Keep a value if anybody reads it.
    fn put(&mut self, value: Value, tensor: Tensor) {
        if self.readers.contains_key(&value) {
            self.held.insert(value, tensor);
        }
    }

    /// A value for one reader; the last one frees it.
    fn take(&mut self, value: Value) -> Result<Tensor, EvalError> {
        let tensor = match self.held.get(&value) {
            Some(tensor) => tensor.clone(),
            None => {
                let mut tensor = self.plan.tensor(&self.constants[&value], &fixed(self.graph, value))?;
                if self.graph.ty(value).dtype == DType::F16 {
                    let stored = tensor.data.iter().map(|&x| round::through_f16(x)).collect();
                    tensor = Tensor::new(&tensor.dims, stored);
                }
                self.held.insert(value, tensor.clone());
                tensor
            }
        };
        let readers = self.readers.get_mut(&value).expect("every read was counted");
        *readers -= 1;
        if *readers == 0 {
            self.held.remove(&value);
        }
        Ok(tensor)
    }
}
