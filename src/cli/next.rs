//! What to run next on an artifact, with its real names: commands as a person would paste them.

use crate::export::{Report, TargetKind};
use crate::port::Port;
use std::path::Path;

/// Batch sizes that the printed engine is optimised for when the batch is dynamic: least, usual, most.
const BATCHES: [usize; 3] = [1, 8, 32];

/// Commands, with comments between them.
pub(super) fn commands(report: &Report) -> Vec<String> {
    let path = &report.artifact.path;
    match report.lowered.kind {
        TargetKind::Onnx => vec![format!("vitc inspect {}", shell_word(path))],
        TargetKind::TensorRt => trtexec(path, report),
        TargetKind::CoreMl => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            vec![format!("xcrun coremlcompiler compile {} {}", shell_word(path), shell_word(folder))]
        }
        TargetKind::CoreAi => {
            vec![format!("xcrun coreai-build compile {} --preferred-compute neural-engine", shell_word(path))]
        }
    }
}

/// Build and measure with the flags of each TensorRT version. TensorRT 11 takes the precision from the file; 10 needs to be told so; 8.6 knows
/// only hints, and keeps to the file's fp32 islands when constraints are to be obeyed.
fn trtexec(path: &Path, report: &Report) -> Vec<String> {
    let (onnx, plan) = (shell_word(path), shell_word(&path.with_extension("plan")));
    let [h, w] = report.resolution;
    let dynamic = report.batch == "dynamic";
    let input = report.inputs.first().map_or("image", |p| &p.name);
    let shape = |n: usize| match report.lowered.model.file() {
        None => format!("{input}:{n}x3x{h}x{w}"),
        Some(_) => {
            let one = |p: &Port| format!("{}:{}", p.name, p.shape.replace("batch", &n.to_string()));
            report.inputs.iter().map(one).collect::<Vec<_>>().join(",")
        }
    };
    let [least, usual, most] = BATCHES.map(shape);
    let profile =
        if dynamic { format!(" --minShapes={least} --optShapes={usual} --maxShapes={most}") } else { String::new() };
    let run_shape = if dynamic { format!(" --shapes={usual}") } else { String::new() };
    let build = |flags: &str| {
        format!(
            "trtexec --onnx={onnx}{profile} --saveEngine={plan}{flags} --profilingVerbosity=detailed --skipInference"
        )
    };
    let run = |flags: &str| format!("trtexec --loadEngine={plan}{run_shape}{flags} --warmUp=500 --duration=10");
    let old = if report.precision.compute == "fp16" { " --fp16 --precisionConstraints=obey" } else { "" };
    let graphs = " --useCudaGraph --useSpinWait --noDataTransfers";
    let mut lines = Vec::new();
    if report.quantisation.is_some() {
        let time = |file: &str| format!("trtexec --onnx={file}{profile} --stronglyTyped{graphs}");
        lines.push(
            "# int8 may be slower than fp16: time both, the second exported with --fp16 and without --quantize".into(),
        );
        lines.extend([time(&onnx), time(&shell_word(&path.with_extension("fp16.onnx")))]);
    }
    lines.extend([
        "# TensorRT 11".into(),
        build(""),
        run(""),
        "# TensorRT 10".into(),
        build(" --stronglyTyped"),
        run(graphs),
        "# TensorRT 8.6".into(),
        build(old),
        run(graphs),
    ]);
    lines
}

/// A path as one word of a POSIX shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word(Path::new("out/m-s0.onnx")), "out/m-s0.onnx");
        assert_eq!(shell_word(Path::new("my model's.onnx")), r"'my model'\''s.onnx'");
    }
}
