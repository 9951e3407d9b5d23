//! `vitc export`: from a checkpoint to a checked artifact.

use super::check::ExpectArgs;
use super::model_args::{Classifier, ModelArgs, pair};
use super::progress::Progress;
use super::{Answer, Exit, Failure, Outcome, explained, summary, text};
use crate::arch::Results;
use crate::check::Effort;
use crate::export::{self, Error, Event, Kind, Labels, PageRequest, Request};
use crate::model::ModelRequest;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use vitc_exporters::coreml::InputForm;
use vitc_ir::target::AttentionForm;
use vitc_ir::{DType, Dim};
use vitc_passes::{FoldTables, Spectral, TalkingHeads};

/// Export a model: checkpoint in, checked ONNX file or CoreML package out.
///
/// The file appears in its place only when it is complete and has passed its check: it is run and compared, value by value, with the model
/// as its paper describes it. What was there before stays until then, and is replaced only if vitc wrote it (or with --force).
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc export --weights eformer_s0_450.pth --target coreml --input image --labels labels.txt
  vitc export --weights eformer_s0_450.pth --target tensorrt-onnx --fp16 --batch dynamic -o engines/
  vitc export efficientformerv2-l --target onnx          without weights: to measure latency only")]
pub(super) struct Args {
    #[command(flatten)]
    recipe: Recipe,

    /// Where the file goes. A path that ends in `/`, or a folder, takes the default name: MODEL.onnx, MODEL-fp16.onnx, MODEL.mlpackage.
    #[arg(short, long, value_name = "PATH", help_heading = "Artifact")]
    out: Option<PathBuf>,

    /// Replace what is in the way even if vitc did not write it.
    #[arg(long, help_heading = "Artifact")]
    force: bool,

    /// Write the check's inputs and reference outputs to this folder, as .npy and as raw floats for `trtexec --loadInputs`.
    #[arg(long, value_name = "DIR", conflicts_with = "no_check", help_heading = "Check")]
    save_io: Option<PathBuf>,

    /// Write a page about the export to this file too: what `vitc report` writes. It is written also if the check fails, and shows where.
    #[arg(long, value_name = "FILE.html", help_heading = "Artifact")]
    report: Option<PathBuf>,

    /// Leave an artifact that failed its check as PATH.failed, to look at.
    #[arg(long, conflicts_with = "no_check", help_heading = "Check")]
    keep_failed: bool,

    /// Print the graph that would be written, as text, and write nothing.
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["out", "report", "force", "no_check", "keep_failed"], help_heading = "Output")]
    emit: Option<Emit>,

    /// One JSON object on stdout instead of the summary, on failure too.
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// No summary, no notices, no progress: only errors.
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// What decides an artifact: the model, what the file is for, its numbers and how it is checked. The same for every command that makes one.
#[derive(Debug, clap::Args)]
pub(super) struct Recipe {
    /// Which model, as `vitc list` names it; the authors' and timm's spellings work too. Recognised from the checkpoint if left out.
    #[arg(value_name = "MODEL")]
    model: Option<String>,

    /// What the file is for: plain ONNX, ONNX for TensorRT, or CoreML.
    #[arg(long, value_enum, help_heading = "Artifact")]
    target: Option<TargetName>,

    /// Opset of the ONNX file, 17 to 23 [default: 17].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(17..=23), help_heading = "Artifact")]
    opset: Option<u32>,

    /// Oldest iOS version that must load the package: 15, 16, 17, 18 or 26 [default: the oldest that can hold it].
    #[arg(long, value_name = "VERSION", value_parser = ios, hide_possible_values = true, help_heading = "Artifact")]
    ios: Option<u32>,

    /// Keep the weights of an ONNX file in a data file beside it, as files above 2 GiB have to.
    #[arg(long, help_heading = "Artifact")]
    external_data: bool,

    #[command(flatten)]
    model_args: ModelArgs,

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

    /// Mean of red, green and blue for pixels in 0..1 [default: the checkpoint's, else the published one].
    #[arg(long, value_name = "R,G,B", value_parser = text::mean, allow_hyphen_values = true, help_heading = "Interface")]
    mean: Option<[f64; 3]>,

    /// Standard deviation of red, green and blue for pixels in 0..1 [default: as for --mean].
    #[arg(long, value_name = "R,G,B", value_parser = text::std, allow_hyphen_values = true, help_heading = "Interface")]
    std: Option<[f64; 3]>,

    /// What the model returns.
    #[arg(long, value_enum, default_value_t = Returns::Logits, help_heading = "Interface")]
    output: Returns,

    /// Names of the outputs, with commas between them [default: logits, probabilities, features, or stage1 to stage4 with --output pyramid].
    /// One name for several outputs is numbered.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Interface")]
    output_name: Vec<String>,

    /// Return probabilities instead of scores.
    #[arg(long, help_heading = "Interface")]
    softmax: bool,

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

    /// Compute in half precision: the default of coreml. ONNX files keep sums and softmax in single precision.
    #[arg(long, conflicts_with = "fp32", help_heading = "Numbers and shapes")]
    fp16: bool,

    /// Compute in single precision: the default of the ONNX targets. On CoreML it does not run on the Neural Engine.
    #[arg(long, help_heading = "Numbers and shapes")]
    fp32: bool,

    /// Element type of input and output; fp16 needs iOS 16 on CoreML.
    #[arg(long, value_enum, default_value_t = Float::Fp32, help_heading = "Numbers and shapes")]
    io: Float,

    /// Spelling of attention, for coreml and onnx: products of all heads, every head by itself as in Apple's reference implementation, or one operator,
    /// which needs --ios 18 or --opset 23. `auto` is `matmul`; which is fastest on a Neural Engine is not measured. Talking heads stay products.
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

    /// Images per run, or `dynamic` for a batch that the caller chooses (ONNX targets).
    #[arg(long, value_name = "N|dynamic", value_parser = batch, default_value = "1", help_heading = "Numbers and shapes")]
    batch: Dim,

    /// Input size: a side, or HEIGHTxWIDTH [default: that of the checkpoint's tables, else the published one].
    #[arg(long, value_name = "N|HxW", value_parser = text::resolution, help_heading = "Numbers and shapes")]
    resolution: Option<[usize; 2]>,

    /// How Fourier and cosine transforms become matrix products.
    #[arg(long, value_enum, default_value_t = Transform::Auto, help_heading = "Numbers and shapes")]
    spectral: Transform,

    /// How much is run: `quick` takes the first and last block of each stage, one by one.
    #[arg(long, value_enum, default_value_t = Extent::Full, help_heading = "Check")]
    check: Extent,

    /// Write the artifact without running it.
    #[arg(long, help_heading = "Check")]
    no_check: bool,

    /// Validate the graph after every pass: finds the pass if vitc itself makes a mistake.
    #[arg(long, help_heading = "Check")]
    check_passes: bool,

    #[command(flatten)]
    expect: ExpectArgs,
}

/// Form of spectral transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transform {
    /// Per map size what costs less on the target, with matrices below half of the model's weights.
    Auto,
    /// One product over all positions: fewest operations, largest matrices.
    Dense,
    /// One product per axis.
    Separable,
}

impl From<Transform> for Spectral {
    fn from(form: Transform) -> Self {
        match form {
            Transform::Auto => Spectral::Auto,
            Transform::Dense => Spectral::Dense,
            Transform::Separable => Spectral::Separable,
        }
    }
}

/// What the artifact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TargetName {
    /// ONNX for ONNX Runtime and the like.
    Onnx,
    /// ONNX that TensorRT builds into fused kernels.
    TensorrtOnnx,
    /// A CoreML package for Apple's Neural Engine.
    Coreml,
}

/// Element type, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Float {
    Fp32,
    Fp16,
}

/// Spelling of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Attention {
    Auto,
    Matmul,
    Split,
    Sdpa,
}

/// What becomes of position tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fold {
    Auto,
    Always,
    Never,
}

/// What becomes of talking heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Heads {
    Auto,
    Fuse,
    Keep,
}

/// How much of the check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Extent {
    /// The whole model on every input.
    Full,
    /// First and last block of each stage.
    Quick,
}

/// What the model returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Returns {
    /// Class scores.
    Logits,
    /// The pooled features in front of the classifier.
    Features,
    /// The four stage maps, for detection and segmentation.
    Pyramid,
}

/// What goes in, or an input.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    Form(InputForm),
    Values(PathBuf),
}

fn input(text: &str) -> Result<Input, String> {
    match text {
        "tensor" => Ok(Input::Form(InputForm::Tensor)),
        "image" => Ok(Input::Form(InputForm::Image)),
        path if path.ends_with(".npy") => Ok(Input::Values(path.into())),
        _ => Err("expected tensor, image, or with --expect a .npy file".into()),
    }
}

/// A graph on the road.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// As the artifact would hold it.
    Ir,
    /// After the passes that suit every target.
    IrDeploy,
    /// As the paper has it.
    IrPaper,
}

fn batch(text: &str) -> Result<Dim, String> {
    match text.parse::<usize>() {
        Ok(n) if (1..=4096).contains(&n) => Ok(Dim::Fixed(n)),
        _ if text == "dynamic" => Ok(Dim::Batch(1)),
        _ => Err("expected a number from 1 to 4096, or `dynamic`".into()),
    }
}

fn classes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("expected a number from 1 to 1000000".into()),
    }
}

fn ios(text: &str) -> Result<u32, String> {
    let known = vitc_exporters::coreml::RELEASES.map(|r| r.ios);
    text.parse().ok().filter(|v| known.contains(v)).ok_or_else(|| "expected 15, 16, 17, 18 or 26".to_string())
}

impl Recipe {
    /// The library's request for an artifact under its default name; a flag that the target does not use is an error.
    pub(super) fn request(&self) -> Result<Request, Failure> {
        let Some(target) = self.target else {
            let line = |t: &TargetName| {
                let value = t.to_possible_value().expect("no target is hidden");
                format!("  --target {:<14} {}", value.get_name(), value.get_help().cloned().unwrap_or_default())
            };
            let lines: Vec<String> = TargetName::value_variants().iter().map(line).collect();
            return Err(Failure::usage(format!("--target is missing: what is the file for?\n{}", lines.join("\n"))));
        };
        let unused = |flag: &str, given: bool, only: &str| match given {
            true => Err(Failure::usage(format!("{flag} is for {only}: leave it out"))),
            false => Ok(()),
        };
        if target == TargetName::TensorrtOnnx {
            let others = "--target coreml and --target onnx; TensorRT fuses one form only";
            unused("--attention", self.attention.is_some(), others)?;
        }
        if target != TargetName::TensorrtOnnx {
            unused("--talking-heads", self.talking_heads.is_some(), "--target tensorrt-onnx")?;
        }
        let kind = match target {
            TargetName::Coreml => {
                let onnx = "--target onnx and --target tensorrt-onnx";
                unused("--opset", self.opset.is_some(), onnx)?;
                unused(
                    "--external-data",
                    self.external_data,
                    &format!("{onnx}; a package always keeps its weights in a file of their own"),
                )?;
                Kind::CoreMl { ios: self.ios }
            }
            TargetName::Onnx | TargetName::TensorrtOnnx => {
                unused("--ios", self.ios.is_some(), "--target coreml")?;
                let opset = self.opset.unwrap_or(17);
                if target == TargetName::Onnx { Kind::Onnx { opset } } else { Kind::TensorRt { opset } }
            }
        };
        if self.output != Returns::Logits {
            for (flag, given) in
                [("--softmax", self.softmax), ("--labels", self.labels.is_some()), ("--no-labels", self.no_labels)]
            {
                unused(flag, given, "models that return class scores")?;
            }
            unused("--head", self.model_args.head != Classifier::Average, "models that return class scores")?;
        }
        let (mut forms, mut values) = (Vec::new(), Vec::new());
        for given in &self.input {
            match given {
                Input::Form(form) => forms.push(*form),
                Input::Values(path) => values.push(path),
            }
        }
        if forms.len() > 1 || values.len() > 1 {
            return Err(Failure::usage("--input: give one form, tensor or image, and at most one .npy file"));
        }
        let precision = match (self.fp16, self.fp32) {
            (true, _) => Some(DType::F16),
            (_, true) => Some(DType::F32),
            _ => None,
        };
        Ok(Request {
            model: ModelRequest {
                batch: self.batch,
                resolution: self.resolution,
                classes: self.num_classes,
                results: match self.output {
                    Returns::Logits => Results::Logits,
                    Returns::Features => Results::Features,
                    Returns::Pyramid => Results::Pyramid,
                },
                ..self.model_args.request(self.model.clone())
            },
            kind,
            precision,
            spectral: self.spectral.into(),
            interface: if self.io == Float::Fp16 { DType::F16 } else { DType::F32 },
            attention: match self.attention {
                None | Some(Attention::Auto) => None,
                Some(Attention::Matmul) => Some(AttentionForm::Compact),
                Some(Attention::Split) => Some(AttentionForm::PerHead),
                Some(Attention::Sdpa) => Some(AttentionForm::Operator),
            },
            talking_heads: match self.talking_heads {
                None | Some(Heads::Auto) => TalkingHeads::Auto,
                Some(Heads::Fuse) => TalkingHeads::Fuse,
                Some(Heads::Keep) => TalkingHeads::Keep,
            },
            fold_tables: match self.fold_tables {
                Fold::Auto => FoldTables::Auto,
                Fold::Always => FoldTables::Always,
                Fold::Never => FoldTables::Never,
            },
            output: None,
            external_data: self.external_data,
            page: None,
            force: false,
            check: match self.check {
                _ if self.no_check => None,
                Extent::Full => Some(Effort::Full),
                Extent::Quick => Some(Effort::Quick),
            },
            check_passes: self.check_passes,
            expect: self.expect.request(values.first().copied())?,
            save_io: None,
            input: forms.first().copied().unwrap_or_default(),
            input_name: self.input_name.clone(),
            output_names: self.output_name.clone(),
            mean: self.mean,
            std: self.std,
            softmax: self.softmax,
            keep_failed: false,
            labels: match &self.labels {
                Some(path) => Labels::File(path.clone()),
                None if self.no_labels => Labels::Omit,
                None => Labels::Checkpoint,
            },
            author: self.author.clone(),
            license: self.license.clone(),
            description: self.description.clone(),
            extra: self.set.clone(),
        })
    }
}

/// Run the command.
pub(super) fn run(args: Args) -> Outcome {
    let request = Request {
        output: args.out.clone(),
        page: args.report.clone().map(|place| PageRequest { place: Some(place), only: false }),
        force: args.force,
        save_io: args.save_io.clone(),
        keep_failed: args.keep_failed,
        ..args.recipe.request()?
    };
    let progress = Progress::new(args.quiet);
    let watch = |event: Event<'_>| progress.watch(event);
    if let Some(emit) = args.emit {
        let lowered = export::lower(&request, &watch)?;
        let graph = match emit {
            Emit::Ir => &lowered.graph,
            Emit::IrDeploy => &lowered.deploy,
            Emit::IrPaper => &lowered.model.graph,
        };
        let text = graph.to_string();
        return Ok(Answer { json: serde_json::json!({ "ir": text }), text, warning: None });
    }
    let report = export::export(&request, &watch)?;
    drop(progress);
    let warning = summary::untrained(&report);
    let text = if args.quiet { String::new() } else { summary::text(&report) };
    Ok(Answer { text, json: summary::json(&report)?, warning })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = explained(&error);
        match error {
            Error::Check { report, .. } => Failure { exit: Exit::Check, message, report: summary::json(&report).ok() },
            e if e.is_usage() => Failure::usage(message),
            _ => Failure::failed(message),
        }
    }
}
