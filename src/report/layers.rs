//! The error of each layer: where precision is lost.

use super::chart::{Dot, chart};
use super::html::{Element, cell, el, folded, table, text};
use super::{Page, Value};
use crate::check::bounds;
use crate::numbers::{count, magnitude};

/// Layers that the open table names.
const NAMED: usize = 8;

/// A chart of the error along the model, and the layers with the largest.
pub(super) fn section(page: &Page<'_>) -> Element {
    let section = el("section").attr("id", "layers").add(text("h2", "Error per layer"));
    let compared: Vec<(&Value<'_>, f64)> = page.values.iter().filter_map(|v| Some((v, v.relative_error()?))).collect();
    if compared.is_empty() {
        return section.add(text("p", page.why_no_layers()));
    }
    let half = page.report.precision.compute == "fp16";
    let bound = if half { bounds::F16 } else { bounds::F32 };
    let note = "Largest difference between the file's value and the reference's, over the largest reference value there; worst of all inputs. \
                Values of one path are compared, but for those of products into which passes fold what stands beside them.";
    let dots: Vec<Dot<'_>> = compared.iter().map(|(v, error)| dot(v, *error, bound)).collect();
    let scale = if half { [-6, 0] } else { [-9, -3] };
    let mut worst = compared.clone();
    let size = |error: f64| if error.is_finite() { error } else { f64::INFINITY };
    worst.sort_by(|a, b| size(b.1).total_cmp(&size(a.1)));
    let rows = |list: &[(&Value<'_>, f64)]| list.iter().map(|(v, error)| row(v, *error)).collect::<Vec<_>>();
    let columns = [("value", "path"), ("operator", ""), ("error", "n"), ("of", "n"), ("relative", "n")];
    let moved: Vec<&str> = page.values.iter().filter(|v| v.moved).map(|v| v.name.as_str()).collect();
    let mut section = section
        .add(text("p", note))
        .add(chart(&dots, scale, bound, &format!("allowed at the outputs: {}", magnitude(bound))))
        .add(table(&columns, rows(&worst[..NAMED.min(worst.len())])))
        .add(folded(format!("all {} layers, in order", compared.len()), table(&columns, rows(&compared))));
    if !moved.is_empty() {
        let what = "These hold something else than the reference's value of that path, because a pass moved a factor, a bias or a branch across them. \
                    Values behind them agree.";
        let list = el("ul").class("columns").all(moved.iter().map(|name| text("li", name)));
        let list = el("div").add(text("p", what)).add(list);
        section = section.add(folded(format!("left out: {}", count(moved.len(), "value")), list));
    }
    section
}

fn dot<'v>(value: &'v Value<'_>, error: f64, bound: f64) -> Dot<'v> {
    Dot {
        link: value.link(),
        title: format!("{}: {}", value.name, magnitude(error)),
        stage: value.stage,
        figure: error,
        class: if error > bound || !error.is_finite() { "bad" } else { "dot" },
    }
}

fn row(value: &Value<'_>, relative: f64) -> Vec<Element> {
    let error = value.error.unwrap_or_default();
    vec![
        value.linked(),
        cell(value.op),
        cell(magnitude(error.max_error)),
        cell(magnitude(error.max_reference)),
        cell(magnitude(relative)),
    ]
}
