//! Types of values: element type and shape.
//!
//! A dimension is a number, or `k·B` with `B` the symbolic batch and `k ≥ 1`. A shape has at most one batch dimension: first in an
//! input, later where a layout moved it (sequence-first tokens). Every other size in the compiler is a plain number, so every
//! lowering is exact, a reshape needs at most one inferred size, and no artifact contains shape arithmetic.

use crate::word::{Word, words};
use std::fmt;

/// Element type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// 32-bit signed integer: indices, and the only integer that is computed.
    I32,
    /// 64-bit signed integer: ports, and indices as they are stored.
    I64,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// 4-bit signed integer, stored two to a byte, the first in the low bits.
    I4,
    /// 4-bit unsigned integer, stored as `I4`.
    U4,
    /// Truth value, stored in a byte.
    Bool,
}

impl DType {
    /// Bits of one element as it is stored.
    pub fn bits(self) -> usize {
        match self {
            DType::I64 => 64,
            DType::F32 | DType::I32 => 32,
            DType::F16 => 16,
            DType::I8 | DType::U8 | DType::Bool => 8,
            DType::I4 | DType::U4 => 4,
        }
    }

    /// Bytes that so many elements take: whole ones.
    pub fn bytes_of(self, elements: usize) -> usize {
        // In this order nothing overflows that fits in memory.
        match self.bits() {
            bits @ 8.. => elements * (bits / 8),
            bits => elements.div_ceil(8 / bits),
        }
    }

    /// Word in the text form.
    pub fn word(self) -> &'static str {
        Word::word(self)
    }

    /// True for `F32` and `F16`.
    pub fn is_float(self) -> bool {
        match self {
            DType::F32 | DType::F16 => true,
            DType::I32 | DType::I64 | DType::I8 | DType::U8 | DType::I4 | DType::U4 | DType::Bool => false,
        }
    }
}

words! {
    DType {
        F32 => "f32", F16 => "f16", I32 => "i32", I64 => "i64", I8 => "i8", U8 => "u8", I4 => "i4", U4 => "u4", Bool => "bool"
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One dimension of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A plain number.
    Fixed(usize),
    /// `k·B`, a multiple of the symbolic batch.
    Batch(usize),
}

impl Dim {
    /// The number, or `None` for a multiple of the batch.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            Dim::Batch(_) => None,
        }
    }

    /// The number, with the symbolic batch taken as `batch`.
    pub fn at(self, batch: usize) -> usize {
        match self {
            Dim::Fixed(n) => n,
            Dim::Batch(k) => k * batch,
        }
    }

    /// This dimension times `n` (windows of an image move into the batch).
    pub fn times(self, n: usize) -> Dim {
        match self {
            Dim::Fixed(d) => Dim::Fixed(d * n),
            Dim::Batch(k) => Dim::Batch(k * n),
        }
    }

    /// This dimension divided by `n`, or `None` if that leaves a remainder.
    pub fn divided(self, n: usize) -> Option<Dim> {
        let (Dim::Fixed(d) | Dim::Batch(d)) = self;
        (n != 0 && d % n == 0).then(|| match self {
            Dim::Fixed(d) => Dim::Fixed(d / n),
            Dim::Batch(k) => Dim::Batch(k / n),
        })
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Fixed(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Batch(1) => write!(f, "B"),
            Dim::Batch(k) => write!(f, "{k}B"),
        }
    }
}

/// A shape: dimensions, outermost first. The empty shape is a scalar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of plain numbers.
    pub fn fixed(dims: &[usize]) -> Self {
        Shape(dims.iter().map(|&d| Dim::Fixed(d)).collect())
    }

    /// `first` followed by plain numbers: the usual shape of an activation.
    pub fn batched(first: Dim, rest: &[usize]) -> Self {
        Shape(std::iter::once(first).chain(rest.iter().map(|&d| Dim::Fixed(d))).collect())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// True if some dimension is a multiple of the symbolic batch.
    pub fn has_batch(&self) -> bool {
        self.0.iter().any(|d| d.fixed().is_none())
    }

    /// The plain numbers, with the symbolic batch taken as `batch`.
    pub fn at(&self, batch: usize) -> Vec<usize> {
        self.0.iter().map(|d| d.at(batch)).collect()
    }

    /// The plain numbers, or `None` if a dimension is a multiple of the batch.
    pub fn as_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|d| d.fixed()).collect()
    }

    /// Number of elements of one batch item: the batch counted as 1.
    pub fn elements(&self) -> usize {
        self.0.iter().map(|d| d.at(1)).product()
    }

    /// Dimension `axis` as a plain number.
    ///
    /// # Panics
    /// If `axis` is out of range or a multiple of the symbolic batch; shape rules report that before anyone asks.
    pub fn dim(&self, axis: usize) -> usize {
        self.0[axis].fixed().expect("dimension is a plain number")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

/// Type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
}

impl Type {
    /// A type of element type `dtype` and shape `shape`.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        Type { dtype, shape }
    }

    /// An f32 type of plain numbers.
    pub fn f32(dims: &[usize]) -> Self {
        Type::new(DType::F32, Shape::fixed(dims))
    }

    /// Bytes of one batch item.
    pub fn bytes(&self) -> usize {
        self.dtype.bytes_of(self.shape.elements())
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}
