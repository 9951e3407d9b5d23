//! The constants of an artifact as bytes: in order, in parallel, under a memory budget.
//!
//! Values are computed ahead of the one that is delivered while their bytes fit the budget, and the next one always: it
//! is computed while the other is written. So memory stays at the budget plus what the two largest constants need. A weight that is stored as it was
//! read is handed on without a copy.
//!
//! Every element is tested on the way out: a NaN, an infinity or an overflow ends the stream with the weight's key
//! and the constant's path.

use super::EvalError;
use super::constants::{Held, Plan, Root, WIDE_LIMIT};
use super::expr::Program;
use super::round::{f16_bits, f16_value};
use super::tensor::Source;
use crate::graph::{Graph, Value};
use crate::op::Op;
use crate::ty::DType;
use crate::weights::{StoredType, Weights};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Bytes of values in flight that keep every core busy while a file is written; more only costs memory.
const BUDGET: usize = 8 << 20;

/// Elements that one thread computes at a time; larger constants are shared between threads.
const PIECE: usize = 1 << 18;

/// Bytes of a buffer that is kept for another value: the allocator gives memory of this size back to the system and has to fetch it anew. Larger
/// ones are rare, and kept they would add to the peak.
const SPARE: std::ops::Range<usize> = 64 << 10..4 << 20;

/// What rounding did to one constant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ConstantStats {
    /// Bytes delivered.
    pub bytes: u64,
    /// Largest magnitude before rounding.
    pub max_before: f64,
    /// Largest magnitude after rounding.
    pub max_after: f64,
    /// f16 elements that are subnormal.
    pub subnormal: u64,
    /// f16 elements that were not zero and became zero.
    pub flushed: u64,
}

impl ConstantStats {
    fn join(self, other: Self) -> Self {
        ConstantStats {
            bytes: self.bytes + other.bytes,
            max_before: self.max_before.max(other.max_before),
            max_after: self.max_after.max(other.max_after),
            subnormal: self.subnormal + other.subnormal,
            flushed: self.flushed + other.flushed,
        }
    }
}

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

/// Takes each constant: its position in the list asked for, its bytes.
pub type Sink<'a, E> = dyn FnMut(usize, &[u8]) -> Result<(), E> + 'a;

/// Compute the constants `values` and hand each to `sink` once, in order: its position in `values` and the
/// little-endian bytes of its elements in its declared type, row-major. At most [`BUDGET`] bytes of values wait for
/// delivery, or two values.
///
/// # Errors
/// The first failure in the order of `values`: a weight that is missing or not finite, an overflow, or what `sink`
/// returned.
pub fn stream<E>(
    graph: &Graph,
    weights: &dyn Weights,
    values: &[Value],
    sink: &mut Sink<'_, E>,
) -> Result<StreamReport, StreamError<E>> {
    stream_with(graph, weights, values, BUDGET, WIDE_LIMIT, sink)
}

/// [`stream`] with another budget and another size from which values are not kept in f64.
pub(super) fn stream_with<E>(
    graph: &Graph,
    weights: &dyn Weights,
    values: &[Value],
    budget: usize,
    limit: usize,
    sink: &mut Sink<'_, E>,
) -> Result<StreamReport, StreamError<E>> {
    if let Some(&v) = values.iter().find(|&&v| !graph.is_constant(v)) {
        return Err(EvalError::NotConstant { path: graph.value_name(v) }.into());
    }
    let (plan, roots) = Plan::new(graph, weights, values, limit);
    let emission = Emission { graph, weights, plan, spare: Mutex::default() };
    let cost = |i: usize| graph.ty(values[i]).bytes() + roots[i].working_bytes;
    let cancelled = AtomicBool::new(false);
    let mut report = StreamReport::default();
    rayon::in_place_scope(|scope| {
        let (sender, receiver) = channel();
        let (mut started, mut waiting) = (0, 0);
        let mut early = HashMap::new();
        for i in 0..values.len() {
            while started < values.len() && (started <= i + 1 || waiting + cost(started) <= budget) {
                let (at, sender): (usize, Sender<_>) = (started, sender.clone());
                let (emission, roots, cancelled) = (&emission, &roots, &cancelled);
                scope.spawn(move |_| {
                    if !cancelled.load(Ordering::Relaxed) {
                        // The receiver is gone only if the stream ended early.
                        let _ = sender.send((at, emission.emit(values[at], &roots[at])));
                    }
                });
                waiting += cost(started);
                started += 1;
            }
            while !early.contains_key(&i) {
                let (at, result) = next(&receiver);
                early.insert(at, result);
            }
            let delivered = match early.remove(&i).expect("it has arrived") {
                Ok(emitted) => match sink(i, emitted.bytes()) {
                    Ok(()) => {
                        emission.reuse(emitted.data);
                        Ok(emitted.stats)
                    }
                    Err(e) => Err(StreamError::Sink(e)),
                },
                Err(e) => Err(StreamError::Eval(e)),
            };
            match delivered {
                Ok(stats) => report.constants.push(stats),
                Err(e) => {
                    cancelled.store(true, Ordering::Relaxed);
                    return Err(e);
                }
            }
            waiting -= cost(i);
        }
        Ok(())
    })?;
    Ok(report)
}

/// The next finished value. A thread of the pool works while it waits; it may be the only one.
fn next<T>(receiver: &Receiver<T>) -> T {
    loop {
        if let Ok(item) = receiver.try_recv() {
            return item;
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            return receiver.recv().expect("every value that was started is sent");
        }
    }
}

/// The bytes of one value.
struct Emitted<'a> {
    data: Data<'a>,
    stats: ConstantStats,
}

enum Data<'a> {
    Computed(Vec<u8>),
    /// Bytes of a stored weight: cell, value of the cell, first byte and length.
    Stored(Held<'a>, usize, std::ops::Range<usize>),
}

impl Emitted<'_> {
    fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Computed(bytes) => bytes,
            Data::Stored(held, index, range) => match &held[*index] {
                Source::Stored(stored) => &stored.bytes[range.clone()],
                Source::F64(_) | Source::F32(_) => unreachable!("only stored weights are handed on"),
            },
        }
    }
}

struct Emission<'a> {
    graph: &'a Graph,
    weights: &'a dyn Weights,
    plan: Plan<'a>,
    /// Buffers of values that were delivered: fresh memory costs more than what is written to it.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Emission<'a> {
    /// A buffer of `length` bytes, whatever they are: the smallest spare one that is large enough, else a new one.
    fn buffer(&self, length: usize) -> Vec<u8> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..spare.len()).filter(|&i| spare[i].capacity() >= length);
        let mut buffer = match fitting.min_by_key(|&i| spare[i].capacity()) {
            Some(i) if SPARE.contains(&length) => spare.swap_remove(i),
            _ => Vec::with_capacity(length),
        };
        drop(spare);
        buffer.resize(length, 0);
        buffer
    }

    /// Take a delivered value's buffer back.
    fn reuse(&self, data: Data<'_>) {
        if let Data::Computed(buffer) = data
            && SPARE.contains(&buffer.capacity())
        {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }

    fn emit(&self, value: Value, root: &Root) -> Result<Emitted<'a>, EvalError> {
        let dtype = self.graph.ty(value).dtype;
        let elements = root.elements();
        let (mut bytes, mut scan) = (Vec::new(), Scan::default());
        let mut start = 0;
        for part in &root.parts {
            let program = &part.program;
            let opened = self.plan.open(part)?;
            let sources = opened.sources();
            if let Some((source, first)) = program.as_run()
                && let Source::Stored(stored) = sources[source]
                && matches!((stored.dtype, dtype), (StoredType::F32, DType::F32) | (StoredType::F16, DType::F16))
                && root.parts.len() == 1
            {
                let size = dtype.bytes();
                let range = first * size..(first + elements) * size;
                let stats = self.finish(value, self::scan(stored.dtype, &stored.bytes[range.clone()]), elements)?;
                let (held, index) = opened.cell(source);
                return Ok(Emitted { data: Data::Stored(held, index, range), stats });
            }
            if bytes.is_empty() {
                bytes = self.buffer(elements * dtype.bytes());
            }
            let end = start + program.elements() * dtype.bytes();
            scan = scan.join(write(program, &sources, dtype, &mut bytes[start..end]));
            start = end;
        }
        let stats = self.finish(value, scan, elements)?;
        Ok(Emitted { data: Data::Computed(bytes), stats })
    }

    /// Statistics of a constant, or why it may not be stored.
    fn finish(&self, value: Value, scan: Scan, elements: usize) -> Result<ConstantStats, EvalError> {
        if scan.bad {
            return Err(self.explain(value, scan));
        }
        let bytes = (elements * self.graph.ty(value).dtype.bytes()) as u64;
        Ok(ConstantStats { bytes, ..scan.stats })
    }

    /// Why a constant is not finite.
    fn explain(&self, value: Value, scan: Scan) -> EvalError {
        let path = self.graph.value_name(value);
        let mut keys = Vec::new();
        for node in self.weights_below(value) {
            let node = self.graph.node(node);
            let Op::Weight { key } = &node.op else { continue };
            keys.push(key.clone());
            let stored = match self.weights.weight(key, node.types[0].shape.elements()) {
                Ok(stored) => Source::Stored(stored),
                Err(source) => return EvalError::Weight { path: node.path.clone(), source },
            };
            let mut found = None;
            stored.read(FirstBad { elements: node.types[0].shape.elements(), found: &mut found });
            if let Some((element, value)) = found {
                return EvalError::WeightNotFinite { path, key: key.clone(), element, value };
            }
        }
        let largest = scan.stats.max_before;
        if scan.nan || largest == f64::INFINITY {
            EvalError::NotFinite { path, keys }
        } else {
            EvalError::Overflow { path, keys, dtype: self.graph.ty(value).dtype, largest }
        }
    }

    /// The weights that a constant is computed from, in the graph's order.
    fn weights_below(&self, value: Value) -> Vec<crate::graph::NodeId> {
        let mut seen = std::collections::BTreeSet::new();
        let mut stack = vec![value.node];
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                stack.extend(self.graph.node(id).inputs.iter().map(|v| v.node));
            }
        }
        seen.into_iter().filter(|&id| matches!(self.graph.node(id).op, Op::Weight { .. })).collect()
    }
}

/// Finds the first element that is NaN or infinite.
struct FirstBad<'f> {
    elements: usize,
    found: &'f mut Option<(usize, f64)>,
}

impl super::tensor::Reader for FirstBad<'_> {
    fn read(self, elements: impl super::tensor::Elements) {
        *self.found = (0..self.elements).map(|i| (i, elements.at(i))).find(|(_, x)| !x.is_finite());
    }
}

/// Write a program's result to `out`, and say what was seen of it.
fn write(program: &Program, sources: &[&Source<'_>], dtype: DType, mut out: &mut [u8]) -> Scan {
    let mut pieces = Vec::new();
    for piece in program.pieces(PIECE) {
        let (now, later) = out.split_at_mut(piece.elements * dtype.bytes());
        pieces.push((piece, now));
        out = later;
    }
    let encode = |(piece, mut out): (_, &mut [u8])| {
        let mut scan = Scan::default();
        program.each(sources, &piece, |block| {
            let (now, later) = std::mem::take(&mut out).split_at_mut(block.len() * dtype.bytes());
            scan = scan.join(encode(dtype, block, now));
            out = later;
        });
        scan
    };
    if pieces.len() == 1 {
        pieces.into_iter().map(encode).fold(Scan::default(), Scan::join)
    } else {
        pieces.into_par_iter().map(encode).reduce(Scan::default, Scan::join)
    }
}

/// What was seen of a constant so far.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    stats: ConstantStats,
    /// An element does not fit the type.
    bad: bool,
    /// An element is NaN.
    nan: bool,
}

impl Scan {
    fn join(self, other: Scan) -> Scan {
        Scan { stats: self.stats.join(other.stats), bad: self.bad || other.bad, nan: self.nan || other.nan }
    }
}

/// Largest magnitude; NaN is passed over.
fn largest(block: &[f64]) -> f64 {
    // Eight running maxima, because one would wait for itself.
    let mut lanes = [0.0f64; 8];
    let (chunks, rest) = block.as_chunks::<8>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(0.0, |max, x| if x.abs() > max { x.abs() } else { max })
}

/// Round a block to `out` and test what was written.
fn encode(dtype: DType, block: &[f64], out: &mut [u8]) -> Scan {
    let mut scan = Scan::default();
    scan.stats.max_before = largest(block);
    match dtype {
        DType::F32 => {
            let mut bits = 0;
            for (out, &x) in out.as_chunks_mut::<4>().0.iter_mut().zip(block) {
                let rounded = x as f32;
                bits = bits.max((rounded.to_bits() & 0x7fff_ffff) as i32);
                *out = rounded.to_le_bytes();
            }
            scan.stats.max_after = f64::from(f32::from_bits(bits as u32));
        }
        DType::F16 => {
            let (mut largest, mut subnormal, mut flushed) = (0, 0u32, 0u32);
            for (out, &x) in out.as_chunks_mut::<2>().0.iter_mut().zip(block) {
                let rounded = f16_bits(x);
                let magnitude = (rounded & 0x7fff) as i16;
                largest = largest.max(magnitude);
                subnormal += u32::from(magnitude > 0) & u32::from(magnitude < 0x400);
                flushed += u32::from(magnitude == 0) & u32::from(x != 0.0);
                *out = rounded.to_le_bytes();
            }
            scan.stats.max_after = f16_value(largest as u16);
            scan.stats.subnormal = u64::from(subnormal);
            scan.stats.flushed = u64::from(flushed);
        }
        DType::I32 => {
            for (out, &x) in out.as_chunks_mut::<4>().0.iter_mut().zip(block) {
                let rounded = x.round_ties_even();
                scan.bad |= !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&rounded);
                *out = (rounded as i32).to_le_bytes();
            }
            scan.stats.max_after = scan.stats.max_before;
        }
    }
    scan.bad |= !scan.stats.max_after.is_finite();
    scan.nan = scan.bad && block.iter().any(|x| x.is_nan());
    scan
}

/// Test the elements of a weight that is handed on as it is stored.
fn scan(dtype: StoredType, bytes: &[u8]) -> Scan {
    const PART: usize = 1 << 20;
    if bytes.len() > PART {
        return bytes.par_chunks(PART).map(|part| scan(dtype, part)).reduce(Scan::default, Scan::join);
    }
    let mut scan = Scan::default();
    let largest = match dtype {
        StoredType::F32 => {
            let magnitude = |b: &[u8; 4]| (u32::from_le_bytes(*b) & 0x7fff_ffff) as i32;
            f64::from(f32::from_bits(bytes.as_chunks::<4>().0.iter().map(magnitude).fold(0, i32::max) as u32))
        }
        StoredType::F16 => {
            let magnitude = |b: &[u8; 2]| (u16::from_le_bytes(*b) & 0x7fff) as i16;
            let elements = bytes.as_chunks::<2>().0;
            let subnormal = elements.iter().filter(|b| (1..0x400).contains(&magnitude(b))).count();
            scan.stats.subnormal = subnormal as u64;
            f16_value(elements.iter().map(magnitude).fold(0, i16::max) as u16)
        }
        StoredType::BF16 | StoredType::F64 => unreachable!("no artifact stores these types"),
    };
    scan.stats.max_before = largest;
    scan.stats.max_after = largest;
    scan.bad = !largest.is_finite();
    scan.nan = largest.is_nan();
    scan
}
