//! Both computations cut at the same places and run piece by piece: where memory ends, and for a quick look.

use super::cases::Case;
use super::layout::Layout;
use super::outcome::{Findings, Outputs, as_answered, in_order};
use super::{Check, CheckError, Effort, Synthetic, layers};
use crate::runner::{Bottleneck, Named, Piece, Request, Values};
use std::collections::HashMap;

/// A place where both are cut.
struct Cut {
    /// The reference's name.
    reference: String,
    /// The candidate's.
    candidate: String,
    layout: Layout,
}

/// What a piece starts from: an array for each input.
type State = Vec<Vec<f32>>;

impl Check<'_> {
    /// Run and compare one batch's cases. In a full check each piece reads what the reference computed; in a quick one, noise.
    pub(super) fn pieces(&self, batch: usize, cases: &[Case], findings: &mut Findings) -> Result<(), CheckError> {
        let quick = self.options.effort == Effort::Quick;
        let cuts = self.cuts(batch)?;
        if cuts.is_empty() && !quick {
            let [need, free] = [self.budget.one, self.budget.available].map(|bytes| bytes >> 20);
            let what = format!("needs {need} MiB, {free} are free, and the model has no place to cut it");
            return Err(CheckError::Run { side: "reference", what });
        }
        let cases = if quick { &cases[..1] } else { cases };
        let chosen = if quick { chosen(&cuts) } else { (0..=cuts.len()).collect() };
        if quick {
            findings.notes.push(format!("quick check: {} of {} pieces, each on its own", chosen.len(), cuts.len() + 1));
        }
        // What each piece starts from, per case: the reference's own values.
        let mut states: Vec<State> = cases.iter().map(|c| c.reference.clone()).collect();
        for i in chosen {
            let start = (i > 0).then(|| &cuts[i - 1]);
            if quick && let Some(start) = start {
                // What a residual stream looks like to its next block.
                let noise = Synthetic::Noise { seed: 0 };
                states = vec![vec![noise.numbers(i as u64, &start.layout.reference)]];
            }
            states = self.piece([start, cuts.get(i)], batch, cases, &states, findings)?;
        }
        Ok(())
    }

    /// Run and compare one piece; the values where it ends, per case.
    fn piece(
        &self,
        [start, end]: [Option<&Cut>; 2],
        batch: usize,
        cases: &[Case],
        states: &[State],
        findings: &mut Findings,
    ) -> Result<Vec<State>, CheckError> {
        let of_reference = Piece {
            from: start.map(|c| (c.reference.clone(), c.layout.reference.clone())),
            to: end.map(|c| c.reference.clone()),
        };
        let of_candidate = Piece {
            from: start.map(|c| (c.candidate.clone(), c.layout.candidate.clone())),
            to: end.map(|c| c.candidate.clone()),
        };
        let request = |piece| Request { batch, values: Values::Outputs, piece: Some(piece) };
        let wanted: Vec<Vec<Named>> = {
            let session = self.reference.load(request(&of_reference))?;
            states.iter().map(|s| self.reference.run(&session, s)).collect::<Result<_, _>>()?
        };
        let session = self.candidate.load(request(&of_candidate))?;
        findings.half |= session.is_half();
        findings.defined += session.defined();
        for ((case, state), wanted) in cases.iter().zip(states).zip(&wanted) {
            let moved = start.map(|s| vec![s.layout.to_candidate(&state[0])]);
            let mut got = self.candidate.run(&session, moved.as_ref().unwrap_or(&case.candidate))?;
            if let (Some(end), [value]) = (end, &mut got[..])
                && value.shape == end.layout.candidate
            {
                value.data = end.layout.to_reference(&value.data);
            }
            // What lies inside the model has no role.
            let outputs = if end.is_some() { &Outputs::default() } else { &self.outputs };
            let wanted = as_answered(wanted, &outputs.roles, self.options.answered());
            findings.compare(case, outputs, &wanted, &in_order(&wanted, &got), session.is_half() || self.coded)?;
        }
        Ok(wanted.into_iter().map(|values| values.into_iter().map(|v| v.data).collect()).collect())
    }

    /// Bottlenecks that both have under one name, in a layout that can be told, in order.
    fn cuts(&self, batch: usize) -> Result<Vec<Cut>, CheckError> {
        let candidate = self.candidate.bottlenecks()?;
        let spelled: HashMap<String, &Bottleneck> =
            candidate.iter().filter(|b| !b.name.is_empty()).map(|b| (layers::key(&b.name), b)).collect();
        let cut = |b: &Bottleneck| {
            let other = spelled.get(&layers::key(&b.name))?;
            let graph = self.reference.program.graph()?;
            let dims = graph.node(graph.find(&b.name)?).types[0].shape.at(batch);
            let layout = Layout::between(&dims, &other.dims, batch)?;
            Some(Cut { reference: b.name.clone(), candidate: other.name.clone(), layout })
        };
        Ok(self.bottlenecks.iter().filter(|b| !b.name.is_empty()).filter_map(cut).collect())
    }
}

/// The pieces of a quick check: the first and last of each stage, with stem and head.
fn chosen(cuts: &[Cut]) -> Vec<usize> {
    let stage = |i: usize| cuts.get(i).map(|c| c.reference.split('.').take(2).collect::<Vec<_>>().join("."));
    let last = cuts.len();
    (0..=last).filter(|&i| i == 0 || i == last || stage(i) != stage(i - 1) || stage(i) != stage(i + 1)).collect()
}
