//! Means over windows with gaps, which few formats pool: a convolution of each channel with one number.

use super::super::super::tensor::Elem;
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::Done;
use super::pooling::Window;
use vitc_ir::{BinaryKind, Op, Value};

/// Means of windows of `x[B,C,H,W]` in which all padding counts as zeros.
pub(super) fn with_zeros(cx: &mut Cx, x: Value, window: &Window, path: &str) -> Done<Value> {
    let Window { kernel, stride, pad, dilation, .. } = *window;
    let channels = cx.size(cx.shape(x)[1])?;
    let elements = kernel[0] * kernel[1];
    let each = vec![Num::float(1.0 / elements as f64); channels * elements];
    let each = Known::new(Elem::F32, vec![channels, 1, kernel[0], kernel[1]], each);
    let each = cx.spell(&each, &format!("{path}.kernel"))?;
    cx.push(Op::Conv { stride, pad, dilation, groups: channels }, &[x, each], path)
}

/// Means over the elements of the map in each window; with `padded` the padding counts, but not what hangs over.
pub(super) fn mean(cx: &mut Cx, x: Value, window: &Window, padded: bool, path: &str) -> Done<Value> {
    let sizes = [2, 3].map(|axis| cx.shape(x)[axis]);
    let sums = with_zeros(cx, x, window, &format!("{path}.sums"))?;
    let mut counts = Vec::new();
    for (i, size) in sizes.into_iter().enumerate() {
        let (size, windows) = (cx.size(size)?, cx.size(cx.shape(sums)[2 + i])?);
        counts.push(along(window, i, size, windows, padded));
    }
    if counts.iter().flatten().any(|&n| n == 0) {
        return Err("has windows in which nothing of the map lies".into());
    }
    if (0..2).all(|i| counts[i].iter().all(|&n| n == window.kernel[i])) {
        return Ok(sums);
    }
    let elements = window.kernel[0] * window.kernel[1];
    let one = |r: &usize, c: &usize| Num::float(elements as f64 / (r * c) as f64);
    let factors = counts[0].iter().flat_map(|r| counts[1].iter().map(move |c| one(r, c))).collect();
    let factors = Known::new(Elem::F32, vec![counts[0].len(), counts[1].len()], factors);
    let factors = cx.spell(&factors, &format!("{path}.factors"))?;
    cx.binary(BinaryKind::Mul, sums, factors, path)
}

/// How many elements of each window along an axis count.
fn along(window: &Window, axis: usize, size: usize, windows: usize, padded: bool) -> Vec<usize> {
    let (before, after) = (window.pad[axis], window.pad[axis + 2] - window.overhang[axis]);
    let counted = if padded { 0..before + size + after } else { before..before + size };
    let one = |o: usize| {
        let at = |u: usize| o * window.stride[axis] + u * window.dilation[axis];
        (0..window.kernel[axis]).filter(|&u| counted.contains(&at(u))).count()
    };
    (0..windows).map(one).collect()
}
