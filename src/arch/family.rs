//! What a family of architectures says of itself, and what it may ask when it is built.
//!
//! A variant's `build` makes the part of the *paper graph* up to its stage maps: every branch, BatchNorm and LayerScale that the checkpoint holds,
//! under the names of the authors' state dict. Making it small is the passes' work. What a checkpoint does not decide (resolution, batch,
//! classes of seeded weights) comes in through [`BuildOptions`].

use super::choice::{Choice, FamilyScores, Head};
use super::heads::own::OwnHead;
use super::prediction::Prediction;
use super::results::{Results, StageSet};
use crate::checkpoint::{NameTable, Shapes};
use crate::message::{Explain, Message};
use std::collections::BTreeMap;
use vitc_ir::{DType, Dim, Net, Shape, Type, Value};

/// One paper: its variants and how to build them.
#[derive(Debug)]
pub struct Family {
    /// Short name (`efficientformerv2`).
    pub id: &'static str,
    /// Title, authors, venue.
    pub paper: &'static str,
    /// The authors' code base.
    pub code: &'static str,
    /// What users must know: for reference designs, that the authors' code was never published.
    pub note: Option<&'static str>,
    /// The published sizes.
    pub variants: &'static [Variant],
    /// Spellings of the state dict; the first is canonical and has no rules.
    pub spellings: &'static [Spelling],
    /// Classifiers by canonical prefix: every one that exists is averaged into the logits.
    pub heads: &'static [&'static str],
    /// Choices that a checkpoint does not reveal.
    pub choices: &'static [&'static Choice],
    /// The images for which position tables in the checkpoint may have been made; `None` if it has no tables.
    pub position_tables: fn(&Shapes) -> Option<PositionTables>,
    /// Keys that a checkpoint may hold and the model does not need (caches, buffers, aliases).
    pub leftover: fn(&str) -> bool,
    /// The last stage's map to the vector `[B,C]` that classifiers read.
    pub pool: fn(&mut Net, &BuildOptions, Value) -> Value,
    /// What leaves the backbone for dense prediction.
    pub outputs: StageOutputs,
}

/// Which maps a family's backbone returns for dense prediction, and how the norms on them are named.
#[derive(Debug)]
pub struct StageOutputs {
    /// The key of the norm on each stage's output, where a checkpoint has one.
    pub norms: [&'static str; 4],
    /// The stages whose maps leave the backbone.
    pub stages: fn(&BuildOptions) -> StageSet,
}

impl StageOutputs {
    /// Every stage, norms numbered from 0 on.
    pub(super) const ALL: StageOutputs =
        StageOutputs { norms: ["norm0", "norm1", "norm2", "norm3"], stages: |_| StageSet::ALL };

    /// Every stage, with the steps between them counted too: stage i is place 2i of the network.
    pub(super) const EVEN: StageOutputs =
        StageOutputs { norms: ["norm0", "norm2", "norm4", "norm6"], stages: |_| StageSet::ALL };
}

/// How one code base spells a family's state dict.
#[derive(Debug)]
pub struct Spelling {
    /// Modules that tell it from any other, in its own spelling: runs of dotted segments that begin at the root, `*` for a number. Whatever form a
    /// checkpoint has (merged, pruned, without head), it holds tensors in each of them.
    pub anchors: &'static [&'static str],
    /// From its keys to the canonical ones.
    pub table: NameTable,
}

/// Stage maps for which position tables were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionTables {
    /// Heights and widths of images, the likeliest first.
    pub sizes: Vec<[usize; 2]>,
    /// A table whose shape tells them.
    pub key: String,
    /// Whether the tables are trained: no other size fits then. Else they only show what the model was trained on.
    pub trained: bool,
    /// Pixels per position of the map: images that are smaller by less have the same map.
    pub step: usize,
    /// The model resizes what it looks up to the image at hand: other sizes fit too.
    pub resized: bool,
}

impl PositionTables {
    /// Whether the tables serve images of this size.
    pub fn fit(&self, size: [usize; 2]) -> bool {
        self.resized || self.sizes.contains(&size.map(|side| side.next_multiple_of(self.step)))
    }
}

/// One published size of a family.
#[derive(Debug)]
pub struct Variant {
    /// Name on the command line (`efficientformerv2-s0`).
    pub name: &'static str,
    /// Other spellings, upstream's (underscores are accepted everywhere and not listed).
    pub aliases: &'static [&'static str],
    /// Native input height and width.
    pub resolution: [usize; 2],
    /// Parameters as published, in millions, as text (`3.5M`).
    pub published_parameters: &'static str,
    /// Multiply-accumulates as published, as text (`0.40G`).
    pub published_macs: &'static str,
    /// ImageNet-1K top-1 as published, percent, as text.
    pub top1: &'static str,
    /// Classes of the published weights.
    pub classes: usize,
    /// Whether the authors published weights.
    pub checkpoints: bool,
    /// How its evaluation prepares pixels.
    pub transform: EvalTransform,
    /// From the image to the map behind each stage.
    pub build: Build,
}

/// Builds a backbone: from the image to the map behind each stage, the first stage's first.
pub type Build = fn(&mut Net, &BuildOptions) -> Result<Vec<StageMap>, ArchError>;

/// What a stage of a backbone returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageMap {
    /// The map `[B,C,H/stride,W/stride]`.
    pub value: Value,
    /// Pixels of the image per position.
    pub stride: usize,
}

impl Variant {
    /// A variant with published weights of ImageNet's 1000 classes, for square images of this side, prepared as usual with this crop.
    /// `figures` are parameters, multiply-accumulates and top-1.
    pub(super) const fn new(
        name: &'static str,
        side: usize,
        figures: [&'static str; 3],
        crop: f64,
        build: Build,
    ) -> Variant {
        Variant {
            name,
            aliases: &[],
            resolution: [side; 2],
            published_parameters: figures[0],
            published_macs: figures[1],
            top1: figures[2],
            classes: 1000,
            checkpoints: true,
            transform: EvalTransform::imagenet(crop),
            build,
        }
    }

    /// The same under other names too.
    pub(super) const fn also(self, aliases: &'static [&'static str]) -> Variant {
        Variant { aliases, ..self }
    }

    /// The same without published weights.
    pub(super) const fn without_weights(self) -> Variant {
        Variant { checkpoints: false, ..self }
    }
}

/// How a published evaluation turns pixels into the model's input: scaled to 0..1, minus `mean`, divided by `std`, per RGB channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalTransform {
    /// Mean per channel.
    pub mean: [f64; 3],
    /// Standard deviation per channel.
    pub std: [f64; 3],
    /// Share of the resized image that the centre crop keeps.
    pub crop: f64,
    /// Resampling filter of the resize.
    pub interpolation: &'static str,
}

impl EvalTransform {
    /// ImageNet's usual one: bicubic, centre crop.
    pub const fn imagenet(crop: f64) -> EvalTransform {
        EvalTransform { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], crop, interpolation: "bicubic" }
    }
}

/// An architecture from the image to its stage maps: a size of a family.
#[derive(Debug, Clone, Copy)]
pub struct Backbone {
    /// The paper.
    pub family: &'static Family,
    /// The size.
    pub variant: &'static Variant,
}

/// What makes other maps of a backbone's.
#[derive(Debug)]
pub struct Neck {
    /// Name for people (`FPN`).
    pub name: &'static str,
    /// Where its keys stand in the graph.
    pub scope: &'static str,
    /// Keys behind its prefix, all of which no other part of a model has; they may begin with its scope.
    pub anchors: &'static [&'static str],
    /// What its keys do not reveal.
    pub choices: &'static [&'static Choice],
    /// From the backbone's maps to its own, in order of their strides.
    pub build: BuildOnMaps<Vec<StageMap>>,
}

/// Builds what reads maps, in order of their strides.
pub type BuildOnMaps<T> = fn(&mut Net, &BuildOptions, &[StageMap]) -> Result<T, ArchError>;

/// What predicts from maps.
#[derive(Debug)]
pub struct MapHead {
    /// Name for people (`Semantic FPN`).
    pub name: &'static str,
    /// Where its keys stand in the graph; empty for the backbone's own place.
    pub scope: &'static str,
    /// Keys behind its prefix, all of which no other part of a model has.
    pub anchors: &'static [&'static str],
    /// What its keys do not reveal.
    pub choices: &'static [&'static Choice],
    /// Pixels per position of the backbone's last map in the head's published recipes, if a backbone leaves a choice.
    pub backbone_stride: Option<usize>,
    /// From the maps of the neck, else the backbone, to what it predicts.
    pub build: BuildOnMaps<Prediction>,
}

/// Everything that a build may ask.
#[derive(Debug, Clone)]
pub struct BuildOptions<'a> {
    /// What is built.
    pub backbone: Backbone,
    /// Batch: a number, or `Dim::Batch(1)`.
    pub batch: Dim,
    /// Input height, width.
    pub resolution: [usize; 2],
    /// Channels of the input.
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// The checkpoint's keys and shapes in canonical spelling; `None` for seeded weights.
    pub tensors: Option<&'a Shapes>,
    /// Which head.
    pub head: Head,
    /// Heads that somebody wrote, which then are what the model returns.
    pub own: Vec<OwnHead>,
    /// What becomes of the scores of the family's classifiers beside those.
    pub scores: FamilyScores,
    /// What is returned.
    pub results: Results,
    /// Values of the parts' choices; absent means the default.
    pub choices: BTreeMap<String, String>,
    /// What stands behind the stage maps, if something does.
    pub neck: Option<&'static Neck>,
    /// What reads the maps of neck or backbone, if something does.
    pub map_head: Option<&'static MapHead>,
}

impl BuildOptions<'_> {
    /// Batch 1, native resolution, seeded weights.
    pub fn new(backbone: Backbone) -> Self {
        BuildOptions {
            backbone,
            batch: Dim::Fixed(1),
            resolution: backbone.variant.resolution,
            channels: 3,
            classes: backbone.variant.classes,
            tensors: None,
            head: Head::Average,
            own: Vec::new(),
            scores: FamilyScores::Dropped,
            results: Results::Logits,
            choices: BTreeMap::new(),
            neck: None,
            map_head: None,
        }
    }

    /// Whether the checkpoint holds `key`; `seeded` answers for a model without checkpoint.
    pub fn holds(&self, key: &str, seeded: bool) -> bool {
        self.tensors.map_or(seeded, |t| t.contains_key(key))
    }

    /// Shape of a tensor of the checkpoint.
    pub fn stored(&self, key: &str) -> Option<&[usize]> {
        self.tensors?.get(key).map(Vec::as_slice)
    }

    /// The value of one of the parts' choices.
    pub fn choice(&self, choice: &'static Choice) -> &str {
        self.choices.get(choice.name).map_or(choice.values[0], String::as_str)
    }

    /// The error of an input size that does not fit.
    pub(super) fn misfit(&self, why: impl Into<String>, advice: impl Into<String>) -> ArchError {
        let [height, width] = self.resolution;
        let model = self.backbone.variant.name;
        ArchError::Resolution { model, height, width, why: why.into(), advice: advice.into() }
    }

    /// Refuses images whose last map, which has a position per `stride` pixels, would be empty.
    pub(super) fn check_smallest(&self, stride: usize) -> Result<(), ArchError> {
        match self.resolution.into_iter().all(|side| side >= stride) {
            true => Ok(()),
            false => {
                Err(self
                    .misfit("the last map would have less than one position", format!("use {stride}x{stride} or more")))
            }
        }
    }

    /// The image input `[B,C,H,W]`.
    pub(super) fn image(&self, net: &mut Net) -> Value {
        let [h, w] = self.resolution;
        net.input("image", Type::new(DType::F32, Shape::batched(self.batch, &[self.channels, h, w])))
    }
}

/// A model that cannot be built as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchError {
    /// The input size does not fit the architecture.
    #[error("{model} cannot take {height}x{width} images: {why}; {advice}")]
    Resolution {
        /// The variant.
        model: &'static str,
        /// Asked height.
        height: usize,
        /// Asked width.
        width: usize,
        /// What does not fit.
        why: String,
        /// Which sizes would.
        advice: String,
    },
    /// A tensor that says how a part is made is missing or of another kind.
    #[error("{part} cannot be built: {what}")]
    Part {
        /// The part (`Semantic FPN`).
        part: &'static str,
        /// Which tensor, what it should be.
        what: String,
    },
    /// What is asked for, the model does not have.
    #[error("{model}: {what}")]
    Results {
        /// The variant.
        model: &'static str,
        /// What is missing, and what it has.
        what: Message,
    },
    /// An option has a value the family does not know.
    #[error("{model}: {what}")]
    Option {
        /// The variant.
        model: &'static str,
        /// Which option, what it accepts.
        what: Message,
    },
}

impl Explain for ArchError {
    fn message(&self) -> Message {
        match self {
            ArchError::Resolution { .. } | ArchError::Part { .. } => self.to_string().into(),
            ArchError::Results { model, what } | ArchError::Option { model, what } => {
                crate::message!(format!("{model}: "), what.clone())
            }
        }
    }
}
