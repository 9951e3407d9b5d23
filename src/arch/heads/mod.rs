//! What stands behind a backbone, one file per kind.

mod answer;
mod classifier;
pub(super) mod own;
pub mod sequence;

pub(super) use answer::{answer, flattened};
pub use classifier::Classifier;
pub use own::{ACTIVATION, HeadName, Kind, Layer, OwnHead, Reads};
