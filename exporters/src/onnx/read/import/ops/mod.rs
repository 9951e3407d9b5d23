//! The operators that are read: one file per group, each reading by the rules of the version in force.

mod affine;
mod angles;
mod attention;
mod attributes;
mod bounds;
mod contrib;
mod control;
mod einsum;
mod either;
mod elementwise;
mod fold;
mod formulas;
mod gaps;
mod grid;
mod indexing;
mod infinities;
mod integers;
mod items;
mod lookup;
mod masks;
mod mel;
mod movement;
mod norms;
mod padding;
mod pooling;
mod products;
mod puts;
mod quantised;
mod recurrent;
mod reduce;
mod repeated;
mod resize;
mod resize_axes;
mod select;
mod shapes;
mod stft;
mod transposed;
mod volumes;
mod whole;

use super::call::{Call, Read};
use super::cx::Cx;
use super::refusal::{Done, Refusal};
use super::value::Val;
use std::collections::HashMap;

/// ONNX Runtime's operators beside the standard ones.
const MICROSOFT: &str = "com.microsoft";

/// True for an operator whose own definition is preferred to a function of the file.
pub(super) fn is_known(domain: &str, op: &str) -> bool {
    find(domain, op).is_some() || domain.is_empty() && matches!(op, "If" | "Loop" | "Scan")
}

/// Why an operator is not taken whatever its operands are; `None` if it may be.
pub(super) fn never(domain: &str, op: &str) -> Option<Refusal> {
    if is_known(domain, op) && op != "Scan" { None } else { Some(unknown(domain, op)) }
}

/// Read one node.
pub(super) fn apply(cx: &mut Cx, c: &Call<'_>, outer: &HashMap<String, Val>) -> Done {
    let results = match (c.node.domain.as_str(), c.op()) {
        ("", "If") => control::branch(cx, c, outer),
        ("", "Loop") => control::repeat(cx, c, outer),
        (domain, op) => match find(domain, op) {
            Some(read) => {
                if let Some(results) = items::apply(cx, c).or_else(|| repeated::apply(cx, c, read)) {
                    results
                } else {
                    let results = read(cx, c)?;
                    attributes::all_count(c)?;
                    Ok(results)
                }
            }
            None => Err(unknown(domain, op)),
        },
    }?;
    results.iter().try_for_each(|value| cx.hold(value))?;
    Ok(results)
}

/// Why an operator is not taken whatever its operands are.
fn unknown(domain: &str, op: &str) -> Refusal {
    Refusal::new(match (domain, op) {
        ("", "NonMaxSuppression") => return Refusal::computed("the number of boxes depends on the image"),
        ("", "Unique") => return Refusal::computed("the number of its results depends on the image"),
        (
            "",
            "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli" | "Multinomial",
        ) => "gives random numbers",
        ("", "Scan") => "repeats a graph",
        ("", _) => "is not taken",
        ("com.microsoft.nchwc", _) => "was saved by ONNX Runtime for one processor: use the original file",
        (MICROSOFT, _) => "is an operator of ONNX Runtime that is not taken",
        _ => "no definition in the file",
    })
}

fn find(domain: &str, op: &str) -> Option<Read> {
    match domain {
        "" => standard(op),
        MICROSOFT => contrib::find(op),
        _ => None,
    }
}

fn standard(op: &str) -> Option<Read> {
    let groups = [
        elementwise::find,
        products::find,
        pooling::find,
        norms::find,
        reduce::find,
        movement::find,
        padding::find,
        resize::find,
        indexing::find,
        select::find,
        shapes::find,
        quantised::find,
        integers::find,
        recurrent::find,
        attention::find,
        formulas::find,
        angles::find,
        affine::find,
        mel::find,
        lookup::find,
        grid::find,
        control::find,
        einsum::find,
        stft::find,
        fold::find,
    ];
    groups.into_iter().find_map(|find: fn(&str) -> Option<Read>| find(op))
}
