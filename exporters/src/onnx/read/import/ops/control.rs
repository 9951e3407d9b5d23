//! Branches and loops whose course is known, and sequences.

use super::super::super::flat::{Flat, flatten_body};
use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{Known, Num};
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::{apply, either, movement};
use std::collections::HashMap;
use vitc_ir::Dim;

/// Most turns of a loop.
const TURNS: i64 = 1024;
/// Most graphs inside each other.
const DEPTH: usize = 64;

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "SplitToSequence" => split,
        "SequenceAt" => at,
        "SequenceConstruct" => construct,
        "SequenceEmpty" => |_, _| Ok(vec![Val::List(Vec::new())]),
        "SequenceInsert" => insert,
        "ConcatFromSequence" => join,
        "SequenceLength" => length,
        "SequenceErase" => erase,
        "Optional" | "OptionalGetElement" => |_, c| Ok(vec![c.needed(0)?.clone()]),
        "OptionalHasElement" => has_element,
        _ => return None,
    })
}

/// Read a graph inside a node; its results.
fn run(cx: &mut Cx, flat: &Flat, mut values: HashMap<String, Val>, path: &str) -> Done {
    if cx.depth >= DEPTH {
        return Err("has too many graphs inside each other".into());
    }
    cx.depth += 1;
    let constants = flat.constants.iter().map(|(name, tensor)| (name.clone(), Val::Tensor(tensor.clone())));
    values.extend(constants);
    for node in &flat.nodes {
        let named = |n: &String| {
            if n.is_empty() {
                Val::Absent
            } else {
                values.get(n).cloned().unwrap_or(Val::Missing(format!("nothing produces {n}")))
            }
        };
        let inputs: Vec<Val> = node.inputs.iter().map(named).collect();
        let call = Call::new(node, inputs, format!("{path}.{}", cx.path(&node.name)));
        let results = apply(cx, &call, &values)
            .map_err(|refusal| Refusal { why: format!("{} inside: {}", node.operator(), refusal.why), ..refusal });
        let results = results.inspect_err(|_| cx.depth -= 1)?;
        values.extend(node.outputs.iter().zip(results).filter(|(n, _)| !n.is_empty()).map(|(n, v)| (n.clone(), v)));
    }
    cx.depth -= 1;
    let result = |name: &String| {
        values.get(name).cloned().ok_or_else(|| Refusal::new(format!("nothing produces {name} inside")))
    };
    flat.outputs.iter().map(|o| result(&o.name)).collect()
}

/// What a graph inside a node sees of the graphs around it.
fn seen(flat: &Flat, outer: &HashMap<String, Val>) -> HashMap<String, Val> {
    flat.outer_names().into_iter().filter_map(|n| Some((n.to_string(), outer.get(n)?.clone()))).collect()
}

fn body(c: &Call<'_>, name: &str) -> Done<Flat> {
    flatten_body(&*c.body(name)?, &c.node.imports).map_err(|e| Refusal::new(e.to_string()))
}

/// `If`: the branch that a known condition takes, else both of them.
pub(super) fn branch(cx: &mut Cx, c: &Call<'_>, outer: &HashMap<String, Val>) -> Done {
    let Some(condition) = cx.constant(c.needed(0)?).and_then(|k| k.scalar()) else {
        return either(cx, c, outer);
    };
    let truth = condition.plain().ok_or("its branch depends on the batch: give the batch a number")? != 0;
    if cx.batch.fixed().is_none() {
        cx.note(
            "a branch of the file was chosen for a batch of any size; give the batch the number 1 if that is what runs"
                .into(),
        );
    }
    let flat = body(c, if truth { "then_branch" } else { "else_branch" })?;
    run(cx, &flat, seen(&flat, outer), &c.path)
}

/// One of the branches' results, by what is computed when the model runs.
fn either(cx: &mut Cx, c: &Call<'_>, outer: &HashMap<String, Val>) -> Done {
    let from = cx.graph.len();
    let mut results = Vec::new();
    for name in ["then_branch", "else_branch"] {
        let flat = body(c, name)?;
        cx.unroll(flat.nodes.len())?;
        let branch = run(cx, &flat, seen(&flat, outer), &format!("{}.{name}", c.path));
        results.push(branch.map_err(|refusal| Refusal {
            why: format!("its branch depends on the image, and {}", refusal.why),
            ..refusal
        })?);
    }
    let [yes, no] = <[Vec<Val>; 2]>::try_from(results).map_err(|_| "has not two branches")?;
    either::chosen(cx, c.needed(0)?, [yes, no], from, &c.path)
}

/// `Loop` with a known number of turns, written out: they are counted, or its condition is known after each.
pub(super) fn repeat(cx: &mut Cx, c: &Call<'_>, outer: &HashMap<String, Val>) -> Done {
    let turns = match c.input(0) {
        Val::Absent => i64::MAX,
        turns => cx.ints(turns, "number of turns")?.first().copied().unwrap_or(0),
    };
    let truth = |cx: &mut Cx, value: &Val| match value {
        Val::Absent => Ok(true),
        value => match cx.known(value).and_then(|k| k.scalar()).and_then(Num::plain) {
            Some(t) => Ok(t != 0),
            None => Err(Refusal::new("ends when its condition says so")),
        },
    };
    let flat = body(c, "body")?;
    let mut state: Vec<Val> = c.inputs.iter().skip(2).cloned().collect();
    if flat.inputs.len() != state.len() + 2 || flat.outputs.len() < state.len() + 1 {
        return Err("its body does not fit".into());
    }
    let mut going = truth(cx, c.input(1))?;
    let mut scans: Vec<Vec<Val>> = vec![Vec::new(); flat.outputs.len() - 1 - state.len()];
    for turn in 0..turns {
        if !going {
            break;
        }
        if turn >= TURNS {
            return Err(format!("takes more than {TURNS} turns, which are as many as can be written out").into());
        }
        // A turn without nodes is a turn too.
        cx.unroll(flat.nodes.len() + 1)?;
        let mut values = seen(&flat, outer);
        let number = Val::known(Known::new(Elem::Int(64), vec![], vec![Num::int(turn)]));
        let yes = Val::known(Known::new(Elem::Bool, vec![], vec![Num::int(1)]));
        let given = [number, yes].into_iter().chain(state.iter().cloned());
        values.extend(flat.inputs.iter().map(|i| i.name.clone()).zip(given));
        let mut results = run(cx, &flat, values, &format!("{}.{turn}", c.path))?.into_iter();
        going = truth(cx, &results.next().unwrap_or(Val::Absent))?;
        let count = state.len();
        state = results.by_ref().take(count).collect();
        scans.iter_mut().zip(results).for_each(|(scan, value)| scan.push(value));
    }
    for (i, scan) in scans.iter().enumerate() {
        state.push(stacked(cx, scan, 0, true, &c.at(&format!("scan{i}")))?);
    }
    Ok(state)
}

/// Values joined along an axis that they have, or get.
fn stacked(cx: &mut Cx, list: &[Val], axis: usize, new: bool, path: &str) -> Done<Val> {
    let mut parts = Vec::new();
    for (i, value) in list.iter().enumerate() {
        let mut dims = cx.dims(value)?;
        if new {
            dims.insert(axis.min(dims.len()), Dim::Fixed(1));
        }
        parts.push(cx.reshaped(value, &dims, &format!("{path}.item{i}"))?);
    }
    if parts.is_empty() {
        return Err("joins nothing".into());
    }
    cx.joined(&parts, axis, path)
}

fn list<'a>(c: &'a Call<'_>) -> Done<&'a [Val]> {
    match c.needed(0)? {
        Val::List(list) => Ok(list),
        _ => Err("an array stands where a sequence is due".into()),
    }
}

/// A position in a sequence, which may count from the end.
fn position(cx: &Cx, value: &Val, length: usize) -> Done<usize> {
    let at = cx.ints(value, "position")?.first().copied().unwrap_or(0);
    axis(at, length)
}

fn split(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let dims = cx.dims(&value)?;
    let along = axis(c.int("axis", 0)?, dims.len())?;
    let size = cx.size(dims[along])?;
    // Of parts whose sizes are given the axis stays.
    let dropped = c.int("keepdims", 1)? == 0;
    let (sizes, single) = match c.input(1) {
        Val::Absent => (vec![1; size], dropped),
        given => {
            let scalar = cx.dims(given)?.is_empty();
            let list = cx.ints(given, "sizes")?;
            let list: Vec<usize> = list.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
            match (scalar, list.first()) {
                (true, Some(&each)) if each > 0 => {
                    ((0..size.div_ceil(each)).map(|i| each.min(size - i * each)).collect(), false)
                }
                _ => (list, false),
            }
        }
    };
    if sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s)) != Some(size) {
        return Err(format!("its parts {sizes:?} are not {size} together").into());
    }
    let mut parts = movement::parts(cx, &value, along, &sizes, &c.path)?;
    if single {
        let rest: Vec<Dim> = dims.iter().enumerate().filter(|(i, _)| *i != along).map(|(_, d)| *d).collect();
        for (i, part) in parts.iter_mut().enumerate() {
            *part = cx.reshaped(part, &rest, &c.at(&format!("item{i}")))?;
        }
    }
    Ok(vec![Val::List(parts)])
}

fn at(cx: &mut Cx, c: &Call<'_>) -> Done {
    let list = list(c)?;
    Ok(vec![list[position(cx, c.needed(1)?, list.len())?].clone()])
}

fn construct(_: &mut Cx, c: &Call<'_>) -> Done {
    Ok(vec![Val::List(c.inputs.clone())])
}

fn insert(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mut all = list(c)?.to_vec();
    let place = match c.input(2) {
        Val::Absent => all.len(),
        place => match cx.ints(place, "position")?.first().copied().unwrap_or(0) {
            end if end == all.len() as i64 => all.len(),
            at => axis(at, all.len())?,
        },
    };
    all.insert(place, c.needed(1)?.clone());
    Ok(vec![Val::List(all)])
}

fn erase(cx: &mut Cx, c: &Call<'_>) -> Done {
    let mut all = list(c)?.to_vec();
    let place = match c.input(1) {
        Val::Absent => all.len().checked_sub(1).ok_or("takes something out of an empty sequence")?,
        place => position(cx, place, all.len())?,
    };
    all.remove(place);
    Ok(vec![Val::List(all)])
}

/// Whether an optional value is there, which the file says.
fn has_element(_: &mut Cx, c: &Call<'_>) -> Done {
    let there = Num::int(i64::from(!c.input(0).is_absent()));
    Ok(vec![Val::known(Known::new(Elem::Bool, vec![], vec![there]))])
}

fn join(cx: &mut Cx, c: &Call<'_>) -> Done {
    let all = list(c)?.to_vec();
    let new = c.int("new_axis", 0)? != 0;
    let rank = cx.dims(all.first().ok_or("joins nothing")?)?.len() + usize::from(new);
    let along = axis(c.int("axis", 0)?, rank)?;
    Ok(vec![stacked(cx, &all, along, new, &c.path)?])
}

fn length(_: &mut Cx, c: &Call<'_>) -> Done {
    let count = list(c)?.len() as i64;
    Ok(vec![Val::known(Known::new(Elem::Int(64), vec![], vec![Num::int(count)]))])
}
