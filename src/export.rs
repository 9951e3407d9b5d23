//! The road of every export: model → deploy passes → target lowering → exporter → staged file → check → page → place → report.
//!
//! There is one road. The command line and the tests walk it through [`export`]; [`lower`] is its first half, up to the target graph.
//!
//! Invariants: nothing outside the staging folder changes before the check has passed. What the user should know goes into the
//! [`Report`] or to the [`Watch`], never to a stream.

mod computed;
mod error;
mod labels;
mod next;
mod range_gate;
mod report;
mod request;
mod rounding;

pub use computed::Computed;
pub use error::Error;
pub use report::{PassLine, Port, Precision, Report, WeightsLine, Written};
pub use request::{Kind, Labels, PageRequest, Request};
pub use rounding::{Rounded, Rounding};

use crate::arch::Results;
use crate::artifact::{Artifact, LABELS_KEY, written_by_vitc};
use crate::check::{self, CheckError, Outside, npy};
use crate::interface::{self, Around};
use crate::message;
use crate::message::{Message, Setting};
use crate::model::Model;
use crate::place::{Form, Staging};
use crate::recipe;
use crate::signature::Signature;
use computed::WithComputed;
use std::fs::File;
use std::path::{Path, PathBuf};
use vitc_exporters::coreml::{self, InputForm, Interface};
use vitc_exporters::metadata::Preprocessing;
use vitc_exporters::onnx::{self, DataFile};
use vitc_exporters::{ExportError, Metadata, Summary};
use vitc_ir::target::{AttentionForm, Format};
use vitc_ir::{DType, Dim, Generator, Graph, Op, Target, validate};
use vitc_passes::{FoldTables, LowerOptions, PassReport, Spectral, TalkingHeads};

/// Something that happens on the road.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// What is being done now, for a progress line.
    Step(&'a str),
    /// Something the user should know.
    Notice(&'a Message),
}

/// Who is told about [`Event`]s.
pub type Watch<'a> = dyn Fn(Event<'_>) + 'a;

/// A model spelled for a target: what the exporter writes.
#[derive(Debug)]
pub struct Lowered {
    /// The model: paper graph and weights.
    pub model: Model,
    /// What the artifact takes and returns.
    pub signature: Signature,
    /// The target, every option decided.
    pub target: Target,
    /// What the graph does not say about the interface.
    pub interface: Interface,
    /// How a picture becomes the input, if the model takes one.
    pub preprocessing: Option<Preprocessing>,
    /// Probabilities stand for scores.
    pub probabilities: bool,
    /// Names of the classes.
    pub labels: Option<Vec<String>>,
    /// The deploy graph.
    pub deploy: Graph,
    /// The target graph.
    pub graph: Graph,
    /// What is known of its constants.
    pub computed: Computed,
    /// What each pass did.
    pub passes: Vec<PassReport>,
    /// Element type of the computation.
    pub precision: DType,
    /// What the user should know.
    pub notices: Vec<Message>,
}

impl Lowered {
    /// Where the numbers of the target graph's constants come from.
    fn constants(&self) -> WithComputed<'_> {
        WithComputed { weights: self.model.weights.weights(), computed: &self.computed }
    }
}

/// The first half of the road: from the request to the target graph.
///
/// # Errors
/// If the model cannot be had, or the options do not suit the target.
pub fn lower(request: &Request, watch: &Watch<'_>) -> Result<Lowered, Error> {
    if matches!(request.kind, Kind::CoreMl { .. }) && matches!(request.model.batch, Dim::Batch(_)) {
        return Err(Error::Usage(message!(
            Setting::Batch.to("dynamic"),
            ": CoreML packages here have a fixed batch: flexible shapes leave the Neural Engine\n  export one package per batch size: ",
            Setting::Batch.to(1),
            ", ",
            Setting::Batch.to(8),
        )));
    }
    let package = matches!(request.kind, Kind::CoreMl { .. });
    let names = request.input_name.iter().map(|n| (Setting::InputName, n));
    for (setting, name) in names.chain(request.output_names.iter().map(|n| (Setting::OutputName, n))) {
        interface::check_name(name, package).map_err(|what| Error::Usage(message!(setting, ": ", what)))?;
    }
    let picture = package && request.input == InputForm::Image;
    if picture && request.model.batch != Dim::Fixed(1) {
        return Err(Error::Usage(message!(
            Setting::Input.to("image"),
            ": a CoreML image is one picture\n  use ",
            Setting::Batch.to(1),
            ", or ",
            Setting::Input.to("tensor"),
            " for a batch",
        )));
    }
    watch(Event::Step("reading the model"));
    let model = Model::load(&request.model)?;
    let mut notices: Vec<Message> = model.notices.iter().cloned().map(Into::into).collect();
    let mut target = request.kind.target();
    if request.attention == Some(AttentionForm::Operator) && !target.attention_operator() {
        return Err(Error::Usage(message!(
            Setting::Attention.to("sdpa"),
            ": the operator for attention does not exist for this target\n  use ",
            if package { Setting::Ios.to(18) } else { Setting::Opset.to(23) },
            ", or ",
            Setting::Attention.to("matmul"),
        )));
    }
    let precision = request.precision.unwrap_or_else(|| target.default_precision());
    let preprocessing = preprocessing(request, &model);
    let labels = labels::labels(request, &model)?;
    let classifier = match &labels {
        Some(labels) if package => labels::classifier(request, labels, &mut notices)?,
        _ => false,
    };

    watch(Event::Step("running the passes"));
    let probabilities = request.softmax || classifier;
    let around = Around {
        pixels: preprocessing.as_ref().filter(|p| p.normalised_inside),
        probabilities,
        input_name: request.input_name.as_deref(),
        output_names: &request.output_names,
    };
    let mut broken = None;
    let mut witness = |pass: &'static str, graph: &Graph| {
        if request.check_passes && broken.is_none() {
            broken = validate(graph, None).err().map(|what| Error::Pass { pass, what });
        }
    };
    let (paper, signature) =
        interface::around(&model.graph, &model.signature, around).map_err(|what| Error::Usage(what.into()))?;
    let (deploy, mut passes) = vitc_passes::deploy_witnessed(&paper, &mut witness);
    concerned(request, &model.name, &deploy)?;
    let options = LowerOptions {
        attention: request.attention,
        spectral: request.spectral,
        talking_heads: request.talking_heads,
        fold_tables: request.fold_tables,
        // Pictures are f32 in a package, and so are probabilities in front of labels.
        input: if picture { DType::F32 } else { request.interface },
        output: if classifier { DType::F32 } else { request.interface },
        ..LowerOptions::new(precision, request.interface)
    };
    let weights = model.weights.weights();
    let lowered = range_gate::lower(&deploy, &target, &options, weights, &mut witness).map_err(ExportError::from)?;
    let (graph, computed) = (lowered.graph, lowered.computed);
    if request.check_passes && broken.is_none() {
        broken = validate(&graph, Some(&target)).err().map(|what| Error::Pass { pass: "lowering", what });
    }
    if let Some(error) = broken {
        return Err(error);
    }
    passes.extend(lowered.passes);
    notices.extend(lowered.notice.map(Message::from));

    let interface = Interface {
        input: if picture { InputForm::Image } else { InputForm::Tensor },
        input_description: preprocessing.as_ref().map(Preprocessing::describe).unwrap_or_default(),
        labels: labels.clone().filter(|_| classifier),
        ..Interface::default()
    };
    if let (Kind::CoreMl { ios }, Format::CoreMl { ios: chosen }) = (request.kind, &mut target.format) {
        let (least, why) = coreml::minimum_ios(&graph, &interface)?;
        match ios {
            Some(ios) if ios < least => {
                let why = format!(": {why} needs iOS {least}\n  use ");
                return Err(Error::Usage(message!(Setting::Ios.to(ios), why, Setting::Ios.to(least))));
            }
            Some(_) => {}
            None => *chosen = least,
        }
        if ios.is_none() && !why.is_empty() {
            notices.push(format!("the package needs iOS {least} because of {why}").into());
        }
        if precision == DType::F32 {
            notices.push("fp32 does not run on the Neural Engine, only on GPU and CPU".into());
        }
    }
    for notice in &notices {
        watch(Event::Notice(notice));
    }
    Ok(Lowered {
        model,
        signature,
        target,
        interface,
        preprocessing,
        probabilities,
        labels,
        deploy,
        graph,
        computed,
        passes,
        precision,
        notices,
    })
}

/// An option about a part that the model does not have is an error.
fn concerned(request: &Request, model: &str, deploy: &Graph) -> Result<(), Error> {
    let has = |part: fn(&Op) -> bool| deploy.nodes().any(|(_, n)| part(&n.op));
    let attends = has(|op| matches!(op, Op::Attention { .. }));
    let talks = has(|op| matches!(op, Op::Attention { talking: true, .. }));
    let transforms = has(|op| matches!(op, Op::Rfft2 { .. } | Op::Irfft2 { .. } | Op::Dct2 | Op::Idct2));
    let tables = has(|op| matches!(op, Op::Generate(Generator::RelativeIndex { .. })));
    let options = [
        (Setting::Attention, request.attention.is_some(), attends, "attention that this could spell"),
        (Setting::TalkingHeads, request.talking_heads != TalkingHeads::Auto, talks, "talking heads"),
        (Setting::Spectral, request.spectral != Spectral::Auto, transforms, "Fourier or cosine transforms"),
        (Setting::FoldTables, request.fold_tables != FoldTables::Auto, tables, "position tables"),
    ];
    match options.into_iter().find(|&(_, given, has, _)| given && !has) {
        Some((setting, _, _, part)) => {
            Err(Error::Usage(message!(setting, format!(": {model} has no {part}\n  leave it out"))))
        }
        None => Ok(()),
    }
}

/// Where an artifact stands until it has passed its check.
enum Room {
    /// Beside its place, which it takes then.
    Place(Staging),
    /// Where it is removed from: only a page about it is wanted.
    Scratch(PathBuf),
}

/// The whole road. The artifact is in its place when this returns `Ok`, and so is the page about it.
///
/// # Errors
/// See [`Error`]. What was in the artifact's place before is there still; a page about an artifact that failed its check is in its place, because it
/// shows where.
pub fn export(request: &Request, watch: &Watch<'_>) -> Result<Report, Error> {
    let lowered = lower(request, watch)?;
    let name = &lowered.model.name;
    let place = place(request, name)?;
    let page = match &request.page {
        Some(page) => {
            let place = resolve(page.place.as_deref(), &format!("{name}-report.html"), ".html", "a report")?;
            Some(Staging::begin(&place, Form::File, request.force, crate::report::written_by_vitc)?)
        }
        None => None,
    };
    let room = match &page {
        Some(page) if request.page.as_ref().is_some_and(|p| p.only) => {
            Room::Scratch(page.scratch()?.join(place.file_name().unwrap_or_default()))
        }
        _ => Room::Place(Staging::begin(&place, request.kind.form(), request.force, written_by_vitc)?),
    };
    watch(Event::Step("writing the artifact"));
    let metadata = metadata(request, &lowered);
    let (graph, weights, target) = (&lowered.graph, lowered.model.weights.weights(), &lowered.target);
    let staged = match &room {
        Room::Place(staging) => staging.artifact(),
        Room::Scratch(path) => path.clone(),
    };
    let (summary, data_file) = match request.kind.form() {
        Form::File => write_onnx(&lowered, &metadata, request.external_data, &staged)?,
        Form::Package => {
            std::fs::create_dir(&staged).map_err(ExportError::Io)?;
            (coreml::write(graph, &lowered.constants(), target, &lowered.interface, &metadata, &staged)?, None)
        }
    };
    let mut report = Report::new(request, &lowered, &summary, &place);
    report.artifact.data_file = data_file;
    if let Some(effort) = request.check {
        watch(Event::Step("checking the artifact"));
        let options = check::Options {
            probabilities: lowered.probabilities,
            effort,
            layers: request.page.is_some(),
            save_io: request.save_io.clone(),
            ..check::Options::new(metadata.preprocessing.clone())
        };
        report.check = Some(check::check(&lowered.model.graph, weights, &staged, &options)?);
    }
    if let Some(expect) = &request.expect {
        report.expect = Some(expect.compare(&staged, lowered.precision)?);
    }
    if let Some(page) = &page {
        watch(Event::Step("writing the report"));
        report.page = Some(page.place().to_path_buf());
        page.write(crate::report::page(&report, &lowered).as_bytes())?;
    }
    let passed = report.check.as_ref().is_none_or(|c| c.passed) && report.expect.as_ref().is_none_or(|e| e.passed);
    let mut kept = None;
    if let Room::Place(staging) = room {
        if passed {
            let outdated = data_files(&place, &staged);
            staging.commit()?;
            for path in outdated {
                let _ = std::fs::remove_file(path); // left behind, it only takes space
            }
        } else if request.keep_failed {
            kept = Some(staging.keep_failed()?);
        }
    }
    if let Some(page) = page {
        page.commit()?;
    }
    if passed { Ok(report) } else { Err(Error::Check { report: Box::new(report), kept }) }
}

/// Values from outside vitc: what another implementation answers to an input.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// A `.npy` file with the input, as the artifact takes it.
    pub input: PathBuf,
    /// A `.npy` file with the first output.
    pub expected: PathBuf,
    /// Absolute tolerance; `None` for the check's own bound.
    pub atol: Option<f64>,
    /// Relative tolerance.
    pub rtol: f64,
}

impl Expectation {
    /// Run an artifact of this precision on the input and compare.
    ///
    /// # Errors
    /// If a file cannot be read, or does not fit the artifact.
    pub fn compare(&self, artifact: &Path, precision: DType) -> Result<Outside, CheckError> {
        let (input, expected) = (npy::read(&self.input)?, npy::read(&self.expected)?);
        let largest = expected.data.iter().fold(0f64, |m, &v| m.max(f64::from(v).abs()));
        let atol = self.atol.unwrap_or_else(|| check::bounds::allowed(precision, largest));
        check::against(artifact, &input, &expected, atol, self.rtol)
    }
}

/// Data files of the artifact in the place that the staged one does not use: nobody needs them once it is replaced.
fn data_files(place: &Path, staged: &Path) -> Vec<PathBuf> {
    let open = |path: &Path| if path.is_file() { Artifact::open(path).ok() } else { None };
    let Some(old) = open(place).filter(|a| a.is_from_vitc() && !a.data_files.is_empty()) else { return Vec::new() };
    let kept = open(staged).map(|a| a.data_files).unwrap_or_default();
    old.data_files.into_iter().filter(|n| !kept.contains(n)).map(|n| place.with_file_name(n)).collect()
}

/// How a picture becomes the input: what the user says before what the model says.
fn preprocessing(request: &Request, model: &Model) -> Option<Preprocessing> {
    let own = model.signature.preprocessing()?.clone();
    Some(Preprocessing {
        mean: request.mean.unwrap_or(own.mean),
        std: request.std.unwrap_or(own.std),
        normalised_inside: request.input == InputForm::Image,
        ..own
    })
}

/// What the artifact says about itself. A classifier holds its labels where the system looks for them, anything else in an entry.
fn metadata(request: &Request, lowered: &Lowered) -> Metadata {
    let mut metadata = lowered.model.metadata(lowered.precision);
    metadata.preprocessing = lowered.preprocessing.clone();
    metadata.author = request.author.clone();
    metadata.license = request.license.clone();
    metadata.description = request.description.clone();
    // A checkpoint without a classifier gives features where scores were asked for.
    let results = match request.model.results {
        Results::Logits if lowered.model.signature.classes().is_none() => Results::Features,
        results => results,
    };
    metadata.extra = recipe::entries(&request.model, results, lowered.probabilities);
    if let (None, Some(labels)) = (&lowered.interface.labels, &lowered.labels) {
        metadata.extra.push((LABELS_KEY.into(), serde_json::json!(labels).to_string()));
    }
    metadata.extra.extend(request.extra.iter().cloned());
    metadata
}

/// Write an ONNX file, and above the format's limit, or if it is wanted, a data file beside it, which is named. The name carries a hash of what
/// decides its content, so that a model file never meets another export's data.
fn write_onnx(
    lowered: &Lowered,
    metadata: &Metadata,
    external: bool,
    staged: &Path,
) -> Result<(Summary, Option<String>), ExportError> {
    let (graph, weights, target) = (&lowered.graph, &lowered.constants(), &lowered.target);
    let mut out = File::create(staged)?; // the exporter buffers both
    if !external && onnx::size_of(graph, target, metadata)? <= onnx::INLINE_LIMIT {
        Ok((onnx::write(graph, weights, target, metadata, &mut out)?, None))
    } else {
        let mut hash = blake3::Hasher::new();
        hash.update(graph.to_string().as_bytes());
        metadata.entries().iter().for_each(|(key, value)| {
            hash.update(key.as_bytes()).update(value.as_bytes());
        });
        let stem = staged.file_stem().unwrap_or_default().to_string_lossy();
        let location = format!("{stem}-{}.data", &hash.finalize().to_hex()[..8]);
        let mut data = File::create(staged.with_file_name(&location))?;
        let file = DataFile { location: &location, out: &mut data };
        let summary = onnx::write_external(graph, weights, target, metadata, &mut out, file)?;
        Ok((summary, Some(location)))
    }
}

/// Where the artifact of `model` goes.
fn place(request: &Request, model: &str) -> Result<PathBuf, Error> {
    let suffix = request.kind.suffix();
    let other = request.precision.filter(|p| *p != request.kind.target().default_precision());
    let precision = match other {
        Some(DType::F16) => "-fp16",
        Some(_) => "-fp32",
        None => "",
    };
    let what = format!("an artifact of target {}", request.kind.target().name);
    resolve(request.output.as_deref(), &format!("{model}{precision}{suffix}"), suffix, &what)
}

/// Where a file goes: the place asked for, or its default name, there or in a folder that is asked for. `what` the file is ends in `suffix`.
fn resolve(output: Option<&Path>, name: &str, suffix: &str, what: &str) -> Result<PathBuf, Error> {
    let Some(output) = output else { return Ok(PathBuf::from(name)) };
    let text = output.to_string_lossy();
    let fits = text.ends_with(suffix);
    if text.ends_with(['/', '\\']) && !text.trim_end_matches(['/', '\\']).ends_with(suffix) || output.is_dir() && !fits
    {
        return Ok(output.join(name));
    }
    if !fits {
        let named = Path::new(&*text).with_extension(&suffix[1..]);
        return Err(Error::Usage(Message::from(format!(
            "{text}: {what} ends in {suffix}\n  use {}, or {text}/ to put the default name inside a folder",
            named.display()
        ))));
    }
    Ok(output.to_path_buf())
}
