//! The model's stages: what each one holds and costs, before and after the passes.

use super::Page;
use super::html::{Element, cell, el, table, text};
use crate::numbers::{bytes, si};
use crate::stages::{Stage, stages};

/// A table with a bar for each stage's share of the work.
pub(super) fn section(page: &Page<'_>) -> Element {
    let paper = stages(&page.lowered.model.graph);
    let made = stages(&page.lowered.graph);
    let total = |of: fn(&Stage) -> u64, list: &[Stage]| list.iter().map(of).sum::<u64>().max(1);
    let (macs, held) = (total(|s| s.macs, &made), total(|s| s.bytes, &made));
    // A stage may have lost its last node to a neighbour, and a lowering may add one.
    let mut names: Vec<&str> = paper.iter().map(|s| s.name.as_str()).collect();
    names.extend(made.iter().map(|s| s.name.as_str()).filter(|n| !paper.iter().any(|s| s.name == *n)));
    let row = |name: &str| {
        let (before, after) = (find(&paper, name), find(&made, name));
        let shown = |stage: Option<&Stage>, of: fn(&Stage) -> u64| stage.map_or(0, of);
        let figure = |n: u64| cell(if n > 0 { si(n) } else { "-".into() });
        let share = |part: u64, of: u64, shown: String| {
            if part == 0 {
                return cell("-");
            }
            let width = format!("width:{:.1}%", 100.0 * part as f64 / of as f64);
            el("span").class("share").add(el("i").attr("style", width)).add(text("b", shown))
        };
        let (work, size) = (after.map_or(0, |s| s.macs), after.map_or(0, |s| s.bytes));
        vec![
            cell(name),
            cell(after.or(before).map_or("", |s| s.output.as_str())),
            figure(shown(before, |s| s.parameters)),
            figure(shown(before, |s| s.macs)),
            figure(shown(before, |s| s.nodes as u64)),
            figure(shown(after, |s| s.nodes as u64)),
            share(work, macs, si(work)),
            share(size, held, bytes(size)),
        ]
    };
    let columns = [
        ("stage", "path"),
        ("output", ""),
        ("trained parameters", "n"),
        ("MACs as published", "n"),
        ("operations, paper", "n"),
        ("in the file", "n"),
        ("MACs in the file", "n"),
        ("bytes in the file", "n"),
    ];
    let note = "Left what the paper and the checkpoint have, right what was written. Bytes count where a constant is read first.";
    el("section")
        .attr("id", "stages")
        .add(text("h2", "Stages"))
        .add(text("p", note))
        .add(table(&columns, names.into_iter().map(row)))
}

fn find<'s>(stages: &'s [Stage], name: &str) -> Option<&'s Stage> {
    stages.iter().find(|s| s.name == name)
}
