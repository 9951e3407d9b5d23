//! Stretches around norms over channels, laid out with channels last: the function stays, and the transposes stand at their ends.

mod common;

use common::{deploy, lower};
use vitc_ir::net::paper;
use vitc_ir::op::{Generator, Op, ReduceKind};
use vitc_ir::testing::{Rng, assert_same_function};
use vitc_ir::{
    BinaryKind, ConvSpec, DType, Dim, Graph, Net, Output, Shape, Target, Type, UnaryKind, Value, parse, validate,
};
use vitc_passes::{LowerOptions, Spectral};

const SEEDS: u64 = 60;
/// The bases of the transforms are rounded to f32.
const TOLERANCE: f64 = 1e-5;

fn lowered(paper: &Graph, target: &Target, spectral: Spectral) -> Graph {
    let options = LowerOptions { spectral, ..LowerOptions::new(DType::F32, DType::F32) };
    let (graph, _) = lower(&deploy(paper).0, target, &options);
    validate(&graph, Some(target)).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    graph
}

/// TensorRT's data with and without the layout.
fn targets() -> [Target; 2] {
    let last = Target::tensorrt(17);
    [Target { channels_last: false, ..last.clone() }, last]
}

fn count(graph: &Graph, word: &str) -> usize {
    graph.run_time_nodes().filter(|(_, n)| n.op.word() == word).count()
}

fn pointwise(net: &mut Net, rng: &mut Rng, x: Value, out: usize) -> Value {
    let spec = ConvSpec::new(out, 1);
    net.conv(x, if rng.chance(70) { spec } else { spec.no_bias() })
}

/// A gate per group of channels and position: `[B,2,K]` from the mean, spread by a constant matrix, on the map seen as groups.
fn banded(net: &mut Net, bands: usize, x: Value) -> Value {
    let (batch, c, [h, w]) = (net.batch(x), net.dim(x, 1), [net.dim(x, 2), net.dim(x, 3)]);
    let mean = net.mean(x, &[2, 3], true);
    let gains = net.at("gains").conv(mean, ConvSpec::new(2 * bands, 1));
    let gains = net.reshape("gains.bands", gains, Shape::batched(batch, &[2, bands]));
    let masks = net.generate("masks", Generator::Iota { axis: 1 }, Type::f32(&[bands, h * w]));
    let small = net.scalar(0.01);
    let masks = net.binary("masks.small", BinaryKind::Mul, masks, small);
    let weights = net.matmul("weights", gains, masks);
    let weights = net.reshape("weights.map", weights, Shape::batched(batch, &[2, 1, h, w]));
    let groups = net.reshape("groups", x, Shape::batched(batch, &[2, c / 2, h, w]));
    let y = net.binary("select", BinaryKind::Mul, groups, weights);
    net.reshape("ungrouped", y, Shape::batched(batch, &[c, h, w]))
}

/// One step on a map of even width that keeps its shape.
fn step(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let (c, [h, w]) = (net.dim(x, 1), [net.dim(x, 2), net.dim(x, 3)]);
    match rng.below(13) {
        // Not so small an epsilon that rounding shows where channels are equal.
        0 | 10.. => net.layer_norm(x, 1, 1e-2),
        1 => pointwise(net, rng, x, c),
        2 => {
            let y = pointwise(&mut net.at("fc1"), rng, x, 2 * c);
            let y = net.gelu(y);
            pointwise(&mut net.at("fc2"), rng, y, c)
        }
        3 => {
            let s = net.push("dct", Op::Dct2, &[x]);
            let s = banded(net, rng.range(1, 4), s);
            net.push("idct", Op::Idct2, &[s])
        }
        4 => {
            let kind = rng.pick(&[ReduceKind::Mean, ReduceKind::Max]);
            let gate = net.push("squeeze", Op::Reduce { kind, axes: vec![2, 3], keep: true }, &[x]);
            let gate = pointwise(&mut net.at("gate"), rng, gate, c);
            let gate = net.unary("gate.act", UnaryKind::Sigmoid, gate);
            net.mul(x, gate)
        }
        5 => {
            let dims = rng.pick(&[[c, 1, 1], [c, h, w], [1, h, w]]);
            let weight = net.weight("scale", &dims);
            if rng.chance(50) { net.mul(x, weight) } else { net.binary("from", BinaryKind::Sub, weight, x) }
        }
        6 => net.conv(x, ConvSpec::new(c, 3).depthwise()),
        7 => net.unary("tanh", UnaryKind::Tanh, x),
        8 => {
            let basis = Type::f32(&[h, h]);
            let basis = net.generate("basis", Generator::DctBasis { n: h }, basis);
            net.matmul("left", basis, x)
        }
        _ => net.push("clip", Op::Clip { lo: (-1.0).into(), hi: 2.0.into() }, &[x]),
    }
}

fn random(seed: u64) -> Graph {
    let mut rng = Rng::new(seed);
    let mut graph = paper("layout");
    let batch = if seed.is_multiple_of(2) { Dim::Batch(1) } else { Dim::Fixed(2) };
    let mut net = Net::new(&mut graph);
    let c = 2 * rng.range(1, 3);
    let sides = [rng.range(1, 5), rng.range(1, 5)];
    let mut x = net.input("image", Type::new(DType::F32, Shape::batched(batch, &[c, sides[0], sides[1]])));
    let mut kept = Vec::new();
    for i in 0..rng.range(3, 9) {
        let y = step(&mut net.at(i), &mut rng, x);
        x = if rng.chance(50) { net.at(i).add(x, y) } else { y };
        if rng.chance(15) {
            kept.push(x);
        }
    }
    kept.push(x);
    kept.push(net.at("pool").mean(x, &[2, 3], false));
    kept.dedup();
    graph.outputs = kept.iter().enumerate().map(|(i, &value)| Output { name: format!("y{i}"), value }).collect();
    graph
}

#[test]
fn the_layout_preserves_the_function() {
    let mut changed = 0;
    for seed in 0..SEEDS {
        let graph = random(seed);
        for spectral in [Spectral::Dense, Spectral::Separable] {
            let [first, last] = targets().map(|t| lowered(&graph, &t, spectral));
            assert_same_function(&graph, &last, seed, TOLERANCE);
            // The moves of a stretch are priced, not counted: small ones may be more than the large ones that they replace.
            changed += usize::from(first.to_string() != last.to_string());
        }
    }
    assert!(changed > SEEDS as usize / 4, "only {changed} graphs had a stretch, so this test says little");
}

/// Blocks of norm, transform, norm, two layers, as DSM has them, between convolutions.
fn stage(blocks: usize) -> Graph {
    let mut graph = paper("stage");
    let mut net = Net::new(&mut graph);
    let image = net.input("image", Type::new(DType::F32, Shape::batched(Dim::Batch(1), &[4, 7, 7])));
    let mut x = net.at("down").conv(image, ConvSpec::new(4, 3));
    for i in 0..blocks {
        let mut net = net.at(i);
        let y = net.at("norm1").layer_norm(x, 1, 1e-6);
        let y = net.at("proj_in").conv(y, ConvSpec::new(4, 1));
        let y = net.push("dct", Op::Dct2, &[y]);
        let y = banded(&mut net, 3, y);
        let y = net.push("idct", Op::Idct2, &[y]);
        let y = net.at("proj_out").conv(y, ConvSpec::new(4, 1));
        x = net.at("mixer").add(x, y);
        let y = net.at("norm2").layer_norm(x, 1, 1e-6);
        let y = net.at("fc1").conv(y, ConvSpec::new(8, 1));
        let y = net.gelu(y);
        let y = net.at("fc2").conv(y, ConvSpec::new(4, 1));
        x = net.add(x, y);
    }
    let y = net.at("up").conv(x, ConvSpec::new(4, 3));
    graph.outputs = vec![Output { name: "y".into(), value: y }];
    graph
}

/// Two transposes of maps at the ends, one of a few gains per block, for two of maps per norm.
#[test]
fn a_stage_is_entered_and_left_once() {
    for blocks in 1..4 {
        for spectral in [Spectral::Dense, Spectral::Separable] {
            let graph = stage(blocks);
            let [first, last] = targets().map(|t| lowered(&graph, &t, spectral));
            assert_same_function(&graph, &last, 7, TOLERANCE);
            assert_eq!(count(&first, "transpose"), 4 * blocks, "{first}");
            assert_eq!(count(&last, "transpose"), 2 + blocks, "{last}");
            // What is left of the convolutions: those with a kernel, and the gains of one position.
            assert_eq!(count(&last, "conv"), 2 + blocks, "{last}");
            let map = |n: &vitc_ir::Node| n.op.word() == "transpose" && n.types[0].shape.elements() == 4 * 7 * 7;
            assert_eq!(last.run_time_nodes().filter(|(_, n)| map(n)).count(), 2, "{last}");
        }
    }
}

/// Where entering and leaving costs what the norm's own transposes cost, nothing changes.
#[test]
fn a_norm_between_kernels_stays() {
    let text = "graph g  stage=paper\n%x: f32[B,4,6,5] = input\n\
        %a: f32[B,4,6,5] = conv(%x, weight\"a\":f32[4,4,3,3]){stride=1, pad=1}\n\
        %n: f32[B,4,6,5] = layer_norm(%a, weight\"s\":f32[4], weight\"t\":f32[4]){axes=[1], eps=1e-6}\n\
        %b: f32[B,4,6,5] = conv(%n, weight\"b\":f32[4,4,3,3]){stride=1, pad=1}\noutputs y=%b";
    let [first, last] = targets().map(|t| lowered(&parse(text).unwrap(), &t, Spectral::Auto));
    assert_eq!(first.to_string(), last.to_string());
}
