//! Which of Apple's rules for the Neural Engine the artifact breaks.

use super::Page;
use super::html::{Element, el, folded, text};

/// Each rule with all nodes that break it; nothing if none is broken or the artifact is not for that engine.
pub(super) fn section(page: &Page<'_>) -> Option<Element> {
    let findings = &page.report.engine_rules;
    if findings.is_empty() {
        return None;
    }
    let note = "Apple's published rules that parts of the graph do not keep. Such a part runs on GPU or CPU, or slower; nothing here was measured on a device.";
    let node = |path: &String| {
        let item = el("li");
        match page.lowered.graph.find(path) {
            Some(id) => item.add(super::html::path("a", path).attr("href", super::anchor(id))),
            None => item.text(path),
        }
    };
    let rule = |f: &crate::engine_rules::Finding| {
        let summary = format!("{} × {}: {}", f.nodes.len(), f.rule, f.advice);
        folded(summary, el("ul").class("columns").all(f.nodes.iter().map(node)))
    };
    let section = el("section").attr("id", "engine").add(text("h2", "Neural Engine"));
    Some(section.add(text("p", note)).all(findings.iter().map(rule)))
}
