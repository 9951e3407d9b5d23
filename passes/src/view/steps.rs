//! What each movement makes of a view.

use super::count::{Count, product};
use super::{Digit, View, joined};
use vitc_ir::op::SliceAxis;
use vitc_ir::{Graph, Op, Shape, Value};

impl View {
    /// The view of a value whose operand this is the view of; `None` if it is no movement, or one that has no view.
    pub(crate) fn through(&self, graph: &Graph, value: Value) -> Option<View> {
        let node = graph.producer(value);
        match &node.op {
            Op::Reshape { shape } => self.reshape(shape),
            Op::Transpose { perm } => self.permuted(perm),
            Op::Slice { cuts } => cuts.iter().try_fold(self.clone(), |view, cut| view.cut(cut)),
            Op::Split { axis, sizes } => {
                let at = value.index as usize;
                let start: usize = sizes.get(..at)?.iter().sum();
                let part = SliceAxis { axis: *axis, start, stop: start + sizes.get(at)?, step: 1 };
                self.clone().cut(&part)
            }
            Op::Expand { shape } => self.expand(graph.shape(node.inputs[0]), shape),
            _ => None,
        }
    }

    /// The axes in another order.
    pub(crate) fn permuted(&self, perm: &[usize]) -> Option<View> {
        let axes = perm.iter().map(|&p| self.axes.get(p).cloned()).collect::<Option<_>>()?;
        Some(View { axes, ..self.clone() })
    }

    /// Digits dealt out to the axes of another shape, cut where an axis ends inside of one.
    pub(crate) fn reshape(&self, shape: &Shape) -> Option<View> {
        let mut left: Vec<Digit> = self.digits();
        left.reverse();
        let mut axes = Vec::new();
        for &dim in &shape.0 {
            let mut wanted = Count::from(dim);
            let mut axis = Vec::new();
            while wanted != Count::ONE {
                let digit = left.pop()?;
                if let Some(rest) = wanted.over(digit.size) {
                    axis.push(digit);
                    wanted = rest;
                } else {
                    let size = digit.size.over(wanted)?;
                    axis.push(Digit { size: wanted, stride: digit.stride.times(size)? });
                    left.push(Digit { size, stride: digit.stride });
                    wanted = Count::ONE;
                }
            }
            axes.push(joined(axis));
        }
        left.is_empty().then_some(View { axes, ..self.clone() })
    }

    /// A part of one axis. Of an axis of several digits only parts that are whole on the inner ones.
    fn cut(mut self, cut: &SliceAxis) -> Option<View> {
        let axis = self.axes.get(cut.axis)?.clone();
        let (mut start, mut count) = (cut.start, (cut.stop.checked_sub(cut.start)?).div_ceil(cut.step));
        if product(axis.iter().map(|d| d.size))? == Count::fixed(count) && start == 0 {
            return Some(self);
        }
        let mut kept: Vec<Digit> = Vec::new();
        for (i, digit) in axis.iter().enumerate() {
            let inner = product(axis[i + 1..].iter().map(|d| d.size))?.plain()?;
            if i + 1 == axis.len() {
                let stride = digit.stride.times(Count::fixed(cut.step))?;
                self.shift(digit.stride, start)?;
                kept.push(Digit { size: Count::fixed(count), stride });
            } else if cut.step == 1 && start % inner == 0 && count % inner == 0 {
                self.shift(digit.stride, start / inner)?;
                kept.push(Digit { size: Count::fixed(count / inner), ..*digit });
                kept.extend(&axis[i + 1..]);
                break;
            } else if start / inner == (start + (count - 1) * cut.step) / inner {
                self.shift(digit.stride, start / inner)?;
                (start, count) = (start % inner, count);
            } else {
                return None;
            }
        }
        self.axes[cut.axis] = joined(kept);
        Some(self)
    }

    /// Add so many strides to the offset.
    fn shift(&mut self, stride: Count, by: usize) -> Option<()> {
        let moved = stride.times(Count::fixed(by))?;
        let power = moved.power() as usize;
        if self.offset.len() <= power {
            self.offset.resize(power + 1, 0);
        }
        self.offset[power] = self.offset[power].checked_add(moved.factor())?;
        Some(())
    }

    fn expand(&self, from: &Shape, to: &Shape) -> Option<View> {
        let front = to.rank().checked_sub(from.rank())?;
        let mut axes = Vec::new();
        for (i, &dim) in to.0.iter().enumerate() {
            let old = i.checked_sub(front).map(|at| (from.0[at], self.axes[at].clone()));
            axes.push(match old {
                Some((size, axis)) if size == dim => axis,
                _ => joined([Digit { size: Count::from(dim), stride: Count::ZERO }]),
            });
        }
        Some(View { axes, ..self.clone() })
    }
}
