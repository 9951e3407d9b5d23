//! The page of an export: one HTML file for the engineer who must decide whether to ship what was made.
//!
//! Invariants: the file refers to nothing outside itself; every text that comes from a model or a user is escaped ([`html`]); equal exports
//! give equal bytes, so there is no clock in it; nothing is measured here: the figures are those of the report, the check and the graphs.

mod blocks;
mod chart;
mod check;
mod engine;
mod facts;
mod file;
mod graph;
mod html;
mod lanes;
mod layers;
mod passes;
mod precision;
mod ranges;
mod stages;
#[cfg(test)]
mod tests;

use crate::check::{Layer, LayerError, Run, layers::key};
use crate::export::{Lowered, Report};
use crate::message::{Message, Setting};
use crate::numbers::worse;
use crate::stages::stage_of;
use blocks::Block;
pub use file::PageFile;
use html::{Element, el, text};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;
use vitc_ir::{Class, DType, NodeId, Op, Type};

/// The largest number of fp16.
pub(crate) const FP16_MAX: f64 = 65504.0;

/// What makes a page ours: its first bytes.
const OPENING: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"generator\" content=\"vitc ",
    env!("CARGO_PKG_VERSION"),
    "\">"
);

/// The part of [`OPENING`] that every version writes.
const MARK: &str = "<meta name=\"generator\" content=\"vitc ";

/// Whether vitc wrote the page at `path`.
pub fn written_by_vitc(path: &Path) -> bool {
    let mut start = vec![0; OPENING.len() + 16];
    let read = std::fs::File::open(path).and_then(|mut f| f.read(&mut start));
    read.is_ok_and(|n| String::from_utf8_lossy(&start[..n]).contains(MARK))
}

/// How messages that name settings are written.
pub type Words<'a> = dyn Fn(&Message) -> String + 'a;

/// The page about an export.
pub fn page(report: &Report, words: &Words<'_>) -> String {
    let page = Page::new(report, words);
    let sections = [
        ("stages", stages::section(&page)),
        ("passes", passes::section(&page)),
        ("check", check::section(&page)),
        ("layers", layers::section(&page)),
        ("ranges", ranges::section(&page)),
        ("precision", precision::section(&page)),
    ];
    let engine = engine::section(&page).map(|section| ("engine", section));
    let sections = sections.into_iter().chain(engine).chain([("graph", graph::section(&page))]);
    let sections: Vec<(&str, Element)> = sections.collect();
    let links = sections.iter().map(|(id, _)| text("a", id).attr("href", format!("#{id}")));
    let nav = el("nav").all(links);
    let main = el("main").add(facts::section(&page)).add(nav).all(sections.into_iter().map(|(_, section)| section));
    let foot = text("footer", concat!("vitc ", env!("CARGO_PKG_VERSION")));
    let title = text("title", format!("{} for {}: vitc report", report.model, report.target));
    let viewport = el("meta").attr("name", "viewport").attr("content", "width=device-width, initial-scale=1");
    let style = el("style").fixed(include_str!("style.css"));
    let script = el("script").fixed(include_str!("script.js"));
    let body = el("body").add(main).add(foot).add(script);
    format!("{OPENING}{viewport}{title}{style}</head>{body}</html>\n")
}

/// What the sections are written from.
struct Page<'a> {
    report: &'a Report,
    lowered: &'a Lowered,
    words: &'a Words<'a>,
    /// Float values of the written graph, in order.
    values: Vec<Value<'a>>,
    blocks: Vec<Block>,
    /// Blocks of which the second reads from the first.
    edges: BTreeSet<(usize, usize)>,
    /// Run-time nodes that read a value.
    readers: HashMap<vitc_ir::Value, Vec<NodeId>>,
}

/// A float value of the written graph.
struct Value<'a> {
    node: NodeId,
    name: String,
    stage: &'a str,
    op: &'static str,
    ty: &'a Type,
    /// It is fp32 though the model computes in fp16.
    wide: bool,
    /// Its elements are those of another value.
    moves: bool,
    max: Option<f64>,
    error: Option<LayerError>,
    moved: bool,
}

impl Value<'_> {
    /// Largest error over the largest reference value.
    fn relative_error(&self) -> Option<f64> {
        self.error.map(|e| if e.max_error == 0.0 { 0.0 } else { e.max_error / e.max_reference })
    }

    /// Where its operator stands on the page.
    fn link(&self) -> String {
        anchor(self.node)
    }

    /// Its name as a link to its operator.
    fn linked(&self) -> Element {
        html::path("a", &self.name).attr("href", self.link())
    }
}

impl<'a> Page<'a> {
    fn new(report: &'a Report, words: &'a Words<'a>) -> Page<'a> {
        let lowered = &report.lowered;
        let graph = &lowered.graph;
        let layers = report.check.as_ref().and_then(|c| c.layers.as_ref());
        let seen: HashMap<String, &Layer> =
            layers.iter().flat_map(|l| &l.values).map(|layer| (key(&layer.name), layer)).collect();
        let mut values = Vec::new();
        let mut readers: HashMap<vitc_ir::Value, Vec<NodeId>> = HashMap::new();
        for (id, node) in graph.run_time_nodes() {
            node.inputs.iter().for_each(|&v| readers.entry(v).or_default().push(id));
            for (index, ty) in node.types.iter().enumerate().filter(|(_, ty)| ty.dtype.is_float()) {
                let value = vitc_ir::Value { node: id, index: index as u32 };
                // An artifact names its results by the interface.
                let result = graph.outputs.iter().find(|o| o.value == value);
                let name = result.map_or_else(|| graph.value_name(value), |o| o.name.clone());
                let layer = seen.get(&key(&name));
                values.push(Value {
                    node: id,
                    stage: stage_of(&node.path),
                    op: node.op.word(),
                    ty,
                    wide: lowered.precision == DType::F16 && ty.dtype == DType::F32,
                    moves: matches!(kind(&node.op), "move" | "cast"),
                    max: layer.map(|l| l.max),
                    error: layer.and_then(|l| l.error),
                    moved: layer.is_some_and(|l| l.moved),
                    name,
                });
            }
        }
        let blocks = blocks::blocks(graph);
        let edges = blocks::edges(graph, &blocks);
        Page { report, lowered, words, values, blocks, edges, readers }
    }

    /// The comparison of the model's results that came nearest to its bound, or exceeded it most.
    fn worst_run(&self) -> Option<&Run> {
        let share = |r: &&Run| if r.comparison.finite { r.comparison.max_error / r.allowed } else { f64::INFINITY };
        self.report.check.iter().flat_map(|c| &c.runs).max_by(|a, b| share(a).total_cmp(&share(b)))
    }

    /// Names of the inputs over which values were looked at.
    fn inputs(&self) -> Vec<&str> {
        let layers = self.report.check.as_ref().and_then(|c| c.layers.as_ref());
        layers.iter().flat_map(|l| &l.inputs).map(String::as_str).collect()
    }

    /// Largest magnitude of what a node computes.
    fn max_of(&self, id: NodeId) -> Option<f64> {
        let from = self.values.partition_point(|v| v.node < id);
        self.values[from..].iter().take_while(|v| v.node == id).filter_map(|v| v.max).reduce(worse)
    }

    /// Why there are no figures of values inside the model.
    fn why_no_layers(&self) -> String {
        match &self.report.check {
            None => format!("Not measured: {}", self.not_run("the")),
            Some(check) if check.layers.is_none() => {
                "Not measured: values inside are looked at by a full check with enough memory; see its notes.".into()
            }
            Some(_) => "Nothing to show: the file and the reference share no value of one path.".into(),
        }
    }

    /// That `The file` was not run, and which setting did that.
    fn not_run(&self, the: &str) -> String {
        format!("{the} file was not run ({}).", (self.words)(&Setting::Check.off().into()))
    }
}

/// Where an operator stands on the page.
fn anchor(id: NodeId) -> String {
    format!("#op-{}", id.0)
}

/// Kind of an operator: a colour in the picture.
fn kind(op: &Op) -> &'static str {
    match op.facts().class {
        Class::Contraction if matches!(op, Op::Conv { .. }) => "conv",
        Class::Contraction | Class::Transform => "product",
        Class::Attention => "softmax",
        Class::Normalisation if matches!(op, Op::Softmax { .. }) => "softmax",
        Class::Normalisation | Class::Reduction => "norm",
        Class::Elementwise if matches!(op, Op::Binary(_) | Op::Sum) => "sum",
        Class::Elementwise => "act",
        Class::Cast | Class::Quantisation => "cast",
        Class::Leaf | Class::Movement | Class::Sampling | Class::Barrier => "move",
    }
}
