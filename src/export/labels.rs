//! Names of the classes, and whether an artifact can answer with one.

use super::error::Error;
use super::label_file;
use super::options::Labels;
use super::request::Request;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::Model;
use crate::signature::Likelihood;
use std::collections::HashMap;
use vitc_ir::Dim;

/// Names of the classes: the user's, else the checkpoint's, if the model classifies.
pub(super) fn labels(
    request: &Request,
    model: &Model,
    notices: &mut Vec<Message>,
) -> Result<Option<Vec<String>>, Error> {
    let scores = model.signature.named_classes().or(model.classes);
    let path = match &request.interface.labels {
        Labels::Omit => return Ok(None),
        Labels::Checkpoint => {
            let said = model.weights.config().and_then(|c| c.labels.as_ref());
            let dense = model.labels.as_ref().filter(|l| Some(l.len()) == scores);
            let Some(said) = said.filter(|_| dense.is_none()) else { return Ok(dense.cloned()) };
            let fits = Some(said.value.len()) == scores;
            if let (false, Some(n)) = (fits, scores) {
                let what = format!(
                    "{}: {} names, and the model has {n} classes: they are left out",
                    said.from,
                    said.value.len()
                );
                notices.push(what.into());
            }
            return Ok(fits.then(|| said.value.clone()));
        }
        Labels::File(path) => path,
    };
    let wrong = |what: String| Error::Labels { path: path.clone(), what };
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot be read: {e}\n  give a text file in UTF-8, one name a line")))?;
    let labels = label_file::read(&text, path).map_err(wrong)?;
    match scores {
        Some(n) if n == labels.len() => Ok(Some(labels)),
        Some(n) => Err(wrong(format!(
            "has {} names, and the model has {n} classes\n  give one name for each, in the order of the scores",
            labels.len()
        ))),
        None => Err(Error::Usage(message!(Setting::Labels, ": the model returns no class scores\n  leave it out"))),
    }
}

/// Whether an artifact with these labels answers with a label, under the names `outputs`. Labels that the user did not give stay in the metadata
/// where they cannot.
pub(super) fn classifier(
    request: &Request,
    labels: &[String],
    outputs: [&str; 2],
    notices: &mut Vec<Message>,
) -> Result<bool, Error> {
    let noun = request.target.format().noun;
    if !request.interface.output_names.is_empty() {
        let why = format!("a {noun} with labels answers with {}", outputs.join(" and "));
        let todo = "\n  leave it out, or leave the labels out with ";
        return Err(Error::Usage(message!(Setting::OutputName, ": ", why, todo, Setting::Labels.off())));
    }
    let mut seen = HashMap::new();
    let twice = labels.iter().enumerate().find_map(|(i, label)| Some((seen.insert(label, i)?, i)));
    let (why, todo) = match twice {
        _ if request.model.batch != Dim::Fixed(1) => (
            format!("a {noun} that answers with a label takes one picture"),
            message!("use ", Setting::Batch.to(1), ", or leave ", Setting::Labels, " out"),
        ),
        Some((a, b)) => (
            format!("classes {a} and {b} are both named {}, and a {noun} keeps probabilities by name", labels[a]),
            Message::from("give every class a name of its own"),
        ),
        None if labels.len() == 1 && request.interface.probabilities != Some(Likelihood::EachOf) => (
            "softmax over one class is always 1".to_string(),
            message!("use ", Setting::Sigmoid.on(), " for the probability of a model that was trained with one score"),
        ),
        None => return Ok(true),
    };
    match &request.interface.labels {
        Labels::File(_) => Err(Error::Usage(message!(Setting::Labels, ": ", why, "\n  ", todo))),
        _ => {
            notices.push(format!("the {noun} returns scores, and its labels are in the metadata only: {why}").into());
            Ok(false)
        }
    }
}
