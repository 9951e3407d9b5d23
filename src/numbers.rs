//! Figures as people read them, and as JSON can hold them; the largest of them.

use serde::Serializer;

/// `3510000` as `3.51 M`: three significant digits, decimal prefixes.
pub(crate) fn si(n: u64) -> String {
    let mut value = n as f64;
    let mut prefix = "";
    for next in [" k", " M", " G", " T"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    if prefix.is_empty() {
        return n.to_string();
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}{prefix}")
}

/// Place of the largest number, of equal ones the first.
pub(crate) fn best(scores: &[f32]) -> usize {
    let better = |best: usize, i: usize| if scores[i].total_cmp(&scores[best]).is_gt() { i } else { best };
    (0..scores.len()).fold(0, better)
}

/// Signal to noise from the squares of values and of what they are off by; what is zero and stays so has lost nothing.
pub(crate) fn decibels([signal, noise]: [f64; 2]) -> f64 {
    let signal = if noise == 0.0 { signal.max(1.0) } else { signal };
    // `max` would take what is not a number for nothing.
    10.0 * (signal / if noise < 1e-300 { 1e-300 } else { noise }).log10()
}

/// `14100000` as `14.1 MB`.
pub(crate) fn bytes(n: u64) -> String {
    let text = si(n);
    if text.contains(' ') { format!("{text}B") } else { format!("{text} B") }
}

/// A magnitude with three significant digits, as a plain number where that is short: `0.0012`, `12.5`, `1.37e3`, `inf`, `nan`.
pub(crate) fn magnitude(x: f64) -> String {
    match x.abs() {
        a if a.is_nan() => "nan".into(),
        a if a.is_infinite() => if x > 0.0 { "inf" } else { "-inf" }.into(),
        0.0 => "0".into(),
        a if (0.01..999.5).contains(&a) => {
            let digits = if a < 0.9995 { 3 } else { 2usize.saturating_sub((a * 1.0005).log10() as usize) };
            format!("{x:.digits$}")
        }
        _ => format!("{x:.2e}"),
    }
}

/// `1 operator`, `2 operators`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// For serde: a number, or the word `inf`, `-inf` or `nan`, for which JSON has no number.
pub(crate) fn figure<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
    if x.is_finite() { to.serialize_f64(*x) } else { to.serialize_str(&magnitude(*x)) }
}

/// The larger of two figures; a NaN wins, because it must not get lost.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (3_512_345, "3.51 M"),
            (14_149_999, "14.1 M"),
            (999_600, "1.00 M"),
            (99_960, "100 k"),
            (2_560_000_000, "2.56 G"),
        ];
        for (n, text) in cases {
            assert_eq!(si(n), text);
        }
        assert_eq!((bytes(12), bytes(14_100_000)), ("12 B".to_string(), "14.1 MB".to_string()));
    }

    #[test]
    fn magnitudes_are_short() {
        let cases = [
            (0.0, "0"),
            (0.012345, "0.012"),
            (0.99951, "1.00"),
            (1.2345, "1.23"),
            (9.9951, "10.0"),
            (12.345, "12.3"),
            (-123.4, "-123"),
            (1370.2, "1.37e3"),
            (1.5e-5, "1.50e-5"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (x, text) in cases {
            assert_eq!(magnitude(x), text);
        }
    }

    #[test]
    fn a_nan_is_never_lost() {
        assert_eq!(worse(1.0, 2.0), 2.0);
        assert!(worse(f64::NAN, 2.0).is_nan() && worse(f64::INFINITY, f64::NAN).is_nan());
    }
}
