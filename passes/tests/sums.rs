//! Sums of sums as one: what is merged, what stays, and that the function does.

mod common;

use common::lower;
use vitc_ir::net::paper;
use vitc_ir::testing::{Rng, assert_same_function};
use vitc_ir::{BinaryKind, DType, Dim, Graph, Net, Output, Shape, Target, Type, UnaryKind, parse, validate};
use vitc_passes::LowerOptions;

fn lowered(graph: &Graph, target: &Target) -> Graph {
    let (lowered, _) = lower(&graph.clone().pruned(), target, &LowerOptions::new(DType::F32, DType::F32));
    validate(&lowered, Some(target)).unwrap_or_else(|e| panic!("{e}\n{lowered}"));
    lowered
}

/// The operators of `body` after the lowering for ONNX Runtime; %a to %d are maps that elementwise operators made.
fn operators(body: &str, outputs: &str) -> Vec<&'static str> {
    let map = "f32[B,4,3,3]";
    let mut text = String::from("graph g  stage=deploy\n");
    for name in ["a", "b", "c", "d"] {
        text += &format!("%{name}.in: {map} = input\n%{name}: {map} = tanh(%{name}.in)\n");
    }
    let graph = parse(&format!("{text}{body}outputs {outputs}")).unwrap_or_else(|e| panic!("{e}"));
    let after = lowered(&graph, &Target::onnx(17));
    assert_same_function(&graph, &after, 1, 1e-12);
    after.run_time_nodes().map(|(_, n)| n.op.word()).filter(|w| *w != "tanh").collect()
}

#[test]
fn a_sum_of_sums_is_one() {
    let t = "f32[B,4,3,3]";
    let chain = format!("%x: {t} = add(%a, %b)\n%y: {t} = add(%c, %x)\n%z: {t} = add(%y, %d)\n");
    assert_eq!(operators(&chain, "z=%z"), ["sum"]);
    let tree = format!("%x: {t} = add(%a, %b)\n%y: {t} = add(%c, %d)\n%z: {t} = add(%x, %y)\n");
    assert_eq!(operators(&tree, "z=%z"), ["sum"]);
    // What something else reads is made.
    assert_eq!(operators(&chain, "y=%y, z=%z"), ["sum", "add"]);
    assert_eq!(operators(&format!("%x: {t} = add(%a, %b)\n"), "x=%x"), ["add"]);
    // A bias is a summand too, in front of a norm as anywhere.
    let bias = format!(
        "%x: {t} = add(%a, weight\"c\":f32[4,1,1])\n%y: {t} = add(%b, %x)\n\
        %n: {t} = layer_norm(%y, weight\"s\":f32[3], weight\"t\":f32[3]){{axes=[3], eps=1e-5}}\n"
    );
    assert_eq!(operators(&bias, "y=%y, n=%n"), ["sum", "layer_norm"]);
}

#[test]
fn sums_that_are_part_of_a_kernel_stay() {
    let t = "f32[B,4,3,3]";
    let conv = format!(
        "%k: {t} = conv(%a, weight\"k\":f32[4,4,3,3]){{stride=1, pad=1}}\n%x: {t} = add(%k, %b)\n%y: {t} = add(%c, %x)\n"
    );
    assert_eq!(operators(&conv, "y=%y"), ["conv", "add", "add"]);
    // So does what is broadcast and no constant.
    let broadcast = format!(
        "%r: f32[B,4,1,1] = reduce_max(%d){{axes=[2,3], keep}}\n%x: {t} = add(%a, %r)\n%y: {t} = add(%x, %b)\n"
    );
    assert_eq!(operators(&broadcast, "y=%y"), ["reduce_max", "add", "add"]);
}

#[test]
fn random_sums_stay_the_function() {
    let mut merged = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut graph = paper("sums");
        let mut net = Net::new(&mut graph);
        let shape = Shape::batched(Dim::Batch(1), &[rng.range(1, 3), rng.range(1, 3)]);
        let mut values: Vec<_> =
            (0..3).map(|i| net.input(&format!("x{i}"), Type::new(DType::F32, shape.clone()))).collect();
        for i in 0..rng.range(3, 9) {
            let [a, b] = [0, 1].map(|_| values[rng.below(values.len())]);
            let y = match rng.below(6) {
                0 => net.unary(i, UnaryKind::Tanh, a),
                1 => net.binary(i, BinaryKind::Mul, a, b),
                2 => {
                    let all = net.ty(a).shape.0[1..].iter().map(|d| d.at(1)).collect::<Vec<_>>();
                    let c =
                        net.weight(format!("c{i}"), rng.pick(&[&all[..], &all[1..], &[1, all[1]], &[all[0], 1], &[]]));
                    net.binary(i, BinaryKind::Add, a, c)
                }
                _ => net.binary(i, BinaryKind::Add, a, b),
            };
            values.push(y);
        }
        let last = [values.len() - 1, 3 + rng.below(values.len() - 3)];
        graph.outputs =
            last.iter().enumerate().map(|(i, &v)| Output { name: format!("y{i}"), value: values[v] }).collect();
        for target in [Target::onnx(17), Target::tensorrt(17), Target::coreml(15)] {
            let after = lowered(&graph, &target);
            assert_same_function(&graph, &after, seed, 1e-9);
            let sums = after.run_time_nodes().filter(|(_, n)| n.op.word() == "sum").count();
            assert!(target.sum || sums == 0, "{}", target.name());
            merged += sums;
        }
    }
    assert!(merged > 20, "{merged} sums");
}
