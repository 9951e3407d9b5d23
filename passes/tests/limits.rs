//! Time and panics: graphs that are long, deep or of forms that no model has come through every list in time, as a graph or an error.

mod common;

use common::{deploy, lower};
use vitc_ir::net::paper;
use vitc_ir::op::{AttentionLayout, Op};
use vitc_ir::target::AttentionForm;
use vitc_ir::testing::assert_same_function;
use vitc_ir::valid::validate;
use vitc_ir::{BinaryKind, ConvSpec, DType, Dim, Graph, Net, Output, Shape, Target, Type, UnaryKind, Value};
use vitc_passes::{Context, LowerOptions, Pass, Rewritten, run_to_rest};

fn targets() -> [Target; 4] {
    [Target::onnx(17), Target::tensorrt(17), Target::coreml(15), Target::coreml(18)]
}

fn options() -> LowerOptions {
    LowerOptions::new(DType::F32, DType::F32)
}

fn graph(shape: Shape, build: impl FnOnce(&mut Net, Value) -> Value) -> Graph {
    let mut graph = paper("limits");
    let net = &mut Net::new(&mut graph);
    let x = net.input("image", Type::new(DType::F32, shape));
    let value = build(net, x);
    graph.outputs.push(Output { name: "y".into(), value });
    graph
}

/// Blocks `W·[x ; V·x]`, whose expressions double with each block if they are put together by walking every way through them.
fn doubling(blocks: usize) -> Graph {
    graph(Shape::batched(Dim::Fixed(1), &[4, 3, 3]), |net, mut x| {
        for block in 0..blocks {
            let mut net = net.at(format!("blocks.{block}"));
            let v = net.at("v").conv(x, ConvSpec::new(2, 1));
            let both = net.concat("both", &[x, v], 1);
            x = net.at("w").conv(both, ConvSpec::new(4, 1));
        }
        x
    })
}

#[test]
fn expressions_do_not_double_with_each_block() {
    let mut eager = Target::tensorrt(17);
    (eager.cost.rate, eager.cost.bandwidth) = (1e12, 1e12);
    for target in targets().into_iter().chain([eager]) {
        let small = doubling(3);
        let (lowered, _) = lower(&deploy(&small).0, &target, &options());
        assert_same_function(&small, &lowered, 1, 1e-9);
        let _ = lower(&deploy(&doubling(40)).0, &target, &options());
    }
}

/// Convolutions, sums and functions in a row, twenty thousand of them.
fn long(nodes: usize) -> Graph {
    graph(Shape::batched(Dim::Fixed(1), &[2, 2, 2]), |net, mut x| {
        for block in 0..nodes / 4 {
            let mut net = net.at(format!("blocks.{block}"));
            let y = net.at("conv").conv(x, ConvSpec::new(2, 1));
            let y = if block % 3 == 0 { net.unary("act", UnaryKind::Gelu, y) } else { y };
            let z = net.at("other").conv(x, ConvSpec::new(2, 1).no_bias());
            x = net.binary("sum", BinaryKind::Add, y, z);
        }
        x
    })
}

#[test]
fn time_is_linear_in_nodes() {
    let time = |nodes: usize| {
        let graph = long(nodes);
        let start = std::time::Instant::now();
        let (deployed, _) = deploy(&graph);
        for target in targets() {
            let _ = lower(&deployed, &target, &options());
        }
        start.elapsed()
    };
    let (short, long) = (time(2_000), time(20_000));
    assert!(long < 40 * short, "2,000 nodes took {short:?}, 20,000 took {long:?}");
}

/// Sums of sums of branches: not every way to pair them is tried.
#[test]
fn long_sums_of_branches_end() {
    let graph = graph(Shape::batched(Dim::Fixed(1), &[2, 3, 3]), |net, x| {
        let mut side = |name: &str| {
            let mut sum = net.unary(format!("{name}.first"), UnaryKind::Relu, x);
            for i in 0..40 {
                let kind = if i % 2 == 0 { UnaryKind::Tanh } else { UnaryKind::Sigmoid };
                let y = net.unary(format!("{name}.{i}"), kind, sum);
                let z = net.unary(format!("{name}.{i}.x"), kind, y);
                sum = net.binary(format!("{name}.{i}.sum"), BinaryKind::Add, y, z);
            }
            sum
        };
        let (a, b) = (side("a"), side("b"));
        net.add(a, b)
    });
    let _ = deploy(&graph);
}

#[test]
fn every_attention_layout_is_lowered_on_every_target() {
    for layout in [AttentionLayout::Channels, AttentionLayout::Tokens, AttentionLayout::Heads] {
        for talking in [false, true] {
            let paper = graph(Shape::batched(Dim::Fixed(2), &[8, 3, 4]), |net, x| {
                let x = match layout {
                    AttentionLayout::Channels => x,
                    AttentionLayout::Tokens => {
                        let flat = net.reshape("flat", x, Shape::batched(Dim::Fixed(2), &[8, 12]));
                        net.transpose("tokens", flat, &[0, 2, 1])
                    }
                    AttentionLayout::Heads => {
                        let heads = net.reshape("heads", x, Shape::batched(Dim::Fixed(2), &[2, 4, 12]));
                        net.transpose("tokens", heads, &[0, 1, 3, 2])
                    }
                };
                let k = net.unary("k", UnaryKind::Tanh, x);
                let v = net.unary("v", UnaryKind::Sigmoid, x);
                let bias = net.weight("bias", &[2, 12, 12]);
                let mut inputs = vec![x, k, v, bias];
                if talking {
                    for (name, dims) in [("w1", &[2, 2][..]), ("b1", &[2]), ("w2", &[2, 2]), ("b2", &[2])] {
                        inputs.push(net.weight(name, dims));
                    }
                }
                let op = Op::Attention { heads: 2, scale: 0.7.into(), layout, bias: true, talking };
                net.push("attention", op, &inputs)
            });
            for target in targets().into_iter().chain([Target::onnx(23)]) {
                let operator = target.attention_operator().then_some(AttentionForm::Operator);
                let forms = [AttentionForm::Compact, AttentionForm::Fused, AttentionForm::PerHead];
                for form in forms.into_iter().chain(operator) {
                    let options = LowerOptions { attention: Some(form), ..options() };
                    let (lowered, _) = lower(&deploy(&paper).0, &target, &options);
                    validate(&lowered, Some(&target)).unwrap_or_else(|e| panic!("{layout:?} {form:?}: {e}\n{lowered}"));
                    assert_same_function(&paper, &lowered, 3, 1e-9);
                }
            }
        }
    }
}

/// One pass negates, the other takes the negation back: the list stops and says which.
#[test]
fn passes_that_undo_each_other_are_named() {
    fn swapped(graph: &Graph, from: UnaryKind, to: UnaryKind) -> vitc_passes::Result {
        let mut copy = vitc_ir::Copier::new(graph, graph.stage);
        for (id, node) in graph.nodes() {
            if node.op == Op::Unary(from) {
                let inputs = copy.inputs(id)?;
                let y = copy.new.push(Op::Unary(to), &inputs, &node.path)?;
                copy.set(id.into(), y.into());
            } else {
                copy.node(id)?;
            }
        }
        Ok(Rewritten::new(copy.finish()?, 1))
    }
    let passes = [
        Pass::everywhere("ping", |g, _| swapped(g, UnaryKind::Relu, UnaryKind::Abs)),
        Pass::everywhere("pong", |g, _| swapped(g, UnaryKind::Abs, UnaryKind::Relu)),
        Pass::everywhere("idle", |g, _| Ok(Rewritten::unchanged(g))),
    ];
    let graph = graph(Shape::batched(Dim::Fixed(1), &[2]), |net, x| net.relu(x));
    let error = run_to_rest(&graph, &passes, &Context::independent(), &mut |_, _| ()).expect_err("it has no end");
    assert_eq!(error.pass, "ping and pong", "{error}");
}
