//! What an export may be asked, and what excludes what.
//!
//! A [`RequestBuilder`] holds what a user says; [`RequestBuilder::build`] holds every rule that needs no model, so that whoever asks, the command
//! line or a program, is refused alike. Only it makes a [`Request`].

use super::format::TargetKind;
use super::functions::{self, FunctionSize, NamedFunction};
use super::options::{
    About, ArtifactOptions, Attention, CheckOptions, Cpu, Labels, Numbers, PortOptions, QuantizeOptions,
};
use crate::decide::quantize::{Form, Goal, Scheme};
use crate::message;
use crate::message::{Message, Setting};
use crate::model::ModelRequest;
use crate::signature::Likelihood;
use std::path::Path;
use vitc_exporters::coreml::InputForm;
use vitc_exporters::metadata::Layout;
use vitc_ir::{DType, Dim};

/// What a user asks of an export.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    /// Which model with which weights.
    pub model: ModelRequest,
    /// A function for each of these sizes of the input, if the format holds several; empty for the model's own size.
    pub functions: Vec<FunctionSize>,
    /// What the artifact is for.
    pub target: TargetKind,
    /// Opset of an ONNX file, 17 to 23; `None` for 17.
    pub opset: Option<u32>,
    /// Lowest iOS version that must load a package or asset; `None` for the lowest that its content allows.
    pub ios: Option<u32>,
    /// The file itself.
    pub artifact: ArtifactOptions,
    /// Element types and spellings of the computation.
    pub numbers: Numbers,
    /// What goes in and comes out.
    pub interface: PortOptions,
    /// What the metadata say beside what vitc knows.
    pub about: About,
    /// How the artifact is checked.
    pub check: CheckOptions,
}

/// An export that may be asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// At the size of the first function.
    pub(super) model: ModelRequest,
    pub(super) functions: Vec<NamedFunction>,
    pub(super) target: TargetKind,
    /// Version of the target's format, if one is asked for.
    pub(super) version: Option<u32>,
    pub(super) artifact: ArtifactOptions,
    pub(super) numbers: Numbers,
    pub(super) interface: PortOptions,
    pub(super) about: About,
    pub(super) check: CheckOptions,
}

impl Request {
    /// Element type of inputs and outputs of a graph of this precision.
    pub(super) fn port_type(&self, precision: DType) -> DType {
        self.interface.dtype.unwrap_or_else(|| (self.target.format().interface_type)(precision))
    }
}

impl RequestBuilder {
    /// An export with every default, under its default name in the working folder.
    pub fn new(model: ModelRequest, target: TargetKind) -> RequestBuilder {
        RequestBuilder {
            model,
            functions: Vec::new(),
            target,
            opset: None,
            ios: None,
            artifact: ArtifactOptions::default(),
            numbers: Numbers::default(),
            interface: PortOptions::default(),
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
    pub fn build(mut self) -> Result<Request, Message> {
        let functions = functions::named(&self.functions, self.target.format())?;
        if let Some(first) = self.functions.first() {
            self.model.batch = first.batch;
            self.model.resolution = first.resolution;
        }
        self.suits_target()?;
        self.suits_results()?;
        self.suits_format()?;
        self.suits_quantisation()?;
        let version = self.version();
        let RequestBuilder { model, target, artifact, numbers, interface, about, check, .. } = self;
        Ok(Request { model, functions, target, version, artifact, numbers, interface, about, check })
    }

    /// The version asked for of the target's format.
    fn version(&self) -> Option<u32> {
        if self.target.format().version == Setting::Ios { self.ios } else { self.opset }
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
        let onnx = [TargetKind::Onnx, TargetKind::TensorRt];
        let PortOptions { input, layout, bytes, .. } = &self.interface;
        for (given, setting) in [(layout.channels_last, Setting::InputLayout), (*bytes, Setting::InputType)] {
            if given && !onnx.contains(&self.target) {
                return Err(only_for(setting, targets(onnx)));
            }
        }
        if *bytes && *input != InputForm::Image {
            let why = ": bytes are pixels in 0..255, which the file has to normalise itself\n  use it with ";
            return Err(message!(Setting::InputType.to("uint8"), why, Setting::Input.to("image")));
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
        if let Some(version) = self.version().filter(|v| !format.versions.contains(v)) {
            let known: Vec<String> = format.versions.iter().map(u32::to_string).collect();
            let why = format!(": {} is for {} {}", self.target.name(), format.version_word, known.join(", "));
            return Err(message!(format.version.to(version), why));
        }
        if let (true, Some(why)) = (self.artifact.external_data, format.own_weights) {
            let others = TargetKind::ALL.into_iter().filter(|t| t.format().own_weights.is_none());
            return Err(only_for(Setting::ExternalData, message!(targets(others), "; ", why)));
        }
        Ok(())
    }

    /// What the target cannot hold in few bits, or what needs pictures, is an error.
    fn suits_quantisation(&self) -> Result<(), Message> {
        let Some(quantize) = &self.numbers.quantize else { return Ok(()) };
        let setting = Setting::Quantize.to(quantize.scheme.name());
        let refused = |why: &str| Err(message!(setting.clone(), ": ", why.to_string()));
        let form = match quantize.scheme {
            Scheme::One(form) => Some(form),
            Scheme::Mixed => None,
        };
        match (self.target, form) {
            (TargetKind::TensorRt, Some(Form::W8A8) | None)
            | (TargetKind::Onnx, Some(Form::W8A8 | Form::W8) | None)
            | (TargetKind::CoreMl | TargetKind::CoreAi, _) => {}
            (TargetKind::TensorRt, Some(_)) => {
                return refused(
                    "TensorRT does not fold weights of few bits: each layer would take one more kernel at every run\n  use w8a8",
                );
            }
            (TargetKind::Onnx, Some(_)) => return refused("ONNX holds w8a8 and w8"),
        }
        if self.interface.bytes || self.interface.layout != Layout::default() {
            return refused(
                "calibration pictures are floats with channels first: leave the input's layout and element type as they are",
            );
        }
        if self.functions.len() > 1 {
            return refused("a file with several sizes is not quantised: export one size");
        }
        if quantize.cpu != Cpu::Any && (self.target != TargetKind::Onnx || form == Some(Form::W8)) {
            return Err(message!(
                Setting::Cpu,
                " chooses among the forms of 8-bit layers that ONNX Runtime computes: leave it out"
            ));
        }
        self.suits_pictures(quantize)?;
        let table = matches!(form, Some(Form::W6 | Form::W4) | None);
        if quantize.palette_group.is_some() && !table {
            return Err(message!(
                Setting::PaletteGroup,
                " is for tables of weights: leave it out, or use ",
                Setting::Quantize.to("w4")
            ));
        }
        Ok(())
    }

    /// What pictures are needed for is an error without them.
    fn suits_pictures(&self, quantize: &QuantizeOptions) -> Result<(), Message> {
        if quantize.calibrate.is_some() {
            return Ok(());
        }
        let setting = Setting::Quantize.to(quantize.scheme.name());
        let give = Setting::Calibrate.to("FOLDER");
        match quantize.scheme {
            Scheme::One(Form::W8A8) => {
                return Err(message!(setting, ": the ranges of activations are seen on pictures only\n  give ", give));
            }
            Scheme::Mixed => {
                return Err(message!(setting, ": what a layer loses is seen on pictures only\n  give ", give));
            }
            Scheme::One(_) => {}
        }
        if quantize.samples.is_some() {
            return Err(message!(Setting::Samples, " chooses among the pictures of ", Setting::Calibrate));
        }
        if quantize.goal != Goal::default() {
            let goal = if quantize.goal.snr.is_some() { Setting::MinSnr } else { Setting::Agreement };
            return Err(message!(goal, " is measured on pictures\n  give ", give));
        }
        Ok(())
    }

    /// A setting about class scores is an error for other results.
    fn suits_results(&self) -> Result<(), Message> {
        let PortOptions { probabilities, labels, .. } = &self.interface;
        let settings: [(bool, Message); 5] = [
            (*probabilities == Some(Likelihood::OneOf), Setting::Softmax.into()),
            (*probabilities == Some(Likelihood::EachOf), Setting::Sigmoid.into()),
            (matches!(labels, Labels::File(_)), Setting::Labels.into()),
            (*labels == Labels::Omit, Setting::Labels.off().into()),
            (!self.model.heads.is_empty(), Setting::Head.into()),
        ];
        match settings.into_iter().find(|(given, _)| *given) {
            Some((_, setting)) if !self.model.results.are_final() => {
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
        let PortOptions { input, input_name, output_names, .. } = &self.interface;
        let names = input_name.iter().map(|n| (Setting::InputName, n));
        for (setting, name) in names.chain(output_names.iter().map(|n| (Setting::OutputName, n))) {
            (format.check_name)(name).map_err(|what| message!(setting, ": ", what))?;
        }
        let several = self.functions.iter().any(|f| f.batch != Dim::Fixed(1)) || self.model.batch != Dim::Fixed(1);
        if let (Some(why), InputForm::Image, true) = (format.picture, input, several) {
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
        let target = self.target.target(self.version());
        if self.numbers.attention == Some(Attention::Operator) && !target.attention_operator() {
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
