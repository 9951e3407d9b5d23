//! Settings out of a document: `config.json`, `preprocessor_config.json`, or what a training script pickled beside the weights.
//!
//! Scripts keep them on the top level, under `args`, `hyper_parameters`, `pretrained_cfg` and the like, nested and under many names; the first
//! name of each list that is found in the outermost place wins.

use super::settings::{ModelConfig, Said};
use serde_json::{Map, Value as Json};

/// Names of dicts in which settings are looked for, nested in each other as they may be.
const PLACES: &[&str] = &[
    "model_args",
    "pretrained_cfg",
    "default_cfg",
    "args",
    "hyper_parameters",
    "hparams",
    "cfg",
    "config",
    "opt",
    "opts",
    "model_config",
    "model_cfg",
    "data_config",
    "data_cfg",
    "train_args",
    "meta",
    "dataset_meta",
    "img_norm_cfg",
    "data_preprocessor",
    "preprocess",
    "preprocessing",
    "preprocessor",
    "preprocessor_config",
    "image_processor",
    "transform",
    "transforms",
    "normalize",
    "normalization",
    "data",
    "dataset",
    "model_info",
    "info",
    "metadata",
];
/// Deepest nesting of these.
const DEPTH: usize = 4;
const ARCHITECTURE: &[&str] = &["architecture", "arch", "model_name", "model", "model_type", "backbone"];
const CLASSES: &[&str] = &["num_classes", "nb_classes", "n_classes", "num_labels"];
const SIZE: &[&str] = &[
    "img_size",
    "image_size",
    "input_size",
    "imgsz",
    "input_resolution",
    "resolution",
    "crop_size",
    "size",
    "test_input_size",
];
const MEAN: &[&str] = &["mean", "image_mean", "img_mean", "pixel_mean", "norm_mean", "normalize_mean"];
const STD: &[&str] = &["std", "image_std", "img_std", "pixel_std", "norm_std", "normalize_std"];
const CROP: &[&str] = &["crop_pct", "crop_ratio", "center_crop_ratio"];
const CROP_MODE: &[&str] = &["crop_mode"];
const INTERPOLATION: &[&str] = &["interpolation", "test_interpolation", "resample"];
const LABELS: &[&str] = &[
    "label_names",
    "class_names",
    "classes",
    "CLASSES",
    "labels",
    "names",
    "categories",
    "id2label",
    "idx_to_class",
    "idx2label",
    "class_to_idx",
    "label2id",
    "label_map",
];
/// More classes than any list has.
pub(super) const MAX_LABELS: usize = 1 << 20;
/// More channels than any camera has.
const MAX_CHANNELS: usize = 64;

/// What a document says; `file` is its name.
pub(super) fn read(document: &Json, file: &str) -> ModelConfig {
    let mut places = Vec::new();
    collect(document, String::new(), 0, &mut places);
    let search = Search { places, file };
    let mean = search.first(MEAN, channels);
    let std = search.first(STD, channels);
    let (mean, std) = in_unit_range(mean, std);
    let architectures = |value: &Json| value.get(0).and_then(text);
    ModelConfig {
        architecture: search.first(ARCHITECTURE, text).or_else(|| search.first(&["architectures"], architectures)),
        num_classes: search.first(CLASSES, |v| whole(v).filter(|n| *n > 0)),
        input_size: search.first(SIZE, image_size),
        mean,
        std,
        crop_pct: search
            .first(CROP, |v| v.as_f64().filter(|c| *c > 0.0 && *c <= 1.0))
            .or_else(|| search.crop_of_sizes()),
        crop_mode: search.first(CROP_MODE, text),
        interpolation: search.first(INTERPOLATION, interpolation),
        labels: search.first(LABELS, labels),
        conflicts: Vec::new(),
    }
}

/// The dicts in which settings are looked for, the outermost first, with their paths.
fn collect<'d>(document: &'d Json, path: String, depth: usize, places: &mut Vec<(String, &'d Map<String, Json>)>) {
    let Some(map) = document.as_object() else { return };
    places.push((path.clone(), map));
    if depth == DEPTH {
        return;
    }
    for name in PLACES {
        if let Some(inner) = map.get(*name).filter(|v| v.is_object()) {
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            collect(inner, path, depth + 1, places);
        }
    }
}

struct Search<'d> {
    places: Vec<(String, &'d Map<String, Json>)>,
    file: &'d str,
}

impl Search<'_> {
    /// The first of these names whose value can be read.
    fn first<T>(&self, names: &[&str], read: impl Fn(&Json) -> Option<T>) -> Option<Said<T>> {
        let in_place = |(path, map): &(String, &Map<String, Json>)| {
            names.iter().find_map(|&name| {
                let value = read(map.get(name)?)?;
                let at = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                Some(Said { value, from: format!("{}: {at}", self.file) })
            })
        };
        self.places.iter().find_map(in_place)
    }

    /// transformers' image processors: the crop's side over the shorter side of the resized picture.
    fn crop_of_sizes(&self) -> Option<Said<f64>> {
        let short = self.first(&["size"], |v| v.get("shortest_edge").and_then(whole))?;
        let crop = self.first(&["crop_size"], image_size)?;
        let share = crop.value[0].min(crop.value[1]) as f64 / short.value as f64;
        (share > 0.0 && share <= 1.0).then(|| Said { value: share, from: format!("{}: size, crop_size", self.file) })
    }
}

fn text(value: &Json) -> Option<String> {
    value.as_str().filter(|t| !t.is_empty() && t.len() < 256).map(str::to_string)
}

fn whole(value: &Json) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// A side, (height, width), (channels, height, width), or `{height, width}`.
fn image_size(value: &Json) -> Option<[usize; 2]> {
    let numbers: Vec<usize> = match value {
        Json::Array(items) if items.len() <= 3 => items.iter().map(whole).collect::<Option<_>>()?,
        Json::Object(map) => vec![whole(map.get("height")?)?, whole(map.get("width")?)?],
        value => vec![whole(value)?],
    };
    let size = match *numbers {
        [side] => [side, side],
        [height, width] | [_, height, width] => [height, width],
        _ => return None,
    };
    size.iter().all(|d| (1..=1 << 16).contains(d)).then_some(size)
}

/// A number per channel; a single one is a grey picture's.
fn channels(value: &Json) -> Option<Vec<f64>> {
    let items = value.as_array().filter(|items| (1..=MAX_CHANNELS).contains(&items.len()))?;
    let values: Vec<f64> = items.iter().map(Json::as_f64).collect::<Option<_>>()?;
    values.iter().all(|x| x.is_finite()).then_some(values)
}

/// A number per channel, if it is said.
pub type Channels = Option<Said<Vec<f64>>>;

/// Mean and deviation for pixels in 0..1, from those for pixels in 0..255 if they are that large. A deviation that is not positive counts as absent.
pub fn in_unit_range(mean: Channels, std: Channels) -> (Channels, Channels) {
    let large = |said: &Channels| said.as_ref().is_some_and(|s| s.value.iter().any(|x| *x > 1.0));
    let bytes = large(&mean) || large(&std);
    // Of numbers that were written with a few digits, the quotient has as few.
    let quotient = |x: &f64| (x / 255.0 * 1e9).round() / 1e9;
    let scaled = |said: Said<Vec<f64>>| Said { value: said.value.iter().map(quotient).collect(), ..said };
    let unit = |said: Channels| if bytes { said.map(scaled) } else { said };
    let mean = unit(mean).filter(|m| m.value.iter().all(|x| (0.0..=1.0).contains(x)));
    let std = unit(std).filter(|s| s.value.iter().all(|x| *x > 0.0 && *x <= 1.0));
    (mean, std)
}

/// A kernel by name, or by PIL's number.
fn interpolation(value: &Json) -> Option<String> {
    let name = match value.as_u64() {
        Some(1) => "lanczos".to_string(),
        Some(2) => "bilinear".into(),
        Some(3) => "bicubic".into(),
        _ => value.as_str()?.to_ascii_lowercase(),
    };
    ["bilinear", "bicubic", "lanczos"].contains(&name.as_str()).then_some(name)
}

/// Names of classes: a list; a dict of numbers to names, to names behind WordNet's, or of names to numbers.
pub fn labels(value: &Json) -> Option<Vec<String>> {
    let name = |v: &Json| match v {
        Json::String(name) => Some(name.clone()),
        // ImageNet's index: ["n01440764", "tench"].
        Json::Array(pair) if pair.len() == 2 => pair[1].as_str().map(str::to_string),
        _ => None,
    };
    match value {
        Json::Array(names) if !names.is_empty() && names.len() <= MAX_LABELS => names.iter().map(name).collect(),
        Json::Object(map) if !map.is_empty() && map.len() <= MAX_LABELS => {
            let by_number = |i: usize| map.get(&i.to_string()).and_then(name);
            (0..map.len()).map(by_number).collect::<Option<Vec<_>>>().or_else(|| {
                let mut names = vec![None; map.len()];
                for (name, number) in map {
                    *names.get_mut(whole(number)?)? = Some(name.clone());
                }
                names.into_iter().collect()
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_found_wherever_people_keep_them() {
        let zoo = json!({"model_name": "m", "class_names": ["a", "b"], "imgsz": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]});
        let timm = json!({"args": {"model": "m", "img_size": 224, "input_size": null, "num_classes": 2, "mean": [0.5, 0.5, 0.5]}});
        let hub = json!({"architecture": "m", "num_classes": 2, "label_names": ["a", "b"],
            "pretrained_cfg": {"input_size": [3, 224, 224], "mean": [0.5, 0.5, 0.5], "interpolation": "bilinear", "crop_pct": 0.9}});
        let lightning =
            json!({"hyper_parameters": {"data": {"image_size": [224, 224], "norm_mean": [127.5, 127.5, 127.5]}}});
        let processor = json!({"image_mean": [0.5, 0.5, 0.5], "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3});
        for document in [&zoo, &timm, &hub, &lightning, &processor] {
            let found = read(document, "f");
            assert_eq!(found.mean.unwrap().value, [0.5; 3], "{document}");
            assert_eq!(found.input_size.unwrap().value, [224; 2], "{document}");
        }
        let found = read(&hub, "config.json");
        assert_eq!(found.mean.unwrap().from, "config.json: pretrained_cfg.mean");
        assert_eq!((found.interpolation.unwrap().value.as_str(), found.crop_pct.unwrap().value), ("bilinear", 0.9));
        let found = read(&processor, "p");
        assert_eq!((found.crop_pct.unwrap().value, found.interpolation.unwrap().value.as_str()), (0.875, "bicubic"));
    }

    #[test]
    fn numbers_for_bytes_are_scaled_and_absurd_ones_absent() {
        let found =
            read(&json!({"img_norm_cfg": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}}), "f");
        let (mean, std) = (found.mean.unwrap().value, found.std.unwrap().value);
        assert!((mean[0] - 0.485).abs() < 1e-9 && (std[2] - 0.225).abs() < 1e-9);
        for strange in [
            json!({"mean": "x", "std": [0.0, 1.0, 1.0], "crop_pct": 2, "imgsz": 0, "class_names": [1, 2], "interpolation": "random"}),
            json!({"mean": [-4.0, 1.0, 1.0], "std": [], "imgsz": [1, 2, 3, 4], "class_names": {}, "args": {"args": []}}),
            json!([1, 2]),
        ] {
            assert!(read(&strange, "f").is_empty(), "{strange}");
        }
    }

    #[test]
    fn labels_in_every_form() {
        for form in [
            json!(["a", "b"]),
            json!({"0": "a", "1": "b"}),
            json!({"0": ["n1", "a"], "1": ["n2", "b"]}),
            json!({"b": 1, "a": 0}),
        ] {
            assert_eq!(labels(&form).unwrap(), ["a", "b"], "{form}");
        }
        for form in [json!([]), json!({"1": "a", "2": "b"}), json!({"a": 0, "b": 0}), json!({"a": 9}), json!("a")] {
            assert_eq!(labels(&form), None, "{form}");
        }
    }
}
