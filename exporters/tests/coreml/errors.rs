//! What cannot be written is an error that says where and why.

use super::{more, samples::Hashed};
use vitc_exporters::ExportError;
use vitc_exporters::coreml::{self, InputForm, Interface};
use vitc_ir::op::AttentionLayout;
use vitc_ir::{DType, Dim, Graph, Net, Op, Output, Real, Shape, Stage, Target, Type};

fn error(graph: &Graph, target: &Target, interface: &Interface) -> ExportError {
    let folder = tempfile::tempdir().expect("a folder");
    coreml::write(graph, &Hashed, target, interface, &super::metadata(DType::F32), folder.path())
        .expect_err("must be refused")
}

fn refused(graph: &Graph) -> String {
    error(graph, &Target::coreml(26), &Interface::default()).to_string()
}

#[test]
fn operators_that_were_not_lowered_are_named() {
    let build = |op: Op, dims: &[usize], weights: &[&[usize]]| {
        more::model("late", DType::F32, dims, |net, x, weight| {
            let mut inputs = vec![x];
            inputs.extend(weights.iter().enumerate().map(|(i, d)| weight(net, &format!("w{i}"), d)));
            net.push("blocks.3.op", op, &inputs)
        })
    };
    let attention = |scale, layout| Op::Attention { heads: 2, scale: Real(scale), layout, bias: false, talking: false };
    type Case<'a> = (Op, &'a [usize], &'a [&'a [usize]]);
    let cases: Vec<Case<'_>> = vec![
        (Op::BatchNorm { eps: Real(1e-5) }, &[1, 4], &[&[4], &[4], &[4], &[4]]),
        (Op::Dct2, &[1, 4, 2, 2], &[]),
        (Op::WindowPartition { window: [2, 2] }, &[1, 4, 2, 2], &[]),
        (Op::Linear, &[1, 2, 2, 4], &[&[3, 4]]),
        (Op::Prelu, &[1, 4, 2, 2], &[&[1]]),
        (Op::LayerNorm { axes: vec![1, 2], eps: Real(1e-5) }, &[1, 4, 6], &[&[4, 1], &[4, 1]]),
        (Op::Clip { lo: Real(1.0), hi: Real(1.0) }, &[1, 4], &[]),
        (Op::Reshape { shape: Shape::fixed(&[1, 2, 1, 2, 1, 2]) }, &[1, 8], &[]),
        // The operator's factor is fixed, and it knows no tokens.
        (attention(0.5, AttentionLayout::Heads), &[1, 2, 3, 8], &[&[1, 2, 3, 8], &[1, 2, 3, 8]]),
        (attention(0.25, AttentionLayout::Tokens), &[1, 3, 32], &[&[1, 3, 32], &[1, 3, 32]]),
    ];
    for (op, dims, weights) in cases {
        let word = op.word();
        let graph = build(op, dims, weights);
        let error = error(&graph, &Target::coreml(26), &Interface::default());
        let named = matches!(&error, ExportError::NotLowered { op, path, .. } if *op == word && path == "blocks.3.op");
        assert!(named, "{word}: {error}");
    }
}

#[test]
fn targets_and_shapes_that_do_not_fit() {
    let (_, graph) = more::all(DType::F32).into_iter().next().expect("there is one");
    let interface = Interface::default();
    assert!(error(&graph, &Target::onnx(17), &interface).to_string().contains("not a CoreML target"));
    assert!(error(&graph, &Target::coreml(14), &interface).to_string().contains("15, 16, 17, 18, 26"));

    let mut graph = Graph::new("dynamic", Stage::Target);
    let mut net = Net::new(&mut graph);
    let x = net.input("image", Type::new(DType::F32, Shape::batched(Dim::Batch(1), &[4])));
    let y = net.relu(x);
    graph.outputs.push(Output { name: "logits".into(), value: y });
    assert!(refused(&graph).contains("one batch size"));
}

#[test]
fn the_operator_for_attention_needs_its_system() {
    for (name, graph) in more::attention(DType::F32) {
        let error = error(&graph, &Target::coreml(17), &Interface::default()).to_string();
        assert!(error.contains("iOS 17 cannot hold this: iOS 18 is needed"), "{name}: {error}");
    }
}

#[test]
fn interfaces_that_do_not_fit() {
    let mut graph = Graph::new("names", Stage::Target);
    let mut net = Net::new(&mut graph);
    let x = net.input("image", Type::f32(&[1, 4]));
    let y = net.relu(x);
    let named = |name: &str| {
        let mut graph = graph.clone();
        graph.outputs.push(Output { name: name.into(), value: y });
        graph
    };
    assert!(refused(&named("the logits")).contains("is no name"));
    assert!(refused(&named("fp16")).contains("is no name"));
    assert!(refused(&named("image")).contains("two inputs or outputs are named image"));

    let labels = |n: usize| Interface { labels: Some(vec!["x".into(); n]), ..Interface::default() };
    let scores = named("logits");
    let write = |interface: &Interface| error(&scores, &Target::coreml(15), interface).to_string();
    assert!(write(&labels(3)).contains("3 labels need probabilities f32[1,3], found f32[1,4]"));
    let image = Interface { input: InputForm::Image, ..Interface::default() };
    assert!(write(&image).contains("an image input is f32[1,3,H,W] or f32[1,1,H,W], found f32[1,4]"));
}

#[test]
fn a_constant_that_overflows_is_named() {
    let graph = more::model("large", DType::F16, &[1, 100], |net, x, _| {
        let (w, factor) = (net.weight("fc.weight", &[100]), net.scalar(1e6));
        let w = net.mul(w, factor);
        let w = net.push("fc.half", Op::Cast { to: DType::F16 }, &[w]);
        net.mul(x, w)
    });
    let error = error(&graph, &Target::coreml(15), &Interface::default());
    assert!(matches!(&error, ExportError::Constant(_)) && error.to_string().contains("fc.half"), "{error}");
}
