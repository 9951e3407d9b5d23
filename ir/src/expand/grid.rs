//! A grid sample in other operators: elements around each place, taken by their index and weighted.

use crate::build::{Builder, Built};
use crate::id::Value;
use crate::op::{BinaryKind, Generator, GridKernel, Op, Outside, UnaryKind};
use crate::real::Real;
use crate::ty::{DType, Shape, Type};

/// What [`Op::GridSample`] computes of x `[n,C,H,W]` and grid `[n,h,w,2]`, named after the place `net`. The weights and sums have the grid's element
/// type.
///
/// # Errors
/// If n depends on the batch: which map an index lies in is counted.
pub fn grid_sample(
    net: &mut Builder,
    [x, grid]: [Value; 2],
    kernel: GridKernel,
    outside: Outside,
    corners: bool,
) -> Built {
    let (dtype, wide) = (net.ty(x).dtype, net.ty(grid).dtype);
    let [maps, channels, h, w] = [net.dim(x, 0)?, net.dim(x, 1)?, net.dim(x, 2)?, net.dim(x, 3)?];
    let [rows, columns] = [net.dim(grid, 1)?, net.dim(grid, 2)?];
    let pair = net.split("pair", grid, 3, &[1, 1])?;
    let side = |size| Side { size, kernel, outside, corners };
    let across = side(w).taps(&mut net.at("column"), pair[0])?;
    let down = side(h).taps(&mut net.at("row"), pair[1])?;
    // All elements as rows of channels, one behind another.
    let last = net.transpose("last", x, &[0, 2, 3, 1])?;
    let table = net.reshape("table", last, Shape::fixed(&[maps * h * w, channels]))?;
    let table = cast(net, "table.wide", table, wide)?;
    let flat = Shape::fixed(&[maps, rows, columns]);
    let mut sum: Option<Value> = None;
    for (i, down) in down.iter().enumerate() {
        let width = whole(net, w)?;
        let line = net.binary(format!("line{i}"), BinaryKind::Mul, down.index, width)?;
        let line = if maps == 1 { line } else { after_maps(net, format!("line{i}.map"), line, [maps, h * w])? };
        for (j, across) in across.iter().enumerate() {
            let net = &mut net.at(format!("tap{i}{j}"));
            let index = net.binary("index", BinaryKind::Add, line, across.index)?;
            let index = net.reshape("flat", index, flat.clone())?;
            let taken = net.push("taken", Op::Gather { axis: 0 }, &[table, index])?;
            let weight = net.binary("weight", BinaryKind::Mul, down.weight, across.weight)?;
            let part = net.binary("", BinaryKind::Mul, taken, weight)?;
            sum = Some(match sum {
                Some(so_far) => net.binary("sum", BinaryKind::Add, so_far, part)?,
                None => part,
            });
        }
    }
    let sum = sum.ok_or_else(|| net.graph().unfit(x, "is read at no element".into()))?;
    let sum = cast(net, "narrow", sum, dtype)?;
    net.transpose("", sum, &[0, 3, 1, 2])
}

/// The same numbers in this element type.
fn cast(net: &mut Builder, name: &str, x: Value, to: DType) -> Built {
    if net.ty(x).dtype == to { Ok(x) } else { net.push(name, Op::Cast { to }, &[x]) }
}

/// A whole number among indices.
fn whole(net: &mut Builder, n: usize) -> Built {
    net.scalar_of(n as f64, DType::I32)
}

/// Indices of `[maps,h,w,1]` in maps of so many elements, one map behind another.
fn after_maps(net: &mut Builder, name: String, index: Value, [maps, elements]: [usize; 2]) -> Built {
    let ty = Type::new(DType::I32, Shape::fixed(&[maps, 1, 1, 1]));
    let map = net.generate("maps", Generator::Iota { axis: 0 }, ty)?;
    let elements = whole(net, elements)?;
    let first = net.binary("maps.first", BinaryKind::Mul, map, elements)?;
    net.binary(name, BinaryKind::Add, index, first)
}

/// One side of a map under a grid.
#[derive(Clone, Copy)]
struct Side {
    size: usize,
    kernel: GridKernel,
    outside: Outside,
    corners: bool,
}

/// An element beside a place: its index, whole and within the map, and its weight.
struct Tap {
    index: Value,
    weight: Value,
}

/// f(x, number).
fn with(net: &mut Builder, name: &str, kind: BinaryKind, x: Value, number: f64) -> Built {
    let number = net.scalar_of(number, net.ty(x).dtype)?;
    net.binary(name, kind, x, number)
}

impl Side {
    fn taps(&self, net: &mut Builder, grid: Value) -> Built<Vec<Tap>> {
        let place = self.places(net, grid)?;
        if self.kernel == GridKernel::Nearest {
            let near = net.unary("near", UnaryKind::Round, place)?;
            let none = with(net, "none", BinaryKind::Mul, near, 0.0)?;
            let one = with(net, "all", BinaryKind::Add, none, 1.0)?;
            return Ok(vec![self.tap(&mut net.at("tap"), near, one)?]);
        }
        let low = net.unary("low", UnaryKind::Floor, place)?;
        let part = net.binary("part", BinaryKind::Sub, place, low)?;
        if self.kernel == GridKernel::Cubic {
            return self.cubic(net, low, part);
        }
        let one = net.scalar_of(1.0, net.ty(part).dtype)?;
        let rest = net.binary("rest", BinaryKind::Sub, one, part)?;
        let high = with(net, "high", BinaryKind::Add, low, 1.0)?;
        Ok(vec![self.tap(&mut net.at("first"), low, rest)?, self.tap(&mut net.at("second"), high, part)?])
    }

    /// Places among the elements of coordinates in −1..1. A cubic kernel reads around a place outside of the map too.
    fn places(&self, net: &mut Builder, grid: Value) -> Built {
        let n = self.size as f64;
        let factor = if self.corners { (n - 1.0) / 2.0 } else { n / 2.0 };
        let scaled = with(net, "scaled", BinaryKind::Mul, grid, factor)?;
        let place = with(net, "", BinaryKind::Add, scaled, (n - 1.0) / 2.0)?;
        match self.outside {
            _ if self.kernel == GridKernel::Cubic => Ok(place),
            Outside::Zeros => Ok(place),
            Outside::Border => self.within(net, "within", place),
            Outside::Mirror => {
                let place = self.mirrored(net, place)?;
                self.within(net, "within", place)
            }
        }
    }

    fn within(&self, net: &mut Builder, name: &str, place: Value) -> Built {
        match self.size {
            1 => with(net, name, BinaryKind::Mul, place, 0.0),
            n => net.push(name, Op::Clip { lo: Real(0.0), hi: Real((n - 1) as f64) }, &[place]),
        }
    }

    /// Mirrored at the middles of the border's elements, or at their edges, as often as it takes.
    fn mirrored(&self, net: &mut Builder, place: Value) -> Built {
        let (least, span) = if self.corners { (0.0, self.size as f64 - 1.0) } else { (-0.5, self.size as f64) };
        if span == 0.0 {
            return Ok(place);
        }
        let from = with(net, "from", BinaryKind::Sub, place, least)?;
        let turns = with(net, "turns", BinaryKind::Mul, from, 0.5 / span)?;
        let turns = net.unary("whole", UnaryKind::Floor, turns)?;
        let turns = with(net, "whole.span", BinaryKind::Mul, turns, 2.0 * span)?;
        let rest = net.binary("rest", BinaryKind::Sub, from, turns)?;
        // span − |rest − span| runs up and down again.
        let apart = with(net, "apart", BinaryKind::Sub, rest, span)?;
        let apart = net.unary("distance", UnaryKind::Abs, apart)?;
        let top = net.scalar_of(least + span, net.ty(apart).dtype)?;
        net.binary("mirrored", BinaryKind::Sub, top, apart)
    }

    /// The element at a whole place; outside of the map a weight of zero, or another element.
    fn tap(&self, net: &mut Builder, place: Value, weight: Value) -> Built<Tap> {
        let place = if self.outside == Outside::Mirror { self.mirrored(net, place)? } else { place };
        let inside = self.within(net, "inside", place)?;
        let weight = match self.outside {
            Outside::Border | Outside::Mirror => weight,
            Outside::Zeros => {
                let off = net.binary("off", BinaryKind::Sub, place, inside)?;
                let off = net.unary("off.size", UnaryKind::Abs, off)?;
                let off = net.unary("off.sign", UnaryKind::Sign, off)?;
                let one = net.scalar_of(1.0, net.ty(off).dtype)?;
                let kept = net.binary("kept", BinaryKind::Sub, one, off)?;
                net.binary("weight", BinaryKind::Mul, weight, kept)?
            }
        };
        // A mirrored whole place is whole but for rounding.
        let whole = net.unary("whole.place", UnaryKind::Round, inside)?;
        Ok(Tap { index: net.push("index", Op::Cast { to: DType::I32 }, &[whole])?, weight })
    }

    /// Four elements with the weights of a cubic kernel of parameter −0.75, each by Horner's rule in its distance.
    fn cubic(&self, net: &mut Builder, low: Value, part: Value) -> Built<Vec<Tap>> {
        const A: f64 = -0.75;
        let mut taps = Vec::new();
        for k in 0..4 {
            let net = &mut net.at(format!("tap{k}"));
            // |part − (k − 1)|.
            let off = with(net, "off", BinaryKind::Sub, part, f64::from(k) - 1.0)?;
            let d = net.unary("distance", UnaryKind::Abs, off)?;
            let [a, b, c, e] =
                if k == 1 || k == 2 { [A + 2.0, -(A + 3.0), 0.0, 1.0] } else { [A, -5.0 * A, 8.0 * A, -4.0 * A] };
            let mut weight = with(net, "cube", BinaryKind::Mul, d, a)?;
            for (i, term) in [b, c, e].into_iter().enumerate() {
                weight = with(net, &format!("sum{i}"), BinaryKind::Add, weight, term)?;
                if i < 2 {
                    weight = net.binary(format!("power{i}"), BinaryKind::Mul, weight, d)?;
                }
            }
            let near = with(net, "place", BinaryKind::Add, low, f64::from(k) - 1.0)?;
            taps.push(self.tap(net, near, weight)?);
        }
        Ok(taps)
    }
}
