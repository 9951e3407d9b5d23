//! vitc's exporters: a target-stage graph in, the bytes of an artifact out, and back.
//!
//! Architecture invariants: an exporter never changes a value, a shape or a type; whatever changes numbers is a pass
//! and has run before. One node of the graph becomes one operation of the artifact, under the node's path. Constants
//! are pulled through the evaluator and streamed into the file. An operator that the target does not spell is an error
//! that names the node, never a silent rewrite.

pub mod coreai;
pub mod coreml;
pub mod metadata;
pub mod onnx;

pub use metadata::Metadata;
pub use prost::bytes::Bytes;

/// Why a graph did not become an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A node that a lowering should have spelled in the target's operators.
    #[error("{path}: {op} has no spelling in this target: {why}")]
    NotLowered {
        /// The operator's word.
        op: &'static str,
        /// Path of the node.
        path: String,
        /// What is missing.
        why: String,
    },
    /// A target that the exporter does not write.
    #[error("target {name}: {what}")]
    Target {
        /// Name of the target.
        name: &'static str,
        /// What does not fit.
        what: String,
    },
    /// The artifact exceeds a limit of its file format.
    #[error("the artifact needs {bytes} bytes in one file and the format allows {limit}: {remedy}")]
    TooLarge {
        /// Bytes needed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A constant could not be had, is not finite, or does not fit its element type.
    #[error(transparent)]
    Constant(#[from] vitc_ir::eval::EvalError),
    /// Writing failed.
    #[error("cannot write the artifact: {0}")]
    Io(#[from] std::io::Error),
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Operations in the artifact, constants not counted.
    pub nodes: usize,
    /// Name of each kind of operation with its number, most frequent first, then by name.
    pub op_counts: Vec<(String, usize)>,
    /// Elements of the float constants.
    pub parameters: u64,
    /// Bytes of all files of the artifact together.
    pub bytes: u64,
    /// Name of each computed constant in the artifact, with what rounding did to it.
    pub constants: Vec<(String, vitc_ir::eval::ConstantStats)>,
}

/// Counts names: most frequent first, then by name.
pub(crate) fn count<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for name in names {
        *counts.entry(name).or_insert(0) += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().map(|(name, n)| (name.to_string(), n)).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}
