//! Views as nodes: as few reshapes and transposes as make one.

use super::count::Count;
use super::{Digit, View, by_stride, strides};
use vitc_ir::{Builder, Built, Dim, Graph, Shape, Value};

/// A permutation of a source's elements: seen as a shape, its axes permuted, seen as the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    view: Shape,
    perm: Vec<usize>,
    moved: Shape,
    result: Shape,
    /// Nodes that it takes.
    pub(crate) nodes: usize,
}

impl Plan {
    /// The cheapest way to a view that is a permutation; `None` if it is none.
    pub(crate) fn of(graph: &Graph, view: &View, result: &Shape) -> Option<Plan> {
        if !view.is_permutation(graph) {
            return None;
        }
        let source = graph.shape(view.source);
        let by_axis: Vec<Digit> = view.axes.iter().flatten().copied().collect();
        let cut = |digits: &[Digit]| cut_at(digits, &strides(source)?);
        let ways = [view.digits(), by_axis.clone(), cut(&view.digits())?, cut(&by_axis)?];
        let plans = ways.iter().filter_map(|digits| Plan::through(source, digits, result));
        plans.min_by_key(|plan| (plan.nodes, plan.view.rank()))
    }

    /// By digits in the order of the result.
    fn through(source: &Shape, digits: &[Digit], result: &Shape) -> Option<Plan> {
        let sorted = by_stride(digits);
        let order: Vec<usize> = digits.iter().map(|d| sorted.iter().position(|s| s == d)).collect::<Option<_>>()?;
        let dims: Vec<Dim> = sorted.iter().map(|d| d.size.dim()).collect::<Option<_>>()?;
        // Axes of size 1 stay where they save a reshape.
        let ones = |shape: &Shape| shape.0.iter().filter(|&&d| d == Dim::Fixed(1)).count();
        let full = |shape: &Shape| shape.0.iter().filter(|&&d| d != Dim::Fixed(1)).eq(dims.iter());
        let (mut view, mut perm) = (Shape(dims.clone()), order.clone());
        if full(source) {
            let wide: Vec<usize> = (0..source.rank()).filter(|&a| source.0[a] != Dim::Fixed(1)).collect();
            let mut narrow = (0..source.rank()).filter(|&a| source.0[a] == Dim::Fixed(1));
            let mut wanted = order.iter().map(|&o| wide[o]);
            perm = match ones(source) == ones(result) && result.rank() == source.rank() {
                true => {
                    let pick = |d: &Dim| if *d == Dim::Fixed(1) { narrow.next() } else { wanted.next() };
                    result.0.iter().map(pick).collect::<Option<_>>().unwrap_or_default()
                }
                false => wanted.by_ref().chain(narrow).collect(),
            };
            view = source.clone();
        }
        if perm.len() != view.rank() {
            return None;
        }
        let moved = Shape(perm.iter().map(|&p| view.0[p]).collect());
        let transposes = !perm.is_sorted();
        let nodes = match transposes {
            true => usize::from(view != *source) + 1 + usize::from(moved != *result),
            false => usize::from(source != result),
        };
        Some(Plan { view, perm, moved, result: result.clone(), nodes })
    }

    /// Append the nodes behind what stands for the source.
    pub(crate) fn emit(&self, net: &mut Builder, source: Value) -> Built {
        let mut x = source;
        if !self.perm.is_sorted() {
            if net.ty(x).shape != self.view {
                x = net.reshape("view", x, self.view.clone())?;
            }
            let name = if self.moved == self.result { "" } else { "moved" };
            x = net.transpose(name, x, &self.perm)?;
        }
        if net.ty(x).shape != self.result { net.reshape("", x, self.result.clone()) } else { Ok(x) }
    }
}

/// The digits, each cut where an axis of the source ends.
fn cut_at(digits: &[Digit], source: &[Digit]) -> Option<Vec<Digit>> {
    let mut all = Vec::new();
    for &digit in digits {
        let mut left = digit;
        let first = all.len();
        for own in source.iter().rev() {
            let room = own.stride.over(left.stride).filter(|&room| room != Count::ONE && left.size != room);
            let Some((room, rest)) = room.and_then(|room| Some((room, left.size.over(room)?))) else { continue };
            all.insert(first, Digit { size: room, stride: left.stride });
            left = Digit { size: rest, stride: own.stride };
        }
        all.insert(first, left);
    }
    Some(all)
}
