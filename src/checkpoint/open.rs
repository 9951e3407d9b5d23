//! Opening a checkpoint: one file or several, each by the reader that its first bytes call for.

use super::config;
use super::contents::Contents;
use super::dense_config::DenseConfig;
use super::error::CheckpointError;
use super::mapped::Mapped;
use super::settings::ModelConfig;
use super::tensor::TensorInfo;
use super::{folder, recognise_foreign, safetensors, torch, unpacked, zip};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A checkpoint: mapped files and the list of tensors in them. Opening reads the list, not the tensors; clones share the map.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    name: String,
    pub(super) place: String,
    config: ModelConfig,
    pub(super) files: Arc<[Mapped]>,
    pub(super) contents: Arc<Contents>,
}

impl Checkpoint {
    /// Open a `.safetensors` file, a file of `torch.save`, or a folder as Hugging Face and timm lay it out.
    ///
    /// # Errors
    /// If it is something else (the error says what), is damaged, or holds no tensors.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        if let Some(root) = unpacked::root(path) {
            let (files, contents) = unpacked::read(&root)?;
            return Checkpoint::of(path, "data.pkl", files, contents, ModelConfig::default());
        }
        let path = &folder::snapshot(path).unwrap_or_else(|| path.to_path_buf());
        let found = folder::files(path)?;
        let mut files = Vec::new();
        let mut all = Contents::default();
        for shard in &found.shards {
            let file = Mapped::open(&shard.path).map_err(|e| CheckpointError::io(&shard.path, &e))?;
            let place = shard.path.display().to_string();
            let contents = read(&file, files.len()).map_err(|e| e.within(&place))?;
            shard.merge(&mut all, contents).map_err(|e| e.within(&place))?;
            files.push(file);
        }
        let file = found.shards.first().and_then(|s| s.path.file_name()).map(|n| n.to_string_lossy().into_owned());
        Checkpoint::of(path, &file.unwrap_or_default(), files, all, found.config)
    }

    /// What these files hold; `file` is the name of the one whose document says settings, before `beside`.
    pub(super) fn of(
        path: &Path,
        file: &str,
        files: Vec<Mapped>,
        mut contents: Contents,
        beside: ModelConfig,
    ) -> Result<Checkpoint, CheckpointError> {
        let place = path.display().to_string();
        // What lies in the file is nearest to the tensors.
        let inside = contents.document.take().map(|d| config::read(&d, file));
        let config = inside.unwrap_or_default().or(beside);
        if contents.tensors.is_empty() {
            return Err(recognise_foreign::without_tensors(&contents).within(&place));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Checkpoint { name, place, config, files: files.into(), contents: Arc::new(contents) })
    }

    /// Every tensor, integer ones included, by its dotted name with the names of the dicts around it.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.contents.tensors
    }

    /// What the checkpoint says about its model.
    pub fn config(&self) -> Option<&ModelConfig> {
        Some(&self.config).filter(|c| !c.is_empty())
    }

    /// What the checkpoint says about dense prediction.
    pub fn dense_config(&self) -> Option<&DenseConfig> {
        self.contents.dense.as_ref()
    }

    /// Last component of the path that was opened.
    pub fn file_name(&self) -> &str {
        &self.name
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes().len() as u64).sum()
    }

    /// BLAKE3 of the file in hexadecimal, as `b3sum` prints it; for several files, of their hashes one after the other, as text; of tensors
    /// in memory, of their names, types, shapes and elements.
    pub fn blake3(&self) -> String {
        let hash = |bytes: &[u8]| blake3::Hasher::new().update_rayon(bytes).finalize().to_hex();
        if self.files.iter().any(Mapped::is_held) {
            let one = |(name, tensor): (&String, &TensorInfo)| {
                format!("{name} {tensor} {}\n", hash(&tensor.read(self.files[tensor.file()].bytes())))
            };
            return hash(self.tensors().iter().map(one).collect::<String>().as_bytes()).to_string();
        }
        match &*self.files {
            [file] => hash(file.bytes()).to_string(),
            files => {
                let hashes: String = files.iter().map(|f| hash(f.bytes()).to_string()).collect();
                hash(hashes.as_bytes()).to_string()
            }
        }
    }
}

/// The contents of one file, whatever its format.
fn read(file: &Mapped, number: usize) -> Result<Contents, CheckpointError> {
    let bytes = file.bytes();
    recognise_foreign::by_bytes(bytes, file.path())?;
    if zip::looks_like(bytes) {
        let members = zip::members(bytes)?;
        recognise_foreign::by_members(&members)?;
        let object = torch::saved_object(&members).ok_or_else(|| recognise_foreign::unknown_archive(&members))?;
        return torch::read_zip(bytes, &members, object, number);
    }
    if torch::is_legacy(bytes) {
        return torch::read_legacy(bytes, number);
    }
    if safetensors::looks_like(bytes) {
        return safetensors::read(bytes, number);
    }
    if torch::is_plain(bytes) {
        let contents = torch::read_plain(bytes, number)?;
        return if contents.tensors.is_empty() { Err(recognise_foreign::unknown(bytes)) } else { Ok(contents) };
    }
    Err(recognise_foreign::unknown(bytes))
}
