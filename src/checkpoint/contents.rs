//! What the readers of files hand on.

use super::config::ModelConfig;
use super::tensor::TensorInfo;
use std::collections::BTreeMap;

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
    pub(super) config: Option<ModelConfig>,
    /// Whole modules: name in the file and class.
    pub(super) modules: Vec<(String, String)>,
    /// Tensors of kinds that are not read: name and kind.
    pub(super) skipped: Vec<(String, String)>,
    /// Names on the outermost level of a pickled dict.
    pub(super) top: Vec<String>,
}
