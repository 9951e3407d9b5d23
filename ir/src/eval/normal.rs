//! Normalisations and reductions.

use super::affine::row_major;
use super::scalar;
use super::tensor::Tensor;
use crate::op::ReduceKind;

/// Softmax of each row of `n` elements.
pub(super) fn softmax_rows(data: &mut [f64], n: usize) {
    for row in data.chunks_exact_mut(n) {
        softmax(row, n, 1);
    }
}

/// Softmax of the `n` elements `stride` apart from the start of `data`.
fn softmax(data: &mut [f64], n: usize, stride: usize) {
    let largest = (0..n).map(|i| data[i * stride]).fold(f64::NEG_INFINITY, scalar::max);
    let mut sum = 0.0;
    for i in 0..n {
        let e = libm::exp(data[i * stride] - largest);
        data[i * stride] = e;
        sum += e;
    }
    for i in 0..n {
        data[i * stride] /= sum;
    }
}

/// Softmax along `axis`.
pub(super) fn softmax_axis(x: &Tensor, axis: usize) -> Vec<f64> {
    let (n, stride) = (x.dims[axis], row_major(&x.dims)[axis]);
    let mut data = x.data.to_vec();
    for block in data.chunks_exact_mut(n * stride) {
        for inner in 0..stride {
            softmax(&mut block[inner..], n, stride);
        }
    }
    data
}

/// `f(index of the kept axes, index of the reduced axes, element)` in row-major order of x.
fn for_each(dims: &[usize], axes: &[usize], data: &[f64], mut f: impl FnMut(usize, usize, f64)) {
    let pick = |reduced: bool| -> Vec<usize> {
        let sizes: Vec<usize> =
            dims.iter().enumerate().map(|(a, &n)| if axes.contains(&a) == reduced { n } else { 1 }).collect();
        let strides = row_major(&sizes);
        sizes.iter().zip(strides).map(|(&n, s)| if n == 1 { 0 } else { s }).collect()
    };
    let (kept, reduced) = (pick(false), pick(true));
    let Some((&columns, outer)) = dims.split_last() else {
        return f(0, 0, data[0]);
    };
    let last = outer.len();
    let mut index = vec![0; last];
    for row in data.chunks_exact(columns.max(1)) {
        let at = |strides: &[usize]| index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
        let (k, r) = (at(&kept), at(&reduced));
        for (i, &x) in row.iter().enumerate() {
            f(k + i * kept[last], r + i * reduced[last], x);
        }
        for a in (0..last).rev() {
            index[a] += 1;
            if index[a] < outer[a] {
                break;
            }
            index[a] = 0;
        }
    }
}

/// Reduction over `axes`, row-major over the kept ones.
pub(super) fn reduce(x: &Tensor, kind: ReduceKind, axes: &[usize]) -> Vec<f64> {
    let count: usize = axes.iter().map(|&a| x.dims[a]).product();
    let start = match kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::L2 => 0.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
        ReduceKind::Prod => 1.0,
    };
    let mut result = vec![start; x.data.len() / count.max(1)];
    let rows = axes.iter().copied().eq(x.dims.len() - axes.len()..x.dims.len());
    match kind {
        ReduceKind::Sum | ReduceKind::Mean if rows => fold_rows(&x.data, count, &mut result, |sum, _, x| sum + x),
        ReduceKind::Max if rows => fold_rows(&x.data, count, &mut result, |max, _, x| scalar::max(max, x)),
        ReduceKind::Min if rows => fold_rows(&x.data, count, &mut result, |min, _, x| scalar::min(min, x)),
        ReduceKind::L2 if rows => fold_rows(&x.data, count, &mut result, |sum, _, x| sum + x * x),
        ReduceKind::Prod if rows => fold_rows(&x.data, count, &mut result, |product, _, x| product * x),
        ReduceKind::Sum | ReduceKind::Mean => for_each(&x.dims, axes, &x.data, |k, _, x| result[k] += x),
        ReduceKind::Max => for_each(&x.dims, axes, &x.data, |k, _, x| result[k] = scalar::max(result[k], x)),
        ReduceKind::Min => for_each(&x.dims, axes, &x.data, |k, _, x| result[k] = scalar::min(result[k], x)),
        ReduceKind::L2 => for_each(&x.dims, axes, &x.data, |k, _, x| result[k] += x * x),
        ReduceKind::Prod => for_each(&x.dims, axes, &x.data, |k, _, x| result[k] *= x),
    }
    if kind == ReduceKind::Mean {
        result.iter_mut().for_each(|x| *x /= count as f64);
    }
    if kind == ReduceKind::L2 {
        result.iter_mut().for_each(|x| *x = x.sqrt());
    }
    result
}

/// `f(sum, column, element)` over each row of `count` elements in ascending order, from what `result` holds; eight rows at once, because a sum waits for
/// the one before it.
pub(super) fn fold_rows(data: &[f64], count: usize, result: &mut [f64], f: impl Fn(f64, usize, f64) -> f64) {
    const ROWS: usize = 8;
    for (rows, result) in data.chunks(ROWS * count.max(1)).zip(result.chunks_mut(ROWS)) {
        if let Ok(result) = <&mut [f64; ROWS]>::try_from(&mut *result) {
            for i in 0..count {
                for (r, result) in result.iter_mut().enumerate() {
                    *result = f(*result, i, rows[r * count + i]);
                }
            }
        } else {
            for (row, result) in rows.chunks(count.max(1)).zip(result) {
                *result = row.iter().enumerate().fold(*result, |sum, (i, &x)| f(sum, i, x));
            }
        }
    }
}

/// LayerNorm over `axes`; scale and bias have one dimension per axis, of its size or 1.
pub(super) fn layer_norm(x: &Tensor, affine: Option<[&Tensor; 2]>, axes: &[usize], eps: f64) -> Vec<f64> {
    let count = axes.iter().map(|&a| x.dims[a]).product::<usize>() as f64;
    let mean = reduce(x, ReduceKind::Mean, axes);
    let mut factor = vec![0.0; mean.len()];
    for_each(&x.dims, axes, &x.data, |k, _, x| factor[k] += (x - mean[k]) * (x - mean[k]));
    factor.iter_mut().for_each(|sum| *sum = 1.0 / (*sum / count + eps).sqrt());
    // Scale and bias at every position of the normalised axes.
    let sizes: Vec<usize> = axes.iter().map(|&a| x.dims[a]).collect();
    let spread = |t: &Tensor| -> Vec<f64> {
        let (full, own) = (row_major(&sizes), row_major(&t.dims));
        let at = |i: usize| (0..sizes.len()).map(|a| i / full[a] % sizes[a] % t.dims[a] * own[a]).sum::<usize>();
        (0..sizes.iter().product()).map(|i| t.data[at(i)]).collect()
    };
    let affine = affine.map(|[scale, bias]| (spread(scale), spread(bias)));
    let mut result = Vec::with_capacity(x.data.len());
    for_each(&x.dims, axes, &x.data, |k, r, x| {
        let y = (x - mean[k]) * factor[k];
        result.push(affine.as_ref().map_or(y, |(scale, bias)| y * scale[r] + bias[r]));
    });
    result
}

/// `f(channel, plane)` for every plane of the copy of x that is returned.
fn per_channel(x: &Tensor, mut f: impl FnMut(usize, &mut [f64])) -> Vec<f64> {
    let plane: usize = x.dims[2..].iter().product();
    let mut data = x.data.to_vec();
    for (i, plane) in data.chunks_exact_mut(plane.max(1)).enumerate() {
        f(i % x.dims[1], plane);
    }
    data
}

/// `γ·(x − μ)/√(σ² + ε) + β` per channel.
pub(super) fn batch_norm(x: &Tensor, [gamma, beta, mean, variance]: [&Tensor; 4], eps: f64) -> Vec<f64> {
    per_channel(x, |c, plane| {
        let scale = gamma.data[c] / (variance.data[c] + eps).sqrt();
        plane.iter_mut().for_each(|x| *x = (*x - mean.data[c]) * scale + beta.data[c]);
    })
}

/// x where x ≥ 0, else slope·x.
pub(super) fn prelu(x: &Tensor, slope: &Tensor) -> Vec<f64> {
    per_channel(x, |c, plane| {
        let slope = slope.data[c % slope.data.len()];
        plane.iter_mut().for_each(|x| *x = if *x < 0.0 { slope * *x } else { *x });
    })
}
