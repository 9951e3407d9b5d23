//! Every pass preserves the function, on random graphs with random weights, and finds nothing to do in its own result.

use vitc_ir::testing::{Options, assert_same_function, random_graph};
use vitc_ir::valid::validate;
use vitc_ir::{DType, Dim, Graph, Target};
use vitc_passes::{DEPLOY, LowerOptions, deploy, lower};

const SEEDS: u64 = 150;
/// Passes are exact in real arithmetic; what is left is the rounding of f64.
const EXACT: f64 = 1e-9;

fn targets() -> Vec<Target> {
    vec![Target::onnx(17), Target::onnx(20), Target::tensorrt(17), Target::coreml(15)]
}

fn graphs() -> impl Iterator<Item = (u64, Graph)> {
    (0..SEEDS).map(|seed| {
        let batch = if seed % 2 == 0 { Dim::Batch(1) } else { Dim::Fixed(2) };
        (seed, random_graph(seed, Options { batch, blocks: 3 }))
    })
}

#[test]
fn each_deploy_pass_preserves_the_function() {
    let mut hits = vec![0; DEPLOY.len()];
    for (seed, paper) in graphs() {
        let mut graph = paper;
        for (i, (name, pass)) in DEPLOY.iter().enumerate() {
            let result = pass(&graph);
            let after = result.graph.pruned();
            validate(&after, None).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"));
            assert_same_function(&graph, &after, seed, EXACT);
            hits[i] += result.count;
            graph = after;
        }
    }
    for ((name, _), hits) in DEPLOY.iter().zip(hits) {
        assert!(hits > 0, "{name} found nothing to do in {SEEDS} random graphs, so this test says nothing about it");
    }
}

#[test]
fn deploying_twice_changes_nothing() {
    for (seed, paper) in graphs() {
        let (once, _) = deploy(&paper);
        let (twice, report) = deploy(&once);
        assert_eq!(once.to_string(), twice.to_string(), "seed {seed}: {report:?}");
    }
}

#[test]
fn lowering_preserves_the_function_and_says_only_what_the_target_has() {
    for target in targets() {
        for (seed, paper) in graphs() {
            let (graph, _) = deploy(&paper);
            let options = LowerOptions::new(DType::F32, DType::F32);
            let (lowered, _) = lower(&graph, &target, &options);
            validate(&lowered, Some(&target)).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", target.name));
            assert_same_function(&paper, &lowered, seed, EXACT);
        }
    }
}

#[test]
fn half_precision_types_every_value_and_keeps_the_interface() {
    for target in targets() {
        for (seed, paper) in graphs() {
            let (graph, _) = deploy(&paper);
            for interface in [DType::F32, DType::F16] {
                let (half, _) = lower(&graph, &target, &LowerOptions::new(DType::F16, interface));
                validate(&half, Some(&target)).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", target.name));
                assert!(half.inputs().all(|(_, n)| n.types[0].dtype == interface));
                assert!(half.outputs.iter().all(|o| half.ty(o.value).dtype == interface));
                if interface == DType::F32 {
                    assert_same_function(&paper, &half, seed, 0.1);
                }
            }
        }
    }
}
