//! What a pass is: data. A name, when it applies, and a fallible function from graph to graph.
//!
//! A pass works under a [`Context`]: the target, the options, and the decisions that depend on numbers. It never reads a weight's numbers itself.

use crate::note::Note;
use std::collections::BTreeSet;
use vitc_ir::target::AttentionForm;
use vitc_ir::{DType, Graph, ShapeError, Target};

/// A pass.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// What reports call it, and how it is looked up.
    pub name: &'static str,
    /// Whether it applies to a target at all.
    pub when: fn(&Target) -> bool,
    /// The rewrite.
    pub run: fn(&Graph, &Context) -> Result,
}

impl Pass {
    /// A pass for every target.
    pub const fn everywhere(name: &'static str, run: fn(&Graph, &Context) -> Result) -> Pass {
        Pass { name, when: |_| true, run }
    }

    /// A pass for targets of some kind.
    pub const fn only(name: &'static str, when: fn(&Target) -> bool, run: fn(&Graph, &Context) -> Result) -> Pass {
        Pass { name, when, run }
    }
}

/// What a pass gives, by default a rewritten graph.
pub type Result<T = Rewritten> = std::result::Result<T, PassError>;

/// What a pass did to a graph.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// The new graph; equal to the old one if `count` is 0.
    pub graph: Graph,
    /// Number of rewrites.
    pub count: usize,
    /// What could not be done and why, and other facts.
    pub notes: Vec<Note>,
}

impl Rewritten {
    /// A graph after `count` rewrites, with nothing to remark.
    pub fn new(graph: Graph, count: usize) -> Rewritten {
        Rewritten { graph, count, notes: Vec::new() }
    }

    /// The graph as it was.
    pub fn unchanged(graph: &Graph) -> Rewritten {
        Rewritten::new(graph.clone(), 0)
    }
}

/// A graph that a pass cannot rewrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassError {
    /// Name of the pass; of several that undo each other, all of them.
    pub pass: String,
    /// Path of the node.
    pub node: String,
    /// What stands in the way.
    pub what: String,
}

impl std::fmt::Display for PassError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PassError { pass, node, what } = self;
        match node.is_empty() {
            true => write!(f, "{pass}: {what}"),
            false => write!(f, "{pass}: {node}: {what}"),
        }
    }
}

impl std::error::Error for PassError {}

impl From<ShapeError> for PassError {
    /// The name of the pass is filled in by whoever runs it.
    fn from(error: ShapeError) -> PassError {
        PassError { pass: String::new(), node: error.path, what: format!("{}: {}", error.op, error.what) }
    }
}

/// Under what passes run.
#[derive(Debug, Clone)]
pub struct Context {
    /// What the graph is spelled for.
    pub target: Target,
    /// What the user chose.
    pub options: LowerOptions,
    /// What was decided by looking at numbers.
    pub decisions: Decisions,
}

impl Context {
    /// A target with options on top of its data. Another form of attention changes the form of attention and nothing else.
    pub fn new(target: &Target, options: &LowerOptions) -> Context {
        let attention = options.attention.unwrap_or(target.attention);
        let target = Target { attention, ..target.clone() };
        Context { target, options: options.clone(), decisions: Decisions::default() }
    }

    /// Under what target-independent passes run, which ask neither target nor options.
    pub fn independent() -> Context {
        Context::new(&Target::onnx(17), &LowerOptions::new(DType::F32, DType::F32))
    }
}

/// Decisions that depend on numbers, which passes do not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Paths of linear layers behind LayerNorm whose biases stay, because in the norm's null direction they would push the rows of the weights out of
    /// their range: [`Note::RowShift`] says how far.
    pub biases_that_stay: BTreeSet<String>,
    /// Paths of nodes that compute in f32 where all others compute in f16, because of the size of their values.
    pub islands: BTreeSet<String>,
}

/// What a lowering may decide.
#[derive(Debug, Clone)]
pub struct LowerOptions {
    /// Element type of the computation.
    pub precision: DType,
    /// Element type of inputs.
    pub input: DType,
    /// Element type of outputs.
    pub output: DType,
    /// Form of spectral transforms.
    pub spectral: Spectral,
    /// How attention is spelled; `None` as the target's data says. Talking heads keep their products in every form but the fused one.
    pub attention: Option<AttentionForm>,
    /// Talking heads as one fused attention, where the target fuses attention.
    pub talking_heads: TalkingHeads,
    /// Which position biases are stored, and which are gathered from their tables when the model runs.
    pub fold_tables: FoldTables,
}

impl LowerOptions {
    /// These element types, inputs and outputs alike, and everything else left to the cost model.
    pub fn new(precision: DType, interface: DType) -> Self {
        LowerOptions {
            precision,
            input: interface,
            output: interface,
            spectral: Spectral::Auto,
            attention: None,
            talking_heads: TalkingHeads::Auto,
            fold_tables: FoldTables::Auto,
        }
    }
}

/// What becomes of talking heads where the target fuses attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TalkingHeads {
    /// What the cost model finds cheaper.
    Auto,
    /// One attention for all heads, more multiply-accumulates.
    Fuse,
    /// The heads' mixes as operators of their own.
    Keep,
}

/// What becomes of position tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoldTables {
    /// A bias is stored unless it exceeds both 8 MiB and eight times its table and index.
    Auto,
    /// Every bias is stored.
    Always,
    /// Every bias is gathered from its table.
    Never,
}

/// Form of spectral transforms as matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spectral {
    /// What the cost model finds cheaper for each size of map, while all bases together stay below half of the model's weights.
    Auto,
    /// One product with the Kronecker product of the bases of both axes, whatever its size.
    Dense,
    /// One product per axis.
    Separable,
}
