//! Checkpoints: files and folders of tensors that somebody trained.
//!
//! The road of a checkpoint, one file each:
//! - `mapped` maps the file; `safetensors`, `zip`, `pickle` and `torch` find the tensors in it, `folder` those of several files, and
//!   `recognise_foreign` says what a file is if it is none of these. The result is a [`Checkpoint`]: names, types, shapes and places.
//! - `select` chooses the tensors of one model among them: wrappers, prefixes, EMA copies, the user's flags. The result is a [`Selected`].
//! - `names` turns upstream's keys into the architecture's, `forms` recognises weights that are stored as factors, and `bind` matches what is
//!   there with what the graph asks for, strictly. The result is a [`BoundWeights`], which implements [`vitc_ir::Weights`].
//!
//! Architecture invariants: every byte of a file is untrusted. Nothing here panics on it, runs code found in it, or takes memory that is
//! not bounded by the file's size. Nothing here prints; what the user should know is returned as notices.

mod bind;
mod config;
mod error;
mod folder;
mod forms;
mod mapped;
mod names;
mod pickle;
mod recognise_foreign;
mod safetensors;
mod select;
mod tensor;
mod torch;
mod zip;

pub use bind::{BoundWeights, Head, Model, StrictError, bind};
pub use config::ModelConfig;
pub use error::CheckpointError;
pub use forms::Forms;
pub use names::NameTable;
pub use select::{SelectOptions, Selected};
pub use tensor::{ElementType, TensorInfo};

pub(crate) use mapped::Mapped;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Names and shapes of tensors.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Longest name of a tensor, in bytes.
const MAX_KEY: usize = 1024;
/// Most tensors in one checkpoint.
const MAX_TENSORS: usize = 1 << 18;

/// What one file holds.
#[derive(Debug, Default)]
struct Contents {
    tensors: BTreeMap<String, TensorInfo>,
    config: Option<ModelConfig>,
    /// Whole modules: name in the file and class.
    modules: Vec<(String, String)>,
    /// Tensors of kinds that are not read: name and kind.
    skipped: Vec<(String, String)>,
    /// Names on the outermost level of a pickled dict.
    top: Vec<String>,
}

/// A checkpoint: mapped files and the list of tensors in them. Opening reads the list, not the tensors; clones share the map.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    name: String,
    place: String,
    files: Arc<[Mapped]>,
    contents: Arc<Contents>,
}

impl Checkpoint {
    /// Open a `.safetensors` file, a file of `torch.save`, or a folder as Hugging Face and timm lay it out.
    ///
    /// # Errors
    /// If it is something else (the error says what), is damaged, or holds no tensors.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let place = path.display().to_string();
        let parts = folder::parts(path)?;
        let mut files = Vec::new();
        let mut all = Contents::default();
        for part in &parts.files {
            let file = Mapped::open(&part.path).map_err(|e| CheckpointError::io(&part.path, &e))?;
            let place = part.path.display().to_string();
            let contents = read(&file, files.len()).map_err(|e| e.within(&place))?;
            part.merge(&mut all, contents).map_err(|e| e.within(&place))?;
            files.push(file);
        }
        all.config = parts.config.or(all.config);
        if all.tensors.is_empty() {
            return Err(recognise_foreign::without_tensors(&all).within(&place));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Checkpoint { name, place, files: files.into(), contents: Arc::new(all) })
    }

    /// Every tensor, integer ones included, by its dotted name with the names of the dicts around it.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.contents.tensors
    }

    /// What the checkpoint says about its model.
    pub fn config(&self) -> Option<&ModelConfig> {
        self.contents.config.as_ref()
    }

    /// Last component of the path that was opened.
    pub fn file_name(&self) -> &str {
        &self.name
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes().len() as u64).sum()
    }

    /// BLAKE3 of the file in hexadecimal, as `b3sum` prints it; for several files, of their hashes one after the other, as text.
    pub fn blake3(&self) -> String {
        let hash = |bytes: &[u8]| blake3::Hasher::new().update_rayon(bytes).finalize().to_hex();
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
    Err(recognise_foreign::unknown(bytes))
}
