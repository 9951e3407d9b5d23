//! Folders as Hugging Face and timm lay them out: one weights file or several with an index, and `config.json`.
//!
//! File names in an index are untrusted: only plain names beside the index are opened.

use super::config;
use super::contents::Contents;
use super::error::{CheckpointError, count, shortened, some_of};
use super::recognise_foreign;
use super::settings::ModelConfig;
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

/// Files that hold settings, the first to be asked first.
const SETTINGS: &[&str] = &["config.json", "preprocessor_config.json"];

/// The files of a checkpoint.
pub(super) struct Files {
    pub(super) shards: Vec<Shard>,
    /// What the files beside them say.
    pub(super) config: ModelConfig,
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
        all.document = all.document.take().or(found.document);
        all.dense = all.dense.take().or(found.dense);
        Ok(())
    }
}

/// The snapshot inside a repository of Hugging Face's cache (`models--OWNER--NAME`): the main branch's, or the only one.
pub(super) fn snapshot(repository: &Path) -> Option<PathBuf> {
    let snapshots = repository.join("snapshots");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(&snapshots).ok()?.filter_map(|e| Some(e.ok()?.path())).take(64).collect();
    all.retain(|folder| folder.is_dir());
    let main = std::fs::read_to_string(repository.join("refs/main")).unwrap_or_default();
    let main = all.iter().position(|folder| folder.file_name().is_some_and(|name| name.to_str() == Some(main.trim())));
    match (main, all.len()) {
        (Some(main), _) => Some(all.swap_remove(main)),
        (None, 1) => all.pop(),
        (None, _) => None,
    }
}

/// The files that make up the checkpoint at `path`, a file or a folder.
pub(super) fn files(path: &Path) -> Result<Files, CheckpointError> {
    let found = std::fs::metadata(path).map_err(|e| CheckpointError::io(path, &e))?;
    if !found.is_dir() {
        recognise_foreign::by_name(path)?;
        let index = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(".index.json"));
        let shards = if index { shards(path)? } else { vec![Shard::whole(path.to_path_buf())] };
        return Ok(Files { shards, config: beside(path) });
    }
    recognise_foreign::by_folder(path)?;
    let mut config = ModelConfig::default();
    for name in SETTINGS {
        config = config.or(optional_json(&path.join(name))?.map(|d| config::read(&d, name)).unwrap_or_default());
    }
    let known = WEIGHTS.iter().map(|name| path.join(name)).find(|file| file.is_file());
    let file = match known {
        Some(file) => file,
        None => only_weights_file(path)?,
    };
    let shards = if file.extension().is_some_and(|e| e == "json") { shards(&file)? } else { vec![Shard::whole(file)] };
    Ok(Files { shards, config })
}

/// What the files beside a weights file say, if they are that file's: it has the name that they belong to, or is the folder's only one. Files that
/// cannot be read say nothing: nobody named them.
fn beside(file: &Path) -> ModelConfig {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let theirs = WEIGHTS.contains(&name.as_str()) || weights_files(folder).is_ok_and(|files| files.len() == 1);
    let read = |name: &&str| {
        let document = optional_json(&folder.join(name)).ok()??;
        Some(config::read(&document, &format!("{name} beside the file")))
    };
    let said = SETTINGS.iter().filter(|_| theirs).filter_map(read);
    said.fold(ModelConfig::default(), ModelConfig::or)
}

/// The files of the folder that may hold weights.
fn weights_files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let entries = std::fs::read_dir(folder).map_err(|e| CheckpointError::io(folder, &e))?;
    let weights = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        path.is_file() && ["safetensors", "pth", "pt", "bin", "tar", "ckpt"].contains(&extension.as_str())
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(weights).collect();
    files.sort();
    Ok(files)
}

/// The one file of the folder that may hold weights.
fn only_weights_file(folder: &Path) -> Result<PathBuf, CheckpointError> {
    let mut files = weights_files(folder)?;
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
