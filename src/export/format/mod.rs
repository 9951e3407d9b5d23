//! What each target and its file format ask of an export. Nothing else on the road knows a format; another one is one more file here.

mod coreai;
mod coreml;
mod description;
mod onnx;

pub(super) use description::{Content, FileFormat, FunctionContent};

use crate::message::Setting;
use vitc_ir::Target;

/// What an artifact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// ONNX for ONNX Runtime and the like.
    Onnx,
    /// ONNX that TensorRT builds well.
    TensorRt,
    /// CoreML ML Program for Apple's Neural Engine.
    CoreMl,
    /// Core AI asset for Apple's systems from iOS and macOS 27 on.
    CoreAi,
}

impl TargetKind {
    /// Every kind, in the order of the command line's help.
    pub const ALL: [TargetKind; 4] = [TargetKind::Onnx, TargetKind::TensorRt, TargetKind::CoreMl, TargetKind::CoreAi];

    /// Its name: `onnx`, `tensorrt-onnx`, `coreml`, `coreai`.
    pub fn name(self) -> &'static str {
        self.target(None).name()
    }

    /// What its artifacts may contain at this version of the format; `None` for the least that a format without choice has.
    pub(crate) fn target(self, version: Option<u32>) -> Target {
        let version = version.unwrap_or(self.format().usual_version);
        match self {
            TargetKind::Onnx => Target::onnx(version),
            TargetKind::TensorRt => Target::tensorrt(version),
            TargetKind::CoreMl => Target::coreml(version),
            TargetKind::CoreAi => Target::coreai(version),
        }
    }

    /// The setting that says the version of its format.
    pub fn version_setting(self) -> Setting {
        self.format().version
    }

    /// The format of its files.
    pub(super) fn format(self) -> &'static FileFormat {
        match self {
            TargetKind::Onnx | TargetKind::TensorRt => &onnx::FORMAT,
            TargetKind::CoreMl => &coreml::FORMAT,
            TargetKind::CoreAi => &coreai::FORMAT,
        }
    }
}
