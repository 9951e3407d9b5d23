//! `vitc list`: the models.

use super::text::table;
use super::{Answer, Outcome};
use crate::arch::{FAMILIES, Family, Variant};
use clap::Parser;
use serde::Serialize;

/// List the models: size, cost, native resolution, published accuracy, where they come from.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// One JSON object on stdout instead of the table.
    #[arg(long)]
    json: bool,
}

/// One model, for `--json`.
#[derive(Debug, Serialize)]
struct Line {
    model: &'static str,
    aliases: &'static [&'static str],
    parameters: &'static str,
    macs: &'static str,
    resolution: [usize; 2],
    top1: &'static str,
    classes: usize,
    checkpoints: bool,
    paper: &'static str,
    code: &'static str,
}

impl Line {
    fn new(family: &Family, v: &Variant) -> Line {
        Line {
            model: v.name,
            aliases: v.aliases,
            parameters: v.published_parameters,
            macs: v.published_macs,
            resolution: v.resolution,
            top1: v.top1,
            classes: v.classes,
            checkpoints: v.checkpoints,
            paper: family.paper,
            code: family.code,
        }
    }

    fn row(&self) -> Vec<String> {
        let [h, w] = self.resolution;
        let weights = if self.checkpoints { "published" } else { "none published" };
        let cells = [self.model, self.parameters, self.macs, &format!("{h}x{w}"), self.top1, weights];
        cells.map(str::to_string).to_vec()
    }
}

/// Run the command.
pub(super) fn run(_: Args) -> Outcome {
    let mut text = String::new();
    let mut models = Vec::new();
    for family in FAMILIES {
        let lines: Vec<Line> = family.variants.iter().map(|v| Line::new(family, v)).collect();
        let head = ["model", "parameters", "MACs", "input", "top-1", "weights"].map(String::from).to_vec();
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(lines.iter().map(Line::row)).collect();
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}{}\n{}\n", family.paper, family.code));
        text.push_str(&family.note.map(|n| format!("{n}\n")).unwrap_or_default());
        text.push_str(&table(&rows, "  "));
        models.extend(lines);
    }
    text.push_str("\nParameters, MACs and top-1 (ImageNet-1K, percent) as published.\n");
    Ok(Answer::new(text, serde_json::json!({ "models": models })))
}
