//! A map read at the places that a grid names.

use super::tensor::Tensor;
use crate::op::{GridKernel, Outside};

/// How [`crate::Op::GridSample`] reads.
pub(super) struct Grid {
    pub(super) kernel: GridKernel,
    pub(super) outside: Outside,
    pub(super) corners: bool,
}

impl Grid {
    /// Every map of x `[B,C,H,W]` at the places of grid `[B,h,w,2]`.
    pub(super) fn sample(&self, x: &Tensor, grid: &Tensor) -> Vec<f64> {
        let [channels, h, w] = [x.dims[1], x.dims[2], x.dims[3]];
        let places = grid.dims[1] * grid.dims[2];
        let mut result = Vec::with_capacity(x.dims[0] * channels * places);
        let images = x.data.chunks_exact((channels * h * w).max(1));
        for (image, grid) in images.zip(grid.data.chunks_exact((2 * places).max(1))) {
            let axes = |g: &[f64]| [self.taps(g[1], h), self.taps(g[0], w)];
            let taps: Vec<[Vec<(usize, f64)>; 2]> = grid.chunks_exact(2).map(axes).collect();
            for map in image.chunks_exact(h * w) {
                let line = |columns: &[(usize, f64)], row: usize| {
                    columns.iter().map(|&(column, weight)| map[row * w + column] * weight).sum::<f64>()
                };
                let read = |[rows, columns]: &[Vec<(usize, f64)>; 2]| {
                    rows.iter().map(|&(row, weight)| line(columns, row) * weight).sum::<f64>()
                };
                result.extend(taps.iter().map(read));
            }
        }
        result
    }

    /// The elements of an axis of n that are read at coordinate g, and their weights.
    fn taps(&self, g: f64, n: usize) -> Vec<(usize, f64)> {
        let last = (n - 1) as f64;
        let place = if self.corners { (g + 1.0) / 2.0 * last } else { ((g + 1.0) * n as f64 - 1.0) / 2.0 };
        let moved = match (self.kernel, self.outside) {
            (GridKernel::Cubic, _) | (_, Outside::Zeros) => place,
            (_, Outside::Border) => place.clamp(0.0, last),
            (_, Outside::Mirror) => self.mirrored(place, n).clamp(0.0, last),
        };
        let low = moved.floor();
        let part = moved - low;
        let near: Vec<(f64, f64)> = match self.kernel {
            GridKernel::Nearest => vec![(moved.round_ties_even(), 1.0)],
            GridKernel::Linear => vec![(low, 1.0 - part), (low + 1.0, part)],
            GridKernel::Cubic => (-1..3).map(f64::from).map(|k| (low + k, keys((part - k).abs()))).collect(),
        };
        near.into_iter().filter_map(|(at, weight)| Some((self.element(at, n)?, weight))).collect()
    }

    /// The element at a whole place.
    fn element(&self, at: f64, n: usize) -> Option<usize> {
        let last = (n - 1) as f64;
        match self.outside {
            Outside::Zeros => (0.0..=last).contains(&at).then_some(at as usize),
            Outside::Border => Some(at.clamp(0.0, last) as usize),
            Outside::Mirror => Some(self.mirrored(at, n).round_ties_even().clamp(0.0, last) as usize),
        }
    }

    /// A place mirrored at the ends of the axis as often as it takes.
    fn mirrored(&self, place: f64, n: usize) -> f64 {
        let (least, span) = if self.corners { (0.0, (n - 1) as f64) } else { (-0.5, n as f64) };
        if span == 0.0 {
            return 0.0;
        }
        let turn = (place - least).rem_euclid(2.0 * span);
        least + turn.min(2.0 * span - turn)
    }
}

/// Keys' kernel with a = −0.75 at distance d ≤ 2.
fn keys(d: f64) -> f64 {
    const A: f64 = -0.75;
    if d <= 1.0 { ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0 } else { ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A }
}
