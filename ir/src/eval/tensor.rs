//! The evaluator's arrays: dense, row-major, shared.

use crate::weights::{Stored, StoredType};
use std::sync::Arc;

/// An array of f64, row-major. Cloning and reshaping share the elements.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    /// Sizes, outermost first.
    pub(super) dims: Vec<usize>,
    /// The elements.
    pub(super) data: Arc<Vec<f64>>,
}

impl Tensor {
    /// An array of the given sizes.
    pub(super) fn new(dims: &[usize], data: Vec<f64>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), data.len());
        Tensor { dims: dims.to_vec(), data: Arc::new(data) }
    }
}

/// Where an expression's elements come from.
#[derive(Debug)]
pub(super) enum Source<'w> {
    /// A weight in its stored type.
    Stored(Stored<'w>),
    /// A computed value.
    F64(Arc<Vec<f64>>),
    /// A computed value that would be too large in f64.
    F32(Vec<f32>),
}

/// Elements that can be read as f64.
pub(super) trait Elements {
    /// Element `i`.
    fn at(&self, i: usize) -> f64;
    /// Elements from `start` on, as many as `out` holds.
    fn run(&self, start: usize, out: &mut [f64]);
}

/// A slice and how its elements become f64.
struct Typed<'a, T, F> {
    data: &'a [T],
    value: F,
}

impl<T: Copy, F: Fn(T) -> f64> Elements for Typed<'_, T, F> {
    #[inline(always)]
    fn at(&self, i: usize) -> f64 {
        (self.value)(self.data[i])
    }

    #[inline(always)]
    fn run(&self, start: usize, out: &mut [f64]) {
        let run = &self.data[start..start + out.len()];
        for (out, &x) in out.iter_mut().zip(run) {
            *out = (self.value)(x);
        }
    }
}

/// What to do with a source's elements, whatever their type.
pub(super) trait Reader {
    /// Use the elements.
    fn read(self, elements: impl Elements);
}

impl Source<'_> {
    /// Hand the elements to `reader`, compiled once per element type.
    pub(super) fn read(&self, reader: impl Reader) {
        match self {
            Source::F64(data) => reader.read(Typed { data, value: |x: f64| x }),
            Source::F32(data) => reader.read(Typed { data, value: |x: f32| f64::from(x) }),
            Source::Stored(Stored { dtype, bytes }) => match dtype {
                StoredType::F32 => reader.read(Typed {
                    data: bytes.as_chunks::<4>().0,
                    value: |b: [u8; 4]| f64::from(f32::from_le_bytes(b)),
                }),
                StoredType::F64 => {
                    reader.read(Typed { data: bytes.as_chunks::<8>().0, value: |b: [u8; 8]| f64::from_le_bytes(b) });
                }
                StoredType::I8 => reader.read(Typed { data: bytes, value: |b: u8| f64::from(b as i8) }),
                StoredType::U8 => reader.read(Typed { data: bytes, value: f64::from }),
                StoredType::F16 => reader.read(Typed {
                    data: bytes.as_chunks::<2>().0,
                    value: |b: [u8; 2]| super::round::f16_value(u16::from_le_bytes(b)),
                }),
                StoredType::BF16 => reader.read(Typed {
                    data: bytes.as_chunks::<2>().0,
                    value: |b: [u8; 2]| super::round::bf16_value(u16::from_le_bytes(b)),
                }),
            },
        }
    }
}
