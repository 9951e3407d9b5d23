//! GridSample: elements around places that a grid names, each taken by its index and weighted.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use super::whole::number;
use vitc_ir::{BinaryKind, DType, Dim, Op, Real, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "GridSample" { Some(sample) } else { None }
}

/// What lies outside of the map.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Mirror,
}

/// One side of a map under a grid.
struct Side {
    size: usize,
    align: bool,
    outside: Outside,
}

/// An element beside a place: its index, whole and within the map, and its weight.
struct Tap {
    index: Value,
    weight: Value,
}

impl Side {
    /// Places among the elements of coordinates in −1..1.
    fn places(&self, cx: &mut Cx, grid: Value, path: &str) -> Done<Value> {
        let n = self.size as f64;
        let factor = if self.align { (n - 1.0) / 2.0 } else { n / 2.0 };
        let scaled = cx.with(BinaryKind::Mul, grid, factor, &format!("{path}.scaled"))?;
        let place = cx.with(BinaryKind::Add, scaled, (n - 1.0) / 2.0, path)?;
        match self.outside {
            Outside::Zeros => Ok(place),
            Outside::Border => self.within(cx, place, &format!("{path}.within")),
            Outside::Mirror => {
                let place = self.mirrored(cx, place, path)?;
                self.within(cx, place, &format!("{path}.within"))
            }
        }
    }

    fn within(&self, cx: &mut Cx, place: Value, path: &str) -> Done<Value> {
        match self.size {
            1 => cx.with(BinaryKind::Mul, place, 0.0, path),
            n => cx.push(Op::Clip { lo: Real(0.0), hi: Real((n - 1) as f64) }, &[place], path),
        }
    }

    /// Mirrored at the middles of the border's elements, or at their edges, as often as it takes.
    fn mirrored(&self, cx: &mut Cx, place: Value, path: &str) -> Done<Value> {
        let (least, span) = if self.align { (0.0, self.size as f64 - 1.0) } else { (-0.5, self.size as f64) };
        if span == 0.0 {
            return Ok(place);
        }
        let at = |name: &str| format!("{path}.{name}");
        let from = cx.with(BinaryKind::Sub, place, least, &at("from"))?;
        let turns = cx.with(BinaryKind::Mul, from, 0.5 / span, &at("turns"))?;
        let whole = cx.unary(UnaryKind::Floor, turns, &at("whole"))?;
        let whole = cx.with(BinaryKind::Mul, whole, 2.0 * span, &at("whole.span"))?;
        let rest = cx.binary(BinaryKind::Sub, from, whole, &at("rest"))?;
        // span − |rest − span| runs up and down again.
        let apart = cx.with(BinaryKind::Sub, rest, span, &at("apart"))?;
        let apart = cx.unary(UnaryKind::Abs, apart, &at("distance"))?;
        let top = cx.scalar(least + span, &at("top"))?;
        cx.binary(BinaryKind::Sub, top, apart, &at("mirrored"))
    }

    /// The element at a whole place; outside of the map a weight of zero, or another element.
    fn tap(&self, cx: &mut Cx, place: Value, weight: Value, path: &str) -> Done<Tap> {
        let at = |name: &str| format!("{path}.{name}");
        let place = if self.outside == Outside::Mirror { self.mirrored(cx, place, path)? } else { place };
        let inside = self.within(cx, place, &at("inside"))?;
        let weight = match self.outside {
            Outside::Border | Outside::Mirror => weight,
            Outside::Zeros => {
                let off = cx.binary(BinaryKind::Sub, place, inside, &at("off"))?;
                let off = cx.unary(UnaryKind::Abs, off, &at("off.size"))?;
                let off = cx.unary(UnaryKind::Sign, off, &at("off.sign"))?;
                let one = cx.scalar(1.0, &at("one"))?;
                let kept = cx.binary(BinaryKind::Sub, one, off, &at("kept"))?;
                cx.binary(BinaryKind::Mul, weight, kept, &at("weight"))?
            }
        };
        // A mirrored whole place is whole but for rounding.
        let whole = cx.unary(UnaryKind::Round, inside, &at("whole"))?;
        Ok(Tap { index: cx.push(Op::Cast { to: DType::I32 }, &[whole], &at("index"))?, weight })
    }

    fn taps(&self, cx: &mut Cx, grid: Value, mode: Mode, path: &str) -> Done<Vec<Tap>> {
        let at = |name: &str| format!("{path}.{name}");
        if let Mode::Cubic = mode {
            let side = Side { outside: Outside::Zeros, ..*self };
            let place = side.places(cx, grid, path)?;
            return self.cubic(cx, place, path);
        }
        let place = self.places(cx, grid, path)?;
        if let Mode::Nearest = mode {
            let near = cx.unary(UnaryKind::Round, place, &at("near"))?;
            let none = cx.with(BinaryKind::Mul, near, 0.0, &at("none"))?;
            let one = cx.with(BinaryKind::Add, none, 1.0, &at("all"))?;
            return Ok(vec![self.tap(cx, near, one, &at("tap"))?]);
        }
        let low = cx.unary(UnaryKind::Floor, place, &at("low"))?;
        let part = cx.binary(BinaryKind::Sub, place, low, &at("part"))?;
        let one = cx.scalar(1.0, &at("one"))?;
        let rest = cx.binary(BinaryKind::Sub, one, part, &at("rest"))?;
        let high = cx.with(BinaryKind::Add, low, 1.0, &at("high"))?;
        Ok(vec![self.tap(cx, low, rest, &at("first"))?, self.tap(cx, high, part, &at("second"))?])
    }

    /// Four elements with the weights of a cubic kernel of parameter −0.75.
    fn cubic(&self, cx: &mut Cx, place: Value, path: &str) -> Done<Vec<Tap>> {
        const A: f64 = -0.75;
        let at = |name: &str| format!("{path}.{name}");
        let low = cx.unary(UnaryKind::Floor, place, &at("low"))?;
        let part = cx.binary(BinaryKind::Sub, place, low, &at("part"))?;
        let mut taps = Vec::new();
        for k in 0..4 {
            let own = |name: &str| at(&format!("tap{k}.{name}"));
            // |part − (k − 1)|.
            let off = cx.with(BinaryKind::Sub, part, k as f64 - 1.0, &own("off"))?;
            let d = cx.unary(UnaryKind::Abs, off, &own("distance"))?;
            let [a, b, c, e] =
                if k == 1 || k == 2 { [A + 2.0, -(A + 3.0), 0.0, 1.0] } else { [A, -5.0 * A, 8.0 * A, -4.0 * A] };
            let mut weight = cx.with(BinaryKind::Mul, d, a, &own("cube"))?;
            for (i, term) in [b, c, e].into_iter().enumerate() {
                weight = cx.with(BinaryKind::Add, weight, term, &own(&format!("sum{i}")))?;
                if i < 2 {
                    weight = cx.binary(BinaryKind::Mul, weight, d, &own(&format!("power{i}")))?;
                }
            }
            let near = cx.with(BinaryKind::Add, low, k as f64 - 1.0, &own("place"))?;
            taps.push(self.tap(cx, near, weight, &at(&format!("tap{k}")))?);
        }
        Ok(taps)
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

fn sample(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let (x, grid) = (float(cx, c.needed(0)?, &c.at("x"))?, float(cx, c.needed(1)?, &c.at("grid"))?);
    let (sizes, shape) = (cx.sizes(x)?, cx.sizes(grid)?);
    let (&[n, channels, h, w], &[m, rows, columns, 2]) = (&sizes[..], &shape[..]) else {
        return Err(format!("samples {sizes:?} by a grid {shape:?}").into());
    };
    if n != m {
        return Err(format!("has a grid for {m} maps of {n}").into());
    }
    let mode = match c.text("mode", "linear")? {
        "bilinear" | "linear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "bicubic" | "cubic" => Mode::Cubic,
        other => return Err(format!("samples in mode {other:?}").into()),
    };
    let outside = match c.text("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Mirror,
        other => return Err(format!("pads by {other:?}").into()),
    };
    let align = c.int("align_corners", 0)? != 0;
    let pair = cx.split(grid, 3, vec![1, 1], &c.at("pair"))?;
    let across = Side { size: w, align, outside }.taps(cx, pair[0], mode, &c.at("column"))?;
    let down = Side { size: h, align, outside }.taps(cx, pair[1], mode, &c.at("row"))?;
    // All elements as rows of channels, one behind another.
    let last = cx.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x], &c.at("last"))?;
    let table = cx.reshape(last, [n * h * w, channels].map(Dim::Fixed).to_vec(), &c.at("table"))?;
    places::count(&[n, rows, columns]).ok_or("is too large")?;
    let first = (0..n).map(|i| Num::int((i * h * w) as i64)).collect();
    let first = cx.spell(&Known::new(Elem::Int(32), vec![n, 1, 1, 1], first), &c.at("maps"))?;
    let width = number(cx, w, &c.at("width"))?;
    let mut sum: Option<Value> = None;
    for (i, down) in down.iter().enumerate() {
        let line = cx.binary(BinaryKind::Mul, down.index, width, &c.at(&format!("line{i}")))?;
        let line = if n == 1 { line } else { cx.binary(BinaryKind::Add, line, first, &c.at(&format!("line{i}.map")))? };
        for (j, across) in across.iter().enumerate() {
            let path = c.at(&format!("tap{i}{j}"));
            let index = cx.binary(BinaryKind::Add, line, across.index, &format!("{path}.index"))?;
            let flat = [n, rows, columns].map(Dim::Fixed).to_vec();
            let index = cx.reshape(index, flat, &format!("{path}.flat"))?;
            let taken = cx.push(Op::Gather { axis: 0 }, &[table, index], &format!("{path}.taken"))?;
            let weight = cx.binary(BinaryKind::Mul, down.weight, across.weight, &format!("{path}.weight"))?;
            let part = cx.binary(BinaryKind::Mul, taken, weight, &path)?;
            sum = Some(match sum {
                Some(so_far) => cx.binary(BinaryKind::Add, so_far, part, &format!("{path}.sum"))?,
                None => part,
            });
        }
    }
    let sum = sum.ok_or("reads no element")?;
    let y = cx.push(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[sum], &c.path)?;
    Ok(vec![Val::Node(y, elem)])
}
