//! Passes: Graph → Graph, each a file and an entry in a list.
//!
//! Every file opens with *Given*, *Result* and *Exact* (why, or the bound). The lists are data: [`deploy::DEPLOY`], exact and the same for every target, is repeated until
//! it finds nothing; then each target has a list of its own, of shared passes ([`lower`]) and those in its folder.
//!
//! Architecture invariants: a pass never reads a weight's numbers and never mentions a file format; it is parameterised by a [`vitc_ir::Target`], which is
//! data. Arithmetic on weights becomes constant nodes. Running a list twice changes nothing. A graph that validates gives a graph or an error,
//! never a panic, and an end in time.

mod algebra;
pub mod canonical;
pub mod coreai;
pub mod coreml;
pub mod deploy;
pub mod equalize;
pub mod lower;
mod note;
pub mod ort;
mod pass;
mod pattern;
mod pipeline;
pub mod quantize;
pub mod tensorrt;
mod view;

pub use canonical::CANONICAL;
pub use deploy::{DEPLOY, REST};
pub use lower::island_reason;
pub use note::{Note, Reason, RowShift};
pub use pass::{
    Context, Decisions, FoldTables, LowerOptions, Pass, PassError, Result, Rewritten, Spectral, TalkingHeads,
};
pub use pipeline::{
    Observer, PassReport, Run, all, deploy, deploy_observed, find, lower, lower_observed, lower_types, lower_values,
    lowering, run, run_to_rest,
};
