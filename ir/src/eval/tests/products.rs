//! Matrix products, convolutions and attention.

use super::{apply1, assert_close, build, indices, random};
use crate::op::{AttentionLayout, Op};
use crate::real::Real;
use crate::testing::Rng;
use ndarray::ArrayD;

#[test]
fn matmul() {
    let mut rng = Rng::new(1);
    let leads: [(&[usize], &[usize]); 6] =
        [(&[], &[]), (&[2, 3], &[2, 3]), (&[2, 1], &[3]), (&[4], &[]), (&[], &[2, 2]), (&[2, 3], &[1, 3])];
    for (la, lb) in leads {
        for flags in 0..4 {
            let (transpose_a, transpose_b) = (flags & 1 > 0, flags & 2 > 0);
            let (m, k, n) = (rng.range(1, 9), rng.range(1, 150), rng.range(1, 9));
            let dims = |lead: &[usize], r: usize, c: usize, t: bool| {
                let mut dims = lead.to_vec();
                dims.extend(if t { [c, r] } else { [r, c] });
                dims
            };
            let a = random(&mut rng, &dims(la, m, k, transpose_a));
            let b = random(&mut rng, &dims(lb, k, n, transpose_b));
            let y = apply1(Op::MatMul { transpose_a, transpose_b }, &[&a, &b]);
            let element = |x: &ArrayD<f64>, lead: &[usize], r: usize, c: usize, t: bool| {
                let own = x.ndim() - 2;
                let lead = lead[lead.len() - own..].iter().zip(x.shape()).map(|(&i, &n)| if n == 1 { 0 } else { i });
                let index: Vec<usize> = lead.chain(if t { [c, r] } else { [r, c] }).collect();
                x[index.as_slice()]
            };
            let expected = build(y.shape(), |i| {
                let (lead, place) = i.split_at(i.len() - 2);
                let term =
                    |p| element(&a, lead, place[0], p, transpose_a) * element(&b, lead, p, place[1], transpose_b);
                (0..k).map(term).sum()
            });
            assert_close(&y, &expected);
        }
    }
}

#[test]
fn sums_run_in_ascending_order() {
    // Larger than every block of the product, and equal to the bit.
    let mut rng = Rng::new(2);
    let (a, b) = (random(&mut rng, &[7, 300]), random(&mut rng, &[300, 270]));
    let y = apply1(Op::MatMul { transpose_a: false, transpose_b: false }, &[&a, &b]);
    assert_eq!(y, build(&[7, 270], |i| (0..300).fold(0.0, |sum, p| sum + a[[i[0], p]] * b[[p, i[1]]])));
}

#[test]
fn linear() {
    let mut rng = Rng::new(3);
    for lead in [vec![], vec![4], vec![2, 3]] {
        let mut dims = lead.clone();
        dims.push(5);
        let (x, w, b) = (random(&mut rng, &dims), random(&mut rng, &[7, 5]), random(&mut rng, &[7]));
        dims[lead.len()] = 7;
        let expected = build(&dims, |i| {
            let (out, lead) = i.split_last().unwrap();
            let at = |c| [lead, &[c]].concat();
            b[[*out]] + (0..5).map(|c| w[[*out, c]] * x[at(c).as_slice()]).sum::<f64>()
        });
        assert_close(&apply1(Op::Linear, &[&x, &w, &b]), &expected);
    }
}

#[test]
fn conv() {
    let mut rng = Rng::new(4);
    for _ in 0..60 {
        let groups = rng.pick(&[1, 1, 2, 3]);
        let (inputs, outputs) = (rng.range(1, 3), rng.range(1, 5));
        let kernel = [rng.range(1, 4), rng.range(1, 4)];
        let stride = [rng.range(1, 3), rng.range(1, 3)];
        let pad = [(); 4].map(|()| rng.below(3));
        let dilation = [rng.range(1, 2), rng.pick(&[1, 1, 3])];
        let span = |i: usize| (kernel[i] - 1) * dilation[i] + 1;
        let map = [rng.range(span(0), 9), rng.range(span(1), 11)];
        let x = random(&mut rng, &[2, inputs * groups, map[0], map[1]]);
        let w = random(&mut rng, &[outputs * groups, inputs, kernel[0], kernel[1]]);
        let b = random(&mut rng, &[outputs * groups]);
        let y = apply1(Op::Conv { stride, pad, dilation, groups }, &[&x, &w, &b]);
        let expected = build(y.shape(), |i| {
            let term = |at: Vec<usize>| {
                let (row, column) = (i[2] * stride[0] + at[1] * dilation[0], i[3] * stride[1] + at[2] * dilation[1]);
                let inside = row >= pad[0] && column >= pad[1] && row - pad[0] < map[0] && column - pad[1] < map[1];
                let channel = i[1] / outputs * inputs + at[0];
                if inside {
                    w[[i[1], at[0], at[1], at[2]]] * x[[i[0], channel, row - pad[0], column - pad[1]]]
                } else {
                    0.0
                }
            };
            b[[i[1]]] + indices(&[inputs, kernel[0], kernel[1]]).map(term).sum::<f64>()
        });
        assert_close(&y, &expected);
    }
}

#[test]
fn transposed_conv() {
    let mut rng = Rng::new(14);
    for _ in 0..60 {
        let groups = rng.pick(&[1, 1, 2]);
        let (inputs, outputs) = (rng.range(1, 3), rng.range(1, 3));
        let kernel = [rng.range(2, 4), rng.range(2, 3)];
        let stride = [rng.range(1, 3), rng.range(1, 3)];
        let dilation = [rng.range(1, 2), rng.pick(&[1, 1, 3])];
        let output_pad = [0, 1].map(|i| rng.below(stride[i].max(dilation[i])));
        let pad = [(); 4].map(|()| rng.below(2));
        let map = [rng.range(2, 4), rng.range(2, 5)];
        let x = random(&mut rng, &[2, inputs * groups, map[0], map[1]]);
        let w = random(&mut rng, &[inputs * groups, outputs, kernel[0], kernel[1]]);
        let b = random(&mut rng, &[outputs * groups]);
        let y = apply1(Op::ConvTranspose { stride, pad, output_pad, dilation, groups }, &[&x, &w, &b]);
        for axis in 0..2 {
            let whole = stride[axis] * (map[axis] - 1) + (kernel[axis] - 1) * dilation[axis] + 1;
            assert_eq!(y.shape()[2 + axis], whole + output_pad[axis] - pad[axis] - pad[2 + axis]);
        }
        let expected = build(y.shape(), |i| {
            // Which place of the map a place of the kernel meets here, if one does.
            let from = |axis: usize, u: usize| {
                let at = (i[2 + axis] + pad[axis]).checked_sub(u * dilation[axis])?;
                (at % stride[axis] == 0 && at / stride[axis] < map[axis]).then_some(at / stride[axis])
            };
            let (group, output) = (i[1] / outputs, i[1] % outputs);
            let term = |at: Vec<usize>| match from(0, at[1]).zip(from(1, at[2])) {
                Some((p, q)) => {
                    let c = group * inputs + at[0];
                    w[[c, output, at[1], at[2]]] * x[[i[0], c, p, q]]
                }
                None => 0.0,
            };
            b[[i[1]]] + indices(&[inputs, kernel[0], kernel[1]]).map(term).sum::<f64>()
        });
        assert_close(&y, &expected);
    }
}

#[test]
fn attention() {
    let mut rng = Rng::new(5);
    for case in 0..64 {
        let layout = match case & 33 {
            0 => AttentionLayout::Tokens,
            32 | 33 => AttentionLayout::Heads,
            _ => AttentionLayout::Channels,
        };
        let (bias, talking, shared) = (case & 2 > 0, case & 4 > 0, case & 8 > 0);
        let (heads, d, dv, nq, nk) = (3, rng.range(1, 4), rng.range(1, 4), 6, 4);
        let dims = |c: usize, n: usize| match layout {
            AttentionLayout::Tokens => vec![2, n, c],
            AttentionLayout::Heads => vec![2, heads, n, c / heads],
            AttentionLayout::Channels if case & 16 > 0 => vec![2, c, 2, n / 2],
            AttentionLayout::Channels => vec![2, c, n],
        };
        let q = random(&mut rng, &dims(heads * d, nq));
        let k = random(&mut rng, &dims(heads * d, nk));
        let v = random(&mut rng, &dims(heads * dv, nk));
        let b = random(&mut rng, &[if shared { 1 } else { heads }, nq, nk]);
        let talk = [&[3, 3][..], &[3], &[3, 3], &[3]].map(|s| random(&mut rng, s));
        let mut inputs = vec![&q, &k, &v];
        inputs.extend(bias.then_some(&b));
        inputs.extend(talk.iter().filter(|_| talking));
        let y = apply1(Op::Attention { heads, scale: Real(0.7), layout, bias, talking }, &inputs);

        let at = |x: &ArrayD<f64>, image: usize, channel: usize, token: usize| match layout {
            AttentionLayout::Tokens => x[[image, token, channel]],
            AttentionLayout::Heads => x[[image, channel / x.shape()[3], token, channel % x.shape()[3]]],
            AttentionLayout::Channels if x.ndim() == 4 => {
                x[[image, channel, token / x.shape()[3], token % x.shape()[3]]]
            }
            AttentionLayout::Channels => x[[image, channel, token]],
        };
        let score = |image: usize, h: usize, i: usize, j: usize| {
            let dot: f64 = (0..d).map(|c| at(&q, image, h * d + c, i) * at(&k, image, h * d + c, j)).sum();
            0.7 * dot + if bias { b[[if shared { 0 } else { h }, i, j]] } else { 0.0 }
        };
        let mixed = |image: usize, h: usize, i: usize, j: usize| match talking {
            true => (0..heads).map(|g| talk[0][[h, g]] * score(image, g, i, j)).sum::<f64>() + talk[1][[h]],
            false => score(image, h, i, j),
        };
        let weight = |image: usize, h: usize, i: usize, j: usize| {
            mixed(image, h, i, j).exp() / (0..nk).map(|j| mixed(image, h, i, j).exp()).sum::<f64>()
        };
        let mixed_weight = |image: usize, h: usize, i: usize, j: usize| match talking {
            true => (0..heads).map(|g| talk[2][[h, g]] * weight(image, g, i, j)).sum::<f64>() + talk[3][[h]],
            false => weight(image, h, i, j),
        };
        for index in indices(&[2, heads * dv, nq]) {
            let (image, channel, token) = (index[0], index[1], index[2]);
            let expected: f64 =
                (0..nk).map(|j| mixed_weight(image, channel / dv, token, j) * at(&v, image, channel, j)).sum();
            let found = at(&y, image, channel, token);
            assert!((found - expected).abs() <= 1e-12 * (1.0 + expected.abs()), "{found} and {expected}");
        }
    }
}
