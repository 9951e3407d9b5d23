//! The range of every value against the largest number of fp16.

use super::chart::{Dot, chart};
use super::html::{Element, cell, el, folded, table, text};
use super::{FP16_MAX, Page, Value};
use crate::message::Setting;
use crate::numbers::magnitude;

/// Values that the open table names.
const NAMED: usize = 20;

/// A chart along the model and the values nearest to the limit.
pub(super) fn section(page: &Page<'_>) -> Element {
    let section = el("section").attr("id", "ranges").add(text("h2", "Range of every value"));
    let seen: Vec<(&Value<'_>, f64)> =
        page.values.iter().filter(|v| !v.moves).filter_map(|v| Some((v, v.max?))).collect();
    if seen.is_empty() {
        return section.add(text("p", page.why_no_layers()));
    }
    let half = page.report.precision.compute == "fp16";
    let meaning: String = if half {
        "Values in fp16 must stay below it; values of fp32 islands, marked, need not.".into()
    } else {
        let half = (page.words)(&Setting::Precision.to("fp16").into());
        format!("This file computes in fp32; the figures say what {half} would have to hold.")
    };
    let note = format!(
        "Largest magnitude of every value of the file over the inputs {}. The largest number of fp16 is {FP16_MAX}. {meaning} \
         Transposes, slices and the like repeat the value that they move and are left out.",
        page.inputs().join(", ")
    );
    let dots: Vec<Dot<'_>> = seen.iter().map(|(v, max)| dot(v, *max)).collect();
    let mut nearest = seen.clone();
    // What is not finite stands first, in the model's order: the first is where it began.
    let size = |max: f64| if max.is_finite() { max } else { f64::INFINITY };
    nearest.sort_by(|a, b| size(b.1).total_cmp(&size(a.1)));
    let rows = |list: &[(&Value<'_>, f64)]| list.iter().map(|(v, max)| row(v, *max)).collect::<Vec<_>>();
    let columns = [
        ("value", "path"),
        ("operator", ""),
        ("type", ""),
        ("largest |x|", "n"),
        ("room below the limit", "n"),
        ("", ""),
    ];
    section
        .add(text("p", note))
        .add(chart(&dots, [-4, 5], FP16_MAX, &format!("fp16 ends at {FP16_MAX}")))
        .add(table(&columns, rows(&nearest[..NAMED.min(nearest.len())])))
        .add(folded(format!("all {} values, in order", seen.len()), table(&columns, rows(&seen))))
}

fn class(value: &Value<'_>, max: f64) -> &'static str {
    match () {
        () if value.wide => "island",
        () if max.is_nan() || max >= FP16_MAX => "bad",
        () if max >= FP16_MAX / 16.0 => "near",
        () => "dot",
    }
}

fn dot<'v>(value: &'v Value<'_>, max: f64) -> Dot<'v> {
    Dot {
        link: value.link(),
        title: format!("{}: {}", value.name, magnitude(max)),
        stage: value.stage,
        figure: max,
        class: class(value, max),
    }
}

fn row(value: &Value<'_>, max: f64) -> Vec<Element> {
    // On a logarithmic scale from 1 to the limit.
    let share = if max.is_finite() { (max.max(1.0).ln() / FP16_MAX.ln()).min(1.0) } else { 1.0 };
    let bar = el("i").attr("style", format!("width:{:.1}%", 100.0 * share)).class(class(value, max));
    let room = match FP16_MAX / max {
        _ if value.wide => "fp32 island".to_string(),
        room if room.is_nan() || room <= 1.0 => "none".into(),
        room if room > 1e4 => "over 10000 times".into(),
        room => format!("{} times", if room < 999.5 { magnitude(room) } else { format!("{room:.0}") }),
    };
    let ty = value.ty.to_string();
    vec![value.linked(), cell(value.op), cell(ty), cell(magnitude(max)), cell(room), el("span").class("bar").add(bar)]
}
