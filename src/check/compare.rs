//! Comparing two computations of the same values, in f64.

use crate::numbers::{figure, worse};
use serde::Serialize;

/// How far a candidate's values are from the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Largest |candidate − reference|; not finite if a value is not: NaN if one is, else infinite. In JSON the words `nan` and `inf`.
    #[serde(serialize_with = "figure")]
    pub max_error: f64,
    /// Largest |reference|.
    pub max_reference: f64,
    /// Every value on both sides is finite.
    pub finite: bool,
    /// Rows (images) whose largest value stands at the same place on both sides.
    pub classes_kept: usize,
    /// Rows where it stands elsewhere although the reference's lead exceeds twice the row's error.
    pub classes_moved: usize,
    /// Number of rows; 0 for values that are no scores.
    pub rows: usize,
    /// Smallest lead of the largest over the second largest reference value, over all rows; infinite, and absent in JSON, without a second value.
    #[serde(skip_serializing_if = "has_none")]
    pub margin: f64,
}

/// Whether a margin stands for none.
fn has_none(margin: &f64) -> bool {
    margin.is_infinite()
}

/// Compare values row by row; a row is one image's scores, `row` elements long. With `row` 0 the values are no scores: nothing is said of classes.
///
/// # Panics
/// If the lengths differ; callers compare shapes first.
pub fn compare(reference: &[f32], candidate: &[f32], row: usize) -> Comparison {
    assert_eq!(reference.len(), candidate.len());
    let scores = row > 0;
    let row = if scores { row } else { reference.len().max(1) };
    let mut all = Comparison {
        max_error: 0.0,
        max_reference: 0.0,
        finite: true,
        classes_kept: 0,
        classes_moved: 0,
        rows: 0,
        margin: f64::INFINITY,
    };
    for (r, c) in reference.chunks(row).zip(candidate.chunks(row)) {
        let mut error: f64 = 0.0;
        for (&a, &b) in r.iter().zip(c) {
            let finite = a.is_finite() && b.is_finite();
            all.finite &= finite;
            let found = match finite {
                true => (f64::from(a) - f64::from(b)).abs(),
                false if a.is_nan() || b.is_nan() => f64::NAN,
                false => f64::INFINITY,
            };
            error = worse(error, found);
            if a.is_finite() {
                all.max_reference = all.max_reference.max(f64::from(a).abs());
            }
        }
        all.max_error = worse(all.max_error, error);
        if !scores {
            continue;
        }
        let (best, margin) = lead(r);
        let kept = best == lead(c).0;
        all.rows += 1;
        all.classes_kept += usize::from(kept);
        all.classes_moved += usize::from(!kept && margin > 2.0 * error);
        all.margin = all.margin.min(margin);
    }
    all
}

/// Place of the largest value and its lead over the second largest.
fn lead(row: &[f32]) -> (usize, f64) {
    let (mut best, mut second) = ((0, f64::NEG_INFINITY), f64::NEG_INFINITY);
    for (i, &v) in row.iter().enumerate() {
        let v = f64::from(v);
        if v > best.1 {
            second = best.1;
            best = (i, v);
        } else if v > second {
            second = v;
        }
    }
    (best.0, best.1 - second)
}

/// Softmax of each row of scores, for artifacts that answer with probabilities.
pub fn softmax(scores: &[f32], row: usize) -> Vec<f32> {
    let rows = scores.chunks(row.max(1)).flat_map(|r| {
        let max = r.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exps: Vec<f64> = r.iter().map(|&v| f64::from(v - max).exp()).collect();
        let sum: f64 = exps.iter().sum();
        exps.into_iter().map(move |e| (e / sum) as f32).collect::<Vec<_>>()
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_classes_are_counted_by_row() {
        let c = compare(&[1.0, 3.0, 2.0, 5.0, 0.0, 0.0], &[1.0, 2.9, 2.0, 5.0, 0.5, 0.0], 3);
        assert!((c.max_error - 0.5).abs() < 1e-9);
        assert_eq!((c.max_reference, c.rows, c.classes_kept, c.classes_moved), (5.0, 2, 2, 0));
        assert_eq!(c.margin, 1.0);
    }

    #[test]
    fn values_that_are_no_scores_have_no_class() {
        let c = compare(&[1.0, 3.0, -4.0], &[1.0, 2.5, -4.0], 0);
        assert_eq!((c.max_error, c.max_reference, c.rows, c.classes_moved), (0.5, 4.0, 0, 0));
    }

    #[test]
    fn a_value_that_is_not_finite_never_agrees() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (r, c) in [([1.0, 2.0], [1.0, bad]), ([1.0, bad], [1.0, 2.0]), ([1.0, bad], [1.0, bad])] {
                let c = compare(&r, &c, 2);
                assert!(!c.finite && !c.max_error.is_finite());
                assert!(!super::super::bounds::agrees(vitc_ir::DType::F16, &c));
                let json = serde_json::to_value(c).expect("serialises");
                assert_eq!(json["max_error"], if bad.is_nan() { "nan" } else { "inf" });
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_whatever_the_scores() {
        let p = softmax(&[1000.0, 1000.0, -1000.0, 0.0, 0.0, 0.0], 3);
        assert_eq!(p[..3], [0.5, 0.5, 0.0]);
        assert!((p[3..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
