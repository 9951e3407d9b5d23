//! vitc's graph: what a model is between its checkpoint and its artifact.
//!
//! A [`Graph`] is a list of nodes in topological order. A node applies an [`Op`] to earlier [`Value`]s and has one or more outputs, each with a
//! [`Type`]: element type and shape, in which only the batch may be symbolic. Trained weights are values like any other; arithmetic on them is
//! ordinary nodes whose inputs are all constant, so a fold is a rewrite, not a computation. Numbers appear only when somebody asks for them:
//! the evaluator pulls a constant's expression through [`Weights`].
//!
//! Architecture invariants: this crate does no input or output, knows no file format and no inference engine. Adding an operator
//! breaks the build wherever it must be answered for.

mod attention;
pub mod axes;
mod batch_norm;
mod build;
mod copier;
pub mod cost;
pub mod eval;
pub mod expand;
pub mod facts;
pub mod graph;
pub mod id;
mod index;
pub mod infer;
mod natural;
pub mod net;
pub mod op;
pub mod packed;
pub mod parse;
mod print;
pub mod real;
pub mod resample;
mod stage;
pub mod target;
pub mod testing;
pub mod ty;
mod uses;
pub mod valid;
pub mod weights;
mod word;
mod words;

pub use attention::bias_turns;
pub use axes::{Axis, AxisMap};
pub use build::{Builder, Built};
pub use copier::Copier;
pub use expand::expand;
pub use facts::{Class, Facts};
pub use graph::{Graph, Node, Output};
pub use id::{NodeId, Value};
pub use infer::ShapeError;
pub use natural::is_natural;
pub use net::{ConvSpec, Net};
pub use op::{BinaryKind, Generator, Op, PadMode, Sampling, UnaryKind};
pub use parse::{ParseError, parse};
pub use real::Real;
pub use stage::Stage;
pub use target::Target;
pub use ty::{DType, Dim, Shape, Type};
pub use uses::{Use, Uses};
pub use valid::{ValidError, validate};
pub use weights::{Stored, StoredType, WeightError, Weights};
