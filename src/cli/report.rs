//! `vitc report`: an export of which only the page about it stays.

use super::artifact_args::ArtifactArgs;
use super::page::{PageArgs, export};
use super::progress::Progress;
use super::{Caller, Outcome, summary};
use crate::export::Report;
use crate::numbers::magnitude;
use clap::Parser;
use std::path::PathBuf;

/// Write a page about an export: stages, passes, error per layer, range of every value, precision, and the graph as a picture.
///
/// It walks the whole road of `vitc export` with the same options, in a folder that is removed afterwards, and keeps one HTML file that refers to nothing
/// outside itself. `vitc export --report FILE.html` keeps both. A page about an artifact that fails its check is written too, with exit code 3.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc report --weights eformer_s0_450.pth --target coreml
  vitc report affnet-et --target tensorrt-onnx --fp16 -o affnet.html     is its spectrum within the range of fp16?")]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,

    /// Where the page goes. A path that ends in `/`, or a folder, takes the default name: MODEL-report.html.
    #[arg(short, long, value_name = "FILE.html", help_heading = "Output")]
    out: Option<PathBuf>,

    /// Replace what is in the way even if vitc did not write it.
    #[arg(long, help_heading = "Output")]
    force: bool,

    /// One JSON object on stdout instead of the lines, with every figure of the page, on failure too.
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// No lines, no notices, no progress: only errors.
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let page = PageArgs { place: args.out.clone(), force: args.force, only: true };
    let mut builder = args.artifact.builder()?;
    builder.artifact.force = args.force;
    caller.complete(&mut builder);
    let progress = Progress::new(caller, args.quiet);
    let report = export(builder, Some(page), &progress, caller)?;
    drop(progress);
    let text = if args.quiet { String::new() } else { text(&report) };
    summary::answer(text, report, caller)
}

/// The page's place and what it says first.
fn text(report: &Report) -> String {
    let place = report.page.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let mut text = format!("{place}\n");
    if let Some(check) = &report.check {
        text.push_str(&format!(
            "\n  checked in {}: largest error {} of the largest value\n",
            check.precision.replace('f', "fp"),
            magnitude(check.worst_relative())
        ));
        let largest = check
            .layers
            .iter()
            .flat_map(|l| &l.values)
            .reduce(|a, b| if b.max > a.max || b.max.is_nan() { b } else { a });
        if let Some(layer) = largest {
            text.push_str(&format!(
                "  largest value inside: {} in {}; fp16 ends at {}\n",
                magnitude(layer.max),
                layer.name,
                crate::report::FP16_MAX
            ));
        }
    }
    text
}
