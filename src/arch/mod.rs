//! Architectures: one file per paper, each reading top to bottom as the paper's figure.
//!
//! A family's `build` makes the *paper graph*: every branch, BatchNorm, LayerScale and head that the checkpoint holds, under the names of
//! the authors' state dict. Making it small is the passes' work. What a checkpoint does not decide (resolution, batch, classes of
//! seeded weights) comes in through [`BuildOptions`].

mod affnet;
mod casvit;
mod dsm;
mod efficientformerv2;
mod fastervit;
mod ffnet;
mod fmvit;
mod layers;
pub mod seeded;

use std::collections::{BTreeMap, BTreeSet};
use vitc_ir::{Dim, Graph, Net, Output, Shape, Type, Value};

pub use crate::checkpoint::{NameTable, Shapes};
use crate::signature::{OutputRole, Over};

/// Every family, in the order of `vitc list`.
pub static FAMILIES: &[&Family] = &[
    &fmvit::FAMILY,
    &affnet::FAMILY,
    &efficientformerv2::FAMILY,
    &fastervit::FAMILY,
    &casvit::FAMILY,
    &ffnet::FAMILY,
    &dsm::FAMILY,
];

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
    pub tables: &'static [NameTable],
    /// Classifier heads by canonical prefix: every one that exists is averaged into the logits.
    pub heads: &'static [&'static str],
    /// Choices that a checkpoint does not reveal.
    pub choices: &'static [&'static Choice],
    /// Whether these keys look like this family's.
    pub signature: fn(&Shapes) -> bool,
    /// Sizes, multiples of 32, for which position tables in the checkpoint may have been made, the likeliest first; none if it has no tables.
    pub table_resolutions: fn(&Shapes) -> Vec<[usize; 2]>,
    /// Keys that a checkpoint may hold and the model does not need (caches, buffers, aliases).
    pub leftover: fn(&str) -> bool,
    /// The paper graph.
    pub build: fn(&BuildOptions) -> Result<Graph, ArchError>,
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
    pub preprocessing: Preprocessing,
}

impl Variant {
    /// A variant with published weights of ImageNet's 1000 classes, for square images of this side, prepared as usual with this crop.
    /// `figures` are parameters, multiply-accumulates and top-1.
    const fn new(name: &'static str, side: usize, figures: [&'static str; 3], crop: f64) -> Variant {
        Variant {
            name,
            aliases: &[],
            resolution: [side; 2],
            published_parameters: figures[0],
            published_macs: figures[1],
            top1: figures[2],
            classes: 1000,
            checkpoints: true,
            preprocessing: imagenet(crop),
        }
    }

    /// The same under other names too.
    const fn also(self, aliases: &'static [&'static str]) -> Variant {
        Variant { aliases, ..self }
    }

    /// The same without published weights.
    const fn without_weights(self) -> Variant {
        Variant { checkpoints: false, ..self }
    }
}

/// An option that keys and shapes do not reveal, with its documented default.
#[derive(Debug)]
pub struct Choice {
    /// Name (`activation`).
    pub name: &'static str,
    /// Accepted values, the default first; a choice with one value takes others of its own form too.
    pub values: &'static [&'static str],
    /// What it decides.
    pub help: &'static str,
}

/// How pixels become the model's input: scaled to 0..1, minus `mean`, divided by `std`, per RGB channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// Mean per channel.
    pub mean: [f64; 3],
    /// Standard deviation per channel.
    pub std: [f64; 3],
    /// Share of the resized image that the centre crop keeps.
    pub crop: f64,
    /// Resampling filter of the resize.
    pub interpolation: &'static str,
}

/// ImageNet's usual preprocessing: bicubic, centre crop.
pub const fn imagenet(crop: f64) -> Preprocessing {
    Preprocessing { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], crop, interpolation: "bicubic" }
}

/// Which of several classifier heads makes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// All that exist, averaged, as the authors evaluate.
    #[default]
    Average,
    /// The first head (`head`).
    Class,
    /// The distillation head (`dist_head`).
    Distillation,
}

/// What the model returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Results {
    /// Class scores.
    #[default]
    Logits,
    /// The pooled features in front of the classifier, `[B,C]`.
    Features,
    /// The four stage maps, for detection and segmentation.
    Pyramid,
}

/// Everything that `build` may ask.
#[derive(Debug, Clone)]
pub struct BuildOptions<'a> {
    /// The size.
    pub variant: &'static Variant,
    /// Batch: a number, or `Dim::Batch(1)`.
    pub batch: Dim,
    /// Input height, width.
    pub resolution: [usize; 2],
    /// Number of classes.
    pub classes: usize,
    /// The checkpoint's keys and shapes in canonical spelling; `None` for seeded weights.
    pub tensors: Option<&'a Shapes>,
    /// Which head.
    pub head: Head,
    /// What is returned.
    pub results: Results,
    /// Values of the family's choices; absent means the default.
    pub choices: BTreeMap<String, String>,
}

impl BuildOptions<'_> {
    /// Batch 1, native resolution, seeded weights.
    pub fn new(variant: &'static Variant) -> Self {
        BuildOptions {
            variant,
            batch: Dim::Fixed(1),
            resolution: variant.resolution,
            classes: variant.classes,
            tensors: None,
            head: Head::Average,
            results: Results::Logits,
            choices: BTreeMap::new(),
        }
    }

    /// Whether the checkpoint holds `key`; `seeded` answers for a model without checkpoint.
    pub fn holds(&self, key: &str, seeded: bool) -> bool {
        self.tensors.map_or(seeded, |t| t.contains_key(key))
    }

    /// The value of one of the family's choices.
    pub fn choice(&self, choice: &'static Choice) -> &str {
        self.choices.get(choice.name).map_or(choice.values[0], String::as_str)
    }

    /// The position of the variant in its family's list.
    pub fn index(&self, family: &Family) -> usize {
        family.variants.iter().position(|v| std::ptr::eq(v, self.variant)).expect("the variant is the family's")
    }

    /// The error of an input size that does not fit.
    fn misfit(&self, why: impl Into<String>, advice: impl Into<String>) -> ArchError {
        let [height, width] = self.resolution;
        ArchError::Resolution { model: self.variant.name, height, width, why: why.into(), advice: advice.into() }
    }

    /// Refuses images whose last map, a thirty-second of them, would be empty.
    fn check_smallest(&self) -> Result<(), ArchError> {
        match self.resolution.into_iter().all(|side| side >= 32) {
            true => Ok(()),
            false => Err(self.misfit("the last map would have less than one position", "use 32x32 or more")),
        }
    }

    /// The image input `[B,3,H,W]`.
    pub fn image(&self, net: &mut Net) -> Value {
        let [h, w] = self.resolution;
        net.input("image", Type::new(vitc_ir::DType::F32, Shape::batched(self.batch, &[3, h, w])))
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
    /// An option has a value the family does not know.
    #[error("{model}: {what}")]
    Option {
        /// The variant.
        model: &'static str,
        /// Which option, what it accepts.
        what: String,
    },
}

/// No variant of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no model `{name}`; the nearest are {}; `vitc list` shows all", nearest.join(", "))]
pub struct UnknownModel {
    /// What was asked for.
    pub name: String,
    /// The most similar names.
    pub nearest: Vec<&'static str>,
}

/// The family and variant of a name: `efficientformerv2-s0`, upstream's `efficientformerv2_s0`, or timm's with a tag behind a dot.
///
/// # Errors
/// If no variant has the name; the error lists the nearest.
pub fn find(name: &str) -> Result<(&'static Family, &'static Variant), UnknownModel> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('_', "-");
    let wanted = plain(name.split('.').next().unwrap_or(name));
    let all = || FAMILIES.iter().flat_map(|f| f.variants.iter().map(move |v| (*f, v)));
    let named = |v: &Variant| plain(v.name) == wanted || v.aliases.iter().any(|a| plain(a) == wanted);
    all().find(|(_, v)| named(v)).ok_or_else(|| {
        let mut names: Vec<&'static str> = all().map(|(_, v)| v.name).collect();
        names.sort_by_key(|n| crate::nearest::edit_distance(n, &wanted));
        names.truncate(4);
        UnknownModel { name: name.to_string(), nearest: names }
    })
}

impl Family {
    /// The variant nearest to the checkpoint, and whether the checkpoint holds every key and shape of it. See [`Nearness`].
    pub fn closest_variant(&self, tensors: &Shapes) -> (&'static Variant, bool) {
        let nearness = |variant: &'static Variant| {
            let mut options = BuildOptions::new(variant);
            options.tensors = Some(tensors);
            if let Some(&likeliest) = (self.table_resolutions)(tensors).first() {
                options.resolution = likeliest;
            }
            (self.build)(&options).map_or(Nearness::FARTHEST, |graph| Nearness::of(&graph, tensors))
        };
        let scored = self.variants.iter().map(|v| (v, nearness(v)));
        let (variant, nearness) =
            scored.reduce(|best, next| if next.1 > best.1 { next } else { best }).expect("a family has variants");
        (variant, nearness.whole)
    }

    /// Keys that any variant asks for, without a checkpoint.
    pub fn keys(&self) -> BTreeSet<String> {
        let graphs = self.variants.iter().filter_map(|v| (self.build)(&BuildOptions::new(v)).ok());
        graphs.flat_map(|g| g.weights().map(|(key, _)| key.to_string()).collect::<Vec<_>>()).collect()
    }

    /// Whether a checkpoint of the variant `held` is one of `asked` too: it holds every key and shape, and what only the former reads the family
    /// can leave unused. Variants that do different things with the same tensors share their checkpoints.
    pub fn serves(&self, held: &'static Variant, asked: &'static Variant, tensors: &Shapes) -> bool {
        let (Some(held), Some(asked)) = (self.wanted(held, tensors), self.wanted(asked, tensors)) else { return false };
        asked.iter().all(|(key, shape)| tensors.get(key).is_some_and(|stored| units(stored) == units(shape)))
            && held.keys().all(|key| asked.contains_key(key) || (self.leftover)(key))
    }

    /// Keys and shapes of a variant as it is published, at the likeliest resolution of the checkpoint's tables; `None` if it cannot be built there.
    fn wanted(&self, variant: &'static Variant, tensors: &Shapes) -> Option<Shapes> {
        let mut options = BuildOptions::new(variant);
        options.tensors = Some(tensors);
        if let Some(&likeliest) = (self.table_resolutions)(tensors).first() {
            options.resolution = likeliest;
        }
        let graph = (self.build)(&options).ok()?;
        Some(graph.weights().map(|(key, ty)| (key.to_string(), ty.shape.at(1))).collect())
    }

    /// The classifier heads that a build of these options uses.
    fn chosen_heads(&self, options: &BuildOptions) -> Vec<&'static str> {
        let held = |h: &&&'static str| options.holds(&format!("{h}.weight"), true);
        let mut heads: Vec<&'static str> = self.heads.iter().filter(held).copied().collect();
        match options.head {
            Head::Average => {}
            Head::Class => heads.retain(|h| *h == self.heads[0]),
            Head::Distillation => heads.retain(|h| *h != self.heads[0]),
        }
        heads
    }

    /// What the outputs of a build of these options hold, in their order.
    pub fn roles(&self, options: &BuildOptions) -> Vec<OutputRole> {
        match options.results {
            Results::Logits if !self.chosen_heads(options).is_empty() => {
                vec![OutputRole::Scores { classes: options.classes, over: Over::Rows }]
            }
            Results::Logits | Results::Features => vec![OutputRole::Features],
            Results::Pyramid => (0..4).map(|i| OutputRole::Map { stride: 4 << i }).collect(),
        }
    }
}

/// The axes of a shape that are longer than one: a 1x1 convolution and a linear layer hold the same weights.
fn units(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}

/// How near a variant is to a checkpoint; of several that are stored whole, a deeper one holds a shallower one's tensors and is more alike.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Nearness {
    /// Every key is stored in its shape.
    whole: bool,
    /// Common keys over all keys of both, each weighted by its widths: stored over asked for, and the eighth power of the inverse where the
    /// stored width is the larger, since pruning only takes away.
    likeness: f64,
}

impl Nearness {
    const FARTHEST: Nearness = Nearness { whole: false, likeness: 0.0 };

    fn of(graph: &Graph, tensors: &Shapes) -> Nearness {
        let (mut asked, mut common, mut same, mut likeness) = (0usize, 0usize, 0usize, 0.0);
        for (key, ty) in graph.weights() {
            asked += 1;
            let Some(stored) = tensors.get(key) else { continue };
            let (wanted, stored) = (units(&ty.shape.at(1)), units(stored));
            common += 1;
            same += usize::from(wanted == stored);
            let ratios = stored.iter().zip(&wanted).map(|(&s, &w)| s as f64 / w.max(1) as f64);
            likeness += ratios.map(|r| if r > 1.0 { r.powi(-8) } else { r }).product::<f64>();
        }
        let union = (asked + tensors.len() - common).max(1) as f64;
        Nearness { whole: same == asked, likeness: likeness / union }
    }
}

/// Close a paper graph: pooled features or logits from `pooled`, or the stage maps.
///
/// Logits are the mean of the chosen heads, each a linear layer under its own name.
fn finish(
    net: &mut Net,
    family: &Family,
    options: &BuildOptions,
    stages: &[Value],
    pooled: impl FnOnce(&mut Net) -> Value,
) {
    let outputs: Vec<(String, Value)> = match options.results {
        Results::Pyramid => stages.iter().enumerate().map(|(i, &v)| (format!("stage{}", i + 1), v)).collect(),
        Results::Features => vec![("features".into(), pooled(net))],
        Results::Logits => {
            let x = pooled(net);
            let heads = family.chosen_heads(options);
            let logits: Vec<Value> = heads.iter().map(|h| net.at(h).linear(x, options.classes, true)).collect();
            match logits[..] {
                [] => vec![("features".into(), x)],
                [one] => vec![("logits".into(), one)],
                [first, ref rest @ ..] => {
                    let mut net = net.at("logits");
                    let sum = rest.iter().fold(first, |a, &b| net.add(a, b));
                    let count = net.scalar(logits.len() as f64);
                    vec![("logits".into(), net.div(sum, count))]
                }
            }
        }
    };
    net.graph().outputs = outputs.into_iter().map(|(name, value)| Output { name, value }).collect();
}
