//! The constants of a package that was read.

use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::HashMap;
use vitc_ir::{Stored, StoredType, WeightError, Weights};

/// Where the elements of a constant are.
#[derive(Debug)]
pub(super) enum Source {
    /// In the weight file.
    Mapped { start: usize, len: usize, dtype: StoredType },
    /// In the model file.
    Held { bytes: Vec<u8>, dtype: StoredType },
}

/// The constants of a package by the program's names. The weight file stays mapped.
#[derive(Debug, Default)]
pub struct PackageWeights {
    pub(super) file: Option<Mmap>,
    pub(super) sources: HashMap<String, Source>,
}

impl PackageWeights {
    /// The weight file; empty if there is none.
    pub(super) fn bytes(&self) -> &[u8] {
        self.file.as_deref().unwrap_or_default()
    }
}

impl Weights for PackageWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let fail = |what: String| WeightError { key: key.to_string(), what };
        let (dtype, bytes) = match self.sources.get(key) {
            Some(Source::Mapped { start, len, dtype }) => {
                (*dtype, self.bytes().get(*start..start + len).ok_or_else(|| fail("lies outside weight.bin".into()))?)
            }
            Some(Source::Held { bytes, dtype }) => (*dtype, bytes.as_slice()),
            None => return Err(fail("the package has no such constant".into())),
        };
        if elements.checked_mul(dtype.bytes()) != Some(bytes.len()) {
            return Err(fail(format!(
                "has {} bytes, {elements} elements of {} are asked for",
                bytes.len(),
                dtype.bytes()
            )));
        }
        Ok(Stored { dtype, bytes: Cow::Borrowed(bytes) })
    }
}
