//! Angles of sides: the inverses of sine, cosine and tangent, which not every format has.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use std::f64::consts::{FRAC_PI_2, PI};
use vitc_ir::{BinaryKind, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    if matches!(op, "Acos" | "Asin" | "Atan") { Some(angle) } else { None }
}

/// Factors of h¹⁰ to h² in arctan(h)/h, fitted between 0 and tan(π/8): within 2e-9 of the angle.
const POWERS: [f64; 5] = [
    -0.064_593_800_253_450_93,
    0.107_462_998_809_366_47,
    -0.142_642_327_392_055_8,
    0.199_995_500_847_874_32,
    -0.333_333_318_133_334_6,
];

fn angle(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let size = cx.unary(UnaryKind::Abs, x, &c.at("size"))?;
    let one = cx.scalar(1.0, &c.at("one"))?;
    // The other side of a right triangle whose longest is 1: √((1 − |x|)·(1 + |x|)).
    let other = |cx: &mut Cx| {
        let less = cx.binary(BinaryKind::Sub, one, size, &c.at("less"))?;
        let more = cx.with(BinaryKind::Add, size, 1.0, &c.at("more"))?;
        let square = cx.binary(BinaryKind::Mul, less, more, &c.at("square"))?;
        cx.unary(UnaryKind::Sqrt, square, &c.at("other"))
    };
    let sign = cx.unary(UnaryKind::Sign, x, &c.at("sign"))?;
    let y = match c.op() {
        "Atan" => {
            let angle = of_sides(cx, size, one, &c.at("angle"))?;
            cx.binary(BinaryKind::Mul, sign, angle, &c.path)?
        }
        "Asin" => {
            let other = other(cx)?;
            let angle = of_sides(cx, size, other, &c.at("angle"))?;
            cx.binary(BinaryKind::Mul, sign, angle, &c.path)?
        }
        // The angle of |x|, and of −|x| what is left of π.
        _ => {
            let other = other(cx)?;
            let angle = of_sides(cx, other, size, &c.at("angle"))?;
            let down = cx.unary(UnaryKind::Neg, sign, &c.at("down"))?;
            let down = cx.unary(UnaryKind::Relu, down, &c.at("below"))?;
            folded_back(cx, angle, down, PI, &c.path)?
        }
    };
    Ok(vec![Val::Node(y, elem)])
}

/// The angle, and where the gate is 1 what is left of `whole`: angle + gate·(whole − 2·angle).
fn folded_back(cx: &mut Cx, angle: Value, gate: Value, whole: f64, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let twice = cx.with(BinaryKind::Mul, angle, -2.0, &at("twice"))?;
    let rest = cx.with(BinaryKind::Add, twice, whole, &at("rest"))?;
    let turned = cx.binary(BinaryKind::Mul, rest, gate, &at("turned"))?;
    cx.binary(BinaryKind::Add, angle, turned, path)
}

/// The angle between 0 and π/2 of a right triangle, from the sides opposite and beside it: of the shorter by the longer, and of that half the angle.
fn of_sides(cx: &mut Cx, opposite: Value, beside: Value, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let short = cx.binary(BinaryKind::Min, opposite, beside, &at("short"))?;
    let long = cx.binary(BinaryKind::Max, opposite, beside, &at("long"))?;
    let ratio = cx.binary(BinaryKind::Div, short, long, &at("ratio"))?;
    // tan(a/2) = t/(1 + √(1 + t²)), which is at most tan(π/8).
    let square = cx.binary(BinaryKind::Mul, ratio, ratio, &at("ratio.square"))?;
    let longest = cx.with(BinaryKind::Add, square, 1.0, &at("longest.square"))?;
    let longest = cx.unary(UnaryKind::Sqrt, longest, &at("longest"))?;
    let divisor = cx.with(BinaryKind::Add, longest, 1.0, &at("divisor"))?;
    let half = cx.binary(BinaryKind::Div, ratio, divisor, &at("half"))?;
    let square = cx.binary(BinaryKind::Mul, half, half, &at("half.square"))?;
    let mut sum = cx.with(BinaryKind::Mul, square, POWERS[0], &at("power0"))?;
    for (i, &power) in POWERS.iter().enumerate().skip(1) {
        let more = cx.with(BinaryKind::Add, sum, power, &at(&format!("sum{i}")))?;
        sum = cx.binary(BinaryKind::Mul, more, square, &at(&format!("power{i}")))?;
    }
    let sum = cx.with(BinaryKind::Add, sum, 1.0, &at("sum"))?;
    let twice = cx.with(BinaryKind::Mul, half, 2.0, &at("both"))?;
    let angle = cx.binary(BinaryKind::Mul, twice, sum, &at("small"))?;
    // Where the opposite side is the longer one it is the other angle.
    let apart = cx.binary(BinaryKind::Sub, opposite, beside, &at("apart"))?;
    let sign = cx.unary(UnaryKind::Sign, apart, &at("steep"))?;
    let steep = cx.unary(UnaryKind::Relu, sign, &at("gate"))?;
    folded_back(cx, angle, steep, FRAC_PI_2, path)
}
