//! Activations that layers read as codes: a shift and a factor per channel in front of them, absorbed by the layers, and one scale.
//!
//! `x' = (x − c)/f`, `W' = W·diag(f)`, `b' = b + W·c` computes the same, and the channels of x' need the same range. c is the middle of a channel's range,
//! where no reader is padded and each has a bias; f evens the ranges and the weights that read them: `√(span/gm) / √(m/gm)`, m the norm of the weights that
//! read the channel, gm the geometric mean; for depthwise readers it is the span.

use super::held::Held;
use super::layers::{Bias, Kind, Layer};
use crate::decide::step::Units;
use rayon::prelude::*;
use std::sync::Arc;

/// The last code on either side of 0.
const LAST: f64 = 127.0;

/// Least factor as a share of the largest: what is evened stays in the range of half precision.
const LEAST_FACTOR: f64 = 1e-3;

/// Largest inverse of a factor that is stored: values that are nearly 0 everywhere need no more.
const MOST_INVERSE: f64 = 1e6;

/// The same in half precision.
const MOST_HALF_INVERSE: f64 = 32768.0;

/// A value as layers read it.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// Axis of the channels.
    pub(super) axis: usize,
    /// Subtracted per channel.
    pub(super) shift: Option<Vec<f64>>,
    /// Divided by per channel; the factor's inverse is stored, so this is the inverse of what is.
    pub(super) factor: Option<Vec<f64>>,
    /// Step of the codes.
    pub(super) scale: f64,
    /// Largest magnitude before anything was done.
    pub(super) range: f64,
}

/// Smallest and largest value of each channel.
fn ranges(units: &Units, dims: &[usize], axis: usize) -> Vec<[f64; 2]> {
    let (channels, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let none = || vec![[f32::INFINITY, f32::NEG_INFINITY]; channels];
    let wider = |mut all: Vec<[f32; 2]>, own: Vec<[f32; 2]>| {
        all.iter_mut().zip(own).for_each(|(a, b)| *a = [a[0].min(b[0]), a[1].max(b[1])]);
        all
    };
    let unit = |unit: &Arc<Vec<f32>>| {
        let mut ranges = none();
        for (i, block) in unit.chunks_exact(inner.max(1)).enumerate() {
            let [lo, hi] = &mut ranges[i % channels];
            block.iter().for_each(|&x| (*lo, *hi) = (lo.min(x), hi.max(x)));
        }
        ranges
    };
    let ranges = units.par_iter().map(unit).reduce(none, wider);
    ranges.into_iter().map(|range| range.map(f64::from)).collect()
}

/// Square root of the sum of squares of the weights that read each channel, over all readers; `rows` are their weights.
fn norms(readers: &[(&Layer, Vec<f64>)], channels: usize) -> Vec<f64> {
    let mut squares = vec![0.0; channels];
    for (layer, rows) in readers {
        for (i, w) in rows.iter().enumerate() {
            squares[layer.channel(i / layer.terms / layer.outputs, i % layer.terms)] += w * w;
        }
    }
    squares.into_iter().map(f64::sqrt).collect()
}

fn over_geometric_mean(values: &[f64]) -> Vec<f64> {
    let mean = (values.iter().map(|v| v.ln()).sum::<f64>() / values.len().max(1) as f64).exp();
    values.iter().map(|v| v / mean).collect()
}

/// The axis along which all readers have their channels, if it is one and they may take another weight each.
fn channel_axis(readers: &[(&Layer, Vec<f64>)], rank: usize) -> Option<usize> {
    let axis = |layer: &Layer| match layer.kind {
        Kind::Conv { .. } => Some(1),
        Kind::Rows => Some(rank - 1),
        Kind::Columns => None,
    };
    let first = axis(readers.first()?.0)?;
    let fits = readers.iter().all(|(l, _)| axis(l) == Some(first) && !l.shared);
    // A map that convolutions and products read has its channels in two places.
    fits.then_some(first)
}

/// How layers read a value of these sizes; `held` rounds what is stored.
pub(super) fn input(units: &Units, dims: &[usize], readers: &[(&Layer, Vec<f64>)], held: &Held<'_>) -> Input {
    let (held, held_scale) = (held.number, held.scale);
    let peak = |unit: &Arc<Vec<f32>>| unit.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let range = f64::from(units.par_iter().map(peak).reduce(|| 0.0, f32::max));
    let Some(axis) = channel_axis(readers, dims.len()) else {
        let scale = held_scale(range / LAST);
        return Input { axis: 0, shift: None, factor: None, scale, range };
    };
    let ranges = ranges(units, dims, axis);
    let may_shift = readers.iter().all(|(l, _)| !l.is_padded() && l.bias != Bias::None);
    let middle = |&[lo, hi]: &[f64; 2]| if may_shift { held(0.5 * (lo + hi)) } else { 0.0 };
    let shift: Vec<f64> = ranges.iter().map(middle).collect();
    let span: Vec<f64> = ranges.iter().zip(&shift).map(|([lo, hi], c)| (hi - c).max(c - lo).max(1e-6)).collect();
    let mut factor: Vec<f64> = if readers.iter().all(|(l, _)| l.is_depthwise()) {
        span.clone()
    } else {
        let norms: Vec<f64> = norms(readers, ranges.len()).into_iter().map(|m| m.max(1e-9)).collect();
        let pairs = over_geometric_mean(&span).into_iter().zip(over_geometric_mean(&norms));
        pairs.map(|(s, m)| (s / m).sqrt()).collect()
    };
    let widest = span.iter().zip(&factor).fold(0.0f64, |m, (s, f)| m.max(s / f));
    let largest = factor.iter().fold(0.0f64, |m, f| m.max(*f)) * widest;
    // What is stored is the inverse.
    let most = if held(MOST_INVERSE).is_finite() { MOST_INVERSE } else { MOST_HALF_INVERSE };
    factor.iter_mut().for_each(|f| *f = 1.0 / held((1.0 / (*f * widest).max(LEAST_FACTOR * largest)).min(most)));
    let scale = held_scale(1.0 / LAST);
    let shift = shift.iter().any(|&c| c != 0.0).then_some(shift);
    Input { axis, shift, factor: Some(factor), scale, range }
}

impl Input {
    /// A value of these sizes through the codes and back.
    pub(super) fn read(&self, units: &Units, dims: &[usize]) -> Units {
        let step = |x: f64| ((x / self.scale).round_ties_even().clamp(-LAST - 1.0, LAST) * self.scale) as f32;
        let (channels, inner) = (dims[self.axis], dims[self.axis + 1..].iter().product::<usize>());
        let unit = |unit: &Arc<Vec<f32>>| {
            let mut coded = unit.to_vec();
            for (i, block) in coded.chunks_exact_mut(inner.max(1)).enumerate() {
                let c = self.shift.as_ref().map_or(0.0, |shift| shift[i % channels]);
                let f = self.factor.as_ref().map_or(1.0, |factor| factor[i % channels]);
                block.iter_mut().for_each(|x| *x = step((f64::from(*x) - c) / f));
            }
            Arc::new(coded)
        };
        Arc::new(units.par_iter().map(unit).collect())
    }

    /// A layer's weights, in rows, for the value as it is read.
    pub(super) fn absorbed(&self, layer: &Layer, mut rows: Vec<f64>) -> Vec<f64> {
        if let Some(factor) = &self.factor {
            for (i, w) in rows.iter_mut().enumerate() {
                *w *= factor[layer.channel(i / layer.terms / layer.outputs, i % layer.terms)];
            }
        }
        rows
    }
}
