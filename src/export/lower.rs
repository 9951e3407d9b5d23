//! The first half of the road: from the request to the target graph.

use super::error::Error;
use super::labels;
use super::lowered::Lowered;
use super::observer::{Event, Observer};
use super::request::Request;
use crate::decide;
use crate::interface::{self, InterfaceOptions};
use crate::message;
use crate::message::{Message, Setting};
use crate::model::Model;
use vitc_exporters::coreml::{InputForm, Interface};
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::{Class, DType, Generator, Graph, Op, Target, validate};
use vitc_passes::{FoldTables, LowerOptions, Spectral, TalkingHeads};

/// From the request to the target graph.
///
/// # Errors
/// If the model cannot be had, or the options do not suit it.
pub fn lower(request: &Request, observer: &Observer<'_>) -> Result<Lowered, Error> {
    observer(Event::Step("reading the model"));
    let model = Model::load(&request.model)?;
    let mut notices = model.notices.clone();
    let format = request.target.format();
    let mut target = request.target.target(request.version);
    let precision = request.numbers.precision.unwrap_or_else(|| target.default_precision());
    let preprocessing = preprocessing(request, &model);
    let labels = labels::labels(request, &model)?;
    let classifier = match (&labels, format.label_outputs) {
        (Some(labels), Some(outputs)) => labels::classifier(request, labels, outputs, &mut notices)?,
        _ => false,
    };
    let picture = format.picture.is_some() && request.interface.input == InputForm::Image;

    observer(Event::Step("running the passes"));
    let probabilities = request.interface.softmax || classifier;
    let ends = InterfaceOptions {
        pixels: preprocessing.as_ref().filter(|p| p.normalised_inside),
        probabilities,
        input_name: request.interface.input_name.as_deref(),
        output_names: &request.interface.output_names,
    };
    let (paper, signature) = interface::wrap(&model.graph, &model.signature, ends).map_err(Error::Usage)?;
    let mut broken = None;
    let mut witness = |pass: &'static str, graph: &Graph| {
        if request.check.passes && broken.is_none() {
            broken = validate(graph, None).err().map(|what| Error::Pass { pass, what });
        }
    };
    let (deploy, mut passes) = vitc_passes::deploy_observed(&paper, &mut witness)?;
    concerned(request, &model.name, &deploy)?;
    let options = options(request, precision, picture, classifier);
    let weights = model.weights.weights();
    let lowered = decide::lower(&deploy, &target, &options, weights, &mut witness)?;
    notices.extend(lowered.notice().map(Message::from));
    let decide::Lowered { graph, passes: lowering, decisions, computed } = lowered;
    if request.check.passes && broken.is_none() {
        broken = validate(&graph, Some(&target)).err().map(|what| Error::Pass { pass: "lowering", what });
    }
    if let Some(error) = broken {
        return Err(error);
    }
    passes.extend(lowering);

    let interface = Interface {
        input: if picture { InputForm::Image } else { InputForm::Tensor },
        input_description: preprocessing.as_ref().map(Preprocessing::describe).unwrap_or_default(),
        labels: labels.clone().filter(|_| classifier),
        ..Interface::default()
    };
    notices.extend(settle_version(request, &graph, &interface, &mut target)?);
    notices.extend(format.single_precision.filter(|_| precision == DType::F32).map(Message::from));
    for notice in &notices {
        observer(Event::Notice(notice));
    }
    Ok(Lowered {
        model,
        signature,
        kind: request.target,
        target,
        interface,
        preprocessing,
        probabilities,
        labels,
        deploy,
        graph,
        computed,
        decisions,
        passes,
        precision,
        notices,
    })
}

/// What the lowering is asked. Pictures are f32 in a package, and so are probabilities in front of labels.
fn options(request: &Request, precision: DType, picture: bool, classifier: bool) -> LowerOptions {
    let numbers = &request.numbers;
    let dtype = request.interface.dtype;
    LowerOptions {
        attention: numbers.attention.unwrap_or_default().form(),
        spectral: numbers.spectral,
        talking_heads: numbers.talking_heads.unwrap_or(TalkingHeads::Auto),
        fold_tables: numbers.fold_tables,
        input: if picture { DType::F32 } else { dtype },
        output: if classifier { DType::F32 } else { dtype },
        ..LowerOptions::new(precision, dtype)
    }
}

/// The version of the format that the content needs, where none was asked for; a notice where that is more than the least.
fn settle_version(
    request: &Request,
    graph: &Graph,
    interface: &Interface,
    target: &mut Target,
) -> Result<Option<Message>, Error> {
    let format = request.target.format();
    let Some(needed) = format.needed_version else { return Ok(None) };
    let (least, why) = needed(graph, interface)?;
    let word = format.version_word;
    match request.version {
        Some(asked) if asked < least => {
            let why = format!(": {why} needs {word} {least}\n  use ");
            Err(Error::Usage(message!(format.version.to(asked), why, format.version.to(least))))
        }
        Some(_) => Ok(None),
        None => {
            target.format = (format.at)(least);
            let noun = format.noun;
            Ok((!why.is_empty()).then(|| format!("the {noun} needs {word} {least} because of {why}").into()))
        }
    }
}

/// An option about a part that the model does not have is an error.
fn concerned(request: &Request, model: &str, deploy: &Graph) -> Result<(), Error> {
    let has = |part: fn(&Op) -> bool| deploy.nodes().any(|(_, n)| part(&n.op));
    let attends = has(|op| matches!(op, Op::Attention { .. }));
    let talks = has(|op| matches!(op, Op::Attention { talking: true, .. }));
    let transforms = has(|op| op.facts().class == Class::Transform);
    let tables = has(|op| matches!(op, Op::Generate(Generator::RelativeIndex { .. })));
    let numbers = &request.numbers;
    let attention = numbers.attention.unwrap_or_default().form();
    let talking_heads = numbers.talking_heads.unwrap_or(TalkingHeads::Auto);
    let options = [
        (Setting::Attention, attention.is_some(), attends, "attention that this could spell"),
        (Setting::TalkingHeads, talking_heads != TalkingHeads::Auto, talks, "talking heads"),
        (Setting::Spectral, numbers.spectral != Spectral::Auto, transforms, "Fourier or cosine transforms"),
        (Setting::FoldTables, numbers.fold_tables != FoldTables::Auto, tables, "position tables"),
    ];
    match options.into_iter().find(|&(_, given, has, _)| given && !has) {
        Some((setting, _, _, part)) => {
            Err(Error::Usage(message!(setting, format!(": {model} has no {part}\n  leave it out"))))
        }
        None => Ok(()),
    }
}

/// How a picture becomes the input: what the user says before what the model says.
fn preprocessing(request: &Request, model: &Model) -> Option<Preprocessing> {
    let own = model.signature.preprocessing()?.clone();
    let asked = &request.interface;
    Some(Preprocessing {
        mean: asked.mean.unwrap_or(own.mean),
        std: asked.std.unwrap_or(own.std),
        normalised_inside: asked.input == InputForm::Image,
        ..own
    })
}
