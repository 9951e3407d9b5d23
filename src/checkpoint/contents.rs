//! What the readers of files hand on.

use super::dense_config::DenseConfig;
use super::tensor::TensorInfo;
use std::collections::{BTreeMap, BTreeSet};

/// Names and shapes of tensors.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Longest name of a tensor, in bytes.
pub(super) const MAX_KEY: usize = 1024;
/// Most tensors in one checkpoint.
pub(super) const MAX_TENSORS: usize = 1 << 18;

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Paths of the dicts that hold tensors themselves.
    pub(super) dicts: BTreeSet<String>,
    /// What lies beside the tensors, as settings are read from it.
    pub(super) document: Option<serde_json::Value>,
    /// What is said about dense prediction.
    pub(super) dense: Option<DenseConfig>,
    /// Whole modules: name in the file and class.
    pub(super) modules: Vec<(String, String)>,
    /// Tensors of kinds that are not read: name and kind.
    pub(super) skipped: Vec<(String, String)>,
    /// Names on the outermost level of a pickled dict.
    pub(super) top: Vec<String>,
}

impl Contents {
    /// The innermost dict that holds the tensor of this name.
    pub(super) fn dict_of<'k>(&self, key: &'k str) -> &'k str {
        let ends = key.rmatch_indices('.').map(|(dot, _)| &key[..dot]);
        ends.into_iter().find(|path| self.dicts.contains(*path)).unwrap_or_default()
    }
}
