//! What the flags of an artifact take: words of the command line for values of the library.

use crate::arch::Results;
use crate::check::Effort;
use crate::decide::quantize::Scheme;
use crate::export::{Attention, Cpu, TargetKind};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::PathBuf;
use vitc_exporters::coreml::InputForm;
use vitc_exporters::metadata;
use vitc_ir::{DType, Dim};
use vitc_passes::{FoldTables, Spectral, TalkingHeads};

impl ValueEnum for TargetKind {
    fn value_variants<'a>() -> &'a [Self] {
        &TargetKind::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            TargetKind::Onnx => "ONNX for ONNX Runtime and the like",
            TargetKind::TensorRt => "ONNX that TensorRT builds into fused kernels",
            TargetKind::CoreMl => "A CoreML package for Apple's Neural Engine",
            TargetKind::CoreAi => "A Core AI asset for Apple's systems from iOS and macOS 27 on",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl ValueEnum for Scheme {
    fn value_variants<'a>() -> &'a [Self] {
        &Scheme::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Cpu {
    fn value_variants<'a>() -> &'a [Self] {
        &[Cpu::Any, Cpu::Vnni, Cpu::Arm]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Cpu::Any => "any",
            Cpu::Vnni => "vnni",
            Cpu::Arm => "arm",
        }))
    }
}

impl ValueEnum for Attention {
    fn value_variants<'a>() -> &'a [Self] {
        &[Attention::Auto, Attention::Products, Attention::PerHead, Attention::Operator]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Attention::Auto => "auto",
            Attention::Products => "matmul",
            Attention::PerHead => "split",
            Attention::Operator => "sdpa",
        }))
    }
}

impl ValueEnum for Effort {
    fn value_variants<'a>() -> &'a [Self] {
        &[Effort::Full, Effort::Quick]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Effort::Full => ("full", "The whole model on every input"),
            Effort::Quick => ("quick", "First and last block of each stage"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// What the model returns, by its word, or some stages.
pub(super) fn results(text: &str) -> Result<Results, String> {
    match text {
        "logits" => Ok(Results::Logits),
        "features" => Ok(Results::Features),
        "pyramid" => Ok(Results::Pyramid),
        "neck" => Ok(Results::Neck),
        stages if stages.starts_with("stage") => stages.parse().map(Results::Stages),
        _ => Err("expected logits, features, pyramid, neck, or stages (stage2,stage4)".into()),
    }
}

/// Form of spectral transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Transform {
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

/// Element type, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Float {
    Fp32,
    Fp16,
}

impl From<Float> for DType {
    fn from(float: Float) -> Self {
        match float {
            Float::Fp32 => DType::F32,
            Float::Fp16 => DType::F16,
        }
    }
}

/// What becomes of position tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Fold {
    Auto,
    Always,
    Never,
}

impl From<Fold> for FoldTables {
    fn from(fold: Fold) -> Self {
        match fold {
            Fold::Auto => FoldTables::Auto,
            Fold::Always => FoldTables::Always,
            Fold::Never => FoldTables::Never,
        }
    }
}

/// What becomes of talking heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Heads {
    Auto,
    Fuse,
    Keep,
}

impl From<Heads> for TalkingHeads {
    fn from(heads: Heads) -> Self {
        match heads {
            Heads::Auto => TalkingHeads::Auto,
            Heads::Fuse => TalkingHeads::Fuse,
            Heads::Keep => TalkingHeads::Keep,
        }
    }
}

/// What happens to a picture's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit(pub(super) metadata::Fit);

impl ValueEnum for Fit {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Fit; 3] = [Fit(metadata::Fit::ALL[0]), Fit(metadata::Fit::ALL[1]), Fit(metadata::Fit::ALL[2])];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.word()))
    }
}

/// How the numbers of a picture lie in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Laid {
    /// `[B,C,H,W]`: a plane for each channel.
    Nchw,
    /// `[B,H,W,C]`: all channels of a pixel beside each other.
    Nhwc,
}

/// Element type of a picture's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Element {
    /// As the file computes, or as `--io` says.
    Float,
    /// Bytes.
    Uint8,
}

/// What goes in, or an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Form(InputForm),
    Values(PathBuf),
}

pub(super) fn input(text: &str) -> Result<Input, String> {
    match text {
        "tensor" => Ok(Input::Form(InputForm::Tensor)),
        "image" => Ok(Input::Form(InputForm::Image)),
        path if path.ends_with(".npy") => Ok(Input::Values(path.into())),
        _ => Err("expected tensor, image, or beside expected values a .npy file".into()),
    }
}

pub(super) fn batch(text: &str) -> Result<Dim, String> {
    match text.parse::<usize>() {
        Ok(n) if (1..=4096).contains(&n) => Ok(Dim::Fixed(n)),
        _ if text == "dynamic" => Ok(Dim::Batch(1)),
        _ => Err("expected a number from 1 to 4096, or `dynamic`".into()),
    }
}

pub(super) fn classes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("expected a number from 1 to 1000000".into()),
    }
}

pub(super) fn ios(text: &str) -> Result<u32, String> {
    let known = [15, 16, 17, 18, 26, 27];
    text.parse().ok().filter(|v| known.contains(v)).ok_or_else(|| "expected 15, 16, 17, 18, 26 or 27".to_string())
}
