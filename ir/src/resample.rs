//! Resizing as sums of samples: which samples of an axis each result reads, and how much of each.
//!
//! The one definition of [`Sampling`]: the evaluator applies it, constants are made by it, and lowerings compare forms by it.

use crate::op::{Coordinates, Kernel, Rounding, Sampling};

/// A result's samples with their weights, by ascending sample, each once.
pub type Taps = Vec<(usize, f64)>;

/// What each of `m` results reads of `n` samples, neither of them 0; `scale` is a factor that is not m/n.
pub fn taps(sampling: &Sampling, n: usize, m: usize, scale: Option<f64>) -> Vec<Taps> {
    let axis = Axis { n, m, scale };
    (0..m).map(|i| axis.result(sampling, i)).collect()
}

/// Whether two lists of taps are the same matrix up to `tolerance` in every element.
pub fn equal(a: &[Taps], b: &[Taps], tolerance: f64) -> bool {
    let weight = |taps: &Taps, at: usize| taps.iter().find(|t| t.0 == at).map_or(0.0, |t| t.1);
    let rows = a.iter().zip(b);
    a.len() == b.len()
        && rows
            .into_iter()
            .all(|(a, b)| a.iter().chain(b).all(|&(at, _)| (weight(a, at) - weight(b, at)).abs() <= tolerance))
}

/// Whether f32 holds the factor from `n` samples to `m` results.
pub fn is_exact(n: usize, m: usize) -> bool {
    f64::from(m as f32 / n as f32) * n as f64 == m as f64
}

/// Whether the samples at or in front of i·n/m are the same to a reader that computes these places in f32, with a factor that it rounds: none of
/// `m` results but the first lies on a sample, and what lies nearest to one is farther from it than a reader is from the truth.
pub fn is_steady(n: usize, m: usize) -> bool {
    let on_samples = (1..m).any(|i| (i * n).is_multiple_of(m));
    is_exact(n, m) || !on_samples && n.saturating_mul(m) < 1 << 20
}

/// An axis and the factor of its coordinates.
struct Axis {
    n: usize,
    m: usize,
    scale: Option<f64>,
}

/// A coordinate as a whole number and what is left of it.
struct Place {
    floor: i128,
    rest: f64,
}

impl Place {
    fn value(&self) -> f64 {
        self.floor as f64 + self.rest
    }
}

impl Axis {
    fn factor(&self) -> f64 {
        self.scale.unwrap_or(self.m as f64 / self.n as f64)
    }

    fn result(&self, sampling: &Sampling, i: usize) -> Taps {
        let whole = self.n == self.m && self.factor() == 1.0;
        if whole {
            return vec![(i, 1.0)];
        }
        let place = self.coordinate(sampling.coordinates, i);
        if let Kernel::Nearest(rounding) = sampling.kernel {
            return vec![(self.clamped(rounded(&place, rounding)), 1.0)];
        }
        let stretch = if sampling.antialias { self.factor().min(1.0) } else { 1.0 };
        if stretch < 1.0 {
            return self.stretched(sampling, &place, stretch);
        }
        match sampling.kernel {
            Kernel::Nearest(_) | Kernel::Linear => self.linear(&place),
            Kernel::Cubic(a) => {
                let taps = (-1..=2).map(|d| (place.floor + d, cubic(place.rest - d as f64, a.0)));
                self.collected(taps, sampling.exclude_outside)
            }
        }
    }

    /// Two neighbours of the coordinate, which is clamped to the samples.
    fn linear(&self, place: &Place) -> Taps {
        let last = self.n as i128 - 1;
        if place.floor < 0 || place.floor >= last || place.rest == 0.0 {
            return vec![(self.clamped(place.floor), 1.0)];
        }
        let low = self.clamped(place.floor);
        vec![(low, 1.0 - place.rest), (low + 1, place.rest)]
    }

    /// A kernel that reaches 1/`stretch` times as far.
    fn stretched(&self, sampling: &Sampling, place: &Place, stretch: f64) -> Taps {
        let (reach, weight): (f64, &dyn Fn(f64) -> f64) = match sampling.kernel {
            Kernel::Cubic(a) => (2.0 / stretch, &move |t| cubic(t, a.0)),
            Kernel::Nearest(_) | Kernel::Linear => (1.0 / stretch, &|t: f64| (1.0 - t.abs()).max(0.0)),
        };
        let x = place.value();
        let (first, end) = ((x + 1.0 - reach).floor() as i128, (x + 1.0 + reach).floor() as i128);
        let taps = (first..end).map(|k| (k, weight((k as f64 - x) * stretch)));
        let mut taps = self.collected(taps, sampling.exclude_outside);
        normalise(&mut taps);
        taps
    }

    /// Taps on the samples: those beyond a border read it, or are left out and the others scaled.
    fn collected(&self, taps: impl Iterator<Item = (i128, f64)>, exclude: bool) -> Taps {
        let mut all: Taps = Vec::new();
        for (at, weight) in taps.filter(|&(at, _)| !exclude || (0..self.n as i128).contains(&at)) {
            let at = self.clamped(at);
            match all.last_mut() {
                Some(last) if last.0 == at => last.1 += weight,
                _ => all.push((at, weight)),
            }
        }
        if exclude {
            normalise(&mut all);
        }
        all
    }

    fn clamped(&self, at: i128) -> usize {
        at.clamp(0, self.n as i128 - 1) as usize
    }

    fn coordinate(&self, coordinates: Coordinates, i: usize) -> Place {
        match self.scale {
            None => self.exact(coordinates, i),
            // They do not ask for the factor.
            Some(_) if coordinates == Coordinates::AlignCorners => self.exact(coordinates, i),
            Some(scale) => {
                let x = f64::from(self.single(coordinates, i as f32, scale as f32));
                Place { floor: x.floor() as i128, rest: x - x.floor() }
            }
        }
    }

    /// As a fraction, so that no tie is lost.
    fn exact(&self, coordinates: Coordinates, i: usize) -> Place {
        let [n, m, i] = [self.n, self.m, i].map(|v| v as i128);
        let (over, under) = match coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if m == 1 => (0, 1),
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel | Coordinates::HalfPixelSymmetric => {
                ((2 * i + 1) * n - m, 2 * m)
            }
            Coordinates::AlignCorners => (i * (n - 1), m - 1),
            Coordinates::Asymmetric => (i * n, m),
            Coordinates::TfHalfPixel => ((2 * i + 1) * n, 2 * m),
        };
        Place { floor: over.div_euclid(under), rest: over.rem_euclid(under) as f64 / under as f64 }
    }

    /// In f32, in the order of ONNX' own runtime.
    fn single(&self, coordinates: Coordinates, i: f32, scale: f32) -> f32 {
        let (n, m) = (self.n as f32, self.m as f32);
        let half_pixel = (i + 0.5) / scale - 0.5;
        match coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if self.m == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners => i * (n - 1.0) / (m - 1.0),
            Coordinates::Asymmetric => i / scale,
            Coordinates::TfHalfPixel => (i + 0.5) / scale,
            Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - m / (scale * n)) + half_pixel,
        }
    }
}

fn rounded(place: &Place, rounding: Rounding) -> i128 {
    let up = match rounding {
        Rounding::Floor => false,
        Rounding::Ceil => place.rest > 0.0,
        Rounding::PreferFloor => place.rest > 0.5,
        Rounding::PreferCeil => place.rest >= 0.5,
    };
    place.floor + i128::from(up)
}

/// Keys' kernel of parameter `a` at distance `t`.
pub fn cubic(t: f64, a: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}

fn normalise(taps: &mut Taps) {
    let sum: f64 = taps.iter().map(|t| t.1).sum();
    taps.iter_mut().for_each(|t| t.1 /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::Real;

    fn matrix(sampling: Sampling, n: usize, m: usize, scale: Option<f64>) -> Vec<Vec<f64>> {
        let dense = |row: Taps| {
            let mut all = vec![0.0; n];
            row.into_iter().for_each(|(at, w)| all[at] += w);
            all
        };
        taps(&sampling, n, m, scale).into_iter().map(dense).collect()
    }

    /// Every form sums to one, and reads nothing but samples, at any sizes.
    #[test]
    fn weights_sum_to_one() {
        use Coordinates::*;
        let kernels = [Kernel::Nearest(Rounding::PreferFloor), Kernel::Linear, Kernel::Cubic(Real(-0.5))];
        for coordinates in [HalfPixel, PytorchHalfPixel, AlignCorners, Asymmetric, TfHalfPixel, HalfPixelSymmetric] {
            for kernel in kernels {
                for flags in 0..4 {
                    let (antialias, exclude_outside) = (flags & 1 == 1, flags & 2 == 2);
                    let sampling = Sampling { kernel, coordinates, antialias, exclude_outside };
                    for (n, m, scale) in [(5, 8, Some(1.7)), (7, 3, None), (3, 7, None), (1, 4, None), (9, 1, None)] {
                        for row in matrix(sampling, n, m, scale) {
                            let sum: f64 = row.iter().sum();
                            assert!((sum - 1.0).abs() < 1e-12, "{sampling:?} {n} to {m}: {row:?}");
                        }
                    }
                }
            }
        }
    }

    /// Division by one rounded factor and multiplication by the other find the samples wherever they are said to, and somewhere else do not.
    #[test]
    fn steady_samples_survive_rounded_factors() {
        let mut wrong = 0;
        for (n, m) in (1..160).flat_map(|n| (1..160).map(move |m| (n, m))).chain([(1023, 1024), (1021, 1000)]) {
            let (factor, inverse) = (m as f32 / n as f32, n as f32 / m as f32);
            let right = (0..m).all(|i| {
                let divided = (i as f32 / factor).floor() as usize;
                let multiplied = (i as f32 * inverse).floor() as usize;
                divided == i * n / m && (is_exact(n, m) || multiplied == i * n / m)
            });
            assert!(right || !is_steady(n, m), "{n} to {m}");
            wrong += usize::from(!right);
        }
        assert!(wrong > 0 && is_steady(3, 7) && is_steady(1023, 1024) && !is_steady(14, 2) && !is_steady(14, 26));
    }

    /// Numbers from a reference in another language that agrees with ONNX Runtime 1.31 in all modes.
    #[test]
    fn known_rows() {
        let plain = |kernel, coordinates| Sampling::of(kernel, coordinates);
        let (linear, cubic) = (Kernel::Linear, Kernel::Cubic(Real(-0.75)));
        let excluding = Sampling { exclude_outside: true, ..Sampling::CUBIC };
        let stretched = Sampling { antialias: true, ..excluding };
        let smooth = Sampling { antialias: true, ..Sampling::LINEAR };
        let soft = plain(Kernel::Cubic(Real(-0.5)), Coordinates::HalfPixel);
        let symmetric = plain(linear, Coordinates::HalfPixelSymmetric);
        type Case<'a> = (Sampling, [usize; 3], Option<f64>, &'a [f64]);
        let cases: [Case<'_>; 7] = [
            (
                plain(cubic, Coordinates::HalfPixel),
                [4, 8, 4],
                None,
                &[-0.03515625, 0.26171875, 0.87890625, -0.10546875],
            ),
            (excluding, [4, 8, 1], None, &[0.795053004, 0.236749117, -0.0318021201, 0.0]),
            (
                stretched,
                [7, 3, 0],
                None,
                &[0.387182847, 0.438584711, 0.228304333, 1.09182323e-7, -0.0480640241, -0.00600797571, 0.0],
            ),
            (smooth, [7, 3, 1], None, &[0.0, 0.058823528, 0.235294112, 0.41176472, 0.235294112, 0.058823528, 0.0]),
            // A factor of 1.7 makes 8 of 5 and counts with 1/1.7.
            (Sampling::LINEAR_ASYMMETRIC, [5, 8, 1], Some(1.7), &[0.411764741, 0.588235259, 0.0, 0.0, 0.0]),
            (symmetric, [5, 8, 6], Some(1.7), &[0.0, 0.0, 0.0, 0.529412031, 0.470587969]),
            (soft, [5, 8, 3], Some(1.7), &[-0.0543837694, 0.48105783, 0.642212063, -0.0688861235, 0.0]),
        ];
        for (sampling, [n, m, at], scale, wanted) in cases {
            let row = &matrix(sampling, n, m, scale)[at];
            assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 3e-7), "{sampling:?}: {row:?}");
        }
    }

    #[test]
    fn nearest_samples_by_every_rounding() {
        use {Coordinates as C, Rounding as R};
        let cases: [(C, R, [usize; 8], [usize; 4]); 8] = [
            (C::HalfPixel, R::Floor, [0, 0, 1, 1, 2, 2, 3, 4], [0, 1, 3, 4]),
            (C::HalfPixel, R::Ceil, [0, 1, 2, 2, 3, 3, 4, 4], [1, 2, 4, 5]),
            (C::HalfPixel, R::PreferFloor, [0, 0, 1, 2, 2, 3, 4, 4], [0, 2, 3, 5]),
            (C::Asymmetric, R::PreferFloor, [0, 1, 1, 2, 2, 3, 4, 4], [0, 1, 3, 4]),
            (C::Asymmetric, R::PreferCeil, [0, 1, 1, 2, 3, 3, 4, 4], [0, 2, 3, 5]),
            (C::AlignCorners, R::Ceil, [0, 1, 2, 2, 3, 3, 4, 4], [0, 2, 4, 5]),
            (C::AlignCorners, R::PreferFloor, [0, 1, 1, 2, 2, 3, 3, 4], [0, 2, 3, 5]),
            (C::TfHalfPixel, R::Floor, [0, 0, 1, 2, 2, 3, 4, 4], [0, 2, 3, 5]),
        ];
        for (coordinates, rounding, grown, shrunk) in cases {
            let sampling = Sampling::of(Kernel::Nearest(rounding), coordinates);
            let places = |n, m| taps(&sampling, n, m, None).iter().map(|t| t[0].0).collect::<Vec<_>>();
            assert_eq!(
                (&places(5, 8)[..], &places(6, 4)[..]),
                (&grown[..], &shrunk[..]),
                "{coordinates:?} {rounding:?}"
            );
        }
    }
}
