//! Layers on few rows as convolutions: which, and that the function stays.

mod common;

use common::lower;
use vitc_ir::testing::assert_same_function;
use vitc_ir::{DType, Graph, Target, parse, validate};
use vitc_passes::LowerOptions;

/// x + fc2(act(fc1(x))) on tokens `[n,k,C]`, with `reads` as further outputs.
fn mlp(n: &str, bias: bool, act: &str, reads: &str) -> Graph {
    let [b1, b2] = ["b1\":f32[8]", "b2\":f32[4]"].map(|b| if bias { format!(", weight\"{b}") } else { String::new() });
    let text = format!(
        "graph g  stage=deploy\n%x: f32[{n},3,4] = input\n%h: f32[{n},3,8] = linear(%x, weight\"w1\":f32[8,4]{b1})\n\
        %a: f32[{n},3,8] = {act}(%h)\n%y: f32[{n},3,4] = linear(%a, weight\"w2\":f32[4,8]{b2})\n%s: f32[{n},3,4] = add(%x, %y)\n\
        outputs s=%s{reads}"
    );
    parse(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// Number of convolutions after the lowering.
fn convolutions(graph: &Graph, target: &Target, precision: DType) -> usize {
    let (after, report) = lower(&graph.clone().pruned(), target, &LowerOptions::new(precision, DType::F32));
    validate(&after, Some(target)).unwrap_or_else(|e| panic!("{e}\n{after}"));
    assert_same_function(graph, &after, 3, if precision == DType::F32 { 1e-12 } else { 1e-2 });
    let count: usize = report.iter().filter(|r| r.pass == "linear_to_conv").map(|r| r.count).sum();
    let found = after.run_time_nodes().filter(|(_, n)| n.op.word() == "conv").count();
    assert_eq!(found, 2 * count, "{after}");
    found
}

/// Weights of 32 elements are large.
fn small(rows: usize) -> Target {
    Target { streamed_weights: Some((rows, 128)), ..Target::onnx(20) }
}

#[test]
fn layers_on_few_rows_are_convolutions() {
    for n in ["1", "2"] {
        for bias in [true, false] {
            for act in ["gelu", "tanh"] {
                assert_eq!(convolutions(&mlp(n, bias, act, ""), &small(6), DType::F32), 2);
            }
        }
    }
}

#[test]
fn others_stay() {
    let graph = mlp("2", true, "gelu", "");
    // More rows, weights that a cache holds, other targets, f16.
    let large = Target { streamed_weights: Some((6, 129)), ..Target::onnx(20) };
    for target in [small(5), large, Target::onnx(20), Target::tensorrt(17), Target::coreml(15)] {
        assert_eq!(convolutions(&graph, &target, DType::F32), 0);
    }
    assert_eq!(convolutions(&graph, &small(6), DType::F16), 0);
    // Rows without number, values that something else reads.
    for graph in [mlp("B", true, "gelu", ""), mlp("2", true, "gelu", ", a=%a"), mlp("2", true, "gelu", ", h=%h")] {
        assert_eq!(convolutions(&graph, &small(6), DType::F32), 0);
    }
}
