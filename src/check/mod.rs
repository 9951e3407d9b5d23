//! The check: does the artifact compute what the model computes?
//!
//! The reference is the paper graph with the defining expansions of its high-level operators, no pass applied, in f32. The candidate is the
//! artifact as it lies on disk: an ONNX file as it is, a CoreML package through a reader that shares nothing with the writer. Both run in
//! tract on the same inputs and are compared value by value.
//!
//! So a check proves the passes and the exporters. It does not prove that the architecture is the one that was trained: that is what
//! comparing with values from outside ([`against`]) and the golden tests do.
//!
//! Invariants: nothing here looks at how the artifact was made; the reference never passes through `vitc-passes`; arithmetic is f32, f16 values
//! are rounded one by one ([`mod@half`]).

pub mod bounds;
pub mod compare;
mod cut;
mod define;
mod half;
pub mod inputs;
pub(crate) mod layers;
mod layout;
mod memory;
pub mod npy;
pub mod report;
mod side;
mod spell;
#[cfg(test)]
mod tests;
pub mod tract;

pub use inputs::Synthetic;
pub use report::{CheckReport, Difference, Layer, LayerError, Layers, Run};

use compare::{compare, softmax};
use cut::Bottleneck;
use layers::Pair;
use layout::Layout;
use npy::{Array, NpyError};
use side::Side;
use std::path::Path;
use tract::{Model, Named, Piece, Request, Values};
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::{DType, Dim, Graph, Weights};

/// A check could not be made. A check that was made and failed is a [`CheckReport`].
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The artifact cannot be read.
    #[error("cannot read the artifact: {0}")]
    Artifact(String),
    /// tract could not load or run one of the two.
    #[error("cannot run the {side}: {what}")]
    Run {
        /// `reference` or `artifact`.
        side: &'static str,
        /// What went wrong.
        what: String,
    },
    /// Artifact and model differ in their inputs or outputs.
    #[error("the artifact's interface is not the model's: {0}")]
    Interface(String),
    /// The user's array does not fit.
    #[error("{0}")]
    Input(String),
    /// A `.npy` file could not be read or written.
    #[error(transparent)]
    Npy(#[from] NpyError),
}

/// How much of a model is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// The whole model on every input.
    #[default]
    Full,
    /// Stem, head, and the first and last block of each stage, each on noise.
    Quick,
}

/// What a check is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the model wants its pixels, and whether the artifact makes them so itself; `None` for pixels in 0..1 as they are.
    pub preprocessing: Option<Preprocessing>,
    /// The artifact answers with probabilities. Packages that classify say so themselves.
    pub probabilities: bool,
    /// An input of the user, as the artifact takes it, beside the synthetic ones.
    pub input: Option<Array>,
    /// How much is checked.
    pub effort: Effort,
    /// Look at every value inside the model too: its size, and its distance from the reference's.
    pub layers: bool,
    /// Folder for inputs and reference outputs, as `.npy` and raw f32.
    pub save_io: Option<std::path::PathBuf>,
    /// Bytes that the check may use; `None` asks the system.
    pub memory: Option<u64>,
}

impl Options {
    /// A full check of an artifact that answers with scores.
    pub fn new(preprocessing: Option<Preprocessing>) -> Self {
        Options {
            preprocessing,
            probabilities: false,
            input: None,
            effort: Effort::Full,
            layers: false,
            save_io: None,
            memory: None,
        }
    }
}

/// Batches at which an artifact with a symbolic batch is checked.
const DYNAMIC: [usize; 2] = [1, 3];

/// Weights above this many bytes are checked one side after the other.
const LARGE: u64 = 512 << 20;

/// Constants above this many bytes do not go into one model in memory: a protobuf message ends at 2 GiB.
const LIMIT: u64 = 2000 << 20;

/// An input in the form that each side takes.
struct Case {
    name: String,
    synthetic: bool,
    batch: usize,
    reference: Vec<f32>,
    candidate: Vec<f32>,
}

/// Check an artifact against its model's paper graph.
///
/// # Errors
/// If one of the two cannot be read or run, or their interfaces differ.
pub fn check(
    paper: &Graph,
    weights: &dyn Weights,
    artifact: &Path,
    options: &Options,
) -> Result<CheckReport, CheckError> {
    let reference = Side::Graph { graph: vitc_ir::expand::expand(paper), weights };
    let candidate = Side::artifact(artifact)?;
    let mut options = options.clone();
    if let Side::Package { image, classifier, .. } = candidate {
        let inside = options.preprocessing.as_ref().is_some_and(|p| p.normalised_inside);
        if image != inside {
            let what = if image { "takes a picture" } else { "takes an array, not a picture" };
            return Err(CheckError::Interface(format!("it {what}, and its metadata say otherwise")));
        }
        options.probabilities |= classifier;
    }
    let Some((_, input)) = paper.inputs().next() else {
        return Err(CheckError::Interface("the model has no input".into()));
    };
    let shape = &input.types[0].shape;
    let batches = match (shape.0.first(), &options.input) {
        (Some(Dim::Batch(_)), Some(user)) => {
            let mut batches = DYNAMIC.to_vec();
            batches.extend(user.shape.first().filter(|n| !DYNAMIC.contains(n)));
            batches
        }
        (Some(Dim::Batch(_)), None) => DYNAMIC.to_vec(),
        _ => vec![1],
    };
    let shape_at = |batch: usize| shape.at(batch);
    if let Some(user) = &options.input
        && !batches.iter().any(|&b| shape_at(b) == user.shape)
    {
        return Err(CheckError::Input(format!("the input has shape {:?}, the model takes {shape}", user.shape)));
    }

    let Side::Graph { graph, .. } = &reference else { unreachable!("the reference is a graph") };
    let held = memory::constants(graph);
    let cuts = cut::of_graph(graph);
    let largest = batches.iter().copied().max().unwrap_or(1) as u64;
    let peak = cuts.iter().map(|c| c.peak as u64 * largest).max().unwrap_or(0);
    let need = memory::one_side(held, peak);
    let available = options.memory.or_else(memory::available).unwrap_or(u64::MAX);
    // The reference becomes a model in memory, which the format limits.
    let cut_up = need > available || held > LIMIT;

    let mut found = Found::default();
    for &batch in &batches {
        let cases = cases(&options, &shape_at(batch), batch);
        if options.effort == Effort::Quick || cut_up {
            let pairs = common(&reference, &cuts, &candidate.bottlenecks()?, batch)?;
            if pairs.is_empty() && options.effort == Effort::Full {
                return Err(CheckError::Run {
                    side: "reference",
                    what: format!(
                        "needs {} MiB, {} are free, and the model has no place to cut it",
                        need >> 20,
                        available >> 20
                    ),
                });
            }
            pieces(&reference, &candidate, &pairs, batch, &cases, &options, &mut found)?;
        } else {
            let together = held < LARGE && need.saturating_mul(2) < available;
            whole(&reference, &candidate, together, batch, &cases, &options, &mut found)?;
        }
    }
    let Found { runs, half, defined, mut notes, failed } = found;
    if defined > 0 {
        notes.push(format!(
            "tract does not know Attention: {defined} nodes ran by their definition in ONNX's operator list"
        ));
    }
    if cut_up && options.effort == Effort::Full {
        let why = match need > available {
            true => format!("{} MiB are needed and {} free", need >> 20, available >> 20),
            false => format!("{} MiB of constants are more than one model in memory can hold", held >> 20),
        };
        notes.insert(0, format!("checked in pieces, each on the reference's own values, because {why}"));
    }
    let passed = runs.iter().all(|r| r.passed);
    let every = memory::one_side(held, memory::values(paper));
    let together = held < LARGE && every.saturating_mul(2) < available;
    let mut first_difference = None;
    if let Some((batch, input, target)) = failed
        && every < available
    {
        let pair = Pair::new(&reference, &candidate, batch, together)?;
        first_difference = pair.first_difference([&input, &target])?;
    }
    let mut layers = None;
    if options.layers && options.effort == Effort::Full {
        if every < available {
            let pair = Pair::new(&reference, &candidate, batches[0], together)?;
            layers = Some(pair.layers(&cases(&options, &shape_at(batches[0]), batches[0]))?);
        } else {
            let [need, free] = [every, available].map(|bytes| bytes >> 20);
            notes.push(format!("no figures per layer: they need {need} MiB, and {free} are free"));
        }
    }
    let precision = if half { "f16" } else { "f32" };
    Ok(CheckReport { passed, precision, runs, first_difference, layers, notes })
}

/// What the runs found.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    half: bool,
    /// Operators that ran by their definition.
    defined: usize,
    notes: Vec<String>,
    /// Batch and the two inputs of the first failed run of a whole model.
    failed: Option<(usize, Vec<f32>, Vec<f32>)>,
}

/// What is kept of a model that ran, so that the next one has its memory.
struct Facts {
    shape: Vec<usize>,
    half: bool,
    defined: usize,
}

/// Largest value of a pixel that an artifact normalises itself; pixels are whole numbers then.
const WHITE: f32 = 255.0;

/// The inputs for one batch. The reference always gets normalised values: normalising is part of what is checked.
fn cases(options: &Options, shape: &[usize], batch: usize) -> Vec<Case> {
    let preprocessing = options.preprocessing.as_ref();
    let inside = preprocessing.is_some_and(|p| p.normalised_inside);
    let make = |name: String, synthetic, given: Vec<f32>| {
        let reference = match inside {
            true => inputs::normalise(&given.iter().map(|p| p / WHITE).collect::<Vec<_>>(), shape, preprocessing),
            false => given.clone(),
        };
        Case { name, synthetic, batch, reference, candidate: given }
    };
    let synthetic = |s: &Synthetic| {
        let pixels = s.pixels(shape);
        make(
            s.name(),
            true,
            match inside {
                true => pixels.iter().map(|p| (p * WHITE).round()).collect(),
                false => inputs::normalise(&pixels, shape, preprocessing),
            },
        )
    };
    let given = options.input.as_ref().filter(|u| u.shape == shape);
    let given = given.map(|user| make("given".into(), false, user.data.clone()));
    Synthetic::ALL.iter().map(synthetic).chain(given).collect()
}

/// Run both sides as they are.
fn whole(
    reference: &Side<'_>,
    candidate: &Side<'_>,
    together: bool,
    batch: usize,
    cases: &[Case],
    options: &Options,
    found: &mut Found,
) -> Result<(), CheckError> {
    type Ran = Result<(Facts, Vec<Vec<Named>>), CheckError>;
    let run = |side: &Side<'_>, input: fn(&Case) -> &[f32]| -> Ran {
        let model = side.load(Request::outputs(batch))?;
        let expected = input(&cases[0]).len();
        if model.input_shape().iter().product::<usize>() != expected {
            let what = format!("its input has shape {:?}, the model's has {expected} elements", model.input_shape());
            return Err(CheckError::Interface(what));
        }
        let results = cases.iter().map(|c| run(side, &model, input(c))).collect::<Result<_, _>>()?;
        let facts = Facts { shape: model.input_shape().to_vec(), half: model.is_half(), defined: model.defined() };
        Ok((facts, results))
    };
    let (first, second) = if together {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run(candidate, |c| &c.candidate));
            let first = run(reference, |c| &c.reference);
            (first, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    } else {
        (run(reference, |c| &c.reference), run(candidate, |c| &c.candidate))
    };
    let ((Facts { shape, .. }, wanted), (Facts { half, defined, .. }, got)) = (first?, second?);
    found.half |= half;
    found.defined = defined;
    for (case, (wanted, got)) in cases.iter().zip(wanted.iter().zip(&got)) {
        let wanted = &as_answered(wanted, options.probabilities);
        if let Some(folder) = &options.save_io {
            save(folder, case, &shape, wanted, got)?;
        }
        let passed = outcome(case, wanted, got, half, false, &mut found.runs)?;
        if !passed && found.failed.is_none() {
            found.failed = Some((batch, case.reference.clone(), case.candidate.clone()));
        }
    }
    Ok(())
}

fn run(side: &Side<'_>, model: &Model, input: &[f32]) -> Result<Vec<Named>, CheckError> {
    model.run(input).map_err(|e| CheckError::Run { side: side.name(), what: e.what })
}

/// Length of one image's scores; 0 for maps, which are no scores.
fn row_of(value: &Named) -> usize {
    if value.shape.len() == 2 { value.shape[1] } else { 0 }
}

/// What the artifact should answer, from what the model returns.
fn as_answered(scores: &[Named], probabilities: bool) -> Vec<Named> {
    let answer = |v: &Named| match probabilities {
        true => Named { data: softmax(&v.data, row_of(v)), ..v.clone() },
        false => v.clone(),
    };
    scores.iter().map(answer).collect()
}

/// Compare the outputs of one run; `inner` values are not the model's.
fn outcome(
    case: &Case,
    wanted: &[Named],
    got: &[Named],
    half: bool,
    inner: bool,
    runs: &mut Vec<Run>,
) -> Result<bool, CheckError> {
    if wanted.len() != got.len() {
        return Err(CheckError::Interface(format!("it has {} outputs, the model has {}", got.len(), wanted.len())));
    }
    let precision = if half { DType::F16 } else { DType::F32 };
    let mut passed = true;
    for (w, g) in wanted.iter().zip(got) {
        if w.data.len() != g.data.len() {
            let what = format!("{} has shape {:?}, the model's {} has {:?}", g.name, g.shape, w.name, w.shape);
            return Err(CheckError::Interface(what));
        }
        let row = if inner { 0 } else { row_of(w) };
        let comparison = compare(&w.data, &g.data, row);
        let agrees = bounds::agrees(precision, &comparison);
        passed &= agrees;
        runs.push(Run {
            input: case.name.clone(),
            synthetic: case.synthetic,
            batch: case.batch,
            output: g.name.clone(),
            allowed: bounds::allowed(precision, comparison.max_reference),
            comparison,
            passed: agrees,
        });
    }
    Ok(passed)
}

/// A place where both sides are cut.
struct Cut {
    /// The reference's name.
    reference: String,
    /// The candidate's.
    candidate: String,
    layout: Layout,
}

/// Bottlenecks that both sides have under one name, in a layout that can be told, in order.
fn common(
    reference: &Side<'_>,
    cuts: &[Bottleneck],
    candidate: &[Bottleneck],
    batch: usize,
) -> Result<Vec<Cut>, CheckError> {
    let spelled: std::collections::HashMap<String, &Bottleneck> =
        candidate.iter().filter(|b| !b.name.is_empty()).map(|b| (layers::key(&b.name), b)).collect();
    let mut found = Vec::new();
    for cut in cuts.iter().filter(|b| !b.name.is_empty()) {
        let Some(other) = spelled.get(&layers::key(&cut.name)) else { continue };
        if let Some(layout) = Layout::between(&shape_of(reference, &cut.name, batch)?, &other.dims, batch) {
            found.push(Cut { reference: cut.name.clone(), candidate: other.name.clone(), layout });
        }
    }
    Ok(found)
}

/// Run both sides piece by piece. In a full check each piece reads what the reference computed; in a quick one, noise.
fn pieces(
    reference: &Side<'_>,
    candidate: &Side<'_>,
    cuts: &[Cut],
    batch: usize,
    cases: &[Case],
    options: &Options,
    found: &mut Found,
) -> Result<(), CheckError> {
    let quick = options.effort == Effort::Quick;
    let cases = if quick { &cases[..1] } else { cases };
    let chosen = if quick { chosen(cuts) } else { (0..=cuts.len()).collect() };
    if quick {
        found.notes.push(format!("quick check: {} of {} pieces, each on its own", chosen.len(), cuts.len() + 1));
    }
    // What each piece starts from, per case: the reference's own values.
    let mut states: Vec<Vec<f32>> = cases.iter().map(|c| c.reference.clone()).collect();
    for i in chosen {
        let start = (i > 0).then(|| &cuts[i - 1]);
        let end = cuts.get(i);
        if quick && let Some(start) = start {
            // Uniform noise of unit variance: what a residual stream looks like to its next block.
            let noise = Synthetic::Noise { seed: i as u64 }.pixels(&start.layout.reference);
            states = vec![noise.iter().map(|p| (p - 0.5) * 12f32.sqrt()).collect()];
        }
        let of_reference = Piece {
            from: start.map(|c| (c.reference.clone(), c.layout.reference.clone())),
            to: end.map(|c| c.reference.clone()),
        };
        let of_candidate = Piece {
            from: start.map(|c| (c.candidate.clone(), c.layout.candidate.clone())),
            to: end.map(|c| c.candidate.clone()),
        };
        let request = |piece| Request { batch, values: Values::Outputs, piece: Some(piece) };
        let wanted: Vec<Vec<Named>> = {
            let model = reference.load(request(&of_reference))?;
            states.iter().map(|s| run(reference, &model, s)).collect::<Result<_, _>>()?
        };
        let model = candidate.load(request(&of_candidate))?;
        found.half |= model.is_half();
        found.defined += model.defined();
        for ((case, state), wanted) in cases.iter().zip(&states).zip(&wanted) {
            let mut got = match start {
                Some(start) => run(candidate, &model, &start.layout.to_candidate(state))?,
                None => run(candidate, &model, &case.candidate)?,
            };
            if let (Some(end), [value]) = (end, &mut got[..])
                && value.shape == end.layout.candidate
            {
                value.data = end.layout.to_reference(&value.data);
            }
            let inner = end.is_some();
            let wanted = as_answered(wanted, options.probabilities && !inner);
            outcome(case, &wanted, &got, model.is_half(), inner, &mut found.runs)?;
        }
        if end.is_some() {
            states = wanted.into_iter().map(|mut values| values.swap_remove(0).data).collect();
        }
    }
    Ok(())
}

/// The pieces of a quick check: the first and last of each stage, with stem and head.
fn chosen(cuts: &[Cut]) -> Vec<usize> {
    let stage = |i: usize| cuts.get(i).map(|c| c.reference.split('.').take(2).collect::<Vec<_>>().join("."));
    let last = cuts.len();
    (0..=last).filter(|&i| i == 0 || i == last || stage(i) != stage(i - 1) || stage(i) != stage(i + 1)).collect()
}

/// Dimensions of a value of the reference.
fn shape_of(side: &Side<'_>, name: &str, batch: usize) -> Result<Vec<usize>, CheckError> {
    let Side::Graph { graph, .. } = side else { unreachable!("the reference is a graph") };
    let id = graph.find(name).unwrap_or_else(|| unreachable!("cuts are named by their nodes"));
    Ok(graph.node(id).types[0].shape.at(batch))
}

/// A comparison with values from outside vitc.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Outside {
    /// Every element is within `atol + rtol·|expected|`.
    pub passed: bool,
    /// Elements outside that bound.
    pub outside: usize,
    /// What was found.
    #[serde(flatten)]
    pub comparison: compare::Comparison,
}

/// An artifact that is ready to run.
pub struct Runner {
    side: Side<'static>,
    model: Model,
}

impl Runner {
    /// The artifact at `path`, for a batch of `batch` where it leaves that open.
    ///
    /// # Errors
    /// If it cannot be read, or tract cannot run it.
    pub fn open(path: &Path, batch: usize) -> Result<Runner, CheckError> {
        let side = Side::artifact(path)?;
        let model = side.load(Request::outputs(batch))?;
        Ok(Runner { side, model })
    }

    /// Dimensions of the input.
    pub fn input_shape(&self) -> &[usize] {
        self.model.input_shape()
    }

    /// The outputs for one input of [`Runner::input_shape`]; at least one.
    ///
    /// # Errors
    /// If the number of elements differs, an operator fails, or there is no output.
    pub fn run(&self, input: &[f32]) -> Result<Vec<Named>, CheckError> {
        let values = run(&self.side, &self.model, input)?;
        if values.is_empty() {
            return Err(CheckError::Interface("it has no output".into()));
        }
        Ok(values)
    }
}

/// Run an artifact on an input and compare its first output with expected values, element by element: |got − expected| ≤ atol + rtol·|expected|.
///
/// # Errors
/// If the artifact cannot be read or run, or the arrays do not fit it.
pub fn against(artifact: &Path, input: &Array, expected: &Array, atol: f64, rtol: f64) -> Result<Outside, CheckError> {
    let runner = Runner::open(artifact, input.shape.first().copied().unwrap_or(1))?;
    if runner.input_shape() != input.shape {
        let what = format!("the input has shape {:?}, the artifact takes {:?}", input.shape, runner.input_shape());
        return Err(CheckError::Input(what));
    }
    let got = runner.run(&input.data)?.swap_remove(0);
    if got.data.len() != expected.data.len() {
        let what = format!("the expected values have shape {:?}, the artifact answers {:?}", expected.shape, got.shape);
        return Err(CheckError::Input(what));
    }
    let comparison = compare(&expected.data, &got.data, row_of(&got));
    let within = |(&e, &g): (&f32, &f32)| (f64::from(g) - f64::from(e)).abs() <= atol + rtol * f64::from(e).abs();
    let outside = expected.data.iter().zip(&got.data).filter(|&pair| !within(pair)).count();
    Ok(Outside { passed: outside == 0, outside, comparison })
}

/// Write one case's input and reference outputs, these under the names that the artifact gives them.
fn save(folder: &Path, case: &Case, shape: &[usize], outputs: &[Named], answers: &[Named]) -> Result<(), CheckError> {
    let io = |path: &Path, source| NpyError::Io { path: path.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
    let words: Vec<&str> = case.name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let stem = format!("{}-b{}", words.join("-"), case.batch);
    let input = Named { name: "input".into(), shape: shape.to_vec(), data: case.candidate.clone() };
    let names = std::iter::once(&input).chain(answers).map(|v| &v.name);
    for (value, name) in std::iter::once(&input).chain(outputs).zip(names) {
        let path = folder.join(format!("{stem}.{name}.npy"));
        npy::write(&path, &value.shape, &value.data)?;
        let raw = path.with_extension("raw");
        let bytes: Vec<u8> = value.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&raw, bytes).map_err(|e| io(&raw, e))?;
    }
    Ok(())
}
