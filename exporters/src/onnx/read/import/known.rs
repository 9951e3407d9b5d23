//! Values that are known when a file is read: small arrays of numbers `a·B + c`, with B the symbolic batch.
//!
//! Shapes are such arrays, and so is everything that is computed of them. An operator whose result depends on B in a way that this form cannot say
//! has no known result: [`Unknown`]. Integers are checked and never wrap; floats round to the file's own type after each operator.

use super::super::tensor::Elem;
use vitc_ir::Dim;

/// A number `a·B + c`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Num {
    /// A whole number or truth value.
    Int { a: i64, c: i64 },
    /// A number with a fraction.
    Float { a: f64, c: f64 },
}

/// Why a result is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It depends on the batch.
    Batch,
    /// A whole number is divided by zero, or too large.
    Range,
}

/// A known array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) elem: Elem,
    pub(super) dims: Vec<usize>,
    pub(super) data: Vec<Num>,
}

type Result<T> = std::result::Result<T, Unknown>;

impl Num {
    pub(super) fn int(c: i64) -> Num {
        Num::Int { a: 0, c }
    }

    pub(super) fn float(c: f64) -> Num {
        Num::Float { a: 0.0, c }
    }

    /// A dimension.
    pub(super) fn of(dim: Dim) -> Num {
        match dim {
            Dim::Fixed(n) => Num::int(n as i64),
            Dim::Batch(k) => Num::Int { a: k as i64, c: 0 },
        }
    }

    /// A whole number that does not depend on the batch.
    pub(super) fn plain(self) -> Option<i64> {
        match self {
            Num::Int { a: 0, c } => Some(c),
            Num::Int { .. } | Num::Float { .. } => None,
        }
    }

    /// A number that does not depend on the batch.
    pub(super) fn real(self) -> Option<f64> {
        match self {
            Num::Int { a: 0, c } => Some(c as f64),
            Num::Float { a: 0.0, c } => Some(c),
            Num::Int { .. } | Num::Float { .. } => None,
        }
    }

    fn parts(self) -> (f64, f64) {
        match self {
            Num::Int { a, c } => (a as f64, c as f64),
            Num::Float { a, c } => (a, c),
        }
    }

    /// The sign for every B from 1 on: −1, 0, 1. A file whose sizes decide a branch means a general batch, so what holds for B = 1 alone does not count.
    fn sign(self) -> Result<i32> {
        let (a, c) = self.parts();
        let of = |x: f64| {
            if x > 0.0 {
                1
            } else if x < 0.0 {
                -1
            } else {
                0
            }
        };
        match (of(a), of(a + c)) {
            (0, s) => Ok(s),
            // It grows away from zero.
            (grows, at_one) if grows == at_one => Ok(grows),
            (grows, 0) => Ok(grows),
            _ => Err(Unknown::Batch),
        }
    }
}

/// A float rounded to an element type.
pub(super) fn rounded(x: f64, elem: Elem) -> f64 {
    match elem {
        Elem::F64 => x,
        Elem::F16 => half::f16::from_f64(x).to_f64(),
        Elem::BF16 => half::bf16::from_f64(x).to_f64(),
        _ => f64::from(x as f32),
    }
}

/// Two numbers as factor and summand: both whole, or both floats.
enum Pair {
    Whole([(i64, i64); 2]),
    Real([(f64, f64); 2]),
}

/// Two numbers of one kind.
fn pair(x: Num, y: Num) -> Pair {
    match (x, y) {
        (Num::Int { a, c }, Num::Int { a: b, c: d }) => Pair::Whole([(a, c), (b, d)]),
        _ => Pair::Real([x.parts(), y.parts()]),
    }
}

fn sum(x: Num, y: Num, sign: i64, elem: Elem) -> Result<Num> {
    match pair(x, y) {
        Pair::Whole([(a, c), (b, d)]) => {
            let add = |x: i64, y: i64| y.checked_mul(sign).and_then(|y| x.checked_add(y)).ok_or(Unknown::Range);
            Ok(Num::Int { a: add(a, b)?, c: add(c, d)? })
        }
        Pair::Real([(a, c), (b, d)]) => {
            let s = sign as f64;
            Ok(Num::Float { a: rounded(a + s * b, elem), c: rounded(c + s * d, elem) })
        }
    }
}

fn product(x: Num, y: Num, elem: Elem) -> Result<Num> {
    match pair(x, y) {
        Pair::Whole([(a, c), (0, k)] | [(0, k), (a, c)]) => {
            let times = |x: i64| x.checked_mul(k).ok_or(Unknown::Range);
            Ok(Num::Int { a: times(a)?, c: times(c)? })
        }
        Pair::Real([(a, c), (b, k)] | [(b, k), (a, c)]) if b == 0.0 => {
            Ok(Num::Float { a: scaled(a, |a| rounded(a * k, elem)), c: rounded(c * k, elem) })
        }
        _ => Err(Unknown::Batch),
    }
}

/// What becomes of a factor of the batch: none stays none, whatever infinity the number is multiplied with.
fn scaled(a: f64, by: impl Fn(f64) -> f64) -> f64 {
    if a == 0.0 { 0.0 } else { by(a) }
}

fn quotient(x: Num, y: Num, elem: Elem) -> Result<Num> {
    match pair(x, y) {
        Pair::Whole([(_, _), (0, 0)]) => Err(Unknown::Range),
        // Truncates towards zero.
        Pair::Whole([(0, c), (0, d)]) => c.checked_div(d).map(Num::int).ok_or(Unknown::Range),
        Pair::Whole([(a, c), (0, d)]) if d > 0 && a % d == 0 && c >= 0 && a > 0 => Ok(Num::Int { a: a / d, c: c / d }),
        Pair::Whole([(a, 0), (b, 0)]) if a.checked_rem(b) == Some(0) => Ok(Num::int(a / b)),
        Pair::Whole(_) => Err(Unknown::Batch),
        Pair::Real([(a, c), (0.0, d)]) => {
            Ok(Num::Float { a: scaled(a, |a| rounded(a / d, elem)), c: rounded(c / d, elem) })
        }
        Pair::Real([(a, c), (b, d)]) if c == 0.0 && d == 0.0 => Ok(Num::float(rounded(a / b, elem))),
        Pair::Real(_) => Err(Unknown::Batch),
    }
}

/// The remainder with the sign of the divisor, or with that of the dividend.
fn remainder(x: Num, y: Num, fmod: bool) -> Result<Num> {
    match pair(x, y) {
        Pair::Whole([_, (0, 0)]) => Err(Unknown::Range),
        Pair::Whole([(a, c), (0, d)]) if a.checked_rem(d) == Some(0) => {
            let r = c.checked_rem(d).ok_or(Unknown::Range)?;
            let flipped = !fmod && r != 0 && (r < 0) != (d < 0);
            if a != 0 && (c < 0 || fmod) && c != 0 {
                Err(Unknown::Batch)
            } else {
                Ok(Num::int(if flipped { r + d } else { r }))
            }
        }
        Pair::Whole(_) => Err(Unknown::Batch),
        Pair::Real([(a, c), (b, d)]) if a == 0.0 && b == 0.0 => {
            let r = c % d;
            Ok(Num::float(if !fmod && r != 0.0 && (r < 0.0) != (d < 0.0) { r + d } else { r }))
        }
        Pair::Real(_) => Err(Unknown::Batch),
    }
}

fn extreme(x: Num, y: Num, larger: bool, elem: Elem) -> Result<Num> {
    if let (Num::Int { a: 0, c }, Num::Int { a: 0, c: d }) = (x, y) {
        return Ok(Num::int(if larger { c.max(d) } else { c.min(d) }));
    }
    if let Some((c, d)) = x.real().zip(y.real()) {
        return Ok(if c.is_nan() || !d.is_nan() && (c >= d) == larger { x } else { y });
    }
    let sign = sum(x, y, -1, elem)?.sign()?;
    Ok(if (sign >= 0) == larger { x } else { y })
}

/// Whether two numbers are in an order, by the operator's name; infinities are, and what is no number is in none.
fn compared(op: &str, x: Num, y: Num) -> Result<bool> {
    use std::cmp::Ordering;
    let order = match (x, y) {
        (Num::Int { a: 0, c }, Num::Int { a: 0, c: d }) => Some(c.cmp(&d)),
        _ => match x.real().zip(y.real()) {
            Some((x, y)) => x.partial_cmp(&y),
            // Whether a batch of its own equals a number is decided as for a general batch.
            None if op == "Equal" => {
                let difference = sum(x, y, -1, Elem::F64).map(Num::parts);
                return Ok(difference == Ok((0.0, 0.0)));
            }
            None => Some(sum(x, y, -1, Elem::F64)?.sign()?.cmp(&0)),
        },
    };
    Ok(match op {
        "Equal" => order == Some(Ordering::Equal),
        "Greater" => order == Some(Ordering::Greater),
        "GreaterOrEqual" => order.is_some_and(Ordering::is_ge),
        "Less" => order == Some(Ordering::Less),
        _ => order.is_some_and(Ordering::is_le),
    })
}

/// A function of two numbers of one type, by the operator's name; `None` if it is none.
pub(super) fn binary(op: &str, x: Num, y: Num, elem: Elem) -> Option<Result<Num>> {
    let truth = |r: Result<bool>| r.map(|t| Num::int(i64::from(t)));
    let truths = |f: fn(bool, bool) -> bool| match (x.plain(), y.plain()) {
        (Some(x), Some(y)) => Ok(f(x != 0, y != 0)),
        _ => Err(Unknown::Batch),
    };
    Some(match op {
        "Add" => sum(x, y, 1, elem),
        "Sub" => sum(x, y, -1, elem),
        "Mul" => product(x, y, elem),
        "Div" => quotient(x, y, elem),
        "Mod" => remainder(x, y, false),
        "Fmod" => remainder(x, y, true),
        "Max" => extreme(x, y, true, elem),
        "Min" => extreme(x, y, false, elem),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => truth(compared(op, x, y)),
        "And" => truth(truths(|a, b| a && b)),
        "Or" => truth(truths(|a, b| a || b)),
        "Xor" => truth(truths(|a, b| a != b)),
        "Pow" => match (x, y) {
            (Num::Int { a: 0, c }, y) if y.plain().is_some() => {
                let exponent = y.plain().and_then(|e| u32::try_from(e).ok());
                exponent.and_then(|e| c.checked_pow(e)).map(Num::int).ok_or(Unknown::Range)
            }
            _ => match (x.real(), y.real()) {
                (Some(x), Some(y)) => Ok(Num::float(rounded(x.powf(y), elem))),
                _ => Err(Unknown::Batch),
            },
        },
        _ => return None,
    })
}

/// A function of one number, by the operator's name; `None` if it is none.
pub(super) fn unary(op: &str, x: Num, elem: Elem) -> Option<Result<Num>> {
    let whole = |f: fn(f64) -> f64| match x {
        Num::Float { a, c } if a.fract() == 0.0 => Ok(Num::Float { a, c: f(c) }),
        Num::Float { .. } => Err(Unknown::Batch),
        int => Ok(int),
    };
    let real = |f: fn(f64) -> f64| match (x, x.real()) {
        (Num::Float { .. }, Some(x)) => Some(Ok(Num::float(rounded(f(x), elem)))),
        (Num::Float { .. }, None) => Some(Err(Unknown::Batch)),
        _ => None,
    };
    Some(match op {
        "Neg" => sum(if matches!(x, Num::Int { .. }) { Num::int(0) } else { Num::float(0.0) }, x, -1, elem),
        "Floor" => whole(f64::floor),
        "Ceil" => whole(f64::ceil),
        "Round" => whole(f64::round_ties_even),
        "Not" => match x.plain() {
            Some(x) => Ok(Num::int(i64::from(x == 0))),
            None => Err(Unknown::Batch),
        },
        "Abs" => match x.sign() {
            Ok(-1) => return unary("Neg", x, elem),
            Ok(_) => Ok(x),
            Err(e) => Err(e),
        },
        "Sign" => {
            x.sign().map(|s| if matches!(x, Num::Int { .. }) { Num::int(s.into()) } else { Num::float(s.into()) })
        }
        "Relu" => match x.sign() {
            Ok(-1) => Ok(if matches!(x, Num::Int { .. }) { Num::int(0) } else { Num::float(0.0) }),
            Ok(_) => Ok(x),
            Err(e) => Err(e),
        },
        "Sqrt" => return real(f64::sqrt),
        "Exp" => return real(f64::exp),
        "Log" => return real(f64::ln),
        "Sin" => return real(f64::sin),
        "Cos" => return real(f64::cos),
        "Tanh" => return real(f64::tanh),
        "Reciprocal" => return real(f64::recip),
        "Sigmoid" => return real(|x| 1.0 / (1.0 + (-x).exp())),
        _ => return None,
    })
}

/// A number in another element type.
pub(super) fn cast(x: Num, to: Elem) -> Result<Num> {
    match (x, to) {
        (x, Elem::Bool) => match x.real() {
            Some(x) => Ok(Num::int(i64::from(x != 0.0))),
            None => Err(Unknown::Batch),
        },
        (Num::Float { a, c }, to) if to.is_int() => {
            let (fits, whole) = (c.abs() < 9.2e18 && a.abs() < 9.2e18, a.fract() == 0.0 && (a == 0.0 || c >= 0.0));
            match (fits, whole) {
                (true, true) => wrapped(Num::Int { a: a as i64, c: c.trunc() as i64 }, to),
                (false, _) => Err(Unknown::Range),
                _ => Err(Unknown::Batch),
            }
        }
        (Num::Int { a, c }, to) if to.is_float() => {
            Ok(Num::Float { a: rounded(a as f64, to), c: rounded(c as f64, to) })
        }
        (Num::Float { a, c }, to) if to.is_float() => Ok(Num::Float { a: rounded(a, to), c: rounded(c, to) }),
        (int, to) => wrapped(int, to),
    }
}

/// A whole number that has to fit a type.
fn wrapped(x: Num, to: Elem) -> Result<Num> {
    let range = match to {
        Elem::Int(bits @ 1..64) => -(1i64 << (bits - 1))..=(1i64 << (bits - 1)) - 1,
        Elem::Uint(bits @ 1..63) => 0..=(1i64 << bits) - 1,
        _ => return Ok(x),
    };
    match x {
        Num::Int { a: 0, c } if !range.contains(&c) => Err(Unknown::Range),
        x => Ok(x),
    }
}

impl Known {
    /// An array, checked.
    pub(super) fn new(elem: Elem, dims: Vec<usize>, data: Vec<Num>) -> Known {
        debug_assert_eq!(dims.iter().product::<usize>(), data.len());
        Known { elem, dims, data }
    }

    /// A row of whole numbers.
    pub(super) fn row(data: Vec<Num>) -> Known {
        Known::new(Elem::Int(64), vec![data.len()], data)
    }

    /// The whole numbers, if none depends on the batch.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        self.data.iter().map(|n| n.plain()).collect()
    }

    /// The numbers, if none depends on the batch.
    pub(super) fn reals(&self) -> Option<Vec<f64>> {
        self.data.iter().map(|n| n.real()).collect()
    }

    /// The only number.
    pub(super) fn scalar(&self) -> Option<Num> {
        if let [one] = self.data[..] { Some(one) } else { None }
    }

    /// Elements at these positions under another shape.
    pub(super) fn at(&self, dims: Vec<usize>, index: &[usize]) -> Known {
        Known::new(self.elem, dims, index.iter().filter_map(|&i| self.data.get(i).copied()).collect())
    }

    /// Element by element.
    pub(super) fn map(&self, elem: Elem, f: impl Fn(Num) -> Result<Num>) -> Result<Known> {
        Ok(Known::new(elem, self.dims.clone(), self.data.iter().map(|&n| f(n)).collect::<Result<_>>()?))
    }

    /// Broadcast to these dimensions, which numpy's rules allow.
    pub(super) fn expanded(&self, dims: &[usize]) -> Option<Known> {
        let index = super::places::expand(&self.dims, dims)?;
        Some(self.at(dims.to_vec(), &index))
    }

    /// Two arrays, broadcast, element by element.
    pub(super) fn zip(&self, other: &Known, elem: Elem, f: impl Fn(Num, Num) -> Result<Num>) -> Option<Result<Known>> {
        let dims = super::places::broadcast(&self.dims, &other.dims)?;
        let (x, y) = (self.expanded(&dims)?, other.expanded(&dims)?);
        let data: Result<Vec<Num>> = x.data.iter().zip(&y.data).map(|(&x, &y)| f(x, y)).collect();
        Some(data.map(|data| Known::new(elem, dims, data)))
    }
}
