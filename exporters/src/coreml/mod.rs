//! CoreML: a target-stage graph to an ML Program `.mlpackage`, and a package back to a graph.
//!
//! Writing: [`write()`] spells each node in MIL (`ops`), streams the constants into `weight.bin` ([`blob`]) and lays out
//! the folder (`package`). Reading: [`read()`] decodes a package from its bytes alone. The two share the message
//! definitions and the record format and nothing else: no name table, no helper that orders pads or axes. So a mistake
//! in one of them shows as a difference in the check.
//!
//! Invariants of what is written: every input of an operation that has a default is written out; parameters are `const`
//! operations; no value has more than five dimensions; equal graphs, weights and metadata give equal bytes.

pub mod blob;
pub mod messages;
mod read;
mod write;

pub use read::{Package, PackageWeights, ReadError, print, read, read_foreign, text};
pub use write::{is_identifier, minimum_ios, write};

/// How the model's input arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputForm {
    /// A dense array of the graph's input type: f32, or f16 from iOS 16.
    #[default]
    Tensor,
    /// A picture of the input's size, RGB or grey. The graph's input is f32 `[1,3,H,W]` or `[1,1,H,W]` and holds 0..255; normalising is the
    /// graph's work.
    Image,
}

/// What of an artifact's interface the graph does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// How the input arrives.
    pub input: InputForm,
    /// The channels of a picture are blue, green and red.
    pub bgr: bool,
    /// The input in prose: how pixels must be prepared.
    pub input_description: String,
    /// The output in prose.
    pub output_description: String,
    /// Makes the model a classifier with these labels, in the order of the scores. The graph has one output then,
    /// probabilities f32 `[1,N]`; the package's outputs are [`CLASS_LABEL`] and [`CLASS_PROBABILITIES`].
    pub labels: Option<Vec<String>>,
}

/// Output of a classifier: the most probable label.
pub const CLASS_LABEL: &str = "classLabel";

/// Output of a classifier: probability per label.
pub const CLASS_PROBABILITIES: &str = "classLabel_probs";

/// A release of the format: what an operating system calls it, what the file calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// First iOS version that loads it.
    pub ios: u32,
    /// `specificationVersion` of the model.
    pub specification: i32,
    /// Operator set of the program.
    pub opset: &'static str,
}

/// All releases that hold ML Programs, oldest first.
pub const RELEASES: [Release; 5] = [
    Release { ios: 15, specification: 6, opset: "CoreML5" },
    Release { ios: 16, specification: 7, opset: "CoreML6" },
    Release { ios: 17, specification: 8, opset: "CoreML7" },
    Release { ios: 18, specification: 9, opset: "CoreML8" },
    Release { ios: 26, specification: 10, opset: "CoreML9" },
];

/// What a program calls the file of its large constants.
const WEIGHT_FILE: &str = "@model_path/weights/weight.bin";
