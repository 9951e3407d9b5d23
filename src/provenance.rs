//! What an artifact's metadata say of how it was made, so that a later check builds the same model and feeds it alike: written by an export,
//! read by `vitc check` and `vitc run`. Input form and normalisation are entries of [`Preprocessing`], sizes and names are in the interface.

use crate::arch::Results;
use crate::arch::heads::HeadName;
use crate::checkpoint::SelectOptions;
use crate::model::{FileRequest, ModelRequest};
use crate::signature::Likelihood;
use std::collections::BTreeMap;
use std::path::Path;
use vitc_exporters::metadata::{Preprocessing, VERSION_KEY};
use vitc_ir::Dim;

/// Key of what the artifact returns.
const OUTPUT_KEY: &str = "vitc.output";

/// Key of the heads that were asked for by name, with commas between them.
const HEAD_KEY: &str = "vitc.head";

/// Key of what a head over maps is for.
const TASK_KEY: &str = "vitc.task";

/// In front of the name of a choice, the key of its value.
const CHOICE_KEY: &str = "vitc.choice.";

/// Key of the say in which tensors of the checkpoint are taken, as JSON, if there was one.
const SELECT_KEY: &str = "vitc.select";

/// Key of the model file that the artifact was made from, and what was asked of it, as JSON.
const IMPORT_KEY: &str = "vitc.import";

/// Key of the form of a quantised artifact.
pub const QUANTIZE_KEY: &str = "vitc.quantize";

/// Key of the signal to noise that was asked of it, in dB.
pub const MIN_SNR_KEY: &str = "vitc.quantize.min_snr";

/// Key of the share of kept classes that was asked of it.
pub const AGREEMENT_KEY: &str = "vitc.quantize.agreement";

/// What an artifact returns, with probabilities for scores or not, and its word.
const OUTPUTS: [(&str, Results, Option<Likelihood>); 10] = [
    ("logits", Results::Logits, None),
    ("probabilities", Results::Logits, Some(Likelihood::OneOf)),
    ("independent probabilities", Results::Logits, Some(Likelihood::EachOf)),
    ("features", Results::Features, None),
    ("pyramid", Results::Pyramid, None),
    ("neck", Results::Neck, None),
    ("enlarged", Results::Enlarged, None),
    ("enlarged probabilities", Results::Enlarged, Some(Likelihood::OneOf)),
    ("classes", Results::ClassMap, None),
    ("boxes", Results::Boxes, None),
];

/// How an artifact was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// What the model returns.
    pub results: Results,
    /// Probabilities stand for scores.
    pub probabilities: Option<Likelihood>,
    /// The heads that were asked for by name.
    pub heads: Vec<HeadName>,
    /// Values of the parts' choices.
    pub choices: BTreeMap<String, String>,
    /// Which tensors of the checkpoint.
    pub select: SelectOptions,
    /// A head predicted over a map.
    pub dense: bool,
    /// How a picture becomes the input; `None` if the artifact does not say.
    pub preprocessing: Option<Preprocessing>,
    /// The model file that the artifact was made from, by its name, and what was asked of it.
    pub import: Option<FileRequest>,
}

/// The entries of an export that returns `results`, [`Preprocessing`]'s apart.
pub fn entries(model: &ModelRequest, results: Results, probabilities: Option<Likelihood>) -> Vec<(String, String)> {
    let listed = OUTPUTS.iter().find(|(_, r, p)| *r == results && *p == probabilities).map(|o| o.0.to_string());
    let stages = match results {
        Results::Stages(stages) => Some(stages.to_string()),
        _ => None,
    };
    let output = listed.or(stages);
    let heads =
        (!model.heads.is_empty()).then(|| model.heads.iter().map(HeadName::written).collect::<Vec<_>>().join(","));
    let select = (model.select != SelectOptions::default()).then(|| serde_json::json!(model.select).to_string());
    let import = model.file.as_ref().map(write_file);
    let fixed = [(IMPORT_KEY, import), (OUTPUT_KEY, output), (HEAD_KEY, heads), (SELECT_KEY, select)];
    let fixed = fixed.into_iter().filter_map(|(key, said)| Some((key.to_string(), said?)));
    fixed.chain(model.choices.iter().map(|(name, value)| (format!("{CHOICE_KEY}{name}"), value.clone()))).collect()
}

/// A request as JSON: the batch 0 is the symbolic one.
fn write_file(file: &FileRequest) -> String {
    let name = file.path.file_name().map(|n| n.to_string_lossy().into_owned());
    let batch = file.batch.map(|b| b.fixed().unwrap_or(0));
    serde_json::json!({ "file": name, "batch": batch, "shapes": file.shapes, "outputs": file.outputs }).to_string()
}

fn read_file(text: &str) -> Option<FileRequest> {
    let said: serde_json::Value = serde_json::from_str(text).ok()?;
    let batch = said["batch"].as_u64().and_then(|n| usize::try_from(n).ok());
    Some(FileRequest {
        path: said["file"].as_str()?.into(),
        batch: batch.map(|n| if n == 0 { Dim::Batch(1) } else { Dim::Fixed(n) }),
        shapes: serde_json::from_value(said["shapes"].clone()).ok()?,
        outputs: serde_json::from_value(said["outputs"].clone()).ok()?,
    })
}

impl Provenance {
    /// The request of the import that made the artifact, on this file.
    pub fn file(&self, path: Option<&Path>) -> Option<FileRequest> {
        let path = path?.to_path_buf();
        let asked = self.import.clone();
        Some(asked.map_or(
            FileRequest { path: path.clone(), batch: None, shapes: Vec::new(), outputs: Vec::new() },
            |asked| FileRequest { path, ..asked },
        ))
    }

    /// Whether the artifact returns what its heads predict: scores or classes of pictures, pixels or boxes.
    pub fn classifies(&self) -> bool {
        self.results.are_final()
    }

    /// What these metadata say, for a caller that has pictures.
    ///
    /// # Errors
    /// If they do not say how a picture becomes the input.
    pub fn of_pictures(metadata: &BTreeMap<String, String>) -> Result<(Provenance, Preprocessing), Unprepared> {
        let mut provenance = Provenance::read(metadata);
        match provenance.preprocessing.take() {
            _ if !metadata.contains_key(VERSION_KEY) => Err(Unprepared::Foreign),
            Some(preprocessing) => Ok((provenance, preprocessing)),
            None => Err(Unprepared::Unsaid),
        }
    }

    /// What these metadata say; scores of all heads where they say nothing.
    pub fn read(metadata: &BTreeMap<String, String>) -> Provenance {
        let said = |key: &str| metadata.get(key).map(String::as_str);
        let stages =
            said(OUTPUT_KEY).and_then(|word| word.parse().ok()).map(|stages| ("", Results::Stages(stages), None));
        let listed = OUTPUTS.into_iter().find(|o| said(OUTPUT_KEY) == Some(o.0));
        let output = listed.or(stages).unwrap_or(OUTPUTS[0]);
        let choices = metadata.iter().filter_map(|(k, v)| Some((k.strip_prefix(CHOICE_KEY)?.to_string(), v.clone())));
        Provenance {
            results: output.1,
            probabilities: output.2,
            dense: metadata.contains_key(TASK_KEY),
            heads: said(HEAD_KEY).map(|all| all.split(',').map(HeadName::read).collect()).unwrap_or_default(),
            choices: choices.collect(),
            select: said(SELECT_KEY).and_then(|s| serde_json::from_str(s).ok()).unwrap_or_default(),
            preprocessing: Preprocessing::read(metadata),
            import: said(IMPORT_KEY).and_then(read_file),
        }
    }
}

/// Why nobody knows how a picture becomes an artifact's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprepared {
    /// Somebody else wrote the file.
    #[error("was not written by vitc, so it does not say how a picture becomes its input")]
    Foreign,
    /// Nobody said it at the export: of an imported file it is never guessed.
    #[error("takes values, and does not say how a picture becomes them")]
    Unsaid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (_, results, probabilities) in OUTPUTS {
            for heads in [vec![], vec!["head"], vec!["head", "fc.1+fc.4=scores"]] {
                let heads: Vec<HeadName> = heads.into_iter().map(HeadName::read).collect();
                let choices = BTreeMap::from([("norm".to_string(), "batch".to_string())]);
                let rename = vec![("a".to_string(), "b.c".to_string())];
                let select = SelectOptions { ema: Some(true), rename, ..SelectOptions::default() };
                let model = ModelRequest { heads: heads.clone(), choices, select, ..ModelRequest::named("m") };
                let metadata = entries(&model, results, probabilities).into_iter().collect();
                let ModelRequest { choices, select, .. } = model;
                let dense = false;
                let expected = Provenance {
                    results,
                    probabilities,
                    heads,
                    choices,
                    select,
                    dense,
                    preprocessing: None,
                    import: None,
                };
                assert_eq!(Provenance::read(&metadata), expected);
            }
        }
    }
}
