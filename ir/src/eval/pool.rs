//! Pooling, and the search for the largest element.

use super::affine::row_major;
use super::scalar;
use super::tensor::Tensor;

/// Mean over windows; padding is not counted.
pub(super) fn avg_pool(
    x: &Tensor,
    kernel: &[usize; 2],
    stride: &[usize; 2],
    pad: &[usize; 4],
    out: &[usize],
) -> Vec<f64> {
    let (h, w) = (x.dims[2], x.dims[3]);
    // The part of window `i` that lies on the map.
    let span = |axis: usize, size: usize, i: usize| {
        let start = i * stride[axis];
        start.saturating_sub(pad[axis])..(start + kernel[axis] - pad[axis].min(start + kernel[axis])).min(size)
    };
    let mut result = Vec::with_capacity(out.iter().product());
    for plane in x.data.chunks_exact((h * w).max(1)) {
        for i in 0..out[2] {
            for j in 0..out[3] {
                let (rows, columns) = (span(0, h, i), span(1, w, j));
                let count = rows.len() * columns.len();
                let mut sum = 0.0;
                for y in rows {
                    sum = plane[y * w..][columns.clone()].iter().fold(sum, |sum, x| sum + x);
                }
                result.push(sum / count as f64);
            }
        }
    }
    result
}

/// Largest element of windows; `out` is the result's sizes.
pub(super) fn max_pool(
    x: &Tensor,
    kernel: &[usize; 2],
    stride: &[usize; 2],
    pad: &[usize; 4],
    dilation: &[usize; 2],
    out: &[usize],
) -> Vec<f64> {
    let (h, w) = (x.dims[2], x.dims[3]);
    // Positions of window `i` that lie on the map.
    let places = |axis: usize, size: usize, i: usize| -> Vec<usize> {
        let places = (0..kernel[axis]).map(|u| (i * stride[axis] + u * dilation[axis]).wrapping_sub(pad[axis]));
        places.filter(|&p| p < size).collect()
    };
    let columns: Vec<Vec<usize>> = (0..out[3]).map(|j| places(1, w, j)).collect();
    let mut result = Vec::with_capacity(out.iter().product());
    for plane in x.data.chunks_exact((h * w).max(1)) {
        for i in 0..out[2] {
            let rows = places(0, h, i);
            for columns in &columns {
                let items = rows.iter().flat_map(|y| columns.iter().map(move |x| plane[y * w + x]));
                result.push(items.fold(f64::NEG_INFINITY, scalar::max));
            }
        }
    }
    result
}

/// Index of the first largest element along `axis`; a NaN is the largest.
pub(super) fn arg_max(x: &Tensor, axis: usize) -> Vec<f64> {
    let (n, stride) = (x.dims[axis], row_major(&x.dims)[axis]);
    let larger = |a: f64, b: f64| a > b || a.is_nan() && !b.is_nan();
    let search = |block: &[f64], inner: usize| {
        let at = |i: usize| block[i * stride + inner];
        (1..n).fold(0, |best, i| if larger(at(i), at(best)) { i } else { best }) as f64
    };
    x.data.chunks_exact((n * stride).max(1)).flat_map(|block| (0..stride).map(move |i| search(block, i))).collect()
}

/// The `k` largest or smallest elements along `axis` in order, and their indices; of equal ones the first, a NaN is the largest.
pub(super) fn top_k(x: &Tensor, axis: usize, k: usize, largest: bool) -> [Vec<f64>; 2] {
    let (n, stride) = (x.dims[axis], row_major(&x.dims)[axis]);
    let blocks = x.data.len() / (n * stride).max(1);
    let mut found = [vec![0.0; blocks * k * stride], vec![0.0; blocks * k * stride]];
    for block in 0..blocks {
        for inner in 0..stride {
            let at = |i: usize| x.data[(block * n + i) * stride + inner];
            let rank = |i: &usize| if at(*i).is_nan() { f64::INFINITY } else { at(*i) };
            let mut order: Vec<usize> = (0..n).collect();
            let compare = |i: &usize, j: &usize| rank(i).partial_cmp(&rank(j)).unwrap_or(std::cmp::Ordering::Equal);
            order.sort_by(|i, j| if largest { compare(j, i) } else { compare(i, j) });
            for (place, &i) in order.iter().take(k).enumerate() {
                let to = (block * k + place) * stride + inner;
                (found[0][to], found[1][to]) = (at(i), i as f64);
            }
        }
    }
    found
}
