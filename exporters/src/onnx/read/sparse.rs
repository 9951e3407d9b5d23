//! A constant of a file of which only some elements are stored: the others are zero.

use super::error::ReadError;
use super::tensor::Tensor;
use super::wire::{Field, Fields, numbers};
use prost::bytes::Bytes;

/// Bytes of all elements for each byte of the message, at most: memory follows the file.
const GROWTH: usize = 32;
/// Bytes of all elements that are taken whatever the message has.
const LITTLE: usize = 1 << 10;

/// A `SparseTensorProto` with all its elements.
///
/// # Errors
/// If its parts do not fit each other, or nearly all of a large constant is zero.
pub(super) fn dense(message: Bytes) -> Result<Tensor, ReadError> {
    let room = message.len().saturating_mul(GROWTH).max(LITTLE);
    let (mut values, mut indices, mut sizes) = (None, None, Vec::new());
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(b)) => values = Some(Tensor::decode(b)?),
            (2, Field::Bytes(b)) => indices = Some(Tensor::decode(b)?),
            (3, field) => numbers(field, &mut sizes)?,
            _ => {}
        }
    }
    let values = values.ok_or_else(|| ReadError::Malformed("a sparse constant without values".into()))?;
    let fail = |what: &str| ReadError::Malformed(format!("sparse constant {:?} {what}", values.name));
    let width = values.elem.bits().filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
    let width = width.ok_or_else(|| fail("has elements of less than a byte"))?;
    let dims: Option<Vec<usize>> = sizes.iter().map(|&d| usize::try_from(d).ok()).collect();
    let dims = dims.ok_or_else(|| fail("has a negative dimension"))?;
    let bytes = dims.iter().try_fold(width, |n, &d| n.checked_mul(d)).filter(|&n| n <= room);
    let bytes = bytes.ok_or_else(|| fail("is nearly all zeros and large: export it dense"))?;
    let indices = indices.and_then(|i| i.ints().map(|list| (i.dims, list)));
    let (shape, list) = indices.ok_or_else(|| fail("has no whole numbers as indices, or has them in a data file"))?;
    let stored = values.bytes().ok_or_else(|| fail("lies in a data file: export it dense"))?;
    let places = places(&shape, &list, &dims).ok_or_else(|| fail("has indices that do not fit its shape"))?;
    if places.len() * width != stored.len() {
        return Err(fail("has not as many indices as values"));
    }
    let mut all = vec![0; bytes];
    for (place, element) in places.into_iter().zip(stored.chunks_exact(width)) {
        all[place * width..][..width].copy_from_slice(element);
    }
    Ok(Tensor::of(values.name, dims, values.elem, all.into()))
}

/// Row-major places: indices are places themselves, `[n]`, or coordinates, `[n,rank]`. `None` if one lies outside.
fn places(shape: &[usize], list: &[i64], dims: &[usize]) -> Option<Vec<usize>> {
    let total: usize = dims.iter().product();
    let linear = |&i: &i64| usize::try_from(i).ok().filter(|&i| i < total);
    match *shape {
        [_] => list.iter().map(linear).collect(),
        [_, rank] if rank == dims.len() && rank > 0 => {
            let place = |at: &[i64]| {
                at.iter().zip(dims).try_fold(0usize, |place, (&i, &d)| {
                    usize::try_from(i).ok().filter(|&i| i < d).map(|i| place * d + i)
                })
            };
            list.chunks_exact(rank).map(place).collect()
        }
        _ => None,
    }
}
