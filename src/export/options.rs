//! What an export may be asked beside the model and the target, in groups with their defaults.

use super::expect::Expectation;
use super::format::TargetKind;
use crate::check::{Effort, Witness};
use crate::decide::quantize::{Form, Goal, Scheme};
use crate::signature::Likelihood;
use std::path::PathBuf;
use std::sync::Arc;
use vitc_exporters::coreml::InputForm;
use vitc_exporters::metadata::{Fit, Layout};
use vitc_ir::DType;
use vitc_ir::target::AttentionForm;
use vitc_passes::{FoldTables, Spectral, TalkingHeads};

/// Spelling of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attention {
    /// The target's.
    #[default]
    Auto,
    /// Products of all heads.
    Products,
    /// Every head by itself.
    PerHead,
    /// One operator.
    Operator,
}

impl Attention {
    /// The form that the passes make; `None` for the target's.
    pub(super) fn form(self) -> Option<AttentionForm> {
        match self {
            Attention::Auto => None,
            Attention::Products => Some(AttentionForm::Compact),
            Attention::PerHead => Some(AttentionForm::PerHead),
            Attention::Operator => Some(AttentionForm::Operator),
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

/// The file itself.
#[derive(Debug, Clone, Default)]
pub struct ArtifactOptions {
    /// Where it goes: a file, a folder for the default name, or `None` for the default name in the working folder.
    pub output: Option<PathBuf>,
    /// Keep the large constants of an ONNX file in a data file beside it whatever their size; above 2 GiB they are kept there anyway.
    pub external_data: bool,
    /// Replace what vitc did not write.
    pub force: bool,
}

/// Element types and spellings of the computation.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// Element type; `None` for the target's default.
    pub precision: Option<DType>,
    /// Spelling of attention, where the target leaves a choice.
    pub attention: Option<Attention>,
    /// Form of talking heads, for [`TargetKind::TensorRt`].
    pub talking_heads: Option<TalkingHeads>,
    /// Form of spectral transforms.
    pub spectral: Spectral,
    /// Which position biases are stored.
    pub fold_tables: FoldTables,
    /// What is held in few bits, and how.
    pub quantize: Option<QuantizeOptions>,
    /// Pictures on which the range of an imported file's values is measured, where nothing is held in few bits: a folder, or a `.npy` file of values
    /// as the model takes them.
    pub ranges: Option<PathBuf>,
    /// In half precision: powers of two move between layers where weights would be subnormal. Files with one function only.
    pub equalize: bool,
}

/// What is held in few bits, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeOptions {
    /// What weights, and activations, become.
    pub scheme: Scheme,
    /// Pictures to fit it to: a folder, or a `.npy` file of values as the model takes them.
    pub calibrate: Option<PathBuf>,
    /// How many of them, evenly spread; `None` for all.
    pub samples: Option<usize>,
    /// Output channels that share a table; `None` for one table per tensor.
    pub palette_group: Option<usize>,
    /// What it must reach on the pictures: layers that lose most stay as they are until it does.
    pub goal: Goal,
    /// Layers that stay as they are: paths, or what they begin with up to a dot.
    pub keep: Vec<String>,
    /// Pictures that it was not fitted to, to be judged by: a folder, or a `.npy` file.
    pub evaluate: Option<PathBuf>,
    /// Which processor runs an ONNX file.
    pub cpu: Cpu,
}

impl QuantizeOptions {
    /// Bits that 8-bit weights use. Kernels without dot products of 8 bits add pairs of products in 16: one bit less never overflows there.
    pub fn weight_bits(&self, target: TargetKind) -> u32 {
        let products = matches!(self.scheme, Scheme::One(Form::W8A8) | Scheme::Mixed);
        if products && target == TargetKind::Onnx && self.cpu == Cpu::Any { 7 } else { 8 }
    }
}

/// Which processor runs an ONNX file whose layers multiply 8-bit integers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cpu {
    /// Any x86: pairs of products are added in 16 bits, so weights use 7 of their bits.
    #[default]
    Any,
    /// An x86 with VNNI, which adds in 32 bits.
    Vnni,
    /// An Arm, which does too.
    Arm,
}

impl Default for Numbers {
    fn default() -> Self {
        let (spectral, fold_tables) = (Spectral::Auto, FoldTables::Auto);
        Numbers {
            precision: None,
            attention: None,
            talking_heads: None,
            spectral,
            fold_tables,
            quantize: None,
            ranges: None,
            equalize: true,
        }
    }
}

/// What goes in and comes out.
#[derive(Debug, Clone)]
pub struct PortOptions {
    /// Normalised values, or pixels in 0..255 (for CoreML a picture).
    pub input: InputForm,
    /// Name of the input; `None` for `image`.
    pub input_name: Option<String>,
    /// Names of the outputs; one name for several is numbered. Empty for the model's own.
    pub output_names: Vec<String>,
    /// Element type of both; `None` for what the target wants.
    pub dtype: Option<DType>,
    /// Mean per channel of pixels in 0..1; `None` for the checkpoint's, else the published one.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation per channel of pixels in 0..1; `None` as for the mean.
    pub std: Option<Vec<f64>>,
    /// What happens to a picture's shape; `None` for what the checkpoint says, else a centre crop.
    pub fit: Option<Fit>,
    /// Share of the resized picture that the centre crop keeps; `None` as for the mean.
    pub crop: Option<f64>,
    /// Interpolation of the resize; `None` as for the mean.
    pub interpolation: Option<String>,
    /// How the numbers of a picture lie in the input.
    pub layout: Layout,
    /// The input is bytes: pixels in 0..255.
    pub bytes: bool,
    /// Return probabilities instead of scores.
    pub probabilities: Option<Likelihood>,
    /// Names of the classes.
    pub labels: Labels,
}

impl Default for PortOptions {
    fn default() -> Self {
        PortOptions {
            input: InputForm::Tensor,
            input_name: None,
            output_names: Vec::new(),
            dtype: None,
            mean: None,
            std: None,
            fit: None,
            crop: None,
            interpolation: None,
            layout: Layout::default(),
            bytes: false,
            probabilities: None,
            labels: Labels::Checkpoint,
        }
    }
}

/// What the metadata say beside what vitc knows.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Who made the model.
    pub author: Option<String>,
    /// Licence of the weights.
    pub license: Option<String>,
    /// What the model is for.
    pub description: Option<String>,
    /// Further entries.
    pub extra: Vec<(String, String)>,
}

/// How the artifact is checked before it takes its place.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// How much is run; `None` for nothing.
    pub effort: Option<Effort>,
    /// Look at every value inside the model too: a page shows them.
    pub layers: bool,
    /// Validate the graph after every pass.
    pub passes: bool,
    /// Values from outside that the artifact must reproduce.
    pub expect: Option<Expectation>,
    /// The trained model itself, which the artifact is compared with too.
    pub witness: Option<Arc<dyn Witness>>,
    /// Folder for the check's inputs and reference outputs.
    pub save_io: Option<PathBuf>,
    /// Leave an artifact that failed as `<output>.failed`.
    pub keep_failed: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        let effort = Some(Effort::default());
        CheckOptions {
            effort,
            layers: false,
            passes: false,
            expect: None,
            witness: None,
            save_io: None,
            keep_failed: false,
        }
    }
}
