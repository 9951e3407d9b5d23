//! A model to work on: which variant, its paper graph, where its weights come from.
//!
//! Three ways lead here: a name and a checkpoint, a checkpoint alone (the variant is recognised), or a name alone (seeded weights).
//! What the user did not say is decided here, in one place, and noted.

mod trained;

use crate::arch::seeded::SeededWeights;
use crate::arch::{self, ArchError, BuildOptions, Family, Head, Results, UnknownModel, Variant};
use crate::checkpoint::{BoundWeights, CheckpointError, ModelConfig, SelectOptions, StrictError};
use crate::message::{Explain, Message};
use crate::signature::Signature;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use vitc_exporters::metadata::{self, Metadata, Preprocessing};
use vitc_ir::{DType, Dim, Graph, Weights};

/// The model of a request that names neither a model nor a checkpoint.
const DEFAULT_MODEL: &str = "fmvit-m";

/// Which model is wanted.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// Name in any spelling that [`arch::find`] knows; `None` to recognise the checkpoint.
    pub name: Option<String>,
    /// The checkpoint; `None` for seeded weights.
    pub weights: Option<PathBuf>,
    /// Seed of seeded weights.
    pub seed: u64,
    /// Batch: a number, or `Dim::Batch(1)`.
    pub batch: Dim,
    /// Input height and width; `None` for the checkpoint's, else the variant's own.
    pub resolution: Option<[usize; 2]>,
    /// Number of classes: sizes seeded weights, is compared with a checkpoint's.
    pub classes: Option<usize>,
    /// Which of several classifier heads.
    pub head: Head,
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
            name: Some(name.into()),
            weights: None,
            seed: 0,
            batch: Dim::Fixed(1),
            resolution: None,
            classes: None,
            head: Head::default(),
            results: Results::default(),
            choices: BTreeMap::new(),
            select: SelectOptions::default(),
        }
    }

    /// What recognises this checkpoint, batch 1, at its own resolution.
    pub fn checkpoint(path: &Path) -> ModelRequest {
        ModelRequest { name: None, weights: Some(path.into()), ..ModelRequest::named("") }
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
    Request(String),
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
    Other(String),
}

impl Explain for ModelError {
    fn message(&self) -> Message {
        self.to_string().into()
    }
}

impl ModelError {
    /// True if the command line is at fault rather than a file.
    pub fn is_usage(&self) -> bool {
        matches!(self, ModelError::Unknown(_) | ModelError::Request(_))
    }
}

/// BLAKE3 of a checkpoint's bytes, in hexadecimal: asked for when the artifact is written, computed on a thread of its own meanwhile.
pub type Digest = LazyLock<String, Box<dyn FnOnce() -> String + Send>>;

/// Where a model's weights come from.
#[derive(Debug)]
pub enum WeightSource {
    /// Generated.
    Seeded {
        /// The seed.
        seed: u64,
        /// The generator.
        weights: SeededWeights,
    },
    /// Trained.
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// BLAKE3 of its bytes, in hexadecimal.
        blake3: Digest,
        /// What was recognised in it.
        found: Vec<String>,
        /// What it says about its model.
        config: Box<ModelConfig>,
        /// The tensors.
        weights: BoundWeights,
    },
}

impl WeightSource {
    /// The weights.
    pub fn weights(&self) -> &dyn Weights {
        match self {
            WeightSource::Seeded { weights, .. } => weights,
            WeightSource::Checkpoint { weights, .. } => weights,
        }
    }

    /// What a checkpoint says about its model.
    pub fn config(&self) -> Option<&ModelConfig> {
        match self {
            WeightSource::Seeded { .. } => None,
            WeightSource::Checkpoint { config, .. } => Some(config),
        }
    }

    /// What was recognised in a checkpoint: spelling, prefix, what was left out. Empty for seeded weights.
    pub fn found(&self) -> &[String] {
        match self {
            WeightSource::Seeded { .. } => &[],
            WeightSource::Checkpoint { found, .. } => found,
        }
    }
}

/// Where a model's graph comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// Built as a paper describes it.
    Paper {
        /// The paper.
        family: &'static Family,
        /// The size.
        variant: &'static Variant,
    },
}

impl Origin {
    /// Who described the model: title, authors, venue.
    pub fn citation(&self) -> &'static str {
        match self {
            Origin::Paper { family, .. } => family.paper,
        }
    }
}

/// A model and its weights.
#[derive(Debug)]
pub struct Model {
    /// Name, for files and messages (`efficientformerv2-s0`).
    pub name: String,
    /// Where its graph comes from.
    pub origin: Origin,
    /// What it takes and returns.
    pub signature: Signature,
    /// Batch.
    pub batch: Dim,
    /// Input height and width.
    pub resolution: [usize; 2],
    /// The paper graph.
    pub graph: Graph,
    /// Its weights.
    pub weights: WeightSource,
    /// What was decided without being asked.
    pub notices: Vec<String>,
}

impl Model {
    /// Find or recognise the model, build its paper graph, bind its weights.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn load(request: &ModelRequest) -> Result<Model, ModelError> {
        let named = request.name.as_deref().map(find).transpose()?;
        match &request.weights {
            Some(path) => trained::load(request, named, path),
            None => Model::seeded(request, named),
        }
    }

    fn seeded(request: &ModelRequest, named: Option<Named>) -> Result<Model, ModelError> {
        let (family, variant) = named.or_else(|| arch::find(DEFAULT_MODEL).ok()).ok_or_else(|| {
            let names: Vec<&str> = arch::FAMILIES.iter().flat_map(|f| f.variants).map(|v| v.name).collect();
            let todo = "name one, or give a checkpoint with --weights";
            ModelError::Request(format!("which model?\n  {todo}\n  models: {}", names.join(", ")))
        })?;
        let options = BuildOptions {
            batch: request.batch,
            resolution: request.resolution.unwrap_or(variant.resolution),
            classes: request.classes.unwrap_or(variant.classes),
            head: request.head,
            results: request.results,
            choices: choices(request, family)?,
            ..BuildOptions::new(variant)
        };
        let graph = (family.build)(&options)?;
        let weights = SeededWeights::new(&graph, request.seed);
        let preprocessing = preprocessing(variant, None);
        Ok(Model {
            name: variant.name.into(),
            origin: Origin::Paper { family, variant },
            signature: Signature::of_picture(&graph, preprocessing, family.roles(&options)),
            batch: request.batch,
            resolution: options.resolution,
            graph,
            weights: WeightSource::Seeded { seed: request.seed, weights },
            notices: Vec::new(),
        })
    }

    /// What the artifact says about the model and its weights.
    pub fn metadata(&self, precision: DType) -> Metadata {
        let source = match &self.weights {
            WeightSource::Seeded { seed, .. } => metadata::WeightSource::Seeded { seed: *seed },
            WeightSource::Checkpoint { path, blake3, .. } => {
                let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                metadata::WeightSource::Checkpoint { file, blake3: blake3.to_string() }
            }
        };
        Metadata::new(self.name.clone(), source, precision)
    }
}

/// How pictures are prepared: as the checkpoint says, else as the variant's published evaluation.
fn preprocessing(variant: &Variant, said: Option<&ModelConfig>) -> Preprocessing {
    let p = &variant.preprocessing;
    let said = said.cloned().unwrap_or_default();
    Preprocessing {
        mean: said.mean.unwrap_or(p.mean),
        std: said.std.filter(|s| s.iter().all(|x| *x > 0.0)).unwrap_or(p.std),
        crop: said.crop_pct.unwrap_or(p.crop),
        interpolation: said.interpolation.unwrap_or_else(|| p.interpolation.into()),
        normalised_inside: false,
    }
}

type Named = (&'static Family, &'static Variant);

/// The named model. A name that is an existing file was meant as the checkpoint.
fn find(name: &str) -> Result<Named, ModelError> {
    arch::find(name).map_err(|unknown| match Path::new(name).exists() {
        true => {
            ModelError::Request(format!("{name} is a file, and MODEL names an architecture\n  use --weights {name}"))
        }
        false => unknown.into(),
    })
}

/// The request's choices, if the family has them.
fn choices(request: &ModelRequest, family: &Family) -> Result<BTreeMap<String, String>, ModelError> {
    for (name, value) in &request.choices {
        let known = family.choices.iter().find(|c| c.name == name);
        if !known.is_some_and(|c| c.values.contains(&value.as_str())) {
            let choice = |c: &&arch::Choice| format!("\n  --choice {}={}  {}", c.name, c.values.join("|"), c.help);
            let all: String = family.choices.iter().map(choice).collect();
            let none = if all.is_empty() { "\n  it leaves nothing to choose" } else { "" };
            return Err(ModelError::Request(format!(
                "--choice {name}={value}: {} has no such choice{all}{none}",
                family.id
            )));
        }
    }
    Ok(request.choices.clone())
}
