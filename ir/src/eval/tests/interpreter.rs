//! Whole graphs: batches, order, lifetimes, errors.

use super::super::{EvalError, MemoryWeights, constant, run, run_observed};
use super::random;
use crate::graph::{Graph, Output};
use crate::net::{ConvSpec, Net};
use crate::op::{Op, UnaryKind};
use crate::stage::Stage;
use crate::testing::Rng;
use crate::ty::{DType, Dim, Shape, Type};
use ndarray::{ArrayD, Axis, Slice};

fn small() -> (Graph, MemoryWeights) {
    let mut g = Graph::new("small", Stage::Paper);
    let mut net = Net::new(&mut g);
    let x = net.input("image", Type::new(DType::F32, Shape::batched(Dim::Batch(1), &[3, 6, 6])));
    let y = net.at("stem").conv(x, ConvSpec::new(4, 3));
    let w = net.weight("gain", &[4]);
    let w = net.unary("gain.exp", UnaryKind::Exp, w);
    let w = net.along("gain.along", w, 1, 4);
    let z = net.mul(y, w);
    let z = net.add(z, y);
    let mut weights = MemoryWeights::new();
    let mut rng = Rng::new(1);
    for (key, n) in [("stem.weight", 4 * 27), ("stem.bias", 4), ("gain", 4)] {
        weights.insert(key, &(0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>());
    }
    g.outputs = vec![Output { name: "y".into(), value: z }, Output { name: "again".into(), value: z }];
    (g, weights)
}

#[test]
fn a_batch_is_its_images_one_by_one() {
    let (g, weights) = small();
    let x = random(&mut Rng::new(2), &[3, 3, 6, 6]);
    let all = run(&g, &weights, std::slice::from_ref(&x), 3).unwrap();
    assert_eq!(all[0], all[1]);
    for i in 0..3 {
        let image = |a: &ArrayD<f64>| a.slice_axis(Axis(0), Slice::from(i..i + 1)).to_owned();
        assert_eq!(run(&g, &weights, &[image(&x)], 1).unwrap()[0], image(&all[0]));
    }
}

#[test]
fn observers_see_every_run_time_value_once_and_in_order() {
    let (g, weights) = small();
    let mut seen = Vec::new();
    let x = random(&mut Rng::new(2), &[1, 3, 6, 6]);
    let y = run_observed(&g, &weights, &[x], 1, &mut |v, a| seen.push((g.value_name(v), a.to_owned()))).unwrap();
    let names: Vec<&str> = seen.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["image", "stem", "mul", "add"]);
    assert_eq!(seen[3].1, y[0]);
}

#[test]
fn errors_name_the_place() {
    let (g, weights) = small();
    let error = run(&g, &weights, &[ArrayD::zeros(vec![1, 3, 5, 5])], 1).unwrap_err();
    assert_eq!(error.to_string(), "input image has shape [1, 3, 6, 6] at batch 1, found [1, 3, 5, 5]");
    let error = run(&g, &MemoryWeights::new(), &[ArrayD::zeros(vec![1, 3, 6, 6])], 1).unwrap_err();
    assert_eq!(error.to_string(), "stem.weight: weight stem.weight: there is no such tensor");
    assert!(matches!(run(&g, &weights, &[], 1), Err(EvalError::Inputs { .. })));
    let error = constant(&g, &weights, g.outputs[0].value).unwrap_err();
    assert_eq!(error.to_string(), "add depends on an input of the model and has no constant value");

    let mut g = Graph::new("gather", Stage::Paper);
    let mut net = Net::new(&mut g);
    let (x, i) = (net.weight("x", &[2, 2]), net.weight("i", &[1]));
    let i = net.push("index", Op::Cast { to: DType::I32 }, &[i]);
    let y = net.push("y", Op::Gather { axis: 0 }, &[x, i]);
    for bad in [2.0, -1.0, f32::NAN] {
        let weights: MemoryWeights = [("x", vec![0.0; 4]), ("i", vec![bad])].into_iter().collect();
        let error = constant(&g, &weights, y).unwrap_err().to_string();
        assert_eq!(error, format!("y: index {bad} lies outside axis 0 of size 2"));
    }
}

#[test]
fn stored_f16_constants_are_rounded_once() {
    // 1 + 2^-11 is a tie that rounds to 1; twice that does not round. Rounding before the sum would lose it.
    let mut g = Graph::new("half", Stage::Paper);
    let mut net = Net::new(&mut g);
    let x = net.input("x", Type::new(DType::F16, Shape::fixed(&[1])));
    let w = net.weight("w", &[1]);
    let half = net.push("half", Op::Cast { to: DType::F16 }, &[w]);
    let double = net.add(half, half);
    let y = net.add(x, double);
    g.outputs = vec![Output { name: "y".into(), value: y }];
    let weights: MemoryWeights = [("w", vec![1.0 + 1.0 / 2048.0 + 1.0 / 8192.0])].into_iter().collect();
    assert_eq!(constant(&g, &weights, double).unwrap()[[0]], 2.0 + 2.0 / 2048.0 + 2.0 / 8192.0);
    let y = run(&g, &weights, &[ArrayD::zeros(vec![1])], 1).unwrap();
    assert_eq!(y[0][[0]], 2.0 + 2.0 / 1024.0);
}
