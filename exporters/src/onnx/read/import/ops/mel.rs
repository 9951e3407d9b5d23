//! The matrix that turns spectra into mel bands.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::known::{Known, Num, rounded};
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "MelWeightMatrix" { Some(matrix) } else { None }
}

/// Most bands, and most samples of a transform.
const MOST: f64 = 65536.0;

/// `[samples/2 + 1, bands]`: a triangle for each band over the bins of a transform, between bins of equal distance in mel.
fn matrix(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mut all = Vec::new();
    for (slot, name) in ["number of bands", "length", "rate", "lower edge", "upper edge"].into_iter().enumerate() {
        all.push(cx.reals(c.needed(slot)?, name)?.first().copied().unwrap_or(0.0));
    }
    let (bands, length, rate, edges) = (all[0], all[1], all[2], [all[3], all[4]]);
    if !(1.0..=MOST).contains(&bands) || !(1.0..=MOST).contains(&length) || rate < 1.0 {
        return Err(format!("makes {bands} bands of {length} samples").into());
    }
    let elem = Elem::of(i32::try_from(c.int("output_datatype", 1)?).unwrap_or(0));
    if !elem.is_float() {
        return Err(format!("makes {}", elem.word()).into());
    }
    let (bands, bins) = (bands as usize, length as usize / 2 + 1);
    let total = places::count(&[bins, bands]).ok_or("is too large")?;
    let [low, high] = edges.map(|hertz| 2595.0 * (1.0 + hertz / 700.0).log10());
    let step = (high - low) / (bands + 2) as f64;
    let bin = |i: usize| {
        let hertz = 700.0 * (10f64.powf((low + i as f64 * step) / 2595.0) - 1.0);
        ((length + 1.0) * hertz / rate).floor()
    };
    let mut data = vec![0.0; total];
    for band in 0..bands {
        let [lower, centre, upper] = [band, band + 1, band + 2].map(bin);
        if lower < 0.0 || upper > bins as f64 {
            return Err("has a band beyond its spectrum".into());
        }
        for j in lower as usize..(upper as usize).max(centre as usize + 1).min(bins) {
            let at = j as f64;
            data[j * bands + band] = match at <= centre {
                true if centre == lower => 1.0,
                true => (at - lower) / (centre - lower),
                false => (upper - at) / (upper - centre),
            };
        }
    }
    let data = data.into_iter().map(|x| Num::float(rounded(x, elem))).collect();
    Ok(vec![Val::known(Known::new(elem, vec![bins, bands], data))])
}
