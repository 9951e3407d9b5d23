//! What the writer writes computes what the evaluator computes: every operator with every kind of attribute, and random graphs.

use crate::runner::{Program, Request};
use vitc_ir::eval;
use vitc_ir::op::{
    AttentionLayout, BinaryKind, DepthOrder, GridKernel, Outside, ReduceKind, Sampling, SliceAxis, SpectralNorm,
    UnaryKind,
};
use vitc_ir::testing::{Options, random_graph, random_input, random_weights};
use vitc_ir::{DType, Dim, Graph, Op, Output, PadMode, Real, Shape, Stage, Type, Value};

/// An operand of the operator under test.
enum Operand<'a> {
    /// An input of the model, of these dimensions behind the batch.
    Input(&'a [usize]),
    /// A weight.
    Weight(&'a [usize]),
    /// Indices.
    Places(&'a [f64]),
}
use Operand::{Input, Places, Weight};

/// Run a graph both ways at a batch of three and compare what comes out.
fn assert_same(graph: &Graph, seed: u64, tolerance: f64) {
    const BATCH: usize = 3;
    let weights = random_weights(seed, graph);
    let inputs = random_input(seed, graph, BATCH);
    let session = Program::of_graph(graph, &weights).load(Request::outputs(BATCH));
    let session = session.unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let arrays: Vec<Vec<f32>> = inputs.iter().map(|x| x.iter().map(|&v| v as f32).collect()).collect();
    let named: Vec<(&str, &[f32])> =
        graph.inputs().map(|(_, node)| node.path.as_str()).zip(arrays.iter().map(Vec::as_slice)).collect();
    let got = session.run(&named).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let wanted = eval::run(graph, &weights, &inputs, BATCH).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    assert_eq!(got.len(), wanted.len());
    for ((g, w), output) in got.iter().zip(&wanted).zip(&graph.outputs) {
        assert_eq!((&g.name, &g.shape[..]), (&output.name, w.shape()), "{graph}");
        let scale = w.iter().fold(1f64, |m, v| m.max(v.abs()));
        let error = g.data.iter().zip(w).map(|(&a, &b)| (f64::from(a) - b).abs());
        let error = error.fold(0.0, |m: f64, e| if e > m || e.is_nan() { e } else { m });
        assert!(error <= tolerance * scale, "{error} of {scale}\n{graph}");
    }
}

/// One operator on its operands.
fn check(op: Op, operands: &[Operand<'_>]) {
    let mut graph = Graph::new(op.word(), Stage::Paper);
    let mut values: Vec<Value> = Vec::new();
    for (i, operand) in operands.iter().enumerate() {
        let leaf = match operand {
            Input(dims) => (Op::Input, Type::new(DType::F32, Shape::batched(Dim::Batch(1), dims)), format!("x{i}")),
            Weight(dims) => (Op::Weight { key: format!("w{i}") }, Type::f32(dims), format!("w{i}")),
            Places(at) => (Op::literal(at), Type::new(DType::I32, Shape::fixed(&[at.len()])), format!("places{i}")),
        };
        values.push(graph.push_leaf(leaf.0, leaf.1, &leaf.2).expect("a leaf"));
    }
    if matches!(op, Op::Unary(UnaryKind::Sqrt | UnaryKind::Log) | Op::Binary(BinaryKind::Pow)) {
        values[0] = graph.push(Op::Unary(UnaryKind::Abs), &values[..1], "abs").expect("fits").into();
    }
    let node = graph.push(op, &values, "node").unwrap_or_else(|e| panic!("{e}"));
    for index in 0..graph.node(node).types.len() as u32 {
        graph.outputs.push(Output { name: format!("y{index}"), value: Value { node, index } });
    }
    assert_same(&graph, 7, 1e-5);
}

/// What is looked up when the model runs is read from the table as it is stored.
#[test]
fn barriers_are_read_through() {
    let text = "graph g  stage=target\n%x: f32[B,2] = input\n%kept: f32[5,2] = keep(weight\"table\":f32[5,2])\n\
        %rows: f32[2,2] = gather(%kept, literal[4,0]:i32[2]){axis=0}\n%y: f32[B,2] = matmul(%x, %rows)\noutputs y=%y";
    assert_same(&vitc_ir::parse(text).expect("it is a graph"), 7, 1e-5);
}

const MAP: &[usize] = &[6, 5, 4];

#[test]
fn elementwise() {
    for kind in [
        UnaryKind::Relu,
        UnaryKind::Gelu,
        UnaryKind::Silu,
        UnaryKind::Sigmoid,
        UnaryKind::Tanh,
        UnaryKind::Erf,
        UnaryKind::Sqrt,
        UnaryKind::Exp,
        UnaryKind::Abs,
        UnaryKind::Neg,
        UnaryKind::Log,
        UnaryKind::Sin,
        UnaryKind::Cos,
        UnaryKind::Floor,
        UnaryKind::Ceil,
        UnaryKind::Round,
        UnaryKind::Sign,
        UnaryKind::Softplus,
        UnaryKind::GeluTanh,
        UnaryKind::HardSwish,
        UnaryKind::Elu { alpha: Real(0.7) },
        UnaryKind::LeakyRelu { slope: Real(0.1) },
        UnaryKind::HardSigmoid { alpha: Real(0.2), beta: Real(0.5) },
    ] {
        check(Op::Unary(kind), &[Input(MAP)]);
    }
    for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div, BinaryKind::Max, BinaryKind::Min] {
        check(Op::Binary(kind), &[Input(MAP), Weight(&[6, 1, 1])]);
        check(Op::Binary(kind), &[Weight(&[5, 1]), Input(MAP)]);
        check(Op::Binary(kind), &[Input(MAP), Input(&[1, 5, 1])]);
    }
    check(Op::Binary(BinaryKind::Pow), &[Input(MAP), Weight(&[4])]);
    check(Op::Sum, &[Input(MAP), Weight(&[4])]);
    check(Op::Sum, &[Input(MAP), Weight(&[6, 1, 1]), Input(&[1, 1, 4]), Weight(&[])]);
    for (lo, hi) in [(-0.5, 0.75), (f64::NEG_INFINITY, 0.5), (0.0, f64::INFINITY)] {
        check(Op::Clip { lo: Real(lo), hi: Real(hi) }, &[Input(MAP)]);
    }
    check(Op::Prelu, &[Input(MAP), Weight(&[6])]);
    check(Op::Prelu, &[Input(&[7]), Weight(&[1])]);
    check(Op::Cast { to: DType::F32 }, &[Input(MAP)]);
}

#[test]
fn products() {
    for (stride, pad) in [([1, 1], [0; 4]), ([2, 1], [1, 0, 2, 1]), ([1, 2], [0, 3, 1, 0]), ([3, 3], [1; 4])] {
        check(
            Op::Conv { stride, pad, dilation: [1; 2], groups: 1 },
            &[Input(MAP), Weight(&[8, 6, 3, 2]), Weight(&[8])],
        );
        check(Op::Conv { stride, pad, dilation: [1; 2], groups: 2 }, &[Input(MAP), Weight(&[8, 3, 2, 3])]);
        check(
            Op::Conv { stride, pad, dilation: [1; 2], groups: 6 },
            &[Input(MAP), Weight(&[6, 1, 3, 3]), Weight(&[6])],
        );
    }
    let (stride, pad, dilation) = ([1, 2], [2, 0, 1, 1], [2, 1]);
    check(Op::Conv { stride, pad, dilation, groups: 2 }, &[Input(MAP), Weight(&[8, 3, 2, 3]), Weight(&[8])]);
    let (stride, dilation, output_pad) = ([2, 3], [2, 1], [1, 2]);
    let op = |pad| Op::ConvTranspose { stride, pad, output_pad, dilation, groups: 2 };
    check(op([0; 4]), &[Input(MAP), Weight(&[6, 4, 2, 3]), Weight(&[8])]);
    check(op([1, 0, 2, 1]), &[Input(MAP), Weight(&[6, 4, 2, 3])]);
    let op = Op::ConvTranspose { stride: [2; 2], pad: [1, 2, 1, 0], output_pad: [0; 2], dilation: [1; 2], groups: 1 };
    check(op, &[Input(MAP), Weight(&[6, 4, 2, 2]), Weight(&[4])]);
    for (transpose_a, a) in [(false, &[2, 3, 5]), (true, &[2, 5, 3])] {
        for (transpose_b, b) in [(false, &[2, 5, 4]), (true, &[2, 4, 5])] {
            let op = || Op::MatMul { transpose_a, transpose_b };
            check(op(), &[Input(a), Input(b)]);
            check(op(), &[Input(a), Weight(&b[1..])]);
            check(op(), &[Weight(&a[1..]), Input(b)]);
        }
    }
    for dims in [&[5][..], &[2, 5], &[3, 2, 5]] {
        check(Op::Linear, &[Input(dims), Weight(&[4, 5])]);
        check(Op::Linear, &[Input(dims), Weight(&[4, 5]), Weight(&[4])]);
    }
}

#[test]
fn normalisation_and_reduction() {
    let eps = Real(1e-3);
    for dims in [MAP, &[6], &[6, 3]] {
        check(Op::BatchNorm { eps }, &[Input(dims), Weight(&[6]), Weight(&[6]), Weight(&[6]), Weight(&[6])]);
    }
    for axes in [vec![3], vec![1], vec![1, 2, 3], vec![1, 3]] {
        let sizes: Vec<usize> = axes.iter().map(|&a| MAP[a - 1]).collect();
        let ones = vec![1; axes.len()];
        let op = || Op::LayerNorm { axes: axes.clone(), eps };
        check(op(), &[Input(MAP)]);
        check(op(), &[Input(MAP), Weight(&sizes), Weight(&sizes)]);
        check(op(), &[Input(MAP), Weight(&ones), Weight(&sizes)]);
    }
    for axis in 0..4 {
        check(Op::Softmax { axis }, &[Input(MAP)]);
    }
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod, ReduceKind::L2]
    {
        for axes in [vec![], vec![1], vec![2, 3], vec![1, 3]] {
            for keep in [false, true] {
                check(Op::Reduce { kind, axes: axes.clone(), keep }, &[Input(MAP)]);
            }
        }
    }
    for (kernel, stride, pad) in [
        ([3, 3], [1, 1], [1; 4]),
        ([2, 3], [2, 1], [1, 0, 0, 2]),
        ([5, 4], [1, 1], [0; 4]),
        ([3, 2], [3, 2], [0, 1, 1, 0]),
    ] {
        check(Op::AvgPool { kernel, stride, pad }, &[Input(MAP)]);
        check(Op::MaxPool { kernel, stride, pad, dilation: [1; 2] }, &[Input(MAP)]);
    }
    let (kernel, pad, dilation) = ([2, 2], [1, 2, 0, 1], [3, 2]);
    check(Op::MaxPool { kernel, stride: [1, 2], pad, dilation }, &[Input(MAP)]);
    for (axis, keep) in [(1, false), (3, true)] {
        check(Op::ArgMax { axis, keep }, &[Input(MAP)]);
    }
}

#[test]
fn movement() {
    let batched = |dims: &[usize]| Shape::batched(Dim::Batch(1), dims);
    check(Op::Reshape { shape: batched(&[30, 4]) }, &[Input(MAP)]);
    check(Op::Reshape { shape: Shape::batched(Dim::Batch(6), &[20]) }, &[Input(MAP)]);
    for perm in [vec![0, 1, 3, 2], vec![0, 2, 3, 1], vec![0, 3, 1, 2]] {
        check(Op::Transpose { perm }, &[Input(MAP)]);
    }
    check(Op::Concat { axis: 2 }, &[Input(MAP), Input(&[6, 1, 4]), Input(&[6, 2, 4])]);
    check(Op::Split { axis: 1, sizes: vec![1, 3, 2] }, &[Input(MAP)]);
    let cut = |axis, start, stop, step| SliceAxis { axis, start, stop, step };
    check(Op::Slice { cuts: vec![cut(1, 1, 4, 1)] }, &[Input(MAP)]);
    check(Op::Slice { cuts: vec![cut(2, 0, 5, 2), cut(3, 1, 4, 2)] }, &[Input(MAP)]);
    check(Op::Pad { before: vec![0, 1, 0, 2], after: vec![0, 0, 3, 1], mode: PadMode::ZERO }, &[Input(MAP)]);
    for mode in [PadMode::Constant(Real(-1.5)), PadMode::Reflect, PadMode::Edge] {
        check(Op::Pad { before: vec![0, 1, 0, 2], after: vec![0, 0, 3, 1], mode }, &[Input(MAP)]);
    }
    for order in [DepthOrder::Crd, DepthOrder::Dcr] {
        check(Op::DepthToSpace { block: 2, order }, &[Input(&[8, 3, 2])]);
    }
    check(Op::SpaceToDepth { block: 2 }, &[Input(&[3, 4, 6])]);
    for axis in 1..4 {
        check(Op::Gather { axis }, &[Input(MAP), Places(&[3.0, 0.0, 3.0, 1.0])]);
    }
    check(Op::Expand { shape: batched(&[6, 5, 4]) }, &[Input(&[6, 1, 4])]);
    check(Op::Expand { shape: batched(&[6, 5, 4]) }, &[Input(&[1, 5, 1])]);
}

#[test]
fn resizes() {
    use vitc_ir::op::{Coordinates, Kernel, Rounding};
    let usual = [Sampling::NEAREST, Sampling::LINEAR, Sampling::LINEAR_CORNERS, Sampling::CUBIC];
    for sampling in usual {
        for size in [[10, 8], [15, 4], [7, 9], [3, 2], [5, 4], [1, 1]] {
            check(Op::Resize { sampling, size, scale: None }, &[Input(MAP)]);
        }
        check(Op::Resize { sampling, size: [3, 4], scale: None }, &[Input(&[2, 1, 1])]);
    }
    let roundings = [Rounding::Floor, Rounding::Ceil, Rounding::PreferFloor, Rounding::PreferCeil];
    let kernels = [Kernel::Linear, Kernel::Cubic(Real(-0.5))].into_iter().chain(roundings.map(Kernel::Nearest));
    for kernel in kernels {
        for coordinates in [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
            Coordinates::TfHalfPixel,
            Coordinates::HalfPixelSymmetric,
        ] {
            for (antialias, exclude_outside) in [(false, false), (true, false), (false, true), (true, true)] {
                let sampling = Sampling { kernel, coordinates, antialias, exclude_outside };
                check(Op::Resize { sampling, size: [7, 2], scale: None }, &[Input(MAP)]);
                let scale = Some([Real(1.7), Real(0.6)]);
                check(Op::Resize { sampling, size: [8, 2], scale }, &[Input(MAP)]);
            }
        }
    }
}

#[test]
fn grids() {
    for kernel in [GridKernel::Nearest, GridKernel::Linear] {
        for outside in [Outside::Zeros, Outside::Border, Outside::Mirror] {
            for corners in [false, true] {
                let op = Op::GridSample { kernel, outside, corners };
                check(op, &[Input(MAP), Input(&[3, 5, 2])]);
            }
        }
    }
}

#[test]
fn definitions() {
    let scale = Real(0.4);
    let attention = |layout, bias, talking| Op::Attention { heads: 2, scale, layout, bias, talking };
    let heads: [Operand<'_>; 4] = [Weight(&[2, 2]), Weight(&[2]), Weight(&[2, 2]), Weight(&[2])];
    check(attention(AttentionLayout::Channels, false, false), &[Input(MAP), Input(&[6, 3]), Input(&[4, 3])]);
    check(
        attention(AttentionLayout::Tokens, true, false),
        &[Input(&[5, 6]), Input(&[3, 6]), Input(&[3, 8]), Weight(&[2, 5, 3])],
    );
    check(attention(AttentionLayout::Heads, false, false), &[Input(&[2, 5, 3]), Input(&[2, 4, 3]), Input(&[2, 4, 6])]);
    let [w1, b1, w2, b2] = heads;
    check(
        attention(AttentionLayout::Tokens, false, true),
        &[Input(&[5, 6]), Input(&[3, 6]), Input(&[3, 8]), w1, b1, w2, b2],
    );
    for norm in [SpectralNorm::Ortho, SpectralNorm::Backward] {
        check(Op::Rfft2 { norm }, &[Input(MAP)]);
        check(Op::Irfft2 { norm, width: 5 }, &[Input(&[2, 4, 3]), Input(&[2, 4, 3])]);
    }
    check(Op::Dct2, &[Input(MAP)]);
    check(Op::Idct2, &[Input(MAP)]);
    check(Op::WindowPartition { window: [5, 2] }, &[Input(MAP)]);
}

/// Results that are inputs, constants or each other, and one that has the name of a value inside.
#[test]
fn results_have_their_names() {
    let mut graph = Graph::new("names", Stage::Paper);
    let ty = Type::new(DType::F32, Shape::batched(Dim::Batch(1), &[4]));
    let x = graph.push_leaf(Op::Input, ty, "x").expect("a leaf");
    let w = graph.push_leaf(Op::Weight { key: "w".into() }, Type::f32(&[4]), "w").expect("a leaf");
    let inner = graph.push(Op::Binary(BinaryKind::Mul), &[x, w], "y").expect("fits");
    let y = graph.push(Op::Binary(BinaryKind::Add), &[inner.into(), x], "sum").expect("fits");
    let results: [(&str, Value); 5] =
        [("y", y.into()), ("again", y.into()), ("same", x), ("constant", w), ("m", inner.into())];
    graph.outputs = results.map(|(name, value)| Output { name: name.into(), value }).to_vec();
    assert_same(&graph, 1, 1e-6);
}

#[test]
fn random_graphs() {
    for seed in 0..24 {
        assert_same(&random_graph(seed, Options::default()), seed, 2e-4);
    }
}
