//! Sampling along any axis as a product with a constant matrix, and the region that TensorFlow's crop_and_resize reads.

use super::super::super::tensor::Elem;
use super::super::call::{Call, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::resample::cubic;
use vitc_ir::{BinaryKind, Dim, Op, Value};

/// A value whose axis is replaced by the rows of a matrix `[m,n]`.
pub(super) fn by_matrix(cx: &mut Cx, x: Value, axis: usize, matrix: Value, path: &str) -> Done<Value> {
    let rank = cx.shape(x).len();
    if rank == 1 {
        let size = cx.shape(x)[0];
        let row = cx.reshape(x, vec![Dim::Fixed(1), size], &format!("{path}.row"))?;
        let y = cx.product([row, matrix], [false, true], &format!("{path}.sampled"))?;
        let size = cx.shape(y)[1];
        return cx.reshape(y, vec![size], path);
    }
    if axis + 1 == rank {
        return cx.product([x, matrix], [false, true], path);
    }
    if axis + 2 == rank {
        return cx.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[matrix, x], path);
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let last = cx.push(Op::Transpose { perm: perm.clone() }, &[x], &format!("{path}.last"))?;
    let y = cx.product([last, matrix], [false, true], &format!("{path}.sampled"))?;
    cx.push(Op::Transpose { perm }, &[y], path)
}

/// One axis of a region.
struct Region {
    axis: usize,
    from: usize,
    to: usize,
    start: f32,
    end: f32,
}

impl Region {
    /// Where result `i` lies among the elements, in the file's own arithmetic.
    fn place(&self, i: usize) -> f32 {
        let last = (self.from - 1) as f32;
        match self.to {
            1 => 0.5 * (self.start + self.end) * last,
            m => self.start * last + i as f32 * (self.end - self.start) * last / (m - 1) as f32,
        }
    }

    fn inside(&self, i: usize) -> bool {
        (0.0..=(self.from - 1) as f32).contains(&self.place(i))
    }

    fn idle(&self) -> bool {
        self.from == self.to && self.start == 0.0 && self.end == 1.0
    }

    /// Weights of the elements in result `i`.
    fn row(&self, i: usize, mode: Mode) -> Vec<f64> {
        let mut row = vec![0.0; self.from];
        if !self.inside(i) {
            return row;
        }
        let x = self.place(i);
        let clamped = |at: f32| (at.max(0.0) as usize).min(self.from - 1);
        match mode {
            Mode::Nearest(round) => row[clamped(round(x))] = 1.0,
            Mode::Linear => {
                let low = clamped(x.floor());
                let part = f64::from(x - low as f32);
                row[low] += 1.0 - part;
                row[(low + 1).min(self.from - 1)] += part;
            }
            Mode::Cubic(a) => {
                let part = f64::from(x - x.floor());
                for k in [-1i8, 0, 1, 2] {
                    row[clamped(x.floor() + f32::from(k))] += cubic(f64::from(k) - part, a);
                }
            }
        }
        row
    }
}

/// How elements around a place count.
#[derive(Clone, Copy)]
enum Mode {
    Nearest(fn(f32) -> f32),
    Linear,
    /// With the kernel's parameter.
    Cubic(f64),
}

impl Mode {
    fn of(c: &Call<'_>) -> Done<Mode> {
        Ok(match c.text("mode", "nearest")? {
            "nearest" => Mode::Nearest(match c.text("nearest_mode", "round_prefer_floor")? {
                "floor" => f32::floor,
                "ceil" => f32::ceil,
                "round_prefer_floor" => |x| (x - 0.5).ceil(),
                "round_prefer_ceil" => |x| (x + 0.5).floor(),
                other => return Err(format!("rounds by {other:?}").into()),
            }),
            "linear" => Mode::Linear,
            "cubic" if c.int("exclude_outside", 0)? == 0 => Mode::Cubic(c.float("cubic_coeff_a", -0.75)?),
            other => return Err(format!("samples a region in mode {other:?}").into()),
        })
    }
}

/// A region of the value, given by `roi`, sampled: what lies outside of the value is one number.
pub(super) fn cropped(cx: &mut Cx, c: &Call<'_>, sizes: &[(usize, usize)]) -> Done {
    if c.int("antialias", 0)? != 0 {
        return Err("samples a region with antialiasing".into());
    }
    let (value, mode) = (c.needed(0)?.clone(), Mode::of(c)?);
    let dims = cx.dims(&value)?;
    let roi = cx.reals(c.needed(1)?, "region")?;
    let listed = match c.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, dims.len())).collect::<Done<Vec<_>>>()?,
        None => (0..dims.len()).collect(),
    };
    if roi.len() != 2 * listed.len() {
        return Err(format!("has a region of {} numbers for {} axes", roi.len(), listed.len()).into());
    }
    let mut regions = Vec::new();
    for (i, &axis) in listed.iter().enumerate() {
        let (start, end) = (roi[i] as f32, roi[i + listed.len()] as f32);
        let to = sizes.iter().find(|(a, _)| *a == axis).map(|s| s.1);
        let Dim::Fixed(from) = dims[axis] else {
            if to.is_none() && start == 0.0 && end == 1.0 {
                continue;
            }
            return Err("samples the batch".into());
        };
        let region = Region { axis, from, to: to.unwrap_or(from), start, end };
        if !region.idle() {
            regions.push(region);
        }
    }
    let elem = cx.elem(&value)?;
    let mut y = float(cx, &value, &c.at("x"))?;
    let outside = c.float("extrapolation_value", 0.0)?;
    let mut inner: Option<Value> = None;
    for region in &regions {
        let path = c.at(&format!("axis{}", region.axis));
        places::count(&[region.to, region.from]).ok_or("is too large")?;
        let rows: Vec<Num> = (0..region.to).flat_map(|i| region.row(i, mode)).map(Num::float).collect();
        let matrix = Known::new(Elem::F32, vec![region.to, region.from], rows);
        let matrix = cx.spell(&matrix, &format!("{path}.matrix"))?;
        y = by_matrix(cx, y, region.axis, matrix, &path)?;
        if outside != 0.0 && (0..region.to).any(|i| !region.inside(i)) {
            let mut shape = vec![1; dims.len()];
            shape[region.axis] = region.to;
            let line = (0..region.to).map(|i| Num::float(f64::from(u8::from(region.inside(i))))).collect();
            let line = cx.spell(&Known::new(Elem::F32, shape, line), &format!("{path}.inside"))?;
            inner = Some(match inner {
                Some(so_far) => cx.binary(BinaryKind::Mul, so_far, line, &format!("{path}.all"))?,
                None => line,
            });
        }
    }
    if let Some(inner) = inner {
        let one = cx.scalar(1.0, &c.at("one"))?;
        let out = cx.binary(BinaryKind::Sub, one, inner, &c.at("outside"))?;
        let out = cx.with(BinaryKind::Mul, out, outside, &c.at("filler"))?;
        y = cx.binary(BinaryKind::Add, y, out, &c.path)?;
    }
    Ok(vec![Val::Node(y, elem)])
}
