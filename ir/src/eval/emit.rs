//! Pieces of constants as bytes: computed or handed on, rounded once, tested on the way.

use super::EvalError;
use super::constants::{Held, Opened, Part, Plan};
use super::expr::{Piece, Program};
use super::round::{SMALLEST_NORMAL_F16, f16_bits, f16_pattern, f16_value, nearest_f16};
use super::tensor::Source;
use crate::graph::Graph;
use crate::id::Value;
use crate::op::Op;
use crate::ty::DType;
use crate::weights::{StoredType, Weights};
use std::sync::{Mutex, PoisonError};

/// Bytes of a buffer that is kept for another piece: the allocator gives memory of this size back to the system and has to fetch it anew. Larger
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
    /// Both together.
    pub(super) fn join(self, other: Self) -> Self {
        ConstantStats {
            bytes: self.bytes + other.bytes,
            max_before: self.max_before.max(other.max_before),
            max_after: self.max_after.max(other.max_after),
            subnormal: self.subnormal + other.subnormal,
            flushed: self.flushed + other.flushed,
        }
    }
}

/// The bytes of a piece.
pub(super) struct Emitted<'a> {
    data: Data<'a>,
    /// What was seen of its elements.
    pub(super) scan: Scan,
}

enum Data<'a> {
    Computed(Vec<u8>),
    /// Bytes of a stored weight: cell, value of the cell, first byte and length.
    Stored(Held<'a>, usize, std::ops::Range<usize>),
}

impl Emitted<'_> {
    /// What is delivered.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Computed(bytes) => bytes,
            Data::Stored(held, index, range) => match &held[*index] {
                Source::Stored(stored) => &stored.bytes[range.clone()],
                Source::F64(_) | Source::F32(_) => unreachable!("only stored weights are handed on"),
            },
        }
    }
}

/// Turns pieces into bytes.
pub(super) struct Emission<'a> {
    graph: &'a Graph,
    weights: &'a dyn Weights,
    plan: Plan<'a>,
    /// Buffers of pieces that were delivered: fresh memory costs more than what is written to it.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Emission<'a> {
    /// For the constants of `plan`.
    pub(super) fn new(graph: &'a Graph, weights: &'a dyn Weights, plan: Plan<'a>) -> Self {
        Emission { graph, weights, plan, spare: Mutex::default() }
    }

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

    /// Take a delivered piece's buffer back.
    pub(super) fn reuse(&self, emitted: Emitted<'_>) {
        if let Data::Computed(buffer) = emitted.data
            && SPARE.contains(&buffer.capacity())
        {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }

    /// Compute what a part needs whole.
    pub(super) fn open<'p>(&'p self, part: &'p Part) -> Result<Opened<'p, 'a>, EvalError> {
        self.plan.open(part)
    }

    /// The bytes of a piece of an open part, whose elements are of type `dtype`.
    pub(super) fn emit(&self, opened: &Opened<'_, 'a>, piece: &Piece, dtype: DType) -> Emitted<'a> {
        let (program, sources) = (opened.program(), opened.sources());
        if let Some((source, first)) = program.as_run()
            && let Source::Stored(stored) = sources[source]
            && matches!((stored.dtype, dtype), (StoredType::F32, DType::F32) | (StoredType::F16, DType::F16))
        {
            let (size, first) = (dtype.bits() / 8, first + piece.start);
            let range = first * size..(first + piece.elements) * size;
            let scan = self::scan(stored.dtype, &stored.bytes[range.clone()]);
            let (held, index) = opened.cell(source);
            return Emitted { data: Data::Stored(held, index, range), scan };
        }
        let mut bytes = self.buffer(dtype.bytes_of(piece.elements));
        let scan = write(program, &sources, piece, dtype, &mut bytes);
        Emitted { data: Data::Computed(bytes), scan }
    }

    /// Why a constant may not be stored of which so much was seen.
    pub(super) fn explain(&self, value: Value, scan: Scan) -> EvalError {
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
    fn weights_below(&self, value: Value) -> Vec<crate::id::NodeId> {
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

/// Write a piece of a program's result to `out`, and say what was seen of it.
fn write(program: &Program, sources: &[&Source<'_>], piece: &Piece, dtype: DType, mut out: &mut [u8]) -> Scan {
    if dtype.bits() < 8 {
        // Halves of a byte may come in different blocks.
        let mut all = Vec::with_capacity(piece.elements);
        program.each(sources, piece, |block| all.extend_from_slice(block));
        return encode(dtype, &all, out);
    }
    let mut scan = Scan::default();
    program.each(sources, piece, |block| {
        let (now, later) = std::mem::take(&mut out).split_at_mut(dtype.bytes_of(block.len()));
        scan = scan.join(encode(dtype, block, now));
        out = later;
    });
    scan
}

/// What was seen of a constant so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    /// What rounding did.
    pub(super) stats: ConstantStats,
    /// An element does not fit the type.
    pub(super) bad: bool,
    /// An element is NaN.
    nan: bool,
}

impl Scan {
    /// Both together.
    pub(super) fn join(self, other: Scan) -> Scan {
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

/// Round a block to `out` and test what was written. Rounding keeps order, so the largest magnitude need not be looked for again.
fn encode(dtype: DType, block: &[f64], out: &mut [u8]) -> Scan {
    let mut scan = Scan::default();
    scan.stats.bytes = out.len() as u64;
    scan.stats.max_before = largest(block);
    match dtype {
        DType::F32 => {
            let mut special = 0;
            for (out, &x) in out.as_chunks_mut::<4>().0.iter_mut().zip(block) {
                let rounded = x as f32;
                special |= negative_if_special(rounded);
                *out = rounded.to_le_bytes();
            }
            scan.bad = special < 0;
            scan.stats.max_after = f64::from(scan.stats.max_before as f32);
        }
        DType::F16 => {
            // Two loops, one in 64-bit lanes and one in 32-bit lanes.
            let mut nearest = [0.0; 256];
            let (mut special, mut zeros, mut zeros_before, mut small) = (0, 0u32, 0u64, 0u32);
            for (block, out) in block.chunks(nearest.len()).zip(out.chunks_mut(2 * 256)) {
                for (nearest, &x) in nearest.iter_mut().zip(block) {
                    *nearest = nearest_f16(x);
                    zeros_before += u64::from(x == 0.0);
                }
                for (out, &y) in out.as_chunks_mut::<2>().0.iter_mut().zip(&nearest) {
                    special |= negative_if_special(y);
                    zeros += u32::from(y == 0.0);
                    small += u32::from(y.abs() < SMALLEST_NORMAL_F16);
                    *out = f16_pattern(y).to_le_bytes();
                }
            }
            scan.bad = special < 0;
            scan.stats.max_after = f16_value(f16_bits(scan.stats.max_before));
            scan.stats.subnormal = u64::from(small - zeros);
            scan.stats.flushed = u64::from(zeros) - zeros_before;
        }
        DType::I32 => scan.bad = integers::<4>(block, out, i32::MIN.into(), i32::MAX.into()),
        // The largest f64 below 2^63.
        DType::I64 => scan.bad = integers::<8>(block, out, i64::MIN as f64, (i64::MAX - 1023) as f64),
        DType::I8 => scan.bad = integers::<1>(block, out, i8::MIN.into(), i8::MAX.into()),
        DType::U8 => scan.bad = integers::<1>(block, out, 0.0, u8::MAX.into()),
        DType::Bool => scan.bad = integers::<1>(block, out, 0.0, 1.0),
        DType::I4 => scan.bad = nibbles(block, out, -8.0, 7.0),
        DType::U4 => scan.bad = nibbles(block, out, 0.0, 15.0),
    }
    if !dtype.is_float() {
        scan.stats.max_after = scan.stats.max_before;
    }
    scan.bad |= !scan.stats.max_after.is_finite();
    scan.nan = scan.bad && block.iter().any(|x| x.is_nan());
    scan
}

/// Write integers of `N` bytes; whether one of them lies outside `lo..=hi`.
fn integers<const N: usize>(block: &[f64], out: &mut [u8], lo: f64, hi: f64) -> bool {
    let mut bad = false;
    for (out, &x) in out.as_chunks_mut::<N>().0.iter_mut().zip(block) {
        let rounded = x.round_ties_even();
        bad |= !(lo..=hi).contains(&rounded);
        out.copy_from_slice(&(rounded as i64).to_le_bytes()[..N]);
    }
    bad
}

/// The same for integers of half a byte.
fn nibbles(block: &[f64], out: &mut [u8], lo: f64, hi: f64) -> bool {
    let mut bad = false;
    for (out, pair) in out.iter_mut().zip(block.chunks(2)) {
        let mut half = |x: f64| {
            let rounded = x.round_ties_even();
            bad |= !(lo..=hi).contains(&rounded);
            rounded as i64 as u8 & 0xf
        };
        *out = half(pair[0]) | pair.get(1).map_or(0, |&x| half(x) << 4);
    }
    bad
}

/// Negative for NaN and infinities, which have all bits of the exponent set: what is joined by `|` says whether there was one.
#[inline(always)]
fn negative_if_special(x: f32) -> i32 {
    ((x.to_bits() & 0x7fff_ffff) + 0x0080_0000) as i32
}

/// Test elements of a weight that is handed on as it is stored.
fn scan(dtype: StoredType, bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    scan.stats.bytes = bytes.len() as u64;
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
        StoredType::BF16 | StoredType::F64 | StoredType::I8 | StoredType::U8 => {
            unreachable!("no artifact stores these types")
        }
    };
    scan.stats.max_before = largest;
    scan.stats.max_after = largest;
    scan.bad = !largest.is_finite();
    scan.nan = largest.is_nan();
    scan
}
