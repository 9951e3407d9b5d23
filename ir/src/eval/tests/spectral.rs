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

/// Every grid with both normalisations.
fn normalised(grids: Vec<[usize; 2]>) -> impl Iterator<Item = ([usize; 2], SpectralNorm)> {
    grids.into_iter().flat_map(|grid| [(grid, SpectralNorm::Ortho), (grid, SpectralNorm::Backward)])
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
    for ([h, w], norm) in normalised(grids(&mut rng)) {
        let x = random(&mut rng, &[2, h, w]);
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
    for ([h, w], norm) in normalised(grids(&mut rng)) {
        // Nothing makes these parts Hermitian.
        let (re, im) = (random(&mut rng, &[h, w / 2 + 1]), random(&mut rng, &[h, w / 2 + 1]));
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

/// The orthonormal DCT-II of one line by rustfft: `Σ x_i cos(π(2i+1)k/2n)` is the real part of half a turn less of the transform of twice the length.
fn dct_by_rustfft(x: &[f64]) -> Vec<f64> {
    let n = x.len();
    let mut z: Vec<_> = x.iter().map(|&x| Complex::new(x, 0.0)).collect();
    z.resize(2 * n, Complex::new(0.0, 0.0));
    FftPlanner::new().plan_fft_forward(2 * n).process(&mut z);
    let scale = |k: usize| if k == 0 { (1.0 / n as f64).sqrt() } else { (2.0 / n as f64).sqrt() };
    (0..n).map(|k| scale(k) * (z[k] * Complex::from_polar(1.0, -PI * k as f64 / (2 * n) as f64)).re).collect()
}

#[test]
fn cosine_transform_agrees_with_rustfft() {
    let mut rng = Rng::new(5);
    for [h, w] in grids(&mut rng) {
        let two = |x: &ArrayD<f64>| {
            let rows: Vec<Vec<f64>> =
                (0..h).map(|y| dct_by_rustfft(&(0..w).map(|i| x[[y, i]]).collect::<Vec<_>>())).collect();
            let columns: Vec<Vec<f64>> =
                (0..w).map(|b| dct_by_rustfft(&rows.iter().map(|r| r[b]).collect::<Vec<_>>())).collect();
            build(&[h, w], |i| columns[i[1]][i[0]])
        };
        let x = random(&mut rng, &[h, w]);
        assert_close(&apply1(Op::Dct2, &[&x]), &two(&x));
        // The inverse is the map whose transform this is.
        let y = apply1(Op::Idct2, &[&x]);
        assert_close(&two(&y), &x);
    }
}

/// The spectrum of a real map has H·W independent real numbers, and a real orthogonal matrix gives them: a form of the transform without the
/// mirrored bins of the half spectrum. No lowering takes it, because rebuilding the bins that a mix needs costs more than it saves.
#[test]
fn a_real_orthogonal_matrix_is_the_transform() {
    let mut rng = Rng::new(6);
    for [h, w] in [[1, 1], [1, 4], [5, 1], [2, 2], [4, 4], [7, 7], [5, 9], [6, 7], [8, 6], [3, 10], [8, 8]] {
        let (k, n) = (w / 2 + 1, h * w);
        // Of a column that is its own mirror image the upper half counts; there, bins that are their own image are real.
        let own = |b: usize| b == 0 || 2 * b == w;
        let image = |a: usize| (h - a) % h;
        let mut kept: Vec<(usize, usize, bool)> = Vec::new();
        for (a, b) in (0..h).flat_map(|a| (0..k).map(move |b| (a, b))) {
            if !own(b) || a <= image(a) {
                kept.push((a, b, true));
            }
            if !own(b) || a < image(a) {
                kept.push((a, b, false));
            }
        }
        assert_eq!(kept.len(), n, "{h}x{w}");
        let weight = |a: usize, b: usize| if own(b) && a == image(a) { 1.0 } else { 2f64.sqrt() };
        let q = build(&[n, n], |i| {
            let ((a, b, real), (y, x)) = (kept[i[0]], (i[1] / w, i[1] % w));
            let angle = 2.0 * PI * ((a * y % h) as f64 / h as f64 + (b * x % w) as f64 / w as f64);
            weight(a, b) * if real { angle.cos() } else { -angle.sin() } / (n as f64).sqrt()
        });
        let eye = build(&[n, n], |i| (0..n).map(|j| q[[i[0], j]] * q[[i[1], j]]).sum());
        assert_close(&eye, &build(&[n, n], |i| f64::from(i[0] == i[1])));

        let map = random(&mut rng, &[h, w]);
        let line: Vec<f64> = map.iter().copied().collect();
        let numbers: Vec<f64> = (0..n).map(|i| (0..n).map(|j| q[[i, j]] * line[j]).sum()).collect();
        let find = |a: usize, b: usize, real: bool| kept.iter().position(|&bin| bin == (a, b, real));
        let part = |a: usize, b: usize, real: bool| match (find(a, b, real), find(image(a), b, real)) {
            (Some(i), _) => numbers[i] / weight(a, b),
            (None, Some(i)) => numbers[i] / weight(a, b) * if real { 1.0 } else { -1.0 },
            (None, None) => 0.0,
        };
        let parts = apply(Op::Rfft2 { norm: SpectralNorm::Ortho }, &[&map]);
        for (spectrum, real) in parts.iter().zip([true, false]) {
            assert_close(spectrum, &build(&[h, k], |i| part(i[0], i[1], real)));
        }
        // And back by its transpose.
        let back = build(&[h, w], |i| (0..n).map(|j| q[[j, i[0] * w + i[1]]] * numbers[j]).sum());
        assert_close(&back, &map);
    }
}
