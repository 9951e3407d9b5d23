//! Transforms against rustfft and against their definitions.

use super::{apply, apply1, assert_close, build, indices, random};
use crate::op::{Op, SpectralNorm};
use crate::testing::Rng;
use ndarray::ArrayD;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use std::f64::consts::PI;

/// Grids: every size up to 64 on each axis, with sizes of both parities on the other.
fn grids(rng: &mut Rng) -> Vec<[usize; 2]> {
    let mut grids = Vec::new();
    for n in 1..=64 {
        grids.push([n, rng.range(1, 8) * 2]);
        grids.push([rng.range(0, 7) * 2 + 1, n]);
    }
    grids
}

/// The unscaled complex transform of `[h][w]` by rustfft; the inverse one if `inverse`.
fn fft2(h: usize, w: usize, data: &mut [Complex<f64>], inverse: bool) {
    let mut planner = FftPlanner::new();
    let mut plan = |n| if inverse { planner.plan_fft_inverse(n) } else { planner.plan_fft_forward(n) };
    plan(w).process(data);
    let columns = plan(h);
    for x in 0..w {
        let mut column: Vec<_> = (0..h).map(|y| data[y * w + x]).collect();
        columns.process(&mut column);
        (0..h).for_each(|y| data[y * w + x] = column[y]);
    }
}

#[test]
fn forward_agrees_with_rustfft() {
    let mut rng = Rng::new(1);
    for [h, w] in grids(&mut rng) {
        let x = random(&mut rng, &[2, h, w]);
        let norm = rng.pick(&[SpectralNorm::Ortho, SpectralNorm::Backward]);
        let parts = apply(Op::Rfft2 { norm }, &[&x]);
        let scale = if norm == SpectralNorm::Ortho { 1.0 / ((h * w) as f64).sqrt() } else { 1.0 };
        for image in 0..2 {
            let mut z: Vec<_> = indices(&[h, w]).map(|i| Complex::new(x[[image, i[0], i[1]]], 0.0)).collect();
            fft2(h, w, &mut z, false);
            for i in indices(&[h, w / 2 + 1]) {
                let (expected, at) = (z[i[0] * w + i[1]] * scale, [image, i[0], i[1]]);
                let difference = Complex::new(parts[0][at], parts[1][at]) - expected;
                assert!(difference.norm() < 1e-11, "{h}x{w} at {at:?}");
            }
        }
    }
}

/// The half spectrum's full one, with the mirror images, and without the imaginary part of the columns that have none.
fn inverse_by_rustfft(re: &ArrayD<f64>, im: &ArrayD<f64>, width: usize) -> Vec<f64> {
    let (h, k) = (re.shape()[0], re.shape()[1]);
    let mut half: Vec<_> = indices(&[h, k]).map(|i| Complex::new(re[[i[0], i[1]]], im[[i[0], i[1]]])).collect();
    let mut planner = FftPlanner::new();
    let columns = planner.plan_fft_inverse(h);
    for x in 0..k {
        let mut column: Vec<_> = (0..h).map(|y| half[y * k + x]).collect();
        columns.process(&mut column);
        (0..h).for_each(|y| half[y * k + x] = column[y]);
    }
    let rows = planner.plan_fft_inverse(width);
    let mut result = Vec::new();
    for y in 0..h {
        let mut row = vec![Complex::new(0.0, 0.0); width];
        for x in 0..k {
            let z = half[y * k + x];
            if x == 0 || 2 * x == width {
                row[x] = Complex::new(z.re, 0.0);
            } else {
                row[x] = z;
                row[width - x] = z.conj();
            }
        }
        rows.process(&mut row);
        result.extend(row.iter().map(|z| z.re));
    }
    result
}

#[test]
fn inverse_agrees_with_rustfft_on_any_input() {
    let mut rng = Rng::new(2);
    for [h, w] in grids(&mut rng) {
        // Nothing makes these parts Hermitian.
        let (re, im) = (random(&mut rng, &[h, w / 2 + 1]), random(&mut rng, &[h, w / 2 + 1]));
        let norm = rng.pick(&[SpectralNorm::Ortho, SpectralNorm::Backward]);
        let count = (h * w) as f64;
        let scale = if norm == SpectralNorm::Ortho { 1.0 / count.sqrt() } else { 1.0 / count };
        let y = apply1(Op::Irfft2 { norm, width: w }, &[&re, &im]);
        let expected = inverse_by_rustfft(&re, &im, w);
        let expected = ArrayD::from_shape_vec(vec![h, w], expected).unwrap().mapv(|x| x * scale);
        assert_close(&y, &expected);
    }
}

#[test]
fn inverse_undoes_forward() {
    let mut rng = Rng::new(3);
    for [h, w] in grids(&mut rng) {
        let x = random(&mut rng, &[h, w]);
        for norm in [SpectralNorm::Ortho, SpectralNorm::Backward] {
            let parts = apply(Op::Rfft2 { norm }, &[&x]);
            assert_close(&apply1(Op::Irfft2 { norm, width: w }, &[&parts[0], &parts[1]]), &x);
        }
    }
}

#[test]
fn cosine_transform_is_its_definition_and_orthonormal() {
    let mut rng = Rng::new(4);
    let entry = |k: usize, i: usize, n: usize| {
        let scale = if k == 0 { (1.0 / n as f64).sqrt() } else { (2.0 / n as f64).sqrt() };
        scale * (PI * ((2 * i + 1) * k) as f64 / (2 * n) as f64).cos()
    };
    for [h, w] in [[1, 1], [2, 3], [7, 7], [8, 5], [14, 14]] {
        let x = random(&mut rng, &[2, h, w]);
        let s = apply1(Op::Dct2, &[&x]);
        let expected = build(&[2, h, w], |i| {
            let term = |p: Vec<usize>| entry(i[1], p[0], h) * x[[i[0], p[0], p[1]]] * entry(i[2], p[1], w);
            indices(&[h, w]).map(term).sum()
        });
        assert_close(&s, &expected);
    }
    for [h, w] in grids(&mut rng) {
        let x = random(&mut rng, &[h, w]);
        assert_close(&apply1(Op::Idct2, &[&apply1(Op::Dct2, &[&x])]), &x);
    }
}
