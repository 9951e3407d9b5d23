//! `vitc publish`: a folder for a model hub.

use super::artifact_args::ArtifactArgs;
use super::progress::Progress;
use super::text::{bytes, table};
use super::{Answer, Caller, Failure, Outcome, summary};
use crate::export::{RequestBuilder, TargetKind};
use crate::message::Setting;
use crate::publish::{Published, publish};
use clap::Parser;
use std::path::PathBuf;

/// Export to several targets into one folder, with weights, settings, card, licence and hashes: ready for a model hub.
///
/// Each artifact goes the whole way of `vitc export`, with the same options and its check; if one of them fails there is no folder. Trained weights
/// are written as model.safetensors beside config.json, so that `--weights DIR` makes the same artifacts again; an ONNX file's are inside the artifacts.
#[derive(Debug, Parser)]
#[command(mut_arg("target", |target| target.hide(true).conflicts_with("targets")), after_help = "\
Examples:
  vitc publish out/ --weights eformer_s0_450.pth --targets coreml,tensorrt-onnx --license mit
  vitc publish out/ detector.onnx --targets coreml,onnx --shape 1x3x640x640")]
pub(super) struct Args {
    /// The folder. What vitc published before is replaced.
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    artifact: ArtifactArgs,

    /// What the artifacts are for, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',', required = true, help_heading = "Artifact")]
    targets: Vec<TargetKind>,

    /// Replace what is in the way even if vitc did not write it.
    #[arg(long, help_heading = "Artifact")]
    force: bool,

    /// One JSON object on stdout instead of the summary, on failure too.
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// No summary, no notices, no progress: only errors.
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let builders = builders(&args, caller)?;
    let progress = Progress::new(caller, args.quiet);
    let published = publish(builders, &args.folder, args.force, &|event| progress.watch(event));
    drop(progress);
    let published = published.map_err(|error| Failure::of(error, caller))?;
    let reports = published.reports.iter().map(|report| summary::json(report, caller));
    let json = serde_json::json!({
        "path": published.folder,
        "files": published.files,
        "artifacts": reports.collect::<Result<Vec<_>, _>>()?,
    });
    let warning = published.reports.first().and_then(summary::untrained).map(|what| (caller.words)(&what));
    let text = if args.quiet { String::new() } else { text(&published) };
    Ok(Answer { warning, ..Answer::new(text, json) })
}

/// A request for each target, with the versions that are its own.
fn builders(args: &Args, caller: &Caller<'_>) -> Result<Vec<RequestBuilder>, Failure> {
    if args.targets.is_empty() {
        return Err(Failure::usage("say what the artifacts are for: --targets coreml,onnx"));
    }
    let mut targets = args.targets.clone();
    targets.sort_by_key(|target| TargetKind::ALL.iter().position(|t| t == target));
    targets.dedup();
    let mut builders = targets.iter().map(|&target| args.artifact.for_target(target)).collect::<Result<Vec<_>, _>>()?;
    // A version is meant for the targets that have such versions; if none has, the first refuses it.
    for setting in [Setting::Opset, Setting::Ios] {
        if targets.iter().any(|target| target.version_setting() == setting) {
            for builder in builders.iter_mut().filter(|b| b.target.version_setting() != setting) {
                if setting == Setting::Opset { builder.opset = None } else { builder.ios = None }
            }
        }
    }
    builders.iter_mut().for_each(|builder| caller.complete(builder));
    Ok(builders)
}

fn text(published: &Published) -> String {
    let mut rows = vec![["file", "size", "BLAKE3"].map(String::from).to_vec()];
    let row = |file: &crate::publish::PublishedFile| {
        vec![file.path.clone(), bytes(file.bytes), file.blake3.get(..16).unwrap_or_default().to_string()]
    };
    rows.extend(published.files.iter().map(row));
    let mut out = format!("{}\n\n{}", published.folder.display(), table(&rows, "  "));
    for report in &published.reports {
        let verdict = match (report.fidelity(), &report.check) {
            (Some(fidelity), _) => format!("checked: {fidelity}"),
            (None, Some(check)) => {
                format!("checked, largest error {:.2e} of the largest value", check.worst_relative())
            }
            (None, None) => "not checked".into(),
        };
        out.push_str(&format!("\n  {}: {verdict}\n", report.target));
    }
    out
}
