//! Runs lists of passes.
//!
//! A list is walked once, or until it has come to rest. Rest is bounded: a list whose passes keep making work for each other stops with an error that names them.
//! After each pass that changed something the graph is pruned and shown to the observer.

use crate::canonical::CANONICAL;
use crate::deploy::{DEPLOY, REST};
use crate::lower::PRECISION;
use crate::note::Note;
use crate::pass::{Context, LowerOptions, Pass, PassError, Result, Rewritten};
use crate::{coreai, coreml, ort, tensorrt};
use vitc_ir::target::Format;
use vitc_ir::{Graph, Node, Op, Stage, Target};

/// How often a list that repeats may be walked. Models of all families come to rest within 5 walks.
const FUEL: usize = 64;

/// What one run of a pass did.
#[derive(Debug, Clone, PartialEq)]
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
    /// What the pass had to say.
    pub notes: Vec<Note>,
}

/// A graph, and what each pass did to it.
pub type Run = (Graph, Vec<PassReport>);

/// Is shown the graph after each pass that changed it, with the pass's name.
pub type Observer<'a> = dyn FnMut(&'static str, &Graph) + 'a;

/// The deploy form of a paper graph.
///
/// # Errors
/// If a pass cannot rewrite the graph, or the passes do not come to rest.
pub fn deploy(graph: &Graph) -> Result<Run> {
    deploy_observed(graph, &mut |_, _| ())
}

/// [`deploy`], observed.
///
/// # Errors
/// As [`deploy`].
pub fn deploy_observed(graph: &Graph, observer: &mut Observer<'_>) -> Result<Run> {
    let context = Context::independent();
    let mut pipeline = Pipeline::new(graph, &context, observer);
    pipeline.rest(DEPLOY)?;
    pipeline.once(REST)?;
    Ok(pipeline.finish(Stage::Deploy))
}

/// A deploy graph spelled for a target.
///
/// # Errors
/// If a pass cannot rewrite the graph.
pub fn lower(graph: &Graph, target: &Target, options: &LowerOptions) -> Result<Run> {
    lower_observed(graph, &Context::new(target, options), &mut |_, _| ())
}

/// [`lower`] under a context with decisions, observed.
///
/// # Errors
/// As [`lower`].
pub fn lower_observed(graph: &Graph, context: &Context, observer: &mut Observer<'_>) -> Result<Run> {
    let mut pipeline = Pipeline::new(graph, context, observer);
    for list in lowering(&context.target) {
        pipeline.once(list)?;
    }
    Ok(pipeline.finish(Stage::Target))
}

/// One rewrite that is in no list, reported as `pass`.
pub(crate) fn observed(
    pass: &'static str,
    graph: &Graph,
    observer: &mut Observer<'_>,
    run: impl FnOnce(&Graph) -> Result<Rewritten>,
) -> Result<Run> {
    let (before, moves_before) = counts(graph);
    let Rewritten { graph, count, notes } = run(graph).map_err(|e| PassError { pass: pass.into(), ..e })?;
    let graph = graph.pruned();
    observer(pass, &graph);
    let (after, moves_after) = counts(&graph);
    let report = PassReport { pass, count, before, after, moves: [moves_before, moves_after], notes };
    Ok((graph, vec![report]))
}

/// The part of a lowering that changes values: every pass in front of the one that gives values their element types.
///
/// # Errors
/// As [`lower`].
pub fn lower_values(graph: &Graph, context: &Context, observer: &mut Observer<'_>) -> Result<Run> {
    let mut pipeline = Pipeline::new(graph, context, observer);
    let passes = lowering(&context.target).iter().flat_map(|list| list.iter());
    for pass in passes.take_while(|p| p.name != PRECISION.name).filter(|p| (p.when)(&context.target)) {
        pipeline.apply(pass)?;
    }
    let stage = pipeline.graph.stage;
    Ok(pipeline.finish(stage))
}

/// The rest of a lowering, for what [`lower_values`] gave.
///
/// # Errors
/// As [`lower`].
pub fn lower_types(graph: &Graph, context: &Context, observer: &mut Observer<'_>) -> Result<Run> {
    let mut pipeline = Pipeline::new(graph, context, observer);
    let passes = lowering(&context.target).iter().flat_map(|list| list.iter());
    for pass in passes.skip_while(|p| p.name != PRECISION.name).filter(|p| (p.when)(&context.target)) {
        pipeline.apply(pass)?;
    }
    Ok(pipeline.finish(Stage::Target))
}

/// The passes that spell a deploy graph for a target, in order: shared ones, and those of its own folder.
pub fn lowering(target: &Target) -> &'static [&'static [Pass]] {
    match target.format {
        Format::Onnx { .. } => ort::PASSES,
        Format::TensorRt { .. } => tensorrt::PASSES,
        Format::CoreMl { .. } => coreml::PASSES,
        Format::CoreAi { .. } => coreai::PASSES,
    }
}

/// Every pass, each once.
pub fn all() -> Vec<&'static Pass> {
    let lowerings = [ort::PASSES, tensorrt::PASSES, coreml::PASSES, coreai::PASSES].concat();
    let lists = [CANONICAL, DEPLOY, REST].into_iter().chain(lowerings);
    let mut passes: Vec<&Pass> = Vec::new();
    for pass in lists.flatten() {
        if passes.iter().all(|p| p.name != pass.name) {
            passes.push(pass);
        }
    }
    passes
}

/// The pass with this name.
pub fn find(name: &str) -> Option<&'static Pass> {
    all().into_iter().find(|p| p.name == name)
}

/// Run passes in order, each once, whatever the target; the graph keeps its stage.
///
/// # Errors
/// If a pass cannot rewrite the graph.
pub fn run(graph: &Graph, passes: &[&Pass], context: &Context, observer: &mut Observer<'_>) -> Result<Run> {
    let mut pipeline = Pipeline::new(graph, context, observer);
    for pass in passes {
        pipeline.apply(pass)?;
    }
    let stage = pipeline.graph.stage;
    Ok(pipeline.finish(stage))
}

/// Run a list over and over until no pass of it finds anything to do.
///
/// # Errors
/// If a pass cannot rewrite the graph, or the list does not come to rest.
pub fn run_to_rest(graph: &Graph, passes: &[Pass], context: &Context, observer: &mut Observer<'_>) -> Result<Run> {
    let mut pipeline = Pipeline::new(graph, context, observer);
    pipeline.rest(passes)?;
    let stage = pipeline.graph.stage;
    Ok(pipeline.finish(stage))
}

/// A graph on its way through lists of passes.
struct Pipeline<'c, 'w, 'f> {
    graph: Graph,
    context: &'c Context,
    report: Vec<PassReport>,
    observer: &'w mut Observer<'f>,
}

impl<'c, 'w, 'f> Pipeline<'c, 'w, 'f> {
    fn new(graph: &Graph, context: &'c Context, observer: &'w mut Observer<'f>) -> Self {
        Pipeline { graph: graph.clone(), context, report: Vec::new(), observer }
    }

    /// Every pass of a list that suits the target, once.
    fn once(&mut self, passes: &[Pass]) -> Result<()> {
        let target = &self.context.target;
        passes.iter().filter(|p| (p.when)(target)).try_for_each(|pass| self.apply(pass).map(drop))
    }

    /// A list, over and over until as many passes in a row as it has found nothing.
    fn rest(&mut self, passes: &[Pass]) -> Result<()> {
        let mut idle = 0;
        let mut restless = Vec::new();
        for _ in 0..FUEL {
            restless.clear();
            for pass in passes {
                if self.apply(pass)? > 0 {
                    idle = 0;
                    restless.push(pass.name);
                } else {
                    idle += 1;
                }
                if idle == passes.len() {
                    return Ok(());
                }
            }
        }
        let what = format!("still find work after {FUEL} rounds, so one undoes what another does");
        Err(PassError { pass: restless.join(" and "), node: String::new(), what })
    }

    /// Run a pass and return its number of rewrites. A repetition that finds nothing is not reported.
    fn apply(&mut self, pass: &Pass) -> Result<usize> {
        let name = pass.name;
        let ((before, moves_before), named) = (counts(&self.graph), |e| PassError { pass: name.into(), ..e });
        let Rewritten { graph, count, notes } = (pass.run)(&self.graph, self.context).map_err(named)?;
        if count > 0 {
            self.graph = graph.pruned();
            (self.observer)(name, &self.graph);
        }
        let (after, moves_after) = counts(&self.graph);
        if count > 0 || self.report.iter().all(|r| r.pass != name) {
            self.report.push(PassReport {
                pass: name,
                count,
                before,
                after,
                moves: [moves_before, moves_after],
                notes,
            });
        }
        Ok(count)
    }

    fn finish(mut self, stage: Stage) -> Run {
        self.graph.stage = stage;
        (self.graph, self.report)
    }
}

/// Run-time nodes, and transposes and reshapes among them.
fn counts(graph: &Graph) -> (usize, usize) {
    let is_move = |node: &Node| matches!(node.op, Op::Transpose { .. } | Op::Reshape { .. });
    (graph.run_time_nodes().count(), graph.run_time_nodes().filter(|(_, n)| is_move(n)).count())
}
