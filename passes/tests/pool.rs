//! Means taken before a linear layer: what moves, what stays, and that the function does.

mod common;

use common::lower;
use vitc_ir::testing::assert_same_function;
use vitc_ir::{DType, Graph, Target, cost, parse, validate};
use vitc_passes::LowerOptions;

/// mean(x + fc2(gelu(fc1(x)))) over the positions of `[B,6,4]`, with `reads` as further outputs.
fn mlp(axis: usize, bias: bool, reads: &str) -> Graph {
    let b = if bias { ", weight\"b\":f32[4]" } else { "" };
    let mean = if axis == 1 { "f32[B,4]" } else { "f32[B,6]" };
    let text = format!(
        "graph g  stage=deploy\n%x: f32[B,6,4] = input\n%h: f32[B,6,8] = linear(%x, weight\"w1\":f32[8,4])\n%a: f32[B,6,8] = gelu(%h)\n\
        %y: f32[B,6,4] = linear(%a, weight\"w2\":f32[4,8]{b})\n%s: f32[B,6,4] = add(%x, %y)\n%m: {mean} = reduce_mean(%s){{axes=[{axis}]}}\n\
        outputs m=%m{reads}"
    );
    parse(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// Lowered, and whether the last layer sees one position.
fn pooled(graph: &Graph, target: &Target, precision: DType) -> bool {
    let (after, report) = lower(&graph.clone().pruned(), target, &LowerOptions::new(precision, DType::F32));
    validate(&after, Some(target)).unwrap_or_else(|e| panic!("{e}\n{after}"));
    assert_same_function(graph, &after, 3, if precision == DType::F32 { 1e-12 } else { 1e-2 });
    report.iter().any(|r| r.pass == "mean_before_linear" && r.count == 1)
}

#[test]
fn a_mean_is_taken_before_the_layer() {
    let graph = mlp(1, true, "");
    assert!(pooled(&graph, &Target::onnx(17), DType::F32));
    let options = LowerOptions::new(DType::F32, DType::F32);
    let (after, report) = lower(&graph, &Target::onnx(17), &options);
    let line = report.iter().find(|r| r.pass == "mean_before_linear").expect("is reported");
    assert_eq!(cost::total_macs(&graph) - cost::total_macs(&after), 5 * 4 * 8, "{after}");
    assert_eq!(line.after, line.before + 1);
    // Nothing more when layers are spelled: the bias stays in the layer.
    let (plain, _) = lower(&graph, &Target { linear_rank: 0, ..Target::onnx(17) }, &options);
    assert_eq!(after.run_time_nodes().count(), plain.run_time_nodes().count() + 1, "{after}\n{plain}");
}

#[test]
fn what_would_cost_more_or_is_read_elsewhere_stays() {
    let onnx = Target::onnx(17);
    // The axis that the layer makes, a layer without bias, values that something else reads.
    for graph in [mlp(2, true, ""), mlp(1, false, ""), mlp(1, true, ", s=%s"), mlp(1, true, ", y=%y")] {
        assert!(!pooled(&graph, &onnx, DType::F32), "{graph}");
    }
    assert!(pooled(&mlp(1, true, ", a=%a"), &onnx, DType::F32));
    for target in [Target::tensorrt(17), Target::coreml(15)] {
        assert!(!pooled(&mlp(1, true, ""), &target, DType::F32));
    }
    assert!(!pooled(&mlp(1, true, ""), &onnx, DType::F16));
}
