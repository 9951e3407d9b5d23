//! Comparing two computations of the same values, in f64: by the largest error, and scores by their classes too.

use super::bounds;
use super::comparison::Comparison;
use crate::numbers::worse;
use vitc_ir::DType;

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
        reference_finite: true,
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
            all.reference_finite &= a.is_finite();
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

/// Compare maps of scores `[B,classes,positions]`: each pixel is a row.
///
/// # Panics
/// If the lengths differ.
pub fn compare_pixels(
    reference: &[f32],
    candidate: &[f32],
    [classes, positions]: [usize; 2],
    precision: DType,
) -> Comparison {
    let mut all = compare(reference, candidate, 0);
    let doubt = 2.0 * bounds::allowed(precision, all.max_reference);
    let image = (classes * positions).max(1);
    for (r, c) in reference.chunks_exact(image).zip(candidate.chunks_exact(image)) {
        for p in 0..positions {
            let pixel = |map: &[f32]| lead(map.iter().skip(p).step_by(positions));
            let ((best, margin), (found, _)) = (pixel(r), pixel(c));
            all.rows += 1;
            all.classes_kept += usize::from(best == found);
            all.classes_moved += usize::from(best != found && margin > doubt);
            all.margin = all.margin.min(margin);
        }
    }
    all
}

/// Compare a map of classes `[B,positions]` with the scores `[B,classes,positions]` that it is made of. The largest error is how far the score of a
/// pixel's class lies below the best.
///
/// # Panics
/// If the lengths do not fit.
pub fn compare_classes(
    scores: &[f32],
    classes: &[f32],
    [count, positions]: [usize; 2],
    precision: DType,
) -> Comparison {
    assert_eq!(scores.len(), classes.len() * count);
    let mut all = compare(scores, scores, 0);
    let doubt = 2.0 * bounds::allowed(precision, all.max_reference);
    let image = (count * positions).max(1);
    for (scores, classes) in scores.chunks_exact(image).zip(classes.chunks_exact(positions.max(1))) {
        for (p, &found) in classes.iter().enumerate() {
            let row = || scores.iter().skip(p).step_by(positions);
            let (best, margin) = lead(row());
            let known = found >= 0.0 && found.fract() == 0.0 && (found as usize) < count;
            let score = if known { row().nth(found as usize).copied() } else { None };
            let below = match (score, row().nth(best)) {
                (Some(score), Some(best)) => f64::from(*best) - f64::from(score),
                _ => f64::INFINITY,
            };
            let kept = known && best == found as usize;
            all.rows += 1;
            all.classes_kept += usize::from(kept);
            all.classes_moved += usize::from(!kept && (below.is_nan() || below > doubt));
            all.finite &= known;
            all.max_error = worse(all.max_error, below);
            all.margin = all.margin.min(margin);
        }
    }
    all
}

/// Compare boxes `[…,coordinates]`: each coordinate has its own size. What is returned is that of the worst.
///
/// # Panics
/// If the lengths differ.
pub fn compare_boxes(reference: &[f32], candidate: &[f32], coordinates: usize) -> Comparison {
    let column = |values: &[f32], k: usize| values.iter().skip(k).step_by(coordinates).copied().collect::<Vec<f32>>();
    let columns = (0..coordinates).map(|k| compare(&column(reference, k), &column(candidate, k), 0));
    let relative = |c: &Comparison| if c.max_error == 0.0 { 0.0 } else { c.max_error / c.max_reference };
    let mut all = compare(reference, candidate, 0);
    let worst = columns.max_by(|a, b| relative(a).total_cmp(&relative(b)));
    if let Some(worst) = worst.filter(|_| all.finite) {
        (all.max_error, all.max_reference) = (worst.max_error, worst.max_reference);
    }
    all
}

/// The class with the largest score of each position of `[B,classes,positions]`.
pub fn classes_of(scores: &[f32], [classes, positions]: [usize; 2]) -> Vec<f32> {
    let image = (classes * positions).max(1);
    let best = |image: &[f32], p: usize| lead(image.iter().skip(p).step_by(positions)).0 as f32;
    scores.chunks_exact(image).flat_map(|image| (0..positions).map(move |p| best(image, p))).collect()
}

/// Place of the largest value and its lead over the second largest.
fn lead<'v>(row: impl IntoIterator<Item = &'v f32>) -> (usize, f64) {
    let (mut best, mut second) = ((0, f64::NEG_INFINITY), f64::NEG_INFINITY);
    for (i, &v) in row.into_iter().enumerate() {
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

/// 1/(1 + e^−x).
pub fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-x).exp())) as f32
}

/// Softmax of each row of scores, for artifacts that answer with probabilities.
pub fn softmax(scores: &[f32], row: usize) -> Vec<f32> {
    softmax_over(scores, [row, 1])
}

/// Softmax over the classes of scores `[B,classes,positions]`.
pub fn softmax_over(scores: &[f32], [classes, positions]: [usize; 2]) -> Vec<f32> {
    let mut result = vec![0.0; scores.len()];
    let image = (classes * positions).max(1);
    for (scores, result) in scores.chunks(image).zip(result.chunks_mut(image)) {
        for p in 0..positions {
            let row = || scores.iter().skip(p).step_by(positions);
            let max = row().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row().map(|&v| f64::from(v - max).exp()).sum();
            for (p, v) in result.iter_mut().skip(p).step_by(positions).zip(row()) {
                *p = (f64::from(v - max).exp() / sum) as f32;
            }
        }
    }
    result
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
    fn a_pixel_may_change_its_class_where_the_bound_leaves_it_open() {
        // Two classes of four pixels; leads of the reference: 1, 1e-4, 0.5, 0.
        let reference = [1.0, 0.0001, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0];
        let mut candidate = reference;
        candidate[5] = 0.0002;
        let c = compare_pixels(&reference, &candidate, [2, 4], DType::F32);
        assert_eq!((c.rows, c.classes_kept, c.classes_moved), (4, 3, 0));
        candidate[4] = 1.5;
        let c = compare_pixels(&reference, &candidate, [2, 4], DType::F32);
        assert_eq!((c.classes_kept, c.classes_moved), (2, 1));
        assert!(!bounds::agrees_within(1.0, bounds::pixels_moved(DType::F32, &c), &c));
        // The same scores as two images of two pixels.
        let c = compare_pixels(&reference, &reference, [2, 2], DType::F16);
        assert_eq!((c.rows, c.classes_kept, c.max_error), (4, 4, 0.0));
        assert!(bounds::agrees(DType::F16, &c));
    }

    #[test]
    fn a_class_is_judged_by_the_score_it_has() {
        // Two classes of three pixels; leads 1, 1e-4, 0.5.
        let scores = [1.0, 0.0001, 0.5, 0.0, 0.0, 0.0];
        let c = compare_classes(&scores, &[0.0, 1.0, 0.0], [2, 3], DType::F32);
        assert_eq!((c.rows, c.classes_kept, c.classes_moved), (3, 2, 0));
        assert!((c.max_error - 1e-4).abs() < 1e-9 && bounds::agrees_in_classes(DType::F32, &c));
        let c = compare_classes(&scores, &[0.0, 0.0, 1.0], [2, 3], DType::F32);
        assert!(c.classes_moved == 1 && !bounds::agrees_in_classes(DType::F32, &c));
        for none in [2.0, -1.0, 0.5, f32::NAN] {
            let c = compare_classes(&scores, &[none, 0.0, 0.0], [2, 3], DType::F16);
            assert!(!bounds::agrees_in_classes(DType::F16, &c), "{none}");
        }
    }

    #[test]
    fn a_small_coordinate_is_not_measured_by_a_large_one() {
        let reference = [600.0, 1.0, 300.0, 2.0];
        let c = compare_boxes(&reference, &[600.1, 1.0, 300.0, 2.5], 2);
        assert_eq!((c.max_error, c.max_reference), (0.5, 2.0));
        assert!(!bounds::agrees(DType::F16, &c));
    }

    #[test]
    fn a_reference_that_is_not_finite_is_told_apart() {
        let c = |r: f32, c: f32| compare(&[1.0, r], &[1.0, c], 2).reference_finite;
        assert_eq!([c(f32::NAN, 0.0), c(0.0, f32::NAN)], [false, true]);
    }

    #[test]
    fn softmax_goes_over_the_classes_of_each_pixel() {
        let rows = softmax(&[1.0, 2.0, 3.0, 4.0], 2);
        let pixels = softmax_over(&[1.0, 3.0, 2.0, 4.0], [2, 2]);
        assert_eq!(pixels, [rows[0], rows[2], rows[1], rows[3]]);
    }

    #[test]
    fn softmax_sums_to_one_whatever_the_scores() {
        let p = softmax(&[1000.0, 1000.0, -1000.0, 0.0, 0.0, 0.0], 3);
        assert_eq!(p[..3], [0.5, 0.5, 0.0]);
        assert!((p[3..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
