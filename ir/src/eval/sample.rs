//! Maps sampled at another size, mirrored at their borders, and taken apart into blocks; elements of one or another value.

use super::affine::row_major;
use super::tensor::Tensor;
use crate::op::{DepthOrder, PadMode, Sampling};
use crate::real::Real;
use crate::resample;

/// Maps sampled at another size: along rows, then along columns.
pub(super) fn resize(x: &Tensor, sampling: &Sampling, size: [usize; 2], scale: Option<[Real; 2]>) -> Vec<f64> {
    let (h, w) = (x.dims[2], x.dims[3]);
    let taps = |i: usize, n: usize| resample::taps(sampling, n, size[i], scale.map(|s| s[i].0));
    let (rows, columns) = (taps(0, h), taps(1, w));
    let mut result = Vec::with_capacity(x.data.len() / (h * w).max(1) * size[0] * size[1]);
    for plane in x.data.chunks_exact((h * w).max(1)) {
        let lines = plane.chunks_exact(w).flat_map(|line| {
            columns.iter().map(|taps| taps.iter().fold(0.0, |sum, &(at, weight)| sum + weight * line[at]))
        });
        let lines: Vec<f64> = lines.collect();
        for taps in &rows {
            let column = |j: usize| taps.iter().fold(0.0, |sum, &(at, weight)| sum + weight * lines[at * size[1] + j]);
            result.extend((0..size[1]).map(column));
        }
    }
    result
}

/// The matrix `[m,n]` of a resize along one axis.
pub(super) fn matrix(sampling: &Sampling, [m, n]: [usize; 2], scale: Option<Real>) -> Vec<f64> {
    let mut all = vec![0.0; m * n];
    for (i, taps) in resample::taps(sampling, n, m, scale.map(|s| s.0)).into_iter().enumerate() {
        taps.into_iter().for_each(|(at, weight)| all[i * n + at] += weight);
    }
    all
}

/// Elements of `a` where `c` is not 0, else of `b`, all three broadcast to `out`.
pub(super) fn select([c, a, b]: [&Tensor; 3], out: &[usize]) -> Vec<f64> {
    // Where element `i` of the result lies in an operand.
    let places = |x: &Tensor| -> Vec<usize> {
        let (missing, strides) = (out.len() - x.dims.len(), row_major(&x.dims));
        let step = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if x.dims[own] > 1 => strides[own],
            _ => 0,
        };
        (0..out.len()).fold(vec![0], |places: Vec<usize>, axis| {
            let step = step(axis);
            places.iter().flat_map(|&p| (0..out[axis]).map(move |i| p + i * step)).collect()
        })
    };
    let (c_at, a_at, b_at) = (places(c), places(a), places(b));
    let one = |i: usize| if c.data[c_at[i]] != 0.0 { a.data[a_at[i]] } else { b.data[b_at[i]] };
    (0..c_at.len()).map(one).collect()
}

/// Elements around x that are elements of x; `out` is the result's sizes.
pub(super) fn mirror(x: &Tensor, before: &[usize], mode: PadMode, out: &[usize]) -> Vec<f64> {
    let strides = row_major(&x.dims);
    let offsets = |axis: usize| -> Vec<usize> {
        let last = x.dims[axis] as i64 - 1;
        let inside = |i: usize| {
            let i = i as i64 - before[axis] as i64;
            match mode {
                PadMode::Reflect if i < 0 => -i,
                PadMode::Reflect if i > last => 2 * last - i,
                PadMode::Reflect | PadMode::Edge | PadMode::Constant(_) => i.clamp(0, last),
            }
        };
        (0..out[axis]).map(|i| inside(i) as usize * strides[axis]).collect()
    };
    (0..out.len())
        .fold(vec![0], |places: Vec<usize>, axis| {
            let own = offsets(axis);
            places.iter().flat_map(|&p| own.iter().map(move |o| p + o)).collect()
        })
        .into_iter()
        .map(|place| x.data[place])
        .collect()
}

/// Channels to blocks of positions, or back: the same moves in both directions.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Blocks {
    /// The operand has the channels.
    Merge,
    /// The operand has the positions.
    Cut,
}

/// Channels to blocks of positions, or back; `map` is the larger map's channels, height and width.
pub(super) fn blocks(
    x: &Tensor,
    [channels, h, w]: [usize; 3],
    block: usize,
    order: DepthOrder,
    way: Blocks,
) -> Vec<f64> {
    let mut result = vec![0.0; x.data.len()];
    let (area, small) = (block * block, [h / block, w / block]);
    for place in 0..x.data.len() {
        // `place` in the larger map [B,C,H,W].
        let (column, row) = (place % w, place / w % h);
        let (channel, image) = (place / (w * h) % channels, place / (w * h * channels));
        let inside = row % block * block + column % block;
        let deep = match order {
            DepthOrder::Crd => channel * area + inside,
            DepthOrder::Dcr => inside * channels + channel,
        };
        let other = ((image * channels * area + deep) * small[0] + row / block) * small[1] + column / block;
        match way {
            Blocks::Merge => result[place] = x.data[other],
            Blocks::Cut => result[other] = x.data[place],
        }
    }
    result
}
