//! ONNX files: opset 11 to 23, complete static types, every node named by its path.
//!
//! [`write()`] streams a graph to a file, [`text()`] shows the same file without its numbers, [`inspect`] reads any
//! ONNX file's own description.
//!
//! Invariants. Each run-time node becomes exactly one ONNX node; no shape arithmetic, no duplicate shapes, no unused
//! constants; a symbolic batch is the dimension `batch`, its multiples `k*batch`.

pub mod messages;
mod read;
mod write;

pub use prost::bytes::Bytes;
pub use read::{
    Attribute, Attributes, ENTRY_LIMIT, Elem, FileWeights, Flat, FlatNode, ITEM_LIMIT, ImportError, ImportOptions,
    Imported, Inspection, Port, PortInfo, PortSize, ReadError, Refused, Statistics, Tensor, import, inspect,
};
pub use write::{DataFile, INLINE_LIMIT, size_of, text, write, write_external};
