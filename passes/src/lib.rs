//! Passes: Graph → Graph, each a file and a plain function in a plain list.
//!
//! Every file opens with *Given*, *Result* and *Exact* (why, or the bound). [`deploy`] runs the exact, target-independent list; [`lower`] spells a
//! deploy graph for a target.
//!
//! Architecture invariants: a pass never reads a weight's numbers and never mentions a file format; it is parameterised by [`Target`], which is
//! data. Arithmetic on weights becomes constant nodes. Running a list twice changes nothing.

mod algebra;
mod batch_norm_affine;
mod cancel_movement;
mod common_subexpressions;
mod fold_attention_scale;
mod fold_batch_norm;
mod fold_norm_affine;
mod fold_scale;
mod fuse_linear_chains;
mod fuse_talking_heads;
mod keep_tables;
mod lower_attention;
mod lower_channels_last;
mod lower_norms;
mod lower_spectral;
mod lower_tokens;
mod lower_windows;
mod merge_branches;
mod merge_constant_sums;
mod merge_pool;
mod merge_siblings;
mod merge_sums;
mod merge_towers;
mod move_biases;
mod multiply_out;
mod name_constants;
mod null_direction;
mod pad_heads;
mod pattern;
mod pool_first;
mod precision;
mod price;
mod row_order;
mod spell;
mod stream_weights;
mod widen_depthwise;

pub use null_direction::{RowShift, row_shifts};
pub use precision::island_reason;

use std::collections::BTreeSet;
use vitc_ir::target::AttentionForm;
use vitc_ir::{DType, Graph, Node, Op, Stage, Target};

/// What a pass did to a graph.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// The new graph; equal to the old one if `count` is 0.
    pub graph: Graph,
    /// Number of rewrites.
    pub count: usize,
    /// What could not be done and why, and other facts for the report.
    pub notes: Vec<String>,
}

/// What one run of a pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassReport {
    /// Name of the pass.
    pub pass: &'static str,
    /// Number of rewrites.
    pub count: usize,
    /// Run-time nodes before.
    pub before: usize,
    /// Run-time nodes after.
    pub after: usize,
    /// Transposes and reshapes among them, before and after.
    pub moves: [usize; 2],
    /// What could not be done and why.
    pub notes: Vec<String>,
}

/// A pass: its name and its function.
pub type Pass = (&'static str, fn(&Graph) -> Rewritten);

/// The exact passes that suit every target, in order. One makes work for another, so the list is repeated until none finds any.
pub const DEPLOY: &[Pass] = &[
    ("fold_batch_norm", fold_batch_norm::run),
    ("fold_scale", fold_scale::run),
    ("merge_branches", merge_branches::run),
    ("merge_pool", merge_pool::run),
    ("fold_norm_affine", fold_norm_affine::run),
    ("fold_attention_scale", fold_attention_scale::run),
    ("move_biases", move_biases::run),
    ("common_subexpressions", common_subexpressions::run),
];

/// What remains to be spelled when [`DEPLOY`] has come to rest.
pub const FINISH: Pass = ("batch_norm_affine", batch_norm_affine::run);

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
    /// Paths of linear layers behind LayerNorm whose biases stay, because in the norm's null direction they would push the rows of the weights out of
    /// their range: [`row_shifts`] says how far.
    pub biases_that_stay: BTreeSet<String>,
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
            biases_that_stay: BTreeSet::new(),
        }
    }
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

/// Is shown the graph after each pass, with the pass's name.
pub type Witness<'a> = dyn FnMut(&'static str, &Graph) + 'a;

/// The deploy form of a paper graph, and what each pass did.
pub fn deploy(graph: &Graph) -> (Graph, Vec<PassReport>) {
    deploy_witnessed(graph, &mut |_, _| ())
}

/// [`deploy`], with a witness.
pub fn deploy_witnessed(graph: &Graph, witness: &mut Witness<'_>) -> (Graph, Vec<PassReport>) {
    let mut pipeline = Pipeline::new(graph.clone(), witness);
    // How many passes in a row found nothing.
    let mut idle = 0;
    for &(name, pass) in DEPLOY.iter().cycle() {
        idle = if pipeline.apply(name, pass) == 0 { idle + 1 } else { 0 };
        if idle == DEPLOY.len() {
            break;
        }
    }
    pipeline.apply(FINISH.0, FINISH.1);
    pipeline.finish(Stage::Deploy)
}

/// A deploy graph spelled for a target, and what each pass did.
pub fn lower(graph: &Graph, target: &Target, options: &LowerOptions) -> (Graph, Vec<PassReport>) {
    lower_witnessed(graph, target, options, &mut |_, _| ())
}

/// [`lower`], with a witness.
pub fn lower_witnessed(
    graph: &Graph,
    target: &Target,
    options: &LowerOptions,
    witness: &mut Witness<'_>,
) -> (Graph, Vec<PassReport>) {
    let target = &Target { attention: options.attention.unwrap_or(target.attention), ..target.clone() };
    let mut pipeline = Pipeline::new(graph.clone(), witness);
    if target.attention == AttentionForm::Operator {
        pipeline.apply("fold_attention_scale", |g| fold_attention_scale::towards(g, |d| (d as f64).powf(-0.5)));
    }
    pipeline.apply("lower_spectral", |g| lower_spectral::run(g, target, options));
    pipeline.apply("widen_depthwise", |g| widen_depthwise::run(g, target, options));
    pipeline.apply("multiply_out", |g| multiply_out::run(g, target, options));
    pipeline.apply("fuse_linear_chains", |g| fuse_linear_chains::run(g, target, options));
    pipeline.apply("merge_towers", |g| merge_towers::run(g, target));
    pipeline.apply("fuse_talking_heads", |g| fuse_talking_heads::run(g, target, options));
    pipeline.apply("pad_heads", |g| pad_heads::run(g, target));
    pipeline.apply("null_direction", |g| null_direction::run(g, target, options));
    pipeline.apply("lower_channels_last", |g| lower_channels_last::run(g, target, options));
    pipeline.apply("merge_siblings", |g| merge_siblings::run(g, target));
    pipeline.apply("lower_tokens", |g| lower_tokens::run(g, target));
    pipeline.apply("pool_first", |g| pool_first::run(g, target, options));
    pipeline.apply("stream_weights", |g| stream_weights::run(g, target, options));
    pipeline.apply("lower_attention", |g| lower_attention::run(g, target));
    pipeline.apply("lower_windows", |g| lower_windows::run(g, target));
    pipeline.apply("lower_norms", |g| lower_norms::run(g, target));
    pipeline.apply("spell", |g| spell::run(g, target));
    pipeline.apply("merge_constant_sums", merge_constant_sums::run);
    pipeline.apply("cancel_movement", cancel_movement::run);
    pipeline.apply("merge_sums", |g| merge_sums::run(g, target));
    pipeline.apply("common_subexpressions", common_subexpressions::run);
    pipeline.apply("keep_tables", |g| keep_tables::run(g, options));
    pipeline.apply("precision", |g| precision::run(g, target, options));
    pipeline.apply("name_constants", name_constants::run);
    pipeline.finish(Stage::Target)
}

/// Whether a node only lays the same elements out differently.
fn is_move(node: &Node) -> bool {
    matches!(node.op, Op::Transpose { .. } | Op::Reshape { .. })
}

/// A graph on its way through a list of passes.
struct Pipeline<'w, 'f> {
    graph: Graph,
    report: Vec<PassReport>,
    witness: &'w mut Witness<'f>,
}

impl<'w, 'f> Pipeline<'w, 'f> {
    fn new(graph: Graph, witness: &'w mut Witness<'f>) -> Self {
        Pipeline { graph, report: Vec::new(), witness }
    }

    /// Run a pass and return its number of rewrites. A repetition that finds nothing is not reported.
    fn apply(&mut self, pass: &'static str, run: impl FnOnce(&Graph) -> Rewritten) -> usize {
        let count_of = |g: &Graph| (g.run_time_nodes().count(), g.run_time_nodes().filter(|(_, n)| is_move(n)).count());
        let (before, moves_before) = count_of(&self.graph);
        let Rewritten { graph, count, notes } = run(&self.graph);
        if count > 0 {
            self.graph = graph.pruned();
            (self.witness)(pass, &self.graph);
        }
        let (after, moves_after) = count_of(&self.graph);
        if count > 0 || self.report.iter().all(|r| r.pass != pass) {
            self.report.push(PassReport { pass, count, before, after, moves: [moves_before, moves_after], notes });
        }
        count
    }

    fn finish(mut self, stage: Stage) -> (Graph, Vec<PassReport>) {
        self.graph.stage = stage;
        (self.graph, self.report)
    }
}
