//! The trait through which a graph's weights are asked for, by key, when a value is needed.
//!
//! A checkpoint reader and the seeded generator implement it; the evaluator, the exporters and the check take it as a parameter.

use std::borrow::Cow;

/// Element type in which a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredType {
    /// IEEE 754 half precision.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// 8-bit signed integer: codes of quantised weights.
    I8,
    /// 8-bit unsigned integer: packed codes.
    U8,
}

impl StoredType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            StoredType::F16 | StoredType::BF16 => 2,
            StoredType::F32 => 4,
            StoredType::F64 => 8,
            StoredType::I8 | StoredType::U8 => 1,
        }
    }
}

/// The data of one weight: dense, row-major, little-endian.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    /// Element type of `bytes`.
    pub dtype: StoredType,
    /// The elements; borrowed where the checkpoint is mapped and the tensor is dense.
    pub bytes: Cow<'a, [u8]>,
}

/// Why a weight could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("weight {key}: {what}")]
pub struct WeightError {
    /// The architecture's name for the tensor.
    pub key: String,
    /// What went wrong.
    pub what: String,
}

/// A source of trained tensors.
pub trait Weights: Sync {
    /// The elements of the weight `key`, `elements` of them.
    ///
    /// # Errors
    /// If there is no such tensor, it has another number of elements, or reading fails.
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError>;
}

impl<W: Weights + ?Sized> Weights for &W {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        (**self).weight(key, elements)
    }
}
