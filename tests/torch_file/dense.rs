//! Checkpoints of dense prediction as `golden/dense` describes them: names, shapes and a rule for the values.

#![allow(dead_code, reason = "each test binary uses a part")]

use super::{Item, Tensor, archive};
use serde_json::Value as Json;
use std::path::Path;
use vitc::arch::seeded;

/// What is known of a case.
pub(crate) fn manifest(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/dense").join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The file: the tensors of these names, wrapped as the authors save them.
pub(crate) fn checkpoint(manifest: &Json, wanted: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let items = Item::dict(tensors(manifest, wanted));
    archive(&match manifest["wrap"].as_str().unwrap() {
        "none" => items,
        wrap => Item::dict([(wrap.to_string(), items)]),
    })
}

/// The tensors of these names.
pub(crate) fn tensors(manifest: &Json, wanted: &dyn Fn(&str) -> bool) -> Vec<(String, Item)> {
    let all = manifest["tensors"].as_object().unwrap().iter();
    all.filter(|(key, _)| wanted(key)).map(|(key, entry)| (key.clone(), tensor(key, entry))).collect()
}

/// A list of sizes.
pub(crate) fn sizes(json: &Json) -> Vec<usize> {
    json.as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

/// A tensor of the manifest: its shape, or shape, type and a power of two.
fn tensor(key: &str, entry: &Json) -> Item {
    let list = entry.as_array().unwrap();
    let (shape, class, exponent) = match list.first() {
        Some(Json::Array(_)) => {
            (sizes(&list[0]), list[1].as_str().unwrap(), list.get(2).map_or(0, |e| e.as_i64().unwrap() as i32))
        }
        _ => (sizes(entry), "float32", 0),
    };
    let elements = shape.iter().product();
    if class != "float32" {
        return Item::Tensor(Tensor { class: "LongStorage", shape, elements, data: vec![0; 8 * elements] });
    }
    let power = 2f64.powi(exponent);
    let leaf = key.rsplit('.').next().unwrap_or(key);
    let (offset, factor) = match leaf {
        "running_mean" => (0.0, 0.1 * power),
        "running_var" => (power * power, 0.5 * power * power),
        leaf if leaf.starts_with("gamma") || leaf.starts_with("layer_scale") => (0.3 * power, 0.1 * power),
        "weight" if shape.len() <= 1 => (power, 0.25 * power),
        "weight" => (0.0, (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt() * power),
        "bias" => (0.0, 0.1 * power),
        _ => (0.0, 0.2 * power),
    };
    let stream = key.replace("global_tokenizer.to_global_feature.pos.", "global_tokenizer.pos_embed.");
    Item::f32(&shape, seeded::noise(&stream, 0, elements).into_iter().map(|u| (offset + factor * f64::from(u)) as f32))
}
