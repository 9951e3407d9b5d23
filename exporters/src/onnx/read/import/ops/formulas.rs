//! Functions and transforms that are written by their formulas.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num, rounded};
use super::super::moves::Cut;
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Dim, Op, Real, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Tan" | "Sinh" | "Cosh" | "Asinh" | "Acosh" | "Atanh" => function,
        "Shrink" => shrink,
        "MeanVarianceNormalization" => mean_variance,
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => window,
        "DFT" => fourier,
        "ReverseSequence" => reversed,
        "CenterCropPad" => centred,
        _ => return None,
    })
}

fn function(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let at = |name: &str| c.at(name);
    // e^x and e^−x.
    let pair = |cx: &mut Cx| -> Done<[Value; 2]> {
        let less = cx.unary(UnaryKind::Neg, x, &at("less"))?;
        Ok([cx.unary(UnaryKind::Exp, x, &at("up"))?, cx.unary(UnaryKind::Exp, less, &at("down"))?])
    };
    let y = match c.op() {
        "Tan" => {
            let (sin, cos) = (cx.unary(UnaryKind::Sin, x, &at("sin"))?, cx.unary(UnaryKind::Cos, x, &at("cos"))?);
            cx.binary(BinaryKind::Div, sin, cos, &c.path)?
        }
        "Sinh" => {
            let [up, down] = pair(cx)?;
            let both = cx.binary(BinaryKind::Sub, up, down, &at("both"))?;
            cx.with(BinaryKind::Mul, both, 0.5, &c.path)?
        }
        "Cosh" => {
            let [up, down] = pair(cx)?;
            let both = cx.binary(BinaryKind::Add, up, down, &at("both"))?;
            cx.with(BinaryKind::Mul, both, 0.5, &c.path)?
        }
        "Asinh" => area_sine(cx, x, &c.path)?,
        "Acosh" => area_cosine(cx, x, &c.path)?,
        // ½·ln((1 + x)/(1 − x)).
        _ => {
            let above = cx.with(BinaryKind::Add, x, 1.0, &at("above"))?;
            let one = cx.scalar(1.0, &at("one"))?;
            let below = cx.binary(BinaryKind::Sub, one, x, &at("below"))?;
            let ratio = cx.binary(BinaryKind::Div, above, below, &at("ratio"))?;
            let log = cx.unary(UnaryKind::Log, ratio, &at("log"))?;
            cx.with(BinaryKind::Mul, log, 0.5, &c.path)?
        }
    };
    Ok(vec![Val::Node(y, elem)])
}

/// sign(x)·ln(|x| + √(x² + 1)), without the cancellation of negative x and without a square that overflows: with m = max(|x|, 1) the logarithm is
/// ln m + ln(|x|/m + √((|x|/m)² + (1/m)²)).
fn area_sine(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let size = cx.unary(UnaryKind::Abs, x, &at("size"))?;
    let most = cx.with(BinaryKind::Max, size, 1.0, &at("most"))?;
    // Infinity by infinity is no number; its logarithm is taken of the whole.
    let range = Op::Clip { lo: Real(0.0), hi: Real(f64::from(f32::MAX)) };
    let finite = cx.push(range.clone(), &[size], &at("finite"))?;
    let divisor = cx.push(range, &[most], &at("divisor"))?;
    let part = cx.binary(BinaryKind::Div, finite, divisor, &at("part"))?;
    let one = cx.scalar(1.0, &at("one"))?;
    let unit = cx.binary(BinaryKind::Div, one, divisor, &at("unit"))?;
    let square = cx.binary(BinaryKind::Mul, part, part, &at("square"))?;
    let rest = cx.binary(BinaryKind::Mul, unit, unit, &at("rest"))?;
    let sum = cx.binary(BinaryKind::Add, square, rest, &at("sum"))?;
    let root = cx.unary(UnaryKind::Sqrt, sum, &at("root"))?;
    let inner = cx.binary(BinaryKind::Add, part, root, &at("inner"))?;
    let (small, large) =
        (cx.unary(UnaryKind::Log, inner, &at("small"))?, cx.unary(UnaryKind::Log, most, &at("large"))?);
    let log = cx.binary(BinaryKind::Add, large, small, &at("log"))?;
    let sign = cx.unary(UnaryKind::Sign, x, &at("sign"))?;
    cx.binary(BinaryKind::Mul, sign, log, path)
}

/// ln(x + √(x² − 1)) as ln x + ln(1 + √((1 − 1/x)·(1 + 1/x))): no square overflows.
fn area_cosine(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let one = cx.scalar(1.0, &at("one"))?;
    let inverse = cx.binary(BinaryKind::Div, one, x, &at("inverse"))?;
    let below = cx.binary(BinaryKind::Sub, one, inverse, &at("below"))?;
    let above = cx.binary(BinaryKind::Add, one, inverse, &at("above"))?;
    let product = cx.binary(BinaryKind::Mul, below, above, &at("product"))?;
    let root = cx.unary(UnaryKind::Sqrt, product, &at("root"))?;
    let inner = cx.binary(BinaryKind::Add, root, one, &at("inner"))?;
    let (small, large) = (cx.unary(UnaryKind::Log, inner, &at("small"))?, cx.unary(UnaryKind::Log, x, &at("large"))?);
    cx.binary(BinaryKind::Add, large, small, path)
}

/// x + bias below −λ, x − bias above λ, else 0: what lies beyond is told by signs.
fn shrink(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let (bias, lambda) = (c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
    if lambda < 0.0 {
        return Err("has a negative threshold".into());
    }
    let side = |cx: &mut Cx, sign: f64, name: &str| -> Done<Value> {
        let at = |part: &str| c.at(&format!("{name}.{part}"));
        let own = cx.with(BinaryKind::Mul, x, sign, &at("own"))?;
        let beyond = cx.with(BinaryKind::Sub, own, lambda, &at("beyond"))?;
        let beyond = cx.unary(UnaryKind::Sign, beyond, &at("sign"))?;
        cx.unary(UnaryKind::Relu, beyond, &at("gate"))
    };
    // One of the gates is 0 at infinity: x goes through both at once.
    let (up, down) = (side(cx, 1.0, "above")?, side(cx, -1.0, "below")?);
    let either = cx.binary(BinaryKind::Add, up, down, &c.at("either"))?;
    let kept = cx.binary(BinaryKind::Mul, x, either, &c.at("kept"))?;
    let sign = cx.binary(BinaryKind::Sub, up, down, &c.at("sign"))?;
    let shift = cx.with(BinaryKind::Mul, sign, bias, &c.at("shift"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Sub, kept, shift, &c.path)?, elem)])
}

/// (x − mean)/(standard deviation + 1e-9).
fn mean_variance(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let rank = cx.shape(x).len();
    let listed = c.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = super::super::call::axes(&listed, rank)?;
    for &a in &axes {
        cx.size(cx.shape(x)[a])?;
    }
    let mean = |cx: &mut Cx, x, name: &str| {
        cx.push(Op::Reduce { kind: ReduceKind::Mean, axes: axes.clone(), keep: true }, &[x], &c.at(name))
    };
    let middle = mean(cx, x, "mean")?;
    let apart = cx.binary(BinaryKind::Sub, x, middle, &c.at("centred"))?;
    let square = cx.binary(BinaryKind::Mul, apart, apart, &c.at("square"))?;
    let variance = mean(cx, square, "variance")?;
    let deviation = cx.unary(UnaryKind::Sqrt, variance, &c.at("deviation"))?;
    let divisor = cx.with(BinaryKind::Add, deviation, 1e-9, &c.at("divisor"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Div, apart, divisor, &c.path)?, elem)])
}

/// Most elements of a window.
const WINDOW: usize = 1 << 16;

/// A window of cosines, whose length is known.
fn window(cx: &mut Cx, c: &Call<'_>) -> Done {
    let size = cx.ints(c.needed(0)?, "length")?.first().copied().and_then(|n| usize::try_from(n).ok());
    let size = size.filter(|&n| n > 0 && n <= WINDOW).ok_or("has no length that is taken")?;
    let period = if c.int("periodic", 1)? != 0 { size } else { size - 1 };
    let elem = Elem::of(i32::try_from(c.int("output_datatype", 1)?).unwrap_or(0));
    if !elem.is_float() {
        return Err(format!("makes {}", elem.word()).into());
    }
    let [a, b, d] = match c.op() {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    let one = |i: usize| {
        let t = std::f64::consts::TAU * i as f64 / period.max(1) as f64;
        Num::float(rounded(a - b * t.cos() + d * (2.0 * t).cos(), elem))
    };
    Ok(vec![Val::known(Known::new(elem, vec![size], (0..size).map(one).collect()))])
}

/// A Fourier transform along one axis as products with its basis; the last axis holds real and imaginary parts.
fn fourier(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let dims = cx.shape(x);
    let rank = dims.len();
    let parts = match dims.last() {
        Some(Dim::Fixed(n @ (1 | 2))) if rank >= 2 => *n,
        _ => return Err("transforms what has no real and imaginary parts in its last axis".into()),
    };
    let along = match c.version >= 20 {
        true if c.input(2).is_absent() => -2,
        true => cx.ints(c.input(2), "axis")?.first().copied().unwrap_or(-2),
        false => c.int("axis", 1)?,
    };
    let along = axis(along, rank)?;
    if along + 1 == rank {
        return Err("transforms along its real and imaginary parts".into());
    }
    let (inverse, half) = (c.int("inverse", 0)? != 0, c.int("onesided", 0)? != 0);
    let own = cx.size(dims[along])?;
    let length = match c.input(1) {
        Val::Absent if inverse && half => (own - 1) * 2,
        Val::Absent => own,
        said => cx.ints(said, "length")?.first().copied().and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
    };
    if length == 0 || length > 1 << 12 {
        return Err(format!("transforms {length} elements; vitc takes 4096 at most").into());
    }
    if half && !inverse && parts == 2 {
        return Err("makes half a spectrum of complex numbers".into());
    }
    let (taken, made) = match (inverse, half) {
        (true, true) => (length / 2 + 1, length),
        (false, true) => (length, length / 2 + 1),
        _ => (length, length),
    };
    let basis = Basis { length, taken, made, inverse, half };
    let turned: Vec<usize> = (0..rank - 1).filter(|&a| a != along).chain([along]).collect();
    let mut sides = match parts {
        1 => vec![x],
        _ => cx.split(x, rank - 1, vec![1, 1], &c.at("parts"))?,
    };
    for (i, side) in sides.iter_mut().enumerate() {
        let flat = cx.reshape(*side, dims[..rank - 1].to_vec(), &c.at(&format!("side{i}")))?;
        let last = cx.transposed(&Val::Node(flat, elem), &turned, &c.at(&format!("side{i}.last")))?;
        let fitted = basis.fitted(cx, &last, own, &c.at(&format!("side{i}.fitted")))?;
        *side = float(cx, &fitted, &c.at("side"))?;
    }
    let [real, imaginary] = basis.transformed(cx, &sides, &c.path)?;
    let mut back: Vec<usize> = vec![0; rank - 1];
    turned.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    let mut results = Vec::new();
    for (side, name) in [real, imaginary].into_iter().flatten().zip(["re", "im"]) {
        let home = cx.transposed(&Val::Node(side, elem), &back, &c.at(&format!("{name}.back")))?;
        let shape = [&cx.dims(&home)?[..], &[Dim::Fixed(1)]].concat();
        results.push(cx.reshaped(&home, &shape, &c.at(name))?);
    }
    Ok(vec![cx.joined(&results, rank - 1, &c.path)?])
}

/// The basis of a transform.
struct Basis {
    length: usize,
    /// Elements that are read.
    taken: usize,
    /// Elements that are made.
    made: usize,
    inverse: bool,
    half: bool,
}

impl Basis {
    /// A value with as many elements in its last axis as are read: cut, or with zeros behind.
    fn fitted(&self, cx: &mut Cx, value: &Val, own: usize, path: &str) -> Done<Val> {
        let rank = cx.dims(value)?.len();
        if own >= self.taken {
            return match own == self.taken {
                true => Ok(value.clone()),
                false => cx.cut(value, &[Cut { axis: rank - 1, start: 0, step: 1, count: self.taken }], path),
            };
        }
        let elem = cx.elem(value)?;
        let x = float(cx, value, path)?;
        let mut after = vec![0; rank];
        after[rank - 1] = self.taken - own;
        let pad = Op::Pad { before: vec![0; rank], after, mode: vitc_ir::op::PadMode::ZERO };
        Ok(Val::Node(cx.push(pad, &[x], path)?, elem))
    }

    /// cos or sin of 2πjk/n at row j, column k, with the factors of the inverse.
    fn matrix(&self, cx: &mut Cx, f: fn(f64) -> f64, path: &str) -> Done<Value> {
        let n = self.length;
        let one = |i: usize| {
            let (j, k) = (i / self.made, i % self.made);
            let angle = std::f64::consts::TAU * ((j * k) % n) as f64 / n as f64;
            // Half a spectrum stands for both halves.
            let both = self.inverse && self.half && j > 0 && !(n.is_multiple_of(2) && j == n / 2);
            let factor = if self.inverse { 1.0 / n as f64 } else { 1.0 };
            Num::float(f(angle) * factor * if both { 2.0 } else { 1.0 })
        };
        places::count(&[self.taken, self.made]).ok_or("has too large a basis")?;
        let data = (0..self.taken * self.made).map(one).collect();
        cx.spell(&Known::new(Elem::F32, vec![self.taken, self.made], data), path)
    }

    /// Real and imaginary part of the result, as far as there are any.
    fn transformed(&self, cx: &mut Cx, sides: &[Value], path: &str) -> Done<[Option<Value>; 2]> {
        let at = |name: &str| format!("{path}.{name}");
        let (cos, sin) = (self.matrix(cx, f64::cos, &at("cos"))?, self.matrix(cx, f64::sin, &at("sin"))?);
        let times = |cx: &mut Cx, x: Value, m: Value, name: &str| -> Done<Value> {
            super::products::product(cx, x, m, &at(name))
        };
        let re = times(cx, sides[0], cos, "re.cos")?;
        let only_real = self.inverse && self.half;
        let Some(&imaginary) = sides.get(1) else {
            let im = times(cx, sides[0], sin, "re.sin")?;
            let im = if self.inverse { im } else { cx.unary(UnaryKind::Neg, im, &at("imaginary"))? };
            return Ok([Some(re), Some(im).filter(|_| !only_real)]);
        };
        let crossed = times(cx, imaginary, sin, "im.sin")?;
        let sum = if self.inverse { BinaryKind::Sub } else { BinaryKind::Add };
        let real = cx.binary(sum, re, crossed, &at("real"))?;
        if only_real {
            return Ok([Some(real), None]);
        }
        let (im, own) = (times(cx, imaginary, cos, "im.cos")?, times(cx, sides[0], sin, "re.sin")?);
        let sum = if self.inverse { BinaryKind::Add } else { BinaryKind::Sub };
        Ok([Some(real), Some(cx.binary(sum, im, own, &at("imaginary"))?)])
    }
}

/// The first elements of each sequence, whose number is known, in reverse order.
fn reversed(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.fixed(&value)?;
    let (time, batch) = (axis(c.int("time_axis", 0)?, dims.len())?, axis(c.int("batch_axis", 1)?, dims.len())?);
    let lengths = cx.ints(c.needed(1)?, "lengths of sequences")?;
    if time == batch || lengths.len() != dims[batch] {
        return Err("has another number of lengths than of sequences".into());
    }
    let total = places::count(&dims).ok_or("is too large")?;
    let strides = places::strides(&dims);
    let index = |i: usize| -> Done<usize> {
        let at = |a: usize| i / (strides[a].max(1) as usize) % dims[a];
        let length = usize::try_from(lengths[at(batch)]).ok().filter(|&n| n <= dims[time]);
        let length = length.ok_or("has a sequence that is longer than the array")?;
        let t = at(time);
        let from = if t < length { length - 1 - t } else { t };
        Ok(i - t * strides[time] as usize + from * strides[time] as usize)
    };
    let index = (0..total).map(index).collect::<Done<Vec<_>>>()?;
    Ok(vec![super::indexing::placed(cx, &value, &index, &dims, &c.path)?])
}

/// Axes cut or padded with zeros around their middle to sizes that are known.
fn centred(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mut value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let sizes = cx.ints(c.needed(1)?, "shape")?;
    let listed = c.ints("axes")?.unwrap_or_else(|| (0..dims.len() as i64).collect());
    if listed.len() != sizes.len() {
        return Err("has another number of sizes than of axes".into());
    }
    let (mut cuts, mut before, mut after) = (Vec::new(), vec![0; dims.len()], vec![0; dims.len()]);
    for (&a, &size) in listed.iter().zip(&sizes) {
        let a = axis(a, dims.len())?;
        let (own, size) = (cx.size(dims[a])?, usize::try_from(size).map_err(|_| Refusal::new("has a negative size"))?);
        if own > size {
            cuts.push(Cut { axis: a, start: (own - size) / 2, step: 1, count: size });
        } else {
            (before[a], after[a]) = ((size - own) / 2, size - own - (size - own) / 2);
        }
    }
    if !cuts.is_empty() {
        value = cx.cut(&value, &cuts, &c.at("cut"))?;
    }
    if before.iter().chain(&after).all(|&n| n == 0) {
        return Ok(vec![value]);
    }
    let elem = cx.elem(&value)?;
    let x = float(cx, &value, &c.at("x"))?;
    let mode = vitc_ir::op::PadMode::ZERO;
    Ok(vec![Val::Node(cx.push(Op::Pad { before, after, mode }, &[x], &c.path)?, elem)])
}
