//! Why a text is not read.

/// Text that is not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What was expected and what was found.
    pub what: String,
}

impl ParseError {
    /// An error on a line.
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        ParseError { line, what: what.into() }
    }
}

/// What reading gives.
pub(crate) type Result<T> = std::result::Result<T, ParseError>;
