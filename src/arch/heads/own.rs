//! A head that somebody wrote: linear layers in a row, norms and an activation between them, on what the trunk offers.
//!
//! The file names its layers; what has no weights it does not name. Where the activation stands follows from gaps in the numbers of a sequence
//! (`sequence` reads them), which function it is does not: that is a choice, [`ACTIVATION`].

use crate::arch::choice::{Choice, Head};

/// The function between the linear layers of a head.
pub static ACTIVATION: Choice = Choice {
    name: "head-activation",
    values: &["relu", "gelu", "silu", "swish", "hardswish", "relu6", "leaky-relu", "tanh", "sigmoid", "none"],
    help: "the function between the linear layers of a head that somebody wrote; no file records it",
};

/// What a head may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// The vector that the trunk pools, `[B,C]`.
    Features,
    /// The scores of the trunk's own classifier.
    Scores,
    /// The map that the trunk pools, flattened: `[B,C·H·W]`.
    Map,
    /// The largest element and then the mean of each channel of that map, `[B,2·C]`: fastai's `AdaptiveConcatPool2d`.
    MaxMean,
    /// The mean and then the largest element, `[B,2·C]`: timm's `catavgmax`.
    MeanMax,
}

impl Reads {
    /// Each.
    pub const ALL: [Reads; 5] = [Reads::Features, Reads::Scores, Reads::Map, Reads::MaxMean, Reads::MeanMax];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Reads::Features => "features",
            Reads::Scores => "scores",
            Reads::Map => "map",
            Reads::MaxMean => "max-mean",
            Reads::MeanMax => "mean-max",
        }
    }
}

/// What a user asks of heads by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadName {
    /// Where its layers stand in the file; several places with `+` between them make one head.
    pub prefix: String,
    /// What it reads; `None` for what its width tells.
    pub reads: Option<Reads>,
}

impl HeadName {
    /// As a user writes it: `PREFIX`, or with what it reads, `PREFIX=scores`.
    pub fn read(text: &str) -> HeadName {
        let named = text
            .rsplit_once('=')
            .and_then(|(prefix, word)| Some((prefix, Reads::ALL.into_iter().find(|reads| reads.word() == word)?)));
        match named {
            Some((prefix, reads)) => HeadName { prefix: prefix.into(), reads: Some(reads) },
            None => HeadName { prefix: text.into(), reads: None },
        }
    }

    /// The text that [`HeadName::read`] reads.
    pub fn written(&self) -> String {
        let HeadName { prefix, reads } = self;
        reads.map_or_else(|| prefix.clone(), |reads| format!("{prefix}={}", reads.word()))
    }

    /// Which of the family's own classifiers it names, if it names one.
    pub fn of_family(&self, heads: &[&str]) -> Option<Head> {
        match (self.prefix.as_str(), self.reads) {
            ("average", None) => Some(Head::Average),
            ("dist_head", None) => Some(Head::Distillation),
            (name, None) if name == "head" || heads.first() == Some(&name) => Some(Head::Class),
            _ => None,
        }
    }
}

/// A layer of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[outputs, inputs]`, and a bias if there is one.
    Linear {
        /// Columns.
        inputs: usize,
        /// Rows.
        outputs: usize,
        /// Whether a bias is stored.
        bias: bool,
        /// Whether it is stored as a convolution with a kernel of 1x1.
        conv: bool,
    },
    /// BatchNorm.
    BatchNorm {
        /// Channels.
        width: usize,
        /// Whether it scales and shifts what it normalised.
        affine: bool,
    },
    /// LayerNorm of so many channels.
    LayerNorm(usize),
    /// PReLU with so many slopes: one for each channel, or one for all.
    Prelu(usize),
}

impl Kind {
    /// Widths of what it reads and of what it returns; `None` if it takes any width and keeps it.
    pub(super) fn widths(self) -> Option<[usize; 2]> {
        match self {
            Kind::Linear { inputs, outputs, .. } => Some([inputs, outputs]),
            Kind::BatchNorm { width, .. } | Kind::LayerNorm(width) => Some([width; 2]),
            Kind::Prelu(slopes) => (slopes > 1).then_some([slopes; 2]),
        }
    }
}

/// A layer and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name in the file; where its weights stand in the graph.
    pub key: String,
    /// What it computes.
    pub kind: Kind,
    /// Whether the activation follows.
    pub activated: bool,
}

/// A head that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnHead {
    /// Where its layers stand in the file.
    pub place: String,
    /// What it reads.
    pub reads: Reads,
    /// Its layers, in the order of data.
    pub layers: Vec<Layer>,
    /// Its linear layers stand directly behind each other: in a sequence they would be one, in a list the code puts an activation between them.
    pub listed: bool,
}

impl OwnHead {
    /// Numbers that it returns per picture.
    pub fn width(&self) -> usize {
        self.layers.iter().rev().find_map(|layer| layer.kind.widths()).map_or(0, |[_, returned]| returned)
    }

    /// Whether it has a linear layer: norms alone return features.
    pub fn scores(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.kind, Kind::Linear { .. }))
    }

    /// Whether a choice decides what it computes.
    pub fn activated(&self) -> bool {
        self.layers.iter().any(|layer| layer.activated)
    }

    /// Whether its scores come from a layer without a bias.
    pub fn ends_without_bias(&self) -> bool {
        matches!(self.layers.last().map(|layer| layer.kind), Some(Kind::Linear { bias: false, .. }))
    }

    /// Whether it has a PReLU, told from its one weight.
    pub fn has_slopes(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.kind, Kind::Prelu(_)))
    }

    /// Whether it has a LayerNorm, which a file does not tell from a GroupNorm.
    pub fn normalises_rows(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.kind, Kind::LayerNorm(_)))
    }

    /// Whether it makes another result of each position of a map, averaged afterwards, than of the pooled vector: convolutions commute with the
    /// mean, what follows them need not.
    pub fn minds_the_pooling(&self) -> bool {
        let conv = |layer: &&Layer| !matches!(layer.kind, Kind::Linear { conv: true, .. });
        self.layers
            .iter()
            .skip_while(conv)
            .any(|layer| layer.activated || matches!(layer.kind, Kind::LayerNorm(_) | Kind::Prelu(_)))
    }

    /// Its output's name in a file: letters, digits and `_` of where it stands.
    pub fn name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = self.place.chars().map(plain).collect();
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("head_{name}") }
    }

    /// `176 features -> 256 -> 7`, with what stands between.
    pub fn describe(&self, activation: &str) -> String {
        let read = self.layers.iter().find_map(|layer| layer.kind.widths()).map_or(0, |[read, _]| read);
        let mut text = read.to_string();
        for layer in &self.layers {
            text.push_str(&match layer.kind {
                Kind::Linear { outputs, .. } => format!(" -> {outputs}"),
                Kind::BatchNorm { .. } => ", BatchNorm".into(),
                Kind::LayerNorm(_) => ", LayerNorm".into(),
                Kind::Prelu(_) => ", PReLU".into(),
            });
            if layer.activated && activation != "none" {
                text.push_str(&format!(", {activation}"));
            }
        }
        format!("{} on {}: {text}", self.place, self.reads.word())
    }
}
