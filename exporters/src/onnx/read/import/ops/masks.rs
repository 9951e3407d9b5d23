//! Which keys a query sees, and what is added to its scores.

use super::super::super::tensor::Elem;
use super::super::cx::{Cx, HUGE, LARGE};
use super::super::known::{Known, Num};
use super::super::places;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use super::{select, whole};
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Op, UnaryKind, Value};

/// What is done to scores between the products.
#[derive(Default)]
pub(super) struct Scores {
    pub(super) scale: f64,
    /// Scores are c·tanh(score/c).
    pub(super) cap: Option<f64>,
    /// Summands that broadcast to `[B,H,Nq,Nk]`.
    pub(super) biases: Vec<Value>,
    /// Factors of the probabilities: 0 in rows that see nothing.
    pub(super) seen: Vec<Value>,
}

/// Which keys up to its own place a query sees.
pub(super) fn up_to(queries: usize, keys: usize) -> Done<Val> {
    places::count(&[queries, keys]).ok_or("has too many scores")?;
    let one = |i: usize| Num::int(i64::from(i % keys <= i / keys));
    Ok(Val::known(Known::new(Elem::Bool, vec![queries, keys], (0..queries * keys).map(one).collect())))
}

/// What a mask says.
#[derive(Default)]
pub(super) struct Mask {
    /// Which keys are seen, as truths.
    pub(super) seen: Option<Val>,
    /// Finite numbers that are added to the scores.
    pub(super) added: Option<Val>,
}

impl Mask {
    /// The mask that an operand is: true is seen, numbers are added, and minus infinity hides. A constant of fewer keys hides the rest.
    pub(super) fn of(cx: &mut Cx, mask: &Val, keys: usize, path: &str) -> Done<Mask> {
        let dims = cx.dims(mask)?;
        let last = cx.size(*dims.last().ok_or("has a mask without axes")?)?;
        if last > keys {
            return Err(format!("has a mask of {last} keys for {keys}").into());
        }
        if last == 1 && keys > 1 {
            return Err(format!(
                "has a mask of one key for {keys}: it hides the rest by the definition, and is repeated elsewhere"
            )
            .into());
        }
        let truth = cx.elem(mask)? == Elem::Bool;
        match cx.constant(mask) {
            Some(known) => Mask::known(mask, &known, keys, truth),
            None if last < keys => Err("has a mask of fewer keys that is computed at run time".into()),
            None if truth => Ok(Mask { seen: Some(mask.clone()), added: None }),
            None => Mask::computed(cx, mask, path),
        }
    }

    fn known(mask: &Val, known: &Known, keys: usize, truth: bool) -> Done<Mask> {
        let data = known.reals().ok_or("has a mask that depends on the batch: give the batch a number")?;
        if data.iter().any(|x| x.is_nan() || *x >= HUGE) {
            return Err("has a mask with a number that is infinite or none".into());
        }
        let last = known.dims.last().copied().unwrap_or(1).max(1);
        let wide = |f: &dyn Fn(f64) -> f64, rest: f64| -> Vec<f64> {
            let row = |row: &[f64]| (0..keys).map(|j| row.get(j).map_or(rest, |&x| f(x))).collect::<Vec<_>>();
            data.chunks(last).flat_map(row).collect()
        };
        let dims = [&known.dims[..known.dims.len().saturating_sub(1)], &[keys]].concat();
        let seen = wide(&|x| f64::from(u8::from(if truth { x != 0.0 } else { x > -HUGE })), 0.0);
        let added = wide(&|x| if truth || x <= -HUGE { 0.0 } else { x }, 0.0);
        let (hides, adds) = (seen.contains(&0.0), added.iter().any(|&x| x != 0.0));
        if !hides && adds {
            return Ok(Mask { seen: None, added: Some(mask.clone()) });
        }
        let array = |elem: Elem, data: Vec<f64>| {
            let num = |x| if elem == Elem::Bool { Num::int(x as i64) } else { Num::float(x) };
            Val::known(Known::new(elem, dims.clone(), data.into_iter().map(num).collect()))
        };
        Ok(Mask { seen: hides.then(|| array(Elem::Bool, seen)), added: adds.then(|| array(Elem::F32, added)) })
    }

    /// Numbers that are computed when the model runs may be minus infinity, or the number that stands for it.
    fn computed(cx: &mut Cx, mask: &Val, path: &str) -> Done<Mask> {
        let at = |name: &str| format!("{path}.{name}");
        let x = float(cx, mask, &at("numbers"))?;
        let x = cx.with(BinaryKind::Max, x, -LARGE, &at("least"))?;
        let above = cx.with(BinaryKind::Sub, x, -LARGE, &at("above"))?;
        let seen = cx.unary(UnaryKind::Sign, above, &at("truth"))?;
        let added = cx.binary(BinaryKind::Mul, x, seen, &at("shown"))?;
        Ok(Mask { seen: Some(Val::Node(seen, Elem::Bool)), added: Some(Val::Node(added, Elem::F32)) })
    }

    /// The same, and these keys alone: a row that neither hides may be hidden by both.
    pub(super) fn and(self, cx: &mut Cx, other: &Val, path: &str) -> Done<Mask> {
        let seen = match &self.seen {
            Some(seen) => select::both(cx, seen, other, path)?,
            None => other.clone(),
        };
        Ok(Mask { seen: Some(seen), ..self })
    }

    /// Do so to the scores. A row that sees nothing gives zeros.
    pub(super) fn apply(self, cx: &mut Cx, scores: &mut Scores, path: &str) -> Done<()> {
        let at = |name: &str| format!("{path}.{name}");
        if let Some(added) = &self.added {
            scores.biases.push(float(cx, added, &at("added"))?);
        }
        let Some(seen) = &self.seen else { return Ok(()) };
        let Some(known) = cx.constant(seen) else {
            let seen = whole::truth(cx, seen, path)?;
            let any = Op::Reduce { kind: ReduceKind::Max, axes: vec![cx.shape(seen).len() - 1], keep: true };
            let any = cx.push(any, &[seen], &at("seen"))?;
            // Nothing is hidden in a row without keys: half precision has no room below.
            let hidden = cx.binary(BinaryKind::Sub, seen, any, &at("hidden"))?;
            scores.biases.push(cx.with(BinaryKind::Mul, hidden, LARGE, &at("bias"))?);
            scores.seen.push(any);
            return Ok(());
        };
        let keys = known.dims.last().copied().unwrap_or(1).max(1);
        let rows: Vec<Vec<bool>> =
            known.data.chunks(keys).map(|row| row.iter().map(|&n| n != Num::int(0)).collect()).collect();
        let any: Vec<bool> = rows.iter().map(|row| row.contains(&true)).collect();
        let hidden = rows.iter().zip(&any).flat_map(|(row, &any)| row.iter().map(move |&t| any && !t));
        let bias = hidden.map(|hidden| Num::float(if hidden { -LARGE } else { 0.0 })).collect();
        scores.biases.push(cx.spell(&Known::new(Elem::F32, known.dims.clone(), bias), &at("bias"))?);
        if any.contains(&false) {
            let dims = [&known.dims[..known.dims.len().saturating_sub(1)], &[1]].concat();
            let any = any.iter().map(|&any| Num::float(f64::from(u8::from(any)))).collect();
            scores.seen.push(cx.spell(&Known::new(Elem::F32, dims, any), &at("seen"))?);
        }
        Ok(())
    }
}
