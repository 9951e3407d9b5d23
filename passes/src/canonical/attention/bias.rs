//! Constants that are added to the scores, as an attention's bias `[H|1,Nq,Nk]`.

use super::operand::Operand;
use super::scores::{Scores, Shift};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Dim, Graph, Op, Shape};

/// The sum of some constants.
#[derive(Debug, Clone)]
pub(super) struct Bias {
    shifts: Vec<Shift>,
    /// The scores' axis of heads, if one of the constants differs from head to head.
    heads: Option<usize>,
    /// Sizes of the scores' last two axes.
    last: [usize; 2],
    keys_last: bool,
}

impl Bias {
    /// The bias of scores whose queries are this operand; `None` if the constants differ along anything but heads, queries and keys.
    pub(super) fn of(graph: &Graph, scores: &Scores, q: &Operand) -> Option<Option<Bias>> {
        let all = q.heads().len();
        let only = |axis: usize| {
            let on = &q.lead[axis];
            on.len() == all && on.iter().all(|p| p.axis == q.axis)
        };
        Bias::along(graph, scores, (0..q.lead.len()).find(|&axis| all > 0 && only(axis)))
    }

    /// The same where the products have the heads on their axis before the last two.
    pub(super) fn of_cut(graph: &Graph, scores: &Scores, lead: usize) -> Option<Option<Bias>> {
        Bias::along(graph, scores, lead.checked_sub(2).map(|at| at + 1))
    }

    fn along(graph: &Graph, scores: &Scores, heads: Option<usize>) -> Option<Option<Bias>> {
        if scores.shifts.is_empty() {
            return Some(None);
        }
        let shape = &graph.shape(scores.scores).0;
        let lead = shape.len() - 2;
        let last = [shape[lead].fixed()?, shape[lead + 1].fixed()?];
        let mut by_head = false;
        for shift in &scores.shifts {
            let dims = graph.shape(shift.constant).as_fixed()?;
            let front = shape.len().checked_sub(dims.len())?;
            for (axis, &d) in dims.iter().enumerate().map(|(i, d)| (i + front, d)).filter(|&(axis, _)| axis < lead) {
                if d != 1 && Some(axis) != heads {
                    return None;
                }
                by_head |= d != 1;
            }
        }
        let heads = heads.filter(|_| by_head);
        Some(Some(Bias { shifts: scores.shifts.clone(), heads, last, keys_last: scores.keys_last }))
    }

    /// Append the constant arithmetic.
    pub(super) fn emit(&self, copy: &mut Copier, path: &str) -> Built {
        let mut sum = None;
        for (i, shift) in self.shifts.iter().enumerate() {
            let constant = copy.constant(shift.constant)?;
            let mut net = Builder::within(&mut copy.new, format!("{path}.bias"));
            let dims = net.fixed(constant)?;
            let back = |from_end: usize| dims.len().checked_sub(from_end).map_or(1, |at| dims[at]);
            let lead = self.heads.map_or(1, |_| dims[..dims.len().saturating_sub(2)].iter().product());
            let mut value = net.reshaped(format!("part{i}"), constant, &[lead, back(2), back(1)])?;
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
        let lead = net.fixed(sum)?[0];
        let full = Shape([lead, self.last[0], self.last[1]].map(Dim::Fixed).to_vec());
        let mut value = sum;
        if *net.ty(value) != vitc_ir::Type::new(vitc_ir::DType::F32, full.clone()) {
            value = net.push("full", Op::Expand { shape: full }, &[value])?;
        }
        if self.keys_last { Ok(value) } else { net.transpose("queries_first", value, &[0, 2, 1]) }
    }
}
