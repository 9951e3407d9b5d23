//! `If` with a condition that is computed when the model runs: both branches are computed, and one is chosen.

use super::super::cx::Cx;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::select;
use super::whole;
use vitc_ir::{BinaryKind, NodeId, Op};

/// The results of one of two branches, element by element; `from` is how many nodes the graph had before either was read.
///
/// # Errors
/// If the branches give different shapes or types, or compute what may fail where it is not taken.
pub(super) fn chosen(cx: &mut Cx, condition: &Val, branches: [Vec<Val>; 2], from: usize, path: &str) -> Done {
    let [yes, no] = branches;
    if yes.len() != no.len() {
        return Err(format!("its branches give {} and {} results", yes.len(), no.len()).into());
    }
    if let Some(what) = may_fail(cx, from) {
        return Err(Refusal::computed(format!("a branch {what}, which may fail where the other is taken")));
    }
    let condition = scalar(cx, condition, &format!("{path}.condition"))?;
    let count = yes.len();
    let mut results = Vec::new();
    for (i, (a, b)) in yes.iter().zip(&no).enumerate() {
        let path = if count == 1 { path.to_string() } else { format!("{path}.result{i}") };
        results.push(one_of(cx, &condition, [a, b], &path)?);
    }
    cx.note("both branches of an If whose condition is computed are computed, and one is chosen".into());
    Ok(results)
}

/// The one truth that a condition holds, without axes, so that a result keeps its own.
fn scalar(cx: &mut Cx, condition: &Val, path: &str) -> Done<Val> {
    let elem = cx.elem(condition)?;
    if cx.fixed(condition)?.iter().any(|&d| d != 1) {
        return Err("its condition is more than one truth".into());
    }
    let truth = cx.value(condition, path)?;
    Ok(Val::Node(cx.reshape(truth, Vec::new(), path)?, elem))
}

fn one_of(cx: &mut Cx, condition: &Val, [a, b]: [&Val; 2], path: &str) -> Done<Val> {
    if let (Some(x), Some(y)) = (cx.known(a), cx.known(b))
        && x.dims == y.dims
        && x.elem == y.elem
        && x.data == y.data
    {
        return Ok(a.clone());
    }
    let (elem, other) = (cx.elem(a)?, cx.elem(b)?);
    let whole = whole::is_wide(elem) || elem == super::super::super::tensor::Elem::Bool;
    if elem != other || !(elem.is_float() || whole) {
        return Err(format!("its branches give {} and {}", elem.word(), other.word()).into());
    }
    let (own, beside) = (cx.dims(a)?, cx.dims(b)?);
    if own != beside {
        let shown = [own, beside].map(|dims| vitc_ir::Shape(dims).to_string());
        return Err(Refusal::computed(format!("its branches give {} and {}", shown[0], shown[1])));
    }
    select::select(cx, path, condition, [a, b])
}

/// What of the nodes behind the first `from` may fail whatever is chosen afterwards.
fn may_fail(cx: &Cx, from: usize) -> Option<&'static str> {
    let new = (from..cx.graph.len()).map(|i| cx.graph.node(NodeId(i as u32)));
    new.into_iter().find_map(|node| {
        let computed = node.inputs.get(1).is_some_and(|&v| !cx.graph.is_constant(v));
        match node.op {
            Op::Binary(BinaryKind::Quotient) if computed => Some("divides whole numbers"),
            Op::Gather { axis } if computed => {
                let rows = cx.graph.shape(node.inputs[0]).0.get(axis).and_then(|d| d.fixed());
                let there = whole::below(cx, node.inputs[1]).zip(rows).is_some_and(|(bound, rows)| bound <= rows);
                (!there).then_some("looks up what is computed")
            }
            _ => None,
        }
    })
}
