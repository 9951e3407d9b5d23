//! Functions of one and two numbers. Transcendental functions come from `libm`, so the bits do not depend on the
//! machine.

use super::round::through_f16;
use crate::op::{BinaryKind, UnaryKind};

/// An elementwise step of one argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Map {
    /// An operator's function.
    Unary(UnaryKind),
    /// min(max(x, lo), hi).
    Clip(f64, f64),
    /// Rounded to f16.
    ToF16,
    /// Rounded to an integer, ties to even.
    ToInteger,
    /// 1 for anything but 0.
    ToTruth,
    /// Rounded towards zero: what a quotient of integers is, and a float as an index.
    Truncate,
}

/// σ(x), without overflow on either side.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

fn gelu_tanh(x: f64) -> f64 {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * x * (1.0 + libm::tanh(root * (x + 0.044715 * x * x * x)))
}

/// min(max(x, lo), hi); NaN passes through.
#[inline(always)]
fn clip(x: f64, lo: f64, hi: f64) -> f64 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// `f` applied in place. One loop per function, so that the cheap ones vectorise.
pub(super) fn map(f: Map, data: &mut [f64]) {
    fn each(data: &mut [f64], f: impl Fn(f64) -> f64) {
        for x in data {
            *x = f(*x);
        }
    }
    match f {
        Map::Unary(kind) => match kind {
            // NaN passes through, so that it is seen.
            UnaryKind::Relu => each(data, |x| if x < 0.0 { 0.0 } else { x }),
            UnaryKind::Gelu => each(data, |x| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))),
            UnaryKind::Silu => each(data, |x| x * sigmoid(x)),
            UnaryKind::Sigmoid => each(data, sigmoid),
            UnaryKind::Tanh => each(data, libm::tanh),
            UnaryKind::Erf => each(data, libm::erf),
            UnaryKind::Sqrt => each(data, f64::sqrt),
            UnaryKind::Exp => each(data, libm::exp),
            UnaryKind::Abs => each(data, f64::abs),
            UnaryKind::Neg => each(data, |x| -x),
            UnaryKind::Log => each(data, libm::log),
            UnaryKind::Sin => each(data, libm::sin),
            UnaryKind::Cos => each(data, libm::cos),
            UnaryKind::Floor => each(data, f64::floor),
            UnaryKind::Ceil => each(data, f64::ceil),
            UnaryKind::Round => each(data, f64::round_ties_even),
            UnaryKind::Sign => each(data, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
            UnaryKind::Softplus => each(data, |x| libm::log1p(libm::exp(-x.abs())) + max(x, 0.0)),
            UnaryKind::GeluTanh => each(data, gelu_tanh),
            UnaryKind::HardSwish => each(data, |x| x * clip(x / 6.0 + 0.5, 0.0, 1.0)),
            UnaryKind::Elu { alpha } => each(data, |x| if x < 0.0 { alpha.0 * libm::expm1(x) } else { x }),
            UnaryKind::LeakyRelu { slope } => each(data, |x| if x < 0.0 { slope.0 * x } else { x }),
            UnaryKind::HardSigmoid { alpha, beta } => each(data, |x| clip(alpha.0 * x + beta.0, 0.0, 1.0)),
        },
        Map::Clip(lo, hi) => each(data, |x| clip(x, lo, hi)),
        Map::ToF16 => each(data, through_f16),
        Map::ToInteger => each(data, f64::round_ties_even),
        Map::ToTruth => each(data, |x| f64::from(u8::from(x != 0.0))),
        Map::Truncate => each(data, f64::trunc),
    }
}

/// The larger, or NaN if one is.
#[inline(always)]
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

/// The smaller, or NaN if one is.
#[inline(always)]
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() { a } else { b }
}

/// `a[i] = f(a[i], b[i])`.
pub(super) fn zip(kind: BinaryKind, a: &mut [f64], b: impl Iterator<Item = f64>) {
    fn each(a: &mut [f64], b: impl Iterator<Item = f64>, f: impl Fn(f64, f64) -> f64) {
        for (a, b) in a.iter_mut().zip(b) {
            *a = f(*a, b);
        }
    }
    match kind {
        BinaryKind::Add => each(a, b, |a, b| a + b),
        BinaryKind::Sub => each(a, b, |a, b| a - b),
        BinaryKind::Mul => each(a, b, |a, b| a * b),
        BinaryKind::Div => each(a, b, |a, b| a / b),
        BinaryKind::Max => each(a, b, max),
        BinaryKind::Min => each(a, b, min),
        BinaryKind::Pow => each(a, b, libm::pow),
        BinaryKind::Quotient => each(a, b, |a, b| (a / b).trunc()),
    }
}
