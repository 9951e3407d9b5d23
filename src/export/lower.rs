//! The first half of the road: from the request to the target graph.

use super::calibrated::Calibration;
use super::calibration;
use super::concerned::concerned;
use super::error::Error;
use super::format::TargetKind;
use super::lowered::Lowered;
use super::observer::{Event, Observer};
use super::ports;
use super::ranges;
use super::request::Request;
use super::wrapping::{self, Wrapping};
use crate::check::bounds;
use crate::decide;
use crate::decide::quantize::{Ask, Form, Goal, Grouped, Scheme};
use crate::interface;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::{FileOrigin, Lookalike, Model, ModelRequest, lookalike};
use crate::signature::{OutputRole, Over, Signature};
use vitc_exporters::coreml::Interface;
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::facts::Class;
use vitc_ir::{DType, Graph, Target, validate};
use vitc_passes::{Context, LowerOptions, TalkingHeads};

/// From the request to the target graph.
///
/// # Errors
/// If the model cannot be had, or the options do not suit it.
pub fn lower(request: &Request, observer: &Observer<'_>) -> Result<Lowered, Error> {
    observer(Event::Step("reading the model"));
    let mut model = Model::load(&request.model)?;
    wrapping::say_picture(request, &mut model)?;
    let mut lowered = function(request, model, observer)?;
    for (i, named) in request.functions.iter().enumerate() {
        let size = named.size;
        if i == 0 {
            lowered.function.clone_from(&named.name);
            continue;
        }
        let asked = ModelRequest { batch: size.batch, resolution: size.resolution, ..request.model.clone() };
        let other = function(request, lowered.model.resized(&asked)?, observer)?;
        let fresh: Vec<Message> = other.notices.iter().filter(|n| !lowered.notices.contains(n)).cloned().collect();
        lowered.notices.extend(fresh);
        lowered.others.push(Lowered { function: named.name.clone(), ..other });
    }
    for notice in &lowered.notices {
        observer(Event::Notice(notice));
    }
    Ok(lowered)
}

/// One model as the target graph of one function.
fn function(request: &Request, model: Model, observer: &Observer<'_>) -> Result<Lowered, Error> {
    let mut notices = model.notices.clone();
    let precision = precision(request, &model);
    let version = version(request, &model, precision)?;
    let mut target = request.target.target(version);
    let wrapping = Wrapping::of(request, &model, &mut notices)?;
    notices.extend(ports::notices(request, &model));

    observer(Event::Step("running the passes"));
    let (mut paper, mut signature) =
        interface::wrap(&model.graph, &model.signature, wrapping.in_graph()).map_err(Error::Usage)?;
    if model.file().is_some() {
        let check = request.target.format().check_name;
        notices.extend(interface::fit_names(&mut paper, &mut signature, request.target == TargetKind::CoreMl, check));
    }
    let mut validation = Validation { wanted: request.check.passes, broken: None };
    let mut look = |pass: &'static str, graph: &Graph| validation.look(pass, graph, None);
    let mut recovered = Vec::new();
    if model.file().is_some() {
        let context = Context::independent();
        (paper, recovered) = vitc_passes::run_to_rest(&paper, vitc_passes::CANONICAL, &context, &mut look)?;
    }
    let (deploy, passes) = vitc_passes::deploy_observed(&paper, &mut look)?;
    let mut passes: Vec<_> = recovered.into_iter().chain(passes).collect();
    notices.extend(model.file().and_then(|_| lookalike(&deploy)).map(|known| looks_like(&known)));
    concerned(request, &model.name, &deploy)?;
    let options = options(request, precision, wrapping.types(precision, &model));
    let calibration = calibration(request, &model, wrapping.preprocessing.as_ref(), observer)?;
    notices.extend(calibration.iter().flat_map(Calibration::notices).map(Message::from));
    let parts = Parts { request, model: &model, deploy: &deploy, signature: &signature, precision };
    let numbers = (calibration.as_ref(), wrapping.preprocessing.as_ref());
    let lowered = parts.spelled(numbers, (&target, &options), observer, &mut look)?;
    notices.extend(lowered.notices().into_iter().map(Message::from));
    let decide::Lowered { graph, passes: lowering, decisions, computed, quantised } = lowered;
    let stored = ports::stored(request, &model, &graph);
    let laid = interface::laid(graph, &stored);
    let graph = laid.and_then(|graph| if target.scalars { Ok(graph) } else { interface::vectors(graph) });
    let graph = graph.map_err(|e| Error::Usage(e.to_string().into()))?;
    validation.look("lowering", &graph, Some(&target));
    validation.result()?;
    passes.extend(lowering);

    let interface = wrapping.interface();
    let (version, notice) = settle_version(request, version, &graph, &interface, &mut target)?;
    notices.extend(notice);
    let format = request.target.format();
    notices.extend(format.dynamic_batch.filter(|_| model.batch.fixed().is_none()).map(Message::from));
    notices.extend(format.cast_interface.filter(|_| casts_ports(&graph, precision)).map(Message::from));
    let single = format.single_precision.filter(|_| precision == DType::F32);
    notices.extend(single.map(Message::from));
    let int8 = quantised.is_some() && request.target == TargetKind::TensorRt;
    notices.extend(int8.then(|| INT8.into()));
    let probabilities = wrapping.probabilities();
    let Wrapping { preprocessing, labels, .. } = wrapping;
    Ok(Lowered {
        function: String::new(),
        others: Vec::new(),
        model,
        signature,
        kind: request.target,
        version,
        target,
        interface,
        preprocessing,
        probabilities,
        labels,
        deploy,
        graph,
        computed,
        decisions,
        quantised,
        calibration,
        passes,
        precision,
        notices,
    })
}

/// What is known when a deploy graph is spelled for its target.
struct Parts<'a> {
    request: &'a Request,
    model: &'a Model,
    deploy: &'a Graph,
    signature: &'a Signature,
    precision: DType,
}

impl Parts<'_> {
    /// The graph in the target's words, with what numbers decided.
    fn spelled(
        &self,
        (calibration, preprocessing): (Option<&Calibration>, Option<&Preprocessing>),
        (target, options): (&Target, &LowerOptions),
        observer: &Observer<'_>,
        look: &mut vitc_passes::Observer<'_>,
    ) -> Result<decide::Lowered, Error> {
        let Parts { request, model, deploy, signature, precision } = *self;
        let told = |what: &str| observer(Event::Step(what));
        let quantisation = quantisation(request, precision, signature)?.map(|ask| decide::Quantisation {
            ask,
            pictures: calibration.map(|c| c.artifact.clone()),
            told: &told,
        });
        let ranges = ranges::inputs(request, model, precision, (deploy, signature), preprocessing)?;
        let any = || ranges::any_inputs(request, model, (deploy, signature), preprocessing);
        // Where nobody gave any, one of those that vitc makes does: the decision leaves room for others.
        let inputs = || ranges.clone().filter(|_| request.numbers.ranges.is_some()).unwrap_or_else(any);
        // Functions of one file share their weights, so each would have to move the same powers.
        let equalize = request.numbers.equalize && request.functions.len() <= 1;
        let equalize: Option<&dyn Fn() -> decide::RangeInputs> = if equalize { Some(&inputs) } else { None };
        let asked = decide::Asked { quantisation, ranges: ranges.clone(), equalize };
        Ok(decide::lower(deploy, target, options, model.weights.weights(), asked, look)?)
    }
}

/// Measured with TensorRT-RTX 1.7: 86 device kernels become 141 for EfficientFormerV2-S0.
const INT8: &str = "TensorRT-RTX computes an int8 convolution and what follows it in two kernels where fp16 takes one, so this file may be slower than an \
                    fp16 file there: time both";

/// First opset whose pairs have scales in half precision.
const HALF_SCALES: u32 = 19;

/// Element type of the computation. What is not in 8 bits is in half precision for TensorRT; a file of halves stays one.
fn precision(request: &Request, model: &Model) -> DType {
    let int8 = request.target == TargetKind::TensorRt && request.numbers.quantize.is_some();
    let half = int8 || model.file().is_some_and(|file| file.half);
    let default = || request.target.target(request.version).default_precision();
    request.numbers.precision.unwrap_or_else(|| if half { DType::F16 } else { default() })
}

/// The version of the format that is asked for, or that pairs in half precision need, or that the model's own file has: whoever runs that file
/// can read it.
fn version(request: &Request, model: &Model, precision: DType) -> Result<Option<u32>, Error> {
    let format = request.target.format();
    let opset = format.version == Setting::Opset;
    let pairs = request.numbers.quantize.is_some() && precision == DType::F16 && opset;
    let newest = format.versions.last().copied().unwrap_or(format.usual_version);
    let own = model.file().and_then(|file| file.opset).filter(|_| opset).map(|o| o.clamp(format.usual_version, newest));
    match request.version {
        None if pairs => Ok(own.max(Some(HALF_SCALES))),
        None => Ok(own),
        Some(asked) if pairs && asked < HALF_SCALES => {
            let why = format!(": scales in fp16 need opset {HALF_SCALES}\n  use ");
            let single = Setting::Precision.to("fp32");
            Err(Error::Usage(message!(format.version.to(asked), why, format.version.to(HALF_SCALES), " or ", single)))
        }
        version => Ok(version),
    }
}

/// The calibration pictures, if any are given.
fn calibration(
    request: &Request,
    model: &Model,
    preprocessing: Option<&Preprocessing>,
    observer: &Observer<'_>,
) -> Result<Option<Calibration>, Error> {
    let Some(quantize) = &request.numbers.quantize else { return Ok(None) };
    if let Some((file, node)) = model.file().and_then(|file| Some((file, quantised_already(file, &model.graph)?))) {
        let what =
            format!(": {} is quantised already ({node})\n  give the file that it was made from", file.path.display());
        return Err(Error::Usage(message!(Setting::Quantize, what)));
    }
    let Some(path) = &quantize.calibrate else { return Ok(None) };
    observer(Event::Step("reading the calibration pictures"));
    let read = calibration::read(path, quantize.samples, &model.graph, preprocessing)?;
    Ok(Some(read))
}

/// The first node of a file that computes with codes.
fn quantised_already(file: &FileOrigin, graph: &Graph) -> Option<String> {
    let codes = |op: &str| op.starts_with('Q') || op.ends_with("Integer") || op.contains("quantizeLinear");
    let of_file = file.flat.iter().flat_map(|flat| &flat.nodes).find(|node| codes(&node.op));
    let of_graph = || graph.nodes().find(|(_, node)| node.op.facts().class == Class::Quantisation);
    let said = of_file.map(|node| format!("{} {}", node.op, node.name));
    said.or_else(|| of_graph().map(|(_, node)| format!("{} {}", node.op.word(), node.path)))
}

/// What is quantised and how the target wants it.
///
/// # Errors
/// If classes are to stay, and the model has none.
fn quantisation(request: &Request, precision: DType, signature: &Signature) -> Result<Option<Ask>, Error> {
    let Some(quantize) = &request.numbers.quantize else { return Ok(None) };
    let forms = match (quantize.scheme, request.target) {
        (Scheme::One(form), _) => vec![form],
        (Scheme::Mixed, TargetKind::TensorRt | TargetKind::Onnx) => vec![Form::W8A8],
        (Scheme::Mixed, TargetKind::CoreMl | TargetKind::CoreAi) => vec![Form::W4, Form::W6, Form::W8],
    };
    let mixed = (quantize.scheme == Scheme::Mixed && quantize.goal.agreement.is_none()).then_some(bounds::MIXED);
    let classes = signature.outputs.first().and_then(|port| match port.role {
        OutputRole::Scores { classes, over: Over::Rows } | OutputRole::Probabilities { classes, over: Over::Rows } => {
            Some(classes)
        }
        _ => None,
    });
    if quantize.goal.agreement.is_some() && classes.is_none() {
        let why = ": the model's first output is no score of classes, so none can stay\n  use ";
        return Err(Error::Usage(message!(Setting::Agreement, why, Setting::MinSnr)));
    }
    Ok(Some(Ask {
        forms,
        half: precision == DType::F16,
        weight_bits: quantize.weight_bits(request.target),
        grouped: match request.target {
            // It widens them four times.
            TargetKind::TensorRt => Grouped::Float,
            TargetKind::CoreMl | TargetKind::CoreAi => Grouped::Weights,
            TargetKind::Onnx => Grouped::Codes,
        },
        palette_group: quantize.palette_group,
        keep: quantize.keep.clone(),
        goal: Goal { snr: quantize.goal.snr.or(mixed), ..quantize.goal },
        classes,
    }))
}

/// That an imported graph could be had from its architecture.
fn looks_like(known: &Lookalike) -> Message {
    let Lookalike { name, alike: [both, either] } = known;
    let share = format!("the graph looks like {name}: {both} of {either} layers have its kernels\n  `{name}` with ");
    let why = " starts from the paper's structure and the checkpoint's own names".to_string();
    message!(share, Setting::Weights.to("CHECKPOINT"), why)
}

/// Validates the graph after every pass, if that is wanted, and remembers the first pass that broke it.
struct Validation {
    wanted: bool,
    broken: Option<Error>,
}

impl Validation {
    fn look(&mut self, pass: &'static str, graph: &Graph, target: Option<&Target>) {
        if self.wanted && self.broken.is_none() {
            self.broken = validate(graph, target).err().map(|what| Error::Pass { pass, what });
        }
    }

    fn result(self) -> Result<(), Error> {
        self.broken.map_or(Ok(()), Err)
    }
}

/// Whether an input or output has another float type than the computation.
fn casts_ports(graph: &Graph, precision: DType) -> bool {
    let inputs = graph.inputs().map(|(_, n)| n.types[0].dtype);
    let outputs = graph.outputs.iter().map(|o| graph.ty(o.value).dtype);
    inputs.chain(outputs).any(|d| d.is_float() && d != precision)
}

/// What the lowering is asked.
fn options(request: &Request, precision: DType, [input, output]: [DType; 2]) -> LowerOptions {
    let numbers = &request.numbers;
    LowerOptions {
        attention: numbers.attention.unwrap_or_default().form(),
        spectral: numbers.spectral,
        talking_heads: numbers.talking_heads.unwrap_or(TalkingHeads::Auto),
        fold_tables: numbers.fold_tables,
        input,
        output,
        ..LowerOptions::new(precision, precision)
    }
}

/// The version of the format: the one asked for, else what the content needs, with a notice where that is more than the least.
fn settle_version(
    request: &Request,
    asked: Option<u32>,
    graph: &Graph,
    interface: &Interface,
    target: &mut Target,
) -> Result<(u32, Option<Message>), Error> {
    let format = request.target.format();
    let Some(needed) = format.needed_version else {
        return Ok((asked.unwrap_or(format.usual_version), None));
    };
    let (least, why) = needed(graph, interface)?;
    let word = format.version_word;
    match asked {
        Some(asked) if asked < least => {
            let why = format!(": {why} needs {word} {least}\n  use ");
            Err(Error::Usage(message!(format.version.to(asked), why, format.version.to(least))))
        }
        Some(asked) => Ok((asked, None)),
        None => {
            target.format = (format.at)(least);
            let noun = format.noun;
            let notice = format!("the {noun} needs {word} {least} because of {why}");
            Ok((least, (!why.is_empty()).then(|| notice.into())))
        }
    }
}
