//! Constants that are added to the scores, as an attention's bias `[H|1,Nq,Nk]`, or `[S,H|1,Nq,Nk]` where they differ from set to set.

use super::operand::Operand;
use super::scores::{Scores, Shift};
use crate::view::count::{Count, product};
use std::ops::Range;
use vitc_ir::{BinaryKind, Builder, Built, Copier, Dim, Graph, Op, Shape};

/// The sum of some constants.
#[derive(Debug, Clone)]
pub(super) struct Bias {
    shifts: Vec<Part>,
    /// Sizes of the scores' last two axes.
    last: [usize; 2],
    keys_last: bool,
}

/// One of them.
#[derive(Debug, Clone)]
struct Part {
    shift: Shift,
    /// After how many sets it repeats itself, and for how many heads it has rows.
    front: [usize; 2],
}

impl Bias {
    /// The bias of scores whose queries are this operand; `None` if the constants differ along anything but sets, heads, queries and keys.
    pub(super) fn of(graph: &Graph, scores: &Scores, q: &Operand) -> Option<Option<Bias>> {
        let all = q.heads().len();
        let only = |axis: usize| {
            let on = &q.lead[axis];
            on.len() == all && on.iter().all(|p| p.axis == q.axis)
        };
        let sets = q.lead.first().is_some_and(|on| on.iter().all(|p| p.axis != q.axis));
        Bias::along(graph, scores, (0..q.lead.len()).find(|&axis| all > 0 && only(axis)), sets)
    }

    /// The same where the products have the heads on their axis before the last two.
    pub(super) fn of_cut(graph: &Graph, scores: &Scores, lead: usize) -> Option<Option<Bias>> {
        Bias::along(graph, scores, lead.checked_sub(2).map(|at| at + 1), true)
    }

    /// Heads on this axis, sets alone on the first one or not.
    fn along(graph: &Graph, scores: &Scores, heads: Option<usize>, sets: bool) -> Option<Option<Bias>> {
        if scores.shifts.is_empty() {
            return Some(None);
        }
        let shape = &graph.shape(scores.scores).0;
        let lead = shape.len() - 2;
        let last = [shape[lead].fixed()?, shape[lead + 1].fixed()?];
        // Sets are told apart along the first axis, if no other counts them too.
        let counts = |axis: usize| Some(axis) != heads && shape[axis] != Dim::Fixed(1);
        let sets = (sets && heads != Some(0) && !(1..lead).any(counts)).then_some(0);
        let part = |shift: &Shift| {
            let rows = rows(graph, shift, shape)?;
            let mut front = [1, 1];
            for (axis, rows) in rows.into_iter().enumerate().filter(|&(_, rows)| rows != 1) {
                match axis {
                    // A head has its rows, or all have the same.
                    _ if Some(axis) == heads => front[1] = Some(rows).filter(|&n| shape[axis] == Dim::Fixed(n))?,
                    _ if Some(axis) == sets => front[0] = rows,
                    _ => return None,
                }
            }
            Some(Part { shift: shift.clone(), front })
        };
        let shifts: Vec<Part> = scores.shifts.iter().map(part).collect::<Option<_>>()?;
        let (mut by_set, talking) =
            (shifts.iter().map(|p| p.front[0]).filter(|&n| n > 1), scores.mixes.iter().any(|m| m.is_some()));
        let first = by_set.next();
        let alike = by_set.all(|n| Some(n) == first);
        (alike && !(talking && first.is_some())).then_some(Some(Bias { shifts, last, keys_last: scores.keys_last }))
    }

    /// Append the constant arithmetic.
    pub(super) fn emit(&self, copy: &mut Copier, path: &str) -> Built {
        let most = |at: usize| self.shifts.iter().map(|p| p.front[at]).max().unwrap_or(1);
        let (sets, heads) = (most(0), most(1));
        let axes = |front: [usize; 2], last: [usize; 2]| match sets {
            1 => vec![front[1], last[0], last[1]],
            _ => vec![front[0], front[1], last[0], last[1]],
        };
        let mut sum = None;
        for (i, Part { shift, front }) in self.shifts.iter().enumerate() {
            let constant = copy.constant(shift.constant)?;
            let mut net = Builder::within(&mut copy.new, format!("{path}.bias"));
            let dims = net.fixed(constant)?;
            let back = |from_end: usize| dims.len().checked_sub(from_end).map_or(1, |at| dims[at]);
            let mut value = net.reshaped(format!("part{i}"), constant, &axes(*front, [back(2), back(1)]))?;
            if shift.times != 1.0 {
                let times = net.scalar(shift.times)?;
                value = net.binary(format!("part{i}"), BinaryKind::Mul, value, times)?;
            }
            sum = Some(match sum {
                Some(sum) => net.binary("sum", BinaryKind::Add, sum, value)?,
                None => value,
            });
        }
        let mut net = Builder::within(&mut copy.new, format!("{path}.bias"));
        let Some(sum) = sum else { return net.scalar(0.0) };
        let full = Shape::fixed(&axes([sets, heads], self.last));
        let mut value = sum;
        if *net.ty(value) != vitc_ir::Type::new(vitc_ir::DType::F32, full.clone()) {
            value = net.push("full", Op::Expand { shape: full }, &[value])?;
        }
        let mut perm: Vec<usize> = (0..net.ty(value).shape.rank()).collect();
        let end = perm.len() - 2;
        perm.swap(end, end + 1);
        if self.keys_last { Ok(value) } else { net.transpose("queries_first", value, &perm) }
    }
}

/// For each leading axis of the scores after how many indices a constant repeats itself; `None` if that is no number, or it has no axes like theirs.
fn rows(graph: &Graph, shift: &Shift, scores: &[Dim]) -> Option<Vec<usize>> {
    let (dims, seen) = (graph.shape(shift.constant).as_fixed()?, &shift.seen.0);
    let (lead, cut) = (scores.len() - 2, seen.len().checked_sub(2)?);
    let front = seen.len().checked_sub(dims.len())?;
    if seen[cut..] != scores[lead..] {
        return None;
    }
    let size = |axis: usize| axis.checked_sub(front).map_or(1, |at| dims[at]);
    let along = |axes: Range<usize>| {
        let varies = axes.clone().find(|&axis| size(axis) != 1).unwrap_or(axes.end);
        let whole = (varies..axes.end).all(|axis| seen[axis] == Dim::Fixed(size(axis)));
        whole.then(|| (varies..axes.end).map(size).product())
    };
    cuts(&scores[..lead], &seen[..cut])?.into_iter().map(along).collect()
}

/// Which axes of a shape each axis of another one is cut into; `None` if it is not cut.
fn cuts(whole: &[Dim], cut: &[Dim]) -> Option<Vec<Range<usize>>> {
    let mut at = 0;
    let mut all = Vec::new();
    for (i, &dim) in whole.iter().enumerate() {
        let (first, mut size) = (at, Count::ONE);
        while at < cut.len() && (size != Count::from(dim) || i + 1 == whole.len()) {
            size = product([size, Count::from(cut[at])])?;
            at += 1;
        }
        if size != Count::from(dim) {
            return None;
        }
        all.push(first..at);
    }
    (at == cut.len()).then_some(all)
}
