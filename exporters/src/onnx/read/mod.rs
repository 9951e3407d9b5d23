//! Reading ONNX files of any origin: what a file says about itself ([`inspect()`]), and the graph that it means ([`import`]).
//!
//! The road of an import: messages ([`proto`], weights stay views of the mapped file), one flat graph ([`flat`]: functions inlined, dead code gone,
//! sorted), then a walk over its nodes ([`import`](mod@import)) in which shape arithmetic is computed and everything else becomes a node.
//!
//! Invariants: nothing panics on hostile bytes, memory follows the file's size, recursion is bounded. What is not known is refused by name.

mod error;
mod external;
mod flat;
mod import;
mod inspect;
mod proto;
mod sparse;
mod tensor;
mod wire;

pub use error::{ENTRY_LIMIT, ITEM_LIMIT, ImportError, ReadError, Refused};
pub use flat::{Flat, FlatNode};
pub use import::{FileWeights, ImportOptions, Imported, Statistics, import};
pub use inspect::{Inspection, Port, inspect};
pub use proto::{Attribute, Attributes, PortInfo, PortSize};
pub use tensor::{Elem, Tensor};
