//! Operators against formulas written out naively, transforms against a second library, the stream against whole
//! values.

mod generators;
mod interpreter;
mod operators;
mod products;
mod spectral;
mod stream;

use super::{MemoryWeights, constant, run};
use crate::graph::{Graph, Output};
use crate::id::Value;
use crate::op::Op;
use crate::testing::Rng;
use crate::ty::{DType, Shape, Type};
use crate::weights::StoredType;
use ndarray::{ArrayD, IxDyn};

/// All indices of an array, row-major.
fn indices(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let dims = dims.to_vec();
    (0..dims.iter().product()).map(move |mut at: usize| {
        let mut index = vec![0; dims.len()];
        for a in (0..dims.len()).rev() {
            index[a] = at % dims[a];
            at /= dims[a];
        }
        index
    })
}

/// The array whose element at an index is `f(index)`.
fn build(dims: &[usize], f: impl Fn(&[usize]) -> f64) -> ArrayD<f64> {
    ArrayD::from_shape_vec(dims, indices(dims).map(|i| f(&i)).collect()).unwrap()
}

/// Normal numbers.
fn random(rng: &mut Rng, dims: &[usize]) -> ArrayD<f64> {
    ArrayD::from_shape_simple_fn(IxDyn(dims), || rng.normal())
}

/// The outputs of one operator, as the interpreter and as the constant folder compute them: they must agree to the bit.
fn apply(op: Op, inputs: &[&ArrayD<f64>]) -> Vec<ArrayD<f64>> {
    let integer = |i: usize| match (&op, i) {
        (Op::Gather { .. }, 1) => Some(DType::I32),
        (Op::Select, 0) => Some(DType::Bool),
        (Op::Dequantize, 0) => Some(DType::I8),
        (Op::Lookup { .. }, 0) => Some(DType::U8),
        _ => None,
    };
    let (mut live, mut folded) = (Graph::new("run", crate::Stage::Paper), Graph::new("fold", crate::Stage::Paper));
    let mut weights = MemoryWeights::new();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (i, input) in inputs.iter().enumerate() {
        let dtype = integer(i).unwrap_or(DType::F32);
        let path = format!("x{i}");
        let shape = Shape::fixed(input.shape());
        a.push(live.push_leaf(Op::Input, Type::new(dtype, shape.clone()), &path).unwrap());
        let key = Op::Weight { key: path.clone() };
        let mut leaf = folded.push_leaf(key, Type::new(DType::F32, shape), &path).unwrap();
        if let Some(to) = integer(i) {
            leaf = folded.push(Op::Cast { to }, &[leaf], "index").unwrap().into();
        }
        b.push(leaf);
        weights.insert_bytes(path, StoredType::F64, input.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
    let node = live.push(op.clone(), &a, "y").unwrap();
    let count = live.node(node).types.len() as u32;
    live.outputs = (0..count).map(|index| Output { name: format!("y{index}"), value: Value { node, index } }).collect();
    let arrays: Vec<ArrayD<f64>> = inputs.iter().map(|&x| x.clone()).collect();
    let results = run(&live, &weights, &arrays, 1).unwrap();
    let node = folded.push(op, &b, "y").unwrap();
    for (index, result) in results.iter().enumerate() {
        let value = Value { node, index: index as u32 };
        assert_eq!(result.shape(), live.shape(Value { node: live.outputs[index].value.node, ..value }).at(1));
        assert_eq!(&constant(&folded, &weights, value).unwrap(), result);
    }
    results
}

/// The one output of an operator.
fn apply1(op: Op, inputs: &[&ArrayD<f64>]) -> ArrayD<f64> {
    apply(op, inputs).remove(0)
}

/// Equal up to the rounding of a sum of a few hundred terms in f64.
#[track_caller]
fn assert_close(a: &ArrayD<f64>, b: &ArrayD<f64>) {
    assert_eq!(a.shape(), b.shape());
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= 1e-12 * (1.0 + y.abs()), "element {i}: {x} and {y}");
    }
}
