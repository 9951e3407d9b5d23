//! The values inside a model, seen in both computations: how large each one of the artifact is, and how far it lies from the reference's of the same name.
//!
//! A pass may give a value another meaning under its old name, so a single value that differs says nothing; products, which absorb what
//! stands beside them (a norm, a scale), are not compared. A real fault shows in everything after it: it lies between the last value that agrees and
//! the next.

use super::CheckError;
use super::bounds::agrees;
use super::cases::Case;
use super::compare::compare;
use super::comparison::Comparison;
use super::computation::Computation;
use super::layout::Layout;
use super::report::{Difference, Layer, LayerError, Layers};
use crate::numbers::worse;
use crate::runner::{Named, PART, Request, Session, Values};
use std::collections::HashMap;
use vitc_ir::DType;
use vitc_ir::facts::Class;

/// A value's name as both formats spell it: MIL allows letters, digits and underscores only.
pub(crate) fn key(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// One value of the artifact.
struct Seen {
    name: String,
    max: f64,
    /// Name on the reference's side, and what a comparison found.
    compared: Option<(String, Comparison)>,
}

/// Both computations, ready to return every value.
pub(super) struct Trace<'a> {
    reference: &'a Computation<'a>,
    candidate: &'a Computation<'a>,
    batch: usize,
    /// Both loaded, if they may stay in memory together.
    loaded: Option<[Session; 2]>,
}

impl<'a> Trace<'a> {
    /// With `together` both stay in memory; else each is loaded for each run.
    pub(super) fn new(
        reference: &'a Computation<'a>,
        candidate: &'a Computation<'a>,
        batch: usize,
        together: bool,
    ) -> Result<Trace<'a>, CheckError> {
        let all = Request { batch, values: Values::All, piece: None };
        let loaded = if together { Some([reference.load(all)?, candidate.load(all)?]) } else { None };
        Ok(Trace { reference, candidate, batch, loaded })
    }

    /// Every value of one computation, and whether it computes in f16.
    fn values(&self, side: usize, inputs: &[Vec<f32>]) -> Result<(Vec<Named>, bool), CheckError> {
        let of = [self.reference, self.candidate][side];
        let all = Request { batch: self.batch, values: Values::All, piece: None };
        match &self.loaded {
            Some(sessions) => Ok((of.run(&sessions[side], inputs)?, sessions[side].is_half())),
            None => {
                let session = of.load(all)?;
                Ok((of.run(&session, inputs)?, session.is_half()))
            }
        }
    }

    /// Every value of the artifact on one input: the reference's and the artifact's own form of it.
    fn see(&self, [expected, given]: [&[Vec<f32>]; 2]) -> Result<(DType, Vec<Seen>), CheckError> {
        let (wanted, _) = self.values(0, expected)?;
        let (got, half) = self.values(1, given)?;
        let at: HashMap<String, usize> = wanted.iter().enumerate().map(|(i, v)| (key(&v.name), i)).collect();
        let seen = got.iter().filter(|g| !is_part(&g.name)).map(|g| {
            let same = at.get(&key(&g.name)).map(|&i| &wanted[i]);
            let same = same.filter(|w| w.data.len() == g.data.len() && !absorbs(self.reference, &w.name));
            Seen {
                name: g.name.clone(),
                max: g.data.iter().fold(0.0, |m, &x| worse(m, f64::from(x).abs())),
                compared: same.map(|w| (w.name.clone(), compared(w, g, self.batch))),
            }
        });
        Ok((if half { DType::F16 } else { DType::F32 }, seen.collect()))
    }

    /// The first value from which on nothing agrees on this input.
    pub(super) fn first_difference(
        &self,
        [expected, given]: &[Vec<Vec<f32>>; 2],
    ) -> Result<Option<Difference>, CheckError> {
        let (precision, seen) = self.see([expected, given])?;
        let pairs: Vec<&(String, Comparison)> = seen.iter().filter_map(|s| s.compared.as_ref()).collect();
        let last_good = last_agreeing(precision, pairs.iter().map(|(_, c)| Some(c)));
        Ok(pairs.get(last_good.map_or(0, |i| i + 1)).map(|(name, c)| Difference {
            after: last_good.map(|i| pairs[i].0.clone()),
            at: name.clone(),
            max_error: c.max_error,
            max_reference: c.max_reference,
        }))
    }

    /// Error and size of every value over all inputs.
    pub(super) fn layers(&self, cases: &[Case]) -> Result<Layers, CheckError> {
        let mut all: Vec<Seen> = Vec::new();
        let mut computes = DType::F32;
        for case in cases {
            let (precision, seen) = self.see([&case.reference, &case.candidate])?;
            computes = precision;
            if all.is_empty() {
                all = seen;
                continue;
            }
            for (a, s) in all.iter_mut().zip(seen) {
                a.max = worse(a.max, s.max);
                if let (Some((_, a)), Some((_, s))) = (&mut a.compared, s.compared) {
                    a.max_error = worse(a.max_error, s.max_error);
                    a.max_reference = worse(a.max_reference, s.max_reference);
                    a.finite &= s.finite;
                }
            }
        }
        let good = last_agreeing(computes, all.iter().map(|s| s.compared.as_ref().map(|(_, c)| c)));
        let layer = |(i, s): (usize, &Seen)| {
            let (error, moved) = match &s.compared {
                Some((_, c)) if agrees(computes, c) || good.is_none_or(|good| i > good) => {
                    let error = LayerError { max_error: c.max_error, max_reference: c.max_reference };
                    (Some(error), false)
                }
                compared => (None, compared.is_some()),
            };
            Layer { name: s.name.clone(), max: s.max, error, moved }
        };
        let inputs = cases.iter().map(|c| c.name.clone()).collect();
        Ok(Layers { inputs, values: all.iter().enumerate().map(layer).collect() })
    }
}

/// Compare two values of one name, in the reference's order of axes where that can be told.
fn compared(wanted: &Named, got: &Named, images: usize) -> Comparison {
    let dims: Vec<Option<usize>> = got.shape.iter().map(|&d| Some(d)).collect();
    match Layout::between(&wanted.shape, &dims, images) {
        Some(layout) if wanted.shape != got.shape => compare(&wanted.data, &layout.to_reference(&got.data), 0),
        _ => compare(&wanted.data, &got.data, 0),
    }
}

/// Place of the last value that agrees.
fn last_agreeing<'c>(
    precision: DType,
    values: impl DoubleEndedIterator<Item = Option<&'c Comparison>> + ExactSizeIterator,
) -> Option<usize> {
    let mut values = values;
    values.rposition(|c| c.is_some_and(|c| agrees(precision, c)))
}

/// Whether a value is a part of a node that the check spells in simpler operators.
fn is_part(name: &str) -> bool {
    name.contains(PART)
}

/// Whether a value of the reference comes from an operator into which passes fold its neighbours.
fn absorbs(reference: &Computation<'_>, name: &str) -> bool {
    let Some(graph) = reference.program.graph() else { return false };
    graph.find(name).is_some_and(|id| {
        let facts = graph.node(id).op.facts();
        let scales = facts.class == Class::Normalisation && facts.linear.contains(0);
        facts.class == Class::Contraction || scales
    })
}
