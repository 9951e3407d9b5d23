//! What a person's own pictures say about an artifact: how often it is right, and how often it agrees with another.
//!
//! [`Truth`] says which pictures there are and what each shows, [`Viewer`] is an artifact that is ready to look at them, [`evaluate`] lets one or
//! two of them look at all pictures and counts. Pictures become inputs as in `vitc run` ([`crate::picture::Preparation`]).
//!
//! Invariants: nothing is guessed about a picture without an answer, it is an error; a mask is judged at its own size; an answer that is not
//! finite stops the evaluation.

mod answer;
mod error;
mod judge;
mod list;
mod tally;
#[cfg(test)]
mod tests;
mod truth;
mod viewer;

pub use error::EvaluateError;
pub use judge::{Evaluation, Judged, Request, evaluate};
pub use tally::{ClassMark, Marks};
pub use truth::{Case, Shown, Source, Truth};
pub use viewer::{Sight, Viewer};
