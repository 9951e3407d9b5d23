//! What MIL says and ONNX does not: further samples, beside those that both exporters are tested on.

use super::samples::{Variant, dense, random, samples};
use vitc_ir::op::{ReduceKind, Sampling};
use vitc_ir::{DType, Dim, Graph, Net, Op, Output, PadMode, Real, Shape, Stage, Type, UnaryKind, Value};

/// The variant of the shared samples: batch 2, operators of any ONNX opset.
fn variant(dtype: DType) -> Variant {
    Variant { opset: 20, dtype, batch: Dim::Fixed(2) }
}

/// A random chain of operators.
pub(crate) fn chain(dtype: DType, seed: u64) -> Graph {
    random(variant(dtype), seed)
}

/// A graph with input `image`, computing in `dtype` between casts, result `logits`.
pub(crate) fn model(
    name: &str,
    dtype: DType,
    dims: &[usize],
    build: impl FnOnce(&mut Net<'_>, Value, &mut dyn FnMut(&mut Net<'_>, &str, &[usize]) -> Value) -> Value,
) -> Graph {
    let mut graph = Graph::new(name, Stage::Target);
    let mut net = Net::new(&mut graph);
    let cast = |net: &mut Net<'_>, name: String, x: Value, to: DType| {
        if net.ty(x).dtype == to { x } else { net.push(name, Op::Cast { to }, &[x]) }
    };
    let x = net.input("image", Type::f32(dims));
    let x = cast(&mut net, "image.half".into(), x, dtype);
    let y = build(&mut net, x, &mut |net, name, dims| {
        let w = net.weight(name, dims);
        cast(net, format!("{name}.half"), w, dtype)
    });
    let y = cast(&mut net, "widened".into(), y, DType::F32);
    graph.outputs.push(Output { name: "logits".into(), value: y });
    graph
}

/// Every graph that the exporter is tested on, by name, computing in `dtype`.
pub(crate) fn all(dtype: DType) -> Vec<(String, Graph)> {
    // A slope that channels share is a pass's to spread, there is no sum of several values, and a hard swish is several operations.
    let foreign = ["prelu_shared", "sum", "hard_swish"];
    let shared = [samples(variant(dtype)), dense(variant(dtype))].concat();
    let shared = shared.into_iter().filter(|(name, _)| !foreign.contains(&name.as_str()));
    let mut all: Vec<(String, Graph)> = shared.collect();
    let mut add = |name: &str, graph: Graph| all.push((name.to_string(), graph));
    let map = [1, 8, 6, 5];

    add("silu", model("silu", dtype, &map, |net, x, _| net.unary("act", UnaryKind::Silu, x)));
    for (transpose_a, transpose_b) in [(true, false), (false, true), (true, true)] {
        let name = format!("matmul_{transpose_a}_{transpose_b}");
        let graph = model(&name, dtype, &[2, 3, 4, 4], |net, x, _| {
            let y = net.unary("other", UnaryKind::Tanh, x);
            net.push("product", Op::MatMul { transpose_a, transpose_b }, &[x, y])
        });
        add(&name, graph);
    }
    let graph = model("matmul_broadcast", dtype, &[2, 3, 4, 5], |net, x, weight| {
        let w = weight(net, "w", &[3, 5, 6]);
        net.matmul("product", x, w)
    });
    add("matmul_broadcast", graph);
    let graph = model("linear_tokens", dtype, &[2, 4, 7], |net, x, weight| {
        let (w, b) = (weight(net, "w", &[12, 7]), weight(net, "b", &[12]));
        net.push("fc", Op::Linear, &[x, w, b])
    });
    add("linear_tokens", graph);
    let graph = model("linear_no_bias_wide", dtype, &[1, 70], |net, x, weight| {
        let w = weight(net, "w", &[70, 70]);
        net.push("fc", Op::Linear, &[x, w])
    });
    add("linear_no_bias_wide", graph);
    let graph = model("layer_norm_channels", dtype, &map, |net, x, weight| {
        let (g, b) = (weight(net, "g", &[8]), weight(net, "b", &[8]));
        net.push("norm", Op::LayerNorm { axes: vec![1], eps: Real(1e-5) }, &[x, g, b])
    });
    add("layer_norm_channels", graph);
    let graph = model("layer_norm_map", dtype, &map, |net, x, weight| {
        let (g, b) = (weight(net, "g", &[8, 6, 5]), weight(net, "b", &[8, 6, 5]));
        net.push("norm", Op::LayerNorm { axes: vec![1, 2, 3], eps: Real(1e-5) }, &[x, g, b])
    });
    add("layer_norm_map", graph);
    let graph = model("avg_pool_odd", dtype, &map, |net, x, _| {
        net.push("pool", Op::AvgPool { kernel: [3, 2], stride: [2, 1], pad: [2, 1, 0, 0] }, &[x])
    });
    add("avg_pool_odd", graph);
    let graph = model("conv_odd", dtype, &map, |net, x, weight| {
        let w = weight(net, "w", &[4, 8, 3, 2]);
        net.push("conv", Op::Conv { stride: [2, 1], pad: [0, 1, 2, 0], dilation: [1; 2], groups: 1 }, &[x, w])
    });
    add("conv_odd", graph);
    for (name, sampling, size) in [
        ("resize_bilinear_whole", Sampling::LINEAR, [18, 10]),
        ("resize_bilinear_down", Sampling::LINEAR, [3, 7]),
        ("resize_nearest_whole", Sampling::NEAREST, [12, 15]),
        ("resize_nearest_odd", Sampling::NEAREST, [4, 13]),
    ] {
        add(
            name,
            model(name, dtype, &map, |net, x, _| net.push("resized", Op::Resize { sampling, size, scale: None }, &[x])),
        );
    }
    let graph = model("expand_last", dtype, &[1, 8, 6, 1], |net, x, _| {
        net.push("wide", Op::Expand { shape: Shape::fixed(&[3, 8, 6, 4]) }, &[x])
    });
    add("expand_last", graph);
    let graph = model("rank_five", dtype, &[1, 8, 6, 6], |net, x, _| {
        let y = net.reshape("windows", x, Shape::fixed(&[1, 8, 2, 3, 6]));
        net.transpose("moved", y, &[0, 2, 3, 4, 1])
    });
    add("rank_five", graph);
    let graph = model("degenerate", dtype, &map, |net, x, _| {
        // Nodes that move nothing.
        let y = net.push("one", Op::Concat { axis: 1 }, &[x]);
        let y = net.push("piece", Op::Split { axis: 1, sizes: vec![8] }, &[y]);
        let y = net.push("none", Op::Pad { before: vec![0; 4], after: vec![0; 4], mode: PadMode::ZERO }, &[y]);
        let y = net.push("all", Op::Clip { lo: Real(f64::NEG_INFINITY), hi: Real(f64::INFINITY) }, &[y]);
        net.push("nothing", Op::Reduce { kind: ReduceKind::Sum, axes: vec![], keep: false }, &[y])
    });
    add("degenerate", graph);
    let graph = model("names", dtype, &map, |net, x, weight| {
        // Paths that become the same identifier, MIL's own words, and a small constant.
        let mut y = x;
        for name in ["a.b", "a_b", "0.1", "fp16", "größe", "logits", "a_b_2"] {
            let w = weight(net, &format!("{name}.w"), &[5]);
            y = net.at(name).add(y, w);
        }
        y
    });
    add("names", graph);
    all
}

/// The shared samples with the operator of iOS 18 for attention, which ONNX has from opset 23.
pub(crate) fn attention(dtype: DType) -> Vec<(String, Graph)> {
    let all = samples(Variant { opset: 23, ..variant(dtype) });
    all.into_iter().filter(|(name, _)| name.starts_with("attention")).collect()
}
