//! Finding where two computations part, from the values that both have under one name.
//!
//! A pass may give a value another meaning under its old name, so a single value that differs says nothing; products, which absorb what
//! stands beside them (a norm, a scale), are left out. A real fault shows in everything after it: it lies between the last value that agrees and the
//! next.

use super::bounds::agrees;
use super::compare::compare;
use super::report::Difference;
use super::side::Side;
use super::tract::{Request, Values};
use super::{CheckError, run};
use std::collections::HashMap;
use vitc_ir::{DType, Op};

/// A value's name as both formats spell it: MIL allows letters, digits and underscores only.
pub(super) fn key(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Run both sides with every value and find where they part. Inputs: the reference's and the candidate's.
pub(super) fn first_difference(
    reference: &Side<'_>,
    candidate: &Side<'_>,
    batch: usize,
    [expected, given]: [&[f32]; 2],
) -> Result<Option<Difference>, CheckError> {
    let request = Request { batch, values: Values::All, piece: None };
    let wanted = run(reference, &reference.load(request)?, expected)?;
    let model = candidate.load(request)?;
    let precision = if model.is_half() { DType::F16 } else { DType::F32 };
    let got = run(candidate, &model, given)?;
    let at: HashMap<String, usize> = wanted.iter().enumerate().map(|(i, v)| (key(&v.name), i)).collect();
    let pairs = got.iter().filter_map(|g| {
        let w = &wanted[*at.get(&key(&g.name))?];
        if absorbs(reference, &w.name) {
            return None;
        }
        (w.data.len() == g.data.len()).then(|| (&w.name, compare(&w.data, &g.data, 0)))
    });
    let pairs: Vec<_> = pairs.collect();
    let last_good = pairs.iter().rposition(|(_, c)| agrees(precision, c));
    let first_bad = last_good.map_or(0, |i| i + 1);
    Ok(pairs.get(first_bad).map(|(name, c)| Difference {
        after: last_good.map(|i| pairs[i].0.clone()),
        at: name.to_string(),
        max_error: c.max_error,
        max_reference: c.max_reference,
    }))
}

/// Whether a value of the reference comes from an operator into which passes fold its neighbours.
fn absorbs(side: &Side<'_>, name: &str) -> bool {
    let Side::Graph { graph, .. } = side else { return false };
    let op = graph.find(name).map(|id| &graph.node(id).op);
    matches!(op, Some(Op::Conv { .. } | Op::Linear | Op::MatMul { .. } | Op::BatchNorm { .. }))
}
