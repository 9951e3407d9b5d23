//! `vitc export`: from a checkpoint to a checked artifact.

use super::artifact_args::{ArtifactArgs, request};
use super::page::{PageArgs, export};
use super::progress::Progress;
use super::{Answer, Caller, Exit, Failure, Outcome, summary};
use crate::export::{self, Error, RequestBuilder};
use crate::message::Explain;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

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
    artifact: ArtifactArgs,

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

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let mut builder = args.artifact.builder()?;
    builder.artifact.output = args.out.clone();
    builder.artifact.force = args.force;
    builder.check.save_io = args.save_io.clone();
    builder.check.keep_failed = args.keep_failed;
    caller.complete(&mut builder);
    let progress = Progress::new(caller, args.quiet);
    if let Some(emit) = args.emit {
        return emitted(builder, emit, &progress, caller);
    }
    let page = args.report.map(|place| PageArgs { place: Some(place), force: args.force, only: false });
    let report = export(builder, page, &progress, caller)?;
    drop(progress);
    let text = if args.quiet { String::new() } else { summary::text(&report) };
    summary::answer(text, report, caller)
}

/// The graph as text.
fn emitted(builder: RequestBuilder, emit: Emit, progress: &Progress, caller: &Caller<'_>) -> Outcome {
    let lowered = export::lower(&request(builder)?, &|event| progress.watch(event));
    let lowered = lowered.map_err(|error| Failure::of(error, caller))?;
    let graph = match emit {
        Emit::Ir => &lowered.graph,
        Emit::IrDeploy => &lowered.deploy,
        Emit::IrPaper => &lowered.model.graph,
    };
    let text = graph.to_string();
    let json = serde_json::json!({ "ir": text });
    Ok(Answer::new(text, json))
}

impl Failure {
    /// An export that was not made.
    pub(super) fn of(error: Error, caller: &Caller<'_>) -> Failure {
        let message = error.message();
        match error {
            Error::Check { report, .. } => {
                Failure { exit: Exit::Check, message, json: summary::json(&report, caller).ok(), report: Some(report) }
            }
            e if e.is_usage() => Failure::usage(message),
            _ => Failure::new(Exit::Failed, message),
        }
    }
}
