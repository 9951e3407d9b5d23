//! The constants that a model defines by formula, and exact points of the unit circle.

use super::sample;
use crate::op::{Generator, OffsetOrder, Part};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2};

/// `(cos, sin)` of `m/n` turns. The angle is reduced to the first octant in integers, so zeros, ones and equal
/// magnitudes are exact.
pub(super) fn turn(m: usize, n: usize) -> (f64, f64) {
    let m = m % n;
    let (quadrant, rest) = (4 * m / n, 4 * m % n);
    let (c, s) = if rest == 0 {
        (1.0, 0.0)
    } else if 2 * rest == n {
        (FRAC_1_SQRT_2, FRAC_1_SQRT_2)
    } else if 2 * rest < n {
        let angle = FRAC_PI_2 * (rest as f64 / n as f64);
        (libm::cos(angle), libm::sin(angle))
    } else {
        let angle = FRAC_PI_2 * ((n - rest) as f64 / n as f64);
        (libm::sin(angle), libm::cos(angle))
    };
    // `0 − x` rather than `−x`: no negative zeros.
    match quadrant {
        0 => (c, s),
        1 => (0.0 - s, c),
        2 => (0.0 - c, 0.0 - s),
        _ => (s, 0.0 - c),
    }
}

/// Orthonormal DCT-II matrix `[n,n]`, row-major.
pub(super) fn dct(n: usize) -> Vec<f64> {
    let (first, other) = ((1.0 / n as f64).sqrt(), (2.0 / n as f64).sqrt());
    let entry = |k: usize, i: usize| if k == 0 { first } else { other * turn((2 * i + 1) * k, 4 * n).0 };
    (0..n * n).map(|at| entry(at / n, at % n)).collect()
}

/// The elements of a generated constant of shape `dims`, row-major.
pub(super) fn generate(generator: &Generator, dims: &[usize]) -> Vec<f64> {
    let count: usize = dims.iter().product();
    match generator {
        Generator::Fill { value } => vec![value.0; count],
        Generator::Iota { axis } => {
            let inner: usize = dims[axis + 1..].iter().product();
            (0..count).map(|at| (at / inner % dims[*axis]) as f64).collect()
        }
        Generator::Eye => (0..count).map(|at| f64::from(u8::from(at / dims[1] == at % dims[1]))).collect(),
        Generator::RelativeIndex { query, key, step, order } => {
            let place = |at: usize, width: usize| ((at / width) as i64, (at % width) as i64);
            let (h, w) = (key[0] as i64, key[1] as i64);
            let keys = key[0] * key[1];
            (0..query[0] * query[1] * keys)
                .map(|at| {
                    let ((qy, qx), (ky, kx)) = (place(at / keys, query[1]), place(at % keys, key[1]));
                    let (dy, dx) = (qy * step[0] as i64 - ky, qx * step[1] as i64 - kx);
                    let index = match order {
                        OffsetOrder::Absolute => dy.abs() * w + dx.abs(),
                        OffsetOrder::Signed => (dy + h - 1) * (2 * w - 1) + dx + w - 1,
                    };
                    index as f64
                })
                .collect()
        }
        Generator::DftBasis { n, part } => {
            let root = (*n as f64).sqrt();
            let columns = dims[1];
            (0..count)
                .map(|at| {
                    let (c, s) = turn((at / columns) * (at % columns), *n);
                    match part {
                        Part::Cos => c / root,
                        Part::Sin => s / root,
                    }
                })
                .collect()
        }
        Generator::DctBasis { n } => dct(*n),
        Generator::Resample { sampling, scale } => sample::matrix(sampling, [dims[0], dims[1]], *scale),
        Generator::AdaptiveMean => {
            let (m, n) = (dims[0], dims[1]);
            let mut bins = vec![0.0; count];
            for (o, row) in bins.chunks_exact_mut(n).enumerate() {
                let bin = &mut row[o * n / m..((o + 1) * n).div_ceil(m)];
                let share = 1.0 / bin.len() as f64;
                bin.fill(share);
            }
            bins
        }
        Generator::BandMask { grid } => {
            let bands = dims[0];
            let places = grid[0] * grid[1];
            let mut mask = vec![0.0; count];
            for at in 0..places {
                mask[band(at / grid[1], at % grid[1], *grid, bands) * places + at] = 1.0;
            }
            mask
        }
        Generator::LogCoords { window } => {
            let [h, w] = *window;
            let scaled = |at: usize, side: usize| {
                if side == 1 {
                    return 0.0;
                }
                let t = 8.0 * (at as f64 - (side - 1) as f64) / (side - 1) as f64;
                let size = libm::log2(t.abs() + 1.0) / 3.0;
                if t < 0.0 { -size } else { size }
            };
            let columns = 2 * w - 1;
            (0..(2 * h - 1) * columns).flat_map(|at| [scaled(at / columns, h), scaled(at % columns, w)]).collect()
        }
        Generator::GridCoords { side } => {
            let middle = (side / 2) as f64;
            let scaled = |at: usize| if *side == 1 { 0.0 } else { (at as f64 - middle) / middle };
            (0..side * side).flat_map(|at| [scaled(at / side), scaled(at % side)]).collect()
        }
    }
}

/// Band of the coefficient (a, b): the largest t < K with `t² · 2H²W² ≤ K²·(a²W² + b²H²)`, which is `⌊K·r⌋` without
/// rounding.
fn band(a: usize, b: usize, [h, w]: [usize; 2], bands: usize) -> usize {
    let square = |x: usize| (x as u128) * (x as u128);
    let radius = square(bands) * (square(a * w) + square(b * h));
    (0..bands).rev().find(|&t| square(t) * 2 * square(h * w) <= radius).unwrap_or(0)
}
