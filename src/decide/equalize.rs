//! Which powers of two move between layers, where weights would be subnormal halves.
//!
//! A half below 2⁻¹⁴ keeps fewer than eleven bits, and hardware may take it for zero. Layers behind which a small factor was folded have many. The passes
//! know which constants take a factor together ([`vitc_passes::equalize`]); here samples of them say how many elements would be subnormal at each exponent,
//! and each region gets the exponent at which fewest are, as long as its values, which move too, keep clear of both ends of the type. That is measured.

use super::islands::LARGEST;
use super::values::{self, RangeInputs};
use half::f16;
use std::collections::{BTreeMap, HashMap};
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

/// Least share of a region's elements that must become normal: weights of a deviation of 0.01 have as many subnormal ones by nature.
const WORTH: f64 = 0.005;

/// Room above the largest value that was seen, for other inputs and for sums on the way to it.
const ROOM: f64 = 16.0;

/// Least magnitude of a region's largest value: a thousandth of it is a normal half still.
const LEAST: f64 = 1.0 / 16.0;

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
    search.rest();
    if search.exponents.iter().all(|&k| k == 0) {
        return Ok(None);
    }
    let RangeInputs { on, inputs } = inputs();
    let peaks = peaks(graph, weights, &found, inputs)?;
    search.allowed = peaks.iter().map(|&peak| allowed(peak)).collect();
    search.rest();
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

/// Elements of a constant by the exponent of their magnitude.
struct Spread {
    counts: BTreeMap<i32, f64>,
}

impl Spread {
    /// Of a sample that stands for `elements`.
    fn new(sample: &[f64], elements: usize) -> Spread {
        let each = elements as f64 / sample.len().max(1) as f64;
        let mut counts = BTreeMap::new();
        for x in sample.iter().filter(|x| x.is_normal()) {
            *counts.entry(x.abs().log2().floor() as i32).or_default() += each;
        }
        Spread { counts }
    }

    /// Elements that are too small times 2 to this exponent; beyond any number if one comes near the largest half.
    fn lost(&self, k: i32) -> f64 {
        let top = self.counts.keys().next_back().map_or(0, |&e| e + k);
        let near_end = k > 0 && top >= 10;
        if near_end { f64::INFINITY } else { self.counts.range(..NORMAL - k).map(|(_, n)| n).sum() }
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
        for (sample, taker) in eval::constants(&looked, weights, &samples)?.iter().zip(&found.takers) {
            search.spreads.push(Spread::new(sample, graph.shape(taker.constant).elements()));
        }
        Ok(search)
    }

    /// Elements that are lost around a region at an exponent.
    fn lost(&self, region: usize, k: i32) -> f64 {
        let exponent = |r: usize| if r == region { k } else { self.exponents[r] };
        self.of[region].iter().map(|&i| self.spreads[i].lost(self.found.takers[i].exponent(exponent))).sum()
    }

    /// Improve every region until none improves, then put back those that gain too little, and improve the others once more.
    fn rest(&mut self) {
        self.improve();
        for region in 0..self.exponents.len() {
            let gain = self.lost(region, 0) - self.lost(region, self.exponents[region]);
            if gain < WORTH * self.elements[region] {
                (self.allowed[region], self.exponents[region]) = ([0, 0], 0);
            }
        }
        self.improve();
    }

    fn improve(&mut self) {
        for _ in 0..WALKS {
            let before = self.exponents.clone();
            for region in 0..self.exponents.len() {
                let [low, high] = self.allowed[region];
                let by_loss = |&k: &i32| (self.lost(region, k), k.abs());
                let best = (low..=high)
                    .map(|k| (by_loss(&k), k))
                    .min_by(|a, b| a.0.0.total_cmp(&b.0.0).then(a.0.1.cmp(&b.0.1)));
                self.exponents[region] = best.map_or(0, |(_, k)| k);
            }
            if self.exponents == before {
                break;
            }
        }
    }
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
