//! Resize and Upsample: how each axis is sampled.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use super::resize_axes;
use vitc_ir::op::{Coordinates, Kernel, Rounding, Sampling};
use vitc_ir::{Dim, Generator, Op, Real, Type, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Resize" => resize,
        "Upsample" => upsample,
        _ => return None,
    })
}

/// One axis: its new size, and the factor that its coordinates count with if it is not the sizes' own.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Along {
    from: usize,
    to: usize,
    scale: Option<f64>,
}

impl Along {
    /// By a factor, in the arithmetic of the file.
    fn by(from: usize, scale: f64) -> Done<Along> {
        let to = (from as f32 * scale as f32).floor();
        if !(1.0..2e9).contains(&to) {
            return Err(format!("makes {to} of {from} elements").into());
        }
        let to = to as usize;
        let own = (to as f64 / from as f64) as f32 == scale as f32 && (from as f64 * scale).fract() == 0.0;
        Ok(Along { from, to, scale: (!own).then_some(scale) })
    }

    fn idle(self) -> bool {
        self.from == self.to && self.scale.is_none_or(|s| s == 1.0)
    }

    /// Whether the factor makes the size: one that a policy keeps is rounded in its own way.
    fn agrees(self) -> bool {
        self.scale.is_none_or(|s| (self.from as f32 * s as f32) as usize == self.to)
    }

    /// The weights of the elements in each result, written out.
    fn matrix(self, cx: &mut Cx, sampling: &Sampling, path: &str) -> Done<Value> {
        let mut data = vec![Num::float(0.0); self.to * self.from];
        for (i, taps) in vitc_ir::resample::taps(sampling, self.from, self.to, self.scale).into_iter().enumerate() {
            for (sample, weight) in taps {
                data[i * self.from + sample] = Num::float(weight);
            }
        }
        cx.spell(&Known::new(Elem::F32, vec![self.to, self.from], data), path)
    }

    fn factor(self) -> f64 {
        self.scale.unwrap_or(self.to as f64 / self.from as f64)
    }
}

fn upsample(cx: &mut Cx, c: &Call<'_>) -> Done {
    let scales = match c.version >= 9 {
        true => cx.reals(c.needed(1)?, "scales")?,
        false => c.floats("scales")?.ok_or("has no scales")?.into_iter().map(f64::from).collect(),
    };
    let kernel = match c.text("mode", "nearest")? {
        "nearest" => None,
        "linear" | "bilinear" => Some(Kernel::Linear),
        other => return Err(format!("samples in mode {other:?}").into()),
    };
    oldest(cx, c, scales, kernel)
}

/// The rule of Upsample and of the first Resize: asymmetric coordinates; nearest goes down when it enlarges and up when it makes smaller.
fn oldest(cx: &mut Cx, c: &Call<'_>, scales: Vec<f64>, kernel: Option<Kernel>) -> Done {
    let dims = cx.dims(c.needed(0)?)?;
    let axes = by_scales(cx, &dims, &scales, &(0..dims.len()).collect::<Vec<_>>())?;
    let sampling = |along: &Along| {
        let rounding = if along.factor() < 1.0 { Rounding::Ceil } else { Rounding::Floor };
        Sampling::of(kernel.unwrap_or(Kernel::Nearest(rounding)), Coordinates::Asymmetric)
    };
    sampled(cx, c, &dims, &axes, sampling)
}

fn resize(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mode = c.text("mode", "nearest")?;
    if c.version < 11 {
        let scales = cx.reals(c.needed(1)?, "scales")?;
        let kernel = match mode {
            "nearest" => None,
            "linear" => Some(Kernel::Linear),
            other => return Err(format!("samples in mode {other:?}").into()),
        };
        return oldest(cx, c, scales, kernel);
    }
    let dims = cx.dims(c.needed(0)?)?;
    let given = |slot: usize| {
        Some(c.input(slot)).filter(|v| !v.is_absent() && cx.dims(v).is_ok_and(|d| !d.contains(&Dim::Fixed(0))))
    };
    let listed = match c.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, dims.len())).collect::<Done<Vec<_>>>()?,
        None => (0..dims.len()).collect(),
    };
    let coordinates = match c.text("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        // Its region decides; the coordinates stand for nothing.
        "tf_crop_and_resize" => Coordinates::HalfPixel,
        other => return Err(format!("samples by coordinates {other:?}").into()),
    };
    let axes = match (given(2), given(3)) {
        (Some(scales), None) => by_scales(cx, &dims, &cx.reals(scales, "scales")?, &listed)?,
        (None, Some(sizes)) => by_sizes(cx, c, &dims, &cx.numbers(sizes, "sizes")?, &listed)?,
        _ => return Err("needs scales or sizes, and not both".into()),
    };
    if c.text("coordinate_transformation_mode", "")? == "tf_crop_and_resize" {
        let sizes: Vec<(usize, usize)> = axes.iter().map(|(axis, along)| (*axis, along.to)).collect();
        return resize_axes::cropped(cx, c, &sizes);
    }
    let kernel = match mode {
        "nearest" => Kernel::Nearest(match c.text("nearest_mode", "round_prefer_floor")? {
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            other => return Err(format!("rounds by {other:?}").into()),
        }),
        "linear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(Real(c.float("cubic_coeff_a", -0.75)?)),
        other => return Err(format!("samples in mode {other:?}").into()),
    };
    let (antialias, exclude_outside) = (c.int("antialias", 0)? != 0, c.int("exclude_outside", 0)? != 0);
    sampled(cx, c, &dims, &axes, |_| Sampling { antialias, exclude_outside, ..Sampling::of(kernel, coordinates) })
}

fn by_scales(cx: &Cx, dims: &[Dim], scales: &[f64], listed: &[usize]) -> Done<Vec<(usize, Along)>> {
    if scales.len() != listed.len() {
        return Err(format!("{} scales do not fit {} axes", scales.len(), listed.len()).into());
    }
    let mut all = Vec::new();
    for (&scale, &axis) in scales.iter().zip(listed).filter(|(s, _)| **s != 1.0) {
        all.push((axis, Along::by(cx.size(dims[axis])?, scale)?));
    }
    Ok(all)
}

fn by_sizes(cx: &Cx, c: &Call<'_>, dims: &[Dim], sizes: &[Num], listed: &[usize]) -> Done<Vec<(usize, Along)>> {
    if sizes.len() != listed.len() {
        return Err(format!("{} sizes do not fit {} axes", sizes.len(), listed.len()).into());
    }
    let mut all = Vec::new();
    for (&size, &axis) in sizes.iter().zip(listed) {
        let size = super::movement::dim(size)?;
        if size != dims[axis] {
            all.push((axis, Along { from: cx.size(dims[axis])?, to: cx.size(size)?, scale: None }));
        } else if let Dim::Fixed(n) = size {
            all.push((axis, Along { from: n, to: n, scale: None }));
        }
    }
    let policy = c.text("keep_aspect_ratio_policy", "stretch")?;
    let factors = all.iter().map(|(_, a)| a.factor());
    let common = match policy {
        "stretch" => None,
        "not_larger" => factors.reduce(f64::min),
        "not_smaller" => factors.reduce(f64::max),
        other => return Err(format!("keeps the aspect by {other:?}").into()),
    };
    if let Some(scale) = common {
        for (_, a) in &mut all {
            *a = Along { to: (scale * a.from as f64 + 0.5).floor() as usize, scale: Some(scale), ..*a };
        }
    }
    all.retain(|(_, a)| !a.idle());
    if all.iter().any(|(_, a)| a.to == 0) {
        return Err("makes something of size 0".into());
    }
    Ok(all)
}

/// The value sampled along these axes.
fn sampled(
    cx: &mut Cx,
    c: &Call<'_>,
    dims: &[Dim],
    axes: &[(usize, Along)],
    rule: impl Fn(&Along) -> Sampling,
) -> Done {
    let value = c.needed(0)?.clone();
    if axes.is_empty() {
        return Ok(vec![value]);
    }
    if axes.iter().any(|(_, a)| a.to > 1 << 16 || a.from > 1 << 16) {
        return Err("samples an axis of more than 65536 elements".into());
    }
    let elem = cx.elem(&value)?;
    let x = float(cx, &value, &c.at("x"))?;
    // As a map whose rows and columns are the sampled axes: what lies before counts as channels, what lies behind must be nothing.
    let first = axes.iter().map(|(a, _)| *a).min().unwrap_or(0);
    let last = axes.iter().map(|(a, _)| *a).max().unwrap_or(0);
    let map = last - first <= 1 && (3..=4).contains(&dims.len()) && dims.len() - first <= 3;
    let map = map && axes.iter().all(|(_, a)| a.agrees());
    if !map {
        return one_by_one(cx, c, x, axes, rule, elem);
    }
    let [row, column] = if last + 1 == dims.len() && last > 0 { [last - 1, last] } else { [first, first + 1] };
    if column + 1 != dims.len() {
        return behind(cx, c, x, dims, axes, rule, elem);
    }
    let (map, pair) = match dims.len() {
        4 => (x, [along(cx, dims, axes, row)?, along(cx, dims, axes, column)?]),
        3 if axes.len() == 1 && axes[0].0 == 2 => {
            let one = Along { from: 1, to: 1, scale: None };
            (
                cx.reshape(x, vec![dims[0], dims[1], Dim::Fixed(1), dims[2]], &c.at("map"))?,
                [one, along(cx, dims, axes, 2)?],
            )
        }
        3 => (
            cx.reshape(x, vec![Dim::Fixed(1), dims[0], dims[1], dims[2]], &c.at("map"))?,
            [along(cx, dims, axes, row)?, along(cx, dims, axes, column)?],
        ),
        rank => return Err(format!("samples a value of rank {rank}").into()),
    };
    let y = twice(cx, map, pair, rule, &c.path)?;
    let mut result = dims.to_vec();
    axes.iter().for_each(|(axis, a)| result[*axis] = Dim::Fixed(a.to));
    Ok(vec![Val::Node(cx.reshape(y, result, &c.path)?, elem)])
}

/// How an axis is sampled, if it is.
fn along(cx: &Cx, dims: &[Dim], axes: &[(usize, Along)], axis: usize) -> Done<Along> {
    if let Some((_, along)) = axes.iter().find(|(a, _)| *a == axis) {
        return Ok(*along);
    }
    let size = cx.size(dims[axis])?;
    Ok(Along { from: size, to: size, scale: None })
}

/// Rows and columns of a map, together where one rule holds for both.
fn twice(cx: &mut Cx, map: Value, along: [Along; 2], rule: impl Fn(&Along) -> Sampling, path: &str) -> Done<Value> {
    let [rows, columns] = along;
    let (a, b) = (rule(&rows), rule(&columns));
    let size = [rows.to, columns.to];
    let one = |cx: &mut Cx, x, sampling, size, along: [Along; 2], path: &str| {
        let scale = match along.iter().any(|a| a.scale.is_some()) {
            true => Some(along.map(|a| Real(a.factor()))),
            false => None,
        };
        cx.push(Op::Resize { sampling, size, scale }, &[x], path)
    };
    if a == b || rows.idle() || columns.idle() {
        let sampling = if rows.idle() { b } else { a };
        return one(cx, map, sampling, size, along, path);
    }
    let still = |a: Along| Along { to: a.from, scale: None, ..a };
    let first = one(cx, map, a, [rows.to, columns.from], [rows, still(columns)], &format!("{path}.rows"))?;
    one(cx, first, b, size, [Along { from: rows.to, ..still(rows) }, columns], path)
}

/// Axes that no map has: each one as a product with its matrix.
fn one_by_one(
    cx: &mut Cx,
    c: &Call<'_>,
    mut x: Value,
    axes: &[(usize, Along)],
    rule: impl Fn(&Along) -> Sampling,
    elem: Elem,
) -> Done {
    for (axis, along) in axes.iter().filter(|(_, a)| !a.idle()) {
        let path = c.at(&format!("axis{axis}"));
        super::super::places::count(&[along.to, along.from]).ok_or("is too large")?;
        let matrix = match along.agrees() {
            true => {
                let matrix = Op::Generate(Generator::Resample { sampling: rule(along), scale: along.scale.map(Real) });
                cx.graph.push_leaf(matrix, Type::f32(&[along.to, along.from]), &format!("{path}.matrix"))?
            }
            false => along.matrix(cx, &rule(along), &format!("{path}.matrix"))?,
        };
        x = resize_axes::by_matrix(cx, x, *axis, matrix, &path)?;
    }
    Ok(vec![Val::Node(x, elem)])
}

/// Maps with their channels last: moved in front and back.
fn behind(
    cx: &mut Cx,
    c: &Call<'_>,
    x: Value,
    dims: &[Dim],
    axes: &[(usize, Along)],
    rule: impl Fn(&Along) -> Sampling,
    elem: Elem,
) -> Done {
    if dims.len() != 4 || axes.iter().any(|(a, _)| !(1..=2).contains(a)) {
        return one_by_one(cx, c, x, axes, rule, elem);
    }
    let pair = [along(cx, dims, axes, 1)?, along(cx, dims, axes, 2)?];
    let map = cx.push(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x], &c.at("map"))?;
    let y = twice(cx, map, pair, rule, &c.at("sampled"))?;
    Ok(vec![Val::Node(cx.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[y], &c.path)?, elem)])
}
