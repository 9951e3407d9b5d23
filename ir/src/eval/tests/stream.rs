//! The stream against whole values: bytes, order, memory, refusals.

use super::super::stream::{Limits, stream_with};
use super::super::{Computed, EvalError, MemoryWeights, Numbers, StreamError, constant, run, stream};
use crate::graph::{Graph, Output};
use crate::id::Value;
use crate::net::Net;
use crate::op::{BinaryKind, Generator, OffsetOrder, Op, PadMode, ReduceKind, SliceAxis, UnaryKind};
use crate::stage::Stage;
use crate::testing::Rng;
use crate::ty::{DType, Shape, Type};
use crate::weights::{Stored, StoredType, WeightError, Weights};
use half::f16;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Random constant expressions over a few weights of all stored types: chains, broadcasts, every movement, products,
/// sharing.
fn random_constants(rng: &mut Rng, steps: usize) -> (Graph, MemoryWeights, Vec<Value>) {
    let mut g = Graph::new("random", Stage::Paper);
    let mut weights = MemoryWeights::new();
    let mut net = Net::new(&mut g);
    let mut values: Vec<Value> = Vec::new();
    for i in 0..5 {
        let dims: Vec<usize> = (0..rng.range(1, 4)).map(|_| rng.range(1, 6)).collect();
        let key = format!("w{i}");
        values.push(net.weight(&key, &dims));
        let data: Vec<f32> = (0..dims.iter().product()).map(|_| rng.normal() as f32).collect();
        match i {
            0 => weights.insert_f16(key, &data.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>()),
            1 => {
                let bytes = data.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
                weights.insert_bytes(key, StoredType::BF16, bytes);
            }
            2 => {
                let bytes = data.iter().flat_map(|&x| (f64::from(x) / 3.0).to_le_bytes()).collect();
                weights.insert_bytes(key, StoredType::F64, bytes);
            }
            _ => weights.insert(key, &data),
        }
    }
    for step in 0..steps {
        let x = values[rng.below(values.len())];
        let dims = net.ty(x).shape.as_fixed().unwrap();
        let (rank, count) = (dims.len(), dims.iter().product::<usize>());
        let axis = rng.below(rank.max(1));
        let name = format!("v{step}");
        let y = match rng.below(13) {
            0 => net.unary(name, UnaryKind::Tanh, x),
            1 | 2 => {
                // A vector along one axis, or a scalar.
                let mut shape = vec![1; rank];
                if rank > 0 && rng.chance(70) {
                    shape[axis] = dims[axis];
                }
                let vector = net.generate(
                    format!("{name}.i"),
                    Generator::Iota { axis: 0 },
                    Type::f32(&[shape.iter().product()]),
                );
                let vector = net.unary(format!("{name}.t"), UnaryKind::Sigmoid, vector);
                let vector = net.reshape(format!("{name}.r"), vector, Shape::fixed(&shape));
                let kind = rng.pick(&[BinaryKind::Add, BinaryKind::Mul, BinaryKind::Sub]);
                net.binary(name, kind, x, vector)
            }
            3 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, rng.below(i + 1));
                }
                net.transpose(name, x, &perm)
            }
            4 => {
                // Another factorisation of the same number of elements.
                let divisors: Vec<usize> = (1..=count).filter(|d| count.is_multiple_of(*d)).collect();
                let first = rng.pick(&divisors);
                let rest: Vec<usize> = (1..=count / first).filter(|d| (count / first).is_multiple_of(*d)).collect();
                let second = rng.pick(&rest);
                net.reshape(name, x, Shape::fixed(&[first, second, count / first / second]))
            }
            5 if rank > 0 => {
                let start = rng.below(dims[axis]);
                let (stop, step) = (rng.range(start + 1, dims[axis]), rng.range(1, 3));
                net.push(name, Op::Slice { cuts: vec![SliceAxis { axis, start, stop, step }] }, &[x])
            }
            6 if rank > 0 => {
                let other = net.unary(format!("{name}.n"), UnaryKind::Neg, x);
                net.concat(name, &[x, other, x], axis)
            }
            7 => {
                let [before, after] = [(); 2].map(|()| (0..rank).map(|_| rng.below(3)).collect());
                net.push(name, Op::Pad { before, after, mode: PadMode::ZERO }, &[x])
            }
            8 if rank > 0 && dims[axis] > 1 => {
                let parts = net.split(name, x, axis, &[1, dims[axis] - 1]);
                parts[rng.below(2)]
            }
            9 => {
                let mut shape = vec![rng.range(1, 3)];
                shape.extend(&dims);
                net.push(name, Op::Expand { shape: Shape::fixed(&shape) }, &[x])
            }
            10 if rank >= 2 => net.push(name, Op::MatMul { transpose_a: false, transpose_b: true }, &[x, x]),
            11 if rank > 0 => {
                let kind = rng.pick(&[ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max]);
                let axes = if rng.chance(70) { (axis..rank).collect() } else { vec![axis] };
                net.push(name, Op::Reduce { kind, axes, keep: rng.chance(50) }, &[x])
            }
            _ => net.binary(name, BinaryKind::Add, x, x),
        };
        if net.ty(y).shape.elements() <= 3000 && net.ty(y).shape.rank() <= 5 {
            values.push(y);
        }
    }
    let mut wanted = Vec::new();
    for i in 0..values.len() {
        let v = values[rng.below(values.len())];
        wanted.push(if rng.chance(30) { net.push(format!("half{i}"), Op::Cast { to: DType::F16 }, &[v]) } else { v });
    }
    (g, weights, wanted)
}

/// The bytes of each value, put together from its pieces.
fn collect<'a>(
    g: &'a Graph,
    numbers: impl Into<Numbers<'a>>,
    values: &[Value],
    limits: Limits,
) -> Result<Vec<Vec<u8>>, StreamError<Infallible>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let report = stream_with(g, numbers.into(), values, limits, &mut |i, at, bytes: &[u8]| {
        if i == all.len() {
            all.push(Vec::new());
        }
        assert_eq!((i + 1, at), (all.len(), all[i].len()), "in order");
        all[i].extend_from_slice(bytes);
        Ok(())
    })?;
    assert!(report.constants.iter().map(|c| c.bytes).eq(all.iter().map(|b| b.len() as u64)));
    Ok(all)
}

/// Pieces of at least `piece` elements within a budget.
fn pieces(budget: usize, piece: usize) -> Limits {
    Limits { budget, piece, wide: usize::MAX }
}

/// The bytes of a value computed alone, operator by operator.
fn naive(g: &Graph, weights: &dyn Weights, value: Value) -> Vec<u8> {
    let whole = constant(g, weights, value).unwrap();
    match g.ty(value).dtype {
        DType::F32 => whole.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
        DType::F16 => whole.iter().flat_map(|&x| super::super::round::f16_bits(x).to_le_bytes()).collect(),
        DType::I32 => whole.iter().flat_map(|&x| (x as i32).to_le_bytes()).collect(),
        DType::I64 => whole.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect(),
        DType::I8 => whole.iter().flat_map(|&x| (x as i8).to_le_bytes()).collect(),
        DType::U8 | DType::Bool => whole.iter().map(|&x| x as u8).collect(),
        DType::I4 | DType::U4 => {
            let halves: Vec<u8> = whole.iter().map(|&x| x as i8 as u8 & 15).collect();
            halves.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |&high| high << 4)).collect()
        }
    }
}

/// Integers of every width, in pieces of every size; what does not fit is found.
#[test]
fn integers_are_stored_in_their_width() {
    let types = [DType::I32, DType::I64, DType::I8, DType::U8, DType::I4, DType::U4, DType::Bool];
    for (dtype, largest) in types.into_iter().zip([1e6, 1e12, 127.0, 255.0, 7.0, 15.0, 1.0]) {
        let mut graph = Graph::new("integers", crate::Stage::Paper);
        let leaf = graph.push_leaf(Op::Generate(Generator::Iota { axis: 0 }), Type::f32(&[9, 5]), "x").unwrap();
        let mut scaled = |factor: f64| {
            let factor = graph.push_leaf(Op::literal(&[factor]), Type::f32(&[]), "factor").unwrap();
            let x = graph.push(Op::Binary(BinaryKind::Mul), &[leaf, factor], "scaled").unwrap();
            graph.push(Op::Cast { to: dtype }, &[x.into()], "y").unwrap().into()
        };
        // A truth value is 1 whatever it was cast from.
        let (fits, over) = (scaled(largest / 8.0), scaled(if dtype == DType::Bool { 1.0 } else { 1e19 }));
        for piece in [1, 7, 1 << 16] {
            let bytes = collect(&graph, &MemoryWeights::new(), &[fits], pieces(1 << 16, piece)).unwrap();
            assert_eq!(bytes[0], naive(&graph, &MemoryWeights::new(), fits), "{dtype}");
            assert_eq!(bytes[0].len(), graph.ty(fits).bytes());
        }
        let result = collect(&graph, &MemoryWeights::new(), &[over], pieces(1 << 16, 1));
        assert_eq!(result.is_err(), dtype != DType::Bool, "{dtype}");
    }
}

#[test]
fn bytes_are_the_values_rounded_whatever_the_sharing() {
    for seed in 0..150 {
        let (g, weights, values) = random_constants(&mut Rng::new(seed), 25);
        let streamed = collect(&g, &weights, &values, pieces(1 << 16, 1)).unwrap();
        for (bytes, &v) in streamed.iter().zip(&values) {
            assert_eq!(bytes, &naive(&g, &weights, v), "seed {seed}, {}", g.value_name(v));
        }
    }
}

/// Fused expressions against the interpreter, which applies one operator at a time: the same constants behind an
/// input that is zero.
#[test]
fn fused_constants_are_what_the_operators_compute() {
    for seed in 0..150 {
        let (mut g, weights, values) = random_constants(&mut Rng::new(seed), 25);
        // The same graph with every weight an input.
        let mut live = Graph::new("live", Stage::Paper);
        let mut inputs = Vec::new();
        let mut map: Vec<Vec<Value>> = Vec::new();
        for (id, node) in g.nodes() {
            let new = match &node.op {
                Op::Weight { .. } => {
                    inputs.push(constant(&g, &weights, id.into()).unwrap());
                    live.push_leaf(Op::Input, node.types[0].clone(), &node.path).unwrap().node
                }
                op if node.inputs.is_empty() => {
                    live.push_leaf(op.clone(), node.types[0].clone(), &node.path).unwrap().node
                }
                op => {
                    let operands: Vec<Value> =
                        node.inputs.iter().map(|v| map[v.node.0 as usize][v.index as usize]).collect();
                    live.push(op.clone(), &operands, &node.path).unwrap()
                }
            };
            map.push((0..node.types.len() as u32).map(|index| Value { node: new, index }).collect());
        }
        // Rounded results of casts are compared elsewhere.
        let wanted: Vec<Value> = values.iter().copied().filter(|&v| g.ty(v).dtype == DType::F32).collect();
        for (i, v) in wanted.iter().enumerate() {
            let value = map[v.node.0 as usize][v.index as usize];
            live.outputs.push(crate::Output { name: format!("y{i}"), value });
        }
        let results = super::run(&live, &weights, &inputs, 1).unwrap();
        for (result, &v) in results.iter().zip(&wanted) {
            assert_eq!(&constant(&g, &weights, v).unwrap(), result, "seed {seed}, {}", g.value_name(v));
        }
        g.outputs.clear();
    }
}

#[test]
fn blocks_and_narrow_cells_agree_with_whole_values() {
    for seed in 0..60 {
        let (g, weights, values) = random_constants(&mut Rng::new(seed), 25);
        let whole = collect(&g, &weights, &values, pieces(0, 1)).unwrap();
        // Nothing is kept in f64: everything kept is f32, so results may differ by the rounding of operands.
        let narrow = collect(&g, &weights, &values, Limits { wide: 0, ..pieces(0, 1) }).unwrap();
        for ((a, b), &v) in whole.iter().zip(&narrow).zip(&values) {
            let read = |bytes: &[u8]| -> Vec<f64> {
                match g.ty(v).dtype {
                    DType::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f64()).collect(),
                    _ => bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                }
            };
            let (a, b) = (read(a), read(b));
            let size = a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
            let bound = size * if g.ty(v).dtype == DType::F16 { 2e-3 } else { 1e-4 };
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= bound), "seed {seed}, {}", g.value_name(v));
        }
    }
}

/// A fused expression that is far larger than a block, with rows, transposition and a border inside a block, and what sums its rows.
#[test]
fn many_blocks() {
    let mut rng = Rng::new(3);
    let (rows, columns) = (300, 1111);
    let mut g = Graph::new("large", Stage::Paper);
    let mut net = Net::new(&mut g);
    let w = net.weight("w", &[rows, columns]);
    let s = net.weight("s", &[rows]);
    let along = net.along("s.along", s, 0, 2);
    let scaled = net.mul(w, along);
    let turned = net.transpose("t", scaled, &[1, 0]);
    let both = net.concat("both", &[scaled, w], 0);
    let wide = net.concat("wide", &[scaled, w], 1);
    let sums = net.push("sums", Op::Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: false }, &[scaled]);
    let head = net.push("head", Op::Slice { cuts: vec![SliceAxis { axis: 0, start: 0, stop: 3, step: 1 }] }, &[w]);
    let first = net.push("first", Op::Slice { cuts: vec![SliceAxis { axis: 0, start: 0, stop: 1, step: 1 }] }, &[w]);
    let across = Op::MatMul { transpose_a: false, transpose_b: true };
    let products =
        [(net.push("products", across.clone(), &[both, head]), 3), (net.push("dots", across, &[both, first]), 1)];
    let values: Vec<f32> = (0..rows * columns).map(|_| rng.normal() as f32).collect();
    let factors: Vec<f32> = (0..rows).map(|_| rng.normal() as f32).collect();
    let weights: MemoryWeights = [("w", values.clone()), ("s", factors.clone())].into_iter().collect();
    let product = |r: usize, c: usize| (f64::from(values[r * columns + c]) * f64::from(factors[r])) as f32;
    let plain = |r: usize, c: usize| values[r * columns + c];
    for (limit, piece) in [(0, 1), (usize::MAX, 1), (usize::MAX, 100_000), (usize::MAX, usize::MAX)] {
        // One at a time: alone, nothing is shared, so nothing is rounded before the end.
        let bytes = |v| {
            let bytes = collect(&g, &weights, &[v], Limits { wide: limit, ..pieces(0, piece) }).unwrap().remove(0);
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>()
        };
        assert!(bytes(scaled).iter().enumerate().all(|(i, &x)| x == product(i / columns, i % columns)));
        assert!(bytes(turned).iter().enumerate().all(|(i, &x)| x == product(i % rows, i / rows)));
        let expected = |i: usize| match (i / columns, i % columns) {
            (r, c) if r < rows => product(r, c),
            (r, c) => plain(r - rows, c),
        };
        assert!(bytes(both).iter().enumerate().all(|(i, &x)| x == expected(i)));
        let exact = |r: usize, c: usize| f64::from(values[r * columns + c]) * f64::from(factors[r]);
        let sum = |r: usize| (0..columns).fold(0.0, |sum, c| sum + exact(r, c)) as f32;
        assert!(bytes(sums).iter().enumerate().all(|(r, &x)| x == sum(r)));
        for (product, n) in products {
            let row = |r: usize, c: usize| if r < rows { exact(r, c) } else { plain(r - rows, c).into() };
            let dot = |r, j| (0..columns).fold(0.0, |sum, c| sum + row(r, c) * f64::from(plain(j, c))) as f32;
            assert!(bytes(product).iter().enumerate().all(|(i, &x)| x == dot(i / n, i % n)));
        }
        let expected = |i: usize| match (i / (2 * columns), i % (2 * columns)) {
            (r, c) if c < columns => product(r, c),
            (r, c) => plain(r, c - columns),
        };
        assert!(bytes(wide).iter().enumerate().all(|(i, &x)| x == expected(i)));
    }
}

/// Concatenations that begin with the start of a value, of their own size or another.
#[test]
fn parts_of_a_value_put_together_anew() {
    let mut g = Graph::new("anew", Stage::Paper);
    let mut net = Net::new(&mut g);
    let w = net.weight("w", &[5]);
    let doubled = net.add(w, w);
    let cut = |start, stop| Op::Slice { cuts: vec![SliceAxis { axis: 0, start, stop, step: 1 }] };
    let [first, last] = [("first", cut(0, 2)), ("last", cut(2, 5))].map(|(name, op)| net.push(name, op, &[doubled]));
    let kept = net.concat("kept", &[first, last], 0);
    let twice = net.concat("twice", &[first, first], 0);
    let plain = net.push("plain", cut(0, 3), &[w]);
    let front = net.concat("front", &[first, plain], 0);
    let sums = Op::Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: true };
    let sum = net.push("sum", sums, &[twice]);
    let weights: MemoryWeights = [("w", vec![1., 2., 3., 4., 5.])].into_iter().collect();
    let wanted = [kept, twice, front, sum, doubled];
    let expected: [&[f32]; 5] =
        [&[2., 4., 6., 8., 10.], &[2., 4., 2., 4.], &[2., 4., 1., 2., 3.], &[12.], &[2., 4., 6., 8., 10.]];
    let all = collect(&g, &weights, &wanted, pieces(usize::MAX, 1)).unwrap();
    for ((v, bytes), expected) in wanted.into_iter().zip(all).zip(expected) {
        assert_eq!(bytes, expected.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(), "{}", g.value_name(v));
        let whole: Vec<f32> = constant(&g, &weights, v).unwrap().iter().map(|&x| x as f32).collect();
        assert_eq!(whole, expected, "{}", g.value_name(v));
    }
    g.outputs = wanted.map(|value| Output { name: g.value_name(value), value }).into();
    let results = run(&g, &weights, &[], 1).unwrap();
    assert!(results.iter().zip(expected).all(|(y, expected)| y.iter().map(|&x| x as f32).eq(expected.iter().copied())));
}

#[test]
fn weights_that_are_stored_as_read_are_handed_on() {
    let mut g = Graph::new("same", Stage::Paper);
    let mut net = Net::new(&mut g);
    let w = net.weight("w", &[6, 4]);
    let view = net.reshape("view", w, Shape::fixed(&[24]));
    let part = net.slice("part", w, 0, 2..4);
    let mut weights = MemoryWeights::new();
    weights.insert("w", &(0..24).map(|x| x as f32 - 7.0).collect::<Vec<_>>());
    let stored = weights.weight("w", 24).unwrap();
    let address = stored.bytes.as_ptr() as usize;
    let mut seen = Vec::new();
    let report = stream(&g, &weights, &[w, view, part], &mut |_, _, bytes| {
        seen.push((bytes.as_ptr() as usize - address, bytes.len()));
        Ok::<(), Infallible>(())
    })
    .unwrap();
    assert_eq!(seen, [(0, 96), (0, 96), (32, 32)]);
    assert_eq!(report.constants.iter().map(|c| c.max_after).collect::<Vec<_>>(), [16.0, 16.0, 8.0]);
}

#[test]
fn f16_statistics() {
    let mut g = Graph::new("half", Stage::Paper);
    let mut net = Net::new(&mut g);
    let w = net.weight("w", &[5]);
    let half = net.push("half", Op::Cast { to: DType::F16 }, &[w]);
    let bits = |weights: &MemoryWeights| {
        let mut result = Vec::new();
        let report = stream(&g, weights, &[half], &mut |_, _, bytes| {
            result = bytes.to_vec();
            Ok::<(), Infallible>(())
        });
        (result, report.unwrap().total())
    };
    let values = [1e-9, 1e-5, 0.0, -65519.0, 2049.0];
    let weights: MemoryWeights = [("w", values.to_vec())].into_iter().collect();
    let (bytes, stats) = bits(&weights);
    let expected: Vec<u8> =
        [0.0, 1e-5, 0.0, -65504.0, 2048.0].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    assert_eq!(bytes, expected);
    assert_eq!((stats.subnormal, stats.flushed, stats.max_before, stats.max_after), (1, 1, 65519.0, 65504.0));
    let mut weights = MemoryWeights::new();
    weights.insert_f16("w", &[0x0001, 0x8400, 0x3c00, 0x83ff, 0x7bff].map(f16::from_bits));
    let (bytes, stats) = bits(&weights);
    assert_eq!(bytes, weights.weight("w", 5).unwrap().bytes.as_ref());
    assert_eq!((stats.subnormal, stats.flushed, stats.max_after), (2, 0, 65504.0));
}

#[test]
fn what_is_not_finite_is_refused_with_key_and_path() {
    let mut g = Graph::new("bad", Stage::Paper);
    let mut net = Net::new(&mut g);
    let (w, s) = (net.weight("w", &[3]), net.weight("s", &[3]));
    let product = net.binary("product", BinaryKind::Mul, w, s);
    let half = net.push("half", Op::Cast { to: DType::F16 }, &[product]);
    let root = net.unary("root", UnaryKind::Sqrt, s);
    let refuse = |w: [f32; 3], s: [f32; 3], v: Value| {
        let weights: MemoryWeights = [("w", w.to_vec()), ("s", s.to_vec())].into_iter().collect();
        match stream(&g, &weights, &[v], &mut |_, _, _| Ok::<(), Infallible>(())) {
            Err(StreamError::Eval(e)) => e,
            other => panic!("{other:?}"),
        }
    };
    let one = [1.0; 3];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for v in [w, product, half] {
            let error = refuse([0.0, bad, bad], one, v);
            let EvalError::WeightNotFinite { path, key, element, .. } = &error else { panic!("{error}") };
            assert_eq!((path, key.as_str(), *element), (&g.value_name(v), "w", 1));
        }
    }
    let error = refuse([1.0, -3e4, 2.0], [1.0, 3.0, 1.0], half);
    assert_eq!(error.to_string(), "half overflows f16: largest magnitude 9e4, computed from weights w, s");
    let error = refuse([3e38, 0.0, 0.0], [10.0, 0.0, 0.0], product);
    assert!(matches!(error, EvalError::Overflow { dtype: DType::F32, .. }), "{error}");
    let error = refuse(one, [-1.0; 3], root);
    assert_eq!(error.to_string(), "root is not finite although the weights it is computed from are: s");
}

/// Weights whose bytes are all owned, and which count how many of them are alive.
struct Counting {
    alive: std::sync::Arc<AtomicUsize>,
    peak: AtomicUsize,
}

impl Weights for Counting {
    fn weight(&self, _: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let alive = self.alive.fetch_add(elements * 4, Ordering::SeqCst) + elements * 4;
        self.peak.fetch_max(alive, Ordering::SeqCst);
        Ok(Stored { dtype: StoredType::F32, bytes: vec![0u8; elements * 4].into() })
    }
}

/// Most bytes of weights that are alive at once while `count` weights of `elements` elements are streamed.
fn most_alive(count: usize, elements: usize, limits: Limits) -> usize {
    let mut g = Graph::new("many", Stage::Paper);
    let mut net = Net::new(&mut g);
    let values: Vec<Value> = (0..count).map(|i| net.weight(format!("w{i}"), &[elements])).collect();
    let alive = std::sync::Arc::new(AtomicUsize::new(0));
    let weights = Counting { alive: alive.clone(), peak: AtomicUsize::new(0) };
    stream_with(&g, (&weights).into(), &values, limits, &mut |_, _, bytes| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        alive.fetch_sub(bytes.len(), Ordering::SeqCst);
        Ok::<(), Infallible>(())
    })
    .unwrap();
    weights.peak.load(Ordering::SeqCst)
}

#[test]
fn look_ahead_stays_within_the_budget() {
    // Two fit the budget, and the next one is always allowed.
    let peak = most_alive(64, 1000, pieces(10_000, usize::MAX));
    assert!(peak <= 12_000, "{peak}");
    // Of those in several pieces, two.
    let peak = most_alive(8, 50_000, pieces(1 << 30, 10_000));
    assert!(peak <= 2 * 200_000, "{peak}");
}

/// Large and small constants among each other, with parts, shared values and transposition, under budgets that hold nothing, some and everything, on one thread
/// of a pool too.
#[test]
fn pieces_of_large_constants_arrive_in_order() {
    let mut rng = Rng::new(5);
    let mut g = Graph::new("pieces", Stage::Paper);
    let mut net = Net::new(&mut g);
    let (rows, columns) = (150, 333);
    let numbers = |rng: &mut Rng, n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
    let (data, bias) = (numbers(&mut rng, rows * columns), numbers(&mut rng, rows));
    let (w, b) = (net.weight("w", &[rows, columns]), net.weight("b", &[rows, 1]));
    let twice = net.add(w, w);
    let across = Op::MatMul { transpose_a: false, transpose_b: true };
    let product = net.push("product", across, &[twice, w]);
    let shifted = net.add(twice, b);
    let turned = net.transpose("turned", shifted, &[1, 0]);
    let both = net.concat("both", &[w, shifted, b], 1);
    let behind = net.concat("behind", &[w, shifted], 0);
    let half = net.push("half", Op::Cast { to: DType::F16 }, &[behind]);
    let values = [w, b, product, shifted, b, turned, both, behind, half, b];
    let weights: MemoryWeights = [("w", data), ("b", bias)].into_iter().collect();
    let expected: Vec<Vec<u8>> = values.iter().map(|&v| naive(&g, &weights, v)).collect();
    for budget in [0, 100_000, usize::MAX] {
        for piece in [1, 10_000, usize::MAX] {
            let limits = pieces(budget, piece);
            assert!(collect(&g, &weights, &values, limits).unwrap() == expected, "{limits:?}");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert!(pool.install(|| collect(&g, &weights, &values, limits).unwrap()) == expected, "{limits:?}");
        }
    }
}

/// An element in the middle of a large constant ends the stream before its piece is delivered.
#[test]
fn a_bad_element_of_a_large_constant_is_named() {
    let mut g = Graph::new("late", Stage::Paper);
    let mut net = Net::new(&mut g);
    let w = net.weight("w", &[50_000]);
    let doubled = net.add(w, w);
    let mut data = vec![1.0; 50_000];
    data[30_001] = f32::NAN;
    let weights: MemoryWeights = [("w", data)].into_iter().collect();
    for value in [w, doubled] {
        let mut delivered = 0;
        let result = stream_with(&g, (&weights).into(), &[value], pieces(usize::MAX, 10_000), &mut |_, at, bytes| {
            delivered = at + bytes.len();
            Ok::<(), Infallible>(())
        });
        let Err(StreamError::Eval(EvalError::WeightNotFinite { key, element, .. })) = result else {
            panic!("{result:?}")
        };
        assert_eq!((key.as_str(), element), ("w", 30_001));
        assert!((1..=30_001 * 4).contains(&delivered), "{delivered}");
    }
}

/// What was computed before is taken as it is, wherever it is read, and what it is computed from is not asked for.
#[test]
fn computed_constants_are_not_computed_again() {
    let mut g = Graph::new("computed", Stage::Paper);
    let mut net = Net::new(&mut g);
    let (inner, outer) = (net.weight("inner", &[2, 3]), net.weight("outer", &[2, 3]));
    let sum = net.push("sum", Op::Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: true }, &[inner]);
    let product = net.mul(outer, sum);
    let turned = net.transpose("turned", product, &[1, 0]);
    let weights: MemoryWeights = [("outer", vec![1., 2., 3., 4., 5., 6.])].into_iter().collect();
    let computed = Computed::from([(sum, vec![10.0, 0.5].into())]);
    let numbers = Numbers { weights: &weights, computed: Some(&computed) };
    let all = collect(&g, numbers, &[sum, product, turned], pieces(0, 1)).unwrap();
    let expected: [&[f32]; 3] = [&[10., 0.5], &[10., 20., 30., 2., 2.5, 3.], &[10., 2., 20., 2.5, 30., 3.]];
    for (bytes, expected) in all.iter().zip(expected) {
        assert_eq!(bytes, &expected.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
}

#[test]
fn a_failing_receiver_ends_the_stream() {
    let (g, weights, values) = random_constants(&mut Rng::new(1), 25);
    let mut calls = 0;
    let result = stream(&g, &weights, &values, &mut |i, _, _| {
        calls += 1;
        if i == 3 { Err("disk full") } else { Ok(()) }
    });
    assert!(matches!(result, Err(StreamError::Sink("disk full"))));
    assert_eq!(calls, 4);
}

/// A mistake in a source of weights ends the stream instead of letting it wait forever.
#[test]
fn a_panic_reaches_the_caller() {
    struct Broken;
    impl Weights for Broken {
        fn weight(&self, _: &str, _: usize) -> Result<Stored<'_>, WeightError> {
            panic!("broken")
        }
    }
    let mut g = Graph::new("broken", Stage::Paper);
    let mut net = Net::new(&mut g);
    let values: Vec<Value> = (0..8).map(|i| net.weight(format!("w{i}"), &[100])).collect();
    let result = std::panic::catch_unwind(|| stream(&g, &Broken, &values, &mut |_, _, _| Ok::<(), Infallible>(())));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"broken"));
}

#[test]
fn a_thread_of_the_pool_may_stream() {
    let (g, weights, values) = random_constants(&mut Rng::new(2), 25);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let inside = pool.install(|| collect(&g, &weights, &values, pieces(1 << 20, 1)).unwrap());
    assert_eq!(inside, collect(&g, &weights, &values, pieces(1 << 20, 1)).unwrap());
}

#[test]
fn integers_are_emitted_as_i32() {
    let mut g = Graph::new("index", Stage::Paper);
    let mut net = Net::new(&mut g);
    let generator = Generator::RelativeIndex { query: [2, 2], key: [2, 2], step: [1, 1], order: OffsetOrder::Signed };
    let index = net.generate("index", generator, Type::new(DType::I32, Shape::fixed(&[4, 4])));
    let bytes = collect(&g, &MemoryWeights::new(), &[index], pieces(0, 1)).unwrap().remove(0);
    let numbers: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
    assert_eq!(numbers, [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4]);
}
