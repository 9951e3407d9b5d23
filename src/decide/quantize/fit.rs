//! One layer's weights as codes: scales or tables, rounding, and the bias that goes with them.

use super::held::Held;
use super::layers::Layer;
use super::rounding;
use super::sample::sample;
use super::scales::{self, Codes};
use super::units::Stream;
use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

/// The form that weights get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Codes of so many bits with a scale for each output.
    PerOutput {
        /// Bits, 7 or 8.
        bits: u32,
    },
    /// Codes of 4 bits with a scale for each output and so many input channels.
    Blocks {
        /// Channels of a block.
        size: usize,
    },
    /// Tables of entries that codes of so many bits name, one for all or one for so many outputs.
    Table {
        /// Bits of a code.
        bits: usize,
        /// Outputs that share a table.
        outputs: Option<usize>,
    },
}

/// Fitted weights, in rows of terms.
#[derive(Debug, Clone)]
pub(super) struct Fitted {
    /// The codes.
    pub(super) codes: Vec<u8>,
    /// Scales: one for each output, or for each output and block; or the tables behind each other.
    pub(super) scales: Vec<f64>,
    /// What the codes stand for.
    pub(super) weights: Vec<f64>,
    /// Mean of the wanted outputs less that of the sums: what the bias makes up for.
    pub(super) shift: Option<Vec<f64>>,
}

/// What is known of the inputs and outputs of one group.
struct Statistics {
    h: Array2<f64>,
    mean_x: Array1<f64>,
    mean_y: Array1<f64>,
    lacking: Array2<f64>,
    count: usize,
}

impl Statistics {
    fn of(layer: &Layer, x: Stream<'_>, y: Stream<'_>, g: usize) -> Statistics {
        let (mut terms, mut outputs) = sample(layer, x, y, g);
        let count = terms.nrows().max(1);
        let centre = |matrix: &mut Array2<f32>| {
            let mean = matrix.mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default();
            let single = mean.mapv(|m| m as f32);
            *matrix -= &single;
            mean
        };
        let (mean_x, mean_y) = (centre(&mut terms), centre(&mut outputs));
        let moments = |a: &Array2<f32>| (a.t().dot(&terms) / count as f32).mapv(f64::from);
        let (h, lacking) = (moments(&terms), moments(&outputs));
        Statistics { h, mean_x, mean_y, lacking, count }
    }

    fn importance(&self) -> Vec<f64> {
        self.h.diag().to_vec()
    }
}

/// Fit a layer's weights, given as rows, to its wanted outputs y at its inputs x; without them every weight is rounded by itself.
pub(super) fn fit(
    layer: &Layer,
    rows: &[f64],
    target: Target,
    streams: Option<[Stream<'_>; 2]>,
    held: &Held<'_>,
) -> Fitted {
    let size = layer.outputs * layer.terms;
    let mut groups: Vec<Vec<f64>> = rows.chunks_exact(size.max(1)).map(<[f64]>::to_vec).collect();
    let statistics: Option<Vec<Statistics>> =
        streams.map(|[x, y]| (0..layer.groups).into_par_iter().map(|g| Statistics::of(layer, x, y, g)).collect());
    let few = !matches!(target, Target::PerOutput { .. });
    if let Some(all) = statistics.as_ref().filter(|_| few && !layer.shared) {
        groups.par_iter_mut().zip(all).for_each(|(rows, s)| refit(rows, s));
    }
    let fitted = match target {
        Target::Table { bits, outputs } => {
            tables(layer, groups, statistics.as_deref(), [1 << bits, outputs.unwrap_or(usize::MAX)], held)
        }
        Target::PerOutput { bits } => {
            scaled(layer, groups, statistics.as_deref(), Codes::of(bits), layer.terms, false, held)
        }
        Target::Blocks { size } => {
            let area = layer.terms / (layer.channels() / layer.groups).max(1);
            let whole = (layer.terms / area).is_multiple_of(size);
            let block = if whole { size * area } else { layer.terms };
            scaled(layer, groups, statistics.as_deref(), Codes::of(4), block, true, held)
        }
    };
    let shift = statistics.map(|all| {
        let pairs = all.iter().zip(fitted.weights.chunks_exact(size.max(1)));
        let shift = pairs.flat_map(|(s, w)| {
            w.chunks_exact(layer.terms)
                .zip(&s.mean_y)
                .map(|(row, y)| y - row.iter().zip(&s.mean_x).map(|(w, x)| w * x).sum::<f64>())
        });
        shift.collect()
    });
    Fitted { shift, ..fitted }
}

/// Move weights to where the wanted outputs are met best; the fewer positions were seen, the less.
fn refit(rows: &mut [f64], s: &Statistics) {
    let k = s.h.nrows();
    let Ok(w) = Array2::from_shape_vec((rows.len() / k.max(1), k), rows.to_vec()) else { return };
    let lacking = &s.lacking - &w.dot(&s.h);
    let mean = s.h.diag().sum() / k.max(1) as f64;
    rounding::refit(rows, &s.h, &lacking, 0.01 * mean * (4.0 * k as f64 / s.count as f64).max(1.0) + 1e-8);
}

/// Round the rows of one group; each weight by itself where nothing is known of the inputs.
fn rounded(
    layer: &Layer,
    mut rows: Vec<f64>,
    s: Option<&Statistics>,
    round: &dyn Fn(usize, usize, f64) -> f64,
) -> Vec<f64> {
    match s.filter(|_| !layer.shared) {
        Some(s) => rounding::round(&mut rows, &s.h, round),
        None => rows.iter_mut().enumerate().for_each(|(i, w)| *w = round(i / layer.terms, i % layer.terms, *w)),
    }
    rows
}

/// A scale for each block of terms of each output.
fn scaled(
    layer: &Layer,
    groups: Vec<Vec<f64>>,
    statistics: Option<&[Statistics]>,
    codes: Codes,
    block: usize,
    search: bool,
    held: &Held<'_>,
) -> Fitted {
    let blocks = layer.terms / block;
    let one = |(g, rows): (usize, Vec<f64>)| {
        let s = statistics.map(|all| &all[g]);
        let importance = s.map(Statistics::importance);
        let part = |i: usize| i % blocks * block..(i % blocks + 1) * block;
        let scale = |(i, w): (usize, &[f64])| {
            let importance = importance.as_ref().map(|d| &d[part(i)]);
            scales::scale(w, importance, codes, search || importance.is_some(), held.scale)
        };
        let scales: Vec<f64> = rows.chunks_exact(block).enumerate().map(scale).collect();
        let at = |o: usize, k: usize| scales[o * blocks + k / block];
        let weights = rounded(layer, rows, s, &|o, k, x| codes.code(x, at(o, k)) * at(o, k));
        let code = |(i, w): (usize, &f64)| (w / at(i / layer.terms, i % layer.terms)).round() as i8 as u8;
        let codes: Vec<u8> = weights.iter().enumerate().map(code).collect();
        (codes, scales, weights)
    };
    let parts: Vec<_> = groups.into_par_iter().enumerate().map(one).collect();
    joined(parts)
}

fn joined(parts: Vec<(Vec<u8>, Vec<f64>, Vec<f64>)>) -> Fitted {
    let mut all = Fitted { codes: Vec::new(), scales: Vec::new(), weights: Vec::new(), shift: None };
    for (codes, scales, weights) in parts {
        all.codes.extend(codes);
        all.scales.extend(scales);
        all.weights.extend(weights);
    }
    all
}

/// A table for every so many outputs.
fn tables(
    layer: &Layer,
    groups: Vec<Vec<f64>>,
    statistics: Option<&[Statistics]>,
    [entries, outputs]: [usize; 2],
    held: &Held<'_>,
) -> Fitted {
    let all: Vec<f64> = groups.concat();
    let importance: Vec<f64> = match statistics {
        None => vec![1.0; all.len()],
        Some(statistics) => statistics
            .iter()
            .flat_map(|s| {
                let own = s.importance();
                let least = 1e-3 * own.iter().sum::<f64>() / own.len().max(1) as f64;
                let row: Vec<f64> = own.iter().map(|d| d + least).collect();
                row.repeat(layer.outputs)
            })
            .collect(),
    };
    let share = outputs.min(layer.groups * layer.outputs) * layer.terms;
    let parts: Vec<(&[f64], &[f64])> = all.chunks(share).zip(importance.chunks(share)).collect();
    let tables: Vec<Vec<f64>> = parts
        .into_par_iter()
        .map(|(w, d)| {
            let mut table: Vec<f64> = scales::table(w, d, entries).into_iter().map(held.number).collect();
            table.sort_by(f64::total_cmp);
            table
        })
        .collect();
    let of = |g: usize, o: usize| &tables[(g * layer.outputs + o) * layer.terms / share];
    let one = |(g, rows): (usize, Vec<f64>)| {
        let s = statistics.map(|all| &all[g]);
        let weights = rounded(layer, rows, s, &|o, _, x| of(g, o)[scales::nearest(of(g, o), x)]);
        let code = |(i, w): (usize, &f64)| scales::nearest(of(g, i / layer.terms), *w) as u8;
        (weights.iter().enumerate().map(code).collect(), Vec::new(), weights)
    };
    let parts: Vec<_> = groups.into_par_iter().enumerate().map(one).collect();
    Fitted { scales: tables.concat(), ..joined(parts) }
}
