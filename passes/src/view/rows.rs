//! Rows of a constant, picked by the digits of a view.

use super::places::Place;
use vitc_ir::op::SliceAxis;
use vitc_ir::{Builder, Built, Op, Shape, Value};

/// Which rows of a constant `[n,…]`: seen with several axes, cut, permuted, seen as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    view: Vec<usize>,
    cuts: Vec<SliceAxis>,
    perm: Vec<usize>,
    kept: Vec<usize>,
}

impl Rows {
    /// The rows at `start` plus the digits' indices, in the digits' order; `None` if they do not lie regularly among n.
    pub(crate) fn of(n: usize, start: usize, digits: &[Place]) -> Option<Rows> {
        let plain = |p: &Place| Some((p.stride.plain().filter(|&s| s > 0)?, p.size.plain()?));
        let digits: Vec<(usize, usize)> = digits.iter().map(plain).collect::<Option<_>>()?;
        let mut sorted = digits.clone();
        sorted.sort_by(|a, b| b.cmp(a));
        let perm = digits.iter().map(|d| sorted.iter().position(|s| s == d)).collect::<Option<_>>()?;
        let mut rows = Rows { view: Vec::new(), cuts: Vec::new(), perm, kept: Vec::new() };
        let (mut above, mut at) = (n, start);
        if sorted.last().is_none_or(|&(stride, _)| stride > 1) {
            sorted.push((1, 1));
            rows.perm.push(sorted.len() - 1);
        }
        for (stride, size) in sorted {
            let room = Some(above / stride).filter(|_| above.is_multiple_of(stride))?;
            let start = at / stride;
            let stop = start.checked_add(size).filter(|&stop| stop <= room)?;
            if size < room {
                rows.cuts.push(SliceAxis { axis: rows.view.len(), start, stop, step: 1 });
            }
            rows.view.push(room);
            rows.kept.push(size);
            (at, above) = (at % stride, stride);
        }
        Some(rows)
    }

    /// Whether these are all rows in their order.
    pub(crate) fn is_whole(&self) -> bool {
        self.cuts.is_empty() && self.perm.is_sorted()
    }

    /// The rows, if they lie behind each other: from which to before which.
    pub(crate) fn range(&self) -> Option<std::ops::Range<usize>> {
        // Whole axes may follow the one that is cut, and single indices lie before it.
        let cut = self.cuts.last().map_or(0, |cut| cut.axis);
        let before = self.kept[..cut.min(self.kept.len())].iter().all(|&k| k == 1);
        let inner = |axis: usize| self.view[axis + 1..].iter().product::<usize>();
        let start = self.cuts.iter().map(|c| c.start * inner(c.axis)).sum::<usize>();
        (before && self.perm.is_sorted()).then(|| start..start + self.kept.iter().product::<usize>())
    }

    /// Append what picks the rows of a constant, or of any value whose first axis is fixed.
    pub(crate) fn of_constant(&self, net: &mut Builder, x: Value) -> Built {
        if self.is_whole() {
            return Ok(x);
        }
        let inner = net.fixed(x)?[1..].to_vec();
        let all = |front: &[usize]| [front, &inner[..]].concat();
        let mut y = net.reshaped("rows", x, &all(&self.view))?;
        if !self.cuts.is_empty() {
            y = net.push("rows", Op::Slice { cuts: self.cuts.clone() }, &[y])?;
        }
        if !self.perm.is_sorted() {
            let perm: Vec<usize> =
                self.perm.iter().copied().chain(self.perm.len()..self.perm.len() + inner.len()).collect();
            y = net.transpose("rows", y, &perm)?;
        }
        net.reshape("rows", y, Shape::fixed(&all(&[self.kept.iter().product()])))
    }
}
