//! What facts and functions are, and what they are told.

use std::sync::Arc;
use vitc_ir::{Graph, Value};

/// An argument of a fact or function, as found.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Value(Value),
    Text(Arc<str>),
}

/// A fact about values and texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) holds: fn(&Graph, &[Found]) -> bool,
}

/// A text computed from values and texts; `None` where it has no answer, and then the rule does not match.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) compute: fn(&Graph, &[Found]) -> Option<String>,
}
