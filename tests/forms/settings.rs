//! Settings beside the weights: each is taken from where people keep it, and its place is told.

use super::state::{Entry, State};
use super::torch_file::{Item, Tensor, archive, safetensors_file};
use std::path::Path;
use vitc::model::{Model, ModelRequest};

const S0: &str = "efficientformerv2/efficientformerv2_s0_timm";

fn load(path: &Path) -> Result<Model, String> {
    Model::load(&ModelRequest::checkpoint(path)).map_err(|e| vitc::cli::explained(&e))
}

/// The model in a file of this name.
fn saved(name: &str, bytes: &[u8]) -> Result<Model, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    load(&path)
}

/// `SETTING <- PLACE` of what the checkpoint said.
fn sources(model: &Model) -> Vec<String> {
    model.sources.iter().filter_map(|s| Some(format!("{} <- {}", s.setting, s.from.as_ref()?))).collect()
}

fn item(tensors: Vec<(String, Tensor)>) -> Item {
    Item::dict(tensors.into_iter().map(|(key, tensor)| (key, Item::Tensor(tensor))))
}

#[test]
fn settings_in_the_file_are_taken() {
    let state = State::load(S0, "efficientformerv2-s0").tensors("", "f16", 0);
    let three = |n| Item::Tuple(vec![Item::Int(n), Item::Int(n), Item::Int(n)]);
    let names = ["dawn", "day", "night"].map(Item::Text).to_vec();
    let file = Item::dict([
        ("state_dict", item(state)),
        ("imgsz", Item::Int(224)),
        ("mean", three(0)),
        ("class_names", Item::Tuple(names)),
        ("args", Item::Namespace(vec![("std".into(), three(1)), ("interpolation".into(), Item::Text("bilinear"))])),
    ]);
    let model = saved("best.pt", &archive(&file)).unwrap();
    let preprocessing = model.signature.preprocessing().unwrap();
    assert_eq!([&preprocessing.mean, &preprocessing.std], [&vec![0.0; 3], &vec![1.0; 3]]);
    let wanted = [
        "mean <- best.pt: mean",
        "std <- best.pt: args.std",
        "interpolation <- best.pt: args.interpolation",
        "size <- best.pt: imgsz",
    ];
    assert_eq!(sources(&model), wanted);
    assert_eq!(model.weights.config().unwrap().labels.as_ref().unwrap().from, "best.pt: class_names");
}

#[test]
fn buffers_that_normalise_are_settings() {
    let mut state = State::load(S0, "efficientformerv2-s0");
    for leaf in ["mean", "std"] {
        let key = format!("data_preprocessor.{leaf}");
        state.entries.push(Entry { canonical: key.clone(), key, shape: vec![3, 1, 1], float: true });
    }
    let mut tensors = state.tensors("", "f32", 0);
    let bytes = |values: [f32; 3]| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    for (leaf, values) in [("mean", [123.675, 116.28, 103.53]), ("std", [58.395, 57.12, 57.375])] {
        let tensor = tensors.iter_mut().find(|t| t.0.ends_with(&format!("preprocessor.{leaf}"))).unwrap();
        tensor.1.data = bytes(values);
    }
    let model = saved("w.safetensors", &safetensors_file(&tensors)).unwrap();
    let preprocessing = model.signature.preprocessing().unwrap();
    assert_eq!([&preprocessing.mean, &preprocessing.std], [&vec![0.485, 0.456, 0.406], &vec![0.229, 0.224, 0.225]]);
    assert!(sources(&model).contains(&"mean <- w.safetensors: data_preprocessor.mean".to_string()));
}

/// FasterViT keeps the number of carrier tokens that it last ran with.
#[test]
fn a_cache_tells_the_size() {
    let mut state = State::load("fastervit/faster_vit_0_224", "fastervit-0");
    let model = saved("w.safetensors", &safetensors_file(&state.tensors("", "f16", 0))).unwrap();
    assert_eq!((model.name.as_str(), model.resolution), ("fastervit-0", [224, 224]));
    for entry in state.named("relative_bias") {
        entry.shape = match (entry.key.contains("hat_attn."), entry.key.contains("hat_pos_embed.")) {
            (true, _) => vec![1, 8, 64, 64],
            (_, true) => vec![1, 64, 256],
            _ => continue,
        };
    }
    for entry in state.named("hat_attn.pos_emb_funct.relative_") {
        match entry.key.rsplit('.').next() {
            Some("relative_coords_table") => entry.shape = vec![1, 15, 15, 2],
            Some("relative_position_index") => entry.shape = vec![64, 64],
            _ => {}
        }
    }
    let model = saved("w.safetensors", &safetensors_file(&state.tensors("", "f16", 0))).unwrap();
    assert_eq!((model.name.as_str(), model.resolution), ("fastervit-0-any-res", [384, 384]));
    assert!(sources(&model)[0].starts_with("size <- shape of levels.2."), "{:?}", sources(&model));
}

/// A derived buffer that differs shows another geometry, which weights do not show.
#[test]
fn a_derived_buffer_that_differs_stops_the_export() {
    for (state, model, buffer) in [
        ("fastervit/faster_vit_0_224", "fastervit-0", "levels.3.blocks.1.attn.pos_emb_funct.relative_coords_table"),
        ("efficientformerv2/efficientformerv2_s0", "efficientformerv2-s0", "attention_bias_idxs"),
    ] {
        let mut tensors = State::load(state, model).tensors("", "f16", 0);
        assert!(saved("w.safetensors", &safetensors_file(&tensors)).is_ok(), "{model}");
        tensors.iter_mut().filter(|t| t.0.ends_with(buffer) || t.0.ends_with("relative_coords_table")).for_each(|t| {
            t.1.data.chunks_exact_mut(if t.1.class == "LongStorage" { 8 } else { 4 }).for_each(|x| x[0] ^= 1);
            t.1.data
                .iter_mut()
                .skip(3)
                .step_by(4)
                .for_each(|x| *x ^= if t.1.class == "LongStorage" { 0 } else { 0x10 });
        });
        let error = saved("w.safetensors", &safetensors_file(&tensors)).err().unwrap();
        assert!(error.contains("a buffer in the checkpoint is not the one that the model computes"), "{error}");
    }
}
