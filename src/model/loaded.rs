//! A model: its graph, where that comes from, what it takes and returns, and its weights.

use crate::arch::seeded::SeededWeights;
use crate::arch::{Backbone, BuildOptions, Built, Parts};
use crate::checkpoint::{BoundWeights, ModelConfig};
use crate::message::Message;
use crate::signature::Signature;
use std::path::PathBuf;
use std::sync::LazyLock;
use vitc_exporters::metadata::{self, Fit, Metadata, Preprocessing};
use vitc_ir::{DType, Dim, Graph, Weights};

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
#[derive(Debug, Clone)]
pub enum Origin {
    /// Built as papers describe it.
    Paper {
        /// What it is made of.
        parts: Parts,
    },
}

impl Origin {
    /// Who described the model: title, authors, venue.
    pub fn citation(&self) -> &'static str {
        match self {
            Origin::Paper { parts } => parts.backbone.family.paper,
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
    pub notices: Vec<Message>,
}

impl Model {
    /// What was built of these options, with its weights.
    pub(super) fn of(built: Built, options: &BuildOptions, weights: WeightSource, notices: Vec<Message>) -> Model {
        let Built { parts, graph, roles } = built;
        let Backbone { variant, .. } = parts.backbone;
        let preprocessing = preprocessing(parts.backbone, weights.config());
        Model {
            name: variant.name.into(),
            signature: Signature::of_picture(&graph, preprocessing, roles),
            origin: Origin::Paper { parts },
            batch: options.batch,
            resolution: options.resolution,
            graph,
            weights,
            notices,
        }
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
fn preprocessing(backbone: Backbone, said: Option<&ModelConfig>) -> Preprocessing {
    let published = &backbone.variant.transform;
    let said = said.cloned().unwrap_or_default();
    Preprocessing {
        mean: said.mean.unwrap_or(published.mean),
        std: said.std.filter(|s| s.iter().all(|x| *x > 0.0)).unwrap_or(published.std),
        fit: Fit::Crop,
        crop: said.crop_pct.unwrap_or(published.crop),
        interpolation: said.interpolation.unwrap_or_else(|| published.interpolation.into()),
        normalised_inside: false,
    }
}
