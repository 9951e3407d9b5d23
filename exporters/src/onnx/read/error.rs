//! Why bytes are not an ONNX file, and why a file does not become a graph.

use std::fmt;

/// Bytes of the largest text, interface entry or metadata entry that is decoded.
pub const ITEM_LIMIT: usize = 1 << 20;

/// Most inputs, results, metadata entries, kinds of operators and data files together.
pub const ENTRY_LIMIT: usize = 1 << 16;

/// Why bytes are not an ONNX file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The protobuf encoding is broken.
    #[error("not an ONNX file: {0}")]
    Malformed(String),
    /// The encoding is sound but the file holds no graph.
    #[error("not an ONNX file: it holds no graph")]
    NoGraph,
    /// One part is implausibly large.
    #[error("{what} of {bytes} bytes; the reader takes {ITEM_LIMIT} at most")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// The file describes more than any model has.
    #[error("more than {ENTRY_LIMIT} inputs, results, metadata entries, kinds of operators and data files")]
    TooMany,
}

impl From<prost::DecodeError> for ReadError {
    fn from(e: prost::DecodeError) -> Self {
        ReadError::Malformed(e.to_string())
    }
}

/// One kind of operator that stands in the way of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The operator, as `domain::op` if it is not a standard one.
    pub op: String,
    /// Names of its nodes that are refused.
    pub nodes: Vec<String>,
    /// Why.
    pub why: String,
}

/// Why a file does not become a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportError {
    /// The file is no ONNX file, or damaged.
    Read(ReadError),
    /// The file cannot be opened, or contradicts itself: what, where, what to do.
    File(String),
    /// A request that does not suit the file.
    Request(String),
    /// Sizes that the file leaves open and nobody gave: each as `input axis symbol`, and sizes that would do.
    Open {
        /// What is open, a line each.
        what: Vec<String>,
        /// A proposal: name and size.
        sizes: Vec<(String, String)>,
    },
    /// Operators that cannot be imported, all of them, and values in front of them at which the graph could be cut.
    Refused {
        /// What stands in the way.
        operators: Vec<Refused>,
        /// Names of values of the file.
        cut: Vec<String>,
    },
}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> ImportError {
        ImportError::Read(error)
    }
}

impl std::error::Error for ImportError {}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Read(error) => error.fmt(f),
            ImportError::File(what) | ImportError::Request(what) => f.write_str(what),
            ImportError::Open { what, .. } => write!(f, "the file leaves sizes open\n  {}", what.join("\n  ")),
            ImportError::Refused { operators, .. } => {
                let nodes: usize = operators.iter().map(|r| r.nodes.len()).sum();
                write!(
                    f,
                    "holds {} that vitc cannot take, in {}",
                    count(operators.len(), "operator"),
                    count(nodes, "node")
                )?;
                operators.iter().try_for_each(|r| write!(f, "\n  {r}"))
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<&str> = self.nodes.iter().take(3).map(String::as_str).collect();
        let more = if self.nodes.len() > 3 { ", ..." } else { "" };
        write!(f, "{}  {}  {}{more}  {}", self.op, count(self.nodes.len(), "node"), first.join(", "), self.why)
    }
}

/// `1 node`, `2 nodes`.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
