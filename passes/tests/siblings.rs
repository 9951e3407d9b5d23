//! Parallel products over one input become one product and a split, from the number on that the target names.

mod common;

use common::{deploy, lower};
use vitc_ir::net::paper;
use vitc_ir::op::Op;
use vitc_ir::testing::{Rng, assert_same_function};
use vitc_ir::{DType, Dim, Graph, Net, Output, Shape, Target, Type, UnaryKind, Value, validate};
use vitc_passes::LowerOptions;

const SEEDS: u64 = 200;
const EXACT: f64 = 1e-9;

fn targets() -> [Target; 3] {
    [Target::onnx(17), Target::tensorrt(17), Target::coreml(15)]
}

/// Convolutions of one map: of one geometry, where `alike`, else of several.
fn convolutions(net: &mut Net, rng: &mut Rng, x: Value, n: usize, alike: bool) -> Vec<Value> {
    let mut geometry = None;
    (0..n)
        .map(|i| {
            let net = &mut net.at(format!("conv_{i}"));
            let drawn = (rng.pick(&[1, 1, 2, 3]), rng.range(1, 2), rng.below(2), rng.pick(&[1, 1, 2]));
            let (k, stride, pad, groups) = if alike { *geometry.get_or_insert(drawn) } else { drawn };
            let (channels, out) = (net.dim(x, 1), 2 * rng.range(1, 3));
            let mut inputs = vec![x, net.weight("weight", &[out, channels / groups, k, k])];
            if rng.chance(60) {
                inputs.push(net.weight("bias", &[out]));
            }
            net.push("", Op::Conv { stride: [stride; 2], pad: [pad; 4], dilation: [1; 2], groups }, &inputs)
        })
        .collect()
}

/// Matrix products of one sequence of tokens.
fn products(net: &mut Net, rng: &mut Rng, x: Value, n: usize) -> Vec<Value> {
    (0..n)
        .map(|i| {
            let out = rng.range(1, 5);
            net.at(format!("fc_{i}")).linear(x, out, rng.chance(60))
        })
        .collect()
}

/// Each result through a function of its own, so that nothing else joins them.
fn outputs(graph: &mut Graph, results: Vec<Value>) {
    for (i, y) in results.into_iter().enumerate() {
        let y = Net::new(graph).unary(format!("act_{i}"), UnaryKind::Tanh, y);
        graph.outputs.push(Output { name: format!("y{i}"), value: y });
    }
}

fn map(seed: u64, n: usize, alike: bool) -> Graph {
    let mut graph = paper(format!("siblings-{seed}"));
    let rng = &mut Rng::new(seed);
    let shape = Shape::batched(Dim::Batch(1), &[4, rng.range(3, 8), rng.range(3, 8)]);
    let x = Net::new(&mut graph).input("image", Type::new(DType::F32, shape));
    let results = convolutions(&mut Net::new(&mut graph), rng, x, n, alike);
    outputs(&mut graph, results);
    graph
}

fn tokens(seed: u64, n: usize) -> Graph {
    let mut graph = paper(format!("products-{seed}"));
    let rng = &mut Rng::new(seed);
    let shape = Shape::batched(Dim::Batch(1), &[rng.range(2, 7), 4]);
    let x = Net::new(&mut graph).input("tokens", Type::new(DType::F32, shape));
    let results = products(&mut Net::new(&mut graph), rng, x, n);
    outputs(&mut graph, results);
    graph
}

fn lowered(graph: &Graph, target: &Target) -> (Graph, usize) {
    let options = LowerOptions::new(DType::F32, DType::F32);
    let (graph, report) = lower(&deploy(graph).0, target, &options);
    validate(&graph, Some(target)).unwrap_or_else(|e| panic!("{}: {e}", target.name()));
    (graph, report.iter().filter(|r| r.pass == "merge_siblings").map(|r| r.count).sum())
}

#[test]
fn merged_siblings_compute_the_same() {
    let mut merged = 0;
    for target in targets() {
        for seed in 0..SEEDS {
            let n = 1 + seed as usize % 5;
            for graph in [map(seed, n, true), map(seed, n, false), tokens(seed, n)] {
                let (result, count) = lowered(&graph, &target);
                assert_same_function(&graph, &result, seed, EXACT);
                merged += count;
            }
        }
    }
    assert!(merged > SEEDS as usize, "{merged} merges");
}

/// Products merge from the target's number on, spatial kernels from three on, groups never.
#[test]
fn the_number_decides() {
    let siblings = |n: usize, kernel: usize, groups: usize| {
        let mut graph = paper("siblings");
        let ty = Type::new(DType::F32, Shape::batched(Dim::Batch(1), &[4, 6, 5]));
        let x = Net::new(&mut graph).input("image", ty);
        let results = (0..n).map(|i| {
            let mut net = Net::new(&mut graph);
            let net = &mut net.at(format!("conv_{i}"));
            let w = net.weight("weight", &[4, 4 / groups, kernel, kernel]);
            net.push("", Op::Conv { stride: [1; 2], pad: [kernel / 2; 4], dilation: [1; 2], groups }, &[x, w])
        });
        let results = results.collect();
        outputs(&mut graph, results);
        graph
    };
    for target in targets() {
        for n in 1..5 {
            let merges = |kernel, groups| lowered(&siblings(n, kernel, groups), &target).1 > 0;
            assert_eq!(merges(1, 1), n >= target.merge_siblings, "{n} for {}", target.name());
            assert_eq!(merges(3, 1), n >= target.merge_siblings.max(3), "{n} of 3x3 for {}", target.name());
            assert!(!merges(1, 2), "{n} of two groups for {}", target.name());
        }
    }
}
