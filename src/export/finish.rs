//! The second half of the road: the artifact is written beside its place, checked there, and takes its place if it passes.

use super::calibrated::Calibration;
use super::calibration;
use super::error::Error;
use super::format::{Content, FunctionContent};
use super::lowered::Lowered;
use super::metadata::metadata;
use super::observer::{Event, Observer};
use super::options::QuantizeOptions;
use super::place::{artifact_place, outdated_data_files};
use super::report::Report;
use super::request::Request;
use crate::artifact::written_by_vitc;
use crate::check::{self, CheckError, CheckReport, Fidelity, bounds};
use crate::place::Staging;
use std::path::{Path, PathBuf};
use vitc_ir::eval::Numbers;

/// What becomes of an artifact that passed.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// It takes its place.
    Place,
    /// It stays in this folder, which the caller removes: only what is known about it is wanted.
    Scratch(&'a Path),
}

/// Where an artifact stands until it has passed its check.
enum Stand {
    /// Beside its place.
    Staged(Staging),
    /// In a folder of the caller's.
    Scratch(PathBuf),
}

impl Stand {
    fn path(&self) -> PathBuf {
        match self {
            Stand::Staged(staging) => staging.artifact(),
            Stand::Scratch(path) => path.clone(),
        }
    }
}

/// From the target graph to the artifact in its place.
///
/// # Errors
/// See [`Error`]. What was in the artifact's place before is there still.
pub(super) fn complete(
    request: &Request,
    lowered: Lowered,
    destination: Destination<'_>,
    observer: &Observer<'_>,
) -> Result<Report, Error> {
    let place = artifact_place(request, &lowered.model.name)?;
    let stand = match destination {
        Destination::Place => {
            let form = request.target.format().form;
            let staging = Staging::begin(&place, form, request.artifact.force, written_by_vitc)?;
            observer(Event::Staged(Some(staging.folder())));
            Stand::Staged(staging)
        }
        Destination::Scratch(folder) => Stand::Scratch(folder.join(place.file_name().unwrap_or_default())),
    };
    let staged = stand.path();
    observer(Event::Step("writing the artifact"));
    let metadata = metadata(request, &lowered);
    let weights = lowered.weights();
    let content = Content {
        name: &lowered.function,
        graph: &lowered.graph,
        numbers: Numbers { weights: &*weights, computed: Some(&lowered.computed) },
        others: lowered.others.iter().map(function).collect(),
        target: &lowered.target,
        interface: &lowered.interface,
        metadata: &metadata,
        external_data: request.artifact.external_data,
    };
    let (summary, data_file) = (request.target.format().write)(&content, &staged)?;
    drop(weights);
    let mut report = Report::new(request, lowered, &summary, &place);
    report.artifact.data_file = data_file;
    report.artifact.kept = matches!(stand, Stand::Staged(_));
    compare(request, &mut report, &staged, observer)?;
    let mut kept = None;
    if let Stand::Staged(staging) = stand {
        if report.passed() {
            observer(Event::Step("putting the artifact in its place"));
            observer(Event::Staged(None));
            let outdated = outdated_data_files(&place, &staged);
            staging.commit()?;
            for path in outdated {
                let _ = std::fs::remove_file(path); // left behind, it only takes space
            }
        } else if request.check.keep_failed {
            kept = Some(staging.keep_failed()?);
        }
    }
    if report.passed() { Ok(report) } else { Err(Error::Check { report: Box::new(report), kept }) }
}

fn function(lowered: &Lowered) -> FunctionContent<'_> {
    FunctionContent { name: &lowered.function, graph: &lowered.graph, numbers: lowered.numbers() }
}

/// What a function of the artifact should compute.
fn reference(function: &Lowered) -> check::Reference<'_> {
    let model = &function.model;
    let (graph, signature, weights) = (&model.graph, &model.signature, model.weights.weights());
    check::Reference { graph, signature, weights, file: model.file() }
}

/// Compare the artifact with the model, with that model as it was trained, and with values from outside, as far as it is asked for.
fn compare(request: &Request, report: &mut Report, staged: &Path, observer: &Observer<'_>) -> Result<(), Error> {
    let lowered = &report.lowered;
    let several = !lowered.others.is_empty();
    let options = |function: &Lowered| check::Options {
        probabilities: function.probabilities,
        function: several.then(|| function.function.clone()),
        ..check::Options::new(function.preprocessing.clone())
    };
    if let Some(effort) = request.check.effort {
        observer(Event::Step("checking the artifact"));
        if let (Some(_), Some(asked)) = (&lowered.quantised, &request.numbers.quantize) {
            let Judged { check, fidelity, evaluation } = quantised(request, asked, lowered, staged, observer)?;
            report.check = check;
            if let Some(quantisation) = &mut report.quantisation {
                (quantisation.fidelity, quantisation.evaluation) = (fidelity, evaluation);
            }
        } else {
            let mut found = Vec::new();
            for function in lowered.functions() {
                let options = options(function);
                let folder = request.check.save_io.as_ref();
                let options = check::Options {
                    effort,
                    layers: request.check.layers && found.is_empty(),
                    save_io: folder.map(|f| options.function.as_ref().map_or(f.clone(), |name| f.join(name))),
                    ..options
                };
                found.push((function.function.clone(), check::check(reference(function), staged, &options)?));
            }
            report.check = CheckReport::of_functions(found);
        }
    }
    if let Some(witness) = &request.check.witness {
        observer(Event::Step("comparing with the module"));
        let testify = |function: &Lowered| {
            // A quantised file differs by intent, and is judged above.
            let artifact = function.quantised.is_none().then_some(staged);
            let found = check::testify(reference(function), artifact, &options(function), &**witness)?;
            Ok((function.function.clone(), found))
        };
        let found = lowered.functions().map(testify).collect::<Result<Vec<_>, CheckError>>()?;
        report.verify = CheckReport::of_functions(found);
    }
    outside(request, report, staged)
}

/// What was found of a quantised artifact.
#[derive(Default)]
struct Judged {
    check: Option<CheckReport>,
    /// On the calibration pictures.
    fidelity: Option<Fidelity>,
    /// On others.
    evaluation: Option<Fidelity>,
}

/// Compare a quantised artifact with the quantised graph, and with the model on the calibration pictures.
fn quantised(
    request: &Request,
    asked: &QuantizeOptions,
    lowered: &Lowered,
    staged: &Path,
    observer: &Observer<'_>,
) -> Result<Judged, Error> {
    let (Some(quantised), Some(effort)) = (&lowered.quantised, request.check.effort) else {
        return Ok(Judged::default());
    };
    let options = check::Options {
        probabilities: lowered.probabilities,
        effort,
        layers: request.check.layers,
        save_io: request.check.save_io.clone(),
        ..check::Options::new(lowered.preprocessing.clone())
    };
    let paper = reference(lowered);
    let bounds = bounds::quantised(asked.scheme, asked.goal);
    let judged = |pictures: &Calibration, what: &str| {
        observer(Event::Step(what));
        check::fidelity(paper, staged, Some(pictures.pictures()), &options, bounds)
    };
    let on = |c: &Calibration| judged(c, "comparing the artifact on the calibration pictures");
    let fidelity = lowered.calibration.as_ref().map(on).transpose()?;
    let others = asked.evaluate.as_ref();
    let others =
        others.map(|path| calibration::read(path, None, paper.graph, lowered.preprocessing.as_ref())).transpose()?;
    let on = |c: &Calibration| judged(c, "comparing the artifact on other pictures");
    let evaluation = others.as_ref().map(on).transpose()?;
    // Activations in few bits turn the last place of a value into a step, so pictures alone judge them.
    if quantised.decided.plan.inputs.is_empty() {
        let over = lowered.weights();
        let own =
            check::Reference { graph: &quantised.graph, signature: &lowered.signature, weights: &*over, file: None };
        let checked = check::check(own, staged, &check::Options { like_artifact: true, ..options })?;
        return Ok(Judged { check: Some(checked), fidelity, evaluation });
    }
    Ok(Judged { check: None, fidelity, evaluation })
}

/// Compare with values from outside, if there are any.
fn outside(request: &Request, report: &mut Report, staged: &Path) -> Result<(), Error> {
    let lowered = &report.lowered;
    if let Some(expect) = &request.check.expect {
        report.expect = Some(expect.compare(staged, lowered.precision)?);
    }
    Ok(())
}
