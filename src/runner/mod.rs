//! Running models on this machine: an artifact as it lies on disk or a graph, on named inputs, with the values inside where they are wanted.
//!
//! The check, `vitc run` and comparisons with values from outside go through here. A [`Program`] is what can be run, a [`Session`] is one that is
//! loaded and ready.
//!
//! Invariants: the only module that names tract (its API is unstable, the version is pinned exactly). Arithmetic is f32: a model of f16 values is
//! widened first ([`mod@half`]). ONNX files are decoded by tract's own protobuf types, a reader that shares nothing with the exporter; graphs are
//! written to the same types by [`mod@write`], which shares nothing with it either.

mod alone;
mod codes;
mod cut;
mod define;
mod half;
mod program;
mod reference;
mod session;
mod sigmoid;
mod write;

pub use alone::{Alone, constant_operands};
pub use cut::{Bottleneck, Piece};
pub use program::{Pick, Program};
pub use session::{Named, Port, Request, RunError, Session, Values};
pub(crate) use write::PART;

/// The protobuf types of a file, for tests that spoil one.
#[cfg(test)]
pub(crate) use tract_onnx::pb;
