//! The top of the page: what was made, from what, for what, and whether it computes the same.

use super::Page;
use super::html::{Element, el, text};
use crate::export::WeightsLine;
use crate::numbers::{bytes, magnitude, si};
use crate::port::Port;

/// Title, verdict, key figures and facts.
pub(super) fn section(page: &Page<'_>) -> Element {
    let report = page.report;
    let title = el("h1").text(&report.model).add(text("span", format!(" for {}", report.target)).class("quiet"));
    let (class, verdict) = verdict(page);
    let head = el("div").class("title").add(title).add(text("span", verdict).class(format!("badge {class}")));
    let warning = match &report.weights {
        WeightsLine::Seeded { seed } => Some(
            text(
                "p",
                format!(
                    "Untrained weights from seed {seed}: the figures of cost hold, those of accuracy and range do not."
                ),
            )
            .class("warning"),
        ),
        WeightsLine::Checkpoint { .. } => None,
    };
    el("header").add(head).all(warning).add(tiles(page)).add(facts(page)).all(notices(page))
}

fn verdict(page: &Page<'_>) -> (&'static str, String) {
    let expected = page.report.expect.as_ref();
    match &page.report.check {
        Some(check) if !check.passed => ("bad", "check failed".into()),
        _ if expected.is_some_and(|e| !e.passed) => ("bad", "differs from the expected values".into()),
        Some(check) => ("good", format!("checked in {}", check.precision.replace('f', "fp"))),
        None => ("open", "not checked".into()),
    }
}

/// The figures that decide.
fn tiles(page: &Page<'_>) -> Element {
    let artifact = &page.report.artifact;
    let tile = |value: String, name: String| el("div").class("tile").add(text("b", value)).add(text("span", name));
    let mut tiles = vec![
        tile(bytes(artifact.bytes), "on disk".into()),
        tile(si(artifact.parameters), "parameters".into()),
        tile(si(artifact.macs), "multiply-accumulates an image".into()),
        tile(artifact.nodes.to_string(), "operations".into()),
    ];
    if let Some(worst) = page.worst_run() {
        let share = worst.comparison.max_error / worst.allowed;
        tiles.push(tile(format!("{} %", magnitude(100.0 * share)), "of the allowed error".into()));
    }
    if let Some(nearest) = page.values.iter().filter(|v| !v.wide).filter_map(|v| v.max).reduce(crate::numbers::worse) {
        tiles.push(tile(magnitude(nearest), format!("largest value; fp16 ends at {}", super::FP16_MAX)));
    }
    el("div").class("tiles").all(tiles)
}

fn facts(page: &Page<'_>) -> Element {
    let report = page.report;
    let [h, w] = report.resolution;
    let mut rows: Vec<(&str, String)> = vec![("model", format!("{}, {h}x{w}, batch {}", report.model, report.batch))];
    match &report.weights {
        WeightsLine::Checkpoint { file, blake3, found } => {
            rows.push(("weights", format!("{} (BLAKE3 {blake3})", file.display())));
            rows.extend(found.iter().map(|line| ("", line.clone())));
        }
        WeightsLine::Seeded { seed } => rows.push(("weights", format!("generated from seed {seed}"))),
    }
    rows.push(("target", format!("{}, {}", report.target, report.format)));
    let port = |p: &Port| format!("{} {} {}", p.name, p.dtype, p.shape);
    rows.extend(report.inputs.iter().map(|p| ("input", port(p))));
    rows.extend(report.outputs.iter().map(|p| ("output", port(p))));
    for f in &report.functions {
        let ports = |ports: &[Port]| ports.iter().map(port).collect::<Vec<_>>().join(", ");
        rows.push(("function", format!("{}: {} to {}", f.name, ports(&f.inputs), ports(&f.outputs))));
    }
    if let Some(first) = report.functions.first() {
        rows.push(("", format!("this page shows the graph of {}; the check ran all of them", first.name)));
    }
    rows.extend(page.lowered.preprocessing.as_ref().map(|p| ("pixels", p.describe())));
    if let Some([first, .., last]) = page.lowered.labels.as_deref() {
        let count = page.lowered.labels.as_ref().map_or(0, Vec::len);
        rows.push(("classes", format!("{count} names, from {first} to {last}")));
    }
    let origin = if report.precision.default { "the default of this target" } else { "as asked" };
    rows.push((
        "precision",
        format!("{}, {origin}; interface {}", report.precision.compute, report.precision.interface),
    ));
    if report.artifact.kept {
        rows.push(("file", report.artifact.path.display().to_string()));
        rows.extend(report.artifact.data_file.clone().map(|name| ("weights in", format!("{name} beside it"))));
    }
    let mut ops: Vec<(&String, &usize)> = report.artifact.ops.iter().collect();
    ops.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    rows.push(("operations", ops.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ")));
    el("dl").all(rows.into_iter().flat_map(|(name, value)| [text("dt", name), text("dd", value)]))
}

fn notices(page: &Page<'_>) -> Option<Element> {
    let notices = &page.report.notices;
    (!notices.is_empty()).then(|| el("ul").class("notices").all(notices.iter().map(|n| text("li", (page.words)(n)))))
}
