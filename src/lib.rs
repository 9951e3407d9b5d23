//! vitc: a deployment compiler for efficient vision transformers.
//!
//! A trained PyTorch checkpoint goes in; a checked ONNX file or CoreML package comes out. Every export walks one road: paper graph,
//! passes, target graph, exporter, file, check, place.

pub mod arch;
pub mod artifact;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod decide;
pub mod engine_rules;
#[cfg(feature = "run")]
pub mod evaluate;
pub mod export;
pub mod interface;
pub mod message;
pub mod model;
pub mod nearest;
mod numbers;
#[cfg(feature = "run")]
pub mod picture;
pub mod place;
pub mod port;
pub mod provenance;
pub mod publish;
pub mod report;
pub mod runner;
pub mod signature;
pub mod stages;
