//! What a layer reads and gives at some of its positions: the terms of its sums, and its outputs.

use super::layers::{Kind, Layer};
use super::units::Stream;
use ndarray::Array2;

/// Positions that are looked at for a layer of one group: at least so many, and as many times its terms.
const ROWS: (usize, usize) = (8192, 8);

/// Positions that are looked at for a layer of several groups.
const GROUPED_ROWS: usize = 4096;

/// The terms `[n,K]` and outputs `[n,O]` of group `g` at some positions, the same for every group.
pub(super) fn sample(layer: &Layer, x: Stream<'_>, y: Stream<'_>, g: usize) -> (Array2<f32>, Array2<f32>) {
    let limit = if layer.groups > 1 { GROUPED_ROWS } else { ROWS.0.max(ROWS.1 * layer.terms) };
    let positions = positions(layer, y.dims);
    let per = limit.div_ceil(x.units.len().max(1)).clamp(1, positions.max(1));
    let places: Vec<(usize, usize)> =
        (0..x.units.len()).flat_map(|unit| chosen(unit, per, positions).map(move |at| (unit, at))).collect();
    let (mut terms, mut outputs) = (Vec::new(), Vec::new());
    for &(unit, at) in &places {
        read(layer, x.dims, y.dims, &x.units[unit], g, at, &mut terms);
        given(layer, y.dims, &y.units[unit], g, at, &mut outputs);
    }
    let matrix = |data: Vec<f32>, width: usize| {
        Array2::from_shape_vec((data.len() / width.max(1), width), data).unwrap_or_default()
    };
    (matrix(terms, layer.terms), matrix(outputs, layer.outputs))
}

/// How many positions one pass gives.
fn positions(layer: &Layer, y: &[usize]) -> usize {
    y.iter().product::<usize>() / (layer.groups * layer.outputs).max(1)
}

/// All positions of a pass, or some that a hash of their number chooses.
fn chosen(unit: usize, per: usize, positions: usize) -> impl Iterator<Item = usize> {
    (0..per).map(move |i| if per == positions { i } else { hash((unit * per + i) as u64) as usize % positions })
}

/// SplitMix64.
fn hash(seed: u64) -> u64 {
    let z = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 1
}

/// Append the terms of the sums at a position.
fn read(layer: &Layer, x_dims: &[usize], y_dims: &[usize], x: &[f32], g: usize, at: usize, terms: &mut Vec<f32>) {
    match layer.kind {
        Kind::Rows => terms.extend_from_slice(&x[at * layer.terms..(at + 1) * layer.terms]),
        Kind::Columns => {
            let n = x_dims[x_dims.len() - 1];
            let first = at / n * layer.terms * n + at % n;
            terms.extend((0..layer.terms).map(|k| x[first + k * n]));
        }
        Kind::Conv { stride, pad, dilation, kernel } => {
            let (h, w) = (x_dims[2], x_dims[3]);
            let plane = y_dims[2] * y_dims[3];
            let (image, i, j) = (at / plane, at % plane / y_dims[3], at % y_dims[3]);
            let channels = layer.terms / (kernel[0] * kernel[1]);
            for c in 0..channels {
                let map = &x[(image * x_dims[1] + g * channels + c) * h * w..][..h * w];
                for u in 0..kernel[0] {
                    for v in 0..kernel[1] {
                        let row = (i * stride[0] + u * dilation[0]).checked_sub(pad[0]).filter(|&row| row < h);
                        let column = (j * stride[1] + v * dilation[1]).checked_sub(pad[1]).filter(|&column| column < w);
                        terms.push(row.zip(column).map_or(0.0, |(row, column)| map[row * w + column]));
                    }
                }
            }
        }
    }
}

/// Append the outputs at a position.
fn given(layer: &Layer, dims: &[usize], y: &[f32], g: usize, at: usize, outputs: &mut Vec<f32>) {
    match layer.kind {
        Kind::Rows => outputs.extend_from_slice(&y[at * layer.outputs..(at + 1) * layer.outputs]),
        Kind::Columns => {
            let n = dims[dims.len() - 1];
            let first = at / n * layer.outputs * n + at % n;
            outputs.extend((0..layer.outputs).map(|o| y[first + o * n]));
        }
        Kind::Conv { .. } => {
            let plane = dims[2] * dims[3];
            let first = (at / plane * dims[1] + g * layer.outputs) * plane + at % plane;
            outputs.extend((0..layer.outputs).map(|o| y[first + o * plane]));
        }
    }
}
