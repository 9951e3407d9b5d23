//! The constants of an asset, by the names of its graphs' weights.

use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::HashMap;
use vitc_ir::{Stored, StoredType, WeightError, Weights};

/// Where the elements of a constant are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In the program's file.
    Mapped { start: usize, len: usize, dtype: StoredType },
    /// Computed from it.
    Held { bytes: Vec<u8>, dtype: StoredType },
}

/// The constants of an asset. Its file stays mapped.
#[derive(Debug, Default)]
pub struct AssetWeights {
    pub(super) file: Option<Mmap>,
    pub(super) sources: HashMap<String, Source>,
}

impl Weights for AssetWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let fail = |what: &str| WeightError { key: key.to_string(), what: what.to_string() };
        let file = self.file.as_deref().unwrap_or_default();
        let (dtype, bytes) = match self.sources.get(key) {
            Some(Source::Mapped { start, len, dtype }) => {
                (*dtype, file.get(*start..start + len).ok_or_else(|| fail("lies outside the file"))?)
            }
            Some(Source::Held { bytes, dtype }) => (*dtype, bytes.as_slice()),
            None => return Err(fail("the asset has no such constant")),
        };
        if elements.checked_mul(dtype.bytes()) != Some(bytes.len()) {
            return Err(fail("has another number of elements"));
        }
        Ok(Stored { dtype, bytes: Cow::Borrowed(bytes) })
    }
}
