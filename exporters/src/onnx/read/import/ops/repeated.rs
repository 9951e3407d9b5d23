//! Constants that are repeated, for each item of an open batch or one number throughout, where an operator computes element by element: it computes once, and its
//! result is repeated.
//!
//! Exporters repeat masks so, and what is computed of a mask decides how it is read: only a constant says which keys it hides.

use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::{elementwise, select};
use vitc_ir::{Dim, Shape};

/// Read a node that computes element by element of repeated constants; `None` if none of its operands is one.
pub(super) fn apply(cx: &mut Cx, c: &Call<'_>, read: Read) -> Option<Done> {
    let by_element = elementwise::find(c.op()).or(select::find(c.op())).is_some() || c.op() == "Cast";
    // Older versions align their operands by attributes.
    let by_element = by_element && c.node.domain.is_empty() && c.version >= 8;
    let once: Vec<Option<Val>> = c.inputs.iter().map(|value| once(cx, value)).collect();
    if !by_element || once.iter().all(Option::is_none) {
        return None;
    }
    Some(repeated(cx, c, once, read))
}

/// The constant that a value repeats.
fn once(cx: &Cx, value: &Val) -> Option<Val> {
    let Val::Node(v, elem) = value else { return None };
    let (inner, shape) = cx.repeats(*v)?;
    let cheaper = shape.has_batch() || cx.graph.shape(inner).elements() == 1;
    cheaper.then_some(Val::Node(inner, *elem))
}

fn repeated(cx: &mut Cx, c: &Call<'_>, once: Vec<Option<Val>>, read: Read) -> Done {
    let mut whole = Shape(Vec::new());
    for value in c.inputs.iter().filter(|v| !v.is_absent()) {
        let own = cx.dims(value)?;
        let wide = vitc_ir::infer::broadcast(&whole, &Shape(own.clone()));
        whole = wide.ok_or_else(|| Refusal::new(cx.contradiction(&whole.0, &own)))?;
    }
    let inputs = c.inputs.iter().zip(once).map(|(value, once)| once.unwrap_or_else(|| value.clone())).collect();
    let narrow = Call::new(c.node, inputs, c.path.clone());
    let results = read(cx, &narrow)?;
    super::attributes::all_count(&narrow)?;
    let dims: Vec<Dim> = whole.0;
    results.iter().map(|value| cx.expanded(value, &dims, &c.at("repeated"))).collect()
}
