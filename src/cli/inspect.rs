//! `vitc inspect`: what is in a model, an artifact or a checkpoint.

use super::text::{bytes, si, table};
use super::{Answer, Caller, Failure, Outcome, importable};
use crate::artifact::{Artifact, LABELS_KEY, is_artifact};
use crate::checkpoint::Checkpoint;
use crate::message;
use crate::message::Setting;
use crate::model::{Model, ModelError, ModelRequest, is_model_file};
use crate::port::Port;
use crate::stages::{Stage, stages};
use clap::Parser;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use vitc_ir::cost;

/// Show what is in a model, an artifact or a checkpoint: size, cost, stages, operations, interface.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc inspect efficientformerv2-s0            a model, as its paper has it
  vitc inspect eformer_s0_450.pth              a checkpoint: which model it is, what is in it
  vitc inspect eformer_s0_450.pth --tensors    every tensor in it
  vitc inspect efficientformerv2-s0.onnx       an artifact, as it lies on disk")]
pub(super) struct Args {
    /// A model's name, an .onnx file, .mlpackage or .aimodel, or a checkpoint.
    #[arg(value_name = "MODEL|ARTIFACT|CHECKPOINT")]
    what: String,

    /// Input size for a model: a side, or HEIGHTxWIDTH.
    #[arg(long, value_name = "N|HxW", value_parser = super::text::resolution)]
    resolution: Option<[usize; 2]>,

    /// List every tensor of a checkpoint with its type and shape, whether or not it is a known model.
    #[arg(long, conflicts_with = "resolution")]
    tensors: bool,

    /// One JSON object on stdout instead of the tables.
    #[arg(long)]
    json: bool,
}

/// A model or a checkpoint, for `--json`.
#[derive(Debug, Serialize)]
struct ModelReport {
    kind: &'static str,
    model: String,
    paper: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    found: Vec<String>,
    resolution: [usize; 2],
    /// Trained parameters, as the checkpoint holds them.
    parameters: u64,
    /// Multiply-accumulates for one image.
    macs: u64,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    stages: Vec<Stage>,
    /// The same model after the passes that suit every target.
    deploy: Deploy,
}

/// What the passes leave of a model.
#[derive(Debug, Serialize)]
struct Deploy {
    parameters: u64,
    macs: u64,
    nodes: usize,
    ops: Vec<(String, usize)>,
}

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let path = Path::new(&args.what);
    if args.tensors {
        return match caller.weights {
            Some(held) => Ok(tensors(path, held)),
            None => Ok(tensors(path, &Checkpoint::open(path).map_err(ModelError::from)?)),
        };
    }
    if caller.weights.is_none() && is_artifact(path) {
        if args.resolution.is_some() {
            let why = " is for models: an artifact has the size it was exported with";
            return Err(Failure::usage(message!(Setting::Resolution, why)));
        }
        return artifact(path);
    }
    let looks_like_path = caller.weights.is_some() || path.exists() || args.what.contains(['/', '\\']);
    let request = if looks_like_path { ModelRequest::checkpoint(path) } else { ModelRequest::named(&args.what) };
    let mut request = ModelRequest { resolution: args.resolution, ..request };
    caller.hand_over(&mut request);
    let model = Model::load(&request)?;
    let report = report(&model, looks_like_path.then(|| path.to_path_buf()))?;
    Ok(Answer::new(text(&report), serde_json::to_value(&report).map_err(Failure::failed)?))
}

/// The tensors of a checkpoint, as they are stored.
fn tensors(path: &Path, checkpoint: &Checkpoint) -> Answer {
    let printable = |name: &str| name.replace(char::is_control, "\u{fffd}");
    let rows = checkpoint.tensors().iter().map(|(name, tensor)| [printable(name), tensor.to_string()]);
    let list: Vec<serde_json::Value> = checkpoint
        .tensors()
        .iter()
        .map(|(name, t)| serde_json::json!({ "name": name, "type": t.dtype.to_string(), "shape": t.shape }))
        .collect();
    let json = serde_json::json!({ "kind": "checkpoint", "path": path, "tensors": list });
    Answer::new(format!("{}\n\n{}", path.display(), pairs(rows.collect())), json)
}

fn artifact(path: &Path) -> Outcome {
    let found = Artifact::open(path).map_err(Failure::failed)?;
    let mut rows = vec![
        ["format".into(), found.format.clone()],
        ["size".into(), format!("{}, {} parameters", bytes(found.bytes), si(found.parameters))],
    ];
    rows.extend(found.data_files.iter().map(|name| {
        let there = path.with_file_name(name).is_file();
        ["".into(), format!("weights in {name} beside it{}", if there { "" } else { ", which is missing" })]
    }));
    let ports = |inputs: &[Port], outputs: &[Port]| -> Vec<[String; 2]> {
        let inputs = inputs.iter().map(|p| ["input".into(), port(p)]);
        inputs.chain(outputs.iter().map(|p| ["output".into(), port(p)])).collect()
    };
    if found.functions.is_empty() {
        rows.extend(ports(&found.inputs, &found.outputs));
    }
    for function in &found.functions {
        rows.push(["function".into(), function.name.clone()]);
        rows.extend(ports(&function.inputs, &function.outputs));
    }
    let mut text = format!("{}\n\n", path.display());
    text.push_str(&pairs(rows));
    let mut ops: Vec<(String, usize)> = found.ops.clone().into_iter().collect();
    ops.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    text.push_str(&operations(found.nodes, &ops));
    if !found.metadata.is_empty() {
        let told = found.metadata.iter().filter(|(k, _)| *k != LABELS_KEY);
        let entries = told.map(|(k, v)| [k.clone(), v.replace('\n', " ")]);
        let _ = write!(text, "\nmetadata\n{}", pairs(entries.collect()));
    }
    let mut json = serde_json::json!({ "kind": "artifact", "path": path });
    if !found.is_from_vitc() && is_model_file(path) {
        let answers = importable::importable(path);
        let _ =
            write!(text, "\nas a model to export, with the sizes that it has\n{}", pairs(importable::rows(&answers)));
        json["exports"] = serde_json::to_value(&answers).map_err(Failure::failed)?;
    }
    if let (Some(json), Ok(serde_json::Value::Object(more))) = (json.as_object_mut(), serde_json::to_value(&found)) {
        json.extend(more);
    }
    Ok(Answer::new(text, json))
}

fn report(model: &Model, file: Option<PathBuf>) -> Result<ModelReport, Failure> {
    let (inputs, outputs) = Port::of(&model.graph);
    let (deploy, _) = vitc_passes::deploy(&model.graph).map_err(Failure::failed)?;
    Ok(ModelReport {
        kind: if file.is_some() { "checkpoint" } else { "model" },
        model: model.name.clone(),
        paper: model.origin.citation(),
        file,
        found: model.weights.found().to_vec(),
        resolution: model.resolution,
        parameters: cost::trained_parameters(&model.graph),
        macs: cost::total_macs(&model.graph),
        inputs,
        outputs,
        stages: stages(&model.graph),
        deploy: Deploy {
            parameters: cost::parameters(&deploy),
            macs: cost::total_macs(&deploy),
            nodes: deploy.run_time_nodes().count(),
            ops: count(deploy.run_time_nodes().map(|(_, n)| n.op.word())),
        },
    })
}

/// Names with how often each occurs, most frequent first, then by name.
fn count<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for name in names {
        *counts.entry(name.to_string()).or_insert(0) += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    counts
}

fn port(p: &Port) -> String {
    format!("{} {} {}", p.name, p.dtype, p.shape)
}

fn pairs(rows: Vec<[String; 2]>) -> String {
    table(&rows.into_iter().map(Vec::from).collect::<Vec<_>>(), "  ")
}

fn operations(nodes: usize, ops: &[(String, usize)]) -> String {
    let rows: Vec<Vec<String>> = ops.iter().map(|(kind, n)| vec![kind.clone(), n.to_string()]).collect();
    format!("\n{nodes} operations\n{}", table(&rows, "  "))
}

fn text(report: &ModelReport) -> String {
    let [h, w] = report.resolution;
    let mut rows: Vec<[String; 2]> = vec![["paper".into(), report.paper.into()]];
    rows.extend(report.found.iter().map(|line| ["found".into(), line.clone()]));
    rows.push(["size".into(), format!("{} parameters, {} MACs at {h}x{w}", si(report.parameters), si(report.macs))]);
    rows.extend(report.inputs.iter().map(|p| ["input".into(), port(p)]));
    rows.extend(report.outputs.iter().map(|p| ["output".into(), port(p)]));
    let name = report.file.as_ref().map_or(String::new(), |f| format!("{}: ", f.display()));
    let mut text = format!("{name}{}\n\n{}", report.model, pairs(rows));

    let mut rows = vec![["stage", "output", "parameters", "MACs", "operations"].map(String::from).to_vec()];
    let row = |s: &Stage| vec![s.name.clone(), s.output.clone(), si(s.parameters), si(s.macs), s.nodes.to_string()];
    rows.extend(report.stages.iter().map(row));
    let _ = write!(text, "\n{}", table(&rows, "  "));
    let d = &report.deploy;
    let _ = writeln!(text, "\nafter the passes for every target: {} parameters, {} MACs", si(d.parameters), si(d.macs));
    text.push_str(operations(d.nodes, &d.ops).trim_start_matches('\n'));
    text
}
