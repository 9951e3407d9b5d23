//! Facts and axis maps against the evaluator: elements are changed, permuted, scaled and shifted, and the results say what is true.

use super::Axis;
use crate::facts::{Class, Slots};
use crate::graph::{Graph, Output};
use crate::infer::infer;
use crate::op::*;
use crate::stage::Stage;
use crate::testing::Rng;
use crate::ty::{DType, Shape, Type};
use crate::{eval, id::Value};
use ndarray::{ArrayD, Axis as Along};
use std::collections::{BTreeMap, BTreeSet};

type Array = ArrayD<f64>;

/// An operator with operands.
struct Case {
    op: Op,
    operands: Vec<Array>,
}

impl Case {
    fn types(&self) -> Vec<Type> {
        let dtype = |slot| index_type(&self.op, slot).unwrap_or(DType::F32);
        self.operands.iter().enumerate().map(|(i, x)| Type::new(dtype(i), Shape::fixed(x.shape()))).collect()
    }

    fn map(&self) -> Vec<Vec<Axis>> {
        let shapes: Vec<Shape> = self.operands.iter().map(|x| Shape::fixed(x.shape())).collect();
        self.op.axes(&shapes.iter().collect::<Vec<_>>()).0
    }

    /// All results.
    fn run(&self, operands: &[Array]) -> Vec<Array> {
        let mut graph = Graph::new("case", Stage::Paper);
        let mut weights = eval::MemoryWeights::new();
        let (mut inputs, mut given) = (Vec::new(), Vec::new());
        for (i, (ty, x)) in self.types().into_iter().zip(operands).enumerate() {
            let path = format!("x{i}");
            if let Some(to) = index_type(&self.op, i) {
                weights.insert(path.clone(), &x.iter().map(|&x| x as f32).collect::<Vec<_>>());
                let leaf = Op::Weight { key: path.clone() };
                let leaf = graph.push_leaf(leaf, Type::new(DType::F32, ty.shape), &path).unwrap();
                inputs.push(graph.push(Op::Cast { to }, &[leaf], "index").unwrap().into());
            } else {
                inputs.push(graph.push_leaf(Op::Input, ty, &path).unwrap());
                given.push(x.clone());
            }
        }
        let node = graph.push(self.op.clone(), &inputs, "y").unwrap();
        let count = graph.node(node).types.len() as u32;
        let output = |index| Output { name: format!("y{index}"), value: Value { node, index } };
        graph.outputs = (0..count).map(output).collect();
        eval::run(&graph, &weights, &given, 1).unwrap()
    }

    /// The results with one operand replaced.
    fn with(&self, slot: usize, x: Array) -> Vec<Array> {
        let mut operands = self.operands.clone();
        operands[slot] = x;
        self.run(&operands)
    }
}

/// Whether an operand says which elements are read.
fn is_index(op: &Op, slot: usize) -> bool {
    index_type(op, slot).is_some()
}

/// Element type of an operand that is indices or codes.
fn index_type(op: &Op, slot: usize) -> Option<DType> {
    match (op, slot) {
        (Op::Gather { .. }, 1) | (Op::Binary(BinaryKind::Quotient), _) => Some(DType::I32),
        (Op::Select, 0) => Some(DType::Bool),
        (Op::Dequantize, 0) => Some(DType::I8),
        (Op::Lookup { .. }, 0) => Some(DType::U8),
        _ => None,
    }
}

/// Number of a kind of operator: that of its word, and one for each form of attention.
fn number(op: &Op) -> usize {
    match op {
        Op::Attention { layout, talking, .. } => Op::WORDS.len() + 2 * *layout as usize + usize::from(*talking),
        op => Op::WORDS.iter().position(|word| *word == op.word()).expect("every operator has a word"),
    }
}

/// All numbers but those of leaves: a new operator has to come with cases.
fn kinds() -> BTreeSet<usize> {
    let examples = Op::WORDS.iter().map(|word| Op::example(word).expect("a row"));
    let plain = examples.filter(|op| !matches!(op.facts().class, Class::Leaf | Class::Attention)).map(|op| number(&op));
    plain.chain(Op::WORDS.len()..Op::WORDS.len() + 6).collect()
}

/// Elements of either sign, far from 0 and from each other.
fn random(rng: &mut Rng, dims: &[usize]) -> Array {
    ArrayD::from_shape_simple_fn(dims, || rng.uniform(0.3, 1.5) * rng.pick(&[-1.0, 1.0]))
}

fn positive(rng: &mut Rng, dims: &[usize]) -> Array {
    random(rng, dims).mapv(f64::abs)
}

fn dims(rng: &mut Rng, rank: usize) -> Vec<usize> {
    (0..rank).map(|_| rng.range(2, 4)).collect()
}

/// A shape that broadcasts to `dims`.
fn smaller(rng: &mut Rng, dims: &[usize]) -> Vec<usize> {
    let own = &dims[rng.below(dims.len())..];
    own.iter().map(|&n| if rng.chance(30) { 1 } else { n }).collect()
}

/// A subset of the axes, not empty, ascending.
fn some_axes(rng: &mut Rng, rank: usize) -> Vec<usize> {
    let one = rng.below(rank);
    (0..rank).filter(|&a| a == one || rng.chance(40)).collect()
}

fn permutation(rng: &mut Rng, n: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..n).collect();
    (1..n).for_each(|i| perm.swap(i, rng.below(i + 1)));
    perm
}

/// A random case of each kind of operator.
fn cases(rng: &mut Rng) -> Vec<Case> {
    let mut cases = elementwise(rng);
    cases.extend(contractions(rng));
    cases.extend(statistics(rng));
    cases.extend(movement(rng));
    for layout in [AttentionLayout::Channels, AttentionLayout::Tokens, AttentionLayout::Heads] {
        cases.extend([false, true].map(|talking| attention(rng, layout, talking)));
    }
    cases.extend(transforms(rng));
    cases
}

fn elementwise(rng: &mut Rng) -> Vec<Case> {
    use {BinaryKind as B, UnaryKind as U};
    let mut cases = Vec::new();
    let rank = rng.range(1, 4);
    let full = dims(rng, rank);
    for kind in [
        U::Relu,
        U::Gelu,
        U::Silu,
        U::Sigmoid,
        U::Tanh,
        U::Erf,
        U::Sqrt,
        U::Exp,
        U::Abs,
        U::Neg,
        U::Log,
        U::Sin,
        U::Cos,
        U::Floor,
        U::Ceil,
        U::Round,
        U::Sign,
        U::Softplus,
        U::GeluTanh,
        U::HardSwish,
        U::Elu { alpha: 0.7.into() },
        U::LeakyRelu { slope: 0.1.into() },
        U::HardSigmoid { alpha: 0.2.into(), beta: 0.5.into() },
    ] {
        let x = if matches!(kind, U::Sqrt | U::Log) { positive(rng, &full) } else { random(rng, &full) };
        cases.push(Case { op: Op::Unary(kind), operands: vec![x] });
    }
    for kind in [B::Add, B::Sub, B::Mul, B::Div, B::Max, B::Min, B::Pow] {
        let mut shapes = [full.clone(), smaller(rng, &full)];
        if rng.chance(50) {
            shapes.swap(0, 1);
        }
        cases.push(Case { op: Op::Binary(kind), operands: shapes.map(|s| random(rng, &s)).into() });
        if let Some(Case { op: Op::Binary(B::Pow), operands }) = cases.last_mut() {
            operands[0].mapv_inplace(f64::abs);
        }
    }
    let divisor = smaller(rng, &full);
    let whole = [(&full, 40.0), (&divisor, 4.0)].map(|(dims, size)| random(rng, dims).mapv(|x| (x * size).round()));
    let whole = whole.map(|x| x.mapv(|x| if x == 0.0 { 3.0 } else { x }));
    cases.push(Case { op: Op::Binary(B::Quotient), operands: whole.into() });
    let shapes = [smaller(rng, &full), full.clone(), smaller(rng, &full)];
    cases.push(Case { op: Op::Sum, operands: shapes.map(|s| random(rng, &s)).into() });
    let truths = smaller(rng, &full);
    let truths = ArrayD::from_shape_simple_fn(truths, || rng.below(2) as f64);
    let other = smaller(rng, &full);
    cases.push(Case { op: Op::Select, operands: vec![truths, random(rng, &full), random(rng, &other)] });
    let clip = Op::Clip { lo: (-0.7).into(), hi: 0.7.into() };
    cases.push(Case { op: clip, operands: vec![random(rng, &full)] });
    for to in [DType::F32, DType::F16, DType::I32] {
        cases.push(Case { op: Op::Cast { to }, operands: vec![random(rng, &full)] });
    }
    let rank = rng.range(2, 4);
    let full = dims(rng, rank);
    let slope = rng.pick(&[1, full[1]]);
    cases.push(Case { op: Op::Prelu, operands: vec![random(rng, &full), random(rng, &[slope])] });
    cases
}

fn contractions(rng: &mut Rng) -> Vec<Case> {
    let groups = rng.pick(&[1, 2, 3]);
    let (inner, outer) = (rng.pick(&[1, 2]), rng.pick(&[1, 2]));
    let kernel = if rng.chance(30) { [1, 1] } else { [rng.range(1, 3), rng.range(1, 3)] };
    let stride = if rng.chance(50) { [1, 1] } else { [rng.range(1, 2), rng.range(1, 2)] };
    let pad = if rng.chance(50) { [0; 4] } else { [(); 4].map(|()| rng.below(2)) };
    let dilation = if rng.chance(70) { [1; 2] } else { [1, 2] };
    let sides = [rng.range(3, 5), rng.range(5, 6)];
    let x = random(rng, &[2, groups * inner, sides[0], sides[1]]);
    let w = random(rng, &[groups * outer, inner, kernel[0], kernel[1]]);
    let mut operands = vec![x, w];
    if rng.chance(50) {
        operands.push(random(rng, &[groups * outer]));
    }
    let conv = Case { op: Op::Conv { stride, pad, dilation, groups }, operands };

    let lead = {
        let rank = rng.below(3);
        dims(rng, rank)
    };
    let (m, k, n) = (rng.range(2, 4), rng.range(2, 4), rng.range(2, 4));
    let (transpose_a, transpose_b) = (rng.chance(50), rng.chance(50));
    let own = if lead.is_empty() { vec![] } else { smaller(rng, &lead) };
    let a = [lead, if transpose_a { vec![k, m] } else { vec![m, k] }].concat();
    let b = [own, if transpose_b { vec![n, k] } else { vec![k, n] }].concat();
    let matmul = Case { op: Op::MatMul { transpose_a, transpose_b }, operands: vec![random(rng, &a), random(rng, &b)] };

    let rank = rng.range(1, 3);
    let x = dims(rng, rank);
    let mut operands = vec![random(rng, &x), random(rng, &[n, x[rank - 1]])];
    if rng.chance(50) {
        operands.push(random(rng, &[n]));
    }
    vec![conv, transposed(rng), matmul, Case { op: Op::Linear, operands }]
}

fn transposed(rng: &mut Rng) -> Case {
    let (groups, inner, outer) = (rng.pick(&[1, 2]), rng.pick(&[1, 2]), rng.pick(&[1, 2]));
    let kernel = [rng.range(1, 3), rng.range(1, 3)];
    let (stride, dilation) = ([rng.range(1, 2), rng.range(1, 3)], [1, rng.range(1, 2)]);
    let output_pad = [0, 1].map(|i| rng.below(stride[i].max(dilation[i])));
    let pad = if rng.chance(50) { [0; 4] } else { [1, 0, 0, 1] };
    let x = random(rng, &[2, groups * inner, 3, 4]);
    let mut operands = vec![x, random(rng, &[groups * inner, outer, kernel[0], kernel[1]])];
    if rng.chance(50) {
        operands.push(random(rng, &[groups * outer]));
    }
    Case { op: Op::ConvTranspose { stride, pad, output_pad, dilation, groups }, operands }
}

fn statistics(rng: &mut Rng) -> Vec<Case> {
    let rank = rng.range(2, 4);
    let full = dims(rng, rank);
    let vector = |rng: &mut Rng| random(rng, &[full[1]]);
    let (x, g, b, m) = (random(rng, &full), vector(rng), vector(rng), vector(rng));
    let v = positive(rng, &[full[1]]);
    let mut cases = vec![Case { op: Op::BatchNorm { eps: 1e-3.into() }, operands: vec![x, g, b, m, v] }];

    let axes = some_axes(rng, rank);
    let affine: Vec<usize> = axes.iter().map(|&a| if rng.chance(30) { 1 } else { full[a] }).collect();
    let mut operands = vec![random(rng, &full)];
    if rng.chance(60) {
        operands.extend([random(rng, &affine), random(rng, &affine)]);
    }
    cases.push(Case { op: Op::LayerNorm { axes, eps: 1e-3.into() }, operands });
    cases.push(Case { op: Op::Softmax { axis: rng.below(rank) }, operands: vec![random(rng, &full)] });
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod, ReduceKind::L2]
    {
        let op = Op::Reduce { kind, axes: some_axes(rng, rank), keep: rng.chance(50) };
        cases.push(Case { op, operands: vec![random(rng, &full)] });
    }
    let kernel = [rng.range(1, 3), rng.range(1, 3)];
    let pad = [rng.below(kernel[0]), rng.below(kernel[1]), rng.below(kernel[0]), rng.below(kernel[1])];
    let op = Op::AvgPool { kernel, stride: [rng.range(1, 2), rng.range(1, 2)], pad };
    cases.push(Case { op, operands: vec![random(rng, &[2, 3, 4, 5])] });
    let dilation = if rng.chance(60) { [1; 2] } else { [1, 2] };
    let op = Op::MaxPool { kernel, stride: [rng.range(1, 2), rng.range(1, 2)], pad: [0; 4], dilation };
    cases.push(Case { op, operands: vec![random(rng, &[2, 3, 4, 5])] });
    let op = Op::ArgMax { axis: rng.below(rank), keep: rng.chance(50) };
    cases.push(Case { op, operands: vec![random(rng, &full)] });
    let axis = rng.below(rank);
    let op = Op::TopK { axis, k: rng.range(1, full[axis]), largest: rng.chance(50) };
    cases.push(Case { op, operands: vec![random(rng, &full)] });
    cases
}

fn movement(rng: &mut Rng) -> Vec<Case> {
    let rank = rng.range(2, 4);
    let full = dims(rng, rank);
    let one = |rng: &mut Rng, op: Op| Case { op, operands: vec![random(rng, &full)] };
    let mut cases = vec![one(rng, Op::Keep)];
    let shapes: [(&[usize], &[usize]); 6] = [
        (&[2, 3, 4, 5], &[2, 12, 5]),
        (&[2, 12, 5], &[2, 3, 4, 5]),
        (&[6, 4], &[2, 12]),
        (&[2, 1, 3, 4], &[2, 3, 4, 1]),
        (&[4, 6, 3], &[2, 2, 3, 2, 3]),
        (&[1, 2, 3], &[6, 1]),
    ];
    let (from, to) = rng.pick(&shapes);
    cases.push(Case { op: Op::Reshape { shape: Shape::fixed(to) }, operands: vec![random(rng, from)] });
    let perm = permutation(rng, rank);
    cases.push(one(rng, Op::Transpose { perm }));
    let axis = rng.below(rank);
    let operands = [(); 3].map(|()| {
        let mut own = full.clone();
        own[axis] = rng.range(1, 3);
        random(rng, &own)
    });
    cases.push(Case { op: Op::Concat { axis }, operands: operands.into() });
    cases.push(one(rng, Op::Split { axis, sizes: vec![1, full[axis] - 1] }));
    let cut =
        |rng: &mut Rng, axis: usize| SliceAxis { axis, start: rng.below(2), stop: full[axis], step: rng.range(1, 2) };
    let cuts = some_axes(rng, rank).into_iter().map(|a| cut(rng, a)).collect();
    cases.push(one(rng, Op::Slice { cuts }));
    let mut before = vec![0; rank];
    before[axis] = 1;
    let after = (0..rank).map(|_| rng.below(2)).collect();
    let mode = rng.pick(&[PadMode::ZERO, PadMode::ZERO, PadMode::Edge, PadMode::Reflect]);
    cases.push(one(rng, Op::Pad { before, after, mode }));
    let order = rng.pick(&[DepthOrder::Crd, DepthOrder::Dcr]);
    cases.push(Case { op: Op::DepthToSpace { block: 2, order }, operands: vec![random(rng, &[2, 8, 2, 3])] });
    cases.push(Case { op: Op::SpaceToDepth { block: 2 }, operands: vec![random(rng, &[2, 2, 4, 6])] });
    let table = dims(rng, 3);
    let (axis, rank) = (rng.below(3), rng.below(3));
    let shape = dims(rng, rank);
    let index = ArrayD::from_shape_simple_fn(shape, || rng.below(table[axis]) as f64);
    let op = Op::Gather { axis };
    cases.push(Case { op, operands: vec![random(rng, &table), index] });
    let own = smaller(rng, &full);
    cases.push(Case { op: Op::Expand { shape: Shape::fixed(&full) }, operands: vec![random(rng, &own)] });
    let forms = [Sampling::NEAREST, Sampling::LINEAR, Sampling::LINEAR_CORNERS, Sampling::CUBIC];
    let (sampling, size) = (rng.pick(&forms), [rng.range(1, 8), rng.range(3, 6)]);
    cases.push(Case { op: Op::Resize { sampling, size, scale: None }, operands: vec![random(rng, &[2, 2, 4, 5])] });
    let kernel = rng.pick(&[GridKernel::Nearest, GridKernel::Linear, GridKernel::Cubic]);
    let outside = rng.pick(&[Outside::Zeros, Outside::Border, Outside::Mirror]);
    let grid = random(rng, &[2, 4, 3, 2]);
    let op = Op::GridSample { kernel, outside, corners: rng.chance(50) };
    cases.push(Case { op, operands: vec![random(rng, &[2, 2, 3, 4]), grid.mapv(|g| 1.5 * g)] });
    let scale = ArrayD::from_elem(vec![], 0.37);
    cases.push(Case {
        op: Op::Quantize { to: rng.pick(&[DType::I8, DType::U8]) },
        operands: vec![random(rng, &full), scale],
    });
    let codes = |rng: &mut Rng, dims: &[usize], n: usize| ArrayD::from_shape_simple_fn(dims, || rng.below(n) as f64);
    let scale: Vec<usize> =
        full.iter().map(|&n| if rng.chance(30) { 1 } else { rng.pick(&[n, n.div_ceil(2).max(n % 2 * n)]) }).collect();
    cases.push(Case { op: Op::Dequantize, operands: vec![codes(rng, &full, 100), random(rng, &scale)] });
    let (bits, parts) = (rng.pick(&[1, 2, 3, 4, 6]), rng.pick(&[1, full[0]]));
    let bytes = (full.iter().product::<usize>() * bits).div_ceil(8);
    let table = random(rng, &[parts, 1 << bits]);
    cases.push(Case {
        op: Op::Lookup { bits, shape: Shape::fixed(&full) },
        operands: vec![codes(rng, &[bytes], 256), table],
    });
    let window = [rng.pick(&[1, 2]), rng.pick(&[2, 3])];
    let tokens = [2 * (4 / window[0]) * (6 / window[1]), window[0] * window[1], 3];
    cases.push(Case { op: Op::WindowPartition { window }, operands: vec![random(rng, &[2, 3, 4, 6])] });
    cases.push(Case { op: Op::WindowMerge { window, map: [4, 6] }, operands: vec![random(rng, &tokens)] });
    cases
}

fn attention(rng: &mut Rng, layout: AttentionLayout, talking: bool) -> Case {
    let (heads, d, dv) = (2, rng.range(1, 3), rng.range(1, 3));
    let (queries, keys): (&[usize], &[usize]) = match layout {
        AttentionLayout::Channels => (&[2, 3], &[2, 2]),
        AttentionLayout::Tokens | AttentionLayout::Heads => (&[3], &[4]),
    };
    let shape = |tokens: &[usize], width: usize| match layout {
        AttentionLayout::Channels => [&[2, heads * width], tokens].concat(),
        AttentionLayout::Tokens => vec![2, tokens[0], heads * width],
        AttentionLayout::Heads => vec![2, heads, tokens[0], width],
    };
    let mut operands =
        vec![random(rng, &shape(queries, d)), random(rng, &shape(keys, d)), random(rng, &shape(keys, dv))];
    let bias = rng.chance(60);
    if bias {
        let own = rng.pick(&[1, heads]);
        operands.push(random(rng, &[own, queries.iter().product(), 4]));
    }
    if talking {
        for _ in 0..2 {
            operands.extend([random(rng, &[heads, heads]), random(rng, &[heads])]);
        }
    }
    Case { op: Op::Attention { heads, scale: 0.8.into(), layout, bias, talking }, operands }
}

fn transforms(rng: &mut Rng) -> Vec<Case> {
    let rank = rng.range(2, 4);
    let full = dims(rng, rank);
    let norm = rng.pick(&[SpectralNorm::Ortho, SpectralNorm::Backward]);
    let mut half = full.clone();
    half[rank - 1] = full[rank - 1] / 2 + 1;
    let parts = vec![random(rng, &half), random(rng, &half)];
    let mut cases = vec![Case { op: Op::Irfft2 { norm, width: full[rank - 1] }, operands: parts }];
    for op in [Op::Rfft2 { norm }, Op::Dct2, Op::Idct2] {
        cases.push(Case { op, operands: vec![random(rng, &full)] });
    }
    cases
}

/// Every kind of operator in random geometry, several times.
fn every_case(seed: u64, mut check: impl FnMut(&mut Rng, &Case)) {
    let mut seen = BTreeSet::new();
    let rng = &mut Rng::new(seed);
    for _ in 0..40 {
        for case in cases(rng) {
            seen.insert(number(&case.op));
            check(rng, &case);
        }
    }
    let missing: Vec<&str> =
        kinds().difference(&seen).map(|&n| Op::WORDS.get(n).copied().unwrap_or("attention")).collect();
    assert!(missing.is_empty(), "{missing:?} have no cases");
}

fn close(a: &Array, b: &Array) -> bool {
    let near = |(x, y): (&f64, &f64)| x == y || (x - y).abs() <= 1e-9 * (1.0 + x.abs().min(y.abs()));
    a.shape() == b.shape() && a.iter().zip(b).all(near)
}

fn all_close(a: &[Array], b: &[Array]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
}

fn combined(a: f64, x: &[Array], b: f64, y: &[Array]) -> Vec<Array> {
    x.iter().zip(y).map(|(x, y)| x * a + y * b).collect()
}

#[test]
fn operators_take_as_many_operands_as_they_say() {
    every_case(1, |_, case| {
        let types = case.types();
        let facts = case.op.facts();
        assert!(infer(&case.op, &types.iter().collect::<Vec<_>>()).is_ok(), "{:?} {types:?}", case.op);
        assert!(facts.operands.contains(&types.len()), "{:?}", case.op);
        let mut more: Vec<&Type> = types.iter().collect();
        more.truncate(*facts.operands.start() - 1);
        assert!(infer(&case.op, &more).is_err(), "{:?} of {}", case.op, more.len());
        if *facts.operands.end() < usize::MAX {
            more = vec![&types[0]; facts.operands.end() + 1];
            assert!(infer(&case.op, &more).is_err(), "{:?} of {}", case.op, more.len());
        }
    });
}

/// `f(a·x + b·y) = a·f(x) + b·f(y) + (1 − a − b)·f(0)`, and for nothing that is not said to be linear.
#[test]
fn linear_operands_are_linear_and_no_others() {
    let mut disproved: BTreeMap<(usize, usize, usize), bool> = BTreeMap::new();
    every_case(2, |rng, case| {
        let facts = case.op.facts();
        for slot in (0..case.operands.len()).filter(|&s| !is_index(&case.op, s)) {
            let x = &case.operands[slot];
            // Where a sign has a meaning (a variance, a root) all elements are positive, and stay so.
            let signs: &[f64] = if x.iter().any(|&x| x < 0.0) { &[-1.0, 1.0] } else { &[1.0] };
            let y = x.mapv(|x| x * rng.uniform(0.4, 1.6) * rng.pick(signs));
            let (a, b) = (rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9));
            let zero = case.with(slot, x.mapv(|_| 0.0));
            let (fx, fy) = (case.with(slot, x.clone()), case.with(slot, y.clone()));
            let together = case.with(slot, x * a + &y * b);
            let apart = combined(1.0, &combined(a, &fx, b, &fy), 1.0 - a - b, &zero);
            // What softmax does not see says nothing.
            let linear = all_close(&together, &apart) && !all_close(&fx, &fy);
            if facts.linear.contains(slot) {
                assert!(all_close(&together, &apart), "{:?} is not linear in operand {slot}", case.op);
            } else {
                let key = (number(&case.op), case.operands.len(), slot);
                let to = if let Op::Cast { to } = case.op { to as usize } else { 0 };
                *disproved.entry((key.0 + 1000 * to, key.1, key.2)).or_insert(true) &= linear;
            }
        }
    });
    assert!(disproved.values().all(|linear| !linear), "linear, and not said so: {disproved:?}");
}

#[test]
fn shifts_are_passed_on_as_said() {
    let mut kept: BTreeMap<(usize, usize, usize), bool> = BTreeMap::new();
    every_case(3, |_, case| {
        let facts = case.op.facts();
        for slot in (0..case.operands.len()).filter(|&s| !is_index(&case.op, s)) {
            let shifted = case.with(slot, &case.operands[slot] + 0.25);
            let expected: Vec<Array> = case.run(&case.operands).iter().map(|y| y + 0.25).collect();
            let passed = all_close(&shifted, &expected);
            if facts.shift.contains(slot) {
                assert!(passed, "{:?} changes a shift of operand {slot}", case.op);
            } else {
                let to = if let Op::Cast { to } = case.op { to as usize } else { 0 };
                *kept.entry((number(&case.op) + 1000 * to, case.operands.len(), slot)).or_insert(true) &= passed;
            }
        }
    });
    assert!(kept.values().all(|passed| !passed), "shifts are passed on, and not said so: {kept:?}");
}

/// A set of operands times c is the result times c; and no operand does that alone without being said to.
#[test]
fn factors_are_passed_on_as_said() {
    let mut alone: BTreeMap<(usize, usize, usize), bool> = BTreeMap::new();
    every_case(5, |_, case| {
        let factor = case.op.facts().factor;
        let scaled = |takes: &dyn Fn(usize) -> bool| {
            let times = |(slot, x): (usize, &Array)| if takes(slot) { x * 2.5 } else { x.clone() };
            case.run(&case.operands.iter().enumerate().map(times).collect::<Vec<_>>())
        };
        let before = case.run(&case.operands);
        let expected: Vec<Array> = before.iter().map(|y| y * 2.5).collect();
        let slots = || (0..case.operands.len()).filter(|&s| !is_index(&case.op, s));
        for set in factor.into_iter().filter(|set| slots().any(|s| set.contains(s))) {
            let now = scaled(&|slot| set.contains(slot) && !is_index(&case.op, slot));
            assert!(all_close(&now, &expected), "{:?} changes a factor of operands {set:?}", case.op);
        }
        for slot in slots() {
            let said = factor.iter().any(|set| slots().all(|s| set.contains(s) == (s == slot)));
            let passed = all_close(&scaled(&|s| s == slot), &expected) && !all_close(&before, &expected);
            let to = if let Op::Cast { to } = case.op { to as usize } else { 0 };
            // One of the operator's many functions that does not pass it on is enough.
            if !said {
                *alone.entry((number(&case.op) + 1000 * to, case.operands.len(), slot)).or_insert(true) &= passed;
            }
        }
    });
    assert!(alone.values().all(|passed| !passed), "factors are passed on, and not said so: {alone:?}");
}

/// Where results change when element `at` of an operand does: output and index.
fn changed(case: &Case, before: &[Array], slot: usize, at: &[usize]) -> BTreeSet<(usize, Vec<usize>)> {
    let mut x = case.operands[slot].clone();
    let now = x[at];
    // Another index of the table, or what is the largest number then.
    x[at] = if is_index(&case.op, slot) { if now == 0.0 { 1.0 } else { now - 1.0 } } else { now + 3.0 };
    let after = case.with(slot, x);
    let mut places = BTreeSet::new();
    for (output, (a, b)) in before.iter().zip(&after).enumerate() {
        for ((index, a), b) in a.indexed_iter().zip(b) {
            if a != b {
                places.insert((output, ndarray::Dimension::slice(&index).to_vec()));
            }
        }
    }
    places
}

#[test]
fn elements_are_read_where_the_map_says() {
    every_case(4, |rng, case| {
        let before = case.run(&case.operands);
        for (slot, axes) in case.map().iter().enumerate() {
            let x = &case.operands[slot];
            assert_eq!(axes.len(), x.ndim(), "{:?}", case.op);
            let at: Vec<usize> = x.shape().iter().map(|&n| rng.below(n)).collect();
            let found = changed(case, &before, slot, &at);
            for (a, axis) in axes.iter().enumerate() {
                let mut other = at.clone();
                other[a] = rng.below(x.shape()[a]);
                let moved = changed(case, &before, slot, &other);
                let what = format!("{:?}, operand {slot} axis {a} {axis:?} of {:?}", case.op, case.types());
                read_as_said(axis, [(&found, at[a]), (&moved, other[a])], x.shape()[a], &before, &what);
            }
        }
    });
}

type Places = BTreeSet<(usize, Vec<usize>)>;

/// Whether two elements of one axis, which has `size` indices, were read as `axis` says.
fn read_as_said(axis: &Axis, elements: [(&Places, usize); 2], size: usize, results: &[Array], what: &str) {
    let along = |places: &Places, r: usize| places.iter().map(|(_, at)| at[r]).collect::<BTreeSet<usize>>();
    match axis {
        Axis::Kept(r) => {
            elements.iter().for_each(|(places, i)| assert!(along(places, *r).iter().all(|j| j == i), "{what}"));
        }
        Axis::Broadcast(_) => assert_eq!(size, 1, "{what}"),
        Axis::Contracted => {}
        Axis::Mixed(r) => assert_eq!(results[0].shape()[*r], size, "{what}"),
        Axis::Grouped { axis, groups } => {
            let part = |i: usize, n: usize| i * groups / n;
            let n = results[0].shape()[*axis];
            for (places, i) in elements {
                assert!(along(places, *axis).iter().all(|&j| part(j, n) == part(i, size)), "{what}");
            }
        }
        Axis::Windowed(r) | Axis::Placed(r) => {
            let [(first, i), (second, j)] = elements;
            let (early, late) = if i <= j { (first, second) } else { (second, first) };
            for output in 0..results.len() {
                let of = |places: &Places| places.iter().filter(|p| p.0 == output).cloned().collect::<Places>();
                let (early, late) = (along(&of(early), *r), along(&of(late), *r));
                if let (Some(a), Some(b)) = (early.first(), late.first()) {
                    assert!(a <= b && early.last() <= late.last(), "{what}");
                }
                let placed = matches!(axis, Axis::Placed(_));
                assert!(!placed || early.len() <= 1 && late.len() <= 1, "{what}");
            }
        }
        Axis::Spread(to) => {
            let outside = |places: &Places| -> BTreeSet<(usize, Vec<usize>)> {
                let rest = |at: &Vec<usize>| (0..at.len()).filter(|a| !to.contains(a)).map(|a| at[a]).collect();
                places.iter().map(|(output, at)| (*output, rest(at))).collect()
            };
            assert_eq!(outside(elements[0].0), outside(elements[1].0), "{what}");
        }
    }
}

fn permuted(x: &Array, axis: usize, perm: &[usize]) -> Array {
    x.select(Along(axis), perm)
}

/// Where all that is read along an axis of the result is kept, mixed or repeated there, an order of elements becomes that order of results.
#[test]
fn orders_are_kept() {
    let mut proven = 0;
    every_case(5, |rng, case| {
        let (map, results) = (case.map(), case.run(&case.operands));
        for r in 0..results[0].ndim() {
            let size = results[0].shape()[r];
            let fits = |axis: &Axis| match axis {
                Axis::Kept(_) | Axis::Mixed(_) | Axis::Broadcast(_) | Axis::Contracted => true,
                Axis::Grouped { axis: to, .. } | Axis::Windowed(to) | Axis::Placed(to) => *to != r,
                Axis::Spread(to) => !to.contains(&r),
            };
            let moves = |axis: &Axis| matches!(axis, Axis::Kept(to) | Axis::Mixed(to) if *to == r);
            if !map.iter().flatten().all(fits) || !map.iter().flatten().any(moves) {
                continue;
            }
            let perm = permutation(rng, size);
            let mut operands = case.operands.clone();
            for (x, axes) in operands.iter_mut().zip(&map) {
                for (a, _) in axes.iter().enumerate().filter(|(_, axis)| moves(axis)) {
                    *x = permuted(x, a, &perm);
                }
            }
            let expected: Vec<Array> = results.iter().map(|y| permuted(y, r, &perm)).collect();
            assert!(all_close(&case.run(&operands), &expected), "{:?} along {r} of {:?}", case.op, case.types());
            proven += 1;
        }
    });
    assert!(proven > 1000, "{proven} orders say little");
}

/// The map says no less than is true: an axis that could be kept is.
#[test]
fn nothing_more_is_kept() {
    // By operator, axis and axis of the result: elements that were read, and those of them that were read as if it were kept.
    let mut kept: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    every_case(6, |rng, case| {
        let before = case.run(&case.operands);
        for (slot, axes) in case.map().iter().enumerate() {
            let x = &case.operands[slot];
            for _ in 0..12 {
                let at: Vec<usize> = x.shape().iter().map(|&n| rng.below(n)).collect();
                let found = changed(case, &before, slot, &at);
                for (a, axis) in axes.iter().enumerate().filter(|&(a, _)| x.shape()[a] > 1 && !found.is_empty()) {
                    let wide = match axis {
                        Axis::Contracted | Axis::Mixed(_) | Axis::Windowed(_) => true,
                        Axis::Grouped { groups, .. } => x.shape()[a] > *groups,
                        Axis::Kept(_) | Axis::Broadcast(_) | Axis::Placed(_) | Axis::Spread(_) => false,
                    };
                    for r in (0..before[0].ndim()).filter(|&r| wide && before[0].shape()[r] == x.shape()[a]) {
                        let key = format!("{} {slot}.{a} {axis:?} as {r}", case.op.word());
                        let [read, same] = kept.entry(key).or_default();
                        *read += 1;
                        *same += usize::from(found.iter().all(|(_, place)| place[r] == at[a]));
                    }
                }
            }
        }
    });
    // Fewer elements can agree by chance.
    let judged: Vec<_> = kept.iter().filter(|(_, [read, _])| *read >= 30).collect();
    assert!(judged.len() > 40, "{} axes say little", judged.len());
    let more: Vec<_> = judged.iter().filter(|(_, [read, same])| read == same).collect();
    assert!(more.is_empty(), "kept, and not said so: {more:?}");
}

#[test]
fn scales_of_weights_come_out_of_the_sums() {
    let mut proven = 0;
    every_case(7, |rng, case| {
        let facts = case.op.facts();
        let map = case.op.axes(&case.types().iter().map(|t| &t.shape).collect::<Vec<_>>());
        for slot in (1..case.operands.len()).filter(|&s| facts.quantised.contains(s)) {
            let axis = map.scale_axis(slot).expect("a weight has an axis for scales");
            let (_, to) = map.kept(slot).find(|&(a, _)| a == axis).expect("it is kept");
            let w = &case.operands[slot];
            let scales: Vec<f64> = (0..w.shape()[axis]).map(|_| rng.uniform(0.5, 2.0)).collect();
            let scaled = |x: &Array, axis: usize| {
                let mut x = x.clone();
                x.axis_iter_mut(Along(axis)).zip(&scales).for_each(|(mut row, s)| row *= *s);
                x
            };
            let (zero, y) = (case.with(slot, w * 0.0), case.with(slot, w.clone()));
            let inside = combined(1.0, &case.with(slot, scaled(w, axis)), -1.0, &zero);
            let outside: Vec<Array> = combined(1.0, &y, -1.0, &zero).iter().map(|y| scaled(y, to)).collect();
            assert!(all_close(&inside, &outside), "{:?}", case.op);
            proven += 1;
        }
    });
    assert!(proven > 100);
}

#[test]
fn classes_are_what_they_are_called() {
    every_case(8, |_, case| {
        let (facts, map) = (case.op.facts(), case.map());
        let results = case.run(&case.operands);
        match facts.class {
            Class::Elementwise | Class::Cast => {
                let simple = map.iter().flatten().all(|a| matches!(a, Axis::Kept(_) | Axis::Broadcast(_)));
                assert!(simple, "{:?}", case.op);
            }
            Class::Movement | Class::Barrier => {
                let known: BTreeSet<u64> = case.operands.iter().flatten().map(|x| x.to_bits()).collect();
                let moved = |y: &f64| *y == 0.0 || known.contains(&y.to_bits());
                assert!(results.iter().flatten().all(moved), "{:?}", case.op);
                assert_eq!(facts.linear, Slots::ALL);
            }
            Class::Contraction => {
                let contracts = |slot: usize| map[slot].contains(&Axis::Contracted);
                assert!(contracts(1), "{:?}", case.op);
            }
            Class::Leaf => panic!("a leaf has no case"),
            Class::Transform | Class::Attention | Class::Normalisation => {}
            Class::Reduction | Class::Sampling | Class::Quantisation => {}
        }
    });
}
