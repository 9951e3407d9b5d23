//! A model: its graph, where that comes from, what it takes and returns, and its weights.

use super::settings::{Source, preprocessing};
use crate::arch::seeded::SeededWeights;
use crate::arch::{Backbone, BuildOptions, Built, Parts};
use crate::checkpoint::{BoundWeights, DenseConfig, ModelConfig};
use crate::message::Message;
use crate::signature::Signature;
use std::path::PathBuf;
use std::sync::LazyLock;
use vitc_exporters::coreml::PackageWeights;
use vitc_exporters::metadata::{self, Fit, Metadata, Preprocessing};
use vitc_exporters::onnx::{Elem, FileWeights, Flat, PortInfo};
use vitc_ir::{DType, Dim, Graph, Weights};

/// Key of the colours of classes, `#rrggbb` with commas between them.
pub const PALETTE_KEY: &str = "vitc.palette";

/// BLAKE3 of a checkpoint's bytes, in hexadecimal: asked for when the artifact is written, computed on a thread of its own meanwhile.
pub type Digest = LazyLock<String, Box<dyn FnOnce() -> String + Send>>;

/// Constants of a model file.
#[derive(Debug)]
pub enum FileConstants {
    /// Of an ONNX file.
    Onnx(FileWeights),
    /// Of a CoreML package.
    Package(PackageWeights),
}

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
        /// What it says about dense prediction.
        dense: Option<Box<DenseConfig>>,
        /// The tensors.
        weights: BoundWeights,
    },
    /// A model file's own.
    File {
        /// The file.
        path: PathBuf,
        /// BLAKE3 of its bytes, in hexadecimal.
        blake3: Digest,
        /// What was found in it.
        found: Vec<String>,
        /// Its constants.
        weights: FileConstants,
    },
}

impl WeightSource {
    /// The weights.
    pub fn weights(&self) -> &dyn Weights {
        match self {
            WeightSource::Seeded { weights, .. } => weights,
            WeightSource::Checkpoint { weights, .. } => weights,
            WeightSource::File { weights: FileConstants::Onnx(weights), .. } => weights,
            WeightSource::File { weights: FileConstants::Package(weights), .. } => weights,
        }
    }

    /// What a checkpoint says about its model.
    pub fn config(&self) -> Option<&ModelConfig> {
        match self {
            WeightSource::Seeded { .. } | WeightSource::File { .. } => None,
            WeightSource::Checkpoint { config, .. } => Some(config),
        }
    }

    /// What a checkpoint says about dense prediction.
    pub fn dense_config(&self) -> Option<&DenseConfig> {
        match self {
            WeightSource::Seeded { .. } | WeightSource::File { .. } => None,
            WeightSource::Checkpoint { dense, .. } => dense.as_deref(),
        }
    }

    /// What was recognised in a checkpoint: spelling, prefix, what was left out. Empty for seeded weights.
    pub fn found(&self) -> &[String] {
        match self {
            WeightSource::Seeded { .. } => &[],
            WeightSource::Checkpoint { found, .. } | WeightSource::File { found, .. } => found,
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
    /// Read from a file.
    File(Box<FileOrigin>),
}

/// A file that holds a model.
#[derive(Debug, Clone)]
pub struct FileOrigin {
    /// The file.
    pub path: PathBuf,
    /// Its own graph, flat, for whoever runs it; a package is run as its graph.
    pub flat: Option<Flat>,
    /// Version of its standard operators, if it has any.
    pub opset: Option<u32>,
    /// Its inputs with their sizes.
    pub inputs: Vec<PortInfo>,
    /// Element types of its outputs.
    pub outputs: Vec<Elem>,
    /// Keys and values that it carries.
    pub metadata: Vec<(String, String)>,
    /// It computes in half precision.
    pub half: bool,
}

impl Origin {
    /// Who described the model: title, authors, venue.
    pub fn citation(&self) -> &'static str {
        match self {
            Origin::Paper { parts } => parts.backbone.family.paper,
            Origin::File(_) => "",
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
    /// Where the settings of its input come from.
    pub sources: Vec<Source>,
    /// What was decided without being asked.
    pub notices: Vec<Message>,
    /// What whoever uses the outputs must know of them: keys and values of the metadata.
    pub facts: Vec<(String, String)>,
    /// Number of classes, where the outputs' roles do not say it.
    pub classes: Option<usize>,
    /// Names of the classes of dense prediction, as the checkpoint's metadata have them.
    pub labels: Option<Vec<String>>,
}

impl Model {
    /// What was built of these options, with its weights.
    pub(super) fn of(built: Built, options: &BuildOptions, weights: WeightSource, mut notices: Vec<Message>) -> Model {
        let Built { parts, graph, roles, mut facts, classes } = built;
        let Backbone { variant, .. } = parts.backbone;
        let is_dense = options.neck.is_some() || options.map_head.is_some();
        let said = weights.dense_config().filter(|_| is_dense);
        let nothing = ModelConfig::default();
        let config = weights.config().unwrap_or(&nothing);
        let (mut preprocessing, mut sources, assumed) = preprocessing(parts.backbone, config, options.channels);
        notices.extend(assumed);
        if let Some(text) = weights.dense_config() {
            let first = is_dense || (config.mean.is_none() && config.std.is_none());
            colours_of(text, options.channels, first, &mut preprocessing, &mut sources);
        }
        if is_dense {
            preprocessing = whole_picture(options, preprocessing);
            sources.retain(|source| !["crop", "interpolation", "fit"].contains(&source.setting));
        }
        let palette = said.and_then(|said| said.palette.as_ref()).filter(|p| classes == Some(p.len()));
        facts.extend(palette.map(|palette| (PALETTE_KEY.to_string(), colours(palette))));
        let labels = said.and_then(|said| said.classes.clone());
        Model {
            name: variant.name.into(),
            signature: Signature::of_picture(&graph, preprocessing, roles),
            origin: Origin::Paper { parts },
            batch: options.batch,
            resolution: options.resolution,
            graph,
            weights,
            sources,
            notices,
            facts,
            classes,
            labels,
        }
    }

    /// The file that the model was read from, if it was.
    pub fn file(&self) -> Option<&FileOrigin> {
        match &self.origin {
            Origin::Paper { .. } => None,
            Origin::File(file) => Some(file),
        }
    }

    /// Channels of the input.
    pub fn channels(&self) -> usize {
        self.graph.inputs().next().map_or(0, |(_, node)| node.types[0].shape.at(1).get(1).copied().unwrap_or(0))
    }

    /// What the artifact says about the model and its weights.
    pub fn metadata(&self, precision: DType) -> Metadata {
        let source = match &self.weights {
            WeightSource::Seeded { seed, .. } => metadata::WeightSource::Seeded { seed: *seed },
            WeightSource::Checkpoint { path, blake3, .. } | WeightSource::File { path, blake3, .. } => {
                let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                metadata::WeightSource::Checkpoint { file, blake3: blake3.to_string() }
            }
        };
        Metadata::new(self.name.clone(), source, precision)
    }
}

/// `#rrggbb` of every class, with commas between them.
fn colours(palette: &[[u8; 3]]) -> String {
    palette.iter().map(|[r, g, b]| format!("#{r:02x}{g:02x}{b:02x}")).collect::<Vec<_>>().join(",")
}

/// What the configuration's text says of colours; of their mean and deviation if it goes `first`.
fn colours_of(
    text: &DenseConfig,
    channels: usize,
    first: bool,
    preprocessing: &mut Preprocessing,
    sources: &mut Vec<Source>,
) {
    if channels != 3 {
        return;
    }
    let from = || Some("the checkpoint's config".to_string());
    // Ours are in the order of red, green and blue.
    let in_order = |mut of: [f64; 3]| {
        if text.bgr == Some(true) {
            of.reverse();
        }
        of.to_vec()
    };
    for (setting, said, ours) in
        [("mean", text.mean, &mut preprocessing.mean), ("std", text.std, &mut preprocessing.std)]
    {
        if let Some(said) = said.filter(|_| first) {
            *ours = in_order(said);
            sources.iter_mut().filter(|s| s.setting == setting).for_each(|s| s.from = from());
        }
    }
    if text.bgr == Some(true) {
        preprocessing.layout.bgr = true;
        sources.push(Source { setting: "colours", from: from() });
    }
}

/// How a dense model sees a picture: the whole of it, stretched; of a detector in proportion, padded.
fn whole_picture(options: &BuildOptions, usual: Preprocessing) -> Preprocessing {
    // Behind a neck whose head is not built stands a detector's.
    let detects = options.map_head.map_or(options.neck.is_some(), |head| head.scope == "bbox_head");
    Preprocessing {
        fit: if detects { Fit::Pad } else { Fit::Stretch },
        crop: 1.0,
        interpolation: "bilinear".into(),
        ..usual
    }
}
