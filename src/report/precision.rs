//! What computes in which precision and why, and what rounding did to the constants.

use super::Page;
use super::html::{Element, cell, el, folded, table, text};
use crate::numbers::{count, magnitude, si};
use std::collections::BTreeMap;
use vitc_ir::{DType, Op};
use vitc_passes::island_reason;

/// Constants that the table of rounded ones names.
const NAMED: usize = 12;

/// Islands with their reasons, and the constants.
pub(super) fn section(page: &Page<'_>) -> Element {
    el("section").attr("id", "precision").add(text("h2", "Precision")).all(islands(page)).all(constants(page))
}

fn islands(page: &Page<'_>) -> Vec<Element> {
    let report = page.report;
    if report.precision.compute != "fp16" {
        return vec![text("p", "Everything computes in fp32.")];
    }
    let graph = &page.lowered.graph;
    let mut reasons: BTreeMap<&str, Vec<Element>> = BTreeMap::new();
    let mut casts = 0;
    for (id, node) in graph.run_time_nodes() {
        if matches!(node.op, Op::Cast { .. }) {
            casts += 1;
        } else if node.types.iter().any(|t| t.dtype == DType::F32) {
            let link = text("a", format!("{} ({})", node.path, node.op.word())).attr("href", super::anchor(id));
            reasons.entry(island_reason(node)).or_default().push(el("li").add(link));
        }
    }
    let casts = format!("{}, those of the interface included", count(casts, "cast"));
    if reasons.is_empty() {
        return vec![text("p", format!("Everything computes in fp16: no fp32 islands; {casts}."))];
    }
    let nodes: usize = reasons.values().map(Vec::len).sum();
    let note = format!("fp16, but for {} in fp32 between casts; {casts}.", count(nodes, "operator"));
    let list = |(reason, nodes): (&str, Vec<Element>)| {
        folded(format!("{} × {reason}", nodes.len()), el("ul").class("columns").all(nodes))
    };
    std::iter::once(text("p", note)).chain(reasons.into_iter().map(list)).collect()
}

fn constants(page: &Page<'_>) -> Vec<Element> {
    let r = &page.report.rounding;
    let (before, after) = (magnitude(r.max_before), magnitude(r.max_after));
    let mut facts = vec![text("h3", "Constants")];
    if r.largest.is_empty() {
        facts.push(text("p", "No weights."));
        return facts;
    }
    facts.push(text("p", format!("Largest |w| {before} before rounding and {after} after, in {}.", r.largest)));
    if page.report.precision.compute != "fp16" {
        return facts;
    }
    let total = si(page.report.artifact.parameters);
    let lost = format!(
        "Of {total} elements {} became subnormal in fp16, which keeps fewer than eleven bits of them, and {} became zero.",
        r.subnormal, r.zeroed
    );
    facts.push(text("p", lost));
    let moved = |e: &crate::export::Moved| {
        format!(
            "Without the powers of two that moved between layers, in {} places and into {} constants, {} would be subnormal and {} zero.",
            e.places, e.constants, e.subnormal_before, e.zeroed_before
        )
    };
    facts.extend(r.equalized.as_ref().map(|e| text("p", moved(e))));
    if !r.small.is_empty() {
        let columns = [("constant", "path"), ("subnormal", "n"), ("zero", "n")];
        let row = |c: &crate::export::Rounded| vec![cell(&c.constant), cell(c.subnormal), cell(c.zeroed)];
        let shown = &r.small[..NAMED.min(r.small.len())];
        let summary = format!("the {} of {} constants with the most such elements", shown.len(), r.small.len());
        facts.push(folded(summary, table(&columns, shown.iter().map(row))));
    }
    facts
}
