//! Elementwise operators, movement, normalisation, reduction, pooling and sampling.

use super::{apply, apply1, assert_close, build, indices, random};
use crate::op::{BinaryKind, Op, ReduceKind, ResizeMode, SliceAxis, UnaryKind};
use crate::real::Real;
use crate::testing::Rng;
use crate::ty::{DType, Shape};
use ndarray::ArrayD;

#[test]
fn unary() {
    let x = random(&mut Rng::new(1), &[3, 5]);
    // Taylor's series of erf, and what follows from it.
    let erf = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        2.0 / std::f64::consts::PI.sqrt() * sum
    };
    let cases: [(UnaryKind, &dyn Fn(f64) -> f64); 10] = [
        (UnaryKind::Relu, &|x| x.max(0.0)),
        (UnaryKind::Gelu, &|x| x / 2.0 * (1.0 + erf(x / 2.0f64.sqrt()))),
        (UnaryKind::Silu, &|x| x / (1.0 + (-x).exp())),
        (UnaryKind::Sigmoid, &|x| 1.0 / (1.0 + (-x).exp())),
        (UnaryKind::Tanh, &|x| (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
        (UnaryKind::Erf, &erf),
        (UnaryKind::Sqrt, &|x| x.powf(0.5)),
        (UnaryKind::Exp, &|x| std::f64::consts::E.powf(x)),
        (UnaryKind::Abs, &|x| if x < 0.0 { -x } else { x }),
        (UnaryKind::Neg, &|x| 0.0 - x),
    ];
    for (kind, f) in cases {
        let x = if kind == UnaryKind::Sqrt { x.mapv(f64::abs) } else { x.clone() };
        assert_close(&apply1(Op::Unary(kind), &[&x]), &x.mapv(f));
    }
    let far = ArrayD::from_shape_vec(vec![2], vec![-1000.0, 1000.0]).unwrap();
    assert_eq!(apply1(Op::Unary(UnaryKind::Sigmoid), &[&far]).into_raw_vec_and_offset().0, [0.0, 1.0]);
}

#[test]
fn binary_broadcasts_as_numpy_does() {
    let mut rng = Rng::new(2);
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[3, 4], &[3, 4]),
        (&[3, 4], &[4]),
        (&[3, 4], &[3, 1]),
        (&[2, 1, 5], &[3, 1]),
        (&[], &[2, 3]),
        (&[7], &[1, 1]),
        (&[2, 3, 4, 5], &[3, 1, 1]),
        (&[1, 3, 1], &[2, 1, 4]),
    ];
    let kinds = [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div, BinaryKind::Max, BinaryKind::Min];
    for (da, db) in shapes {
        for kind in kinds {
            let (a, b) = (random(&mut rng, da), random(&mut rng, db));
            let y = apply1(Op::Binary(kind), &[&a, &b]);
            let expected = build(y.shape(), |i| {
                let at = |x: &ArrayD<f64>| {
                    let own = &i[i.len() - x.ndim()..];
                    let own: Vec<usize> =
                        own.iter().zip(x.shape()).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
                    x[own.as_slice()]
                };
                let (a, b) = (at(&a), at(&b));
                match kind {
                    BinaryKind::Add => a + b,
                    BinaryKind::Sub => a - b,
                    BinaryKind::Mul => a * b,
                    BinaryKind::Div => a / b,
                    BinaryKind::Max => a.max(b),
                    BinaryKind::Min => a.min(b),
                }
            });
            assert_eq!(y, expected, "{kind:?} of {da:?} and {db:?}");
        }
    }
}

#[test]
fn sums() {
    let mut rng = Rng::new(5);
    let all = [(); 4].map(|()| random(&mut rng, &[2, 3, 4]));
    for n in 2..=4 {
        let values: Vec<&ArrayD<f64>> = all[..n].iter().collect();
        assert_eq!(apply1(Op::Sum, &values), all[1..n].iter().fold(all[0].clone(), |sum, x| sum + x));
    }
    let [rows, one] = [&[3, 1][..], &[]].map(|dims| random(&mut rng, dims));
    let broadcast = all[0].clone() + &rows + &one + &all[1];
    assert_eq!(apply1(Op::Sum, &[&all[0], &rows, &one, &all[1]]), broadcast);
    assert_eq!(apply1(Op::Sum, &[&rows, &all[0]]), all[0].clone() + &rows);
}

#[test]
fn clip_prelu() {
    let mut rng = Rng::new(3);
    let x = random(&mut rng, &[2, 3, 4]);
    assert_eq!(apply1(Op::Clip { lo: Real(-0.5), hi: Real(0.25) }, &[&x]), x.mapv(|x| x.clamp(-0.5, 0.25)));
    for slopes in [3, 1] {
        let slope = random(&mut rng, &[slopes]);
        let expected = build(x.shape(), |i| if x[i] < 0.0 { slope[[i[1] % slopes]] * x[i] } else { x[i] });
        assert_eq!(apply1(Op::Prelu, &[&x, &slope]), expected);
    }
}

#[test]
fn movement() {
    let mut rng = Rng::new(4);
    let x = random(&mut rng, &[2, 3, 4, 5]);
    let perm = vec![2, 0, 3, 1];
    let y = apply1(Op::Transpose { perm }, &[&x]);
    assert_eq!(y, build(&[4, 2, 5, 3], |i| x[[i[1], i[3], i[0], i[2]]]));

    let y = apply1(Op::Reshape { shape: Shape::fixed(&[6, 20]) }, &[&x]);
    assert!(y.iter().eq(x.iter()));

    let cuts =
        vec![SliceAxis { axis: 1, start: 1, stop: 3, step: 1 }, SliceAxis { axis: 3, start: 0, stop: 5, step: 2 }];
    assert_eq!(apply1(Op::Slice { cuts }, &[&x]), build(&[2, 2, 4, 3], |i| x[[i[0], i[1] + 1, i[2], 2 * i[3]]]));

    let parts = apply(Op::Split { axis: 2, sizes: vec![1, 3] }, &[&x]);
    assert_eq!(parts[0], build(&[2, 3, 1, 5], |i| x[i]));
    assert_eq!(parts[1], build(&[2, 3, 3, 5], |i| x[[i[0], i[1], i[2] + 1, i[3]]]));
    assert_eq!(apply1(Op::Concat { axis: 2 }, &[&parts[0], &parts[1]]), x);

    let (before, after) = (vec![0, 1, 0, 2], vec![1, 0, 0, 3]);
    let y = apply1(Op::Pad { before, after }, &[&x]);
    let padded = build(&[3, 4, 4, 10], |i| {
        let inside = i[0] < 2 && i[1] >= 1 && (2..7).contains(&i[3]);
        if inside { x[[i[0], i[1] - 1, i[2], i[3] - 2]] } else { 0.0 }
    });
    assert_eq!(y, padded);

    let row = random(&mut rng, &[3, 1]);
    let y = apply1(Op::Expand { shape: Shape::fixed(&[2, 3, 4]) }, &[&row]);
    assert_eq!(y, build(&[2, 3, 4], |i| row[[i[1], 0]]));

    let index = build(&[2, 2], |i| [[3.0, 0.0], [1.0, 3.0]][i[0]][i[1]]);
    let y = apply1(Op::Gather { axis: 2 }, &[&x, &index]);
    assert_eq!(y, build(&[2, 3, 2, 2, 5], |i| x[[i[0], i[1], index[[i[2], i[3]]] as usize, i[4]]]));
}

#[test]
fn casts_round_to_nearest_even() {
    let x = ArrayD::from_shape_vec(vec![4], vec![2049.0, 2051.0, 1e-9, 2049.000001]).unwrap();
    let mut g = crate::Graph::new("cast", crate::Stage::Paper);
    let input = g.push_leaf(Op::Input, crate::Type::f32(&[4]), "x").unwrap();
    let half = g.push(Op::Cast { to: DType::F16 }, &[input], "half").unwrap();
    g.outputs = vec![crate::Output { name: "y".into(), value: half.into() }];
    let y = super::run(&g, &super::MemoryWeights::new(), &[x], 1).unwrap().remove(0);
    assert_eq!(y.into_raw_vec_and_offset().0, [2048.0, 2052.0, 0.0, 2050.0]);
    let x = ArrayD::from_shape_vec(vec![4], vec![0.5, 1.5, -2.5, 7.2]).unwrap();
    assert_eq!(apply1(Op::Cast { to: DType::I32 }, &[&x]).into_raw_vec_and_offset().0, [0.0, 2.0, -2.0, 7.0]);
}

#[test]
fn softmax_and_reductions() {
    let mut rng = Rng::new(5);
    let x = random(&mut rng, &[3, 4, 5]).mapv(|x| 30.0 * x);
    for axis in 0..3 {
        let with = |i: &[usize], n: usize| {
            let mut i = i.to_vec();
            i[axis] = n;
            x[i.as_slice()]
        };
        let expected = build(x.shape(), |i| 1.0 / (0..x.shape()[axis]).map(|n| (with(i, n) - x[i]).exp()).sum::<f64>());
        assert_close(&apply1(Op::Softmax { axis }, &[&x]), &expected);
    }
    let axis_sets: [&[usize]; 6] = [&[0], &[1], &[2], &[0, 2], &[1, 2], &[0, 1, 2]];
    for axes in axis_sets {
        for keep in [false, true] {
            for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
                let kept: Vec<usize> = (0..3).filter(|a| keep || !axes.contains(a)).collect();
                let dims: Vec<usize> = kept.iter().map(|a| if axes.contains(a) { 1 } else { x.shape()[*a] }).collect();
                let expected = build(&dims, |i| {
                    let belongs = |at: &Vec<usize>| kept.iter().zip(i).all(|(a, i)| axes.contains(a) || at[*a] == *i);
                    let items: Vec<f64> = indices(x.shape()).filter(belongs).map(|at| x[at.as_slice()]).collect();
                    match kind {
                        ReduceKind::Sum => items.iter().sum(),
                        ReduceKind::Mean => items.iter().sum::<f64>() / items.len() as f64,
                        ReduceKind::Max => items.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    }
                });
                assert_close(&apply1(Op::Reduce { kind, axes: axes.to_vec(), keep }, &[&x]), &expected);
            }
        }
    }
}

#[test]
fn normalisations() {
    let mut rng = Rng::new(6);
    let x = random(&mut rng, &[2, 3, 4, 5]);
    let [gamma, beta, mean] = [(); 3].map(|()| random(&mut rng, &[3]));
    let variance = random(&mut rng, &[3]).mapv(f64::abs);
    let eps = Real(1e-3);
    let expected = build(x.shape(), |i| {
        let c = i[1];
        gamma[[c]] * (x[i] - mean[[c]]) / (variance[[c]] + 1e-3).sqrt() + beta[[c]]
    });
    assert_close(&apply1(Op::BatchNorm { eps }, &[&x, &gamma, &beta, &mean, &variance]), &expected);

    let cases: [(&[usize], &[usize]); 5] =
        [(&[3], &[5]), (&[1], &[3]), (&[1, 3], &[3, 1]), (&[1, 2, 3], &[3, 4, 5]), (&[2], &[1])];
    for (axes, shape) in cases {
        let (scale, bias) = (random(&mut rng, shape), random(&mut rng, shape));
        let op = Op::LayerNorm { axes: axes.to_vec(), eps };
        let expected = |affine: bool| {
            build(x.shape(), |i| {
                let belongs = |at: &Vec<usize>| (0..4).all(|a| axes.contains(&a) || at[a] == i[a]);
                let items: Vec<f64> = indices(x.shape()).filter(belongs).map(|at| x[at.as_slice()]).collect();
                let n = items.len() as f64;
                let mean = items.iter().sum::<f64>() / n;
                let variance = items.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let y = (x[i] - mean) / (variance + 1e-3).sqrt();
                let own: Vec<usize> = axes.iter().zip(shape).map(|(&a, &n)| if n == 1 { 0 } else { i[a] }).collect();
                if affine { y * scale[own.as_slice()] + bias[own.as_slice()] } else { y }
            })
        };
        assert_close(&apply1(op.clone(), &[&x]), &expected(false));
        assert_close(&apply1(op, &[&x, &scale, &bias]), &expected(true));
    }
}

#[test]
fn average_pooling_does_not_count_padding() {
    let mut rng = Rng::new(7);
    for (kernel, stride, pad) in
        [([3, 3], [1, 1], [1; 4]), ([2, 2], [2, 2], [0; 4]), ([3, 2], [2, 1], [2, 0, 1, 1]), ([7, 5], [1, 1], [0; 4])]
    {
        let x = random(&mut rng, &[2, 2, 7, 5]);
        let y = apply1(Op::AvgPool { kernel, stride, pad }, &[&x]);
        let expected = build(y.shape(), |i| {
            let mut items = Vec::new();
            for u in 0..kernel[0] {
                for v in 0..kernel[1] {
                    let (row, column) = (i[2] * stride[0] + u, i[3] * stride[1] + v);
                    let inside = row >= pad[0] && column >= pad[1] && row - pad[0] < 7 && column - pad[1] < 5;
                    if inside {
                        items.push(x[[i[0], i[1], row - pad[0], column - pad[1]]]);
                    }
                }
            }
            items.iter().sum::<f64>() / items.len() as f64
        });
        assert_close(&y, &expected);
    }
}

#[test]
fn resize() {
    let mut rng = Rng::new(8);
    let x = random(&mut rng, &[1, 2, 5, 4]);
    for size in [[10, 8], [3, 7], [5, 4], [1, 1], [13, 3]] {
        let y = apply1(Op::Resize { mode: ResizeMode::Nearest, size }, &[&x]);
        let expected = build(y.shape(), |i| x[[i[0], i[1], i[2] * 5 / size[0], i[3] * 4 / size[1]]]);
        assert_eq!(y, expected);
        // A sum over all samples with hat functions around the clamped source coordinate.
        let weight = |i: usize, n: usize, out: usize, sample: usize| {
            let at = ((i as f64 + 0.5) * n as f64 / out as f64 - 0.5).clamp(0.0, (n - 1) as f64);
            (1.0 - (at - sample as f64).abs()).max(0.0)
        };
        let y = apply1(Op::Resize { mode: ResizeMode::Bilinear, size }, &[&x]);
        let expected = build(y.shape(), |i| {
            let term = |at: Vec<usize>| {
                weight(i[2], 5, size[0], at[0]) * weight(i[3], 4, size[1], at[1]) * x[[i[0], i[1], at[0], at[1]]]
            };
            indices(&[5, 4]).map(term).sum()
        });
        assert_close(&y, &expected);
    }
}

#[test]
fn windows() {
    let x = random(&mut Rng::new(9), &[2, 3, 4, 6]);
    let y = apply1(Op::WindowPartition { window: [2, 3] }, &[&x]);
    let expected = build(&[8, 6, 3], |i| {
        let (image, row, column) = (i[0] / 4, i[0] / 2 % 2, i[0] % 2);
        x[[image, i[2], row * 2 + i[1] / 3, column * 3 + i[1] % 3]]
    });
    assert_eq!(y, expected);
    assert_eq!(apply1(Op::WindowMerge { window: [2, 3], map: [4, 6] }, &[&y]), x);
}

#[test]
fn codes_stand_for_steps_and_entries() {
    let x = ArrayD::from_shape_vec(vec![6], vec![0.25, 0.75, -0.75, 100.0, -100.0, 0.6]).unwrap();
    let scale = ArrayD::from_elem(vec![], 0.5);
    let signed = apply1(Op::Quantize { to: DType::I8 }, &[&x, &scale]);
    assert_eq!(signed.into_raw_vec_and_offset().0, [0.0, 2.0, -2.0, 127.0, -128.0, 1.0]);
    let unsigned = apply1(Op::Quantize { to: DType::U8 }, &[&x, &scale]);
    assert_eq!(unsigned.into_raw_vec_and_offset().0, [0.0, 2.0, 0.0, 200.0, 0.0, 1.0]);

    let rng = &mut Rng::new(11);
    let codes = build(&[4, 6, 2], |i| (i[0] * 12 + i[1] * 2 + i[2]) as f64 - 20.0);
    for blocks in [[1, 1, 1], [4, 1, 1], [1, 6, 1], [2, 3, 1], [4, 2, 2]] {
        let scale = random(rng, &blocks);
        let block = |i: &[usize], a: usize| i[a] / ([4, 6, 2][a] / blocks[a]);
        let wanted = build(&[4, 6, 2], |i| codes[i] * scale[[block(i, 0), block(i, 1), block(i, 2)]]);
        assert_close(&apply1(Op::Dequantize, &[&codes, &scale]), &wanted);
    }

    for bits in [1, 2, 3, 4, 6, 8] {
        let table = random(rng, &[2, 1 << bits]);
        let chosen: Vec<usize> = (0..30).map(|_| rng.below(1 << bits)).collect();
        // Bit by bit: the first code in the low bits of the first byte.
        let mut bytes = vec![0.0; (30 * bits).div_ceil(8)];
        for place in 0..30 * bits {
            bytes[place / 8] += (chosen[place / bits] >> (place % bits) & 1) as f64 * f64::from(1u32 << (place % 8));
        }
        let packed = ArrayD::from_shape_vec(vec![bytes.len()], bytes).unwrap();
        let wanted = build(&[6, 5], |i| table[[i[0] / 3, chosen[i[0] * 5 + i[1]]]]);
        assert_close(&apply1(Op::Lookup { bits, shape: Shape::fixed(&[6, 5]) }, &[&packed, &table]), &wanted);
    }
}
