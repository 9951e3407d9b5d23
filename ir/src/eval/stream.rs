//! The constants of an artifact as bytes: in order, in parallel, under a memory budget.
//!
//! A constant is delivered in pieces, which are computed ahead of the one that is delivered while their bytes fit the budget. What a part of a large
//! constant needs whole is computed while the one before is delivered. So memory stays at the budget, and what two large constants need besides
//! their results. A weight that is stored as it was read is handed on without a copy.
//!
//! Every element is tested on the way out: a NaN, an infinity or an overflow ends the stream with the weight's key
//! and the constant's path.

use super::EvalError;
use super::constants::{Opened, Part, Plan, Root, WIDE_LIMIT};
use super::emit::{ConstantStats, Emission, Emitted, Scan};
use super::expr::Piece;
use super::numbers::Numbers;
use crate::graph::Graph;
use crate::id::Value;
use crate::ty::DType;
use rayon::Scope;
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of pieces in flight that keep every core busy while a file is written; more only costs memory.
const BUDGET: usize = 8 << 20;

/// Elements of a piece, or a few more: enough that starting it costs nothing, few enough that it stays in a cache until it is written.
const PIECE: usize = 1 << 18;

/// What a stream delivered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamReport {
    /// One entry per value, in order.
    pub constants: Vec<ConstantStats>,
}

impl StreamReport {
    /// All constants together: sums, and the largest magnitudes.
    pub fn total(&self) -> ConstantStats {
        self.constants.iter().copied().fold(ConstantStats::default(), ConstantStats::join)
    }
}

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError<E> {
    /// A constant could not be computed or does not fit its type.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The receiver failed.
    #[error("{0}")]
    Sink(E),
}

/// Takes each constant in pieces: the constant's position in the list asked for, where the piece begins in its bytes, and the piece.
pub type Sink<'a, E> = dyn FnMut(usize, usize, &[u8]) -> Result<(), E> + 'a;

/// Compute the constants `values` and hand each to `sink` once, in order: the little-endian bytes of its elements in its declared type, row-major,
/// in one or several pieces, in order and one at least. Memory is bounded as the module says.
///
/// # Errors
/// The first failure in the order of `values`: a weight that is missing or not finite, an overflow, or what `sink`
/// returned.
pub fn stream<'a, E>(
    graph: &'a Graph,
    numbers: impl Into<Numbers<'a>>,
    values: &[Value],
    sink: &mut Sink<'_, E>,
) -> Result<StreamReport, StreamError<E>> {
    stream_with(graph, numbers.into(), values, Limits { budget: BUDGET, piece: PIECE, wide: WIDE_LIMIT }, sink)
}

/// What bounds memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of pieces in flight.
    pub(super) budget: usize,
    /// Least number of elements of a piece that is not a part's last.
    pub(super) piece: usize,
    /// Bytes of f64 above which a value is not kept in f64.
    pub(super) wide: usize,
}

/// [`stream`] within other limits.
pub(super) fn stream_with<E>(
    graph: &Graph,
    numbers: Numbers<'_>,
    values: &[Value],
    limits: Limits,
    sink: &mut Sink<'_, E>,
) -> Result<StreamReport, StreamError<E>> {
    if let Some(&v) = values.iter().find(|&&v| !graph.is_constant(v)) {
        return Err(EvalError::NotConstant { path: graph.value_name(v) }.into());
    }
    let (plan, roots) = Plan::new(graph, numbers, values, limits.wide);
    if let Some(path) = torn(graph, values, &roots) {
        let what = "joins parts of 4-bit elements that do not fill whole bytes".to_string();
        return Err(EvalError::Operator { path, what }.into());
    }
    let jobs = jobs(graph, values, &roots, limits.piece);
    let emission = Emission::new(graph, numbers.weights, plan);
    let cancelled = AtomicBool::new(false);
    let mut scans = vec![Scan::default(); values.len()];
    rayon::in_place_scope(|scope| {
        let mut ahead = Ahead::new(scope, &emission, &jobs, &cancelled, limits.budget);
        for (j, job) in jobs.iter().enumerate() {
            for (p, piece) in job.pieces.iter().enumerate() {
                let emitted = ahead.next((j, p))?;
                let scan = &mut scans[job.value];
                *scan = scan.join(emitted.scan);
                if scan.bad {
                    return Err(StreamError::Eval(emission.explain(values[job.value], *scan)));
                }
                let at = job.dtype.bytes_of(job.before + piece.start);
                sink(job.value, at, emitted.bytes()).map_err(StreamError::Sink)?;
                ahead.delivered((j, p), emitted);
            }
        }
        Ok(())
    })?;
    Ok(StreamReport { constants: scans.into_iter().map(|s| s.stats).collect() })
}

/// A part of a value, and the pieces that it is delivered in.
struct Job<'p> {
    /// Position of the value in the list asked for.
    value: usize,
    dtype: DType,
    part: &'p Part,
    /// Elements of the value before the part.
    before: usize,
    pieces: Vec<Piece>,
}

impl Job<'_> {
    /// Whether what the part needs whole is computed by a task of its own.
    fn is_large(&self) -> bool {
        self.pieces.len() > 1
    }

    /// Bytes that a piece holds until it is delivered.
    fn cost(&self, piece: usize) -> usize {
        let result = self.dtype.bytes_of(self.pieces[piece].elements);
        if self.is_large() { result } else { result + self.part.working_bytes }
    }
}

/// A value one of whose parts begins inside a byte.
fn torn(graph: &Graph, values: &[Value], roots: &[Root]) -> Option<String> {
    let odd = |root: &Root| root.parts.len() > 1 && root.parts.iter().any(|p| p.program.elements() % 2 == 1);
    let torn = values.iter().zip(roots).find(|(v, root)| graph.ty(**v).dtype.bits() < 8 && odd(root));
    torn.map(|(&v, _)| graph.value_name(v))
}

/// The parts of all values, in order.
fn jobs<'p>(graph: &Graph, values: &[Value], roots: &'p [Root], piece: usize) -> Vec<Job<'p>> {
    let mut jobs = Vec::new();
    for (value, root) in roots.iter().enumerate() {
        let mut before = 0;
        for part in &root.parts {
            let dtype = graph.ty(values[value]).dtype;
            // Elements of less than a byte come in one piece, so that no byte is torn.
            let pieces = part.program.pieces(if dtype.bits() < 8 { usize::MAX } else { piece });
            jobs.push(Job { value, dtype, part, before, pieces });
            before += part.program.elements();
        }
    }
    jobs
}

/// A job and one of its pieces.
type Place = (usize, usize);

/// What a task sends when it is done.
enum Done<'e, 'a> {
    /// What the job needs whole is there.
    Opened(usize, Arc<Opened<'e, 'a>>),
    /// The piece is there, or cannot be.
    Emitted(Place, Result<Emitted<'a>, EvalError>),
    /// The task met a mistake in this program.
    Panicked(Box<dyn Any + Send>),
}

/// The tasks ahead of what is delivered. Two large jobs at most are begun.
struct Ahead<'s, 'e, 'a> {
    scope: &'s Scope<'e>,
    emission: &'e Emission<'a>,
    jobs: &'e [Job<'e>],
    cancelled: &'e AtomicBool,
    budget: usize,
    /// Bytes of pieces in flight.
    waiting: usize,
    /// Jobs that are begun, from the first on, and how many of them are large and not delivered.
    begun: usize,
    large: usize,
    /// Large jobs whose pieces can be started, and the first piece that is not.
    opened: HashMap<usize, Arc<Opened<'e, 'a>>>,
    piece: Place,
    /// Pieces that wait for their turn.
    early: HashMap<Place, Result<Emitted<'a>, EvalError>>,
    sender: Sender<Done<'e, 'a>>,
    receiver: Receiver<Done<'e, 'a>>,
}

impl<'s, 'e, 'a: 'e> Ahead<'s, 'e, 'a> {
    fn new(
        scope: &'s Scope<'e>,
        emission: &'e Emission<'a>,
        jobs: &'e [Job<'e>],
        cancelled: &'e AtomicBool,
        budget: usize,
    ) -> Self {
        let (sender, receiver) = channel();
        Ahead {
            scope,
            emission,
            jobs,
            cancelled,
            budget,
            waiting: 0,
            begun: 0,
            large: 0,
            opened: HashMap::new(),
            piece: (0, 0),
            early: HashMap::new(),
            sender,
            receiver,
        }
    }

    /// The piece whose turn it is.
    fn next(&mut self, now: Place) -> Result<Emitted<'a>, EvalError> {
        loop {
            self.begin(now);
            self.start(now);
            if let Some(emitted) = self.early.remove(&now) {
                return emitted;
            }
            match received(&self.receiver) {
                Done::Opened(job, opened) => drop(self.opened.insert(job, opened)),
                Done::Emitted(place, emitted) => drop(self.early.insert(place, emitted)),
                Done::Panicked(what) => resume_unwind(what),
            }
        }
    }

    /// Begin jobs: what a large one needs whole, all of a small one.
    fn begin(&mut self, now: Place) {
        while let Some(job) = self.jobs.get(self.begun) {
            let free = if job.is_large() { self.large < 2 } else { self.waiting + job.cost(0) <= self.budget };
            if !free && self.begun > now.0 + usize::from(!job.is_large()) {
                break;
            }
            let (at, emission, large) = (self.begun, self.emission, job.is_large());
            self.spawn(move || match emission.open(job.part) {
                Ok(opened) if large => Done::Opened(at, Arc::new(opened)),
                Ok(opened) => Done::Emitted((at, 0), Ok(emission.emit(&opened, &job.pieces[0], job.dtype))),
                Err(e) => Done::Emitted((at, 0), Err(e)),
            });
            self.large += usize::from(large);
            self.waiting += if large { 0 } else { job.cost(0) };
            self.begun += 1;
        }
    }

    /// Start pieces of large jobs, this one and the next always.
    fn start(&mut self, now: Place) {
        while self.piece.0 < self.begun {
            let (at, piece) = self.piece;
            let job = &self.jobs[at];
            if !job.is_large() || piece == job.pieces.len() {
                self.opened.remove(&at); // its pieces keep it as long as they need it
                self.piece = (at + 1, 0);
                continue;
            }
            let Some(opened) = self.opened.get(&at) else { break };
            let cost = job.cost(piece);
            if self.waiting + cost > self.budget && self.piece > (now.0, now.1 + 1) {
                break;
            }
            let (emission, opened) = (self.emission, Arc::clone(opened));
            self.spawn(move || Done::Emitted((at, piece), Ok(emission.emit(&opened, &job.pieces[piece], job.dtype))));
            self.waiting += cost;
            self.piece.1 += 1;
        }
    }

    fn spawn(&self, task: impl FnOnce() -> Done<'e, 'a> + Send + 'e) {
        let (sender, cancelled) = (self.sender.clone(), self.cancelled);
        self.scope.spawn(move |_| {
            if !cancelled.load(Ordering::Relaxed) {
                let done = catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(Done::Panicked);
                // The receiver is gone only if the stream ended early.
                let _ = sender.send(done);
            }
        });
    }

    /// A piece is written.
    fn delivered(&mut self, (at, piece): Place, emitted: Emitted<'a>) {
        let job = &self.jobs[at];
        self.waiting -= job.cost(piece);
        self.large -= usize::from(job.is_large() && piece + 1 == job.pieces.len());
        self.emission.reuse(emitted);
    }
}

/// What was begun in vain, because the stream ended early, is left.
impl Drop for Ahead<'_, '_, '_> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// What the next task sends. A thread of the pool works while it waits; it may be the only one.
fn received<T>(receiver: &Receiver<T>) -> T {
    loop {
        if let Ok(item) = receiver.try_recv() {
            return item;
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            return receiver.recv().expect("every task that was started sends");
        }
    }
}
