//! What a checkpoint says about its model besides the tensors: `config.json`, or the training script's arguments.
//!
//! Everything is optional, and a value of an unexpected type or range counts as absent: a strange configuration never keeps weights from
//! loading.

use super::pickle::{Id, Pickle, Value};
use serde_json::Value as Json;

/// Keys under which training scripts keep their arguments.
const ARGUMENTS: &[&str] = &["args", "hyper_parameters", "cfg", "config", "opt", "opts"];
/// More classes than any label list has.
const MAX_LABELS: usize = 1 << 20;

/// What is said about the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelConfig {
    /// Where it was found, for messages: `config.json` or `training arguments in the checkpoint`.
    pub source: String,
    /// Name of the architecture in upstream's spelling (`efficientformerv2_s0`).
    pub architecture: Option<String>,
    /// Number of classes.
    pub num_classes: Option<usize>,
    /// Input height and width.
    pub input_size: Option<[usize; 2]>,
    /// Mean per channel of pixels in 0..1.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation per channel of pixels in 0..1.
    pub std: Option<[f64; 3]>,
    /// Side of the crop over side of the resized image.
    pub crop_pct: Option<f64>,
    /// `center`, `squash` or `border`.
    pub crop_mode: Option<String>,
    /// `bicubic` or `bilinear`.
    pub interpolation: Option<String>,
    /// Names of the classes, in order.
    pub labels: Option<Vec<String>>,
}

impl ModelConfig {
    /// From the `config.json` of timm or transformers; `preprocessor` is transformers' `preprocessor_config.json`.
    pub(super) fn from_json(config: &Json, preprocessor: Option<&Json>) -> ModelConfig {
        let nothing = Json::Null;
        let pre = config.get("pretrained_cfg").unwrap_or(config);
        let args = config.get("model_args").unwrap_or(&nothing);
        let image = preprocessor.unwrap_or(&nothing);
        let first = |key: &str| [args, config, pre].into_iter().find_map(|c| c.get(key).filter(|v| !v.is_null()));
        let text = |v: Option<&Json>| v.and_then(Json::as_str).map(str::to_string);
        let architectures = config.get("architectures").and_then(|a| a.get(0));
        ModelConfig {
            source: "config.json".into(),
            architecture: text(first("architecture").or(config.get("model_type")).or(architectures)),
            num_classes: first("num_classes").and_then(json_size),
            input_size: ["img_size", "input_size", "image_size"]
                .into_iter()
                .find_map(|k| first(k).and_then(json_image_size)),
            mean: pre.get("mean").or(image.get("image_mean")).and_then(json_triple),
            std: pre.get("std").or(image.get("image_std")).and_then(json_triple),
            crop_pct: pre
                .get("crop_pct")
                .or(image.get("crop_pct"))
                .and_then(Json::as_f64)
                .filter(|c| *c > 0.0 && *c <= 1.0),
            crop_mode: text(pre.get("crop_mode")),
            interpolation: text(pre.get("interpolation")).or(match image.get("resample").and_then(Json::as_u64) {
                Some(2) => Some("bilinear".into()),
                Some(3) => Some("bicubic".into()),
                _ => None,
            }),
            labels: json_labels(config),
        }
    }

    /// From the arguments that a training script left beside the weights, if there are any.
    pub(super) fn from_pickle(pickle: &Pickle<'_>) -> Option<ModelConfig> {
        let top = pickle.entries(pickle.root);
        let named = |name: &str| top.iter().find(|(k, _)| pickle.str(*k) == Some(name)).map(|e| e.1);
        let arguments: Vec<Id> = ARGUMENTS.iter().filter_map(|name| named(name)).collect();
        let find = |names: &[&str]| {
            let entries = arguments.iter().flat_map(|&id| pickle.entries(id));
            names.iter().find_map(|&name| {
                entries
                    .clone()
                    .find(|(k, v)| pickle.str(*k) == Some(name) && *pickle.get(*v) != Value::None)
                    .map(|e| e.1)
            })
        };
        let text = |id: Option<Id>| {
            id.and_then(|id| pickle.str(id)).filter(|t| !t.is_empty() && t.len() < 256).map(str::to_string)
        };
        let number = |id: Id| match pickle.get(id) {
            Value::Float(x) => Some(*x),
            Value::Int(n) => Some(*n as f64),
            _ => None,
        };
        let triple = |id: Option<Id>| {
            let values: Option<Vec<f64>> = pickle.sequence(id?)?.iter().map(|&v| number(v)).collect();
            finite_triple(values?)
        };
        let config = ModelConfig {
            source: "training arguments in the checkpoint".into(),
            architecture: text(find(&["model", "arch", "model_name"])).or(text(named("arch"))),
            num_classes: find(&["num_classes", "nb_classes"]).and_then(|id| pickle.size(id)).filter(|n| *n > 0),
            input_size: find(&["img_size", "input_size", "resolution"]).and_then(|id| match pickle.sequence(id) {
                Some(items) => image_size(&items.iter().map(|&d| pickle.size(d)).collect::<Option<Vec<_>>>()?),
                None => image_size(&[pickle.size(id)?]),
            }),
            mean: triple(find(&["mean"])),
            std: triple(find(&["std"])),
            crop_pct: find(&["crop_pct"]).and_then(number).filter(|c| *c > 0.0 && *c <= 1.0),
            crop_mode: text(find(&["crop_mode"])),
            interpolation: text(find(&["interpolation"])).filter(|t| t != "random"),
            labels: None,
        };
        (config != ModelConfig { source: config.source.clone(), ..ModelConfig::default() }).then_some(config)
    }
}

fn json_size(value: &Json) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn json_image_size(value: &Json) -> Option<[usize; 2]> {
    match value.as_array() {
        Some(items) => image_size(&items.iter().map(json_size).collect::<Option<Vec<_>>>()?),
        None => image_size(&[json_size(value)?]),
    }
}

/// A side, (height, width) or (channels, height, width).
fn image_size(numbers: &[usize]) -> Option<[usize; 2]> {
    let size = match *numbers {
        [side] => [side, side],
        [height, width] | [_, height, width] => [height, width],
        _ => return None,
    };
    size.iter().all(|d| (1..=1 << 16).contains(d)).then_some(size)
}

fn json_triple(value: &Json) -> Option<[f64; 3]> {
    finite_triple(value.as_array()?.iter().map(Json::as_f64).collect::<Option<Vec<_>>>()?)
}

fn finite_triple(values: Vec<f64>) -> Option<[f64; 3]> {
    <[f64; 3]>::try_from(values).ok().filter(|v| v.iter().all(|x| x.is_finite()))
}

fn json_labels(config: &Json) -> Option<Vec<String>> {
    if let Some(names) = config.get("label_names").and_then(Json::as_array) {
        return names.iter().map(|n| n.as_str().map(str::to_string)).collect();
    }
    let names = config.get("id2label")?.as_object().filter(|names| names.len() <= MAX_LABELS)?;
    (0..names.len()).map(|i| names.get(&i.to_string())?.as_str().map(str::to_string)).collect()
}
