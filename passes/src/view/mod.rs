//! Movements as views: which element of a source each element of a result is.
//!
//! A view is a list of digits for each axis of the result. A digit counts from 0 to its size and moves by its stride through the source, whose
//! elements are numbered row by row; an offset is added. `reshape` cuts digits or joins neighbours, `transpose` permutes axes, `slice` and `split`
//! shorten a digit and add to the offset, `expand` adds digits of stride 0. Two movements of one source are the same if their joined digits are.
//! Sizes and strides are multiples of powers of the batch ([`count`]).

pub(crate) mod count;
pub(crate) mod emit;
pub(crate) mod places;
pub(crate) mod rows;
mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod trail;

use count::Count;
use vitc_ir::{Graph, Shape, Value};

/// A digit: so many elements, so far apart in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digit {
    pub(crate) size: Count,
    pub(crate) stride: Count,
}

/// A value as a movement of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) source: Value,
    /// Digits of each axis of the result, outermost first, joined inside of the axis. None of size 1.
    pub(crate) axes: Vec<Vec<Digit>>,
    /// Offset in the source: factors of the batch's powers 0, 1, 2, …
    pub(crate) offset: Vec<usize>,
}

impl View {
    /// A value as itself; `None` if it cannot be counted.
    pub(crate) fn identity(graph: &Graph, source: Value) -> Option<View> {
        let axes = strides(graph.shape(source))?.into_iter().map(|digit| joined([digit])).collect();
        Some(View { source, axes, offset: Vec::new() })
    }

    /// All digits of the result in order, joined wherever the source allows it.
    pub(crate) fn digits(&self) -> Vec<Digit> {
        joined(self.axes.iter().flatten().copied())
    }

    /// Whether every element of the source appears once.
    pub(crate) fn is_permutation(&self, graph: &Graph) -> bool {
        let all = strides(graph.shape(self.source)).and_then(|s| count::product(s.into_iter().map(|d| d.size)));
        self.offset.iter().all(|&o| o == 0) && all.is_some_and(|all| dense(&self.digits(), all))
    }
}

/// Each axis of a shape as a digit of the elements numbered row by row.
pub(crate) fn strides(shape: &Shape) -> Option<Vec<Digit>> {
    let mut stride = Count::ONE;
    let mut digits = Vec::new();
    for &dim in shape.0.iter().rev() {
        let size = Count::from(dim);
        digits.push(Digit { size, stride });
        stride = stride.times(size)?;
    }
    digits.reverse();
    Some(digits)
}

/// Digits without those of size 1, neighbours joined where the second continues the first.
pub(crate) fn joined(digits: impl IntoIterator<Item = Digit>) -> Vec<Digit> {
    let mut all: Vec<Digit> = Vec::new();
    for digit in digits.into_iter().filter(|d| d.size != Count::ONE) {
        if let Some(last) = all.last_mut()
            && digit.size.times(digit.stride) == Some(last.stride)
            && let Some(size) = last.size.times(digit.size)
        {
            *last = Digit { size, stride: digit.stride };
        } else {
            all.push(digit);
        }
    }
    all
}

/// The digits from the largest stride down.
pub(crate) fn by_stride(digits: &[Digit]) -> Vec<Digit> {
    let mut sorted = digits.to_vec();
    sorted.sort_by_key(|d| std::cmp::Reverse((d.stride.power(), d.stride.factor())));
    sorted
}

/// Whether the digits count `all` elements, each once.
fn dense(digits: &[Digit], all: Count) -> bool {
    let sorted = by_stride(digits);
    let mut above = Some(all);
    for digit in &sorted {
        if digit.size.times(digit.stride) != above {
            return false;
        }
        above = Some(digit.stride);
    }
    above == Some(Count::ONE)
}
