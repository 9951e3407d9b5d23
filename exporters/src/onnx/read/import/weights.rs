//! The constants of an imported graph: views of the file, and a few arrays that were computed while it was read.

use super::super::tensor::{Elem, Tensor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::{Stored, StoredType, WeightError, Weights};

/// The constants of an imported graph.
#[derive(Debug, Default)]
pub struct FileWeights {
    kept: HashMap<String, Kept>,
}

#[derive(Debug)]
enum Kept {
    /// As it lies in the file.
    View(Arc<Tensor>),
    /// Computed.
    Made(Vec<f32>),
}

impl FileWeights {
    pub(super) fn holds(&self, key: &str) -> bool {
        self.kept.contains_key(key)
    }

    pub(super) fn view(&mut self, key: String, tensor: Arc<Tensor>) {
        self.kept.insert(key, Kept::View(tensor));
    }

    pub(super) fn made(&mut self, key: String, values: Vec<f32>) {
        self.kept.insert(key, Kept::Made(values));
    }

    /// Number of constants.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// True without constants.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

impl Weights for FileWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let fail = |what: String| WeightError { key: key.to_string(), what };
        let stored = match self.kept.get(key) {
            None => return Err(fail("the file holds no such constant".into())),
            Some(Kept::Made(values)) => {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                Stored { dtype: StoredType::F32, bytes: Cow::Owned(bytes) }
            }
            Some(Kept::View(tensor)) => {
                let dtype = match tensor.elem {
                    Elem::F32 => StoredType::F32,
                    Elem::F16 => StoredType::F16,
                    Elem::BF16 => StoredType::BF16,
                    Elem::F64 => StoredType::F64,
                    Elem::Int(8) => StoredType::I8,
                    Elem::Uint(8) => StoredType::U8,
                    other => return Err(fail(format!("holds {}", other.word()))),
                };
                let bytes = tensor.bytes().ok_or_else(|| fail("lies in a data file".into()))?;
                Stored { dtype, bytes: Cow::Borrowed(bytes) }
            }
        };
        match stored.bytes.len() / stored.dtype.bytes() {
            found if found == elements => Ok(stored),
            found => Err(fail(format!("has {found} elements, the model needs {elements}"))),
        }
    }
}
