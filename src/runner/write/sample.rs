//! Operators that sample, pool and rearrange maps, by their formulas.

use super::parts::Parts;
use super::step::Step;
use vitc_ir::Real;
use vitc_ir::op::{Coordinates, DepthOrder, GridKernel, Kernel, Outside, PadMode, Rounding, Sampling};

/// The largest of a window, of rows first: position u of every window at once, by a gather of one row per result. Padding is the smallest number.
pub(super) fn max_pool(
    p: &mut Parts<'_, '_>,
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 4],
    dilation: [usize; 2],
) -> Step {
    let result = p.result(0);
    let mut x = p.wide(0);
    if pad != [0; 4] {
        let pads = p.integers([0, 0, pad[0], pad[1], 0, 0, pad[2], pad[3]]);
        let least = p.floats(&[], &[f64::from(f32::MIN)]);
        x = p.push(Step::new("Pad", [x, pads, least]));
    }
    for i in 0..2 {
        let rows: Vec<String> = (0..kernel[i])
            .map(|u| {
                let places = p.integers((0..result[2 + i]).map(|at| at * stride[i] + u * dilation[i]));
                p.push(Step::new("Gather", [x.clone(), places]).int("axis", 2 + i as i64))
            })
            .collect();
        let first = rows[0].clone();
        x = rows[1..].iter().fold(first, |largest, row| p.push(Step::new("Max", [largest, row.clone()])));
    }
    Step::new("Identity", [x])
}

/// A convolution of the map with zeros between its elements by the kernel turned around: places and channels exchanged, and padding for what lies
/// beyond the map on either side.
pub(super) fn conv_transpose(
    p: &mut Parts<'_, '_>,
    stride: [usize; 2],
    pad: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
) -> Step {
    let (dims, kernel, result) = (p.dims(0), p.dims(1), p.result(0));
    let [mut x, mut w] = [0, 1].map(|operand| p.wide(operand));
    for (axis, size) in [(2, kernel[2]), (3, kernel[3])] {
        let places = p.integers((0..size).rev());
        w = p.push(Step::new("Gather", [w, places]).int("axis", axis));
    }
    let (inner, outer) = (kernel[0] / groups, kernel[1]);
    let view = p.integers([groups, inner, outer, kernel[2], kernel[3]]);
    w = p.push(Step::new("Reshape", [w, view]));
    w = p.push(Step::new("Transpose", [w]).ints("perm", &[0, 2, 1, 3, 4]));
    let view = p.integers([groups * outer, inner, kernel[2], kernel[3]]);
    w = p.push(Step::new("Reshape", [w, view]));

    let view = p.integers([dims[0], dims[1], dims[2], 1, dims[3], 1]);
    x = p.push(Step::new("Reshape", [x, view]));
    let zeros = p.integers([0, 0, 0, 0, 0, 0, 0, 0, 0, stride[0] - 1, 0, stride[1] - 1]);
    x = p.push(Step::new("Pad", [x, zeros]));
    let stuffed = [dims[2] * stride[0], dims[3] * stride[1]];
    let view = p.integers([dims[0], dims[1], stuffed[0], stuffed[1]]);
    x = p.push(Step::new("Reshape", [x, view]));
    // The first window ends where the result starts; the last one is as far from it as the result is long.
    let (mut first, mut last) = ([0; 2], [0; 2]);
    for i in 0..2 {
        let reach = (kernel[2 + i] - 1) * dilation[i];
        first[i] = reach as i64 - pad[i] as i64;
        last[i] = (result[2 + i] + reach) as i64 - stuffed[i] as i64 - first[i];
    }
    let grown = |n: i64| usize::try_from(n).unwrap_or(0);
    let pads = [0, 0, grown(first[0]), grown(first[1]), 0, 0, grown(last[0]), grown(last[1])];
    let pads = p.integers(pads);
    x = p.push(Step::new("Pad", [x, pads]));
    let size = |i: usize| stuffed[i] + grown(first[i]) + grown(last[i]);
    let [starts, ends, axes] =
        [[grown(-first[0]), grown(-first[1])], [size(0) - grown(-last[0]), size(1) - grown(-last[1])], [2, 3]]
            .map(|numbers| p.integers(numbers));
    x = p.push(Step::new("Slice", [x, starts, ends, axes]));
    let bias = (p.node.inputs.len() == 3).then(|| p.wide(2));
    let operands: Vec<String> = [x, w].into_iter().chain(bias).collect();
    Step::new("Conv", operands).ints("dilations", &dilation).int("group", groups as i64)
}

/// Along each axis that grows, the elements that the places name.
pub(super) fn mirror(p: &mut Parts<'_, '_>, before: &[usize], after: &[usize], mode: PadMode) -> Step {
    let dims = p.dims(0);
    let mut x = p.read(0);
    for axis in (0..dims.len()).filter(|&a| before[a] + after[a] > 0) {
        let (first, last) = (before[axis] as i64, dims[axis] as i64 - 1);
        let place = |i: i64| match mode {
            PadMode::Reflect => last - (last - (i - first).abs()).abs(),
            PadMode::Edge | PadMode::Constant(_) => (i - first).max(0).min(last),
        };
        let places = p.integers((0..(before[axis] + dims[axis] + after[axis]) as i64).map(|i| place(i) as usize));
        x = p.push(Step::new("Gather", [x, places]).int("axis", axis as i64));
    }
    Step::new("Identity", [x])
}

/// A view with an axis for each part of a block, its axes in the new order, and the result's shape.
fn rearranged(p: &mut Parts<'_, '_>, view: Vec<usize>, perm: &[usize]) -> Step {
    let (view, shape) = (p.integers(view), p.integers(p.result(0)));
    let x = p.read(0);
    let x = p.push(Step::new("Reshape", [x, view]));
    let x = p.push(Step::new("Transpose", [x]).ints("perm", perm));
    Step::new("Reshape", [x, shape])
}

/// Channels `[C,r,r]` or `[r,r,C]` beside rows and columns.
pub(super) fn depth_to_space(p: &mut Parts<'_, '_>, r: usize, order: DepthOrder) -> Step {
    let (dims, channels) = (p.dims(0), p.result(0)[1]);
    match order {
        DepthOrder::Crd => rearranged(p, vec![dims[0], channels, r, r, dims[2], dims[3]], &[0, 1, 4, 2, 5, 3]),
        DepthOrder::Dcr => rearranged(p, vec![dims[0], r, r, channels, dims[2], dims[3]], &[0, 3, 4, 1, 5, 2]),
    }
}

/// Rows `[H/r,r]` and columns `[W/r,r]`, their parts in front of the channels.
pub(super) fn space_to_depth(p: &mut Parts<'_, '_>, r: usize) -> Step {
    let dims = p.dims(0);
    rearranged(p, vec![dims[0], dims[1], dims[2] / r, r, dims[3] / r, r], &[0, 3, 5, 1, 2, 4])
}

/// `R·x·Cᵀ`.
pub(super) fn resize(p: &mut Parts<'_, '_>, sampling: &Sampling, size: [usize; 2], scale: Option<[Real; 2]>) -> Step {
    let dims = p.dims(0);
    let matrix = |i: usize| -> Vec<f64> {
        let axis = Axis { n: dims[2 + i], m: size[i], scale: scale.map(|s| s[i].0) };
        (0..size[i]).flat_map(|at| axis.row(sampling, at)).collect()
    };
    let x = p.wide(0);
    let rows = p.floats(&[size[0], dims[2]], &matrix(0));
    let columns = p.floats(&[size[1], dims[3]], &matrix(1));
    let columns = p.push(Step::new("Transpose", [columns]).ints("perm", &[1, 0]));
    let x = p.push(Step::new("MatMul", [rows, x]));
    Step::new("MatMul", [x, columns])
}

/// An axis of n samples that becomes one of m.
struct Axis {
    n: usize,
    m: usize,
    scale: Option<f64>,
}

impl Axis {
    /// The weight of every sample in result `i`: each position that the kernel reaches adds to the sample that it reads.
    fn row(&self, sampling: &Sampling, i: usize) -> Vec<f64> {
        let mut row = vec![0.0; self.n];
        let factor = self.scale.unwrap_or(self.m as f64 / self.n as f64);
        if self.n == self.m && factor == 1.0 {
            row[i] = 1.0;
            return row;
        }
        let at = self.coordinate(sampling.coordinates, i, factor);
        let inside = |k: i64| k.clamp(0, self.n as i64 - 1) as usize;
        let stretched = sampling.antialias && factor < 1.0;
        let by = if stretched { factor } else { 1.0 };
        let (reach, at, weight): (f64, f64, &dyn Fn(f64) -> f64) = match sampling.kernel {
            Kernel::Nearest(rounding) => {
                row[inside(nearest(at, rounding))] = 1.0;
                return row;
            }
            Kernel::Linear if stretched => (1.0, at, &hat),
            Kernel::Linear => (1.0, at.clamp(0.0, (self.n - 1) as f64), &hat),
            Kernel::Cubic(a) => (2.0, at, &move |d| keys(d, a.0)),
        };
        let (first, last) = ((at - reach / by).floor() as i64 - 1, (at + reach / by).ceil() as i64 + 1);
        let left_out = |k: i64| sampling.exclude_outside && !(0..self.n as i64).contains(&k);
        // A linear kernel that is not stretched never leaves the samples, so that there is nothing to leave out.
        for k in (first..=last).filter(|&k| !left_out(k)) {
            row[inside(k)] += weight((k as f64 - at) * by);
        }
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|w| *w /= sum);
        row
    }

    /// Ties of whole sizes are fractions of small numbers: as one division of whole numbers they are exact. With a factor of its own everything is f32.
    fn coordinate(&self, coordinates: Coordinates, i: usize, factor: f64) -> f64 {
        let single = self.m == 1;
        let (n, m, i) = (self.n as f64, self.m as f64, i as f64);
        let Some(_) = self.scale else {
            return match coordinates {
                Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if single => 0.0,
                Coordinates::AlignCorners => i * (n - 1.0) / (m - 1.0),
                Coordinates::Asymmetric => i * n / m,
                Coordinates::TfHalfPixel => (2.0 * i + 1.0) * n / (2.0 * m),
                Coordinates::HalfPixel | Coordinates::PytorchHalfPixel | Coordinates::HalfPixelSymmetric => {
                    ((2.0 * i + 1.0) * n - m) / (2.0 * m)
                }
            };
        };
        let (n, m, i, s) = (n as f32, m as f32, i as f32, factor as f32);
        let half = (i + 0.5) / s - 0.5;
        f64::from(match coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if single => 0.0,
            Coordinates::AlignCorners => i * (n - 1.0) / (m - 1.0),
            Coordinates::Asymmetric => i / s,
            Coordinates::TfHalfPixel => (i + 0.5) / s,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => half,
            Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - m / (s * n)) + half,
        })
    }
}

fn nearest(at: f64, rounding: Rounding) -> i64 {
    let half = |ties: f64| (at + ties).floor() as i64;
    match rounding {
        Rounding::Floor => at.floor() as i64,
        Rounding::Ceil => at.ceil() as i64,
        Rounding::PreferCeil => half(0.5),
        Rounding::PreferFloor => -((-at + 0.5).floor() as i64),
    }
}

/// 1 − |d| up to 1.
fn hat(d: f64) -> f64 {
    (1.0 - d.abs()).max(0.0)
}

/// Keys' kernel.
fn keys(d: f64, a: f64) -> f64 {
    let d = d.abs();
    match d {
        d if d <= 1.0 => (a + 2.0) * d.powi(3) - (a + 3.0) * d.powi(2) + 1.0,
        d if d < 2.0 => a * (d.powi(3) - 5.0 * d.powi(2) + 8.0 * d - 4.0),
        _ => 0.0,
    }
}

/// A map at the places of a grid, where the number of maps is not known; others stand for their definition.
pub(super) fn grid_sample(
    p: &mut Parts<'_, '_>,
    kernel: GridKernel,
    outside: Outside,
    corners: bool,
) -> Result<Step, String> {
    let mode = match kernel {
        GridKernel::Nearest => "nearest",
        GridKernel::Linear => "bilinear",
        GridKernel::Cubic => return Err("tract reads other elements at the border".into()),
    };
    let padding = match outside {
        Outside::Zeros => "zeros",
        Outside::Border => "border",
        Outside::Mirror => "reflection",
    };
    let sample = Step::new("GridSample", [p.wide(0), p.wide(1)]).string("mode", mode).string("padding_mode", padding);
    Ok(sample.int("align_corners", i64::from(corners)))
}
