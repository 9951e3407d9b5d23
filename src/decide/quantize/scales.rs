//! Scales and tables of weights.

/// Factors of the largest weight among which a scale is looked for.
const FACTORS: usize = 40;

/// The least of them.
const LEAST: f64 = 0.35;

/// Rounds of the search for a table.
const ROUNDS: usize = 40;

/// Codes of a scale: from `lo` to `hi`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Codes {
    pub(super) lo: f64,
    pub(super) hi: f64,
}

impl Codes {
    /// Symmetric codes of so many bits; four have one more below 0.
    pub(super) fn of(bits: u32) -> Codes {
        let hi = f64::from((1i32 << (bits - 1)) - 1);
        Codes { lo: if bits <= 4 { -hi - 1.0 } else { -hi }, hi }
    }

    /// The nearest code.
    pub(super) fn code(self, x: f64, scale: f64) -> f64 {
        (x / scale).round_ties_even().clamp(self.lo, self.hi)
    }
}

/// The scale for which the nearest codes of these weights err least, each error weighed; without a search the largest weight has the last code.
pub(super) fn scale(
    weights: &[f64],
    importance: Option<&[f64]>,
    codes: Codes,
    search: bool,
    held: impl Fn(f64) -> f64,
) -> f64 {
    let peak = weights.iter().fold(1e-9f64, |m, w| m.max(w.abs()));
    let largest = held(peak / codes.hi);
    if !search {
        return largest;
    }
    let error = |scale: f64| -> f64 {
        let one =
            |(i, &w): (usize, &f64)| (codes.code(w, scale) * scale - w).powi(2) * importance.map_or(1.0, |d| d[i]);
        weights.iter().enumerate().map(one).sum()
    };
    let candidates =
        (0..FACTORS).map(|i| held(peak * (LEAST + (1.0 - LEAST) * i as f64 / (FACTORS - 1) as f64) / codes.hi));
    let best = candidates.map(|s| (error(s), s)).fold((error(largest), largest), |a, b| if b.0 < a.0 { b } else { a });
    best.1
}

/// A table of `entries` numbers, ascending, for weights that weigh so much each: k-means in one dimension, from entries between equal steps and equal
/// shares.
pub(super) fn table(weights: &[f64], importance: &[f64], entries: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[a].total_cmp(&weights[b]));
    let sorted: Vec<f64> = order.iter().map(|&i| weights[i]).collect();
    let n = sorted.len();
    let (mut weight, mut moment) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    for (at, &i) in order.iter().enumerate() {
        let w = importance[i] + 1e-12;
        weight[at + 1] = weight[at] + w;
        moment[at + 1] = moment[at] + w * weights[i];
    }
    let (lo, hi) = (sorted[0], sorted[n - 1]);
    let start = |i: usize| {
        let even = lo + (hi - lo) * i as f64 / (entries - 1).max(1) as f64;
        let share = sorted[((i as f64 + 0.5) * n as f64 / entries as f64) as usize];
        0.5 * (even + share)
    };
    let mut centres: Vec<f64> = (0..entries).map(start).collect();
    for _ in 0..ROUNDS {
        let mut first = 0;
        let borders: Vec<f64> = centres.windows(2).map(|w| 0.5 * (w[0] + w[1])).chain([f64::INFINITY]).collect();
        for (centre, border) in centres.iter_mut().zip(borders) {
            let end = first + sorted[first..].partition_point(|&w| w <= border);
            let mass = weight[end] - weight[first];
            if mass > 0.0 {
                *centre = (moment[end] - moment[first]) / mass;
            }
            first = end;
        }
        centres.sort_by(f64::total_cmp);
    }
    centres
}

/// The entry of an ascending table nearest to a number.
pub(super) fn nearest(table: &[f64], x: f64) -> usize {
    let above = table.partition_point(|&t| t < x).min(table.len() - 1);
    if above > 0 && x - table[above - 1] <= table[above] - x { above - 1 } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_leaves_out_what_weighs_little() {
        let weights: Vec<f64> = (0..100).map(|i| (i as f64 / 50.0 - 1.0) * 0.1).chain([0.2]).collect();
        let codes = Codes::of(4);
        let all = scale(&weights, None, codes, false, |s| s);
        assert_eq!(all, 0.2 / 7.0);
        let mut importance = vec![1.0; 101];
        importance[100] = 0.0;
        let error = |s: f64| weights[..100].iter().map(|&w| (codes.code(w, s) * s - w).powi(2)).sum::<f64>();
        assert!(error(scale(&weights, Some(&importance), codes, true, |s| s)) < 0.5 * error(all));
    }

    #[test]
    fn a_table_finds_the_clusters() {
        let weights: Vec<f64> =
            (0..400).map(|i| [-1.0, -0.25, 0.5, 2.0][i % 4] + 1e-3 * (i / 4) as f64 / 100.0).collect();
        let table = table(&weights, &vec![1.0; 400], 4);
        for (found, wanted) in table.iter().zip([-1.0, -0.25, 0.5, 2.0]) {
            assert!((found - wanted).abs() < 2e-3, "{table:?}");
        }
        assert_eq!([-9.0, 0.1, 0.2, 1.24, 1.26, 9.0].map(|x| nearest(&table, x)), [0, 1, 2, 2, 3, 3]);
    }
}
