//! Which powers of two move between layers, where weights would be subnormal halves.
//!
//! A half below 2⁻¹⁴ keeps fewer than eleven bits, and hardware may take it for zero. Layers behind which a small factor was folded have many. The passes
//! know which constants take a factor together ([`vitc_passes::equalize`]); here samples of them say how many elements would be subnormal at each exponent,
//! and each region gets the exponent at which fewest are, unless a constant would lose more of itself by it, and as long as its values, which move too, keep clear of both ends of the type. That is measured.

use super::islands::LARGEST;
use super::values::{self, RangeInputs};
use half::f16;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::op::SliceAxis;
use vitc_ir::{Graph, Op, Value, Weights};
use vitc_passes::equalize::{Regions, regions};

/// Exponents that are looked at, on either side of 0.
const REACH: i32 = 12;

/// Exponent of the least normal half.
const NORMAL: i32 = -14;

/// Elements along the first two axes of a constant that are looked at.
const SAMPLE: usize = 64;

/// Least share of a region's elements that a move must make normal: weights of a deviation of 0.01 have as many subnormal ones by nature.
const WORTH: f64 = 0.005;

/// Share of a constant's squares that small elements may carry where they carried less: 60 dB below, where the rounding of all others is near.
const CARRIED: f64 = 1e-6;

/// Room above the largest value that was seen, for other inputs and for sums on the way to it.
const ROOM: f64 = 16.0;

/// Least magnitude of a region's largest value: a thousandth of it is a normal half still.
const LEAST: f64 = 1.0 / 16.0;

/// Elements of constants that are looked at together.
const TOGETHER: usize = 4 << 20;

/// Walks over the regions. They come to rest in two or three.
const WALKS: usize = 16;

/// Elements that half precision does not hold in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Subnormal.
    pub subnormal: u64,
    /// Not zero, and zero.
    pub zeroed: u64,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Equalized {
    /// Exponents of 2 by the name of a region.
    pub exponents: BTreeMap<String, i32>,
    /// Constants that are multiplied.
    pub constants: usize,
    /// Of these constants, what would be lost without.
    pub before: Lost,
    /// What is lost of them.
    pub after: Lost,
    /// The largest value of these regions, before and after.
    pub largest: [f64; 2],
    /// What that was measured on.
    pub on: String,
}

/// Decide for a graph in single precision that will be one in half precision. `None` if too little is to be had.
///
/// # Errors
/// If a weight is missing, or a node cannot be computed.
pub(super) fn decide(
    graph: &Graph,
    weights: &dyn Weights,
    inputs: &dyn Fn() -> RangeInputs,
) -> Result<Option<Equalized>, EvalError> {
    let found = regions(graph);
    let mut search = Search::new(graph, weights, &found)?;
    search.improve();
    if search.exponents.iter().all(|&k| k == 0) {
        return Ok(None);
    }
    let RangeInputs { on, inputs } = inputs();
    let peaks = peaks(graph, weights, &found, inputs)?;
    search.allowed = peaks.iter().map(|&peak| allowed(peak)).collect();
    search.exponents.fill(0);
    search.improve();
    let moved: Vec<usize> = (0..peaks.len()).filter(|&r| search.exponents[r] != 0).collect();
    if moved.is_empty() {
        return Ok(None);
    }
    let most = |of: &dyn Fn(usize) -> f64| moved.iter().map(|&r| of(r)).fold(0.0, f64::max);
    let (mut before, mut after, mut constants) = (Lost::default(), Lost::default(), 0);
    for taker in &found.takers {
        let k = taker.exponent(|r| search.exponents[r]);
        if k != 0 {
            let elements = eval::constants(graph, weights, &[taker.constant])?;
            elements.iter().flat_map(|e| e.iter()).for_each(|&x| {
                before.add(x);
                after.add(x * 2f64.powi(k));
            });
            constants += 1;
        }
    }
    Ok(Some(Equalized {
        exponents: moved.iter().map(|&r| (found.regions[r].name.clone(), search.exponents[r])).collect(),
        constants,
        before,
        after,
        largest: [most(&|r| peaks[r]), most(&|r| peaks[r] * 2f64.powi(search.exponents[r]))],
        on,
    }))
}

impl Lost {
    fn add(&mut self, x: f64) {
        let half = f16::from_f64(x);
        self.zeroed += u64::from(x != 0.0 && half == f16::ZERO);
        self.subnormal += u64::from(half != f16::ZERO && !half.is_normal() && half.is_finite());
    }
}

/// The largest magnitude of each region's values.
fn peaks(
    graph: &Graph,
    weights: &dyn Weights,
    found: &Regions,
    inputs: Vec<Vec<Vec<f32>>>,
) -> Result<Vec<f64>, EvalError> {
    let regions = found.regions.iter().enumerate();
    let number: HashMap<Value, usize> =
        regions.flat_map(|(r, region)| region.values.iter().map(move |&v| (v, r))).collect();
    let mut peaks = vec![0.0; found.regions.len()];
    values::walk(graph, weights, inputs, |id, _, results| {
        for (index, units) in results.iter().enumerate() {
            if let Some(&r) = number.get(&Value { node: id, index: index as u32 }) {
                peaks[r] = f64::max(peaks[r], values::largest(units));
            }
        }
    })?;
    Ok(peaks)
}

/// The exponents that values up to `peak` may be multiplied by, 0 among them.
fn allowed(peak: f64) -> [i32; 2] {
    if !peak.is_normal() {
        return [0, 0];
    }
    let up = (LARGEST / ROOM / peak).log2().floor() as i32;
    let down = (LEAST / peak).log2().ceil() as i32;
    [down.clamp(-REACH, 0), up.clamp(0, REACH)]
}

/// Elements of a constant, and the sum of their squares, by the exponent of their magnitude.
struct Spread {
    bins: BTreeMap<i32, [f64; 2]>,
    squares: f64,
}

impl Spread {
    /// Of a sample that stands for `elements`.
    fn new(sample: &[f64], elements: usize) -> Spread {
        let each = elements as f64 / sample.len().max(1) as f64;
        let mut bins: BTreeMap<i32, [f64; 2]> = BTreeMap::new();
        for x in sample.iter().filter(|x| x.is_normal()) {
            let [count, squares] = bins.entry(x.abs().log2().floor() as i32).or_default();
            *count += each;
            *squares += x * x;
        }
        let squares = bins.values().map(|[_, squares]| squares).sum();
        Spread { bins, squares }
    }

    /// Elements that are too small times 2 to this exponent, and the share of the squares that is theirs.
    fn small(&self, k: i32) -> [f64; 2] {
        let [count, squares] =
            self.bins.range(..NORMAL - k).fold([0.0; 2], |sum, (_, bin)| [sum[0] + bin[0], sum[1] + bin[1]]);
        [count, squares / self.squares.max(f64::MIN_POSITIVE)]
    }

    /// Elements that are too small times 2 to this exponent; beyond any number if they carry more of the constant than without, or an element comes
    /// near the largest half.
    fn lost(&self, k: i32) -> f64 {
        let top = self.bins.keys().next_back().map_or(0, |&e| e + k);
        let [count, share] = self.small(k);
        let worse = share > self.small(0)[1].max(CARRIED);
        if worse || k > 0 && top >= 10 { f64::INFINITY } else { count }
    }
}

/// The exponents of all regions, improved one after the other.
struct Search<'a> {
    found: &'a Regions,
    spreads: Vec<Spread>,
    /// By region: the constants that take its factor, or take it back.
    of: Vec<Vec<usize>>,
    /// By region: elements of these.
    elements: Vec<f64>,
    allowed: Vec<[i32; 2]>,
    exponents: Vec<i32>,
}

impl<'a> Search<'a> {
    fn new(graph: &Graph, weights: &dyn Weights, found: &'a Regions) -> Result<Search<'a>, EvalError> {
        let count = found.regions.len();
        let mut search = Search {
            found,
            spreads: Vec::with_capacity(found.takers.len()),
            of: vec![Vec::new(); count],
            elements: vec![0.0; count],
            allowed: vec![[-REACH, REACH]; count],
            exponents: vec![0; count],
        };
        let mut looked = graph.clone();
        let mut samples = Vec::new();
        for (i, taker) in found.takers.iter().enumerate() {
            let sizes = graph.shape(taker.constant).at(1);
            for region in taker.makes.into_iter().chain(taker.reads) {
                search.of[region].push(i);
                search.elements[region] += sizes.iter().product::<usize>() as f64;
            }
            samples.push(sampled(&mut looked, taker.constant, &sizes)?);
        }
        let elements = |i: usize| graph.shape(found.takers[i].constant).elements();
        for group in groups(samples.len(), elements) {
            for (i, sample) in group.clone().zip(eval::constants(&looked, weights, &samples[group])?) {
                search.spreads.push(Spread::new(&sample, elements(i)));
            }
        }
        Ok(search)
    }

    /// Elements that are lost around a region at an exponent.
    fn lost(&self, region: usize, k: i32) -> f64 {
        let exponent = |r: usize| if r == region { k } else { self.exponents[r] };
        let takers = self.of[region].iter();
        takers.map(|&i| self.spreads[i].lost(self.found.takers[i].exponent(exponent))).sum()
    }

    /// Move every region to where fewest elements are lost, if that is worth it, until none moves.
    fn improve(&mut self) {
        for _ in 0..WALKS {
            let before = self.exponents.clone();
            for region in 0..self.exponents.len() {
                let best = self.best(region);
                let gain = self.lost(region, self.exponents[region]) - self.lost(region, best);
                if gain >= WORTH * self.elements[region] {
                    self.exponents[region] = best;
                }
            }
            if self.exponents == before {
                break;
            }
        }
    }

    /// The exponent at which fewest elements are lost, the one nearest to 0 of several.
    fn best(&self, region: usize) -> i32 {
        let [low, high] = self.allowed[region];
        let mut candidates: Vec<i32> = (low..=high).collect();
        candidates.sort_by_key(|k| k.abs());
        let losses = candidates.into_iter().map(|k| (self.lost(region, k), k));
        losses.reduce(|best, next| if next.0 < best.0 { next } else { best }).map_or(0, |(_, k)| k)
    }
}

/// Constants that are looked at together, so that what they are made of takes little memory: up to [`TOGETHER`] elements, or one.
fn groups(count: usize, elements: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut held = 0;
    for i in 0..count {
        held += elements(i);
        match groups.last_mut() {
            Some(group) if held <= TOGETHER => group.end = i + 1,
            _ => {
                groups.push(i..i + 1);
                held = elements(i);
            }
        }
    }
    groups
}

/// Up to so many elements of each of a constant's first two axes, evenly spread.
fn sampled(graph: &mut Graph, constant: Value, sizes: &[usize]) -> Result<Value, EvalError> {
    let cut = |(axis, &size): (usize, &usize)| SliceAxis { axis, start: 0, stop: size, step: size.div_ceil(SAMPLE) };
    let cuts: Vec<SliceAxis> = sizes.iter().enumerate().take(2).map(cut).filter(|c| c.step > 1).collect();
    if cuts.is_empty() {
        return Ok(constant);
    }
    let path = graph.value_name(constant);
    let made = graph.push(Op::Slice { cuts }, &[constant], "sample").map(Value::from);
    made.map_err(|e| EvalError::Operator { path, what: e.to_string() })
}

impl std::fmt::Display for Equalized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Equalized { exponents, constants, before, after, largest: [was, is], on } = self;
        let (low, high) = exponents.values().fold((0, 0), |(low, high), &k| (low.min(k), high.max(k)));
        let places = if exponents.len() == 1 { "place" } else { "places" };
        let lost = |l: &Lost| l.subnormal + l.zeroed;
        write!(
            f,
            "powers of two (2^{low} to 2^{high}) moved between the layers around {} {places}, into {constants} constants, of which {} elements instead \
             of {} are below the normal numbers of fp16; the largest value there is {is:.3e} instead of {was:.3e}, measured on {on}",
            exponents.len(),
            lost(after),
            lost(before)
        )
    }
}
