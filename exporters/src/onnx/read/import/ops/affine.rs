//! Grids of places that a matrix turns, for sampling.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::places;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::float;
use vitc_ir::{Dim, Op};

pub(super) fn find(op: &str) -> Option<Read> {
    if op == "AffineGrid" { Some(grid) } else { None }
}

/// Places −1..1 of the elements of an axis, with the outermost at ±1 or with their edges there.
fn line(size: usize, align: bool) -> Done<Vec<f64>> {
    places::count(&[size]).ok_or("is too large")?;
    match (size, align) {
        (0 | 1, true) => Err("has an axis of one element, which cannot reach from -1 to 1".into()),
        (n, true) => Ok((0..n).map(|i| 2.0 * i as f64 / (n - 1) as f64 - 1.0).collect()),
        (n, false) => Ok((0..n).map(|i| (2 * i + 1) as f64 / n as f64 - 1.0).collect()),
    }
}

/// The coordinates of each place, the last axis first, and a 1, times the matrix `[N,k,k + 1]` of each item.
fn grid(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let theta = float(cx, c.needed(0)?, &c.at("theta"))?;
    let dims = cx.shape(theta);
    let sizes = cx.numbers(c.needed(1)?, "size")?;
    let sizes = sizes.iter().skip(2).map(|n| n.plain().and_then(|n| usize::try_from(n).ok()));
    let sizes: Vec<usize> = sizes.collect::<Option<_>>().ok_or_else(|| Refusal::new("has a size that is not known"))?;
    let k = sizes.len();
    if !(2..=3).contains(&k) || dims.len() != 3 || dims[1..] != [Dim::Fixed(k), Dim::Fixed(k + 1)] {
        return Err(format!("turns a grid of {sizes:?} by {}", vitc_ir::Shape(dims)).into());
    }
    let align = c.int("align_corners", 0)? != 0;
    let lines = sizes.iter().map(|&n| line(n, align)).collect::<Done<Vec<_>>>()?;
    let total = places::count(&sizes).ok_or("is too large")?;
    let strides = places::strides(&sizes);
    let coordinate = |i: usize, axis: usize| lines[axis][i / strides[axis].max(1) as usize % sizes[axis]];
    let row = |i: usize| (0..k).rev().map(move |axis| coordinate(i, axis)).chain([1.0]);
    let base = (0..total).flat_map(row).map(Num::float).collect();
    let base = cx.spell(&Known::new(Elem::F32, vec![total, k + 1], base), &c.at("places"))?;
    let turned = cx.push(Op::Transpose { perm: vec![0, 2, 1] }, &[theta], &c.at("matrix"))?;
    let y = super::products::product(cx, base, turned, &c.at("turned"))?;
    let shape = [&dims[..1], &sizes.iter().map(|&n| Dim::Fixed(n)).collect::<Vec<_>>(), &[Dim::Fixed(k)]].concat();
    Ok(vec![Val::Node(cx.reshape(y, shape, &c.path)?, elem)])
}
