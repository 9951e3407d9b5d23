//! Cutting a model where it is narrow, so that one that does not fit into memory runs piece by piece.
//!
//! A bottleneck is a value that every later node sees the input through: nothing else that depends on the input is alive when it has been
//! computed. Only sums are taken (the residual streams of blocks), because passes move affine factors across other values. The search is
//! the same for a graph and for a file; a piece of either is what lies between two bottlenecks.

mod bottleneck;
mod file;
mod graph;

pub use bottleneck::{Bottleneck, Piece};
pub(super) use file::{of_file, piece_of_file};
pub(super) use graph::of_graph;
