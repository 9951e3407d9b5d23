//! What an export may be asked.

use super::Expectation;
use crate::check::Effort;
use crate::model::ModelRequest;
use crate::place::Form;
use std::path::{Path, PathBuf};
use vitc_exporters::coreml::{self, InputForm};
use vitc_ir::target::AttentionForm;
use vitc_ir::{DType, Target};
use vitc_passes::{FoldTables, Spectral, TalkingHeads};

/// The kind of artifact, with the options that only it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ONNX for ONNX Runtime and the like.
    Onnx {
        /// Opset, 17 to 23.
        opset: u32,
    },
    /// ONNX that TensorRT builds well.
    TensorRt {
        /// Opset, 17 to 23.
        opset: u32,
    },
    /// CoreML ML Program.
    CoreMl {
        /// Lowest iOS version that must load the package; `None` for the lowest that its content allows.
        ios: Option<u32>,
    },
}

impl Kind {
    /// The target with its default for what is left open.
    pub fn target(self) -> Target {
        match self {
            Kind::Onnx { opset } => Target::onnx(opset),
            Kind::TensorRt { opset } => Target::tensorrt(opset),
            Kind::CoreMl { ios } => Target::coreml(ios.unwrap_or(coreml::RELEASES[0].ios)),
        }
    }

    /// Suffix of the artifact's name, with the dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Kind::Onnx { .. } | Kind::TensorRt { .. } => ".onnx",
            Kind::CoreMl { .. } => ".mlpackage",
        }
    }

    /// One file or a folder.
    pub fn form(self) -> Form {
        match self {
            Kind::Onnx { .. } | Kind::TensorRt { .. } => Form::File,
            Kind::CoreMl { .. } => Form::Package,
        }
    }
}

/// Where the names of the classes come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Labels {
    /// The checkpoint's folder, if it has some.
    #[default]
    Checkpoint,
    /// A file, one name a line.
    File(PathBuf),
    /// Nowhere: there are none.
    Omit,
}

/// Everything an export may be asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which model with which weights.
    pub model: ModelRequest,
    /// Which kind of artifact.
    pub kind: Kind,
    /// Element type of the computation; `None` for the target's default.
    pub precision: Option<DType>,
    /// Form of spectral transforms.
    pub spectral: Spectral,
    /// Element type of inputs and outputs.
    pub interface: DType,
    /// Spelling of attention; `None` for the target's.
    pub attention: Option<AttentionForm>,
    /// Form of talking heads, for [`Kind::TensorRt`].
    pub talking_heads: TalkingHeads,
    /// Which position biases are stored.
    pub fold_tables: FoldTables,
    /// Where the artifact goes: a file, a folder for the default name, or `None` for the default name in the working folder.
    pub output: Option<PathBuf>,
    /// Keep the large constants of an ONNX file in a data file beside it whatever their size; above 2 GiB they are kept there anyway.
    pub external_data: bool,
    /// A page about the export; `None` for none.
    pub page: Option<PageRequest>,
    /// Replace what vitc did not write.
    pub force: bool,
    /// How much is checked before the artifact takes its place; `None` for nothing.
    pub check: Option<Effort>,
    /// Validate the graph after every pass.
    pub check_passes: bool,
    /// Values from outside that the artifact must reproduce.
    pub expect: Option<Expectation>,
    /// Folder for the check's inputs and reference outputs.
    pub save_io: Option<PathBuf>,
    /// What the artifact takes: normalised values, or pixels in 0..255 (for CoreML a picture).
    pub input: InputForm,
    /// Name of the input; `None` for `image`.
    pub input_name: Option<String>,
    /// Names of the outputs; one name for several is numbered. Empty for the model's own.
    pub output_names: Vec<String>,
    /// Mean per channel of pixels in 0..1; `None` for the checkpoint's, else the published one.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation per channel of pixels in 0..1; `None` as for the mean.
    pub std: Option<[f64; 3]>,
    /// Return probabilities instead of scores.
    pub softmax: bool,
    /// Leave an artifact that failed its check as `<output>.failed`.
    pub keep_failed: bool,
    /// Names of the classes.
    pub labels: Labels,
    /// Who made the model.
    pub author: Option<String>,
    /// Licence of the weights.
    pub license: Option<String>,
    /// What the model is for.
    pub description: Option<String>,
    /// Further metadata entries.
    pub extra: Vec<(String, String)>,
}

/// A page about an export: one HTML file.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// Where it goes: a file, a folder for the default name, or `None` for the default name in the working folder.
    pub place: Option<PathBuf>,
    /// The page is all that is wanted: the artifact is written and checked, and then removed.
    pub only: bool,
}

impl Request {
    /// An export with every default; the artifact goes to `output`.
    pub fn new(model: ModelRequest, kind: Kind, output: &Path) -> Request {
        Request {
            model,
            kind,
            precision: None,
            spectral: Spectral::Auto,
            interface: DType::F32,
            attention: None,
            talking_heads: TalkingHeads::Auto,
            fold_tables: FoldTables::Auto,
            output: Some(output.into()),
            external_data: false,
            page: None,
            force: false,
            check: Some(Effort::default()),
            check_passes: false,
            expect: None,
            save_io: None,
            input: InputForm::Tensor,
            input_name: None,
            output_names: Vec::new(),
            mean: None,
            std: None,
            softmax: false,
            keep_failed: false,
            labels: Labels::default(),
            author: None,
            license: None,
            description: None,
            extra: Vec::new(),
        }
    }
}
