//! Elementwise operators, movement, normalisation, reduction, pooling and sampling.

use super::{apply, apply1, assert_close, build, indices, random};
use crate::op::{BinaryKind, DepthOrder, Kernel, Op, PadMode, ReduceKind, Sampling, SliceAxis, UnaryKind};
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
    let tanh = |x: f64| (x.exp() - (-x).exp()) / (x.exp() + (-x).exp());
    let cases: [(UnaryKind, &dyn Fn(f64) -> f64); 23] = [
        (UnaryKind::Relu, &|x| x.max(0.0)),
        (UnaryKind::Gelu, &|x| x / 2.0 * (1.0 + erf(x / 2.0f64.sqrt()))),
        (UnaryKind::Silu, &|x| x / (1.0 + (-x).exp())),
        (UnaryKind::Sigmoid, &|x| 1.0 / (1.0 + (-x).exp())),
        (UnaryKind::Tanh, &tanh),
        (UnaryKind::Erf, &erf),
        (UnaryKind::Sqrt, &|x| x.powf(0.5)),
        (UnaryKind::Exp, &|x| std::f64::consts::E.powf(x)),
        (UnaryKind::Abs, &|x| if x < 0.0 { -x } else { x }),
        (UnaryKind::Neg, &|x| 0.0 - x),
        (UnaryKind::Log, &|x| x.ln()),
        (UnaryKind::Sin, &|x| x.sin()),
        (UnaryKind::Cos, &|x| (x + std::f64::consts::FRAC_PI_2).sin()),
        (UnaryKind::Floor, &|x| -((-x).ceil())),
        (UnaryKind::Ceil, &|x| if x.fract() > 0.0 { x.trunc() + 1.0 } else { x.trunc() }),
        (UnaryKind::Round, &|x| (x + 0.5).floor()),
        (UnaryKind::Sign, &|x| x / x.abs()),
        (UnaryKind::Softplus, &|x| (1.0 + x.exp()).ln()),
        (UnaryKind::HardSwish, &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (UnaryKind::GeluTanh, &|x| {
            x / 2.0 * (1.0 + tanh((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))))
        }),
        (UnaryKind::Elu { alpha: Real(0.7) }, &|x| if x < 0.0 { 0.7 * (x.exp() - 1.0) } else { x }),
        (UnaryKind::LeakyRelu { slope: Real(0.1) }, &|x| x.max(0.1 * x)),
        (UnaryKind::HardSigmoid { alpha: Real(0.2), beta: Real(0.5) }, &|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
    ];
    for (kind, f) in cases {
        let x = if matches!(kind, UnaryKind::Sqrt | UnaryKind::Log) { x.mapv(f64::abs) } else { x.clone() };
        assert_close(&apply1(Op::Unary(kind), &[&x]), &x.mapv(f));
    }
    let far = ArrayD::from_shape_vec(vec![2], vec![-1000.0, 1000.0]).unwrap();
    assert_eq!(apply1(Op::Unary(UnaryKind::Sigmoid), &[&far]).into_raw_vec_and_offset().0, [0.0, 1.0]);
    assert_eq!(apply1(Op::Unary(UnaryKind::Softplus), &[&far]).into_raw_vec_and_offset().0, [0.0, 1000.0]);
    let ties = ArrayD::from_shape_vec(vec![4], vec![0.5, 1.5, -2.5, 0.0]).unwrap();
    assert_eq!(apply1(Op::Unary(UnaryKind::Round), &[&ties]).into_raw_vec_and_offset().0, [0.0, 2.0, -2.0, 0.0]);
    assert_eq!(apply1(Op::Unary(UnaryKind::Sign), &[&ties]).into_raw_vec_and_offset().0, [1.0, 1.0, -1.0, 0.0]);
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
    let kinds = [
        BinaryKind::Add,
        BinaryKind::Sub,
        BinaryKind::Mul,
        BinaryKind::Div,
        BinaryKind::Max,
        BinaryKind::Min,
        BinaryKind::Pow,
    ];
    for (da, db) in shapes {
        for kind in kinds {
            let (mut a, b) = (random(&mut rng, da), random(&mut rng, db));
            if kind == BinaryKind::Pow {
                a.mapv_inplace(f64::abs);
            }
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
                    BinaryKind::Pow => (b * a.ln()).exp(),
                    BinaryKind::Quotient => unreachable!("of integers"),
                }
            });
            assert_close(&y, &expected);
        }
    }
}

#[test]
fn quotients_of_integers_round_towards_zero() {
    let text = "graph g  stage=paper\n%x: i32[2,3] = input\n\
        %y: i32[2,3] = quotient(%x, literal[2,-2,3]:i32[3])\noutputs y=%y";
    let graph = crate::parse(text).expect("a graph");
    let x = ArrayD::from_shape_vec(vec![2, 3], vec![7.0, 7.0, -2147483647.0, -7.0, -7.0, 1.0]).expect("six numbers");
    let y = crate::eval::run(&graph, &crate::eval::MemoryWeights::new(), &[x], 1).expect("a result");
    assert_eq!(y[0].iter().copied().collect::<Vec<_>>(), [3.0, -3.0, -715827882.0, -3.0, 3.0, 0.0]);
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
    let y = apply1(Op::Pad { before, after, mode: PadMode::ZERO }, &[&x]);
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
fn casts_round_floats_to_nearest_even_and_indices_towards_zero() {
    let x = ArrayD::from_shape_vec(vec![4], vec![2049.0, 2051.0, 1e-9, 2049.000001]).unwrap();
    let mut g = crate::Graph::new("cast", crate::Stage::Paper);
    let input = g.push_leaf(Op::Input, crate::Type::f32(&[4]), "x").unwrap();
    let half = g.push(Op::Cast { to: DType::F16 }, &[input], "half").unwrap();
    g.outputs = vec![crate::Output { name: "y".into(), value: half.into() }];
    let y = super::run(&g, &super::MemoryWeights::new(), &[x], 1).unwrap().remove(0);
    assert_eq!(y.into_raw_vec_and_offset().0, [2048.0, 2052.0, 0.0, 2050.0]);
    let x = ArrayD::from_shape_vec(vec![4], vec![0.5, 1.5, -2.5, 7.9]).unwrap();
    assert_eq!(apply1(Op::Cast { to: DType::I32 }, &[&x]).into_raw_vec_and_offset().0, [0.0, 1.0, -2.0, 7.0]);
}

#[test]
fn one_of_two_is_chosen_and_the_other_never_seen() {
    let c = ArrayD::from_shape_vec(vec![2, 1], vec![1.0, 0.0]).unwrap();
    let a = ArrayD::from_shape_vec(vec![3], vec![1.0, f64::INFINITY, 3.0]).unwrap();
    let b = ArrayD::from_shape_vec(vec![2, 1], vec![f64::NAN, -5.0]).unwrap();
    let y = apply1(Op::Select, &[&c, &a, &b]);
    assert_eq!(y.into_raw_vec_and_offset().0, [1.0, f64::INFINITY, 3.0, -5.0, -5.0, -5.0]);
}

#[test]
fn the_largest_come_in_order_and_the_first_of_equal_ones_first() {
    let x = random(&mut Rng::new(19), &[3, 6, 4]).mapv(|x| x.round());
    for (axis, largest) in [(0, true), (1, false), (1, true), (2, true)] {
        let k = 2;
        let found = apply(Op::TopK { axis, k, largest }, &[&x]);
        let y = build(found[0].shape(), |i| {
            let mut at = i.to_vec();
            at[axis] = found[1][i] as usize;
            x[at.as_slice()]
        });
        assert_eq!(found[0], y);
        for line in indices(found[0].shape()).filter(|i| i[axis] == 0) {
            let element = |i: usize| {
                let mut at = line.clone();
                at[axis] = i;
                x[at.as_slice()] * if largest { -1.0 } else { 1.0 }
            };
            // The pairs of element and index, of which the first are due.
            let mut all: Vec<(f64, usize)> = (0..x.shape()[axis]).map(|i| (element(i), i)).collect();
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            for (place, wanted) in all.iter().enumerate().take(k) {
                let mut at = line.clone();
                at[axis] = place;
                assert_eq!(found[1][at.as_slice()] as usize, wanted.1);
            }
        }
    }
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
            for kind in
                [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod, ReduceKind::L2]
            {
                let kept: Vec<usize> = (0..3).filter(|a| keep || !axes.contains(a)).collect();
                let dims: Vec<usize> = kept.iter().map(|a| if axes.contains(a) { 1 } else { x.shape()[*a] }).collect();
                let expected = build(&dims, |i| {
                    let belongs = |at: &Vec<usize>| kept.iter().zip(i).all(|(a, i)| axes.contains(a) || at[*a] == *i);
                    let items: Vec<f64> = indices(x.shape()).filter(belongs).map(|at| x[at.as_slice()]).collect();
                    match kind {
                        ReduceKind::Sum => items.iter().sum(),
                        ReduceKind::Mean => items.iter().sum::<f64>() / items.len() as f64,
                        ReduceKind::Max => items.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        ReduceKind::Min => -items.iter().map(|x| -x).fold(f64::NEG_INFINITY, f64::max),
                        ReduceKind::Prod => items.iter().product(),
                        ReduceKind::L2 => items.iter().map(|x| x * x).sum::<f64>().sqrt(),
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
fn max_pooling_leaves_padding_out() {
    let mut rng = Rng::new(17);
    for (kernel, stride, pad, dilation) in [
        ([3, 3], [2, 2], [1; 4], [1, 1]),
        ([2, 3], [1, 2], [1, 0, 0, 2], [1, 1]),
        ([3, 2], [2, 1], [3, 2, 4, 0], [2, 3]),
    ] {
        let x = random(&mut rng, &[2, 2, 7, 5]).mapv(|x| x - 3.0);
        let y = apply1(Op::MaxPool { kernel, stride, pad, dilation }, &[&x]);
        let expected = build(y.shape(), |i| {
            let mut largest = f64::NEG_INFINITY;
            for u in 0..kernel[0] {
                for v in 0..kernel[1] {
                    let row = (i[2] * stride[0] + u * dilation[0]) as i64 - pad[0] as i64;
                    let column = (i[3] * stride[1] + v * dilation[1]) as i64 - pad[1] as i64;
                    if (0..7).contains(&row) && (0..5).contains(&column) {
                        largest = largest.max(x[[i[0], i[1], row as usize, column as usize]]);
                    }
                }
            }
            largest
        });
        assert_eq!(y, expected);
    }
}

#[test]
fn the_first_of_the_largest_is_found() {
    let x = random(&mut Rng::new(18), &[3, 4, 5]).mapv(|x| x.round());
    for axis in 0..3 {
        for keep in [false, true] {
            let y = apply1(Op::ArgMax { axis, keep }, &[&x]);
            for at in indices(y.shape()) {
                let mut whole = at.clone();
                if keep {
                    whole.remove(axis);
                }
                let line = |i: usize| {
                    let mut place = whole.clone();
                    place.insert(axis, i);
                    x[place.as_slice()]
                };
                let found = y[at.as_slice()] as usize;
                assert!((0..x.shape()[axis]).all(|i| line(i) <= line(found)));
                assert!((0..found).all(|i| line(i) < line(found)));
            }
        }
    }
}

#[test]
fn borders() {
    let x = random(&mut Rng::new(19), &[2, 4, 3]);
    let (before, after) = (vec![0, 3, 1], vec![1, 2, 2]);
    let pad = |mode| apply1(Op::Pad { before: before.clone(), after: after.clone(), mode }, &[&x]);
    let outside = |i: &[usize]| [(i[0] as i64, 2), (i[1] as i64 - 3, 4), (i[2] as i64 - 1, 3)];
    let at = |i: &[usize], f: &dyn Fn(i64, i64) -> i64| {
        let place = outside(i).map(|(p, n)| f(p, n) as usize);
        x[place.as_slice()]
    };
    let edge = build(&[3, 9, 6], |i| at(i, &|p, n| p.max(0).min(n - 1)));
    assert_eq!(pad(PadMode::Edge), edge);
    let inside = |i: &[usize]| outside(i).iter().all(|&(p, n)| (0..n).contains(&p));
    let number = build(&[3, 9, 6], |i| if inside(i) { at(i, &|p, _| p) } else { -1.5 });
    assert_eq!(pad(PadMode::Constant(Real(-1.5))), number);
    let op = Op::Pad { before: vec![0, 3, 1], after: vec![1, 2, 2], mode: PadMode::Reflect };
    let mirrored = build(&[3, 9, 6], |i| at(i, &|p, n| (n - 1) - ((n - 1) - p.abs()).abs()));
    assert_eq!(apply1(op, &[&x]), mirrored);
}

#[test]
fn blocks() {
    let x = random(&mut Rng::new(20), &[2, 8, 3, 2]);
    for order in [DepthOrder::Crd, DepthOrder::Dcr] {
        let y = apply1(Op::DepthToSpace { block: 2, order }, &[&x]);
        let expected = build(&[2, 2, 6, 4], |i| {
            let (u, v) = (i[2] % 2, i[3] % 2);
            let channel = match order {
                DepthOrder::Crd => i[1] * 4 + u * 2 + v,
                DepthOrder::Dcr => (u * 2 + v) * 2 + i[1],
            };
            x[[i[0], channel, i[2] / 2, i[3] / 2]]
        });
        assert_eq!(y, expected);
        if order == DepthOrder::Dcr {
            assert_eq!(apply1(Op::SpaceToDepth { block: 2 }, &[&y]), x);
        }
    }
}

#[test]
fn resize() {
    let mut rng = Rng::new(8);
    let x = random(&mut rng, &[1, 2, 5, 4]);
    for size in [[10, 8], [3, 7], [5, 4], [1, 1], [13, 3]] {
        let resized = |sampling| apply1(Op::Resize { sampling, size, scale: None }, &[&x]);
        let expected = build(&[1, 2, size[0], size[1]], |i| x[[i[0], i[1], i[2] * 5 / size[0], i[3] * 4 / size[1]]]);
        assert_eq!(resized(Sampling::NEAREST), expected);
        // A sum over all samples with the kernel around the source coordinate, which a linear one clamps.
        let half_pixel = |i: usize, n: usize, out: usize| (i as f64 + 0.5) * n as f64 / out as f64 - 0.5;
        let corners = |i: usize, n: usize, out: usize| (i * (n - 1)) as f64 / (out.max(2) - 1) as f64;
        let hat = |d: f64| (1.0 - d.abs()).max(0.0);
        let keys = |d: f64| match d.abs() {
            d if d <= 1.0 => 1.25 * d.powi(3) - 2.25 * d.powi(2) + 1.0,
            d if d < 2.0 => -0.75 * d.powi(3) + 3.75 * d.powi(2) - 6.0 * d + 3.0,
            _ => 0.0,
        };
        type Place<'a> = &'a dyn Fn(usize, usize, usize) -> f64;
        let forms: [(Sampling, Place<'_>); 3] =
            [(Sampling::LINEAR, &half_pixel), (Sampling::LINEAR_CORNERS, &corners), (Sampling::CUBIC, &half_pixel)];
        for (sampling, place) in forms {
            let cubic = matches!(sampling.kernel, Kernel::Cubic(_));
            let weight = |i: usize, n: usize, out: usize, sample: usize| -> f64 {
                let at = place(i, n, out);
                let at = if cubic { at } else { at.clamp(0.0, (n - 1) as f64) };
                let reads = |k: i64| k.clamp(0, n as i64 - 1) as usize == sample;
                let kernel = |k: i64| if cubic { keys(at - k as f64) } else { hat(at - k as f64) };
                (-3..n as i64 + 3).filter(|&k| reads(k)).map(kernel).sum()
            };
            let expected = build(&[1, 2, size[0], size[1]], |i| {
                let term = |at: Vec<usize>| {
                    weight(i[2], 5, size[0], at[0]) * weight(i[3], 4, size[1], at[1]) * x[[i[0], i[1], at[0], at[1]]]
                };
                indices(&[5, 4]).map(term).sum()
            });
            assert_close(&resized(sampling), &expected);
        }
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

    for bits in [1usize, 2, 3, 4, 6, 8] {
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
