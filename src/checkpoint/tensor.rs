//! What is known of a stored tensor: element type, shape, and where its elements lie.
//!
//! Invariant: every element of a [`TensorInfo`] lies inside its file, and an expanded view (stride 0) has no more elements than the file has
//! bytes, or a million. Both are checked once, in [`TensorInfo::new`]; so reading needs no check and gathering a view is bounded.

use super::error::CheckpointError;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use vitc_ir::StoredType;

/// Elements that an expanded view may have in a file of any size.
const SMALL: usize = 1 << 20;

/// Element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// A floating-point type that weights may have.
    Float(StoredType),
    /// A signed integer of so many bytes.
    Int(u8),
    /// An unsigned integer of so many bytes.
    Uint(u8),
    /// One byte, 0 or 1.
    Bool,
    /// An 8-bit floating-point type.
    Float8,
    /// A complex number of so many bytes.
    Complex(u8),
}

impl ElementType {
    /// IEEE 754 single precision.
    pub const F32: ElementType = ElementType::Float(StoredType::F32);

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            ElementType::Float(float) => float.bytes(),
            ElementType::Int(n) | ElementType::Uint(n) | ElementType::Complex(n) => usize::from(n),
            ElementType::Bool | ElementType::Float8 => 1,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementType::Float(StoredType::F16) => f.write_str("f16"),
            ElementType::Float(StoredType::BF16) => f.write_str("bf16"),
            ElementType::Float(StoredType::F32) => f.write_str("f32"),
            ElementType::Float(StoredType::F64) => f.write_str("f64"),
            ElementType::Float(StoredType::I8) => f.write_str("i8"),
            ElementType::Float(StoredType::U8) => f.write_str("u8"),
            ElementType::Int(n) => write!(f, "i{}", 8 * u32::from(*n)),
            ElementType::Uint(n) => write!(f, "u{}", 8 * u32::from(*n)),
            ElementType::Bool => f.write_str("bool"),
            ElementType::Float8 => f.write_str("f8"),
            ElementType::Complex(n) => write!(f, "c{}", 8 * u32::from(*n)),
        }
    }
}

/// One stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: ElementType,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    file: usize,
    start: usize,
    strides: Option<Vec<usize>>,
}

impl TensorInfo {
    /// A tensor in the bytes `storage` of the file number `file`, `offset` elements into it; `strides` in elements, row-major if `None`.
    ///
    /// `place` names the tensor in errors.
    pub(super) fn new(
        place: &str,
        dtype: ElementType,
        shape: Vec<usize>,
        file: usize,
        storage: &Range<usize>,
        offset: usize,
        strides: Option<Vec<usize>>,
    ) -> Result<TensorInfo, CheckpointError> {
        let size = dtype.bytes();
        let room = storage.len() / size;
        let damaged = |why: String| CheckpointError::damaged(format!("tensor {}", super::error::shortened(place)), why);
        let dense = row_major(&shape);
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let (Some(elements), Some(dense)) = (elements, dense) else {
            return Err(damaged(format!("the size of its shape {} overflows", Dims(&shape))));
        };
        let strides = strides.filter(|s| !same_order(&shape, s, &dense));
        // Index of the last element: Σ (size − 1)·stride.
        let last = shape
            .iter()
            .zip(strides.as_ref().unwrap_or(&dense))
            .try_fold(offset, |sum, (&d, &s)| d.saturating_sub(1).checked_mul(s).and_then(|n| sum.checked_add(n)));
        let fits = elements == 0 || last.is_some_and(|last| last < room);
        if !fits || elements > storage.end.max(SMALL) {
            return Err(damaged(format!(
                "{elements} elements of {dtype}, shape {}, do not fit the {} bytes stored for it",
                Dims(&shape),
                storage.len()
            )));
        }
        let start = if elements == 0 { storage.start } else { storage.start + offset * size };
        Ok(TensorInfo { dtype, shape, file, start, strides: strides.filter(|_| elements > 1) })
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The file that holds it.
    pub(super) fn file(&self) -> usize {
        self.file
    }

    /// The elements, row-major: borrowed from the file where they lie so, gathered otherwise.
    pub(super) fn read<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        let (size, elements) = (self.dtype.bytes(), self.elements());
        let Some(strides) = &self.strides else {
            return Cow::Borrowed(&file[self.start..self.start + elements * size]);
        };
        let mut bytes = Vec::with_capacity(elements * size);
        let mut index = vec![0usize; self.shape.len()];
        let mut at = 0usize;
        for _ in 0..elements {
            let from = self.start + at * size;
            bytes.extend_from_slice(&file[from..from + size]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= strides[axis] * index[axis];
                index[axis] = 0;
            }
        }
        Cow::Owned(bytes)
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, Dims(&self.shape))
    }
}

/// A shape as `[4,3,3,3]`.
pub(super) struct Dims<'a>(pub(super) &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().take(12).map(usize::to_string).collect();
        write!(f, "[{}{}]", dims.join(","), if self.0.len() > 12 { ",…" } else { "" })
    }
}

/// Strides of a dense row-major tensor, or `None` on overflow.
fn row_major(shape: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].checked_mul(shape[axis].max(1))?;
    }
    Some(strides)
}

/// True if `strides` visit the elements as `dense` does. The stride of an axis of size 1 means nothing.
fn same_order(shape: &[usize], strides: &[usize], dense: &[usize]) -> bool {
    shape.iter().zip(strides).zip(dense).all(|((&d, s), t)| d == 1 || s == t)
}
