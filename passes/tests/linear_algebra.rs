//! The rewrites that the cost model chooses: linear work around attention multiplied out, chains fused, channels carried through a
//! depthwise convolution, biases moved. On random blocks of that kind, with odd maps, pools that reach beyond them and even kernels, each keeps the function; and
//! a machine on which only launches cost takes them all.

mod common;

use common::{deploy, lower};
use vitc_ir::net::paper;
use vitc_ir::op::{AttentionLayout, Op};
use vitc_ir::testing::{Rng, assert_same_function};
use vitc_ir::valid::validate;
use vitc_ir::{ConvSpec, DType, Dim, Graph, Net, Output, Shape, Target, Type, UnaryKind, Value, cost};
use vitc_passes::LowerOptions;

const SEEDS: u64 = 60;
const EXACT: f64 = 1e-9;

/// Plain 1x1 convolutions, with bias or not.
fn pointwise(net: &mut Net, rng: &mut Rng, x: Value, out: usize) -> Value {
    let spec = ConvSpec::new(out, 1);
    net.conv(x, if rng.chance(70) { spec } else { spec.no_bias() })
}

fn average(net: &mut Net, rng: &mut Rng, x: Value, side: usize) -> Value {
    let sides = [net.dim(x, 2), net.dim(x, 3)];
    // Down to the last whole window, or beyond the border.
    let pad = sides.map(|s| if rng.chance(50) || s < side { s.next_multiple_of(side) - s } else { 0 });
    net.push("average", Op::AvgPool { kernel: [side; 2], stride: [side; 2], pad: [0, 0, pad[0], pad[1]] }, &[x])
}

/// Attention on some channels, depthwise mixing of others, both from projections of one map: the shape of FMViT's block.
fn mixed_frequencies(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let heads = rng.range(1, 2);
    let (low, high) = (2 * heads, 2 * rng.range(1, 2));
    let z = pointwise(&mut net.at("proj"), rng, x, low);
    let q = pointwise(&mut net.at("q"), rng, z, low);
    let (side, shared) = (rng.range(1, 3), rng.chance(60));
    let pooled = if side > 1 { average(&mut net.at("reduced"), rng, z, side) } else { z };
    let k = match (shared, side) {
        (true, 1) => q,
        (true, _) => {
            let op = net.graph().op(pooled).clone();
            net.push("k", op, &[q])
        }
        _ => pointwise(&mut net.at("k"), rng, pooled, low),
    };
    let v = pointwise(&mut net.at("v"), rng, pooled, low);
    let y = net.attention("attention", [q, k, v], None, heads, 0.7, AttentionLayout::Channels);
    let y = pointwise(&mut net.at("out"), rng, y, low);
    let late = net.add(y, z);
    let post = pointwise(&mut net.at("post"), rng, late, high / 2);
    let pre = pointwise(&mut net.at("pre"), rng, z, high - high / 2);
    let join = net.concat("high", &[post, pre], 1);
    let kernel = rng.pick(&[1, 3, 5]);
    let mixed = net.at("mix").conv(join, ConvSpec::new(high, kernel).depthwise());
    net.concat("all", &[late, mixed], 1)
}

/// Two linear maps in a row: a strided kernel or an average, then a 1x1.
fn chain(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = net.dim(x, 1);
    let spec = ConvSpec::new(c, rng.range(1, 3)).stride(rng.range(1, 2));
    let y = match rng.below(3) {
        0 => average(net, rng, x, 2),
        1 => net.at("depthwise").conv(x, spec.depthwise()),
        _ => net.at("dense").conv(x, spec),
    };
    let out = rng.range(2, 5);
    pointwise(&mut net.at("proj"), rng, y, out)
}

/// Equal chains over the first parts of a split, gated per pixel and per channel: the shape of CAS-ViT's block.
fn towers(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = rng.range(2, 3);
    let n = rng.range(2, 3);
    let extra = rng.range(0, 1);
    let x = pointwise(&mut net.at("qkv"), rng, x, (n + extra) * c);
    let parts = net.split("split", x, 1, &vec![c; n + extra]);
    let gate = if rng.chance(50) { 1 } else { c };
    let kernel = rng.pick(&[1, 3]);
    let mut sum: Option<Value> = None;
    for (i, &part) in parts[..n].iter().enumerate() {
        let mut net = net.at(format!("tower_{i}"));
        let y = net.at("mix").conv(part, ConvSpec::new(c, kernel).depthwise());
        let y = net.relu(y);
        let y = net.at("pixel").conv(y, ConvSpec::new(gate, 1).no_bias());
        let y = net.unary("sigmoid", UnaryKind::Sigmoid, y);
        let y = net.at("pixel").mul(part, y);
        let z = net.mean(y, &[2, 3], true);
        let z = net.at("channel").conv(z, ConvSpec::new(c, 1));
        let y = net.at("channel").mul(y, z);
        sum = Some(sum.map_or(y, |s| net.add(s, y)));
    }
    let sum = sum.expect("there is a tower");
    if extra == 1 { net.mul(sum, parts[n]) } else { sum }
}

fn graph(seed: u64) -> Graph {
    let mut graph = paper(format!("linear-{seed}"));
    let rng = &mut Rng::new(seed);
    let net = &mut Net::new(&mut graph);
    let shape = Shape::batched(Dim::Batch(1), &[rng.range(2, 4), rng.range(3, 8), rng.range(3, 8)]);
    let mut x = net.input("image", Type::new(DType::F32, shape));
    for i in 0..2 {
        let mut net = net.at(format!("blocks.{i}"));
        x = match rng.below(4) {
            0 => chain(&mut net, rng, x),
            1 => towers(&mut net, rng, x),
            _ => mixed_frequencies(&mut net, rng, x),
        };
        if rng.chance(50) {
            x = net.unary("act", UnaryKind::Gelu, x);
        }
    }
    graph.outputs.push(Output { name: "map".into(), value: x });
    graph
}

/// A machine on which a launch is all that costs.
fn launches_only() -> Target {
    let mut target = Target::tensorrt(17);
    target.cost.rate = 1e12;
    target.cost.bandwidth = 1e12;
    target
}

#[test]
fn multiplied_out_graphs_compute_the_same() {
    let options = LowerOptions::new(DType::F32, DType::F32);
    for target in [launches_only(), Target::onnx(17), Target::tensorrt(17), Target::coreml(15)] {
        for seed in 0..SEEDS {
            let paper = graph(seed);
            let (lowered, _) = lower(&deploy(&paper).0, &target, &options);
            validate(&lowered, Some(&target)).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", target.name()));
            assert_same_function(&paper, &lowered, seed, EXACT);
        }
    }
}

#[test]
fn each_rewrite_is_met() {
    let options = LowerOptions::new(DType::F32, DType::F32);
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..SEEDS {
        let (deployed, report) = deploy(&graph(seed));
        let (_, lowering) = lower(&deployed, &launches_only(), &options);
        for line in report.into_iter().chain(lowering) {
            *counts.entry(line.pass).or_insert(0) += line.count;
        }
    }
    for pass in [
        "move_biases",
        "fold_attention_scale",
        "widen_depthwise",
        "multiply_out",
        "fuse_linear_chains",
        "merge_towers",
        "merge_siblings",
    ] {
        assert!(counts[pass] > 0, "{pass} found nothing to do in {SEEDS} graphs: {counts:?}");
    }
}

/// Where multiply-accumulates are what costs, nothing is multiplied out.
#[test]
fn work_never_rises_on_a_slow_machine() {
    let mut target = Target::onnx(17);
    target.cost.rate = 1e-6;
    let options = LowerOptions::new(DType::F32, DType::F32);
    for seed in 0..SEEDS {
        let (deployed, _) = deploy(&graph(seed));
        let (lowered, report) = lower(&deployed, &target, &options);
        let [before, after] = [&deployed, &lowered].map(cost::total_macs);
        assert!(after <= before, "seed {seed}: {before} rose to {after}: {report:?}\n{deployed}\n{lowered}");
    }
}
