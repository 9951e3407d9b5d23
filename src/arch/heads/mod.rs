//! What stands behind a backbone, one file per kind.

mod classifier;

pub use classifier::Classifier;
