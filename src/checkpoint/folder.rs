//! Folders as Hugging Face and timm lay them out: one weights file or several with an index, and `config.json`.
//!
//! File names in an index are untrusted: only plain names beside the index are opened.

use super::config::ModelConfig;
use super::contents::Contents;
use super::error::{CheckpointError, count, shortened, some_of};
use super::recognise_foreign;
use crate::message;
use crate::message::Setting;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Largest JSON file that is read.
const MAX_JSON: u64 = 64 << 20;
/// Weights files, the preferred first; an index stands for its shards.
const WEIGHTS: &[&str] =
    &["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The files of a checkpoint.
pub(super) struct Files {
    pub(super) shards: Vec<Shard>,
    pub(super) config: Option<ModelConfig>,
}

/// One file, and the names it is there for; all if `None`.
pub(super) struct Shard {
    pub(super) path: PathBuf,
    keys: Option<BTreeSet<String>>,
}

impl Shard {
    fn whole(path: PathBuf) -> Shard {
        Shard { path, keys: None }
    }

    /// Add what the file holds to what the others hold.
    pub(super) fn merge(&self, all: &mut Contents, mut found: Contents) -> Result<(), CheckpointError> {
        if let Some(keys) = &self.keys {
            if let Some(missing) = keys.iter().find(|key| !found.tensors.contains_key(*key)) {
                let why = format!("the index says that this file holds {}, it does not", shortened(missing));
                return Err(CheckpointError::damaged("", why));
            }
            found.tensors.retain(|key, _| keys.contains(key));
        }
        all.tensors.append(&mut found.tensors);
        all.dicts.append(&mut found.dicts);
        all.modules.append(&mut found.modules);
        all.skipped.append(&mut found.skipped);
        all.top.append(&mut found.top);
        all.config = all.config.take().or(found.config);
        all.dense = all.dense.take().or(found.dense);
        Ok(())
    }
}

/// The files that make up the checkpoint at `path`, a file or a folder.
pub(super) fn files(path: &Path) -> Result<Files, CheckpointError> {
    let found = std::fs::metadata(path).map_err(|e| CheckpointError::io(path, &e))?;
    if !found.is_dir() {
        recognise_foreign::by_name(path)?;
        let index = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(".index.json"));
        let shards = if index { shards(path)? } else { vec![Shard::whole(path.to_path_buf())] };
        return Ok(Files { shards, config: None });
    }
    recognise_foreign::by_folder(path)?;
    let config = optional_json(&path.join("config.json"))?;
    let preprocessor = optional_json(&path.join("preprocessor_config.json"))?;
    let config = config.map(|c| ModelConfig::from_json(&c, preprocessor.as_ref()));
    let known = WEIGHTS.iter().map(|name| path.join(name)).find(|file| file.is_file());
    let file = match known {
        Some(file) => file,
        None => only_weights_file(path)?,
    };
    let shards = if file.extension().is_some_and(|e| e == "json") { shards(&file)? } else { vec![Shard::whole(file)] };
    Ok(Files { shards, config })
}

/// The one file of the folder that may hold weights.
fn only_weights_file(folder: &Path) -> Result<PathBuf, CheckpointError> {
    let entries = std::fs::read_dir(folder).map_err(|e| CheckpointError::io(folder, &e))?;
    let weights = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        path.is_file() && ["safetensors", "pth", "pt", "bin", "tar", "ckpt"].contains(&extension.as_str())
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(weights).collect();
    files.sort();
    let place = folder.display().to_string();
    match files.len() {
        1 => Ok(files.remove(0)),
        0 => Err(CheckpointError::new(
            "the folder holds no checkpoint",
            place,
            format!("neither {} nor any other .safetensors, .pth, .pt or .bin file is in it", WEIGHTS.join(", ")),
            message!("give ", Setting::Weights, " the folder that holds the weights, or the file itself"),
        )),
        _ => {
            let names: Vec<String> =
                files.iter().filter_map(|f| Some(f.file_name()?.to_string_lossy().into())).collect();
            let why = format!("it holds {}", some_of(names.iter().map(String::as_str), 8));
            let todo = message!("give ", Setting::Weights, " one of these files");
            Err(CheckpointError::new("the folder holds several checkpoints", place, why, todo))
        }
    }
}

/// The shards that an index names.
fn shards(index: &Path) -> Result<Vec<Shard>, CheckpointError> {
    let place = index.display().to_string();
    let json = json(index)?;
    let map = json.get("weight_map").and_then(Json::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| CheckpointError::damaged(place.clone(), "the index has no weight_map"))?;
    let mut files: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (key, file) in map {
        let file = file.as_str().unwrap_or_default();
        if file.is_empty() || file.contains(['/', '\\', '\0']) || file == ".." || file == "." {
            let why = format!(
                "{} is said to lie in {:?}, which is no file beside the index",
                shortened(key),
                shortened(file)
            );
            return Err(CheckpointError::damaged(place, why));
        }
        files.entry(file).or_default().insert(key.clone());
    }
    let folder = index.parent().unwrap_or(Path::new(""));
    let missing: Vec<&str> = files.keys().copied().filter(|file| !folder.join(file).is_file()).collect();
    if !missing.is_empty() {
        return Err(CheckpointError::new(
            "shards of the checkpoint are missing",
            place,
            format!(
                "of the {} that the index names, absent: {}",
                count(files.len(), "file"),
                some_of(missing.into_iter(), 8)
            ),
            "download the whole folder (huggingface-cli download, or git lfs pull)",
        ));
    }
    Ok(files.into_iter().map(|(file, keys)| Shard { path: folder.join(file), keys: Some(keys) }).collect())
}

fn optional_json(path: &Path) -> Result<Option<Json>, CheckpointError> {
    if path.is_file() { json(path).map(Some) } else { Ok(None) }
}

fn json(path: &Path) -> Result<Json, CheckpointError> {
    let length = std::fs::metadata(path).map_err(|e| CheckpointError::io(path, &e))?.len();
    let place = path.display().to_string();
    if length > MAX_JSON {
        return Err(CheckpointError::damaged(place, format!("{length} bytes are no plausible size for it")));
    }
    let text = std::fs::read(path).map_err(|e| CheckpointError::io(path, &e))?;
    serde_json::from_slice(&text).map_err(|e| CheckpointError::damaged(place, format!("it is no JSON: {e}")))
}
