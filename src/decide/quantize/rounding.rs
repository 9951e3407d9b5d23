//! Rounding that keeps a layer's outputs: column by column, the error of each is passed on to those that are still free.
//!
//! With H the mean of products of the input's terms, the error of a rounded row is `e·H·eᵀ`. Columns are rounded from the one with the largest mean square
//! on; what a column errs by is subtracted from later ones in the proportion in which they can take it back: row of the upper Cholesky factor of H⁻¹
//! (GPTQ, Frantar et al. 2022). Sums have a fixed order, so a machine always gives the same codes.

use ndarray::Array2;

/// Share of the mean diagonal that is added to it.
const DAMPING: f64 = 0.01;

/// Round rows of `k` weights: `round(row, column, x)` gives what `x` becomes. `rows` are replaced.
pub(super) fn round(rows: &mut [f64], h: &Array2<f64>, round: &dyn Fn(usize, usize, f64) -> f64) {
    let k = h.nrows();
    let outputs = rows.len() / k.max(1);
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| h[[b, b]].total_cmp(&h[[a, a]]).then(a.cmp(&b)));
    let Some(factor) = factor(&damped(h, &order)) else {
        rows.iter_mut().enumerate().for_each(|(i, w)| *w = round(i / k, i % k, *w));
        return;
    };
    // Columns of weights behind each other, in order.
    let mut columns: Vec<f64> =
        order.iter().flat_map(|&c| (0..outputs).map(move |o| (c, o))).map(|(c, o)| rows[o * k + c]).collect();
    let mut error = vec![0.0; outputs];
    for (at, &column) in order.iter().enumerate() {
        let (done, free) = columns.split_at_mut((at + 1) * outputs);
        let current = &mut done[at * outputs..];
        let u = &factor[at * k..(at + 1) * k];
        for (o, (w, e)) in current.iter_mut().zip(&mut error).enumerate() {
            let rounded = round(o, column, *w);
            *e = (*w - rounded) / u[at];
            *w = rounded;
        }
        for (later, &share) in free.chunks_exact_mut(outputs).zip(&u[at + 1..]) {
            later.iter_mut().zip(&error).for_each(|(w, e)| *w -= share * e);
        }
    }
    for (at, &column) in order.iter().enumerate() {
        (0..outputs).for_each(|o| rows[o * k + column] = columns[at * outputs + o]);
    }
}

/// `W + C·(H + r)⁻¹`: the weights that fit the wanted outputs best, C the covariance of what lacks with the input. `ridge` is r.
pub(super) fn refit(rows: &mut [f64], h: &Array2<f64>, lacking: &Array2<f64>, ridge: f64) {
    let k = h.nrows();
    let order: Vec<usize> = (0..k).collect();
    let mut a = ordered(h, &order);
    (0..k).for_each(|i| a[i * k + i] += ridge);
    let Some(upper) = upper_factor(&a, k) else { return };
    // A = R·Rᵀ, R upper: solve z·Rᵀ = c from the last column, then w·R... row by row.
    for (row, c) in rows.chunks_exact_mut(k).zip(lacking.rows()) {
        let mut z: Vec<f64> = c.to_vec();
        for i in (0..k).rev() {
            let r = &upper[i * k..(i + 1) * k];
            let known: f64 = (i + 1..k).map(|j| r[j] * z[j]).sum();
            z[i] = (z[i] - known) / r[i];
        }
        for i in 0..k {
            z[i] /= upper[i * k + i];
            let (done, rest) = z.split_at_mut(i + 1);
            let r = &upper[i * k + i + 1..(i + 1) * k];
            rest.iter_mut().zip(r).for_each(|(z, r)| *z -= r * done[i]);
        }
        row.iter_mut().zip(&z).for_each(|(w, z)| *w += z);
    }
}

fn ordered(h: &Array2<f64>, order: &[usize]) -> Vec<f64> {
    order.iter().flat_map(|&i| order.iter().map(move |&j| h[[i, j]])).collect()
}

fn damped(h: &Array2<f64>, order: &[usize]) -> (Vec<f64>, usize) {
    let k = order.len();
    let mean = h.diag().sum() / k.max(1) as f64;
    let mut a = ordered(h, order);
    (0..k).for_each(|i| a[i * k + i] += DAMPING * mean + 1e-10 * (mean + 1e-12));
    (a, k)
}

/// U with `A⁻¹ = Uᵀ·U`, upper: the inverse of R with `A = R·Rᵀ`. `None` if A is not positive.
fn factor((a, k): &(Vec<f64>, usize)) -> Option<Vec<f64>> {
    let (r, k) = (upper_factor(a, *k)?, *k);
    let mut inverse = vec![0.0; k * k];
    let mut rest = vec![0.0; k];
    for i in 0..k {
        rest.fill(0.0);
        rest[i] = 1.0;
        for j in i..k {
            let u = rest[j] / r[j * k + j];
            inverse[i * k + j] = u;
            rest[j + 1..].iter_mut().zip(&r[j * k + j + 1..(j + 1) * k]).for_each(|(t, r)| *t -= u * r);
        }
    }
    Some(inverse)
}

/// R with `A = R·Rᵀ`, upper. `None` if A is not positive.
fn upper_factor(a: &[f64], k: usize) -> Option<Vec<f64>> {
    let mut r = vec![0.0; k * k];
    for j in (0..k).rev() {
        let own = &r[j * k + j + 1..(j + 1) * k];
        let pivot = a[j * k + j] - dot(own, own);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        let root = pivot.sqrt();
        let own = own.to_vec();
        r[j * k + j] = root;
        for i in 0..j {
            r[i * k + j] = (a[i * k + j] - dot(&r[i * k + j + 1..(i + 1) * k], &own)) / root;
        }
    }
    Some(r)
}

/// In four sums, each in order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    for (a, b) in a4.iter().zip(b4) {
        (0..4).for_each(|i| sums[i] += a[i] * b[i]);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_ir::testing::Rng;

    fn correlated(rng: &mut Rng, k: usize) -> Array2<f64> {
        let x = Array2::from_shape_simple_fn((200, k), || rng.normal());
        let mix = Array2::from_shape_simple_fn((k, k), || rng.normal());
        let x = x.dot(&mix);
        x.t().dot(&x) / 200.0
    }

    fn error(a: &[f64], b: &[f64], h: &Array2<f64>) -> f64 {
        let e = Array2::from_shape_vec((a.len() / h.nrows(), h.nrows()), a.iter().zip(b).map(|(a, b)| a - b).collect());
        let e = e.unwrap();
        (e.dot(h) * &e).sum()
    }

    #[test]
    fn passing_errors_on_beats_the_nearest_number() {
        let rng = &mut Rng::new(3);
        let (h, step) = (correlated(rng, 12), 0.25);
        let rows: Vec<f64> = (0..60).map(|_| rng.normal()).collect();
        let nearest = |x: f64| (x / step).round() * step;
        let mut rounded = rows.clone();
        round(&mut rounded, &h, &|_, _, x| nearest(x));
        assert!(rounded.iter().all(|&x| nearest(x) == x));
        let plain: Vec<f64> = rows.iter().map(|&x| nearest(x)).collect();
        assert!(error(&rounded, &rows, &h) < 0.6 * error(&plain, &rows, &h));
    }

    #[test]
    fn factors_are_inverse() {
        let h = correlated(&mut Rng::new(5), 7);
        let order: Vec<usize> = (0..7).collect();
        let u = Array2::from_shape_vec((7, 7), factor(&(ordered(&h, &order), 7)).unwrap()).unwrap();
        let identity = u.t().dot(&u).dot(&h);
        assert!((identity - Array2::<f64>::eye(7)).iter().all(|e| e.abs() < 1e-6));
        assert_eq!(factor(&(vec![1.0, 2.0, 2.0, 1.0], 2)), None);
    }

    #[test]
    fn a_refit_finds_the_weights_that_made_the_outputs() {
        let rng = &mut Rng::new(7);
        let h = correlated(rng, 6);
        let truth = Array2::from_shape_simple_fn((3, 6), || rng.normal());
        let mut rows = vec![0.0; 18];
        refit(&mut rows, &h, &truth.dot(&h), 0.0);
        assert!(rows.iter().zip(&truth).all(|(a, b)| (a - b).abs() < 1e-6), "{rows:?} {truth}");
    }
}
