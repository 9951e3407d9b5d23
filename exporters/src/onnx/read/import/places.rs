//! Movements as places: for each element of a result, which element of the operand it is. Row-major, sizes may be zero.

/// Most elements of a known array.
pub(super) const LIMIT: usize = 1 << 22;

/// Numpy broadcasting of two shapes.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    let one = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    };
    (0..rank).map(one).collect()
}

/// Number of elements, if an array of them may be made.
pub(super) fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= LIMIT)
}

/// Every index of a shape, in order, mapped to a place by strides of the operand and a start.
fn walk(dims: &[usize], strides: &[isize], start: isize) -> Option<Vec<usize>> {
    let total = count(dims)?;
    let (mut places, mut index, mut at) = (Vec::with_capacity(total), vec![0usize; dims.len()], start);
    for _ in 0..total {
        places.push(usize::try_from(at).ok()?);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            at -= strides[axis] * dims[axis] as isize;
            index[axis] = 0;
        }
    }
    Some(places)
}

/// Row-major strides.
pub(super) fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis] as isize);
    }
    strides
}

/// Broadcast of a shape to another.
pub(super) fn expand(from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    if from == to {
        return Some((0..count(to)?).collect());
    }
    let own = strides(from);
    let missing = to.len().checked_sub(from.len())?;
    let stride = |axis: usize| match axis.checked_sub(missing) {
        None => Some(0),
        Some(a) if from[a] == to[axis] => Some(own[a]),
        Some(a) if from[a] == 1 => Some(0),
        Some(_) => None,
    };
    walk(to, &(0..to.len()).map(stride).collect::<Option<Vec<_>>>()?, 0)
}

/// Axes permuted.
pub(super) fn transpose(dims: &[usize], perm: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    let own = strides(dims);
    let to: Vec<usize> = perm.iter().map(|&p| dims[p]).collect();
    let places = walk(&to, &perm.iter().map(|&p| own[p]).collect::<Vec<_>>(), 0)?;
    Some((to, places))
}

/// A start, a step and a count along each axis.
pub(super) fn cut(dims: &[usize], cuts: &[(isize, isize, usize)]) -> Option<(Vec<usize>, Vec<usize>)> {
    let own = strides(dims);
    let to: Vec<usize> = cuts.iter().map(|c| c.2).collect();
    let start = cuts.iter().zip(&own).map(|(c, s)| c.0 * s).sum();
    let places = walk(&to, &cuts.iter().zip(&own).map(|(c, s)| c.1 * s).collect::<Vec<_>>(), start)?;
    Some((to, places))
}

/// Taken at indices along an axis; the axis is replaced by the indices' shape.
pub(super) fn gather(
    dims: &[usize],
    axis: usize,
    indices: &[usize],
    shape: &[usize],
) -> Option<(Vec<usize>, Vec<usize>)> {
    let to = [&dims[..axis], shape, &dims[axis + 1..]].concat();
    count(&to)?;
    let (before, after) = (count(&dims[..axis])?, count(&dims[axis + 1..])?);
    let mut places = Vec::new();
    for b in 0..before {
        for &i in indices {
            (i < dims[axis]).then_some(())?;
            places.extend((0..after).map(|a| (b * dims[axis] + i) * after + a));
        }
    }
    Some((to, places))
}
