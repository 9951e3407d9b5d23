//! What passes have to say about what they did: data first, words in one place at the end.

use std::fmt;

/// A remark of a pass. Nodes and layers are named by their paths.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A node remains in the artifact.
    Stayed {
        /// The node.
        node: String,
        /// Why.
        why: Reason,
    },
    /// Parallel branches became fewer linear nodes.
    Merged {
        /// Branches before.
        branches: usize,
        /// Convolutions that hold them now.
        convs: usize,
        /// Matrix products that hold them now.
        products: usize,
    },
    /// Linear maps were multiplied out.
    MultipliedOut {
        /// Maps that are no longer made; `None` if that is the number of rewrites.
        maps: Option<usize>,
        /// Multiply-accumulates more.
        macs: i64,
    },
    /// Talking heads became one attention that the target fuses.
    TalkingHeadsFused {
        /// The attention.
        node: String,
        /// Multiply-accumulates more.
        macs: f64,
        /// Microseconds that they take.
        paid: f64,
        /// Kernels fewer.
        kernels: f64,
        /// Microseconds that they took.
        gained: f64,
    },
    /// Attentions whose talking heads keep them from the form that was asked for.
    KeptAsProducts {
        /// The attentions.
        nodes: Vec<String>,
    },
    /// Transforms of one size that would have been one product each, but for the size of their bases.
    StaysSeparable {
        /// Height and width of the map.
        grid: [usize; 2],
        /// Elements of the bases.
        elements: u64,
    },
    /// Position biases that are gathered from their tables when the model runs.
    TablesKept {
        /// Number of biases.
        biases: usize,
        /// Bytes that are not stored.
        bytes: usize,
    },
    /// Operators that compute in f32 between casts.
    Islands {
        /// Number of operators.
        operators: usize,
    },
    /// A layer each of whose rows moved by a number: for whoever may read the numbers, not for people.
    RowShift(RowShift),
    /// How far rows moved at most, as a fraction of their layer's largest weight.
    RowsMoved {
        /// The layer that they moved most in.
        layer: String,
        /// How far.
        most: f64,
        /// How far they may.
        bound: f64,
    },
}

/// A layer whose rows moved, with the constants that say by how much. They keep their paths to the end of a lowering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowShift {
    /// The layer.
    pub layer: String,
    /// What is added to each of its rows, `[rows,1]`.
    pub shift: String,
    /// The rows before, `[rows,C]`.
    pub rows: String,
}

/// Why a node stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Something besides the rewrite reads this node too.
    ReadElsewhere(String),
    /// A reader of a BatchNorm cannot take it into its weights.
    NotAbsorbed,
    /// No kernel takes keys and values of these widths, and what surrounds them cannot be padded.
    HeadWidths([usize; 2]),
}

impl Note {
    /// Whether a report shows it.
    pub fn is_for_people(&self) -> bool {
        !matches!(self, Note::RowShift(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Stayed { node, why: Reason::ReadElsewhere(other) } => {
                write!(f, "{node} stays: something else reads {other}")
            }
            Note::Stayed { node, why: Reason::NotAbsorbed } => {
                write!(f, "{node} stays: something besides unpadded convolutions and products reads it")
            }
            Note::Stayed { node, why: Reason::HeadWidths([keys, values]) } => {
                let widths = if keys == values { keys.to_string() } else { format!("{keys} with values of {values}") };
                write!(f, "{node} keeps heads of width {widths}, which no fused kernel takes as they are")
            }
            Note::Merged { branches, convs, products } => {
                let kinds = [(*convs, "conv"), (*products, "matrix product")];
                let counted = kinds.iter().filter(|(n, _)| *n > 0);
                let words: Vec<String> =
                    counted.map(|(n, kind)| format!("{n} {kind}{}", if *n > 1 { "s" } else { "" })).collect();
                write!(f, "{branches} branches into {}", words.join(" and "))
            }
            Note::MultipliedOut { maps, macs } => {
                if let Some(maps) = maps {
                    write!(f, "{maps} maps eliminated, ")?;
                }
                write!(f, "{:+.1}M multiply-accumulates", *macs as f64 / 1e6)
            }
            Note::TalkingHeadsFused { node, macs, paid, kernels, gained } => write!(
                f,
                "{node}: talking heads fused for {:.1} M more multiply-accumulates ({paid:.2} µs), {kernels} kernels fewer ({gained:.0} µs)",
                macs / 1e6
            ),
            Note::KeptAsProducts { nodes } => write!(
                f,
                "{} attentions stay products of all heads, because their talking heads mix between product and softmax: {}",
                nodes.len(),
                nodes.join(", ")
            ),
            Note::StaysSeparable { grid: [h, w], elements } => {
                let bound = "would exceed half of the model's weights";
                write!(f, "{h}x{w} stays separable: bases of {elements} elements {bound}")
            }
            Note::TablesKept { biases, bytes } => {
                let gathered = "position biases are gathered from their tables when the model runs";
                write!(f, "{biases} {gathered}: {} MiB less", bytes >> 20)
            }
            Note::Islands { operators } => {
                write!(f, "{operators} operator{} in f32 between casts", if *operators == 1 { "" } else { "s" })
            }
            Note::RowShift(shift) => write!(f, "the rows of {} moved by {}", shift.layer, shift.shift),
            Note::RowsMoved { layer, most, bound } => {
                write!(
                    f,
                    "rows move by at most {most:.2} of the layer's largest weight ({layer}); the bound is {bound}"
                )
            }
        }
    }
}
