//! The evaluator: constant folder and reference interpreter.
//!
//! Everything is computed in f64, sums in a fixed order, transcendental functions by `libm`, so the numbers are the
//! same on every machine. A value is rounded once, to its declared element type, where it is stored: nodes of a
//! constant expression are not rounded. Nor are values at run time, except by a cast to f16 and where a stored f16
//! constant is read. i32 values are held as f64, which is exact.
//!
//! [`run`] interprets a model, [`constant`] computes one constant, [`stream`] delivers the bytes of all constants of
//! an artifact.

mod affine;
mod attention;
mod codes;
mod constants;
mod emit;
mod expr;
mod generate;
mod grid;
mod interpret;
mod kernels;
mod lower;
mod memory;
mod normal;
mod numbers;
mod pool;
mod product;
mod round;
mod sample;
mod scalar;
mod spectral;
mod stream;
mod tensor;

#[cfg(test)]
mod tests;

pub use emit::ConstantStats;
pub use interpret::{run, run_observed};
pub use memory::MemoryWeights;
pub use numbers::{Computed, Numbers};
pub use stream::{Sink, StreamError, StreamReport, stream};

use crate::graph::Graph;
use crate::id::{NodeId, Value};
use crate::ty::DType;
use crate::weights::{WeightError, Weights};
use constants::{Plan, WIDE_LIMIT};
use ndarray::ArrayD;
use rayon::prelude::*;
use std::sync::Arc;

/// Why a value could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A weight could not be had.
    #[error("{path}: {source}")]
    Weight {
        /// Path of the weight's node.
        path: String,
        /// What the source of weights said.
        source: WeightError,
    },
    /// The arrays handed to [`run`] are not what the model takes.
    #[error("{what}")]
    Inputs {
        /// What was required and what was found.
        what: String,
    },
    /// A constant was asked for that depends on an input of the model.
    #[error("{path} depends on an input of the model and has no constant value")]
    NotConstant {
        /// Path of the value's node.
        path: String,
    },
    /// An operator met operands that it is not defined for.
    #[error("{path}: {what}")]
    Operator {
        /// Path of the node.
        path: String,
        /// What was wrong.
        what: String,
    },
    /// A constant is NaN or infinite because a weight is.
    #[error("{path} is not finite: element {element} of weight {key} is {value}; the checkpoint is damaged")]
    WeightNotFinite {
        /// Path of the constant.
        path: String,
        /// The architecture's name for the tensor.
        key: String,
        /// Row-major position of the first such element.
        element: usize,
        /// NaN or an infinity.
        value: f64,
    },
    /// A constant does not fit its element type.
    #[error("{path} overflows {dtype}: largest magnitude {largest:e}, computed from weights {}", keys.join(", "))]
    Overflow {
        /// Path of the constant.
        path: String,
        /// The weights it is computed from.
        keys: Vec<String>,
        /// The element type.
        dtype: DType,
        /// Largest magnitude before rounding.
        largest: f64,
    },
    /// A constant is NaN or infinite although its weights are finite.
    #[error("{path} is not finite although the weights it is computed from are: {}", keys.join(", "))]
    NotFinite {
        /// Path of the constant.
        path: String,
        /// The weights it is computed from.
        keys: Vec<String>,
    },
}

/// The results of one run-time node on operands at a batch, all row-major, not rounded but where the operator does.
///
/// # Errors
/// If there are too few operands, one has another number of elements than its type says, or an index lies outside.
pub fn apply(
    graph: &Graph,
    id: NodeId,
    operands: &[Arc<Vec<f64>>],
    batch: usize,
) -> Result<Vec<Arc<Vec<f64>>>, EvalError> {
    let node = graph.node(id);
    let tensor = |(&v, data): (&Value, &Arc<Vec<f64>>)| {
        let dims = graph.shape(v).at(batch);
        (dims.iter().product::<usize>() == data.len()).then(|| tensor::Tensor { dims, data: Arc::clone(data) })
    };
    let inputs: Option<Vec<_>> = node.inputs.iter().zip(operands).map(tensor).collect();
    let fail = |what: String| EvalError::Operator { path: node.path.clone(), what };
    let Some(inputs) = inputs.filter(|i| i.len() == node.inputs.len() && !i.is_empty()) else {
        return Err(fail("has other operands than are given".into()));
    };
    let dims: Vec<Vec<usize>> = node.types.iter().map(|t| t.shape.at(batch)).collect();
    Ok(kernels::apply(node, &inputs, &dims).map_err(fail)?.into_iter().map(|t| t.data).collect())
}

/// The value of one constant, not rounded.
///
/// # Errors
/// If the value is not constant, or a weight is missing.
pub fn constant(graph: &Graph, weights: &dyn Weights, value: Value) -> Result<ArrayD<f64>, EvalError> {
    let data = constants(graph, weights, &[value])?.pop().expect("one value for one");
    Ok(array(fixed(graph, value), Arc::unwrap_or_clone(data)))
}

/// The elements of some constants, not rounded, row-major. Computed in parallel and held at once: for small ones.
///
/// # Errors
/// The first failure in the order of `values`: a value that is not constant, or a weight that is missing.
pub fn constants(graph: &Graph, weights: &dyn Weights, values: &[Value]) -> Result<Vec<Arc<Vec<f64>>>, EvalError> {
    if let Some(&value) = values.iter().find(|&&v| !graph.is_constant(v)) {
        return Err(EvalError::NotConstant { path: graph.value_name(value) });
    }
    let (plan, roots) = Plan::new(graph, weights.into(), values, WIDE_LIMIT);
    let all: Vec<_> = roots.par_iter().map(|root| plan.evaluate(root)).collect();
    all.into_iter().collect()
}

fn array(dims: Vec<usize>, data: Vec<f64>) -> ArrayD<f64> {
    ArrayD::from_shape_vec(dims, data).expect("as many elements as the shape has")
}

/// Sizes of a constant.
fn fixed(graph: &Graph, value: Value) -> Vec<usize> {
    graph.shape(value).as_fixed().expect("constants do not depend on the batch")
}
