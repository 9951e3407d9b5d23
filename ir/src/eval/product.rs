//! Matrix products and convolutions.
//!
//! Every sum runs in ascending order of the contracted index, one multiplication and one addition per term, never
//! fused: the result does not depend on blocking or on the machine.

use super::normal::fold_rows;
use super::tensor::Tensor;

/// Rows and columns of one register tile.
const MR: usize = 4;
const NR: usize = 4;
/// Terms and columns of one packed panel: 256 KiB.
const KC: usize = 128;
const NC: usize = 256;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    /// The slice, from the first element on.
    pub(super) data: &'a [f64],
    /// Distance of rows.
    pub(super) row: usize,
    /// Distance of columns.
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` elements one behind the other.
    pub(super) fn rows(data: &'a [f64], columns: usize) -> Self {
        Matrix { data, row: columns, column: 1 }
    }

    /// The transposed matrix.
    pub(super) fn t(self) -> Self {
        Matrix { row: self.column, column: self.row, ..self }
    }

    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.row + j * self.column]
    }
}

/// `c += a·b` with a `[m,k]`, b `[k,n]` and c's rows `stride` apart.
pub(super) fn gemm(m: usize, n: usize, k: usize, a: Matrix<'_>, b: Matrix<'_>, c: &mut [f64], stride: usize) {
    if n == 1 && stride == 1 && a.column == 1 && a.row == k {
        let column: Vec<f64> = (0..k).map(|p| b.at(p, 0)).collect();
        return fold_rows(&a.data[..m * k], k, &mut c[..m], |sum, p, x| sum + x * column[p]);
    }
    let mut packed_a = vec![[0.0; MR]; KC.min(k)];
    let mut packed_b = vec![[0.0; NR]; KC.min(k) * NC.min(n).div_ceil(NR)];
    for j0 in (0..n).step_by(NC) {
        let columns = NC.min(n - j0);
        for k0 in (0..k).step_by(KC) {
            let terms = KC.min(k - k0);
            for (panel, j) in packed_b.chunks_exact_mut(terms).zip((0..columns).step_by(NR)) {
                for (p, tile) in panel.iter_mut().enumerate() {
                    for (x, value) in tile.iter_mut().enumerate() {
                        *value = if j + x < columns { b.at(k0 + p, j0 + j + x) } else { 0.0 };
                    }
                }
            }
            for i0 in (0..m).step_by(MR) {
                let rows = MR.min(m - i0);
                for (p, tile) in packed_a[..terms].iter_mut().enumerate() {
                    for (y, value) in tile.iter_mut().enumerate() {
                        *value = if y < rows { a.at(i0 + y, k0 + p) } else { 0.0 };
                    }
                }
                for (panel, j) in packed_b.chunks_exact(terms).zip((0..columns).step_by(NR)) {
                    let width = NR.min(columns - j);
                    let mut sums = [[0.0; NR]; MR];
                    for (y, sums) in sums.iter_mut().enumerate().take(rows) {
                        let at = (i0 + y) * stride + j0 + j;
                        sums[..width].copy_from_slice(&c[at..at + width]);
                    }
                    let sums = tile(&packed_a[..terms], panel, sums);
                    for (y, sums) in sums.iter().enumerate().take(rows) {
                        let at = (i0 + y) * stride + j0 + j;
                        c[at..at + width].copy_from_slice(&sums[..width]);
                    }
                }
            }
        }
    }
}

/// `sums += Σ a[p]·b[p]ᵀ`.
#[inline(always)]
fn tile(a: &[[f64; MR]], b: &[[f64; NR]], mut sums: [[f64; NR]; MR]) -> [[f64; NR]; MR] {
    for (a, b) in a.iter().zip(b) {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    sums
}

/// Matrix product of the last two axes with broadcast leading axes, `out` being the result's sizes.
pub(super) fn matmul(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool, out: &[usize]) -> Vec<f64> {
    let rank = out.len();
    let (m, n) = (out[rank - 2], out[rank - 1]);
    let plane = |t: &Tensor| t.dims[t.dims.len() - 2..].iter().product::<usize>();
    let (plane_a, plane_b) = (plane(a), plane(b));
    let k = plane_a.checked_div(m).unwrap_or(0);
    let oriented = |data, t: &Tensor, transposed: bool| {
        let matrix = Matrix::rows(data, t.dims[t.dims.len() - 1]);
        if transposed { matrix.t() } else { matrix }
    };
    let mut result = vec![0.0; out.iter().product()];
    let lead = &out[..rank - 2];
    // One product over all rows where b is one matrix and a is stored row by row.
    if plane_b == b.data.len() && !transpose_a && plane_a * lead.iter().product::<usize>() == a.data.len() {
        let rows = result.len() / n.max(1);
        gemm(rows, n, k, Matrix::rows(&a.data, k), oriented(&b.data, b, transpose_b), &mut result, n);
        return result;
    }
    for (i, out) in result.chunks_exact_mut((m * n).max(1)).enumerate() {
        let left = oriented(&a.data[broadcast_index(i, lead, &a.dims) * plane_a..], a, transpose_a);
        let right = oriented(&b.data[broadcast_index(i, lead, &b.dims) * plane_b..], b, transpose_b);
        gemm(m, n, k, left, right, out, n);
    }
    result
}

/// Which matrix of an operand of sizes `dims` belongs to matrix `i` of the leading axes `lead`.
fn broadcast_index(mut i: usize, lead: &[usize], dims: &[usize]) -> usize {
    let own = &dims[..dims.len() - 2];
    let (mut index, mut stride) = (0, 1);
    for back in 1..=lead.len() {
        let size = lead[lead.len() - back];
        let digit = i % size;
        i /= size;
        if back <= own.len() {
            let n = own[own.len() - back];
            index += if n == 1 { 0 } else { digit * stride };
            stride *= n;
        }
    }
    index
}

/// `y = x·Wᵀ + b`.
pub(super) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Vec<f64> {
    let (n, k) = (w.dims[0], w.dims[1]);
    let rows = x.data.len() / k.max(1);
    let mut result = vec![0.0; rows * n];
    gemm(rows, n, k, Matrix::rows(&x.data, k), Matrix::rows(&w.data, k).t(), &mut result, n);
    if let Some(bias) = bias {
        for row in result.chunks_exact_mut(n) {
            for (y, b) in row.iter_mut().zip(bias.data.iter()) {
                *y += b;
            }
        }
    }
    result
}

/// Geometry of a convolution.
struct Window<'a> {
    /// Input height, width.
    map: [usize; 2],
    /// Kernel height, width.
    kernel: [usize; 2],
    stride: &'a [usize; 2],
    pad: &'a [usize; 4],
    dilation: &'a [usize; 2],
    /// Output height, width.
    out: [usize; 2],
}

impl Window<'_> {
    /// Output positions along `axis` at which kernel position `u` lies on the map.
    fn inside(&self, axis: usize, u: usize) -> std::ops::Range<usize> {
        let u = u * self.dilation[axis];
        let (stride, before, size) = (self.stride[axis], self.pad[axis], self.map[axis]);
        let first = before.saturating_sub(u).div_ceil(stride).min(self.out[axis]);
        let end = if size + before > u { (size + before - u).div_ceil(stride).min(self.out[axis]) } else { 0 };
        first..end.max(first)
    }

    /// `f(output position, map position, count)` for every run of outputs in a row that kernel position (u, v) reads.
    fn runs(&self, u: usize, v: usize, mut f: impl FnMut(usize, usize, usize)) {
        let columns = self.inside(1, v);
        if columns.is_empty() {
            return;
        }
        for i in self.inside(0, u) {
            let y = i * self.stride[0] + u * self.dilation[0] - self.pad[0];
            let x = columns.start * self.stride[1] + v * self.dilation[1] - self.pad[1];
            f(i * self.out[1] + columns.start, y * self.map[1] + x, columns.len());
        }
    }
}

/// Where a convolution's windows lie.
pub(super) struct Geometry<'a> {
    pub(super) stride: &'a [usize; 2],
    pub(super) pad: &'a [usize; 4],
    pub(super) dilation: &'a [usize; 2],
}

/// 2-D convolution; `out` is the result's sizes.
pub(super) fn conv(
    [x, w]: [&Tensor; 2],
    bias: Option<&Tensor>,
    Geometry { stride, pad, dilation }: Geometry<'_>,
    groups: usize,
    out: &[usize],
) -> Vec<f64> {
    let (map, kernel) = ([x.dims[2], x.dims[3]], [w.dims[2], w.dims[3]]);
    let window = Window { map, kernel, stride, pad, dilation, out: [out[2], out[3]] };
    let (inputs, outputs) = (w.dims[1], w.dims[0] / groups);
    let (area, plane) = (x.dims[2] * x.dims[3], out[2] * out[3]);
    let terms = inputs * window.kernel[0] * window.kernel[1];
    let pointwise = window.kernel == [1, 1] && *stride == [1, 1] && *pad == [0; 4];
    let mut result = vec![0.0; out.iter().product()];
    let mut columns = if pointwise || outputs == 1 { Vec::new() } else { vec![0.0; terms * plane] };
    // One group of one image at a time: they follow each other in x and in the result.
    for (at, y) in result.chunks_exact_mut((outputs * plane).max(1)).enumerate() {
        let map = &x.data[at * inputs * area..][..inputs * area];
        let kernels = &w.data[at % groups * outputs * terms..][..outputs * terms];
        if outputs == 1 {
            for (kernel, map) in kernels.chunks_exact(window.kernel[0] * window.kernel[1]).zip(map.chunks_exact(area)) {
                plane_conv(&window, map, kernel, y);
            }
        } else if pointwise {
            gemm(outputs, plane, terms, Matrix::rows(kernels, terms), Matrix::rows(map, plane), y, plane);
        } else {
            unfold(&window, map, &mut columns);
            gemm(outputs, plane, terms, Matrix::rows(kernels, terms), Matrix::rows(&columns, plane), y, plane);
        }
    }
    if let Some(bias) = bias {
        for (y, b) in result.chunks_exact_mut(plane.max(1)).zip(bias.data.iter().cycle()) {
            y.iter_mut().for_each(|y| *y += b);
        }
    }
    result
}

/// 2-D transposed convolution; `out` is the result's sizes. Each result sums in ascending order of channel, then of the kernel's place.
pub(super) fn conv_transpose(
    [x, w]: [&Tensor; 2],
    bias: Option<&Tensor>,
    geometry: &Geometry<'_>,
    groups: usize,
    out: &[usize],
) -> Vec<f64> {
    let (map, kernel) = ([x.dims[2], x.dims[3]], [w.dims[2], w.dims[3]]);
    let (inputs, outputs) = (x.dims[1] / groups, w.dims[1]);
    let (area, taps, plane) = (map[0] * map[1], kernel[0] * kernel[1], out[2] * out[3]);
    let mut result = vec![0.0; out.iter().product()];
    for (at, y) in result.chunks_exact_mut(plane.max(1)).enumerate() {
        let (channel, image) = (at % out[1], at / out[1]);
        let (group, output) = (channel / outputs, channel % outputs);
        for c in group * inputs..(group + 1) * inputs {
            let source = &x.data[(image * x.dims[1] + c) * area..][..area];
            let weights = &w.data[(c * outputs + output) * taps..][..taps];
            scatter(source, map, weights, kernel, geometry, y, [out[2], out[3]]);
        }
        if let Some(bias) = bias {
            y.iter_mut().for_each(|y| *y += bias.data[channel]);
        }
    }
    result
}

/// Add one map's elements, each times the kernel, to a result's plane.
fn scatter(
    map: &[f64],
    size: [usize; 2],
    weights: &[f64],
    kernel: [usize; 2],
    Geometry { stride, pad, dilation }: &Geometry<'_>,
    y: &mut [f64],
    out: [usize; 2],
) {
    // Where an element and a weight meet on an axis, if that is on the result.
    let place = |axis: usize, p: usize, u: usize| {
        let at = (p * stride[axis] + u * dilation[axis]).wrapping_sub(pad[axis]);
        (at < out[axis]).then_some(at)
    };
    for (tap, weight) in weights.iter().enumerate() {
        let (u, v) = (tap / kernel[1], tap % kernel[1]);
        for p in 0..size[0] {
            let Some(i) = place(0, p, u) else { continue };
            for q in 0..size[1] {
                if let Some(j) = place(1, q, v) {
                    y[i * out[1] + j] += weight * map[p * size[1] + q];
                }
            }
        }
    }
}

/// Add the convolution of one map with one kernel.
fn plane_conv(window: &Window<'_>, map: &[f64], kernel: &[f64], y: &mut [f64]) {
    for u in 0..window.kernel[0] {
        for v in 0..window.kernel[1] {
            let weight = kernel[u * window.kernel[1] + v];
            window.runs(u, v, |to, from, count| {
                let y = &mut y[to..to + count];
                if window.stride[1] == 1 {
                    y.iter_mut().zip(&map[from..from + count]).for_each(|(y, x)| *y += weight * x);
                } else {
                    let x = map[from..].iter().step_by(window.stride[1]);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
                }
            });
        }
    }
}

/// Row (c, u, v) of `columns` is what kernel position (u, v) reads of channel c, per output.
fn unfold(window: &Window<'_>, maps: &[f64], columns: &mut [f64]) {
    let [kh, kw] = window.kernel;
    let (area, plane) = (window.map[0] * window.map[1], window.out[0] * window.out[1]);
    columns.fill(0.0);
    for (row, y) in columns.chunks_exact_mut(plane.max(1)).enumerate() {
        let (c, u, v) = (row / (kh * kw), row / kw % kh, row % kw);
        let map = &maps[c * area..(c + 1) * area];
        window.runs(u, v, |to, from, count| {
            for (y, x) in y[to..to + count].iter_mut().zip(map[from..].iter().step_by(window.stride[1])) {
                *y = *x;
            }
        });
    }
}
