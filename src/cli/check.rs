//! `vitc check`: whether an artifact that lies on disk computes what its model computes.

use super::check_args::ExpectArgs;
use super::model_args::ModelArgs;
use super::progress::Progress;
use super::{Answer, Caller, Exit, Failure, Outcome, summary};
use crate::artifact::{Artifact, ArtifactError};
use crate::check::{self, CheckReport, Effort, Fidelity, Outside, bounds};
use crate::checkpoint::SelectOptions;
use crate::decide::quantize::{Goal, Scheme};
use crate::export::{Calibration, calibration};
use crate::message;
use crate::message::Setting;
use crate::model::{Model, ModelRequest, is_model_file};
use crate::port::Port;
use crate::provenance::{AGREEMENT_KEY, MIN_SNR_KEY, Provenance, QUANTIZE_KEY};
use clap::Parser;
use serde::Serialize;
use std::path::{Path, PathBuf};
use vitc_ir::{DType, Dim};

/// Check an artifact: against the model it was made from, or against values from outside.
///
/// With a model it runs both and compares them value by value. Which model, at which size, the artifact's metadata say; the weights must be given
/// again. With --input and --expect it runs the artifact alone and compares with your own numbers.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc check efficientformerv2-s0.onnx --weights eformer_s0_450.pth
  vitc check efficientformerv2-s0.mlpackage --input x.npy --expect logits.npy
  vitc check pyramid.onnx --input x.npy --expect maps.npz")]
pub(super) struct Args {
    /// The .onnx file, .mlpackage or .aimodel.
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,

    /// The model, if the artifact does not say; for an artifact that was made from an ONNX file, that file.
    #[arg(value_name = "MODEL")]
    model: Option<String>,

    #[command(flatten)]
    model_args: ModelArgs,

    /// An input as the artifact takes it: a .npy file of floats.
    #[arg(long, value_name = "FILE.npy", help_heading = "Check")]
    input: Option<PathBuf>,

    #[command(flatten)]
    expect: ExpectArgs,

    /// Pictures that a quantised artifact is judged by, as at its export: a folder, or a .npy file of values as the tensor input takes them. Without
    /// them it is looked at coarsely, on synthetic inputs.
    #[arg(long, value_name = "FOLDER|FILE.npy", help_heading = "Check")]
    calibrate: Option<PathBuf>,

    /// Take so many of these pictures, evenly spread.
    #[arg(long, value_name = "N", requires = "calibrate", help_heading = "Check")]
    samples: Option<usize>,

    /// How much is run: `quick` takes the first and last block of each stage, one by one.
    #[arg(long, value_enum, default_value_t = Effort::Full, help_heading = "Check")]
    check: Effort,

    /// Write the check's inputs and reference outputs to this folder, as .npy and as raw floats for `trtexec --loadInputs`.
    #[arg(long, value_name = "DIR", help_heading = "Check")]
    save_io: Option<PathBuf>,

    /// One JSON object on stdout instead of the table, on failure too.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What was found, for `--json`.
#[derive(Debug, Serialize)]
struct Found {
    artifact: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    check: Option<CheckReport>,
    /// How far a quantised artifact is from its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    fidelity: Option<Fidelity>,
    expect: Option<Outside>,
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Failure {
        Failure::failed(error)
    }
}

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let artifact = Artifact::open_to_run(&args.artifact)?;
    let progress = Progress::new(caller, false);
    let precision = match artifact.metadata.get("vitc.precision").map(String::as_str) {
        Some("f16") => DType::F16,
        _ => DType::F32,
    };
    progress.step("checking the artifact");
    let expect = match args.expect.request(args.input.as_ref())? {
        Some(e) => Some(e.compare(&args.artifact, precision).map_err(|e| uncheckable(&args, &e))?),
        None => None,
    };
    let alone = expect.is_some() && args.model.is_none() && args.model_args.weights.is_none();
    let mut found = Found { artifact: args.artifact.clone(), model: None, check: None, fidelity: None, expect };
    if !alone {
        let name = match (quantised(&args, &artifact)?, &args.calibrate) {
            (Some(scheme), _) => {
                let (name, fidelity) = fidelity(&args, &artifact, scheme, caller)?;
                found.fidelity = Some(fidelity);
                name
            }
            (None, Some(_)) => {
                let why = " judges quantised artifacts, and this one is not quantised";
                return Err(Failure::usage(message!(Setting::Calibrate, why)));
            }
            (None, None) => {
                let (name, report) = functions(&args, &artifact, caller)?;
                found.check = report;
                name
            }
        };
        found.model = Some(name);
    }
    drop(progress);
    answer(found)
}

fn uncheckable(args: &Args, error: &check::CheckError) -> Failure {
    Failure::failed(format!("{}: {error}", args.artifact.display()))
}

/// The scheme of a quantised artifact, as it says itself.
fn quantised(args: &Args, artifact: &Artifact) -> Result<Option<Scheme>, Failure> {
    let Some(name) = artifact.metadata.get(QUANTIZE_KEY) else { return Ok(None) };
    let unknown = || Failure::failed(format!("{}: quantised as {name}, which is not known", args.artifact.display()));
    Scheme::named(name).map(Some).ok_or_else(unknown)
}

/// The model's name, and how far a quantised artifact is from it.
fn fidelity(
    args: &Args,
    artifact: &Artifact,
    scheme: Scheme,
    caller: &Caller<'_>,
) -> Result<(String, Fidelity), Failure> {
    let provenance = Provenance::read(&artifact.metadata);
    let ports = Ports { inputs: &artifact.inputs, outputs: &artifact.outputs };
    let mut request = request(args, artifact, ports, &provenance)?;
    caller.hand_over(&mut request);
    let model = Model::load(&request)?;
    let preprocessing = provenance.preprocessing.clone().or_else(|| model.signature.preprocessing().cloned());
    let read = |path| calibration::read(path, args.samples, &model.graph, preprocessing.as_ref());
    let pictures = args.calibrate.as_deref().map(read).transpose().map_err(|e| Failure::of(e, caller))?;
    let said = |key: &str| artifact.metadata.get(key).and_then(|text| text.parse().ok());
    let goal = Goal { snr: said(MIN_SNR_KEY), agreement: said(AGREEMENT_KEY) };
    let bounds = match pictures {
        Some(_) => bounds::quantised(scheme, goal),
        None => bounds::quantised_unseen(scheme),
    };
    let options = check::Options {
        probabilities: provenance.probabilities,
        effort: args.check,
        ..check::Options::new(preprocessing)
    };
    let (graph, signature, weights) = (&model.graph, &model.signature, model.weights.weights());
    let reference = check::Reference { graph, signature, weights, file: model.file() };
    let pictures = pictures.as_ref().map(Calibration::pictures);
    let found = check::fidelity(reference, &args.artifact, pictures, &options, bounds);
    Ok((model.name.clone(), found.map_err(|e| uncheckable(args, &e))?))
}

/// The model's name, and what the check of every function of the artifact found, each against the model at its size.
fn functions(args: &Args, artifact: &Artifact, caller: &Caller<'_>) -> Result<(String, Option<CheckReport>), Failure> {
    let provenance = Provenance::read(&artifact.metadata);
    let whole = [(None, Ports { inputs: &artifact.inputs, outputs: &artifact.outputs })];
    let several = artifact.functions.iter();
    let several = several.map(|f| (Some(f.name.clone()), Ports { inputs: &f.inputs, outputs: &f.outputs }));
    let functions: Vec<(Option<String>, Ports<'_>)> =
        if artifact.functions.is_empty() { whole.into() } else { several.collect() };
    let mut first: Option<Model> = None;
    let mut found = Vec::new();
    for (function, ports) in functions {
        let mut request = request(args, artifact, ports, &provenance)?;
        caller.hand_over(&mut request);
        let model = match &first {
            Some(first) => first.resized(&request)?,
            None => Model::load(&request)?,
        };
        let preprocessing = provenance.preprocessing.clone().or_else(|| model.signature.preprocessing().cloned());
        let name = function.clone().unwrap_or_default();
        let options = check::Options {
            probabilities: provenance.probabilities,
            effort: args.check,
            save_io: args.save_io.as_ref().map(|folder| folder.join(&name)),
            function,
            ..check::Options::new(preprocessing)
        };
        let (graph, signature, weights) = (&model.graph, &model.signature, model.weights.weights());
        let file = model.file();
        let reference = check::Reference { graph, signature, weights, file };
        found.push((name, check::check(reference, &args.artifact, &options).map_err(|e| uncheckable(args, &e))?));
        first = first.or(Some(model));
    }
    Ok((first.map(|m| m.name).unwrap_or_default(), CheckReport::of_functions(found)))
}

/// What goes into a function and comes out of it.
#[derive(Clone, Copy)]
struct Ports<'a> {
    inputs: &'a [Port],
    outputs: &'a [Port],
}

/// The model that a function of the artifact was made from, as metadata and interface tell.
fn request(
    args: &Args,
    artifact: &Artifact,
    ports: Ports<'_>,
    provenance: &Provenance,
) -> Result<ModelRequest, Failure> {
    let said = |key: &str| artifact.metadata.get(key).map(String::as_str);
    let given = args.model.as_deref().map(Path::new).filter(|path| is_model_file(path));
    if let Some(file) = provenance.file(given) {
        if let Some(setting) = args.model_args.named() {
            let what = format!(" belongs to a model by name; {} brings its own weights", file.path.display());
            return Err(Failure::usage(message!(setting, what)));
        }
        return Ok(ModelRequest { file: Some(file), ..args.model_args.request(None) });
    }
    if let Some(import) = &provenance.import {
        return Err(Failure::usage(format!(
            "the artifact was made from a model file\n  name it: {}",
            import.path.display()
        )));
    }
    let name = args.model.as_deref().or(said("vitc.architecture"));
    if name.is_none() && args.model_args.weights.is_none() {
        return Err(Failure::usage(message!(
            "the artifact does not say which model it is\n  name the ",
            Setting::Model,
            " and give its ",
            Setting::Weights,
            ", or compare with ",
            Setting::Input,
            " and ",
            Setting::Expect
        )));
    }
    if args.model_args.weights.is_none() && args.model_args.seed.is_none() && said("vitc.seed").is_none() {
        let file = said("vitc.source").unwrap_or("the checkpoint");
        let again = "the artifact holds trained weights\n  give them again: ";
        return Err(Failure::usage(message!(again, Setting::Weights.to(file))));
    }
    let base = args.model_args.request(name.map(str::to_string));
    let dims: Vec<&str> = ports.inputs.first().map(|i| i.shape.split('x').collect()).unwrap_or_default();
    let size = |i: usize| dims.get(i).and_then(|d| d.parse::<usize>().ok());
    let last = provenance.preprocessing.as_ref().is_some_and(|p| p.layout.channels_last);
    let (height, channels) = if last { (1, 3) } else { (2, 1) };
    // A label stands before the probabilities.
    let classes = ports.outputs.last().and_then(|o| o.shape.rsplit('x').next()?.parse().ok());
    let mut choices = provenance.choices.clone();
    choices.extend(base.choices.clone());
    Ok(ModelRequest {
        heads: if base.heads.is_empty() { provenance.heads.clone() } else { base.heads.clone() },
        choices,
        seed: args.model_args.seed.or_else(|| said("vitc.seed")?.parse().ok()).unwrap_or(0),
        batch: size(0).map_or(Dim::Batch(1), Dim::Fixed),
        resolution: size(height).zip(size(height + 1)).map(|(h, w)| [h, w]),
        channels: size(channels),
        classes: classes.filter(|_| provenance.classifies()),
        results: provenance.results,
        select: if base.select == SelectOptions::default() { provenance.select.clone() } else { base.select },
        ..base
    })
}

/// The table, or the failure with it.
fn answer(found: Found) -> Outcome {
    let mut text = format!("{}\n\n", found.artifact.display());
    if let Some(check) = &found.check {
        check.to_string().lines().for_each(|line| text.push_str(&format!("  {}\n", line.trim_end())));
    }
    if let Some(fidelity) = &found.fidelity {
        let verdict = if fidelity.passed { "passed" } else { "failed" };
        text.push_str(&format!("  {verdict}: {fidelity}\n"));
        fidelity.notes.iter().for_each(|note| text.push_str(&format!("  {note}\n")));
    }
    if let Some(outside) = &found.expect {
        summary::expectation(outside).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    let json = serde_json::to_value(&found).map_err(Failure::failed)?;
    let passed = found.check.is_none_or(|c| c.passed)
        && found.fidelity.is_none_or(|f| f.passed)
        && found.expect.is_none_or(|e| e.passed);
    if passed {
        return Ok(Answer::new(text, json));
    }
    let message = format!("the artifact failed its check: {}", text.trim_end());
    Err(Failure { json: Some(json), ..Failure::new(Exit::Check, message) })
}
