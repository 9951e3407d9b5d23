//! What each pass did.

use super::Page;
use super::html::{Element, cell, el, table, text};

/// A table of the passes that changed something, and their notes.
pub(super) fn section(page: &Page<'_>) -> Element {
    let passes = &page.report.passes;
    let did: Vec<_> = passes.iter().filter(|p| p.rewrites > 0).collect();
    let change = |before: usize, after: usize| {
        let class = match before.cmp(&after) {
            std::cmp::Ordering::Greater => "fewer",
            std::cmp::Ordering::Less => "more",
            std::cmp::Ordering::Equal => "same",
        };
        let shown = if before == after { format!("{after}") } else { format!("{before} → {after}") };
        text("span", shown).class(class)
    };
    let row = |p: &&crate::export::PassLine| {
        let [before, after] = p.moves;
        vec![
            cell(&p.pass),
            cell(p.rewrites),
            change(p.before, p.after),
            change(before, after),
            cell(p.notes.join("; ")),
        ]
    };
    let columns =
        [("pass", "path"), ("rewrites", "n"), ("operations", "n"), ("transposes, reshapes", "n"), ("notes", "wide")];
    let idle: Vec<&str> = passes.iter().filter(|p| p.rewrites == 0).map(|p| p.pass.as_str()).collect();
    let note = "In order; a pass appears again when another made work for it.";
    let mut section = el("section").attr("id", "passes").add(text("h2", "Passes")).add(text("p", note));
    section = section.add(table(&columns, did.iter().map(row)));
    let more: Vec<String> = passes
        .iter()
        .filter(|p| p.rewrites == 0)
        .flat_map(|p| p.notes.iter().map(move |n| format!("{}: {n}", p.pass)))
        .collect();
    if !more.is_empty() {
        section = section.add(el("ul").all(more.iter().map(|n| text("li", n))));
    }
    if idle.is_empty() {
        section
    } else {
        section.add(text("p", format!("Found nothing to do: {}.", idle.join(", "))).class("quiet"))
    }
}
