//! The options that decide an artifact: the same for every command that makes one.

use super::check_args::ExpectArgs;
use super::file_args::FileArgs;
use super::model_args::{ModelArgs, pair};
use super::text::Colours;
use super::values::{Element, Fit, Float, Fold, Heads, Input, Laid, Transform, batch, classes, input, ios, results};
use super::{Failure, text};
use crate::arch::Results;
use crate::check::Effort;
use crate::decide::quantize::{Goal, Scheme};
use crate::export::{
    About, ArtifactOptions, Attention, CheckOptions, Cpu, FunctionSize, Labels, Numbers, PortOptions, QuantizeOptions,
    Request, RequestBuilder, TargetKind,
};
use crate::message;
use crate::message::{Message, Setting};
use crate::model::ModelRequest;
use crate::signature::Likelihood;
use clap::ValueEnum;
use std::path::PathBuf;
use vitc_exporters::coreml::InputForm;
use vitc_exporters::metadata::Layout;
use vitc_ir::{DType, Dim};

/// What decides an artifact: the model, what the file is for, its numbers and how it is checked. The same for every command that makes one.
#[derive(Debug, clap::Args)]
pub(super) struct ArtifactArgs {
    /// Which model, as `vitc list` names it; the authors' and timm's spellings work too. Recognised from the checkpoint if left out. Or an ONNX file
    /// of any origin.
    #[arg(value_name = "MODEL")]
    model: Option<String>,

    /// What the file is for: plain ONNX, ONNX for TensorRT, CoreML, or Core AI.
    #[arg(long, value_enum, help_heading = "Artifact")]
    target: Option<TargetKind>,

    /// Opset of the ONNX file, 11 to 23 [default: 17; of an ONNX file its own, 17 to 23]. Older toolchains want 11 or 13; norms are several nodes below 17.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(11..=23), help_heading = "Artifact")]
    opset: Option<u32>,

    /// Oldest iOS version that must load the file: 15, 16, 17, 18 or 26 for coreml, 27 for coreai [default: the oldest that can hold it].
    #[arg(long, value_name = "VERSION", value_parser = ios, hide_possible_values = true, help_heading = "Artifact")]
    ios: Option<u32>,

    /// Keep the weights of an ONNX file in a data file beside it, as files above 2 GiB have to.
    #[arg(long, help_heading = "Artifact")]
    external_data: bool,

    #[command(flatten)]
    model_args: ModelArgs,

    #[command(flatten)]
    file_args: FileArgs,

    /// Number of classes. With --weights it is compared with the checkpoint's; without, it sizes the classifier.
    #[arg(long, value_name = "N", value_parser = classes, help_heading = "Weights")]
    num_classes: Option<usize>,

    /// What goes in: `tensor`, values that the caller normalises (the default), or `image`, pixels in 0..255 that the file normalises itself (on
    /// CoreML a picture). With --expect also an input as the file takes it: a .npy file of floats.
    #[arg(long, value_name = "tensor|image|FILE.npy", value_parser = input, help_heading = "Interface")]
    input: Vec<Input>,

    /// Name of the input [default: image].
    #[arg(long, value_name = "NAME", help_heading = "Interface")]
    input_name: Option<String>,

    /// How an ONNX file takes pictures: channels first, or last as cameras deliver them.
    #[arg(long, value_enum, default_value_t = Laid::Nchw, help_heading = "Interface")]
    input_layout: Laid,

    /// Element type of the input of an ONNX file: floats, or bytes for pixels in 0..255 (with --input image).
    #[arg(long, value_enum, default_value_t = Element::Float, help_heading = "Interface")]
    input_type: Element,

    /// The model was trained on blue, green and red, as OpenCV reads pictures: the file takes them in this order.
    #[arg(long, help_heading = "Interface")]
    bgr: bool,

    /// Mean of red, green and blue (or of each channel that the input has) for pixels in 0..1 [default: the checkpoint's, else the published
    /// one].
    #[arg(long, value_name = "R,G,B", value_parser = text::mean, allow_hyphen_values = true, help_heading = "Interface")]
    mean: Option<Colours>,

    /// Standard deviation of red, green and blue (or of each channel) for pixels in 0..1 [default: as for --mean].
    #[arg(long, value_name = "R,G,B", value_parser = text::std, allow_hyphen_values = true, help_heading = "Interface")]
    std: Option<Colours>,

    /// How a picture becomes the model's size where the file runs on pictures (vitc run and the like; written into the metadata): its centre, its whole
    /// stretched, or its whole padded [default: the checkpoint's, else crop].
    #[arg(long, value_enum, value_name = "crop|stretch|pad", hide_possible_values = true, help_heading = "Interface")]
    fit: Option<Fit>,

    /// Share of the resized picture that the centre crop keeps [default: as for --mean].
    #[arg(long, value_name = "SHARE", value_parser = text::share, help_heading = "Interface")]
    crop: Option<f64>,

    /// Interpolation of the resize [default: as for --mean].
    #[arg(long, value_parser = ["bilinear", "bicubic", "lanczos"], help_heading = "Interface")]
    interpolation: Option<String>,

    /// What the model returns: `logits`, class scores or what a detector's or segmenter's head predicts (the default); `features`, the pooled
    /// vector in front of the classifier; `pyramid`, the stage maps with the norms on them; some of these, `stage2,stage4`; `neck`, the maps behind the
    /// neck.
    #[arg(long, value_name = "WHAT", value_parser = results, help_heading = "Interface")]
    output: Option<Results>,

    /// A segmenter's scores at the size of the input, not at the head's own stride.
    #[arg(long, conflicts_with_all = ["output", "argmax", "decode"], help_heading = "Interface")]
    upsample: bool,

    /// The class of every pixel of the input, from scores enlarged as its authors evaluate.
    #[arg(long, conflicts_with_all = ["output", "decode", "softmax"], help_heading = "Interface")]
    argmax: bool,

    /// A detector's boxes and their probabilities, in pixels of the input, in place of offsets from anchors; overlapping ones stay.
    #[arg(long, conflicts_with_all = ["output", "softmax"], help_heading = "Interface")]
    decode: bool,

    /// Names of the outputs, with commas between them [default: logits, probabilities, features, or stage1 to stage4 with --output pyramid].
    /// One name for several outputs is numbered.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Interface")]
    output_name: Vec<String>,

    /// Return probabilities instead of scores, of classes that exclude each other.
    #[arg(long, conflicts_with = "sigmoid", help_heading = "Interface")]
    softmax: bool,

    /// Return a probability of its own for each score: for labels that do not exclude each other, and for models with one score.
    #[arg(long, help_heading = "Interface")]
    sigmoid: bool,

    /// Names of the classes, one a line. CoreML becomes a classifier that answers with a label; ONNX keeps its scores and carries the names in
    /// its metadata. Without this flag they are those in the config.json of the --weights folder, if it has some.
    #[arg(long, value_name = "FILE", help_heading = "Interface")]
    labels: Option<PathBuf>,

    /// No names of classes, even if the --weights folder has some: a CoreML package then returns scores.
    #[arg(long, conflicts_with = "labels", help_heading = "Interface")]
    no_labels: bool,

    /// Who made the model.
    #[arg(long, value_name = "TEXT", help_heading = "Metadata")]
    author: Option<String>,

    /// Licence of the weights.
    #[arg(long, value_name = "TEXT", help_heading = "Metadata")]
    license: Option<String>,

    /// What the model is for.
    #[arg(long, value_name = "TEXT", help_heading = "Metadata")]
    description: Option<String>,

    /// A further entry. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, help_heading = "Metadata")]
    set: Vec<(String, String)>,

    /// Compute in half precision: the default of coreml and coreai. ONNX files keep sums and softmax in single precision.
    #[arg(long, conflicts_with = "fp32", help_heading = "Numbers and shapes")]
    fp16: bool,

    /// Compute in single precision: the default of the ONNX targets. On CoreML and Core AI it does not run on the Neural Engine.
    #[arg(long, help_heading = "Numbers and shapes")]
    fp32: bool,

    /// Element type of input and output; fp16 needs iOS 16 on CoreML [default: fp32; on Core AI that of the computation, since a cast leaves the
    /// Neural Engine].
    #[arg(long, value_enum, help_heading = "Numbers and shapes")]
    io: Option<Float>,

    /// Spelling of attention, for coreml, coreai and onnx: products of all heads, every head by itself as in Apple's reference implementation, or one operator,
    /// which needs coreai, --ios 18 or --opset 23. `auto` is `matmul`; which is fastest on a Neural Engine is not measured. Talking heads stay products.
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Numbers and shapes")]
    attention: Option<Attention>,

    /// Talking heads (EfficientFormerV2) as one fused attention with more arithmetic, or as operators of their own; `auto` asks the cost model. For
    /// tensorrt-onnx.
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Numbers and shapes")]
    talking_heads: Option<Heads>,

    /// Store the attention biases that position tables give for every pair of tokens, or gather them from the tables when the model runs; `auto`
    /// stores a bias unless it exceeds both 8 MiB and eight times its table.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Fold::Auto, help_heading = "Numbers and shapes")]
    fold_tables: Fold,

    /// Images per run, or `dynamic` for a batch that the caller chooses (not on CoreML). Several, as in `1,8`, are a function each of one asset, on
    /// the same weights (coreai) [default: 1].
    #[arg(long, value_name = "N|dynamic", value_parser = batch, value_delimiter = ',', help_heading = "Numbers and shapes")]
    batch: Vec<Dim>,

    /// Input size: a side, or HEIGHTxWIDTH; several as for --batch [default: that of the checkpoint's tables, else the published one].
    #[arg(long, value_name = "N|HxW", value_parser = text::resolution, value_delimiter = ',', help_heading = "Numbers and shapes")]
    resolution: Vec<[usize; 2]>,

    /// Channels of the input, for a model without --weights; a checkpoint's stem says its own [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Numbers and shapes")]
    channels: Option<u16>,

    /// How Fourier and cosine transforms become matrix products.
    #[arg(long, value_enum, default_value_t = Transform::Auto, help_heading = "Numbers and shapes")]
    spectral: Transform,

    /// In fp16, leave small weights where half precision is coarse. Else powers of two move from layer to layer, exactly, where many weights would be
    /// subnormal.
    #[arg(long, help_heading = "Numbers and shapes")]
    no_equalize: bool,

    /// Hold weights, and with w8a8 the inputs of layers, in few bits. w6 and w4 are tables of 64 and 16 weights (coreml, coreai), w4-block32 has a scale for
    /// every 32 input channels (coreml from iOS 18, coreai); mixed chooses for each layer what keeps --min-snr. Without --calibrate every weight is rounded
    /// by itself.
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Quantisation")]
    quantize: Option<Scheme>,

    /// Pictures that the quantised model is fitted to and judged by: a folder, read with its subfolders, or a .npy file [N,C,H,W] of normalised values.
    /// Some hundred, of the kind that the model will see. Without --quantize: what the range of an ONNX file's values is measured on, which decides what
    /// stays in fp32 (tensorrt-onnx, --fp16).
    #[arg(long, value_name = "FOLDER|FILE.npy", help_heading = "Quantisation")]
    calibrate: Option<PathBuf>,

    /// Take so many of the pictures, evenly spread [default: all].
    #[arg(long, value_name = "N", requires = "quantize", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Quantisation")]
    samples: Option<u32>,

    /// Output channels that share a table, for w6 and w4; needs iOS 18 [default: one table per tensor].
    #[arg(long, value_name = "N", requires = "quantize", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Quantisation")]
    palette_group: Option<u32>,

    /// Least signal to noise on the pictures, in dB: layers that lose most stay as they are until it is reached [default: 30 for mixed, else none].
    #[arg(long, value_name = "DB", requires = "quantize", value_parser = text::decibels, help_heading = "Quantisation")]
    min_snr: Option<f64>,

    /// Least share of the pictures that keep their class, as in 98%: reached as --min-snr is.
    #[arg(long, value_name = "SHARE", requires = "quantize", value_parser = text::percentage, help_heading = "Quantisation")]
    agreement: Option<f64>,

    /// Leave this layer as it is: its path in the report, or what that begins with up to a dot. Repeatable.
    #[arg(long, value_name = "LAYER", requires = "quantize", help_heading = "Quantisation")]
    keep: Vec<String>,

    /// Pictures that the quantised model was not fitted to, to say how many keep their class.
    #[arg(long, value_name = "FOLDER|FILE.npy", requires = "quantize", help_heading = "Quantisation")]
    evaluate: Option<PathBuf>,

    /// Which processor runs an ONNX file: any x86, on which weights use 7 bits because pairs of products are added in 16; one with VNNI, or an Arm, on which
    /// they use 8.
    #[arg(long, value_enum, default_value_t = Cpu::Any, help_heading = "Quantisation")]
    cpu: Cpu,

    /// How much is run: `quick` takes the first and last block of each stage, one by one.
    #[arg(long, value_enum, default_value_t = Effort::Full, help_heading = "Check")]
    check: Effort,

    /// Write the artifact without running it.
    #[arg(long, help_heading = "Check")]
    no_check: bool,

    /// Validate the graph after every pass: finds the pass if vitc itself makes a mistake.
    #[arg(long, help_heading = "Check")]
    check_passes: bool,

    #[command(flatten)]
    expect: ExpectArgs,
}

impl ArtifactArgs {
    /// What is asked of the library, under the artifact's default name.
    pub(super) fn builder(&self) -> Result<RequestBuilder, Failure> {
        self.for_target(self.target.ok_or_else(no_target)?)
    }

    /// The same for this target.
    pub(super) fn for_target(&self, target: TargetKind) -> Result<RequestBuilder, Failure> {
        let (form, values) = self.inputs()?;
        let batch = match self.batch[..] {
            [] => None,
            [one] => Some(one),
            _ => self.batch.first().copied(),
        };
        let file = self.file_args.request(self.model.as_deref(), batch, self.named())?;
        if file.is_some() && self.batch.len() > 1 {
            let why = " takes one number for a model file: export one artifact per batch size";
            return Err(Failure::usage(message!(Setting::Batch, why)));
        }
        // Whether the batch of a file stays open may be said by its shape too.
        let open = file.iter().flat_map(|f| &f.shapes).any(|(_, sizes)| sizes.contains(&None));
        let model = ModelRequest {
            file,
            channels: self.channels.map(usize::from),
            classes: self.num_classes,
            results: self.results(),
            ..self.model_args.request(self.model.clone())
        };
        Ok(RequestBuilder {
            model,
            functions: self.functions(open),
            target,
            opset: self.opset,
            ios: self.ios,
            artifact: ArtifactOptions { external_data: self.external_data, ..ArtifactOptions::default() },
            numbers: self.numbers(),
            interface: self.interface(form),
            about: About {
                author: self.author.clone(),
                license: self.license.clone(),
                description: self.description.clone(),
                extra: self.set.clone(),
            },
            check: CheckOptions {
                effort: (!self.no_check).then_some(self.check),
                passes: self.check_passes,
                expect: self.expect.request(values)?,
                ..CheckOptions::default()
            },
        })
    }

    /// A setting that was given and belongs to models by name.
    fn named(&self) -> Option<Setting> {
        let own = [
            (!self.resolution.is_empty(), Setting::Resolution),
            (self.num_classes.is_some(), Setting::Classes),
            (self.results() != Results::Logits, Setting::Output),
        ];
        self.model_args.named().or(own.into_iter().find(|(given, _)| *given).map(|(_, setting)| setting))
    }

    /// A function for each batch at each resolution.
    fn functions(&self, open: bool) -> Vec<FunctionSize> {
        let batches = match (open, self.batch.as_slice()) {
            (true, _) => vec![Dim::Batch(1)],
            (false, []) => vec![Dim::Fixed(1)],
            (false, given) => given.to_vec(),
        };
        let resolutions = match self.resolution[..] {
            [] => vec![None],
            _ => self.resolution.iter().copied().map(Some).collect(),
        };
        let at = |resolution| batches.iter().map(move |&batch| FunctionSize { batch, resolution });
        resolutions.into_iter().flat_map(at).collect()
    }

    /// What is returned, in the form that is asked for.
    fn results(&self) -> Results {
        match (self.upsample, self.argmax, self.decode) {
            (true, ..) => Results::Enlarged,
            (_, true, _) => Results::ClassMap,
            (_, _, true) => Results::Boxes,
            _ => self.output.unwrap_or_default(),
        }
    }

    fn numbers(&self) -> Numbers {
        let precision = match (self.fp16, self.fp32) {
            (true, _) => Some(DType::F16),
            (_, true) => Some(DType::F32),
            _ => None,
        };
        Numbers {
            precision,
            attention: self.attention,
            talking_heads: self.talking_heads.map(Into::into),
            spectral: self.spectral.into(),
            fold_tables: self.fold_tables.into(),
            ranges: self.calibrate.clone().filter(|_| self.quantize.is_none()),
            equalize: !self.no_equalize,
            quantize: self.quantize.map(|scheme| QuantizeOptions {
                scheme,
                calibrate: self.calibrate.clone(),
                samples: self.samples.map(|n| n as usize),
                palette_group: self.palette_group.map(|n| n as usize),
                goal: Goal { snr: self.min_snr, agreement: self.agreement },
                keep: self.keep.clone(),
                evaluate: self.evaluate.clone(),
                cpu: self.cpu,
            }),
        }
    }

    fn interface(&self, input: InputForm) -> PortOptions {
        PortOptions {
            input,
            input_name: self.input_name.clone(),
            output_names: self.output_name.clone(),
            dtype: self.io.map(Into::into),
            layout: Layout { channels_last: self.input_layout == Laid::Nhwc, bgr: self.bgr },
            bytes: self.input_type == Element::Uint8,
            mean: self.mean.clone().map(|c| c.0),
            std: self.std.clone().map(|c| c.0),
            fit: self.fit.map(|f| f.0),
            crop: self.crop,
            interpolation: self.interpolation.clone(),
            probabilities: match (self.softmax, self.sigmoid) {
                (true, _) => Some(Likelihood::OneOf),
                (_, true) => Some(Likelihood::EachOf),
                _ => None,
            },
            labels: match &self.labels {
                Some(path) => Labels::File(path.clone()),
                None if self.no_labels => Labels::Omit,
                None => Labels::Checkpoint,
            },
        }
    }

    /// The form of the input and the values for it, which share a flag.
    fn inputs(&self) -> Result<(InputForm, Option<&PathBuf>), Failure> {
        let (mut forms, mut values) = (Vec::new(), Vec::new());
        for given in &self.input {
            match given {
                Input::Form(form) => forms.push(*form),
                Input::Values(path) => values.push(path),
            }
        }
        if forms.len() > 1 || values.len() > 1 {
            let why = ": give one form, tensor or image, and at most one .npy file";
            return Err(Failure::usage(message!(Setting::Input, why)));
        }
        Ok((forms.first().copied().unwrap_or_default(), values.first().copied()))
    }
}

/// What is asked, if it may be asked.
pub(super) fn request(builder: RequestBuilder) -> Result<Request, Failure> {
    builder.build().map_err(Failure::usage)
}

fn no_target() -> Failure {
    let line = |t: &TargetKind| {
        let value = t.to_possible_value().expect("no target is hidden");
        let help = value.get_help().cloned().unwrap_or_default();
        message!("\n  ", Setting::Target.to(format_args!("{:<14}", value.get_name())), format!(" {help}"))
    };
    let lines = Message::joined(TargetKind::value_variants().iter().map(line), "");
    Failure::usage(message!(Setting::Target, " is missing: what is the file for?", lines))
}
