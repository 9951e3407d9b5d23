//! `vitc run`: what an artifact says about pictures.

mod dense;

use super::progress::Progress;
use super::text::table;
use super::{Answer, Caller, Exit, Failure, Outcome};
use crate::artifact::{Artifact, FunctionPorts};
use crate::check;
use crate::message;
use crate::message::{Message, Setting};
use crate::picture::returned::Frame;
use crate::picture::{self, Preparation};
use crate::port::Port;
use crate::provenance::{Provenance, Unprepared};
use crate::runner::{Pick, Program, Request};
use clap::Parser;
use serde::Serialize;
use std::path::{Path, PathBuf};
use vitc_exporters::metadata::Preprocessing;

/// Classes shown per picture.
const SHOWN: usize = 5;

/// Run an artifact on pictures: print the most probable classes, draw a segmenter's map or a detector's boxes.
///
/// A picture is resized and cropped as the artifact's metadata say, normalised unless the artifact does that itself, and run in tract on this
/// machine's processor. It shows what the file answers, not how fast a device does. Maps and boxes return to the picture's own size and are written as PNG
/// files beside each other: CAT-classes.png and CAT-overlay.png, CAT-boxes.png, or CAT-x2.png of a net that enlarges.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc run efficientformerv2-s0.onnx cat.jpg dog.png
  vitc run efficientformerv2-s0.mlpackage cat.jpg --json")]
pub(super) struct Args {
    /// The .onnx file, .mlpackage or .aimodel, as vitc wrote it.
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,

    /// PNG or JPEG files.
    #[arg(value_name = "IMAGE", required = true)]
    pictures: Vec<PathBuf>,

    /// Which function of a Core AI asset with several [default: the first that takes one picture].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Folder for the pictures that are drawn [default: the working folder].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// One JSON object on stdout instead of the tables.
    #[arg(long)]
    json: bool,
}

/// What was found, for `--json`.
#[derive(Debug, Serialize)]
struct Found {
    artifact: PathBuf,
    model: String,
    pictures: Vec<Seen>,
}

/// One picture.
#[derive(Debug, Serialize)]
struct Seen {
    file: PathBuf,
    /// The most probable classes, best first.
    top: Vec<Class>,
    /// The classes that cover most of the picture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares: Vec<dense::Share>,
    /// Boxes, the most probable first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    boxes: Vec<dense::Found>,
    /// Pictures that were drawn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    written: Vec<PathBuf>,
}

/// One class.
#[derive(Debug, Serialize)]
struct Class {
    class: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    probability: f32,
}

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let path = &args.artifact;
    let artifact = Artifact::open_to_run(path)?;
    let progress = Progress::new(caller, args.json);
    let (function, inputs) = picked(&artifact, args.function.as_deref());
    let (provenance, preprocessing) = usable(path, &artifact, inputs)?;
    progress.step("loading the artifact");
    let failed = |what: &str| Failure::failed(format!("{}: {what}", path.display()));
    let program =
        Program::open_function(path, function).map_err(|e| failed(&format!("cannot read the artifact: {e}")))?;
    let stopped = |e| failed(&format!("cannot run the artifact: {e}"));
    let session = program.load(Request::outputs(1)).map_err(stopped)?;
    let preparation = match session.inputs() {
        [input] => Preparation::new(&input.shape, preprocessing),
        _ => None,
    };
    let preparation = preparation.ok_or_else(|| failed("its input is no picture"))?;
    let mut pictures = Vec::new();
    for file in &args.pictures {
        progress.step(&format!("running on {}", file.display()));
        let picture = picture::read(file).map_err(Failure::failed)?;
        let input = preparation.input(&picture).map_err(Failure::failed)?;
        let outputs = session.run_in_order(&[&input]).map_err(stopped)?;
        if provenance.dense {
            let frame = Frame::of(&picture, preparation.size, preparation.preprocessing.fit);
            let frame = frame.ok_or_else(|| failed("crops its pictures, so its map has no place on them"))?;
            let drawing =
                dense::Drawing { artifact: &artifact, picture: &picture, frame, file, folder: args.out.as_deref() };
            pictures.push(drawing.draw(&outputs, provenance.results)?);
            continue;
        }
        let scores = outputs.first().ok_or_else(|| failed("it has no output"))?;
        if scores.shape.get(1).is_none_or(|&classes| classes != scores.data.len()) {
            let shape = scores.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
            return Err(failed(&format!(
                "returns {} {shape}, not class scores of a picture, so there are no classes to show",
                scores.name
            )));
        }
        let top = top(probabilities(&scores.data, &provenance), artifact.labels.as_deref());
        pictures.push(Seen { file: file.clone(), top, shares: Vec::new(), boxes: Vec::new(), written: Vec::new() });
    }
    drop(progress);
    let model = artifact.metadata.get("vitc.architecture").cloned().unwrap_or_default();
    let found = Found { artifact: path.clone(), model, pictures };
    Ok(Answer::new(text(&found), serde_json::to_value(&found).map_err(Failure::failed)?))
}

/// The function that runs, and its inputs.
fn picked<'a>(artifact: &'a Artifact, asked: Option<&'a str>) -> (Pick<'a>, &'a [Port]) {
    let one = |inputs: &[Port]| images(inputs).is_none_or(|n| n == 1);
    let wanted = |f: &&FunctionPorts| asked.map_or_else(|| one(&f.inputs), |name| f.name == name);
    match (artifact.functions.iter().find(wanted), asked) {
        (Some(function), _) => (Pick::Named(&function.name), &function.inputs),
        (None, Some(name)) => (Pick::Named(name), &artifact.inputs),
        (None, None) => (Pick::Main, &artifact.inputs),
    }
}

/// How many pictures a function takes at once; `None` for any number.
fn images(inputs: &[Port]) -> Option<usize> {
    inputs.first().and_then(|i| i.shape.split('x').next()).unwrap_or_default().parse().ok()
}

/// What to do about an artifact that cannot be shown pictures.
pub(super) fn prepared(why: Unprepared) -> Message {
    match why {
        Unprepared::Foreign => "export it with vitc: pictures are shown to what vitc export wrote".into(),
        Unprepared::Unsaid => {
            message!("export it again with ", Setting::Mean, " and ", Setting::Std, ", as the model was trained")
        }
    }
}

/// How the artifact was made, if pictures can be shown to it one by one.
fn usable(path: &Path, artifact: &Artifact, inputs: &[Port]) -> Result<(Provenance, Preprocessing), Failure> {
    let fail = |what: Message| Err(Failure::new(Exit::Failed, message!(format!("{}: ", path.display()), what)));
    let (provenance, preprocessing) = match Provenance::of_pictures(&artifact.metadata) {
        Ok(found) => found,
        Err(why) => return fail(message!(format!("{why}\n  "), prepared(why))),
    };
    if !provenance.dense && !provenance.classifies() {
        let what = "returns features, not class scores, so there are no classes to show\n  export it with ";
        return fail(message!(what, Setting::Output.to("logits")));
    }
    match images(inputs) {
        Some(1) | None => Ok((provenance, preprocessing)),
        Some(n) => {
            let what = format!("takes {n} pictures at once, and vitc run shows it one at a time\n  export it with ");
            fail(message!(what, Setting::Batch.to(1), " or ", Setting::Batch.to("dynamic")))
        }
    }
}

/// Probabilities of the classes: what the artifact answers, or the softmax of its scores; one score alone is a model's that was trained with a
/// sigmoid.
fn probabilities(answer: &[f32], provenance: &Provenance) -> Vec<f32> {
    match (provenance.probabilities, answer) {
        (Some(_), _) => answer.to_vec(),
        (None, [score]) => vec![check::compare::sigmoid(*score)],
        (None, scores) => check::compare::softmax(scores, scores.len()),
    }
}

/// The most probable classes, best first.
fn top(all: Vec<f32>, labels: Option<&[String]>) -> Vec<Class> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| all[b].total_cmp(&all[a]));
    let class = |&c: &usize| Class { class: c, label: labels.and_then(|l| l.get(c).cloned()), probability: all[c] };
    order.iter().take(SHOWN).map(class).collect()
}

fn text(found: &Found) -> String {
    let mut out = String::new();
    for (i, seen) in found.pictures.iter().enumerate() {
        let mut rows = vec![["class", "probability", "label"].map(String::from).to_vec()];
        let row =
            |c: &Class| vec![c.class.to_string(), format!("{:.4}", c.probability), c.label.clone().unwrap_or_default()];
        rows.extend(seen.top.iter().map(row));
        if seen.top.iter().all(|c| c.label.is_none()) {
            rows.iter_mut().for_each(|r| r.truncate(2));
        }
        let gap = if i > 0 { "\n" } else { "" };
        out.push_str(&format!("{gap}{}\n", seen.file.display()));
        if rows.len() > 1 || seen.written.is_empty() {
            out.push_str(&table(&rows, "  "));
        }
        if !seen.shares.is_empty() {
            out.push_str(&table(&dense::share_rows(&seen.shares), "  "));
        }
        if !seen.boxes.is_empty() {
            out.push_str(&table(&dense::box_rows(&seen.boxes), "  "));
        }
        seen.written.iter().for_each(|path| out.push_str(&format!("  wrote {}\n", path.display())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Likelihood;

    #[test]
    fn the_best_classes_come_first() {
        let labels: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let answers = |answer: &[f32], likelihood| {
            let metadata = std::collections::BTreeMap::new();
            probabilities(answer, &Provenance { probabilities: likelihood, ..Provenance::read(&metadata) })
        };
        let best = top(answers(&[0.0, 2.0, 1.0], None), Some(&labels));
        let order: Vec<(usize, Option<&str>)> = best.iter().map(|c| (c.class, c.label.as_deref())).collect();
        assert_eq!(order, [(1, Some("b")), (2, Some("c")), (0, Some("a"))]);
        assert!((best.iter().map(|c| c.probability).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(top(answers(&[0.1, 0.7, 0.2], Some(Likelihood::OneOf)), None)[0].probability, 0.7);
        assert_eq!(top(answers(&[0.0], None), None)[0].probability, 0.5);
        assert_eq!(top(answers(&[f32::NAN; 9], None), None).len(), SHOWN);
    }
}
