//! `vitc evaluate`: how often an artifact is right about a folder of pictures.

use super::progress::Progress;
use super::text::table;
use super::{Answer, Caller, Exit, Failure, Outcome};
use crate::evaluate::{EvaluateError, Evaluation, Judged, Marks, Request, Sight, Source, evaluate};
use crate::message;
use crate::message::{Message, Setting};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use vitc_exporters::metadata::Fit;

/// Run an artifact on pictures whose classes are known and count how often it is right.
///
/// Pictures are resized, cropped and normalised as the artifact's metadata say, and run in tract on this machine's processors. A folder of one
/// folder a class is judged by top-1 and top-5; with --masks, pictures by the mean intersection over union. With --against a second artifact
/// looks at the same pictures: what an export costs is seen before it is shipped.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc evaluate model.onnx val/                                     val/cat/1.jpg, val/dog/2.jpg, …
  vitc evaluate model-fp16.mlpackage val/ --against model.onnx      and how often both say the same
  vitc evaluate model.onnx pictures/ --list labels.csv              path and class a line
  vitc evaluate segmenter.onnx images/ --masks annotations/ --zero-ignored

Folders named as the artifact's labels are those classes. Else the sorted names are the class indices.")]
pub(super) struct Args {
    /// The .onnx file, .mlpackage or .aimodel, as vitc wrote it.
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,

    /// Folder of PNG or JPEG files: one folder a class, or with --list or --masks any.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    /// Path below FOLDER and class (number or label) of each picture, a line each: CSV, or with a tab or spaces between them.
    #[arg(long, value_name = "FILE", conflicts_with = "masks", help_heading = "Truth")]
    list: Option<PathBuf>,

    /// PNG files of class indices under the pictures' names; 255 is no class. Judged at their own size.
    #[arg(long, value_name = "FOLDER", help_heading = "Truth")]
    masks: Option<PathBuf>,

    /// In masks 0 is no class and 1 the first, as ADE20K stores them.
    #[arg(long, requires = "masks", help_heading = "Truth")]
    zero_ignored: bool,

    /// A second artifact, to compare with. Without classes for the pictures, only the agreement is counted.
    #[arg(long, value_name = "ARTIFACT", help_heading = "Comparison")]
    against: Option<PathBuf>,

    /// Which output is judged, if the artifact has several.
    #[arg(long, value_name = "NAME", help_heading = "Comparison")]
    output: Option<String>,

    /// Part of the resized picture's side that the centre crop keeps, above 0 and up to 1 [default: as the artifact says].
    #[arg(long, value_name = "X", value_parser = crop, help_heading = "Pictures")]
    crop: Option<f64>,

    /// Interpolation of the resize [default: as the artifact says].
    #[arg(long, value_name = "KIND", value_parser = ["bilinear", "bicubic", "lanczos"], help_heading = "Pictures")]
    interpolation: Option<String>,

    /// What happens to a picture's shape [default: as the artifact says].
    #[arg(long, value_enum, help_heading = "Pictures")]
    fit: Option<Shape>,

    /// One JSON object on stdout instead of the tables.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What happens to a picture's shape.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    /// Resized in proportion, then the centre is cropped.
    Crop,
    /// Resized to the model's size, whatever its proportions.
    Stretch,
    /// Resized in proportion until it fits, filled up with the mean colour.
    Pad,
}

/// A part of a side.
fn crop(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x| *x > 0.0 && *x <= 1.0)
        .ok_or_else(|| "expected a number above 0 and up to 1, such as 0.875".into())
}

/// Run the command.
pub(super) fn run(args: Args, caller: &Caller<'_>) -> Outcome {
    let source = match (&args.list, &args.masks) {
        (Some(file), _) => Source::List { folder: args.folder.clone(), file: file.clone() },
        (None, Some(masks)) => {
            Source::Masks { pictures: args.folder.clone(), masks: masks.clone(), zero_ignored: args.zero_ignored }
        }
        (None, None) => Source::Folders(args.folder.clone()),
    };
    let fit = args.fit.map(|shape| match shape {
        Shape::Crop => Fit::Crop,
        Shape::Stretch => Fit::Stretch,
        Shape::Pad => Fit::Pad,
    });
    let mut request = Request {
        artifact: args.artifact,
        against: args.against,
        source,
        output: args.output,
        sight: Sight { crop: args.crop, interpolation: args.interpolation, fit },
    };
    let progress = Progress::new(caller, args.json);
    progress.step("loading the artifact");
    let watch = |done: usize, of: usize| progress.step(&format!("{done} of {of} pictures"));
    let mut found = evaluate(&request, &watch);
    if let (Err(EvaluateError::NoClassFolders(folder)), Some(_)) = (&found, &request.against) {
        request.source = Source::Unknown(folder.clone());
        found = evaluate(&request, &watch);
    }
    let found = found.map_err(|error| Failure::new(Exit::Failed, message!(error.to_string(), todo(&error))))?;
    if !args.json {
        found.notices.iter().for_each(|notice| progress.notice(notice));
    }
    drop(progress);
    Ok(Answer::new(text(&found), serde_json::to_value(&found).map_err(Failure::failed)?))
}

/// What to do about it.
fn todo(error: &EvaluateError) -> Message {
    let todo = match error {
        EvaluateError::NoClassFolders(_) => {
            let (list, masks) = (Setting::List.to("FILE"), Setting::Masks.to("FOLDER"));
            message!("give ", list, " with path and class of each picture, or ", masks, " for a segmentation")
        }
        EvaluateError::Unprepared { why, .. } => super::run::prepared(*why),
        EvaluateError::Outputs { outputs, .. } => {
            message!("name one: ", Setting::Output.to(outputs.first().map_or("NAME", |o| o)))
        }
        EvaluateError::BeyondClasses { zero_ignored: false, .. } => {
            message!("if 0 is no class in these masks and 1 the first, as in ADE20K: ", Setting::ZeroIgnored.on())
        }
        EvaluateError::Cropped(_) => message!("show it whole pictures: ", Setting::Fit.to("stretch")),
        EvaluateError::NoMask { .. } => {
            "a mask is a PNG file with the picture's name, in a folder like the picture's".into()
        }
        _ => return Message::default(),
    };
    message!("\n  ", todo)
}

/// A share that an artifact is judged by.
type Figure = fn(&Marks) -> Option<f64>;

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn text(found: &Evaluation) -> String {
    let mut out =
        format!("{} on {} pictures, {} classes\n\n", found.judged.artifact.display(), found.pictures, found.classes);
    let mut rows = vec![vec!["artifact".to_string()]];
    let judged: Vec<&Judged> = std::iter::once(&found.judged).chain(found.against.iter().map(|a| &a.judged)).collect();
    rows.extend(judged.iter().map(|j| vec![j.artifact.display().to_string()]));
    let few = found.classes <= 5;
    let figures: [(&str, Figure); 4] =
        [("top-1", |m| m.top1), ("top-5", |m| m.top5), ("mIoU", |m| m.miou), ("pixels", |m| m.pixel_accuracy)];
    for (name, of) in figures {
        let shares: Vec<Option<f64>> = judged.iter().map(|j| j.marks.as_ref().and_then(of)).collect();
        if shares.iter().all(Option::is_none) || few && name == "top-5" {
            continue;
        }
        rows[0].push(name.to_string());
        rows[1..].iter_mut().zip(shares).for_each(|(row, share)| row.push(share.map_or("-".into(), percent)));
    }
    if rows[0].len() > 1 {
        out.push_str(&table(&rows, "  "));
    }
    if let Some(against) = &found.against {
        let what = if against.of > found.pictures as u64 { "pixels" } else { "pictures" };
        let (same, of) = (against.same, against.of);
        out.push_str(&format!("\n  both say the same of {same} of {of} {what}: {}\n", percent(against.agreement)));
    }
    let Some(marks) = &found.judged.marks else { return out };
    let other = found.against.as_ref().and_then(|a| a.judged.marks.as_ref());
    out.push('\n');
    out.push_str(&table(&classes(marks, other), "  "));
    out
}

/// A row for each class.
fn classes(marks: &Marks, other: Option<&Marks>) -> Vec<Vec<String>> {
    let [seen, figure] = if marks.miou.is_some() { ["pixels", "IoU"] } else { ["pictures", "top-1"] };
    let mut rows = vec![["class", seen, figure].map(String::from).to_vec()];
    if other.is_some() {
        rows[0].push("of the other".into());
    }
    rows[0].push("label".into());
    let share = |c: &crate::evaluate::ClassMark| c.iou.or(c.top1);
    for c in &marks.per_class {
        let count = c.pictures.map(|n| n as u64).or(c.pixels).unwrap_or(0);
        let mut row = vec![c.class.to_string(), count.to_string(), share(c).map_or("-".into(), percent)];
        if let Some(other) = other {
            let of = other.per_class.iter().find(|o| o.class == c.class).and_then(share);
            row.push(of.map_or("-".into(), percent));
        }
        row.push(c.label.clone().unwrap_or_default());
        rows.push(row);
    }
    if marks.per_class.iter().all(|c| c.label.is_none()) {
        rows.iter_mut().for_each(|row| {
            row.pop();
        });
    }
    rows
}
