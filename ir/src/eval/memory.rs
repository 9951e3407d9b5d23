//! Weights that live in memory: for tests, examples and generated models.

use crate::weights::{Stored, StoredType, WeightError, Weights};
use half::f16;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Tensors by key, each in the element type in which it was inserted.
#[derive(Debug, Clone, Default)]
pub struct MemoryWeights {
    tensors: BTreeMap<String, (StoredType, Vec<u8>)>,
}

impl MemoryWeights {
    /// No tensors.
    pub fn new() -> Self {
        MemoryWeights::default()
    }

    /// Add or replace a tensor of f32 elements.
    pub fn insert(&mut self, key: impl Into<String>, values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.insert_bytes(key, StoredType::F32, bytes);
    }

    /// Add or replace a tensor of f16 elements.
    pub fn insert_f16(&mut self, key: impl Into<String>, values: &[f16]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.insert_bytes(key, StoredType::F16, bytes);
    }

    /// Add or replace a tensor given by its little-endian bytes.
    pub fn insert_bytes(&mut self, key: impl Into<String>, dtype: StoredType, bytes: Vec<u8>) {
        self.tensors.insert(key.into(), (dtype, bytes));
    }
}

impl<K: Into<String>> FromIterator<(K, Vec<f32>)> for MemoryWeights {
    fn from_iter<I: IntoIterator<Item = (K, Vec<f32>)>>(tensors: I) -> Self {
        let mut weights = MemoryWeights::new();
        for (key, values) in tensors {
            weights.insert(key, &values);
        }
        weights
    }
}

impl Weights for MemoryWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let fail = |what: String| WeightError { key: key.to_string(), what };
        let (dtype, bytes) = self.tensors.get(key).ok_or_else(|| fail("there is no such tensor".into()))?;
        let found = bytes.len() / dtype.bytes();
        if found != elements {
            return Err(fail(format!("has {found} elements, the model needs {elements}")));
        }
        Ok(Stored { dtype: *dtype, bytes: Cow::Borrowed(bytes) })
    }
}
