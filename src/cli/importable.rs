//! Whether a model file can be exported, for each target, and what stands in the way.

use crate::export::{RequestBuilder, TargetKind, lower};
use crate::model::{FileRequest, ModelRequest};
use serde::Serialize;
use std::path::Path;
use vitc_ir::Node;

/// What an export to a target would say.
#[derive(Debug, Serialize)]
pub(super) struct Importable {
    target: &'static str,
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Each target's answer, with the file's own sizes.
pub(super) fn importable(path: &Path) -> Vec<Importable> {
    let file = FileRequest { path: path.to_path_buf(), batch: None, shapes: Vec::new(), outputs: Vec::new() };
    let tried = |target: TargetKind| {
        let model = ModelRequest { file: Some(file.clone()), ..ModelRequest::named("") };
        let request = RequestBuilder::new(model, target).build().map_err(|m| super::words::words(&m))?;
        let lowered = lower(&request, &|_| {}).map_err(|e| super::words::explained(&e))?;
        let (graph, target) = (&lowered.graph, target.target(None));
        let one = |(_, node): (_, &Node)| target.allows(graph, node).map_err(|what| format!("{}: {what}", node.path));
        graph.run_time_nodes().try_for_each(one)
    };
    let answers = TargetKind::ALL.iter().map(|&target| {
        let answer = tried(target);
        Importable { target: target.name(), ok: answer.is_ok(), why: answer.err() }
    });
    answers.collect()
}

/// Rows of a table.
pub(super) fn rows(all: &[Importable]) -> Vec<[String; 2]> {
    let row = |one: &Importable| match &one.why {
        None => [one.target.to_string(), "can be exported".into()],
        Some(why) => [one.target.to_string(), why.lines().next().unwrap_or_default().to_string()],
    };
    all.iter().map(row).collect()
}
