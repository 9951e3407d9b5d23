//! Which model is wanted, and why it cannot be had.

use crate::arch::heads::{self, HeadName};
use crate::arch::{ArchError, Choice, Family, Results, UnknownModel};
use crate::checkpoint::{Checkpoint, CheckpointError, SelectOptions, StrictError};
use crate::message;
use crate::message::{Explain, Message, Setting};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitc_ir::Dim;

/// A model that a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// The file.
    pub path: PathBuf,
    /// The batch, where the file leaves it open; `None` for 1.
    pub batch: Option<Dim>,
    /// Sizes of an input, of the only input, or of a symbol; `None` among them is the symbolic batch.
    pub shapes: Vec<(Option<String>, Vec<Option<usize>>)>,
    /// Names of the values that become the outputs; empty for the file's.
    pub outputs: Vec<String>,
}

/// Where trained weights are.
#[derive(Debug, Clone)]
pub enum TrainedWeights {
    /// A file or folder.
    Path(PathBuf),
    /// A program's memory.
    Held(Box<Checkpoint>),
}

impl TrainedWeights {
    /// The checkpoint, and what stands for its path in messages.
    pub(super) fn open(&self) -> Result<(Checkpoint, PathBuf), CheckpointError> {
        match self {
            TrainedWeights::Path(path) => Ok((Checkpoint::open(path)?, path.clone())),
            TrainedWeights::Held(checkpoint) => Ok(((**checkpoint).clone(), checkpoint.file_name().into())),
        }
    }
}

impl From<PathBuf> for TrainedWeights {
    fn from(path: PathBuf) -> TrainedWeights {
        TrainedWeights::Path(path)
    }
}

/// Which model is wanted.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// A file that holds the whole model; what follows is about models by name then, but for the batch.
    pub file: Option<FileRequest>,
    /// Name in any spelling that [`crate::arch::find`] knows; `None` to recognise the checkpoint.
    pub name: Option<String>,
    /// The checkpoint; `None` for seeded weights.
    pub weights: Option<TrainedWeights>,
    /// Seed of seeded weights.
    pub seed: u64,
    /// Batch: a number, or `Dim::Batch(1)`.
    pub batch: Dim,
    /// Input height and width; `None` for the checkpoint's, else the variant's own.
    pub resolution: Option<[usize; 2]>,
    /// Channels of the input: sizes seeded weights, is compared with a checkpoint's.
    pub channels: Option<usize>,
    /// Number of classes: sizes seeded weights, is compared with a checkpoint's.
    pub classes: Option<usize>,
    /// The heads that are asked for by name; none for all that the file leaves no doubt about.
    pub heads: Vec<HeadName>,
    /// What the model returns.
    pub results: Results,
    /// Values of the family's choices.
    pub choices: BTreeMap<String, String>,
    /// Which tensors of the checkpoint.
    pub select: SelectOptions,
}

impl ModelRequest {
    /// The named model with seeded weights, batch 1, native resolution.
    pub fn named(name: &str) -> ModelRequest {
        ModelRequest {
            file: None,
            name: Some(name.into()),
            weights: None,
            seed: 0,
            batch: Dim::Fixed(1),
            resolution: None,
            channels: None,
            classes: None,
            heads: Vec::new(),
            results: Results::default(),
            choices: BTreeMap::new(),
            select: SelectOptions::default(),
        }
    }

    /// What recognises this checkpoint, batch 1, at its own resolution.
    pub fn checkpoint(path: &Path) -> ModelRequest {
        ModelRequest { name: None, weights: Some(path.to_path_buf().into()), ..ModelRequest::named("") }
    }

    /// The choices, if the family has them.
    pub(super) fn choices_of(
        &self,
        family: &Family,
        parts: &[&'static Choice],
    ) -> Result<BTreeMap<String, String>, ModelError> {
        for (name, value) in &self.choices {
            // A part's own choice stands before one of heads that people write.
            let mut all = family.choices.iter().copied().chain(parts.iter().copied()).chain([&heads::ACTIVATION]);
            let known = all.find(|c| c.name == name);
            if !known.is_some_and(|c| c.takes(value)) {
                let choice = |c: &&Choice| {
                    let given = Setting::Choice.to(format!("{}={}", c.name, c.values.join("|")));
                    message!("\n  ", given, format!("  {}", c.help))
                };
                let all: Vec<&Choice> = family.choices.iter().chain(parts).copied().collect();
                let all = match all.is_empty() {
                    true => "\n  it leaves nothing to choose".into(),
                    false => Message::joined(all.iter().map(choice), ""),
                };
                let given = Setting::Choice.to(format!("{name}={value}"));
                let what = format!(": {} has no such choice", family.id);
                return Err(ModelError::Request(message!(given, what, all)));
            }
        }
        Ok(self.choices.clone())
    }
}

/// Why there is no such model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No variant of that name.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// The request contradicts itself.
    #[error("{0}")]
    Request(Message),
    /// The architecture cannot be built as asked.
    #[error(transparent)]
    Architecture(#[from] ArchError),
    /// The checkpoint cannot be read, or holds no known model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's tensors are not the model's.
    #[error(transparent)]
    Strict(#[from] Box<StrictError>),
    /// The checkpoint holds another model than the one asked for.
    #[error("{0}")]
    Other(Message),
}

impl Explain for ModelError {
    fn message(&self) -> Message {
        match self {
            ModelError::Unknown(error) => error.message(),
            ModelError::Request(message) | ModelError::Other(message) => message.clone(),
            ModelError::Architecture(error) => error.message(),
            ModelError::Checkpoint(error) => error.message(),
            ModelError::Strict(error) => error.message(),
        }
    }
}

impl ModelError {
    /// True if the command line is at fault rather than a file.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ModelError::Unknown(_) | ModelError::Request(_) | ModelError::Architecture(ArchError::Option { .. })
        )
    }
}
