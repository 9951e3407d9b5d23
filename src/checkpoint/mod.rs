//! Checkpoints.

mod names;

pub use names::NameTable;
