//! A model's figures by stage: parameters and multiply-accumulates under each of the first names of the paths.
//!
//! A stage is the first segment of a path, with the second if that is a number and something lies inside: `stem`, `network.3`, `head`. Stages
//! stand in the order of their first run-time node.

use serde::Serialize;
use vitc_ir::{Graph, Op, cost};

/// Figures of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// First segments of the paths.
    pub name: String,
    /// Shape of the last value with a map or tokens, batch left out: `96x14x14`.
    pub output: String,
    /// Trained parameters; running statistics do not count.
    pub parameters: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Bytes of the constants that its nodes read, each where it is read first.
    pub bytes: u64,
    /// Run-time nodes.
    pub nodes: usize,
}

/// The stage of a node's path.
pub(crate) fn stage_of(path: &str) -> &str {
    let mut dots = path.match_indices('.').map(|(i, _)| i);
    match (dots.next(), dots.next()) {
        (Some(first), Some(second)) if path[first + 1..second].bytes().all(|b| b.is_ascii_digit()) => &path[..second],
        (Some(first), _) => &path[..first],
        (None, _) => path,
    }
}

/// The path of the layer that owns a weight.
fn layer_of(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(layer, _)| layer)
}

/// The stages of a graph. Parameters are those of its weights if it has any, else the elements of the constants that its nodes read first.
pub fn stages(graph: &Graph) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut at = std::collections::HashMap::new();
    let mut stage = |path: &str| {
        let name = stage_of(path).to_string();
        *at.entry(name.clone()).or_insert_with(|| {
            stages.push(Stage { name, output: String::new(), parameters: 0, macs: 0, bytes: 0, nodes: 0 });
            stages.len() - 1
        })
    };
    let mut figures = Vec::new();
    for (_, node) in graph.run_time_nodes() {
        figures.push((stage(&node.path), node));
    }
    let trained = graph.weights().any(|(key, _)| cost::is_trained(key));
    let mut parameters: Vec<(usize, u64)> = Vec::new();
    if trained {
        for (key, ty) in graph.weights().filter(|(key, _)| cost::is_trained(key)) {
            parameters.push((stage(layer_of(key)), ty.shape.elements() as u64));
        }
    }
    let mut bytes: Vec<(usize, u64)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (_, node) in graph.run_time_nodes() {
        for v in node.inputs.iter().map(|&v| graph.stored(v)).filter(|&v| graph.is_constant(v)) {
            if seen.insert(v) {
                let at = stage(&node.path);
                bytes.push((at, graph.ty(v).bytes() as u64));
                if !trained && graph.ty(v).dtype.is_float() {
                    parameters.push((at, graph.shape(v).elements() as u64));
                }
            }
        }
    }
    for (i, node) in figures {
        let stage = &mut stages[i];
        stage.macs += cost::macs(graph, node);
        stage.nodes += usize::from(!matches!(node.op, Op::Cast { .. }));
        let shape = &node.types[0].shape;
        if shape.rank() > 1 {
            let dims: Vec<String> = shape.0[1..].iter().map(ToString::to_string).collect();
            stage.output = dims.join("x");
        }
    }
    for (i, n) in parameters {
        stages[i].parameters += n;
    }
    for (i, n) in bytes {
        stages[i].bytes += n;
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_the_paths() {
        for (path, stage) in [
            ("network.3.blocks.0", "network.3"),
            ("network.3.proj", "network.3"),
            ("patch_embed.0", "patch_embed"),
            (layer_of("patch_embed.0.weight"), "patch_embed"),
            (layer_of("head.weight"), "head"),
            ("norm", "norm"),
            ("stem.conv.0", "stem"),
        ] {
            assert_eq!(stage_of(path), stage);
        }
    }
}
