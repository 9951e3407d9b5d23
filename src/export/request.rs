//! What an export may be asked, and what excludes what.
//!
//! A [`RequestBuilder`] holds what a user says; [`RequestBuilder::build`] holds every rule that needs no model, so that whoever asks, the command
//! line or a program, is refused alike. Only it makes a [`Request`].

use super::expect::Expectation;
use super::format::TargetKind;
use crate::arch::{Head, Results};
use crate::check::Effort;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::ModelRequest;
use std::path::{Path, PathBuf};
use vitc_exporters::coreml::InputForm;
use vitc_ir::target::AttentionForm;
use vitc_ir::{DType, Dim};
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
}

impl Default for Numbers {
    fn default() -> Self {
        let (spectral, fold_tables) = (Spectral::Auto, FoldTables::Auto);
        Numbers { precision: None, attention: None, talking_heads: None, spectral, fold_tables }
    }
}

/// What goes in and comes out.
#[derive(Debug, Clone)]
pub struct InterfaceOptions {
    /// Normalised values, or pixels in 0..255 (for CoreML a picture).
    pub input: InputForm,
    /// Name of the input; `None` for `image`.
    pub input_name: Option<String>,
    /// Names of the outputs; one name for several is numbered. Empty for the model's own.
    pub output_names: Vec<String>,
    /// Element type of both; `None` for what the target wants.
    pub dtype: Option<DType>,
    /// Mean per channel of pixels in 0..1; `None` for the checkpoint's, else the published one.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation per channel of pixels in 0..1; `None` as for the mean.
    pub std: Option<[f64; 3]>,
    /// Return probabilities instead of scores.
    pub softmax: bool,
    /// Names of the classes.
    pub labels: Labels,
}

impl Default for InterfaceOptions {
    fn default() -> Self {
        InterfaceOptions {
            input: InputForm::Tensor,
            input_name: None,
            output_names: Vec::new(),
            dtype: None,
            mean: None,
            std: None,
            softmax: false,
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
    /// Folder for the check's inputs and reference outputs.
    pub save_io: Option<PathBuf>,
    /// Leave an artifact that failed as `<output>.failed`.
    pub keep_failed: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        let effort = Some(Effort::default());
        CheckOptions { effort, layers: false, passes: false, expect: None, save_io: None, keep_failed: false }
    }
}

/// What a user asks of an export.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    /// Which model with which weights.
    pub model: ModelRequest,
    /// What the artifact is for.
    pub target: TargetKind,
    /// Opset of an ONNX file, 17 to 23; `None` for 17.
    pub opset: Option<u32>,
    /// Lowest iOS version that must load a package; `None` for the lowest that its content allows.
    pub ios: Option<u32>,
    /// The file itself.
    pub artifact: ArtifactOptions,
    /// Element types and spellings of the computation.
    pub numbers: Numbers,
    /// What goes in and comes out.
    pub interface: InterfaceOptions,
    /// What the metadata say beside what vitc knows.
    pub about: About,
    /// How the artifact is checked.
    pub check: CheckOptions,
}

/// An export that may be asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) model: ModelRequest,
    pub(super) target: TargetKind,
    /// Version of the target's format, if one is asked for.
    pub(super) version: Option<u32>,
    pub(super) artifact: ArtifactOptions,
    pub(super) numbers: Numbers,
    pub(super) interface: InterfaceOptions,
    pub(super) about: About,
    pub(super) check: CheckOptions,
}

impl RequestBuilder {
    /// An export with every default, under its default name in the working folder.
    pub fn new(model: ModelRequest, target: TargetKind) -> RequestBuilder {
        RequestBuilder {
            model,
            target,
            opset: None,
            ios: None,
            artifact: ArtifactOptions::default(),
            numbers: Numbers::default(),
            interface: InterfaceOptions::default(),
            about: About::default(),
            check: CheckOptions::default(),
        }
    }

    /// The same with an artifact that goes there.
    pub fn output(mut self, place: &Path) -> RequestBuilder {
        self.artifact.output = Some(place.into());
        self
    }

    /// The request.
    ///
    /// # Errors
    /// If settings exclude each other, or do not suit the target.
    pub fn build(self) -> Result<Request, Message> {
        self.suits_target()?;
        self.suits_results()?;
        self.suits_format()?;
        let version = if self.target.format().version == Setting::Ios { self.ios } else { self.opset };
        let RequestBuilder { model, target, artifact, numbers, interface, about, check, .. } = self;
        Ok(Request { model, target, version, artifact, numbers, interface, about, check })
    }

    /// A setting that the target does not use is an error.
    fn suits_target(&self) -> Result<(), Message> {
        let Numbers { attention, talking_heads, .. } = &self.numbers;
        let tensorrt = self.target == TargetKind::TensorRt;
        if tensorrt && attention.is_some() {
            let others = targets([TargetKind::CoreMl, TargetKind::CoreAi, TargetKind::Onnx]);
            return Err(only_for(Setting::Attention, message!(others, "; TensorRT fuses one form only")));
        }
        if !tensorrt && talking_heads.is_some() {
            return Err(only_for(Setting::TalkingHeads, targets([TargetKind::TensorRt])));
        }
        let format = self.target.format();
        for (version, given) in [(Setting::Opset, self.opset), (Setting::Ios, self.ios)] {
            if given.is_some() && format.version != version {
                return Err(only_for(
                    version,
                    targets(TargetKind::ALL.into_iter().filter(|t| t.format().version == version)),
                ));
            }
        }
        let version = if format.version == Setting::Ios { self.ios } else { self.opset };
        if let Some(version) = version.filter(|v| !format.versions.contains(v)) {
            let known: Vec<String> = format.versions.iter().map(u32::to_string).collect();
            let why = format!(": {} files are for {} {}", self.target.name(), format.version_word, known.join(", "));
            return Err(message!(format.version.to(version), why));
        }
        if let (true, Some(why)) = (self.artifact.external_data, format.own_weights) {
            let others = TargetKind::ALL.into_iter().filter(|t| t.format().own_weights.is_none());
            return Err(only_for(Setting::ExternalData, message!(targets(others), "; ", why)));
        }
        Ok(())
    }

    /// A setting about class scores is an error for other results.
    fn suits_results(&self) -> Result<(), Message> {
        let InterfaceOptions { softmax, labels, .. } = &self.interface;
        let settings: [(bool, Message); 4] = [
            (*softmax, Setting::Softmax.into()),
            (matches!(labels, Labels::File(_)), Setting::Labels.into()),
            (*labels == Labels::Omit, Setting::Labels.off().into()),
            (self.model.head != Head::Average, Setting::Head.into()),
        ];
        match settings.into_iter().find(|(given, _)| *given) {
            Some((_, setting)) if self.model.results != Results::Logits => {
                Err(only_for(setting, "models that return class scores"))
            }
            _ => Ok(()),
        }
    }

    /// What the file format cannot hold is an error.
    fn suits_format(&self) -> Result<(), Message> {
        let format = self.target.format();
        if let (Some(why), Dim::Batch(_)) = (format.fixed_batch, self.model.batch) {
            return Err(message!(
                Setting::Batch.to("dynamic"),
                ": ",
                why,
                format!("\n  export one {} per batch size: ", format.noun),
                Setting::Batch.to(1),
                ", ",
                Setting::Batch.to(8),
            ));
        }
        let InterfaceOptions { input, input_name, output_names, .. } = &self.interface;
        let names = input_name.iter().map(|n| (Setting::InputName, n));
        for (setting, name) in names.chain(output_names.iter().map(|n| (Setting::OutputName, n))) {
            (format.check_name)(name).map_err(|what| message!(setting, ": ", what))?;
        }
        if let (Some(why), InputForm::Image, true) = (format.picture, input, self.model.batch != Dim::Fixed(1)) {
            return Err(message!(
                Setting::Input.to("image"),
                ": ",
                why,
                "\n  use ",
                Setting::Batch.to(1),
                ", or ",
                Setting::Input.to("tensor"),
                " for a batch",
            ));
        }
        let version = if format.version == Setting::Ios { self.ios } else { self.opset };
        if self.numbers.attention == Some(Attention::Operator) && !self.target.target(version).attention_operator() {
            return Err(message!(
                Setting::Attention.to("sdpa"),
                ": the operator for attention does not exist for this target\n  use ",
                format.version.to(format.attention_operator),
                ", or ",
                Setting::Attention.to("matmul"),
            ));
        }
        Ok(())
    }
}

/// The error of a setting that others use.
fn only_for(setting: impl Into<Message>, others: impl Into<Message>) -> Message {
    message!(setting, " is for ", others, ": leave it out")
}

fn targets(kinds: impl IntoIterator<Item = TargetKind>) -> Message {
    Message::joined(kinds.into_iter().map(|kind| Setting::Target.to(kind.name())), " and ")
}
