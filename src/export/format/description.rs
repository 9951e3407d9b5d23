//! The questions that a file format answers.

use crate::message::Setting;
use crate::place::Form;
use std::path::Path;
use vitc_exporters::coreml::Interface;
use vitc_exporters::{ExportError, Metadata, Summary};
use vitc_ir::eval::Numbers;
use vitc_ir::target::Format;
use vitc_ir::{DType, Graph, Target};

/// The lowest version that a content needs, and what of it.
pub(super) type NeededVersion = fn(&Graph, &Interface) -> Result<(u32, String), ExportError>;

/// Writes an artifact; gives the name of the data file beside it, if it has one.
pub(super) type Write = fn(&Content<'_>, &Path) -> Result<(Summary, Option<String>), ExportError>;

/// What a file format asks of an export.
pub(in crate::export) struct FileFormat {
    /// What a person calls its files: `file`, `package`.
    pub noun: &'static str,
    /// Suffix of the artifact's name, with the dot.
    pub suffix: &'static str,
    /// One file or a folder.
    pub form: Form,
    /// The setting that chooses its version.
    pub version: Setting,
    /// What a person calls the format and its version: `ONNX opset`, `ML Program for iOS`.
    pub title: &'static str,
    /// Its versions, ascending.
    pub versions: &'static [u32],
    /// The one where none is asked for and the content needs no later one.
    pub usual_version: u32,
    /// The format at a version.
    pub at: fn(u32) -> Format,
    /// The lowest version that this content needs, and what of it; `None` if the version decides the content.
    pub needed_version: Option<NeededVersion>,
    /// What a person calls its version, `iOS`.
    pub version_word: &'static str,
    /// The first version with an operator for attention.
    pub attention_operator: u32,
    /// Whether an input or output can have this name, and why not.
    pub check_name: fn(&str) -> Result<(), String>,
    /// Why the batch must be a number, if it must.
    pub fixed_batch: Option<&'static str>,
    /// Why a file holds one size of a model, if it does.
    pub one_function: Option<&'static str>,
    /// What to know about a batch that is chosen when the model runs.
    pub dynamic_batch: Option<&'static str>,
    /// Why an input of pixels takes one picture, where it is a picture of the system's own rather than numbers.
    pub picture: Option<&'static str>,
    /// Why a picture is red, green and blue, if it must be.
    pub plain_picture: Option<&'static str>,
    /// Element type of a picture's values in a graph of this precision.
    pub picture_type: fn(DType) -> DType,
    /// Element type of inputs and outputs of a graph of this precision, where none is asked for.
    pub interface_type: fn(DType) -> DType,
    /// The names of label and probabilities, where an artifact with labels answers with a label.
    pub label_outputs: Option<[&'static str; 2]>,
    /// What to know about single precision there.
    pub single_precision: Option<&'static str>,
    /// What to know about inputs and outputs of another type than the computation's.
    pub cast_interface: Option<&'static str>,
    /// Its artifacts run on Apple's Neural Engine, whose rules they are held against.
    pub neural_engine: bool,
    /// Why the weights need not be asked into a file of their own, if they always are in one.
    pub own_weights: Option<&'static str>,
    /// Write the artifact; the name of the data file beside it, if it has one.
    pub write: Write,
}

/// One function of an artifact.
pub(in crate::export) struct FunctionContent<'a> {
    pub name: &'a str,
    pub graph: &'a Graph,
    pub numbers: Numbers<'a>,
}

/// What is written.
pub(in crate::export) struct Content<'a> {
    /// Name of the first function, or of the only one.
    pub name: &'a str,
    pub graph: &'a Graph,
    pub numbers: Numbers<'a>,
    /// Further functions, where the format holds several.
    pub others: Vec<FunctionContent<'a>>,
    pub target: &'a Target,
    pub interface: &'a Interface,
    pub metadata: &'a Metadata,
    /// Large constants lie in a data file whatever their size.
    pub external_data: bool,
}
