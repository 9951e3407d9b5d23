//! What the check found.

use super::Page;
use super::html::{Element, cell, el, table, text};
use crate::check::{CheckReport, Run};
use crate::numbers::magnitude;

/// The check's table, or that nothing was checked.
pub(super) fn section(page: &Page<'_>) -> Element {
    let section = el("section").attr("id", "check").add(text("h2", "Check"));
    let Some(check) = &page.report.check else {
        return section.add(text("p", page.not_run("The"))).all(verified(page)).all(expected(page));
    };
    let note = "The file, read back and run, against the paper's graph with no pass applied. This proves passes and exporter, not the architecture.";
    let mut section = section.add(text("p", note)).add(runs(check));
    if let Some(d) = &check.first_difference {
        let after = d.after.as_deref().unwrap_or("the input");
        let error = format!("error {} of {}", magnitude(d.max_error), magnitude(d.max_reference));
        section = section.add(
            text("p", format!("The difference appears between {after}, which agrees, and {} ({error}).", d.at))
                .class("warning"),
        );
    }
    section.all(check.notes.iter().map(|n| text("p", n))).all(verified(page)).all(expected(page))
}

/// How the file compares with the trained module itself.
fn verified(page: &Page<'_>) -> Vec<Element> {
    let Some(found) = &page.report.verify else { return Vec::new() };
    let what = if page.report.quantisation.is_some() { "The model before quantisation" } else { "The file" };
    let note = format!(
        "{what} against the module that was exported, run by the program that handed it over. This proves the architecture too."
    );
    let notes = found.notes.iter().map(|n| text("p", n));
    [text("h3", "Against the module itself"), text("p", note), runs(found)].into_iter().chain(notes).collect()
}

/// A row for each comparison.
fn runs(check: &CheckReport) -> Element {
    let row = |r: &Run| {
        let c = &r.comparison;
        let classes = match (c.rows, c.classes_moved) {
            (0, _) => String::new(),
            (n, 0) => format!("{}/{n} same", c.classes_kept),
            (n, moved) => format!("{moved}/{n} moved"),
        };
        let input = if r.synthetic { r.of() } else { format!("{} (given)", r.of()) };
        let (class, verdict) = match (r.passed, c.finite) {
            (true, _) => ("good", "agrees"),
            (false, true) => ("bad", "differs"),
            (false, false) if !c.reference_finite => ("bad", "the model is not finite"),
            (false, false) => ("bad", "not finite"),
        };
        vec![
            cell(input),
            cell(r.batch),
            cell(&r.output),
            cell(magnitude(c.max_error)),
            cell(magnitude(r.allowed)),
            cell(magnitude(c.max_reference)),
            cell(classes),
            text("span", verdict).class(class),
        ]
    };
    let columns = [
        ("input", "keep"),
        ("batch", "n"),
        ("value", "path"),
        ("largest error", "n"),
        ("allowed", "n"),
        ("largest reference", "n"),
        ("class", "keep"),
        ("", ""),
    ];
    table(&columns, check.runs.iter().map(row))
}

/// How the file compares with values from outside.
fn expected<'a>(page: &'a Page<'_>) -> impl Iterator<Item = Element> + 'a {
    page.report.expect.iter().flat_map(|outside| {
        let several = outside.outputs.len() > 1;
        outside.outputs.iter().map(move |a| {
            let c = &a.comparison;
            let who = if several { &a.output } else { "The file" };
            let (class, verdict) = if a.passed { ("good", "agrees with") } else { ("bad", "differs from") };
            let figures = format!("largest error {} of {}", magnitude(c.max_error), magnitude(c.max_reference));
            text("p", format!("{who} {verdict} the expected values: {figures}.")).class(class)
        })
    })
}
