//! Where in its source a view's digits count: on which axis, and how far apart.

use super::count::Count;
use super::{Digit, View, by_stride, strides};
use vitc_ir::Graph;

/// A digit that lies on one axis of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The axis.
    pub(crate) axis: usize,
    pub(crate) size: Count,
    /// Distance on the axis; 0 of a copy, which lies on no axis.
    pub(crate) stride: Count,
}

impl Place {
    /// Whether nothing moves along this digit.
    pub(crate) fn is_copy(&self) -> bool {
        self.stride == Count::ZERO
    }
}

/// A view whose digits lie on one axis of the source each.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The digits of each axis of the result.
    pub(crate) axes: Vec<Vec<Place>>,
    /// Index on each axis of the source where the view begins.
    pub(crate) starts: Vec<usize>,
}

impl View {
    /// The digits, cut where an axis of the source ends; `None` if one runs over an end.
    pub(crate) fn places(&self, graph: &Graph) -> Option<Places> {
        let source = strides(graph.shape(self.source))?;
        let place = |axis: &Vec<Digit>| axis.iter().try_fold(Vec::new(), |all, digit| placed(all, *digit, &source));
        let axes: Vec<Vec<Place>> = self.axes.iter().map(place).collect::<Option<_>>()?;
        let starts = self.starts(&source)?;
        let inside = |at: usize| {
            let own = axes.iter().flatten().filter(|p| p.axis == at && !p.is_copy());
            stays_inside(own.copied().collect(), starts[at], source[at].size)
        };
        (0..source.len()).all(inside).then_some(Places { axes, starts })
    }

    /// The offset as an index on each axis of the source.
    fn starts(&self, source: &[Digit]) -> Option<Vec<usize>> {
        let mut left = self.offset.clone();
        let mut starts = Vec::new();
        for axis in source {
            let Some(rest) = left.get_mut(axis.stride.power() as usize) else {
                starts.push(0);
                continue;
            };
            let at = (*rest / axis.stride.factor()).min(axis.size.factor() - 1);
            *rest -= at * axis.stride.factor();
            starts.push(at);
        }
        left.iter().all(|&o| o == 0).then_some(starts)
    }
}

/// Whether no index of the digits on an axis, from `start` on, reaches its end.
fn stays_inside(own: Vec<Place>, start: usize, size: Count) -> bool {
    match size.plain() {
        Some(size) => {
            let reach = |p: &Place| (p.size.plain()? - 1).checked_mul(p.stride.plain()?);
            let last = own.iter().try_fold(start, |sum, p| sum.checked_add(reach(p)?));
            last.is_some_and(|last| last < size)
        }
        None => {
            let digits: Vec<Digit> = own.iter().map(|p| Digit { size: p.size, stride: p.stride }).collect();
            let ends = by_stride(&digits).first().is_none_or(|d| d.size.times(d.stride) == Some(size));
            start == 0 && ends
        }
    }
}

/// The places of a digit, behind others.
fn placed(mut all: Vec<Place>, digit: Digit, source: &[Digit]) -> Option<Vec<Place>> {
    if digit.stride == Count::ZERO {
        all.push(Place { axis: 0, size: digit.size, stride: Count::ZERO });
        return Some(all);
    }
    let mut left = digit;
    let first = all.len();
    // From the innermost axis out: what of the digit lies on it.
    for (axis, own) in source.iter().enumerate().rev() {
        let end = own.stride.times(own.size)?;
        let Some(stride) = left.stride.over(own.stride) else { continue };
        if own.size == Count::ONE || !less(left.stride, end) {
            continue;
        }
        if !less(end, left.size.times(left.stride)?) {
            all.insert(first, Place { axis, size: left.size, stride });
            return Some(all);
        }
        let room = end.over(left.stride)?;
        all.insert(first, Place { axis, size: room, stride });
        left = Digit { size: left.size.over(room)?, stride: end };
    }
    None
}

/// Whether a count is less than another at every batch; of different powers the lower one counts as less.
fn less(a: Count, b: Count) -> bool {
    (a.power(), a.factor()) < (b.power(), b.factor())
}
