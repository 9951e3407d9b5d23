//! Fourier and cosine transforms of the last two axes, as dense products with exact twiddles.

use super::generate::{dct, turn};
use super::product::{Matrix, gemm};
use super::tensor::Tensor;
use crate::op::SpectralNorm;

/// `cos` and `sin` of `2πjk/n`, `[n, columns]`.
fn twiddles(n: usize, columns: usize) -> (Vec<f64>, Vec<f64>) {
    (0..n * columns).map(|at| turn((at / columns) * (at % columns), n)).unzip()
}

fn last_two(dims: &[usize]) -> (usize, usize) {
    (dims[dims.len() - 2], dims[dims.len() - 1])
}

fn scaled(mut data: Vec<f64>, factor: f64) -> Vec<f64> {
    data.iter_mut().for_each(|x| *x *= factor);
    data
}

/// Real and imaginary part of the half spectrum.
pub(super) fn rfft2(x: &Tensor, norm: SpectralNorm) -> [Vec<f64>; 2] {
    let (h, w) = last_two(&x.dims);
    let (k, rows) = (w / 2 + 1, x.data.len() / w.max(1));
    let (cos, sin) = twiddles(w, k);
    let mut re = vec![0.0; rows * k];
    let mut im = vec![0.0; rows * k];
    let x = Matrix::rows(&x.data, w);
    gemm(rows, k, w, x, Matrix::rows(&cos, k), &mut re, k);
    gemm(rows, k, w, x, Matrix::rows(&sin, k), &mut im, k);
    // e^{−iθ}: the sine part is subtracted.
    let im = scaled(im, -1.0);
    let scale = match norm {
        SpectralNorm::Ortho => 1.0 / ((h * w) as f64).sqrt(),
        SpectralNorm::Backward => 1.0,
    };
    columns(h, k, &re, &im, -1.0).map(|part| scaled(part, scale))
}

/// The complex transform along the second-last axis of `[…,h,k]`, with `e^{sign·iθ}`.
fn columns(h: usize, k: usize, re: &[f64], im: &[f64], sign: f64) -> [Vec<f64>; 2] {
    let (cos, sin) = twiddles(h, h);
    let (sin, minus) = (scaled(sin.clone(), sign), scaled(sin, -sign));
    let mut out = [vec![0.0; re.len()], vec![0.0; re.len()]];
    let plane = h * k;
    for at in (0..re.len()).step_by(plane.max(1)) {
        let (re, im) = (Matrix::rows(&re[at..at + plane], k), Matrix::rows(&im[at..at + plane], k));
        let [real, imaginary] = &mut out;
        gemm(h, k, h, Matrix::rows(&cos, h), re, &mut real[at..at + plane], k);
        gemm(h, k, h, Matrix::rows(&minus, h), im, &mut real[at..at + plane], k);
        gemm(h, k, h, Matrix::rows(&cos, h), im, &mut imaginary[at..at + plane], k);
        gemm(h, k, h, Matrix::rows(&sin, h), re, &mut imaginary[at..at + plane], k);
    }
    out
}

/// The real map of width `width` from a half spectrum.
pub(super) fn irfft2(re: &Tensor, im: &Tensor, norm: SpectralNorm, width: usize) -> Vec<f64> {
    let (h, k) = last_two(&re.dims);
    let rows = re.data.len() / k.max(1);
    let [re, im] = columns(h, k, &re.data, &im.data, 1.0);
    let (mut cos, mut sin) = twiddles(width, k);
    // Columns that stand for their mirror image as well count twice; of the others only the real part counts.
    for (at, (cos, sin)) in cos.iter_mut().zip(&mut sin).enumerate() {
        let alone = at % k == 0 || 2 * (at % k) == width;
        *cos *= if alone { 1.0 } else { 2.0 };
        *sin *= if alone { 0.0 } else { -2.0 };
    }
    let mut out = vec![0.0; rows * width];
    gemm(rows, width, k, Matrix::rows(&re, k), Matrix::rows(&cos, k).t(), &mut out, width);
    gemm(rows, width, k, Matrix::rows(&im, k), Matrix::rows(&sin, k).t(), &mut out, width);
    let count = (h * width) as f64;
    scaled(
        out,
        match norm {
            SpectralNorm::Ortho => 1.0 / count.sqrt(),
            SpectralNorm::Backward => 1.0 / count,
        },
    )
}

/// `D_H x D_Wᵀ`, or `D_Hᵀ x D_W` if `inverse`.
pub(super) fn dct2(x: &Tensor, inverse: bool) -> Vec<f64> {
    let (h, w) = last_two(&x.dims);
    let (dh, dw) = (dct(h), dct(w));
    let (left, right) = (Matrix::rows(&dh, h), Matrix::rows(&dw, w));
    let (left, right) = if inverse { (left.t(), right) } else { (left, right.t()) };
    let mut rows = vec![0.0; x.data.len()];
    gemm(x.data.len() / w.max(1), w, w, Matrix::rows(&x.data, w), right, &mut rows, w);
    let mut out = vec![0.0; x.data.len()];
    for (plane, y) in rows.chunks_exact((h * w).max(1)).zip(out.chunks_exact_mut((h * w).max(1))) {
        gemm(h, w, h, left, Matrix::rows(plane, w), y, w);
    }
    out
}
